//! Which place in what authors wrote decides a call, for people who ask why. What the decision is, others say.

use super::action::Action;
use super::arch::Arch;
use super::arg_set::ArgSet;
use super::builtin::builtin;
use super::compose::{Lookup, MAX_DEPTH, Spec};
use super::condition::Condition;
use super::delta::{Delta, DeltaEntry};
use super::document::Document;
use super::model::alternatives;
use super::syscall::Syscall;
use super::target::Target;

/// A field of a profile, or of one that it derives from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The name of the base that has it; none for the profile itself.
    pub base: Option<String>,
    /// The field, e.g. `spec.deny[0]`, or `syscalls[3]` of a built-in.
    pub path: String,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.base {
            Some(base) => write!(f, "{} of the base {base}", self.path),
            None => f.write_str(&self.path),
        }
    }
}

/// A call, and what happens to it.
#[derive(Debug, Clone, Copy)]
pub struct DecidedCall {
    /// The architecture that it is made through.
    pub arch: Arch,
    /// Which.
    pub call: Syscall,
    /// What is known of its arguments, from the first to the sixth.
    pub known: [Option<u64>; 6],
    /// What happens to it.
    pub action: Action,
}

impl Document {
    /// The first rule that gives the call its action, or else `defaultAction`. `None` if it is neither: then the runtime decides, or the
    /// architecture. `at` is the document's path.
    #[must_use]
    pub fn place(&self, decided: &DecidedCall, target: &Target, at: &str) -> Option<Place> {
        let entries = self.entries.iter().enumerate();
        let mut entries = entries.filter(|(_, entry)| {
            let action = entry.verdict.on(target.arch);
            action == decided.action && entry.applies_to(target)
        });
        let rule = entries.find(|(_, entry)| {
            decided.is_meant(&entry.syscalls, || {
                alternatives(&entry.conditions).any(|conditions| decided.meets(conditions))
            })
        });
        let path = match rule {
            Some((i, _)) => field(at, &format!("syscalls[{i}]")),
            None if self.default.on(target.arch) == decided.action => field(at, "defaultAction"),
            None => return None,
        };
        Some(Place { base: None, path })
    }
}

impl Spec {
    /// The place that gives the call its action: a change, or what stands below. `None` as for [`Document::place`], and where a base is
    /// missing. `at` is the path of the spec, e.g. `spec`.
    #[must_use]
    pub fn place(
        &self,
        decided: &DecidedCall,
        lookup: &Lookup<'_>,
        target: &Target,
        at: &str,
    ) -> Option<Place> {
        let own = match self {
            Self::Document(_) => None,
            Self::Changed { changes, .. } | Self::Derived { changes, .. } => {
                changes.place(decided, at)
            }
        };
        if let Some(path) = own {
            return Some(Place { base: None, path });
        }
        match self {
            Self::Document(document) | Self::Changed { document, .. } => {
                document.place(decided, target, &field(at, "profile"))
            }
            Self::Derived { base, .. } => below(base, decided, lookup, target),
        }
    }
}

/// The place in a base, or in what that derives from.
fn below(base: &str, decided: &DecidedCall, lookup: &Lookup<'_>, target: &Target) -> Option<Place> {
    let mut base = base.to_owned();
    for _ in 0..=MAX_DEPTH {
        let (found, next) = if let Some(document) = builtin(&base) {
            (document.place(decided, target, ""), None)
        } else {
            let spec = lookup(&base)?;
            match spec.as_ref() {
                Spec::Derived { base, changes } => {
                    let path = changes.place(decided, "spec");
                    (
                        path.map(|path| Place { base: None, path }),
                        Some(base.clone()),
                    )
                }
                spec => (spec.place(decided, lookup, target, "spec"), None),
            }
        };
        match (found, next) {
            (Some(place), _) => {
                return Some(Place {
                    base: Some(base),
                    ..place
                });
            }
            (None, next) => base = next?,
        }
    }
    None
}

impl Delta {
    /// The change that counts: a denial before a record, a record before a permission, a later one before an earlier.
    fn place(&self, decided: &DecidedCall, at: &str) -> Option<String> {
        let is_denied = |entry: &DeltaEntry| {
            let regions = entry.denied(decided.call);
            decided.action.refuses() && regions.is_ok_and(|regions| decided.meets_any(&regions))
        };
        let is_permitted = |action: Action| {
            move |entry: &DeltaEntry| decided.action == action && decided.meets(&entry.conditions)
        };
        let last = |entries: &[DeltaEntry], name: &str, test: &dyn Fn(&DeltaEntry) -> bool| {
            let is_it = |entry: &DeltaEntry| decided.is_meant(&entry.calls, || test(entry));
            let i = entries.iter().rposition(is_it)?;
            Some(field(at, &format!("{name}[{i}]")))
        };
        last(&self.deny, "deny", &is_denied)
            .or_else(|| last(&self.log, "log", &is_permitted(Action::Log)))
            .or_else(|| last(&self.allow, "allow", &is_permitted(Action::Allow)))
    }
}

