//! The profiles that a container is recorded under, and that its refused calls are observed under.

use std::collections::BTreeSet;

use seccomp_profile::{Action, ArgIndex, Problem, Problems, Profile, Syscall, TooComplex};

use crate::answer::{Asked, MAX_STANDING, Standing};
use crate::assumed::assumed;

/// The longest metadata that the recorder hands on.
pub const MAX_METADATA: usize = 1024;

/// A UNIX socket's path, with its terminating zero, has to fit into `sockaddr_un`.
const MAX_PATH: usize = 107;

/// Why there is no recording profile.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct NoRecording(#[from] pub Problems);

/// The profile that asks the listener at `socket` about what `base` lets happen and what it refuses with an error, but for what is
/// [assumed](crate::assumed). The runtime hands `metadata`, a line, to the listener with each descriptor, and below it the base, by
/// which the listener refuses, and the arguments of which it keeps the values beside the [usual](crate::ARGUMENTS) ones. A base too long for that refuses by itself, unheard. `at` is the path of the base.
pub fn recording_profile(
    base: &Profile,
    socket: &str,
    metadata: &str,
    kept: &[(Syscall, ArgIndex)],
    at: &str,
) -> Result<Profile, NoRecording> {
    check(base, socket, metadata, "recorded", at)?;
    let semantics = base.exact_semantics(at)?;
    let assumed: Vec<_> = assumed().collect();
    let standing = Standing::of(base, kept, Asked::Both);
    let is_asked = |action: Action| {
        action.is_permitted() || standing.is_some() && is_refused_with_error(action)
    };
    let handed = match &standing {
        Some(standing) => format!("{metadata}\n{}", standing.text()),
        None => metadata.to_owned(),
    };
    let is_assumed = |call| assumed.contains(&call);
    let notified = semantics
        .notified(is_asked, is_assumed, socket, Some(&handed))
        .map_err(|error| too_complex(error, at))?;
    Ok(notified.profile(at)?)
}

/// The profile that asks the listener at `socket` about what `profile` refuses with an error, and about nothing else; none if there is
/// nothing to ask about. What is [assumed](crate::assumed), what is newer than all that the profile names, and the few arguments that cannot
/// be told apart by 32 bits are refused as ever, unheard. The runtime hands `metadata`, a line, to the listener with each descriptor, and below it the profile, by which the listener refuses. `at` is the
/// path of the profile.
pub fn observed_profile(
    profile: &Profile,
    socket: &str,
    metadata: &str,
    at: &str,
) -> Result<Option<Profile>, NoRecording> {
    check(profile, socket, metadata, "observed", at)?;
    let semantics = profile.exact_semantics(at)?;
    let standing = Standing::of(profile, &telling(profile), Asked::Refusals);
    let standing = standing.ok_or_else(|| too_long("observed", at))?;
    let handed = format!("{metadata}\n{}", standing.text());
    let assumed: Vec<_> = assumed().collect();
    let is_assumed = |call| assumed.contains(&call);
    let observed = semantics
        .notified_exactly(is_refused_with_error, is_assumed, socket, Some(&handed))
        .map_err(|error| too_complex(error, at))?
        .profile(at)?;
    let mut rules = observed.rules().iter();
    let is_asked = rules.any(|rule| rule.action() == Action::Notify);
    Ok(is_asked.then_some(observed))
}

/// The arguments that say why a call was refused: those that the profile compares, and a few that say what was meant.
pub(crate) fn telling(profile: &Profile) -> Vec<(Syscall, ArgIndex)> {
    let compared = profile.rules().iter().flat_map(|rule| {
        let calls = rule.syscalls().iter();
        calls.flat_map(|call| {
            let conditions = rule.conditions().iter();
            conditions.map(|condition| (*call, condition.arg))
        })
    });
    let meant = MEANT
        .iter()
        .filter_map(|(name, index)| Some((Syscall::named(name)?, ArgIndex::new((*index).into())?)));
    let all: BTreeSet<_> = compared.chain(meant).collect();
    all.into_iter().collect()
}

/// Calls that profiles refuse whole, and the arguments that say what for they were made.
const MEANT: &[(&str, u8)] = &[
    ("keyctl", 0),
    ("ptrace", 0),
    ("setns", 1),
    ("setsockopt", 1),
    ("setsockopt", 2),
    ("unshare", 0),
];

