//! Ending an export that is used: nobody is cut, nothing is lost, and who is in the way is named.

use crate::bed::{Bed, Opener, assert_gone, assert_refused, connection, run, sysfs, token};
use engine::ports::Exporter;
use ground::wait_until;
use lifecycle::{ExportSeen, Outcome};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::process::{Command, Stdio};
use std::time::Duration;

#[test]
fn a_mounted_device_is_not_released_and_its_mount_is_named() {
    let Some(mut bed) = Bed::new() else { return };
    let (spec, device) = bed.exported();
    run(Command::new("mkfs.ext4").args(["-q", &device]));
    let point = bed.mount(&device, &[]);
    for force in [false, true] {
        assert_refused(&bed.unexport(2, &spec, force), &[&device, "mounted at", point.to_str().unwrap(), "unmount"]);
        assert_eq!(sysfs(&device, "loop/autoclear"), "0", "nothing was changed");
    }
    std::fs::write(point.join("written"), "after").unwrap();
    assert!(matches!(bed.seen(&spec), ExportSeen::Serving(_)));
    run(Command::new("umount").arg(&point));
    assert_gone(&bed.unexport(3, &spec, false));
    assert_eq!(bed.devices(), Vec::<String>::new());
}

#[test]
fn a_mount_that_goes_within_the_grace_is_waited_for() {
    let Some(mut bed) = Bed::new() else { return };
    let (spec, device) = bed.exported();
    run(Command::new("mkfs.ext4").args(["-q", &device]));
    let point = bed.mount(&device, &[]);
    let ended = std::thread::scope(|scope| {
        let ending = scope.spawn(|| bed.unexport(2, &spec, false));
        run(Command::new("umount").arg(&point));
        ending.join().unwrap()
    });
    assert_gone(&ended);
}

#[test]
fn a_mount_in_another_namespace_is_found() {
    let Some(bed) = Bed::new() else { return };
    let (spec, device) = bed.exported();
    run(Command::new("mkfs.ext4").args(["-q", &device]));
    let point = bed.path("elsewhere");
    std::fs::create_dir(&point).unwrap();
    let script = "mount \"$1\" \"$2\" && exec sleep 1000";
    let namespace = Opener::run(Command::new("unshare").args(["-m", "sh", "-c", script, "-", &device]).arg(&point));
    wait_until("it is mounted there", || bed.clients(&spec).iter().any(|client| client.address.contains("mounted at")));
    let process = format!("for process {}", namespace.id());
    assert_refused(&bed.unexport(2, &spec, true), &["mounted at", "elsewhere", &process]);
    drop(namespace);
    // The last process of the namespace takes its mounts with it, a moment later.
    wait_until("it is not used any more", || bed.clients(&spec).is_empty());
    assert_gone(&bed.unexport(3, &spec, false));
}

#[test]
fn a_lazily_unmounted_device_is_not_released() {
    let Some(mut bed) = Bed::new() else { return };
    let (spec, device) = bed.exported();
    run(Command::new("mkfs.ext4").args(["-q", &device]));
    let point = bed.mount(&device, &[]);
    std::fs::write(point.join("open"), "x").unwrap();
    let opener = Opener::new(point.join("open"));
    run(Command::new("umount").arg("-l").arg(&point));
    assert_refused(&bed.unexport(2, &spec, false), &[&device, "cannot see", "lazily"]);
    assert_eq!(sysfs(&device, "loop/autoclear"), "0", "nothing was changed");
    drop(opener);
    assert_gone(&bed.unexport(3, &spec, false));
}

#[test]
fn a_process_that_has_it_open_is_named_and_waited_for_with_force() {
    let Some(bed) = Bed::new() else { return };
    let (spec, device) = bed.exported();
    let opener = Opener::new(&device);
    let process = format!("process {} (sleep)", opener.id());
    assert_refused(&bed.unexport(2, &spec, false), &[&device, &process]);
    assert_refused(&bed.unexport(3, &spec, true), &[&device, &process, "force does not help"]);
    assert_eq!(sysfs(&device, "loop/autoclear"), "0", "nothing was changed");
    let ended = std::thread::scope(|scope| {
        let ending = scope.spawn(|| bed.unexport(4, &spec, true));
        drop(opener);
        ending.join().unwrap()
    });
    assert_gone(&ended);
}

