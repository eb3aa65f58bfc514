//! New calls, and the older ones that C libraries use if the kernel says that it does not know the new one.

use super::arch::Arch;
use super::syscall::{Syscall, named};

/// On all architectures.
const NEW: &[(&str, &str)] = &[
    ("clone3", "clone"),
    ("faccessat2", "faccessat"),
    ("fchmodat2", "fchmodat"),
    ("openat2", "openat"),
    ("statx", "newfstatat fstatat64"),
    ("epoll_pwait2", "epoll_pwait"),
    ("close_range", "close"),
];

/// On architectures of 32 bits: those with times of 64 bits (Linux 5.1), which C libraries have called first since 2020.
const WIDE_TIMES: &[(&str, &str)] = &[
    ("clock_adjtime64", "clock_adjtime"),
    ("clock_getres_time64", "clock_getres"),
    ("clock_gettime64", "clock_gettime"),
    ("clock_nanosleep_time64", "clock_nanosleep"),
    ("clock_settime64", "clock_settime"),
    ("futex_time64", "futex"),
    ("mq_timedreceive_time64", "mq_timedreceive"),
    ("mq_timedsend_time64", "mq_timedsend"),
    ("ppoll_time64", "ppoll"),
    ("pselect6_time64", "pselect6"),
    ("recvmmsg_time64", "recvmmsg"),
    ("rt_sigtimedwait_time64", "rt_sigtimedwait"),
    ("sched_rr_get_interval_time64", "sched_rr_get_interval"),
    ("semtimedop_time64", "semtimedop"),
    ("timer_gettime64", "timer_gettime"),
    ("timer_settime64", "timer_settime"),
    ("timerfd_gettime64", "timerfd_gettime"),
    ("timerfd_settime64", "timerfd_settime"),
    ("utimensat_time64", "utimensat"),
];

fn on(
    arch: Arch,
    pairs: &'static [(&'static str, &'static str)],
) -> impl Iterator<Item = (Syscall, Vec<Syscall>)> {
    let is_there = move |call: &Syscall| call.number(arch).is_some();
    pairs.iter().filter_map(move |(new, old)| {
        let new = Syscall::named(new).filter(is_there)?;
        Some((new, named(old).filter(is_there).collect()))
    })
}

/// The new calls of an architecture with the older ones that do for them.
pub(super) fn new_calls(arch: Arch) -> impl Iterator<Item = (Syscall, Vec<Syscall>)> {
    on(arch, NEW)
}

/// Those with times of 64 bits, of an architecture of 32 bits that has both.
pub(super) fn wide_times(arch: Arch) -> impl Iterator<Item = (Syscall, Vec<Syscall>)> {
    on(arch, WIDE_TIMES).filter(|(_, old)| !old.is_empty())
}

/// New calls that a list of what is allowed had better answer with `ENOSYS`: they are not in it, and what C libraries then use is.
#[must_use]
pub fn to_answer_enosys(allowed: &[Syscall], arches: &[Arch]) -> Vec<Syscall> {
    let pairs = arches
        .iter()
        .flat_map(|arch| new_calls(*arch).chain(wide_times(*arch)));
    let is_allowed = |call: &Syscall| allowed.contains(call);
    let lacking = pairs.filter(|(new, old)| !is_allowed(new) && old.iter().any(is_allowed));
    let mut lacking: Vec<_> = lacking.map(|(new, _)| new).collect();
    lacking.sort_unstable();
    lacking.dedup();
    lacking
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_one() {
        for (new, old) in NEW.iter().chain(WIDE_TIMES) {
            assert!(Syscall::named(new).is_some(), "{new}");
            for name in old.split(' ') {
                assert!(Syscall::named(name).is_some(), "{name}");
            }
        }
    }

    #[test]
    fn what_is_new_and_not_allowed_is_to_be_answered_where_the_old_is_allowed() {
        let calls: Vec<_> = named("clone futex openat openat2").collect();
        let answered = |arches: &[Arch]| {
            let calls = to_answer_enosys(&calls, arches).into_iter();
            calls.map(Syscall::name).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(answered(&[Arch::X86_64]), "clone3");
        assert_eq!(answered(&[Arch::X86_64, Arch::X86]), "clone3 futex_time64");
    }
}