/// The profile does not go along with a descriptor.
pub(crate) fn too_long(done: &str, at: &str) -> NoRecording {
    let reason = format!(
        "cannot be {done} with more than {MAX_STANDING} bytes of JSON, which go along with each container"
    );
    problem(reason, "use fewer rules with conditions", at)
}

fn problem(reason: String, remedy: &str, at: &str) -> NoRecording {
    let (path, remedy) = (at.to_owned(), remedy.to_owned());
    NoRecording(
        Problem {
            path,
            reason,
            remedy,
        }
        .into(),
    )
}

pub(crate) fn too_complex(error: TooComplex, at: &str) -> NoRecording {
    let remedy = "use fewer conditions, and such as exclude each other";
    problem(error.to_string(), remedy, at)
}

/// Whether calls can be `done`, recorded, observed or tried, by the listener under this profile.
pub(crate) fn check(
    profile: &Profile,
    socket: &str,
    metadata: &str,
    done: &str,
    at: &str,
) -> Result<(), NoRecording> {
    if !socket.starts_with('/') || socket.len() > MAX_PATH {
        let reason = format!("cannot be {done} through the socket {socket:?}");
        let remedy = "use an absolute path of 107 bytes at most";
        return Err(problem(reason, remedy, at));
    }
    if metadata.len() > MAX_METADATA || metadata.contains('\n') {
        let reason = format!("cannot be {done} with {} bytes of metadata", metadata.len());
        return Err(problem(reason, "use one line of 1024 bytes at most", at));
    }
    if profile.listener().is_some() {
        let reason = "has a listener of its own, and the kernel lets a process have one".to_owned();
        let remedy = format!("without listenerPath it can be {done}");
        return Err(problem(reason, &remedy, at));
    }
    Ok(())
}

/// Whether the listener can refuse in its place. A success that is none, signals and tracers are the kernel's own.
pub(crate) fn is_refused_with_error(action: Action) -> bool {
    matches!(action, Action::Errno(errno) if errno.get() > 0)
}

#[cfg(test)]
mod tests {
    use seccomp_profile::{
        AUDIT, Arch, Arguments, BUILTINS, CapabilitySet, Errno, KernelVersion, Model, Target,
        builtin, parse, parse_slice,
    };
    use serde_json::json;

    use super::*;
    use crate::answer::{Answer, Answers};
    use crate::sys::Notification;

    const SOCKET: &str = "/var/lib/kubelet/seccomp/recorder/notify.sock";

    fn base(name: &str, arch: Arch) -> Profile {
        let target = Target {
            arch,
            kernel: KernelVersion {
                major: 6,
                minor: 18,
            },
            capabilities: CapabilitySet::RUNTIME_DEFAULT,
        };
        builtin(name).unwrap().resolve(&target)
    }

    /// What a process under the recording profile gets, with the listener's answer where it is asked, and whether it is.
    fn outcome(
        recording: &Model,
        answers: &Answers,
        (arch, number): (Arch, u32),
        args: [u64; 6],
    ) -> (Action, bool) {
        match recording.decide_under_runc(arch, number, &Arguments::from(args)) {
            Action::Notify => {
                let call = Notification {
                    id: 1,
                    arch: arch.audit_arch(),
                    number,
                    args,
                };
                let action = match answers.to(&call) {
                    Answer::Proceed => Action::Allow,
                    Answer::Refuse(errno) => Action::Errno(Errno::new(errno.into()).unwrap()),
                };
                (action, true)
            }
            action => (action, false),
        }
    }

