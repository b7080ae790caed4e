//! Instructions of the kernel's own machine (BPF), put together at run time.

/// A register. `R0` answers, `R1` to `R5` are given to a call and lost in it, `R6` to `R9` stay, `FRAME` is the stack's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reg(u8);

pub(super) const R0: Reg = Reg(0);
pub(super) const R1: Reg = Reg(1);
pub(super) const R2: Reg = Reg(2);
pub(super) const R3: Reg = Reg(3);
pub(super) const R4: Reg = Reg(4);
pub(super) const R6: Reg = Reg(6);
pub(super) const R7: Reg = Reg(7);
pub(super) const R8: Reg = Reg(8);
pub(super) const R9: Reg = Reg(9);
pub(super) const FRAME: Reg = Reg(10);

/// Functions of the kernel that a program may call.
#[derive(Debug, Clone, Copy)]
pub(super) enum Helper {
    MapLookup = 1,
    MapUpdate = 2,
    MapDelete = 3,
    CurrentTask = 35,
    ReadKernel = 113,
    ReadKernelText = 115,
    BootTime = 125,
    RingReserve = 131,
    RingSubmit = 132,
}

/// How a jump compares.
#[derive(Debug, Clone, Copy)]
pub(super) enum If {
    Equal = 0x15,
    Different = 0x55,
    /// Without a sign.
    Above = 0x25,
}

/// A place in the program that is not known yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Label(usize);

/// A program in the making.
#[derive(Debug, Default)]
pub(super) struct Program {
    code: Vec<[u8; 8]>,
    /// Where each label stands.
    labels: Vec<Option<usize>>,
    jumps: Vec<(usize, Label)>,
}

impl Program {
    fn put(&mut self, code: u8, to: Reg, from: Reg, offset: i16, number: i32) {
        let mut it = [0; 8];
        let registers = if cfg!(target_endian = "little") {
            from.0 << 4 | to.0
        } else {
            to.0 << 4 | from.0
        };
        it[0] = code;
        it[1] = registers;
        it[2..4].copy_from_slice(&offset.to_ne_bytes());
        it[4..].copy_from_slice(&number.to_ne_bytes());
        self.code.push(it);
    }

    pub(super) fn copy(&mut self, to: Reg, from: Reg) {
        self.put(0xBF, to, from, 0, 0);
    }

    pub(super) fn set(&mut self, to: Reg, number: i32) {
        self.put(0xB7, to, R0, 0, number);
    }

    pub(super) fn add(&mut self, to: Reg, number: i32) {
        self.put(0x07, to, R0, 0, number);
    }

    /// Eight bytes at `from + offset`.
    pub(super) fn load(&mut self, to: Reg, from: Reg, offset: i16) {
        self.put(0x79, to, from, offset, 0);
    }

    /// Eight bytes to `to + offset`.
    pub(super) fn store(&mut self, to: Reg, offset: i16, from: Reg) {
        self.put(0x7B, to, from, offset, 0);
    }

    /// Four bytes to `to + offset`.
    pub(super) fn store_word(&mut self, to: Reg, offset: i16, from: Reg) {
        self.put(0x63, to, from, offset, 0);
    }

    /// A number of four bytes to `to + offset`.
    pub(super) fn store_number(&mut self, to: Reg, offset: i16, number: i32) {
        self.put(0x62, to, R0, offset, number);
    }

    /// Adds eight bytes to those at `to + offset`, at once for all processors.
    pub(super) fn count(&mut self, to: Reg, offset: i16, from: Reg) {
        self.put(0xDB, to, from, offset, 0);
    }

    /// The map behind a descriptor.
    pub(super) fn map(&mut self, to: Reg, descriptor: i32) {
        self.put(0x18, to, Reg(1), 0, descriptor);
        self.put(0, R0, R0, 0, 0);
    }

    pub(super) fn call(&mut self, helper: Helper) {
        self.put(0x85, R0, R0, 0, helper as i32);
    }

    pub(super) fn exit(&mut self) {
        self.put(0x95, R0, R0, 0, 0);
    }

    pub(super) fn label(&mut self) -> Label {
        self.labels.push(None);
        Label(self.labels.len() - 1)
    }

    /// Jumps to `label` if the register compares so with the number.
    pub(super) fn jump(&mut self, how: If, register: Reg, number: i32, label: Label) {
        self.jumps.push((self.code.len(), label));
        self.put(how as u8, register, R0, 0, number);
    }

    /// As [`Program::jump`], with another register in the number's place.
    pub(super) fn jump_between(&mut self, how: If, one: Reg, other: Reg, label: Label) {
        self.jumps.push((self.code.len(), label));
        self.put(how as u8 | 0x08, one, other, 0, 0);
    }

    pub(super) fn always(&mut self, label: Label) {
        self.jumps.push((self.code.len(), label));
        self.put(0x05, R0, R0, 0, 0);
    }

    /// The label stands here.
    pub(super) fn here(&mut self, label: Label) {
        if let Some(place) = self.labels.get_mut(label.0) {
            *place = Some(self.code.len());
        }
    }

    /// The instructions; `None` if a jump leads nowhere or too far.
    pub(super) fn finish(mut self) -> Option<Vec<[u8; 8]>> {
        for (at, label) in self.jumps {
            let target = (*self.labels.get(label.0)?)?;
            let from = at.checked_add(1)?;
            let distance =
                i16::try_from(isize::try_from(target).ok()? - isize::try_from(from).ok()?);
            let place = self.code.get_mut(at)?;
            place[2..4].copy_from_slice(&distance.ok()?.to_ne_bytes());
        }
        Some(self.code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_leads_to_its_label() {
        let mut program = Program::default();
        let end = program.label();
        program.set(R0, 0);
        program.jump(If::Equal, R6, 17, end);
        program.set(R0, 1);
        program.here(end);
        program.exit();
        let code = program.finish().unwrap();
        assert_eq!(code.len(), 4);
        assert_eq!(&code[1], &[0x15, 0x06, 1, 0, 17, 0, 0, 0]);
        assert_eq!(&code[3], &[0x95, 0, 0, 0, 0, 0, 0, 0]);
        let mut open = Program::default();
        let nowhere = open.label();
        open.always(nowhere);
        assert!(open.finish().is_none());
    }
}
