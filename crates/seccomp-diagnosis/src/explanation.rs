//! What a failure means with the profile at hand.

use seccomp_profile::{Arch, Library, Model, Profile, Runtime, Target};

use crate::calls::{Kills, is_refused, kills, listed, refused};
use crate::failure::{Applied, Failure};
use crate::message::{Cause, Reason};

/// What is known of the container's profile.
#[derive(Clone, Copy, Debug)]
enum Known<'k> {
    /// What it is on the node.
    Profile(&'k Profile),
    /// There is no SeccompProfile of that name.
    Absent,
    /// Why the SeccompProfile comes to nothing.
    Invalid(&'k str),
    /// Nothing: it is no SeccompProfile, or one that may not be read.
    Nothing,
}

/// Whether seccomp is the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Certainty {
    /// It is not.
    No,
    /// It may be.
    Possible,
    /// It is.
    Certain,
}

impl Certainty {
    /// As a word for programs.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::Possible => "possible",
            Self::Certain => "certain",
        }
    }
}

/// Why a container does not start, or was killed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// In one word.
    pub reason: Reason,
    /// Whether seccomp is the reason.
    pub certainty: Certainty,
    /// A sentence: what happened.
    pub sentence: String,
    /// The calls that the profile refuses and should not, as far as they are known.
    pub lacks: Vec<&'static str>,
    /// What to do, or to try.
    pub remedy: String,
}

/// What a failure means on a node of that kind. `library` has all SeccompProfiles, if they are known. containerd does not say what starts
/// its containers: whose words the failure's are counts, then `runtime`, and without either it is taken for runc.
#[must_use]
pub fn explain(
    failure: &Failure,
    library: Option<&Library>,
    target: &Target,
    runtime: Option<Runtime>,
) -> Explanation {
    let say = |known: Known<'_>| explain_known(failure, known, target.arch, runtime);
    let (Applied::Managed(name), Some(library)) = (&failure.applied, library) else {
        return say(Known::Nothing);
    };
    if library.get(name.as_str()).is_none() {
        return say(Known::Absent);
    }
    match library.compose(name.as_str(), target, "spec") {
        Ok(profile) => say(Known::Profile(&profile)),
        Err(error) => say(Known::Invalid(&error.to_string())),
    }
}

fn explain_known(
    failure: &Failure,
    known: Known<'_>,
    arch: Arch,
    runtime: Option<Runtime>,
) -> Explanation {
    let runtime = failure.runtime.or(runtime).unwrap_or(Runtime::Runc);
    let model = match known {
        Known::Profile(profile) => profile.model().ok(),
        _ => None,
    };
    let subject = Subject {
        applied: &failure.applied,
        known,
        model,
        arch,
        runtime,
    };
    let (certainty, sentence, lacks, remedy) = match &failure.cause {
        Cause::NoFile | Cause::Folder | Cause::NoPath => subject.missing(&failure.cause),
        Cause::NotJson(why) => subject.unreadable(why),
        Cause::Refused(why) => subject.refused_by_runtime(why),
        Cause::Step { said, calls } => subject.step(said, calls),
        Cause::Stopped => subject.stopped(),
        Cause::NoListener => subject.no_listener(),
        Cause::Killed => subject.killed(),
        Cause::Forbidden(calls) => subject.forbidden(calls),
    };
    Explanation {
        reason: failure.cause.reason(),
        certainty,
        sentence,
        lacks,
        remedy,
    }
}

type Found = (Certainty, String, Vec<&'static str>, String);

struct Subject<'s> {
    applied: &'s Applied,
    known: Known<'s>,
    model: Option<Model>,
    arch: Arch,
    runtime: Runtime,
}

/// What helps to find a call that nobody names.
const FIND_OUT: &str = "kubectl seccomp record shows what it calls, and the profile audit lets everything happen and logs it";