    /// For every call and all arguments at which a rule begins or ends: refused is refused, and with the same error. How many are asked
    /// about of those that are let happen, and of those that are not.
    fn compare(base: &Profile, arch: Arch, name: &str) -> [usize; 2] {
        let profile = recording_profile(base, SOCKET, "shop/web", &[], "spec.base").unwrap();
        let (before, after) = (base.model().unwrap(), profile.model().unwrap());
        assert_eq!(after.flaws(), []);
        let metadata = profile.listener().unwrap().metadata.clone().unwrap();
        let (_, standing) = metadata.split_once('\n').unwrap();
        let answers = Standing::from(standing.to_owned()).read().answers;
        let mut asked_about = [0, 0];
        let calls = base.architectures().iter().flat_map(|abi| {
            Syscall::all().filter_map(move |call| Some((abi, call, call.number(abi)?)))
        });
        for (abi, call, number) in calls {
            let is_assumed = crate::is_assumed(call);
            let firsts = [0, 1, 2, 10, 16, 17, 38, 40].map(|first| [first, 0, 0, 0, 0, 0]);
            for args in firsts.into_iter().chain([[0x1000_0000, 2, 3, 0, 0, 0]]) {
                let was = before.decide_under_runc(abi, number, &Arguments::from(args));
                let (is, asked) = outcome(&after, &answers, (abi, number), args);
                // Of calls that nobody is asked about the machine's own number counts.
                let is_other = !abi.is_64_bit() && is_assumed;
                let is_same = is == was
                    || is.is_permitted() && was.is_permitted()
                    || is_other && is_refused_with_error(is) && is_refused_with_error(was);
                assert!(is_same, "{name} {abi} {call} {args:?}: {was} became {is}");
                // One number carries several calls there, and none of those is in the kernel's table alone.
                let carries = call == Syscall::SOCKETCALL || call == Syscall::IPC;
                if !carries {
                    let is_asked = was.is_permitted() || is_refused_with_error(was);
                    assert_eq!(asked, is_asked && !is_assumed, "{name} {abi} {call}");
                }
                asked_about[usize::from(!was.is_permitted())] += usize::from(asked);
            }
        }
        let again = parse_slice(&profile.to_canonical_json(), "").unwrap();
        let target = Target {
            arch,
            kernel: KernelVersion::CURRENT,
            capabilities: CapabilitySet::EMPTY,
        };
        assert!(again.resolve(&target) == profile, "{name} {arch}");
        asked_about
    }

    #[test]
    fn a_recording_refuses_what_its_base_refuses_and_is_asked_about_all() {
        for name in BUILTINS {
            for arch in Arch::KUBERNETES {
                let [let_happen, refused] = compare(&base(name, *arch), *arch, name);
                assert!(let_happen > 1000, "{name} {arch}: {let_happen}");
                assert!(refused > 100 || name == &AUDIT, "{name} {arch}: {refused}");
            }
        }
    }

