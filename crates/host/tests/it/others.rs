//! Facts about processes that are not ours to start.

use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Stdio};

use taintline_host::identity::ProcessId;
use taintline_host::listen::PrivateListener;
use taintline_host::peer::{Descent, Peer, descends_from};
use taintline_host::proc;

use crate::helper::{await_some, connecting};

/// A new child is for a moment between two programs: waits until it has its new arguments.
fn executed(child: &Child) -> u32 {
    let pid = child.id();
    await_some("the execution", || {
        let arguments = proc::command_line(pid).ok()?.value;
        (!arguments.is_empty()).then_some(())
    });
    pid
}

#[test]
fn the_peer_of_a_socket_is_the_child_that_connected() {
    let folder = tempfile::tempdir().unwrap();
    let private = PrivateListener::open(&[folder.path()]).unwrap();
    let mut child = connecting(private.path());
    let (stream, _) = private.listener().accept().unwrap();
    let peer = Peer::of(&stream).unwrap();
    assert_eq!(peer.id, ProcessId::of(child.id()).unwrap());
    assert_eq!(peer.uid, rustix::process::geteuid().as_raw());
    let own = ProcessId::current().unwrap();
    assert_eq!(descends_from(&peer.id, &own), Descent::Yes);
    assert_eq!(descends_from(&own, &peer.id), Descent::No);
    drop(stream);
    child.wait().unwrap();
    assert_eq!(descends_from(&peer.id, &own), Descent::Unknown);
    assert!(!peer.id.is_alive());
}

#[test]
fn a_peer_that_ended_is_not_mistaken_for_another() {
    let folder = tempfile::tempdir().unwrap();
    let private = PrivateListener::open(&[folder.path()]).unwrap();
    let mut child = connecting(private.path());
    let (stream, _) = private.listener().accept().unwrap();
    child.kill().unwrap();
    // Dead, and not yet reaped: the record is still there.
    let zombie = ProcessId::of(child.id()).unwrap();
    child.wait().unwrap();
    assert!(!zombie.is_alive());
    assert_eq!(
        Peer::of(&stream).unwrap_err().kind(),
        std::io::ErrorKind::NotFound
    );
}

#[test]
fn a_process_named_to_confuse_is_read_right() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join(") Z 1 (");
    std::fs::copy("/bin/sleep", &program).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut child = Command::new(&program)
        .arg("60")
        .env_clear()
        .env("A", "b=c")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let pid = executed(&child);
    assert_eq!(proc::name(pid).unwrap(), ") Z 1 (");
    assert_eq!(proc::parent(pid).unwrap(), std::process::id());
    assert!(ProcessId::of(pid).is_ok());
    assert!(
        proc::children_of(std::process::id())
            .unwrap()
            .contains(&pid)
    );
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn the_command_line_and_environment_of_a_child_are_read_whole() {
    let mut child = Command::new("sleep")
        .args(["60", "0", "0"])
        .env_clear()
        .env("A", "b=c")
        .env("EMPTY", "")
        .spawn()
        .unwrap();
    let pid = executed(&child);
    let line = proc::command_line(pid).unwrap();
    assert_eq!(line.value, ["sleep", "60", "0", "0"]);
    let environment = proc::environ(pid).unwrap();
    assert!(environment.value.contains(&("A".into(), "b=c".into())));
    assert!(environment.value.contains(&("EMPTY".into(), "".into())));
    assert!(!line.truncated && !environment.truncated);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(proc::command_line(pid).is_err());
}

#[test]
fn the_program_of_a_process_is_marked_when_it_was_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("program");
    std::fs::copy("/bin/sleep", &program).unwrap();
    let mut child = Command::new(&program).arg("60").spawn().unwrap();
    let pid = executed(&child);
    assert!(!proc::executable(pid).unwrap().deleted);
    std::fs::remove_file(&program).unwrap();
    let found = proc::executable(pid).unwrap();
    assert!(found.deleted && found.path == program);
    assert!(proc::mapped_files(pid).unwrap().value.contains(&found));
    child.kill().unwrap();
    child.wait().unwrap();
}
