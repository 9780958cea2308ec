//! Devices of others: never listed, never touched, and never stood beside on one file. And who uses ours.

use crate::bed::{Bed, Opener, assert_gone, assert_refused, connection, device, run, sysfs, token};
use engine::ports::{Backing, Exporter};
use lifecycle::{AttachmentId, ExportSeen, Mode, Timestamp};
use std::process::Command;
use uuid::Uuid;

#[test]
fn another_controllers_devices_are_left_alone() {
    let Some(bed) = Bed::new() else { return };
    let (spec, device) = bed.exported();
    let other = bed.another(bed.mark ^ 1);
    assert!(bed.run(other.list()).unwrap().is_empty());
    assert_eq!(bed.run(other.inspect(spec.attachment, Some(token(9)))), Ok(ExportSeen::Absent));
    assert_gone(&bed.run(other.unexport(token(10), spec.attachment, true)));
    assert_eq!(bed.run(other.refresh(spec.attachment)), Ok(()));
    assert_eq!(bed.devices(), std::slice::from_ref(&device), "it is none of the other's business");
    assert_refused(&bed.run(other.export(token(11), spec.clone())), &["backing of", &device]);
    assert_gone(&bed.unexport(2, &spec, false));
}

#[test]
fn devices_without_our_name_are_neither_listed_nor_stood_beside() {
    // The bed itself stands on a loop device, as do those of the tests that run beside this one.
    let Some(bed) = Bed::new() else { return };
    let spec = bed.spec(Mode::ReadWrite);
    let Backing::File(path) = &spec.backing;
    let foreign = run(Command::new("losetup").args(["-f", "--show"]).arg(path));
    assert!(bed.run(bed.exporter.list()).unwrap().is_empty());
    assert_gone(&bed.unexport(1, &spec, true));
    assert_refused(&bed.export(2, &spec), &["backing of", &foreign]);
    assert_eq!((bed.devices(), sysfs(&foreign, "loop/autoclear")), (vec![foreign.clone()], "0".into()));
    run(Command::new("losetup").args(["-d", &foreign]));
    connection(bed.export(3, &spec));
    assert_gone(&bed.unexport(4, &spec, false));
}

#[test]
fn only_a_shared_volume_has_two_devices() {
    let Some(bed) = Bed::new() else { return };
    let (spec, first) = bed.exported();
    let mut other = spec.clone();
    other.attachment = AttachmentId(Uuid::new_v4());
    assert_refused(&bed.export(1, &other), &["backing of", &first]);
    other.shared = true;
    assert_ne!(device(&connection(bed.export(2, &other))), first);
    assert_gone(&bed.unexport(3, &other, false));
    assert_gone(&bed.unexport(2, &spec, false));
}

#[test]
fn users_are_told_with_since_when_they_are_seen() {
    let Some(mut bed) = Bed::new() else { return };
    let (spec, device) = bed.exported();
    assert!(bed.clients(&spec).is_empty());
    run(Command::new("mkfs.ext4").args(["-q", &device]));
    let point = bed.mount(&device, &[]);
    let opener = Opener::new(&device);
    let first = bed.clients(&spec);
    let told: Vec<_> = first.iter().map(|client| client.address.clone()).collect();
    let process = format!("opened by process {} (sleep)", opener.id());
    assert_eq!(told, [format!("mounted at {}", point.display()), process]);
    assert!(first.iter().all(|client| client.size_seen.is_some_and(|size| size.0 == crate::bed::VOLUME)));
    assert!(first.iter().all(|client| client.since > Timestamp(0)));
    drop(opener);
    let later = bed.clients(&spec);
    assert_eq!((later.len(), later[0].since), (1, first[0].since), "the mount is the same one");
    run(Command::new("umount").arg(&point));
    assert_gone(&bed.unexport(2, &spec, false));
    assert!(bed.clients(&spec).is_empty());
}
