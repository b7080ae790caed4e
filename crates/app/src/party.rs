//! Processes as the kernel tells of them, as they stand in entries, and in words.

use domain::Process;
use domain::signals::Party;
use domain::watched::{Actor, Known, Principal};
use host::kernel::Task;

const NANOSECONDS: u64 = 1_000_000_000;

/// When a process started, in ticks since boot, as `/proc` has it.
pub(crate) fn ticks(started_ns: u64) -> u64 {
    let ticks = rustix::param::clock_ticks_per_second();
    started_ns / (NANOSECONDS / ticks.max(1))
}

/// A task at some moment, and the path of its control group where it still lives.
pub(crate) fn party(task: Task, boot: &str) -> Party {
    let process = Process {
        boot: boot.to_owned(),
        pid: task.pid,
        started: ticks(task.started_ns),
    };
    // Its number may be another's by now: then nothing is said.
    let id = host::identity::ProcessId::of(task.pid);
    let lives = id.is_ok_and(|id| id.started == process.started);
    Party {
        cgroup_path: lives.then(|| host::identity::cgroup(task.pid)).flatten(),
        process,
        uid: task.uid,
        effective_uid: task.effective_uid,
        login_uid: task.login_uid,
        session: task.session,
        cgroup: task.cgroup,
        name: task.name,
    }
}

/// A login, in words.
pub(crate) fn login(login_uid: Option<u32>, session: Option<u32>) -> String {
    match (login_uid, session) {
        (Some(login), Some(session)) => format!("logged in as {} (session {session})", user(login)),
        (Some(login), None) => format!("logged in as {}", user(login)),
        _ => "of no login".to_owned(),
    }
}

/// A user's number, and the name that it has on this machine.
pub(crate) fn user(uid: u32) -> String {
    match host::identity::user_name(uid) {
        Some(name) => format!("{uid} ({name})"),
        None => uid.to_string(),
    }
}

/// Who did something, in words.
pub(crate) fn actor(actor: &Actor) -> String {
    let Some(party) = &actor.party else {
        return match actor.known {
            Known::Several => format!(
                "one of several processes that had the number {} then: nobody is named",
                actor.pid
            ),
            _ => format!("pid {}, which was gone before anybody looked", actor.pid),
        };
    };
    let program = actor.executable.as_ref();
    let program = program.map_or_else(String::new, |path| format!(" {}", path.as_str()));
    let effective = if party.effective_uid == party.uid {
        String::new()
    } else {
        format!(" acting as {}", user(party.effective_uid))
    };
    let group = party.cgroup_path.as_ref().filter(|path| *path != "/");
    let group = group.map_or_else(String::new, |path| format!(", in {path}"));
    let became = actor.became.as_ref().map_or_else(String::new, |later| {
        format!(
            "; its users changed at about that time: it became user {}, {}",
            user(later.effective_uid),
            login(later.login_uid, later.session)
        )
    });
    format!(
        "pid {} (\"{}\"){program}, user {}{effective}, {}{group}{became}",
        actor.pid,
        party.name,
        user(party.uid),
        login(party.login_uid, party.session)
    )
}

/// Somebody who could have done something, in words.
pub(crate) fn principal(principal: &Principal) -> String {
    let Principal {
        login_uid,
        session,
        uid,
    } = principal;
    match login_uid {
        None => format!("user {}, of no login", user(*uid)),
        Some(login_uid) if login_uid == uid => login(Some(*login_uid), *session),
        Some(_) => format!("{}, as user {}", login(*login_uid, *session), user(*uid)),
    }
}
