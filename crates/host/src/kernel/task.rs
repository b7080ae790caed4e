//! A task as the kernel holds it: where its fields lie, how a program writes them down, and how they are read.

use serde::{Deserialize, Serialize};

use super::asm::{FRAME, Helper, Program, R0, R1, R2, R3, R7, R8, R9};
use super::btf::{Btf, BtfError};

/// Bytes of what is told of a task.
pub(super) const TASK_BYTES: usize = 64;
pub(super) const COMM_BYTES: usize = 16;
/// Login user or session that was never set.
pub(super) const UNSET: u32 = u32::MAX;
/// Scratch on a program's stack: a pointer on its way, the number of a process.
const SCRATCH: i16 = -8;
pub(super) const NUMBER: i16 = -24;

/// A task at some moment, as the kernel holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// The process, in the first namespace of the host.
    pub pid: u32,
    /// The thread in it.
    pub thread: u32,
    /// When the process started, in nanoseconds since boot.
    pub started_ns: u64,
    /// Real user.
    pub uid: u32,
    /// Effective user.
    pub effective_uid: u32,
    /// Who logged in, whatever he became since; `None` where no login was recorded.
    pub login_uid: Option<u32>,
    /// The login's session.
    pub session: Option<u32>,
    /// Number of its control group in the unified tree.
    pub cgroup: u64,
    /// What it calls itself: fifteen bytes that it chooses itself.
    pub name: String,
}

/// Where fields of a task lie in this kernel.
#[derive(Debug, Clone, Copy)]
pub(super) struct Places {
    pub(super) tgid: u32,
    pub(super) pid: u32,
    pub(super) leader: u32,
    pub(super) started: u32,
    pub(super) credentials: u32,
    pub(super) login: u32,
    pub(super) session: u32,
    pub(super) groups: u32,
    pub(super) name: u32,
    pub(super) uid: u32,
    pub(super) effective: u32,
    pub(super) tree: u32,
    pub(super) node: u32,
    pub(super) number: u32,
}

impl Places {
    pub(super) fn of(btf: &Btf) -> Result<Self, BtfError> {
        let task = |path: &str| btf.offset("task_struct", path);
        Ok(Self {
            tgid: task("tgid")?,
            pid: task("pid")?,
            leader: task("group_leader")?,
            started: task("start_boottime")?,
            credentials: task("real_cred")?,
            login: task("loginuid.val")?,
            session: task("sessionid")?,
            groups: task("cgroups")?,
            name: task("comm")?,
            uid: btf.offset("cred", "uid.val")?,
            effective: btf.offset("cred", "euid.val")?,
            tree: btf.offset("css_set", "dfl_cgrp")?,
            node: btf.offset("cgroup", "kn")?,
            number: btf.offset("kernfs_node", "id")?,
        })
    }
}

/// Reads what [`describe`] has written.
pub(super) fn task(bytes: &[u8]) -> Option<Task> {
    let word = |at: usize| Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?));
    let long = |at: usize| Some(u64::from_ne_bytes(*bytes.get(at..)?.first_chunk()?));
    let set = |number: u32| (number != UNSET).then_some(number);
    let name = bytes.get(40..40 + COMM_BYTES)?;
    let end = name
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(COMM_BYTES);
    Some(Task {
        pid: word(0)?,
        thread: word(4)?,
        uid: word(8)?,
        effective_uid: word(12)?,
        login_uid: set(word(16)?),
        session: set(word(20)?),
        started_ns: long(24)?,
        cgroup: long(32)?,
        name: String::from_utf8_lossy(name.get(..end)?).into_owned(),
    })
}

/// Puts the number of the process whose task is in `R8` onto the stack.
pub(super) fn process_number(it: &mut Program, places: &Places) -> Option<()> {
    number_of(it, places.tgid)
}

/// Puts four bytes at `R8 + from` onto the stack, where numbers of processes are.
pub(super) fn number_of(it: &mut Program, from: u32) -> Option<()> {
    it.set(R0, 0);
    it.store(FRAME, NUMBER, R0);
    it.copy(R1, FRAME);
    it.add(R1, i32::from(NUMBER));
    it.set(R2, 4);
    it.copy(R3, R8);
    it.add(R3, i32::try_from(from).ok()?);
    it.call(Helper::ReadKernel);
    Some(())
}

/// Reads `bytes` at `R8 + from` into the record; what cannot be read is zero.
pub(super) fn read(it: &mut Program, to: i16, bytes: i32, from: u32) -> Option<()> {
    it.copy(R1, R9);
    it.add(R1, i32::from(to));
    it.set(R2, bytes);
    it.copy(R3, R8);
    it.add(R3, i32::try_from(from).ok()?);
    it.call(Helper::ReadKernel);
    Some(())
}

/// Follows the pointer at `R7 + from`, which is in `R7` afterwards.
pub(super) fn follow(it: &mut Program, from: u32) -> Option<()> {
    it.copy(R1, FRAME);
    it.add(R1, i32::from(SCRATCH));
    it.set(R2, 8);
    it.copy(R3, R7);
    it.add(R3, i32::try_from(from).ok()?);
    it.call(Helper::ReadKernel);
    it.load(R7, FRAME, SCRATCH);
    Some(())
}

/// As [`read`], from `R7`.
pub(super) fn read_there(it: &mut Program, to: i16, bytes: i32, from: u32) -> Option<()> {
    it.copy(R1, R9);
    it.add(R1, i32::from(to));
    it.set(R2, bytes);
    it.copy(R3, R7);
    it.add(R3, i32::try_from(from).ok()?);
    it.call(Helper::ReadKernel);
    Some(())
}

/// Writes what [`task`] reads, of the task in `R8`, to the record at `to`.
pub(super) fn describe(it: &mut Program, places: &Places, to: i16) -> Option<()> {
    read(it, to, 4, places.tgid)?;
    read(it, to + 4, 4, places.pid)?;
    read(it, to + 16, 4, places.login)?;
    read(it, to + 20, 4, places.session)?;
    it.copy(R7, R8);
    follow(it, places.credentials)?;
    read_there(it, to + 8, 4, places.uid)?;
    read_there(it, to + 12, 4, places.effective)?;
    it.copy(R7, R8);
    follow(it, places.leader)?;
    read_there(it, to + 24, 8, places.started)?;
    it.copy(R7, R8);
    follow(it, places.groups)?;
    follow(it, places.tree)?;
    follow(it, places.node)?;
    read_there(it, to + 32, 8, places.number)?;
    read(it, to + 40, i32::try_from(COMM_BYTES).ok()?, places.name)?;
    it.store_number(R9, to + 56, 0);
    it.store_number(R9, to + 60, 0);
    Some(())
}