impl Subject<'_> {
    /// The profile, for a sentence.
    fn name(&self) -> String {
        match self.applied {
            Applied::Managed(name) => format!("the SeccompProfile {}", name.as_str()),
            Applied::File(path) => format!("the file {path}"),
            Applied::RuntimeDefault => "the runtime's default profile".to_owned(),
            Applied::Unstated => "the profile that kubelet may give".to_owned(),
            Applied::Unconfined | Applied::Privileged => "no profile".to_owned(),
        }
    }

    fn missing(&self, cause: &Cause) -> Found {
        let (sentence, remedy) = match (cause, self.applied, self.known) {
            (Cause::NoPath, ..) => (
                "localhostProfile is empty".to_owned(),
                "name a file below kubelet's seccomp folder in localhostProfile".to_owned(),
            ),
            (Cause::Folder, Applied::Managed(name), _) => (
                format!("a folder lies on the node where the file of the SeccompProfile {} should be", name.as_str()),
                "remove the folder on the node; the agent then writes the file, and kubelet tries again".to_owned(),
            ),
            (Cause::Folder, ..) => (
                format!("{} is a folder", self.name()),
                "name a file in localhostProfile".to_owned(),
            ),
            (_, Applied::Managed(name), Known::Absent) => (
                format!("there is no SeccompProfile {}", name.as_str()),
                "create it, or name another in localhostProfile; kubelet tries again by itself".to_owned(),
            ),
            (_, Applied::Managed(name), Known::Invalid(why)) => (
                format!("the SeccompProfile {} comes to no file: {why}", name.as_str()),
                "mend the SeccompProfile; kubelet tries again by itself".to_owned(),
            ),
            (_, Applied::Managed(name), _) => (
                format!("the node did not have the file of the SeccompProfile {} yet", name.as_str()),
                format!(
                    "kubelet tries again by itself; should it go on, kubectl seccomp status {} says what stands in the way",
                    name.as_str()
                ),
            ),
            (_, Applied::File(path), _) => match path.strip_prefix("localhost/") {
                Some(rest) => (
                    format!("the node has no file {path}: the prefix localhost/ belongs to the old annotation"),
                    format!("write {rest} in localhostProfile"),
                ),
                None => (
                    format!("the node has no file {path}, and no SeccompProfile is kept there"),
                    "make a SeccompProfile of it and name its file in localhostProfile, or put the file on every node".to_owned(),
                ),
            },
            _ => (
                "the node does not have the profile's file".to_owned(),
                "name the file of a SeccompProfile in localhostProfile".to_owned(),
            ),
        };
        (Certainty::Certain, sentence, Vec::new(), remedy)
    }

    fn unreadable(&self, why: &str) -> Found {
        let (sentence, remedy) = match self.applied {
            Applied::Managed(name) => (
                format!("somebody else's file lies where that of the SeccompProfile {} should be, and is no profile: {why}", name.as_str()),
                format!("remove it on the node, or let the operator take it over; kubectl seccomp status {} says how", name.as_str()),
            ),
            _ => (
                format!("{} is no profile: {why}", self.name()),
                "mend the file on the node, or make a SeccompProfile of it; kubectl seccomp lint FILE says what is wrong with it".to_owned(),
            ),
        };
        (Certainty::Certain, sentence, Vec::new(), remedy)
    }

    fn refused_by_runtime(&self, why: &str) -> Found {
        let remedy = if why.contains("SECCOMP_FILTER_FLAG") || why.contains("flag") {
            "take the flag out of the profile's flags, or use a newer runtime on this node"
                .to_owned()
        } else {
            format!(
                "kubectl seccomp lint --runtime {} says what it does not take, and what to write instead",
                self.runtime.name()
            )
        };
        (
            Certainty::Certain,
            format!("the container runtime does not take {}: {why}", self.name()),
            Vec::new(),
            remedy,
        )
    }

    fn no_listener(&self) -> Found {
        let sentence = format!(
            "nobody answered on the node for the calls that {} asks a listener about",
            self.name()
        );
        let remedy = match self.applied {
            Applied::Managed(_) => {
                "see to the node's recorder (kubectl get pods -A -l app.kubernetes.io/component=recorder); kubelet tries again by itself"
            }
            _ => {
                "start on the node what listens at the profile's listenerPath; kubelet tries again by itself"
            }
        };
        (Certainty::Certain, sentence, Vec::new(), remedy.to_owned())
    }

    fn step(&self, said: &str, calls: &[&'static str]) -> Found {
        let Some(model) = &self.model else {
            return self.unknown(&format!(
                "the container runtime failed before it executed the program ({said})"
            ));
        };
        let named = calls
            .iter()
            .filter_map(|name| seccomp_profile::Syscall::named(name));
        let its: Vec<_> = named
            .filter(|call| is_refused(model, self.arch, self.runtime, *call))
            .map(seccomp_profile::Syscall::name)
            .collect();
        if its.is_empty() && !calls.is_empty() {
            let sentence = format!(
                "the container runtime failed before it executed the program ({said}), but {} allows {}",
                self.name(),
                listed(calls)
            );
            return (
                Certainty::No,
                sentence,
                Vec::new(),
                "look at the pod's security context and capabilities".to_owned(),
            );
        }
        if its.is_empty() {
            return self.by_needs(&format!(
                "the container runtime failed before it executed the program ({said})"
            ));
        }
        let sentence = format!(
            "{} refuses {}, which the container runtime calls itself before it executes the program ({said})",
            self.name(),
            listed(&its)
        );
        let lacks = self.needed();
        let remedy = self.allow(&lacks);
        (Certainty::Certain, sentence, lacks, remedy)
    }

    fn stopped(&self) -> Found {
        let what = "the container runtime's process ended before it executed the program";
        if self.model.is_none() {
            return self.unknown(what);
        }
        self.by_needs(what)
    }

    /// What follows from what the runtime is known to call.
    fn by_needs(&self, what: &str) -> Found {
        let Some(model) = &self.model else {
            return self.unknown(what);
        };
        let must = refused(
            model,
            self.arch,
            self.runtime,
            self.runtime.must_have(self.arch),
        );
        let lacks = self.needed();
        let runtime = self.runtime.name();
        let (certainty, which) = match (must.is_empty(), lacks.is_empty()) {
            (false, _) => (Certainty::Certain, &must),
            (true, false) => (Certainty::Possible, &lacks),
            (true, true) => {
                let sentence = format!(
                    "{what}, but {} allows all that {runtime} is known to call itself",
                    self.name()
                );
                let remedy = "look for another reason, such as the memory limit or a missing program; kubectl describe pod shows what the runtime says".to_owned();
                return (Certainty::No, sentence, Vec::new(), remedy);
            }
        };
        let verb = if certainty == Certainty::Certain {
            "calls"
        } else {
            "calls in some versions"
        };
        let sentence = format!(
            "{what}: {} refuses {}, which {runtime} {verb} itself",
            self.name(),
            listed(which)
        );
        let remedy = self.allow(&lacks);
        (certainty, sentence, lacks, remedy)
    }

    fn killed(&self) -> Found {
        let arch = self.arch;
        let Some(model) = &self.model else {
            let remedy = match self.applied {
                Applied::RuntimeDefault | Applied::Unstated => {
                    let sentence = "a call ended the program by SIGSYS, but runtimes' default profiles refuse with errors alone: the program has a filter of its own";
                    return (
                        Certainty::No,
                        sentence.to_owned(),
                        Vec::new(),
                        "look into the program's own sandbox".to_owned(),
                    );
                }
                _ => format!(
                    "the node's audit log names the call (kubectl seccomp from-audit); {FIND_OUT}"
                ),
            };
            let sentence = format!(
                "a call ended the program by SIGSYS (exit code 159); {} may be what killed it",
                self.name()
            );
            return (Certainty::Possible, sentence, Vec::new(), remedy);
        };
        match kills(model, arch) {
            Kills::Nothing => (
                Certainty::No,
                format!(
                    "a call ended the program by SIGSYS, but {} kills for none: the program has a filter of its own",
                    self.name()
                ),
                Vec::new(),
                "look into the program's own sandbox".to_owned(),
            ),
            Kills::Calls(names) => {
                let remedy = if names.len() == 1 {
                    format!(
                        "answer {} with an error instead, or allow it, if the program needs it",
                        listed(&names)
                    )
                } else {
                    format!(
                        "the node's audit log names the call (kubectl seccomp from-audit); {FIND_OUT}"
                    )
                };
                let sentence = format!(
                    "a call ended the program by SIGSYS (exit code 159): {} kills for {}",
                    self.name(),
                    listed(&names)
                );
                (Certainty::Possible, sentence, names, remedy)
            }
            Kills::Rest => (
                Certainty::Possible,
                format!(
                    "a call ended the program by SIGSYS (exit code 159): {} kills for every call that it does not name",
                    self.name()
                ),
                Vec::new(),
                format!(
                    "the node's audit log names the call (kubectl seccomp from-audit); {FIND_OUT}"
                ),
            ),
        }
    }

    /// CRI-O's notifier says itself which calls it were, and refuses them in the profile's place.
    fn forbidden(&self, calls: &[&'static str]) -> Found {
        let which = if calls.is_empty() {
            "calls".to_owned()
        } else {
            listed(calls)
        };
        let sentence = format!(
            "CRI-O's seccomp notifier ended the container, as the pod's annotation asks it to, for {which}: {} refuses that",
            self.name()
        );
        let remedy = if calls.is_empty() {
            FIND_OUT.to_owned()
        } else {
            format!(
                "{}; or take the annotation io.kubernetes.cri-o.seccompNotifierAction from the pod, which then goes on with an error",
                self.allow(calls)
            )
        };
        (Certainty::Certain, sentence, calls.to_vec(), remedy)
    }

    /// Of what the runtime is known to call, what is refused.
    fn needed(&self) -> Vec<&'static str> {
        let model = self.model.as_ref();
        model.map_or_else(Vec::new, |model| {
            refused(
                model,
                self.arch,
                self.runtime,
                self.runtime.needs(self.arch),
            )
        })
    }

    fn allow(&self, lacks: &[&'static str]) -> String {
        let calls = lacks.join(", ");
        match self.applied {
            Applied::Managed(name) => format!(
                "add to spec.allow of the SeccompProfile {}: [{calls}]",
                name.as_str()
            ),
            _ => format!("allow in the profile: {calls}"),
        }
    }

    /// Where the profile's content is not known.
    fn unknown(&self, what: &str) -> Found {
        match self.applied {
            Applied::RuntimeDefault | Applied::Unstated => (
                Certainty::No,
                format!(
                    "{what}, but runtimes' default profiles allow what runtimes call themselves"
                ),
                Vec::new(),
                "look for another reason; kubectl describe pod shows what the runtime says"
                    .to_owned(),
            ),
            _ => (
                Certainty::Possible,
                format!(
                    "{what}; {} may refuse what the runtime calls itself",
                    self.name()
                ),
                Vec::new(),
                format!(
                    "kubectl seccomp lint --runtime {} FILE says whether it does",
                    self.runtime.name()
                ),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use seccomp_operator_api::ProfileName;
    use seccomp_profile::{CapabilitySet, KernelVersion, parse};
    use serde_json::{Value, json};

    const AMD64: Target = Target {
        arch: Arch::X86_64,
        kernel: KernelVersion {
            major: 6,
            minor: 12,
        },
        capabilities: CapabilitySet::RUNTIME_DEFAULT,
    };

    fn of(cause: Cause, document: &Value) -> Explanation {
        said_by(None, cause, document)
    }

    fn said_by(runtime: Option<Runtime>, cause: Cause, document: &Value) -> Explanation {
        let profile = parse(document, "").unwrap().resolve(&AMD64);
        let failure = Failure {
            container: "web".to_owned(),
            applied: Applied::Managed(ProfileName::parse("tight").unwrap()),
            cause,
            runtime,
        };
        explain_known(&failure, Known::Profile(&profile), AMD64.arch, None)
    }

    fn allowing(calls: &[&str], default: &str) -> Value {
        json!({"defaultAction": default, "syscalls": [{"names": calls, "action": "SCMP_ACT_ALLOW"}]})
    }

    fn step(said: &str, calls: &'static [&'static str]) -> Cause {
        Cause::Step {
            said: said.to_owned(),
            calls,
        }
    }

    #[test]
    fn a_failed_step_of_the_runtime_is_laid_to_the_profile_only_if_it_refuses_the_call() {
        let cause = || {
            step(
                "unable to apply caps: can't apply capabilities: operation not permitted",
                &["capset"],
            )
        };
        let found = of(cause(), &allowing(&["read", "write"], "SCMP_ACT_ERRNO"));
        assert_eq!(found.certainty, Certainty::Certain);
        assert!(
            found.sentence.contains("refuses capset") && found.lacks.contains(&"execve"),
            "{found:?}"
        );
        assert!(
            found
                .remedy
                .starts_with("add to spec.allow of the SeccompProfile tight: ["),
            "{found:?}"
        );
        let found = of(cause(), &json!({"defaultAction": "SCMP_ACT_ALLOW"}));
        assert_eq!(found.certainty, Certainty::No, "{found:?}");
    }

    #[test]
    fn a_listener_that_is_away_is_named_whatever_the_profile_allows() {
        let found = of(Cause::NoListener, &allowing(&["read"], "SCMP_ACT_ERRNO"));
        assert_eq!((found.certainty, found.lacks), (Certainty::Certain, vec![]));
        assert_eq!(found.reason, Reason::ListenerAway);
        assert!(
            found
                .sentence
                .contains("the SeccompProfile tight asks a listener"),
            "{}",
            found.sentence
        );
        assert!(found.remedy.contains("recorder"), "{}", found.remedy);
    }

    #[test]
    fn the_runtime_whose_words_a_failure_s_are_is_the_one_that_is_spoken_of() {
        let tight = allowing(&["read"], "SCMP_ACT_ERRNO");
        for (runtime, word, needs_openat2) in [
            (None, "runc", true),
            (Some(Runtime::Runc), "runc", true),
            (Some(Runtime::Crun), "crun", false),
        ] {
            let found = said_by(runtime, Cause::Stopped, &tight);
            let calls = format!("which {word} calls itself");
            assert!(found.sentence.contains(&calls), "{}", found.sentence);
            assert_eq!(found.lacks.contains(&"openat2"), needs_openat2, "{word}");
            let refused = said_by(runtime, Cause::Refused("no".to_owned()), &tight);
            let lint = format!("lint --runtime {word} ");
            assert!(refused.remedy.contains(&lint), "{}", refused.remedy);
        }
    }

    #[test]
    fn what_the_remedy_names_is_all_that_is_lacking() {
        let lacking = of(Cause::Stopped, &allowing(&["read"], "SCMP_ACT_ERRNO"));
        assert_eq!(lacking.certainty, Certainty::Certain);
        let mut calls = lacking.lacks.clone();
        calls.push("read");
        let mended = of(Cause::Stopped, &allowing(&calls, "SCMP_ACT_ERRNO"));
        assert_eq!(
            (mended.certainty, mended.lacks),
            (Certainty::No, Vec::new())
        );
        // What only some versions need is told from what all do.
        calls.retain(|call| *call != "openat2");
        let some = of(Cause::Stopped, &allowing(&calls, "SCMP_ACT_ERRNO"));
        assert_eq!(
            (some.certainty, some.lacks),
            (Certainty::Possible, vec!["openat2"])
        );
    }

    #[test]
    fn a_kill_is_laid_to_the_profile_only_if_it_kills() {
        let kill = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_KILL_PROCESS"}]});
        let found = of(Cause::Killed, &kill);
        assert_eq!(
            (found.certainty, found.lacks),
            (Certainty::Possible, vec!["mkdir"])
        );
        assert!(found.sentence.contains("mkdir"), "{}", found.sentence);
        let found = of(Cause::Killed, &allowing(&["read"], "SCMP_ACT_KILL"));
        assert!(
            found.sentence.contains("every call that it does not name"),
            "{}",
            found.sentence
        );
        let found = of(Cause::Killed, &allowing(&["read"], "SCMP_ACT_ERRNO"));
        assert_eq!(found.certainty, Certainty::No);
    }

    #[test]
    fn the_calls_that_cri_o_ended_a_container_for_are_named() {
        let found = of(
            Cause::Forbidden(vec!["mkdir"]),
            &allowing(&["read"], "SCMP_ACT_ERRNO"),
        );
        assert_eq!(
            (found.reason, found.certainty, found.lacks),
            (Reason::KilledBySeccomp, Certainty::Certain, vec!["mkdir"])
        );
        assert!(
            found
                .sentence
                .contains("for mkdir: the SeccompProfile tight refuses"),
            "{}",
            found.sentence
        );
        assert!(
            found
                .remedy
                .starts_with("add to spec.allow of the SeccompProfile tight: [mkdir]"),
            "{}",
            found.remedy
        );
    }

    #[test]
    fn a_missing_file_is_explained_by_what_is_known_of_the_profile() {
        let failure = |applied| Failure {
            container: "web".to_owned(),
            applied,
            cause: Cause::NoFile,
            runtime: None,
        };
        let managed = || Applied::Managed(ProfileName::parse("tight").unwrap());
        for (applied, known, sentence, remedy) in [
            (
                managed(),
                Known::Absent,
                "there is no SeccompProfile tight",
                "create it",
            ),
            (
                managed(),
                Known::Invalid("spec.base: there is no SeccompProfile x"),
                "spec.base",
                "mend the SeccompProfile",
            ),
            (
                Applied::File("a.json".to_owned()),
                Known::Nothing,
                "no file a.json",
                "make a SeccompProfile of it",
            ),
            (
                Applied::File("localhost/profiles/a.json".to_owned()),
                Known::Nothing,
                "belongs to the old annotation",
                "write profiles/a.json",
            ),
        ] {
            let found = explain_known(&failure(applied), known, Arch::X86_64, None);
            assert_eq!(found.certainty, Certainty::Certain);
            assert!(
                found.sentence.contains(sentence) && found.remedy.contains(remedy),
                "{found:?}"
            );
        }
    }
}