#[test]
fn an_opener_out_of_sight_is_noticed_and_the_export_serves_on() {
    let Some(bed) = Bed::new() else { return };
    let (spec, device) = bed.exported();
    // This process does not look at its own files.
    let open = File::open(&device).unwrap();
    for (counter, force) in [(2, false), (3, true)] {
        assert_refused(&bed.unexport(counter, &spec, force), &[&device, "cannot see"]);
        assert_eq!(sysfs(&device, "loop/autoclear"), "0", "the kernel's note was taken back");
    }
    drop(open);
    assert!(matches!(bed.seen(&spec), ExportSeen::Serving(_)), "it did not go with its last user");
    assert_gone(&bed.unexport(4, &spec, false));
}

#[test]
fn a_device_that_another_stands_on_is_not_released() {
    let Some(bed) = Bed::new() else { return };
    let (spec, device) = bed.exported();
    let upper = run(Command::new("losetup").args(["-f", "--show", &device]));
    let refused = bed.unexport(2, &spec, true);
    run(Command::new("losetup").args(["-d", &upper]));
    assert_refused(&refused, &[&device, "the backing of", &upper]);
    assert_gone(&bed.unexport(3, &spec, false));
}

#[test]
fn swap_on_a_device_is_named() {
    let Some(bed) = Bed::new() else { return };
    let (spec, device) = bed.exported();
    run(Command::new("mkswap").args(["-q", &device]));
    run(Command::new("swapon").arg(&device));
    let refused = bed.unexport(2, &spec, true);
    run(Command::new("swapoff").arg(&device));
    assert_refused(&refused, &[&device, "used as swap"]);
    assert_gone(&bed.unexport(3, &spec, false));
}

#[test]
fn a_partition_that_is_mounted_keeps_the_whole() {
    let Some(mut bed) = Bed::new() else { return };
    let (spec, device) = bed.exported();
    // 64 MiB from the first MiB on, in sectors.
    run(Command::new("addpart").args([&device, "1", "2048", "131072"]));
    let partition = format!("{device}p1");
    let partition_file = format!("{}p1/start", device.strip_prefix("/dev/").unwrap());
    wait_until("its node is there", || std::fs::exists(&partition).is_ok_and(|there| there));
    run(Command::new("mkfs.ext4").args(["-q", &partition]));
    let point = bed.mount(&partition, &[]);
    assert_refused(&bed.unexport(2, &spec, true), &[&device, "mounted at", point.to_str().unwrap()]);
    run(Command::new("umount").arg(&point));
    assert_gone(&bed.unexport(3, &spec, false));
    assert_eq!(bed.devices(), Vec::<String>::new());
    wait_until("its partition is gone as well", || sysfs(&device, &partition_file).is_empty());
}

#[test]
fn a_partition_of_an_earlier_life_is_not_shown_again() {
    let Some(bed) = Bed::new() else { return };
    let (spec, device) = bed.exported();
    run(Command::new("addpart").args([&device, "1", "2048", "131072"]));
    run(Command::new("losetup").args(["-d", &device]));
    wait_until("it was released by hand", || bed.devices().is_empty());
    // The lowest free number is given next: sooner or later that one.
    let again: Vec<_> = (0..8).map(|_| bed.exported()).collect();
    for (spec, device) in &again {
        let name = device.strip_prefix("/dev/").unwrap();
        assert_eq!(sysfs(device, &format!("{name}p1/size")), "", "{device}");
        assert_gone(&bed.unexport(2, spec, false));
    }
    assert_gone(&bed.unexport(3, &spec, false));
    // Should a test beside this one have got that number, its device is not to keep the partition.
    let _ = Command::new("delpart").args([&device, "1"]).stderr(Stdio::null()).status();
}

