//! An export from its beginning to its end: what it shows, repeats, restarts, growth, and what stands on it.

use crate::bed::{Bed, VOLUME, assert_gone, assert_refused, connection, device, run, sysfs, token};
use engine::ports::{Backing, Exporter};
use ground::{Kind, MIB};
use lifecycle::{ExportSeen, Facts, Mode, Outcome};
use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::process::Command;

#[test]
fn what_is_written_to_the_device_is_in_the_file() {
    for kind in [Kind::Xfs, Kind::Ext4] {
        let Some(bed) = Bed::on(kind) else { return };
        let (spec, device) = bed.exported();
        let Backing::File(path) = &spec.backing;
        assert_eq!(
            (sysfs(&device, "size"), sysfs(&device, "queue/logical_block_size")),
            ((VOLUME / 512).to_string(), "512".into())
        );
        let file = File::options().write(true).open(&device).unwrap();
        file.write_all_at(&[7; 4096], 1 << 20).unwrap();
        drop(file);
        assert_gone(&bed.unexport(2, &spec, false));
        let mut read = [0; 4096];
        File::open(path).unwrap().read_exact_at(&mut read, 1 << 20).unwrap();
        assert_eq!(read, [7; 4096]);
        assert_eq!(bed.devices(), Vec::<String>::new());
        assert_gone(&bed.unexport(3, &spec, false));
    }
}

#[test]
fn direct_io_is_told_as_the_kernel_does_it() {
    for kind in [Kind::Xfs, Kind::Ext4] {
        let Some(bed) = Bed::on(kind) else { return };
        let made = connection(bed.export(1, &bed.spec(Mode::ReadWrite)));
        let told = made.data["directIo"] == "yes";
        assert_eq!(sysfs(&device(&made), "loop/dio") == "1", told, "{made:?}");
        assert!(told, "both file systems can do it");
    }
}

#[test]
fn a_backing_that_cannot_do_direct_io_is_buffered() {
    let Some(bed) = Bed::new() else { return };
    // A file on a block device with larger sectors than the device is to have.
    let image = bed.path("sectors");
    File::create(&image).and_then(|file| file.set_len(320 * MIB)).unwrap();
    let large = run(Command::new("losetup").args(["-f", "--show", "-b", "4096"]).arg(&image));
    let mut spec = bed.spec(Mode::ReadWrite);
    spec.backing = Backing::File(large.clone().into());
    let made = connection(bed.export(1, &spec));
    assert_eq!((made.data["directIo"].as_str(), sysfs(&device(&made), "loop/dio").as_str()), ("no", "0"));
    assert_eq!(sysfs(&device(&made), "queue/logical_block_size"), "512");
    assert_gone(&bed.unexport(2, &spec, false));
    run(Command::new("losetup").args(["-d", &large]));
}

#[test]
fn repeats_and_restarts_find_the_same_device() {
    let Some(bed) = Bed::new() else { return };
    let spec = bed.spec(Mode::ReadWrite);
    let first = connection(bed.export(1, &spec));
    assert_eq!(first.protocol, "local");
    assert_eq!(connection(bed.export(2, &spec)), first);
    let restarted = bed.another(bed.mark);
    let listed = bed.run(restarted.list()).unwrap();
    assert_eq!(listed.into_iter().collect::<Vec<_>>(), [(spec.attachment, first.clone())]);
    assert_eq!(bed.run(restarted.inspect(spec.attachment, None)), Ok(ExportSeen::Serving(first.clone())));
    assert_eq!(connection(bed.run(restarted.export(token(1), spec.clone()))), first);
    assert_gone(&bed.run(restarted.unexport(token(2), spec.attachment, false)));
    assert_eq!(bed.seen(&spec), ExportSeen::Absent);
    assert_eq!(bed.devices(), Vec::<String>::new());
}

#[test]
fn a_read_only_export_takes_no_write() {
    let Some(bed) = Bed::new() else { return };
    let spec = bed.spec(Mode::ReadOnly);
    let made = connection(bed.export(1, &spec));
    let device = device(&made);
    assert_eq!((made.data["mode"].as_str(), sysfs(&device, "ro").as_str()), ("ro", "1"));
    let written = File::options().write(true).open(&device).and_then(|file| file.write_all_at(&[7], 0));
    assert!(written.is_err(), "it could be written to");
    let writing = engine::ports::ExportSpec { mode: Mode::ReadWrite, ..spec.clone() };
    assert_refused(&bed.export(2, &writing), &["another mode"]);
    assert_gone(&bed.unexport(3, &spec, false));
}

#[test]
fn older_calls_are_refused() {
    let Some(bed) = Bed::new() else { return };
    let spec = bed.spec(Mode::ReadWrite);
    connection(bed.export(3, &spec));
    assert_refused(&bed.unexport(2, &spec, true), &["superseded"]);
    assert!(bed.run(bed.exporter.inspect(spec.attachment, Some(token(2)))).is_err());
    assert!(matches!(bed.run(bed.exporter.inspect(spec.attachment, Some(token(5)))), Ok(ExportSeen::Serving(_))));
    assert_refused(&bed.unexport(4, &spec, false), &["superseded"]);
    assert_gone(&bed.unexport(6, &spec, false));
    assert_refused(&bed.export(5, &spec), &["superseded"]);
    assert_eq!(bed.devices(), Vec::<String>::new());
}

