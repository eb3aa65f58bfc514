//! A profile as runc has it compiled by libseccomp (`libcontainer/seccomp/seccomp_linux.go`).

use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::ptr;

use libseccomp::error::SeccompError;
use libseccomp::{
    ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall,
};
use rustix::process::{Pid, WaitOptions, waitpid};
use seccomp_profile::{Action, Arch, Condition, Errno, Operator, Profile, Rule, Syscall};

fn scmp_arch(arch: Arch) -> ScmpArch {
    match arch {
        Arch::X86 => ScmpArch::X86,
        Arch::X86_64 => ScmpArch::X8664,
        Arch::X32 => ScmpArch::X32,
        Arch::Arm => ScmpArch::Arm,
        Arch::Aarch64 => ScmpArch::Aarch64,
        Arch::Loongarch64 => ScmpArch::Loongarch64,
        Arch::Mips => ScmpArch::Mips,
        Arch::Mips64 => ScmpArch::Mips64,
        Arch::Mips64N32 => ScmpArch::Mips64N32,
        Arch::Mipsel => ScmpArch::Mipsel,
        Arch::Mipsel64 => ScmpArch::Mipsel64,
        Arch::Mipsel64N32 => ScmpArch::Mipsel64N32,
        Arch::Ppc => ScmpArch::Ppc,
        Arch::Ppc64 => ScmpArch::Ppc64,
        Arch::Ppc64Le => ScmpArch::Ppc64Le,
        Arch::Riscv64 => ScmpArch::Riscv64,
        Arch::S390 => ScmpArch::S390,
        Arch::S390X => ScmpArch::S390X,
        other => unreachable!("{other}"),
    }
}

/// Whether the library at hand knows the architecture (`LoongArch` is newer than 2.5.4).
pub fn is_known(arch: Arch) -> bool {
    ScmpFilterContext::new(ScmpAction::Allow)
        .unwrap()
        .is_arch_present(scmp_arch(arch))
        .is_ok()
}

fn scmp_action(action: Action) -> ScmpAction {
    let errno = action.errno().map_or(0, Errno::get);
    match action {
        Action::KillProcess => ScmpAction::KillProcess,
        Action::KillThread => ScmpAction::KillThread,
        Action::Trap => ScmpAction::Trap,
        Action::Errno(_) => ScmpAction::Errno(errno.into()),
        Action::Notify => ScmpAction::Notify,
        Action::Trace(_) => ScmpAction::Trace(errno),
        Action::Log => ScmpAction::Log,
        Action::Allow => ScmpAction::Allow,
        other => unreachable!("{other}"),
    }
}

fn comparison(condition: &Condition) -> ScmpArgCompare {
    let (op, value) = match condition.operator {
        Operator::NotEqual => (ScmpCompareOp::NotEqual, condition.value),
        Operator::Less => (ScmpCompareOp::Less, condition.value),
        Operator::LessOrEqual => (ScmpCompareOp::LessOrEqual, condition.value),
        Operator::Equal => (ScmpCompareOp::Equal, condition.value),
        Operator::GreaterOrEqual => (ScmpCompareOp::GreaterEqual, condition.value),
        Operator::Greater => (ScmpCompareOp::Greater, condition.value),
        Operator::MaskedEqual { mask } => (ScmpCompareOp::MaskedEqual(mask), condition.value),
    };
    ScmpArgCompare::new(condition.arg.get().into(), op, value)
}

/// What runc does with a profile on a node of this architecture: the instructions as the kernel takes them. `tree` is what
/// runc chooses from 1.2 on where there are more than 32 rules.
pub fn compile(profile: &Profile, native: Arch, tree: bool) -> Result<Vec<u8>, SeccompError> {
    let mut filter = ScmpFilterContext::new(scmp_action(profile.default_action()))?;
    // The library's own idea of native is that of this machine.
    filter.remove_arch(ScmpArch::Native)?;
    filter.add_arch(scmp_arch(native))?;
    for arch in profile
        .architectures()
        .iter()
        .filter(|arch| *arch != native)
    {
        filter.add_arch(scmp_arch(arch))?;
    }
    if tree {
        filter.set_ctl_optimize(2)?;
    }
    for rule in profile
        .rules()
        .iter()
        .filter(|rule| rule.action() != profile.default_action())
    {
        for call in rule.syscalls() {
            add(&mut filter, rule, *call)?;
        }
    }
    let mut file: File = tempfile::tempfile().unwrap();
    filter.export_bpf(&file)?;
    let mut bytes = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut bytes).unwrap();
    Ok(bytes)
}

/// What became of a profile that was compiled in a process of its own.
pub enum Compiled {
    /// These instructions.
    Made(Vec<u8>),
    /// An error.
    Refused,
    /// Nothing: the library was still at it when its time was up.
    Endless,
}

/// Does what [`compile`] does in a process of its own, and gives that a quarter of a second of a CPU, which is a thousand times what it
/// needs: libseccomp never comes back from some rules.
#[allow(unsafe_code)]
pub fn compile_apart(profile: &Profile, native: Arch) -> Compiled {
    let mut file: File = tempfile::tempfile().unwrap();
    // SAFETY: the child uses nothing but the allocator, which is whole in it, and libseccomp, which keeps nothing between calls.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let zero = libc::timeval {
            tv_sec: 0,
            tv_usec: 0,
        };
        let time = libc::itimerval {
            it_interval: zero,
            it_value: libc::timeval {
                tv_usec: 250_000,
                ..zero
            },
        };
        // SAFETY: `time` lives, and nobody asks what it was before. What ends the process is the signal's default.
        unsafe { libc::setitimer(libc::ITIMER_VIRTUAL, &raw const time, ptr::null_mut()) };
        let made = compile(profile, native, false);
        let is_made = made.is_ok_and(|bytes| file.write_all(&bytes).is_ok());
        // SAFETY: always. What the parent has to clean up stays the parent's.
        unsafe { libc::_exit(i32::from(!is_made)) };
    }
    let child = Pid::from_raw(child).unwrap();
    let (_, status) = waitpid(Some(child), WaitOptions::empty()).unwrap().unwrap();
    match status.exit_status() {
        Some(0) => {
            file.rewind().unwrap();
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).unwrap();
            Compiled::Made(bytes)
        }
        Some(_) => Compiled::Refused,
        None => {
            assert_eq!(status.terminating_signal(), Some(libc::SIGVTALRM));
            Compiled::Endless
        }
    }
}

fn add(filter: &mut ScmpFilterContext, rule: &Rule, call: Syscall) -> Result<(), SeccompError> {
    let Ok(number) = ScmpSyscall::from_name(call.name()) else {
        return Ok(());
    };
    let action = scmp_action(rule.action());
    let comparisons: Vec<_> = rule.conditions().iter().map(comparison).collect();
    let mut indices: Vec<_> = rule
        .conditions()
        .iter()
        .map(|condition| condition.arg)
        .collect();
    indices.sort_unstable();
    indices.dedup();
    if comparisons.is_empty() {
        filter.add_rule(action, number)?;
    } else if indices.len() == comparisons.len() {
        filter.add_rule_conditional(action, number, &comparisons)?;
    } else {
        for comparison in comparisons {
            filter.add_rule_conditional(action, number, &[comparison])?;
        }
    }
    Ok(())
}

/// Whether the library at hand knows the call there, and by that number.
pub fn is_known_on(call: Syscall, arch: Arch, number: u32) -> bool {
    ScmpSyscall::from_name_by_arch(call.name(), scmp_arch(arch))
        .is_ok_and(|known| u32::try_from(known.as_raw_syscall()) == Ok(number))
}
