//! Of which calls the values of arguments are worth keeping.

use seccomp_profile::{ArgIndex, Syscall};

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

/// The arguments of a call whose values are kept: those of the table, and those of `more`.
pub(crate) fn kept(call: Syscall, more: &[(Syscall, ArgIndex)]) -> Vec<ArgIndex> {
    let found = ARGUMENTS.iter().find(|(name, _)| *name == call.name());
    let positions = found.map_or(&[][..], |(_, positions)| positions);
    let known = |argument: &ArgIndex| {
        positions.contains(&argument.get()) || more.contains(&(call, *argument))
    };
    ArgIndex::ALL.iter().copied().filter(known).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_that_of_a_call() {
        for (name, positions) in ARGUMENTS {
            let kept = kept(Syscall::named(name).unwrap(), &[]);
            let kept: Vec<_> = kept.iter().map(|argument| argument.get()).collect();
            assert_eq!(kept, *positions);
        }
        let [mkdir, socket] = ["mkdir", "socket"].map(|name| Syscall::named(name).unwrap());
        let [first, last] = [0, 5].map(|index| ArgIndex::new(index).unwrap());
        assert_eq!(kept(mkdir, &[(socket, last)]), []);
        assert_eq!(kept(mkdir, &[(mkdir, last)]), [last]);
        let second = ArgIndex::new(1).unwrap();
        assert_eq!(
            kept(socket, &[(socket, last), (socket, first)]),
            [first, second, last]
        );
    }
}
