//! Of which calls the values of arguments are worth keeping.

use seccomp_profile::Syscall;

/// How many values of one argument are told apart; more of them are "any".
pub const MAX_VALUES: usize = 64;

/// Calls, and the positions of the arguments of which each value is kept: those that profiles tell apart. Only what is trapped can be
/// kept, so that for an [assumed](crate::is_assumed) call there is none.
pub const ARGUMENTS: &[(&str, &[u8])] = &[
    ("bpf", &[0]),
    ("clone", &[0]),
    ("fcntl", &[1]),
    ("fcntl64", &[1]),
    ("ioctl", &[1]),
    ("personality", &[0]),
    ("prctl", &[0]),
    ("socket", &[0, 1]),
];

/// The positions of the arguments of a call whose values are kept.
pub(crate) fn kept(call: Syscall) -> &'static [u8] {
    let found = ARGUMENTS.iter().find(|(name, _)| *name == call.name());
    found.map_or(&[], |(_, positions)| positions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_that_of_a_call() {
        for (name, positions) in ARGUMENTS {
            assert_eq!(kept(Syscall::named(name).unwrap()), *positions);
        }
        assert_eq!(kept(Syscall::named("mkdir").unwrap()), [0_u8; 0]);
    }
}
