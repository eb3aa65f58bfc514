//! The profiles of which the next version is on trial.

use std::collections::BTreeSet;

use seccomp_profile::{Action, Profile, Reporting, Trial};

use crate::answer::{Asked, Standing};
use crate::assumed::assumed;
use crate::profile::{NoRecording, check, is_refused_with_error, telling, too_complex, too_long};

/// Where problems of the version in force, and of the next one, are.
const AT: &str = "spec";
const NEXT: &str = "spec.trial";

/// A profile and its next version.
#[derive(Clone, Copy, Debug)]
pub struct Versions<'a> {
    /// The version in force.
    pub now: &'a Profile,
    /// The version that is on trial.
    pub next: &'a Profile,
    /// How what the next version would refuse in addition is reported.
    pub reporting: Reporting,
    /// Whether the recorder hears what the version in force refuses, too.
    pub observed: bool,
}

impl Versions<'_> {
    /// What is on trial. A listener hears nothing of what is [assumed](crate::assumed): containers could not start. The kernel logs all.
    pub fn trial(&self) -> Result<Trial, NoRecording> {
        let silent: BTreeSet<_> = match self.reporting {
            Reporting::Notify => assumed().collect(),
            Reporting::Log => BTreeSet::new(),
        };
        let (now, next) = (
            self.now.exact_semantics(AT)?,
            self.next.exact_semantics(NEXT)?,
        );
        let trial = now.trial(&next, self.reporting, |call| silent.contains(&call));
        trial.map_err(|error| too_complex(error, NEXT))
    }

    /// The profile that does what the version in force does and reports: with the listener at `socket`, to which the runtime hands
    /// `metadata`, where that is to hear anything. None if nobody has anything to report.
    pub fn profile(
        &self,
        trial: &Trial,
        socket: &str,
        metadata: &str,
    ) -> Result<Option<Profile>, NoRecording> {
        let asked = match (self.reporting, self.observed) {
            (Reporting::Notify, true) => Asked::Both,
            (Reporting::Notify, false) => Asked::Permissions,
            (Reporting::Log, true) => Asked::Refusals,
            (Reporting::Log, false) => {
                let profile = trial.semantics.profile(NEXT)?;
                return Ok(trial.refuses_more().then_some(profile));
            }
        };
        check(self.now, socket, metadata, "tried", AT)?;
        let told: BTreeSet<_> = telling(self.now)
            .into_iter()
            .chain(telling(self.next))
            .collect();
        let told: Vec<_> = told.into_iter().collect();
        let standing = Standing::of(self.now, &told, asked).ok_or_else(|| too_long("tried", AT))?;
        let handed = format!("{metadata}\n{}", standing.text());
        let semantics = if self.observed {
            let assumed: BTreeSet<_> = assumed().collect();
            let is_assumed = |call| assumed.contains(&call);
            trial
                .semantics
                .notified_exactly(is_refused_with_error, is_assumed, socket, Some(&handed))
                .map_err(|error| too_complex(error, AT))?
        } else {
            trial.notifying(socket, &handed)
        };
        let profile = semantics.profile(AT)?;
        let mut rules = profile.rules().iter();
        if rules.any(|rule| rule.action() == Action::Notify) {
            return Ok(Some(profile));
        }
        let is_logged = self.reporting == Reporting::Log && trial.refuses_more();
        let profile = trial.semantics.profile(NEXT)?;
        Ok(is_logged.then_some(profile))
    }
}

#[cfg(test)]
mod tests {
    use seccomp_profile::{
        AUDIT, Arch, Arguments, CapabilitySet, DOCKER_DEFAULT, Errno, KernelVersion, Model,
        RUNTIME_DEFAULT, Syscall, Target, builtin, parse, parse_slice,
    };
    use serde_json::{Value, json};

    use super::*;
    use crate::answer::{Answer, Answers};
    use crate::sys::Notification;

    const SOCKET: &str = "/var/lib/kubelet/seccomp/recorder/notify.sock";

    fn target(arch: Arch) -> Target {
        Target {
            arch,
            kernel: KernelVersion::CURRENT,
            capabilities: CapabilitySet::RUNTIME_DEFAULT,
        }
    }