impl DecidedCall {
    /// Whether a rule for these calls speaks of it: by name and with arguments for which `holds`, or of a call that is made through it.
    fn is_meant(&self, calls: &[Syscall], holds: impl Fn() -> bool) -> bool {
        let is_carried = |call: &Syscall| {
            let through = call.multiplexed(self.arch);
            through.is_some_and(|(through, number)| {
                through == self.call && self.known[0].is_none_or(|known| known == number)
            })
        };
        calls.contains(&self.call) && holds() || calls.iter().any(is_carried)
    }

    fn meets(&self, conditions: &[Condition]) -> bool {
        ArgSet::satisfying(conditions).is_some_and(|regions| self.meets_any(&regions))
    }

    fn meets_any(&self, regions: &[ArgSet]) -> bool {
        regions.iter().any(|region| region.may_contain(&self.known))
    }
}

fn field(at: &str, name: &str) -> String {
    if at.is_empty() {
        name.to_owned()
    } else {
        format!("{at}.{name}")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::*;
    use crate::{CapabilitySet, Errno, Fields, KernelVersion, parse};

    const NODE: Target = Target {
        arch: Arch::X86_64,
        kernel: KernelVersion::CURRENT,
        capabilities: CapabilitySet::RUNTIME_DEFAULT,
    };
    const EPERM: Action = Action::Errno(Errno::EPERM);

    fn decided(name: &str, first: Option<u64>, action: Action) -> DecidedCall {
        DecidedCall {
            arch: Arch::X86_64,
            call: Syscall::named(name).unwrap(),
            known: [first, None, None, None, None, None],
            action,
        }
    }

    #[test]
    fn a_document_decides_by_the_rule_that_applies_and_says_so() {
        let document = parse(
            &json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
                {"names": ["bpf"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_BPF"]}},
                {"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "op": "SCMP_CMP_EQ", "value": 2}]},
                {"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "op": "SCMP_CMP_EQ", "value": 10}]},
            ]}),
            "",
        )
        .unwrap();
        let place = |name, first, action| {
            let place = document.place(&decided(name, first, action), &NODE, "at");
            place.map(|place| place.to_string())
        };
        let at = |path: &str| Some(path.to_owned());
        assert_eq!(place("bpf", None, EPERM), at("at.defaultAction"));
        assert_eq!(
            place("socket", Some(10), Action::Allow),
            at("at.syscalls[2]")
        );
        assert_eq!(place("socket", None, Action::Allow), at("at.syscalls[1]"));
        assert_eq!(place("socket", Some(38), EPERM), at("at.defaultAction"));
        assert_eq!(place("mseal", None, Action::Errno(Errno::ENOSYS)), None);
        let bpf = crate::Capability::named("CAP_BPF").unwrap();
        let with_bpf = Target {
            capabilities: NODE.capabilities.with(bpf),
            ..NODE
        };
        let allowed = document.place(&decided("bpf", None, Action::Allow), &with_bpf, "");
        assert_eq!(allowed.unwrap().path, "syscalls[0]");
    }

    #[test]
    fn a_change_decides_before_what_is_below_and_a_base_is_named() {
        let spec = |base: &str, allow: &[Value], log: &[Value], deny: &[Value]| {
            let fields = Fields {
                base: Some(base),
                allow,
                log,
                deny,
                ..Fields::default()
            };
            Spec::parse(&fields, "spec").unwrap()
        };
        let company = spec(
            "runtime-default",
            &[json!("keyctl")],
            &[],
            &[json!("mkdir")],
        );
        let af_alg =
            json!({"name": "socket", "args": [{"index": 0, "op": "SCMP_CMP_EQ", "value": 38}]});
        let web = spec(
            "company",
            &[],
            &[json!("chown")],
            &[json!("@chmod"), af_alg],
        );
        let company = Arc::new(company);
        let lookup = |name: &str| (name == "company").then(|| Arc::clone(&company));
        let place = |name, first, action| {
            let place = web.place(&decided(name, first, action), &lookup, &NODE, "spec");
            place.map(|place| place.to_string()).unwrap_or_default()
        };
        assert_eq!(place("fchmodat", None, EPERM), "spec.deny[0]");
        assert_eq!(place("socket", Some(38), EPERM), "spec.deny[1]");
        assert_eq!(place("chown", None, Action::Log), "spec.log[0]");
        assert_eq!(
            place("mkdir", None, EPERM),
            "spec.deny[0] of the base company"
        );
        assert_eq!(
            place("keyctl", None, Action::Allow),
            "spec.allow[0] of the base company"
        );
        let socket = place("socket", Some(2), Action::Allow);
        assert!(
            socket.starts_with("syscalls[") && socket.ends_with("] of the base runtime-default"),
            "{socket}"
        );
        assert_eq!(
            place("bpf", None, EPERM),
            "defaultAction of the base runtime-default"
        );
    }

    #[test]
    fn a_rule_for_sockets_is_one_for_socketcall_where_that_carries_them() {
        let document = parse(
            &json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["socket"], "action": "SCMP_ACT_ALLOW"}]}),
            "",
        )
        .unwrap();
        let through = |first| DecidedCall {
            arch: Arch::X86,
            ..decided("socketcall", first, Action::Allow)
        };
        assert!(document.place(&through(Some(1)), &NODE, "").is_some());
        assert_eq!(document.place(&through(Some(2)), &NODE, ""), None);
    }
}
