//! The kernel's classic BPF, as far as libseccomp uses it.

use seccomp_profile::{Action, Arch, Arguments, Errno};

/// A filter, in the byte order of its architecture.
pub struct Program {
    instructions: Vec<Instruction>,
    big_endian: bool,
}

struct Instruction {
    code: u16,
    if_true: u8,
    if_false: u8,
    operand: u32,
}

fn is_big_endian(arch: Arch) -> bool {
    matches!(
        arch,
        Arch::Mips
            | Arch::Mips64
            | Arch::Mips64N32
            | Arch::Ppc
            | Arch::Ppc64
            | Arch::S390
            | Arch::S390X
    )
}

impl Program {
    /// Reads what libseccomp exported for a filter of this byte order.
    pub fn read(bytes: &[u8], arch: Arch) -> Self {
        let big_endian = is_big_endian(arch);
        let instructions = bytes.chunks_exact(8).map(|bytes| {
            let (code, operand) = (
                [bytes[0], bytes[1]],
                [bytes[4], bytes[5], bytes[6], bytes[7]],
            );
            Instruction {
                code: if big_endian {
                    u16::from_be_bytes(code)
                } else {
                    u16::from_le_bytes(code)
                },
                if_true: bytes[2],
                if_false: bytes[3],
                operand: if big_endian {
                    u32::from_be_bytes(operand)
                } else {
                    u32::from_le_bytes(operand)
                },
            }
        });
        Self {
            instructions: instructions.collect(),
            big_endian,
        }
    }

    /// Whether it is as libseccomp would have made it on a machine of its own byte order. On this one it swaps the bytes
    /// of what it repeats to keep jumps short twice.
    pub fn is_sound(&self) -> bool {
        !self.big_endian || self.instructions.len() <= 255
    }

    /// Runs it on one call.
    pub fn run(&self, arch: Arch, number: u32, args: &Arguments) -> Action {
        let word = |offset: u32| match offset {
            0 => number,
            4 => arch.audit_arch(),
            16..64 => {
                let arg = args.iter().nth((offset as usize - 16) / 8).unwrap();
                let is_high = offset.is_multiple_of(8) == self.big_endian;
                u32::try_from(if is_high {
                    arg >> 32
                } else {
                    arg & 0xffff_ffff
                })
                .unwrap()
            }
            _ => panic!("loads {offset}"),
        };
        let (mut at, mut accumulator) = (0, 0);
        loop {
            let &Instruction {
                code,
                if_true,
                if_false,
                operand,
            } = &self.instructions[at];
            at += 1;
            let jump = |condition| usize::from(if condition { if_true } else { if_false });
            match code {
                0x20 => accumulator = word(operand),
                0x54 => accumulator &= operand,
                0x05 => at += operand as usize,
                0x15 => at += jump(accumulator == operand),
                0x25 => at += jump(accumulator > operand),
                0x35 => at += jump(accumulator >= operand),
                0x45 => at += jump(accumulator & operand != 0),
                0x06 => return action(operand),
                _ => panic!("instruction {code:#x}"),
            }
        }
    }
}

/// The kernel's `SECCOMP_RET_*`.
fn action(value: u32) -> Action {
    let errno = || Errno::new(u64::from(value & 0xffff)).unwrap();
    match value & 0xffff_0000 {
        0x8000_0000 => Action::KillProcess,
        0x0000_0000 => Action::KillThread,
        0x0003_0000 => Action::Trap,
        0x0005_0000 => Action::Errno(errno()),
        0x7fc0_0000 => Action::Notify,
        0x7ff0_0000 => Action::Trace(errno()),
        0x7ffc_0000 => Action::Log,
        0x7fff_0000 => Action::Allow,
        _ => panic!("returns {value:#x}"),
    }
}
