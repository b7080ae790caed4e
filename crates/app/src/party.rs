//! Processes as the kernel tells of them, as they stand in entries, and in words.

use domain::Process;
use domain::signals::{Came, Party};
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
    let came = task.session.zip(task.login_uid);
    let came = came.and_then(|(session, login_uid)| host::session::of(session, login_uid));
    Party {
        came: came.map(|it| Came {
            remote: it.remote,
            tty: it.tty,
            service: it.service,
        }),
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
    let group = group.map_or_else(String::new, |path| match job(path) {
        Some(job) => format!(", in {job} ({path})"),
        None => format!(", in {path}"),
    });
    let from = party.came.as_ref().map_or_else(String::new, came);
    let became = actor.became.as_ref().map_or_else(String::new, |later| {
        format!(
            "; its users changed at about that time: it became user {}, {}",
            user(later.effective_uid),
            login(later.login_uid, later.session)
        )
    });
    format!(
        "pid {} (\"{}\"){program}, user {}{effective}, {}{from}{group}{became}",
        actor.pid,
        party.name,
        user(party.uid),
        login(party.login_uid, party.session)
    )
}

/// Where a login came from, in words.
pub(crate) fn came(came: &Came) -> String {
    let by = came.service.as_ref();
    let by = by.map_or_else(String::new, |service| format!(" by {service}"));
    match (&came.remote, &came.tty) {
        (Some(remote), _) => format!("{by} from {remote}"),
        (None, Some(tty)) => format!("{by} at {tty}"),
        (None, None) => by,
    }
}

/// The job or container that a control group is of, by how Slurm, Kubernetes and container engines name them.
pub(crate) fn job(path: &str) -> Option<String> {
    let parts: Vec<&str> = path.split('/').collect();
    let after = |prefix: &str| parts.iter().find_map(|part| part.strip_prefix(prefix));
    let digits = |text: &&str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if parts.iter().any(|part| part.starts_with("slurm"))
        && let Some(job) = after("job_").filter(digits)
    {
        let step = after("step_").map_or_else(String::new, |step| format!(", step {step}"));
        let task = after("task_").filter(digits);
        let task = task.map_or_else(String::new, |task| format!(", task {task}"));
        return Some(format!("Slurm job {job}{step}{task}"));
    }
    let is_container =
        |id: &&str| id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    let bare = |part: &'_ &str| {
        let part = part.strip_suffix(".scope").unwrap_or(part);
        let id = part.rsplit('-').next().unwrap_or(part);
        is_container(&id).then(|| id.chars().take(12).collect::<String>())
    };
    parts
        .iter()
        .rev()
        .find_map(bare)
        .map(|id| format!("container {id}"))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_told_from_its_control_group() {
        let id = "0123456789abcdef".repeat(4);
        for (path, told) in [
            (
                "/system.slice/slurmstepd.scope/job_77/step_0/user/task_1",
                Some("Slurm job 77, step 0, task 1".to_owned()),
            ),
            (
                "/slurm/uid_1000/job_9/step_batch",
                Some("Slurm job 9, step batch".to_owned()),
            ),
            ("/slurm/job_x", None),
            ("/home/job_77", None),
            (
                &format!("/system.slice/docker-{id}.scope"),
                Some("container 0123456789ab".to_owned()),
            ),
            (
                &format!("/kubepods/burstable/pod1/{id}"),
                Some("container 0123456789ab".to_owned()),
            ),
            ("/user.slice/user-1000.slice/session-4.scope", None),
        ] {
            assert_eq!(job(path), told, "{path}");
        }
    }

    #[test]
    fn where_a_login_came_from_is_told() {
        let from = |remote: Option<&str>, tty: Option<&str>| {
            came(&Came {
                remote: remote.map(str::to_owned),
                tty: tty.map(str::to_owned),
                service: Some("sshd".to_owned()),
            })
        };
        assert_eq!(
            from(Some("10.0.7.4"), Some("pts/0")),
            " by sshd from 10.0.7.4"
        );
        assert_eq!(from(None, Some("tty1")), " by sshd at tty1");
    }
}