#[test]
fn two_at_once_twenty_times_leave_nothing() {
    let Some(bed) = Bed::new() else { return };
    let (one, other) = (bed.spec(Mode::ReadWrite), bed.spec(Mode::ReadWrite));
    let second = bed.another(bed.mark);
    for round in 1..=20 {
        let token = token(round * 10);
        let (first, again, beside) = bed.run(async {
            tokio::join!(
                bed.exporter.export(token, one.clone()),
                bed.exporter.export(token, one.clone()),
                second.export(token, other.clone())
            )
        });
        // Of two calls for the same attachment one may be told to come again while the other opens the file.
        let (first, again) = if matches!(first, Outcome::Failed(_)) { (again, first) } else { (first, again) };
        let (first, beside) = (connection(first), connection(beside));
        assert!(matches!(again, Outcome::Failed(_)) || connection(again) == first);
        assert_ne!(first, beside);
        assert_eq!(bed.devices().len(), 2, "round {round}");
        let token = crate::bed::token(round * 10 + 1);
        let (first, beside) = bed.run(async {
            tokio::join!(bed.exporter.unexport(token, one.attachment, false), second.unexport(token, other.attachment, false))
        });
        assert_gone(&first);
        assert_gone(&beside);
        assert_eq!(bed.devices(), Vec::<String>::new(), "round {round}");
    }
}

#[test]
fn growth_is_seen_by_who_has_the_device_open() {
    let Some(mut bed) = Bed::new() else { return };
    let (spec, device) = bed.exported();
    run(Command::new("mkfs.xfs").args(["-q", &device]));
    let point = bed.mount(&device, &[]);
    let mut open = File::open(&device).unwrap();
    let Backing::File(path) = &spec.backing;
    File::options().write(true).open(path).unwrap().set_len(VOLUME + 64 * MIB).unwrap();
    assert_eq!(open.seek(SeekFrom::End(0)).unwrap(), VOLUME, "not told yet");
    bed.run(bed.exporter.refresh(spec.attachment)).unwrap();
    assert_eq!(open.seek(SeekFrom::End(0)).unwrap(), VOLUME + 64 * MIB);
    let before = blocks(&point);
    run(Command::new("xfs_growfs").arg(&point));
    assert!(blocks(&point) > before, "the file system on it grows while mounted");
    bed.run(bed.exporter.refresh(spec.attachment)).unwrap();
    drop(open);
    run(Command::new("umount").arg(&point));
    assert_gone(&bed.unexport(2, &spec, false));
    assert_eq!(bed.run(bed.exporter.refresh(spec.attachment)), Ok(()), "nothing is exported: done");
}

fn blocks(point: &std::path::Path) -> u64 {
    run(Command::new("stat").args(["-f", "-c", "%b"]).arg(point)).parse().unwrap()
}

#[test]
fn a_copy_of_the_file_of_a_mounted_device_mounts_and_is_sound() {
    let Some(mut bed) = Bed::new() else { return };
    let (spec, device) = bed.exported();
    run(Command::new("mkfs.xfs").args(["-q", &device]));
    let point = bed.mount(&device, &[]);
    std::fs::write(point.join("kept"), vec![7; 3 << 20]).unwrap();
    File::open(point.join("kept")).unwrap().sync_all().unwrap();
    let copy = bed.spec(Mode::ReadWrite);
    let (Backing::File(from), Backing::File(to)) = (&spec.backing, &copy.backing);
    run(Command::new("cp").arg("--reflink=always").arg(from).arg(to));
    let second = crate::bed::device(&connection(bed.export(1, &copy)));
    // Mounting replays the log, as after a power cut.
    let copied = bed.mount(&second, &["-o", "nouuid"]);
    assert!(std::fs::read(copied.join("kept")).unwrap() == vec![7; 3 << 20]);
    run(Command::new("umount").arg(&copied));
    run(Command::new("xfs_repair").args(["-n", &second]));
    assert_gone(&bed.unexport(2, &copy, false));
    run(Command::new("umount").arg(&point));
    run(Command::new("xfs_repair").args(["-n", &device]));
    assert_gone(&bed.unexport(2, &spec, false));
}

#[test]
fn what_cannot_be_exported_is_refused_and_leaves_nothing() {
    let Some(bed) = Bed::new() else { return };
    let spec = bed.spec(Mode::ReadWrite);
    let (mut elsewhere, mut spoken, mut absent) = (spec.clone(), spec.clone(), spec.clone());
    elsewhere.address = "192.0.2.7".into();
    assert_refused(&bed.export(1, &elsewhere), &["192.0.2.7", "controller's machine"]);
    spoken.protocol = "iscsi".into();
    assert_refused(&bed.export(2, &spoken), &["iscsi", "local"]);
    absent.backing = Backing::File(bed.path("absent"));
    assert_refused(&bed.export(3, &absent), &["absent", "cannot be opened"]);
    assert!(!bed.path("absent").exists());
    assert_eq!(bed.devices(), Vec::<String>::new());
    assert!(matches!(bed.export(4, &spec), Outcome::Done(Facts::Export(ExportSeen::Serving(_)))));
    assert_gone(&bed.unexport(5, &spec, false));
}