#[test]
fn the_release_of_a_mounted_device_by_hand_is_still_attached_until_it_is_unmounted() {
    let Some(mut bed) = Bed::new() else { return };
    let (spec, device) = bed.exported();
    run(Command::new("mkfs.ext4").args(["-q", &device]));
    let point = bed.mount(&device, &[]);
    let mut losses = bed.exporter.losses().unwrap();
    run(Command::new("losetup").args(["-d", &device]));
    assert_eq!(sysfs(&device, "loop/autoclear"), "1", "it answered 0 and only noted it");
    assert!(matches!(bed.seen(&spec), ExportSeen::Serving(_)));
    assert_eq!(bed.run(bed.exporter.list()).unwrap().len(), 1);
    assert_refused(&bed.unexport(2, &spec, false), &["mounted at"]);
    assert!(!losses.has_changed().unwrap());
    run(Command::new("umount").arg(&point));
    bed.run(async { tokio::time::timeout(Duration::from_secs(20), losses.changed()).await }).expect("the loss is told").unwrap();
    assert_eq!(bed.seen(&spec), ExportSeen::Absent);
    assert_gone(&bed.unexport(3, &spec, false));
}

#[test]
fn exporting_again_takes_a_release_by_hand_back() {
    let Some(mut bed) = Bed::new() else { return };
    let (spec, device) = bed.exported();
    run(Command::new("mkfs.ext4").args(["-q", &device]));
    let point = bed.mount(&device, &[]);
    run(Command::new("losetup").args(["-d", &device]));
    assert_eq!(crate::bed::device(&connection(bed.export(2, &spec))), device);
    assert_eq!(sysfs(&device, "loop/autoclear"), "0");
    run(Command::new("umount").arg(&point));
    assert!(matches!(bed.seen(&spec), ExportSeen::Serving(_)));
    assert_gone(&bed.unexport(3, &spec, false));
}

#[test]
fn an_end_of_its_own_is_no_loss() {
    let Some(bed) = Bed::new() else { return };
    let losses = bed.exporter.losses().unwrap();
    let ((ended, _), (_, lost)) = (bed.exported(), bed.exported());
    assert_gone(&bed.unexport(2, &ended, false));
    // Once the watcher told of this one it has gone round.
    run(Command::new("losetup").args(["-d", &lost]));
    wait_until("the loss is told", || *losses.borrow() > 0);
    assert_eq!(*losses.borrow(), 1);
}

#[test]
fn an_abandoned_end_changes_nothing() {
    let Some(bed) = Bed::new() else { return };
    let (spec, device) = bed.exported();
    let opener = Opener::new(&device);
    bed.run(async {
        let ending = bed.exporter.unexport(token(2), spec.attachment, false);
        assert!(tokio::time::timeout(Duration::from_millis(300), ending).await.is_err(), "it waits for the process");
    });
    drop(opener);
    assert!(matches!(bed.seen(&spec), ExportSeen::Serving(_)));
    assert_gone(&bed.unexport(3, &spec, false));
}

#[test]
fn what_cannot_be_made_durable_is_told_once_and_for_all_and_force_lets_go() {
    let Some(bed) = Bed::new() else { return };
    let (spec, device) = bed.exported();
    File::options().write(true).open(&device).unwrap().write_all_at(&[7; 4096], 0).unwrap();
    bed.break_disk();
    // The kernel would call the second flush a success if the first had told.
    for counter in [2, 3] {
        assert_refused(&bed.unexport(counter, &spec, false), &[&device, "durable", "force"]);
    }
    assert!(matches!(bed.seen(&spec), ExportSeen::Serving(_)), "it told whose it is when it could");
    let restarted = bed.another(bed.mark);
    assert!(bed.run(restarted.inspect(spec.attachment, None)).is_err(), "whose it is cannot be asked any more");
    assert!(matches!(bed.run(restarted.unexport(token(1), spec.attachment, false)), Outcome::Unknown(_)));
    let Some(beside) = Bed::new() else { return };
    assert_eq!(beside.seen(&spec), ExportSeen::Absent, "a broken disk elsewhere is nobody else's matter");
    assert_gone(&bed.unexport(4, &spec, true));
    assert_eq!(bed.devices(), Vec::<String>::new());
}