    fn built_in(name: &str, arch: Arch) -> Profile {
        builtin(name)
            .unwrap()
            .resolve(&target(arch))
            .canonical("")
            .unwrap()
    }

    fn read(document: &Value) -> Profile {
        let read = parse(document, "").unwrap().resolve(&target(Arch::X86_64));
        read.canonical("").unwrap()
    }

    /// The profile without some calls.
    fn without(profile: &Profile, names: &[&str]) -> Profile {
        let mut document: Value = serde_json::from_slice(&profile.to_canonical_json()).unwrap();
        if document["syscalls"].is_null() {
            document["syscalls"] = json!([]);
        }
        for rule in document["syscalls"].as_array_mut().unwrap() {
            let kept = rule["names"].as_array_mut().unwrap();
            kept.retain(|name| !names.contains(&name.as_str().unwrap()));
        }
        let rules = document["syscalls"].as_array_mut().unwrap();
        rules.retain(|rule| !rule["names"].as_array().unwrap().is_empty());
        rules.push(json!({"names": names, "action": "SCMP_ACT_ERRNO", "errnoRet": 1}));
        let host = Arch::KUBERNETES.iter();
        let mut host = host.filter(|host| {
            let mut arches = profile.architectures().iter();
            arches.all(|arch| host.abis().contains(&arch))
        });
        let read = parse(&document, "")
            .unwrap()
            .resolve(&target(*host.next().unwrap()));
        read.canonical("").unwrap()
    }

    struct OnNode {
        trial: Trial,
        model: Model,
        answers: Answers,
    }

    fn on_node(versions: &Versions<'_>) -> OnNode {
        let trial = versions.trial().unwrap();
        let profile = versions
            .profile(&trial, SOCKET, "trial:x")
            .unwrap()
            .unwrap();
        let again = parse_slice(&profile.to_canonical_json(), "").unwrap();
        let model = profile.model().unwrap();
        assert_eq!(model.flaws(), []);
        let host = Arch::KUBERNETES.iter();
        let mut same = host.filter(|host| again.resolve(&target(**host)) == profile);
        assert!(same.next().is_some());
        let metadata = profile
            .listener()
            .and_then(|listener| listener.metadata.clone());
        let standing = metadata.as_ref().and_then(|text| text.split_once('\n'));
        let standing = standing.map_or("", |(_, standing)| standing);
        OnNode {
            trial,
            model,
            answers: Standing::from(standing.to_owned()).read().answers,
        }
    }

    /// What a process gets, and whether somebody reports it.
    fn outcome(on_node: &OnNode, arch: Arch, number: u32, args: [u64; 6]) -> (Action, bool) {
        let call = Notification {
            id: 1,
            arch: arch.audit_arch(),
            number,
            args,
        };
        match on_node
            .model
            .decide_under_runc(arch, number, &Arguments::from(args))
        {
            Action::Notify => match on_node.answers.to(&call) {
                Answer::Proceed => (Action::Allow, true),
                Answer::Refuse(errno) => (Action::Errno(Errno::new(errno.into()).unwrap()), true),
            },
            Action::Log => (Action::Log, true),
            action => (action, false),
        }
    }

    /// For every call and arguments of all kinds: what happens today happens, what is refused today is refused with the same error, and what
    /// the next version would refuse in addition is reported, and nothing else. How many calls are.
    fn compare(versions: &Versions<'_>, name: &str) -> usize {
        let (now, next) = (
            versions.now.model().unwrap(),
            versions.next.model().unwrap(),
        );
        let on_node = on_node(versions);
        let mut reported = 0;
        let arches = versions.now.architectures();
        let calls = arches.iter().flat_map(|abi| {
            Syscall::all().filter_map(move |call| Some((abi, call, call.number(abi)?)))
        });
        for (abi, call, number) in calls {
            let carries = [Syscall::SOCKETCALL, Syscall::IPC].contains(&call);
            let firsts = [0, 1, 2, 10, 16, 17, 38, 40].map(|first| [first, 0, 0, 0, 0, 0]);
            for args in firsts.into_iter().chain([[0x1000_0000, 2, 3, 0, 0, 0]]) {
                let arguments = Arguments::from(args);
                let [was, will] =
                    [&now, &next].map(|model| model.decide_under_runc(abi, number, &arguments));
                let (is, said) = outcome(&on_node, abi, number, args);
                let is_same = is == was
                    || is.is_permitted() && was.is_permitted()
                    || abi == Arch::X32 && is_refused_with_error(is) && is_refused_with_error(was);
                assert!(is_same, "{name} {abi} {call} {args:?}: {was} became {is}");
                let is_lost = was.is_permitted() && will.refuses();
                if is_lost && !carries && !on_node.trial.unreported.contains(&call) {
                    assert!(said, "{name} {abi} {call} {args:?}: {will} is not reported");
                }
                if said && was == Action::Allow && !carries {
                    assert!(is_lost, "{name} {abi} {call} {args:?}: {will} is reported");
                }
                reported += usize::from(said && was.is_permitted());
            }
        }
        reported
    }