    /// runc answers ENOSYS above the highest number that a profile names: also where that is a low one.
    #[test]
    fn what_is_newer_than_the_base_stays_unknown_and_what_kills_kills() {
        let document = json!({
            "defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
            "syscalls": [
                {"names": ["read", "write", "mkdir", "statx", "execve"], "action": "SCMP_ACT_ALLOW"},
                {"names": ["ptrace"], "action": "SCMP_ACT_KILL_PROCESS"},
                {"names": ["mount"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13},
                {"names": ["reboot"], "action": "SCMP_ACT_TRAP"},
            ],
        });
        let target = Target {
            arch: Arch::X86_64,
            kernel: KernelVersion::CURRENT,
            capabilities: CapabilitySet::EMPTY,
        };
        let base = parse(&document, "").unwrap().resolve(&target);
        let [_, refused] = compare(&base.canonical("").unwrap(), Arch::X86_64, "few");
        assert!(refused > 1000, "{refused}");
    }

    #[test]
    fn a_base_that_is_too_long_to_go_along_refuses_by_itself() {
        let rule = |value: u64| json!({"names": ["ioctl"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 1, "op": "SCMP_CMP_EQ", "value": value}]});
        let rules: Vec<_> = (0..400).map(|n| rule(n * 1000)).collect();
        let document = json!({"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86_64"], "syscalls": rules});
        let target = Target {
            arch: Arch::X86_64,
            kernel: KernelVersion::CURRENT,
            capabilities: CapabilitySet::EMPTY,
        };
        let base = parse(&document, "").unwrap().resolve(&target);
        let profile = recording_profile(&base, SOCKET, "shop/web", &[], "").unwrap();
        let metadata = profile.listener().unwrap().metadata.clone();
        assert_eq!(metadata.as_deref(), Some("shop/web"));
        let mount = Syscall::named("mount").unwrap();
        let number = mount.number(Arch::X86_64).unwrap();
        let model = profile.model().unwrap();
        let action = model.decide(Arch::X86_64, number, &Arguments::ZEROS);
        assert_eq!(action, Action::Errno(Errno::EPERM));
    }

    fn observed(profile: &Profile) -> (Model, Answers) {
        let observed = observed_profile(profile, SOCKET, "observe:tight", "spec");
        let observed = observed.unwrap().unwrap();
        let metadata = observed.listener().unwrap().metadata.clone().unwrap();
        let (first, standing) = metadata.split_once('\n').unwrap();
        assert_eq!(first, "observe:tight");
        let answers = Standing::from(standing.to_owned()).read().answers;
        let target = Target {
            arch: Arch::X86_64,
            kernel: KernelVersion::CURRENT,
            capabilities: CapabilitySet::EMPTY,
        };
        let arch = *Arch::KUBERNETES
            .iter()
            .find(|arch| profile.architectures().contains(**arch))
            .unwrap();
        let again = parse_slice(&observed.to_canonical_json(), "").unwrap();
        assert!(again.resolve(&Target { arch, ..target }) == observed);
        let model = observed.model().unwrap();
        assert_eq!(model.flaws(), []);
        (model, answers)
    }

    /// For every call and all arguments at which a rule begins or ends it is as without; only what is refused is asked about. How many are.
    fn compare_observed(profile: &Profile, name: &str) -> usize {
        let before = profile.model().unwrap();
        let (after, answers) = observed(profile);
        let mut asked_about = 0;
        let calls = profile.architectures().iter().flat_map(|abi| {
            Syscall::all().filter_map(move |call| Some((abi, call, call.number(abi)?)))
        });
        for (abi, call, number) in calls {
            let firsts = [0, 1, 2, 10, 16, 17, 38, 40].map(|first| [first, 0, 0, 0, 0, 0]);
            for args in firsts.into_iter().chain([[0x1000_0000, 2, 3, 0, 0, 0]]) {
                let arguments = Arguments::from(args);
                let was = before.decide_under_runc(abi, number, &arguments);
                let (is, asked) = outcome(&after, &answers, (abi, number), args);
                // Hardly a kernel has it.
                let is_same = is == was
                    || abi == Arch::X32 && is_refused_with_error(is) && is_refused_with_error(was);
                assert!(is_same, "{name} {abi} {call} {args:?}: {was} became {is}");
                assert!(!asked || is_refused_with_error(was), "{name} {abi} {call}");
                asked_about += usize::from(asked);
            }
        }
        asked_about
    }

    #[test]
    fn an_observed_profile_does_what_it_did_and_asks_about_nothing_that_it_lets_happen() {
        for name in BUILTINS.iter().filter(|name| **name != AUDIT) {
            for arch in Arch::KUBERNETES {
                let asked = compare_observed(&base(name, *arch), name);
                assert!(asked > 100, "{name} {arch}: {asked}");
            }
        }
        let (model, answers) = observed(&base("runtime-default", Arch::X86_64));
        for (call, first, expected) in [
            ("socket", 2, (Action::Allow, false)),
            ("socket", 40, (Action::Errno(Errno::EPERM), true)),
            ("mount", 0, (Action::Errno(Errno::EPERM), true)),
            // What it allows of this cannot be told apart by 32 bits.
            ("personality", 1, (Action::Errno(Errno::EPERM), false)),
        ] {
            let number = Syscall::named(call).unwrap().number(Arch::X86_64).unwrap();
            let args = [first, 0, 0, 0, 0, 0];
            let said = outcome(&model, &answers, (Arch::X86_64, number), args);
            assert_eq!(said, expected, "{call} {first}");
        }
    }

    #[test]
    fn of_a_small_profile_what_is_refused_is_asked_about_but_for_what_it_does_not_know() {
        let document = json!({
            "defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
            "syscalls": [
                {"names": ["read", "write", "mkdir", "statx", "execve"], "action": "SCMP_ACT_ALLOW"},
                {"names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "op": "SCMP_CMP_EQ", "value": 8}]},
                {"names": ["ptrace"], "action": "SCMP_ACT_KILL_PROCESS"},
                {"names": ["reboot"], "action": "SCMP_ACT_TRAP"},
                {"names": ["mount"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
            ],
        });
        let target = Target {
            arch: Arch::X86_64,
            kernel: KernelVersion::CURRENT,
            capabilities: CapabilitySet::EMPTY,
        };
        let profile = parse(&document, "").unwrap().resolve(&target);
        let profile = profile.canonical("").unwrap();
        assert!(compare_observed(&profile, "small") > 1000);
        let (model, answers) = observed(&profile);
        let said = |call: &str, first: u64| {
            let number = Syscall::named(call).unwrap().number(Arch::X86_64).unwrap();
            outcome(
                &model,
                &answers,
                (Arch::X86_64, number),
                [first, 0, 0, 0, 0, 0],
            )
        };
        let errno = |errno: Errno| Action::Errno(errno);
        for (call, first, expected) in [
            ("mkdir", 0, (Action::Allow, false)),
            ("personality", 8, (Action::Allow, false)),
            ("personality", 9, (errno(Errno::EPERM), true)),
            ("process_vm_readv", 0, (errno(Errno::EPERM), true)),
            ("mount", 0, (errno(Errno::ENOSYS), true)),
            ("ptrace", 0, (Action::KillProcess, false)),
            ("reboot", 0, (Action::Trap, false)),
            // The runtime may make it before anybody can answer.
            ("prctl", 0, (errno(Errno::EPERM), false)),
            ("clone3", 0, (errno(Errno::ENOSYS), false)),
        ] {
            assert_eq!(said(call, first), expected, "{call} {first}");
        }
        let telling = telling(&profile);
        let first = ArgIndex::new(0).unwrap();
        for call in ["personality", "unshare"] {
            assert!(telling.contains(&(Syscall::named(call).unwrap(), first)));
        }
    }

    #[test]
    fn what_cannot_be_observed_is_said_and_where_nothing_is_refused_nothing_is_asked() {
        let open = base("audit", Arch::X86_64);
        let none = observed_profile(&open, SOCKET, "observe:open", "spec").unwrap();
        assert!(none.is_none());
        let profile = base("runtime-default", Arch::X86_64);
        let observed = observed_profile(&profile, SOCKET, "observe:a", "spec").unwrap();
        let again = observed_profile(&observed.unwrap(), SOCKET, "observe:a", "spec");
        let said = again.unwrap_err().to_string();
        assert!(
            said.starts_with("spec: has a listener of its own"),
            "{said}"
        );
        let rule = |value: u64| json!({"names": ["ioctl"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 1, "op": "SCMP_CMP_EQ", "value": value}]});
        let rules: Vec<_> = (0..400).map(|n| rule(n * 1000)).collect();
        let document = json!({"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86_64"], "syscalls": rules});
        let target = Target {
            arch: Arch::X86_64,
            kernel: KernelVersion::CURRENT,
            capabilities: CapabilitySet::EMPTY,
        };
        let long = parse(&document, "").unwrap().resolve(&target);
        let said = observed_profile(&long, SOCKET, "observe:a", "spec").unwrap_err();
        assert!(said.to_string().contains("more than 20480 bytes"), "{said}");
    }

    #[test]
    fn the_listener_decides_by_arguments_where_the_base_does() {
        let profile = recording_profile(
            &base("runtime-default", Arch::X86_64),
            SOCKET,
            "",
            &[],
            "spec",
        )
        .unwrap();
        let model = profile.model().unwrap();
        let socket = Syscall::named("socket")
            .unwrap()
            .number(Arch::X86_64)
            .unwrap();
        let decide = |family: u64| {
            model.decide(
                Arch::X86_64,
                socket,
                &Arguments::from([family, 0, 0, 0, 0, 0]),
            )
        };
        assert_eq!([decide(2), decide(40)], [Action::Notify; 2]);
    }

    #[test]
    fn what_cannot_be_recorded_is_said() {
        let open = base("audit", Arch::X86_64);
        let said = |socket: &str, metadata: &str| {
            recording_profile(&open, socket, metadata, &[], "spec.base")
                .unwrap_err()
                .to_string()
        };
        assert!(said("recorder.sock", "").contains("an absolute path of 107 bytes"));
        assert!(said(&format!("/{}", "a".repeat(107)), "").starts_with("spec.base: "));
        assert!(said(SOCKET, &"a".repeat(1025)).contains("1025 bytes of metadata"));
        let recording = recording_profile(&open, SOCKET, "", &[], "spec").unwrap();
        let again = recording_profile(&recording, SOCKET, "", &[], "spec.base").unwrap_err();
        assert!(
            again
                .to_string()
                .starts_with("spec.base: has a listener of its own")
        );
    }
}
