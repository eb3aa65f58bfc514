//! Whether containers start under a profile: what the checks on the runtime's own needs come to.

use super::subject::{Source, Subject};
use super::{
    Check, Code, Severity, needs_listener, needs_new_runtime, no_container_starts,
    runtime_needs_more, too_many_instructions,
};
use crate::delta::Delta;
use crate::loader::{Loader, Loaders};
use crate::oci::Profile;
use crate::runtime::Runtime;
use crate::target::Target;

/// Whether containers start under a profile with a runtime.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Startup {
    /// Nothing that is known of any version stands in the way.
    Starts,
    /// With some versions or in some security contexts they do not; a sentence about the profile says why.
    Depends(String),
    /// With no known version; a sentence about the profile says why.
    Never(String),
}

const CHECKS: &[Check] = &[
    too_many_instructions::check,
    no_container_starts::check,
    runtime_needs_more::check,
    needs_new_runtime::check,
    needs_listener::check,
];

/// Whether containers start under a profile that was composed for this target.
#[must_use]
pub fn startup(profile: &Profile, runtime: Runtime, target: &Target) -> Startup {
    // What is too complex has no semantics, and is no profile of any node.
    let Ok(semantics) = profile.semantics() else {
        return Startup::Starts;
    };
    let none = Delta::default();
    let subject = Subject {
        target,
        profile,
        semantics: &semantics,
        // Who wrote what does not matter here.
        source: Source::Delta {
            changes: &none,
            base: &semantics,
            below: "base",
        },
        loaders: Loaders::only(Loader::any(runtime)),
        at: "",
    };
    let mut findings = Vec::new();
    super::run(CHECKS, &subject, &mut findings);
    let found = findings.into_iter().map(|finding| {
        let (code, reason) = (finding.code, finding.reason);
        match (code, runtime) {
            (Code::TooManyInstructions | Code::NoContainerStarts, _)
                if finding.severity == Severity::Error =>
            {
                Startup::Never(reason)
            }
            // crun takes all flags.
            (Code::NeedsNewRuntime, Runtime::Crun) => Startup::Starts,
            _ => Startup::Depends(reason),
        }
    });
    found.max().unwrap_or(Startup::Starts)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{Arch, CapabilitySet, KernelVersion, RUNTIME_DEFAULT, builtin, parse};

    const AMD64: Target = Target {
        arch: Arch::X86_64,
        kernel: KernelVersion {
            major: 6,
            minor: 12,
        },
        capabilities: CapabilitySet::RUNTIME_DEFAULT,
    };

    fn of(document: &Value, runtime: Runtime) -> Startup {
        let profile = parse(document, "").unwrap().resolve(&AMD64);
        startup(&profile.canonical("").unwrap(), runtime, &AMD64)
    }

    fn allowing(calls: &[&str]) -> Value {
        json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": calls, "action": "SCMP_ACT_ALLOW"}]})
    }

    #[test]
    fn what_every_version_of_a_runtime_needs_is_told_from_what_some_need() {
        let runc: Vec<_> = Runtime::Runc.needs(Arch::X86_64);
        let runc: Vec<_> = runc.iter().map(|call| call.name()).collect();
        let but = |left_out: &[&str]| -> Vec<&str> {
            let left = runc.iter().filter(|name| !left_out.contains(name));
            left.copied().collect()
        };
        let crun = Runtime::Crun.needs(Arch::X86_64);
        let crun: Vec<_> = crun.iter().map(|call| call.name()).collect();
        let (starts, depends, never) = ("starts", "depends", "never");
        for (allowed, with_runc, with_crun) in [
            (vec!["read"], never, never),
            (vec!["execve"], never, depends),
            (crun, never, starts),
            // crun was seen to need some that runc does not.
            (but(&["openat2"]), depends, depends),
            (but(&["write"]), never, depends),
            (but(&[]), starts, depends),
        ] {
            for (runtime, expected) in [(Runtime::Runc, with_runc), (Runtime::Crun, with_crun)] {
                let found = of(&allowing(&allowed), runtime);
                let (word, sentence) = match &found {
                    Startup::Starts => (starts, ""),
                    Startup::Depends(sentence) => (depends, sentence.as_str()),
                    Startup::Never(sentence) => (never, sentence.as_str()),
                };
                assert_eq!(word, expected, "{runtime:?} {allowed:?}: {found:?}");
                assert!(
                    sentence.is_empty()
                        || sentence.contains("refuses") && sentence.contains(runtime.name()),
                    "{sentence}"
                );
            }
        }
    }

    #[test]
    fn a_profile_that_may_be_too_long_and_flags_depend_on_versions() {
        let args = |n: usize| json!([{"index": 1, "value": n, "op": "SCMP_CMP_EQ"}]);
        let calls = [
            "fcntl",
            "ioctl",
            "madvise",
            "personality",
            "prctl",
            "socket",
        ];
        let rules = calls.iter().flat_map(|call| {
            (0..240).map(
                move |n| json!({"names": [call], "action": "SCMP_ACT_ERRNO", "args": args(2 * n)}),
            )
        });
        let long = json!({
            "defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules.collect::<Vec<_>>(),
            "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        });
        for runtime in Runtime::ALL {
            let found = of(&long, *runtime);
            assert!(
                matches!(&found, Startup::Depends(why) if why.contains("at most 4096")),
                "{found:?}"
            );
        }
        let flags =
            json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_LOG"]});
        assert!(matches!(of(&flags, Runtime::Runc), Startup::Depends(_)));
        assert_eq!(of(&flags, Runtime::Crun), Startup::Starts);
    }

    #[test]
    fn containers_start_under_what_runtimes_apply_themselves() {
        let document = builtin(RUNTIME_DEFAULT).unwrap();
        let profile = document.resolve(&AMD64).canonical("").unwrap();
        for runtime in Runtime::ALL {
            assert_eq!(startup(&profile, *runtime, &AMD64), Startup::Starts);
        }
    }
}