    #[test]
    fn nothing_that_happens_today_is_refused_and_what_would_be_is_reported() {
        const LESS: &[&str] = &[
            "chmod",
            "fchmod",
            "fchmodat",
            "fchmodat2",
            "socket",
            "bind",
            "connect",
            "listen",
            "shmget",
            "msgsnd",
            "mkdir",
            "mkdirat",
            "statx",
            "mseal",
        ];
        let try_out = |arch, name: &str, reporting, observed| {
            let now = built_in(name, arch);
            let next = without(&now, LESS);
            let versions = Versions {
                now: &now,
                next: &next,
                reporting,
                observed,
            };
            let reported = compare(&versions, name);
            assert!(reported > 0, "{name} {arch}");
        };
        try_out(Arch::X86_64, AUDIT, Reporting::Notify, false);
        try_out(Arch::X86_64, DOCKER_DEFAULT, Reporting::Log, true);
        for observed in [false, true] {
            try_out(Arch::X86_64, RUNTIME_DEFAULT, Reporting::Notify, observed);
        }
        for arch in [Arch::Aarch64, Arch::S390X] {
            try_out(arch, RUNTIME_DEFAULT, Reporting::Notify, true);
            try_out(arch, RUNTIME_DEFAULT, Reporting::Log, false);
        }
    }

    #[test]
    fn an_allowlist_is_tried_on_what_allows_all() {
        for reporting in [Reporting::Notify, Reporting::Log] {
            let (now, next) = (
                built_in(AUDIT, Arch::X86_64),
                built_in(RUNTIME_DEFAULT, Arch::X86_64),
            );
            let open = read(
                &json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]}),
            );
            for now in [now, open] {
                let versions = Versions {
                    now: &now,
                    next: &next,
                    reporting,
                    observed: false,
                };
                assert!(compare(&versions, "open") > 200);
            }
        }
        let (now, next) = (
            built_in(DOCKER_DEFAULT, Arch::X86_64),
            built_in(RUNTIME_DEFAULT, Arch::X86_64),
        );
        let versions = Versions {
            now: &now,
            next: &next,
            reporting: Reporting::Notify,
            observed: true,
        };
        compare(&versions, "docker-default");
    }

    #[test]
    fn what_a_listener_cannot_hear_is_known_and_the_kernel_can_log_it() {
        let now = built_in(RUNTIME_DEFAULT, Arch::X86_64);
        let next = without(&now, &["openat", "write", "mkdir"]);
        let mut versions = Versions {
            now: &now,
            next: &next,
            reporting: Reporting::Notify,
            observed: false,
        };
        let names =
            |calls: &BTreeSet<Syscall>| calls.iter().map(|call| call.name()).collect::<Vec<_>>();
        let trial = versions.trial().unwrap();
        assert_eq!(names(&trial.unreported), ["openat", "write"]);
        assert_eq!(names(&trial.reported), ["mkdir"]);
        versions.reporting = Reporting::Log;
        let trial = versions.trial().unwrap();
        assert_eq!(names(&trial.unreported), [""; 0]);
        assert_eq!(names(&trial.reported), ["mkdir", "openat", "write"]);
        assert!(
            versions
                .profile(&trial, "", "")
                .unwrap()
                .unwrap()
                .listener()
                .is_none()
        );
        versions.next = &now;
        let trial = versions.trial().unwrap();
        assert!(!trial.refuses_more());
        assert!(versions.profile(&trial, "", "").unwrap().is_none());
    }
}
