//! The profile that a container is recorded under.

use seccomp_profile::{Problem, Problems, Profile};

use crate::assumed::assumed;

/// The longest metadata that the recorder hands on.
pub const MAX_METADATA: usize = 1024;

/// A UNIX socket's path, with its terminating zero, has to fit into `sockaddr_un`.
const MAX_PATH: usize = 107;

/// Why there is no recording profile.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct NoRecording(#[from] pub Problems);

/// The profile that refuses what `base` refuses, and asks the listener at `socket` about what `base` lets happen, but for what is
/// [assumed](crate::assumed). The runtime hands `metadata` to the listener with each descriptor. `at` is the path of the base.
pub fn recording_profile(
    base: &Profile,
    socket: &str,
    metadata: &str,
    at: &str,
) -> Result<Profile, NoRecording> {
    let problem = |reason: String, remedy: &str| -> NoRecording {
        let (path, remedy) = (at.to_owned(), remedy.to_owned());
        NoRecording(
            Problem {
                path,
                reason,
                remedy,
            }
            .into(),
        )
    };
    if !socket.starts_with('/') || socket.len() > MAX_PATH {
        let reason = format!("cannot be recorded through the socket {socket:?}");
        return Err(problem(reason, "use an absolute path of 107 bytes at most"));
    }
    if metadata.len() > MAX_METADATA {
        let reason = format!(
            "cannot be recorded with {} bytes of metadata",
            metadata.len()
        );
        return Err(problem(reason, "use 1024 bytes at most"));
    }
    if base.listener().is_some() {
        let reason = "has a listener of its own, and the kernel lets a process have one".to_owned();
        return Err(problem(
            reason,
            "record with a base that states no listenerPath",
        ));
    }
    let semantics = base.exact_semantics(at)?;
    let assumed: Vec<_> = assumed().collect();
    let notified = semantics
        .notified(|call| assumed.contains(&call), socket, Some(metadata))
        .map_err(|error| {
            problem(
                error.to_string(),
                "use fewer conditions, and such as exclude each other",
            )
        })?;
    Ok(notified.profile(at)?)
}

#[cfg(test)]
mod tests {
    use seccomp_profile::{
        Action, Arch, Arguments, BUILTINS, CapabilitySet, Errno, KernelVersion, Syscall, Target,
        builtin, parse_slice,
    };

    use super::*;

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

    /// For every call and all arguments at which a rule begins or ends: refused is refused, and with the same error.
    #[test]
    fn a_recording_refuses_what_its_base_refuses_and_asks_about_all_else() {
        for (name, arch) in BUILTINS
            .iter()
            .flat_map(|name| Arch::KUBERNETES.iter().map(move |arch| (name, *arch)))
        {
            let base = base(name, arch);
            let profile = recording_profile(&base, SOCKET, "shop/web", "spec.base").unwrap();
            let (before, after) = (base.model().unwrap(), profile.model().unwrap());
            assert_eq!(after.flaws(), []);
            let mut asked = 0;
            for abi in base.architectures().iter() {
                for call in Syscall::all() {
                    let Some(number) = call.number(abi) else {
                        continue;
                    };
                    let assumed = crate::is_assumed(call);
                    let tried = [0, 1, 2, 10, 16, 17, 38, 40]
                        .into_iter()
                        .map(|first| Arguments::from([first, 0, 0, 0, 0, 0]));
                    for args in tried.chain([Arguments::from([0x1000_0000, 2, 3, 0, 0, 0])]) {
                        let (was, is) = (
                            before.decide(abi, number, &args),
                            after.decide(abi, number, &args),
                        );
                        let expected = if was.is_permitted() && !assumed {
                            Action::Notify
                        } else {
                            was
                        };
                        // One number carries several calls there, and none of those is in the kernel's table alone.
                        let carries = call == Syscall::SOCKETCALL || call == Syscall::IPC;
                        if carries && was.is_permitted() {
                            assert!(is.is_permitted() || is == Action::Notify, "{abi} {call}");
                        } else {
                            assert_eq!(is, expected, "{name} {abi} {call} {args:?}");
                        }
                        asked += usize::from(is == Action::Notify);
                    }
                }
            }
            assert!(asked > 1000, "{name} {arch}: {asked}");
            let json = profile.to_canonical_json();
            let again = parse_slice(&json, "").unwrap().resolve(&Target {
                arch,
                kernel: KernelVersion {
                    major: 6,
                    minor: 18,
                },
                capabilities: CapabilitySet::RUNTIME_DEFAULT,
            });
            assert_eq!(again, profile);
        }
    }

    #[test]
    fn conditions_are_kept() {
        let profile =
            recording_profile(&base("runtime-default", Arch::X86_64), SOCKET, "", "spec").unwrap();
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
        assert_eq!(decide(2), Action::Notify);
        assert_eq!(decide(40), Action::Errno(Errno::EPERM));
    }

    #[test]
    fn what_cannot_be_recorded_is_said() {
        let open = base("audit", Arch::X86_64);
        let said = |socket: &str, metadata: &str| {
            recording_profile(&open, socket, metadata, "spec.base")
                .unwrap_err()
                .to_string()
        };
        assert!(said("recorder.sock", "").contains("an absolute path of 107 bytes"));
        assert!(said(&format!("/{}", "a".repeat(107)), "").starts_with("spec.base: "));
        assert!(said(SOCKET, &"a".repeat(1025)).contains("1025 bytes of metadata"));
        let recording = recording_profile(&open, SOCKET, "", "spec").unwrap();
        let again = recording_profile(&recording, SOCKET, "", "spec.base").unwrap_err();
        assert!(
            again
                .to_string()
                .starts_with("spec.base: has a listener of its own")
        );
    }
}
