//! From what a user asks for (a document, or changes to something else) to the profile of one kind of node.

use std::sync::Arc;

use serde_json::Value;

use super::arch::Arch;
use super::builtin::{BUILTINS, builtin, meant_builtin};
use super::capability::CapabilitySet;
use super::delta::Delta;
use super::document::Document;
use super::oci::Profile;
use super::problem::{Path, Problem, Problems};
use super::read::parse_in_object;
use super::semantics::too_complex;
use super::target::{KernelVersion, Target};

/// How many profiles may derive from each other in a row, the built-in at the bottom not counted.
pub const MAX_DEPTH: usize = 15;

/// What a user asks for, read and checked on its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Spec {
    /// A whole document.
    Document(Document),
    /// Changes to a document that stands beside them.
    Changed {
        /// The document.
        document: Document,
        /// The changes.
        changes: Delta,
    },
    /// Changes to a built-in or to another profile.
    Derived {
        /// Its name.
        base: String,
        /// The changes.
        changes: Delta,
    },
}

/// The fields that say what a user asks for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Fields<'a> {
    /// A profile document in either format.
    pub profile: Option<&'a Value>,
    /// The name of a built-in or another profile.
    pub base: Option<&'a str>,
    /// What to allow on top of `base` or `profile`: names, groups, or objects with `name` and `args`.
    pub allow: &'a [Value],
    /// What to allow and record.
    pub log: &'a [Value],
    /// What to deny: as `allow`, and objects may have an `errno`.
    pub deny: &'a [Value],
}

impl Spec {
    /// Reads the fields, or says all that is wrong with them. `at` is the path of what has them, e.g. `spec`.
    pub fn parse(fields: &Fields<'_>, at: &str) -> Result<Self, Problems> {
        let changes = Delta::parse(fields.allow, fields.log, fields.deny, at)?;
        match (fields.profile, fields.base) {
            (Some(_), Some(_)) => Err(problem(
                field(at, "base"),
                "stands beside profile".into(),
                "keep one of the two: a whole profile, or changes to another".into(),
            )),
            (None, None) => Err(problem(
                at.to_owned(),
                "has neither profile nor base".into(),
                "put a whole profile into profile, or name in base what allow, log and deny change"
                    .into(),
            )),
            (Some(document), None) => {
                let document = parse_in_object(document, &field(at, "profile"))?;
                Ok(if changes.is_empty() {
                    Self::Document(document)
                } else {
                    Self::Changed { document, changes }
                })
            }
            (None, Some(base)) => Ok(Self::Derived {
                base: base.to_owned(),
                changes,
            }),
        }
    }

    /// The name of what it is derived from.
    #[must_use]
    pub fn base(&self) -> Option<&str> {
        match self {
            Self::Document(_) | Self::Changed { .. } => None,
            Self::Derived { base, .. } => Some(base),
        }
    }
}

/// Finds a profile by its name; `None` if there is none. Built-ins are not asked for.
pub type Lookup<'a> = dyn Fn(&str) -> Option<Arc<Spec>> + 'a;

/// The profile for `target`, in canonical form. `at` is the path of the spec, e.g. `spec`.
pub fn compose(
    spec: &Spec,
    lookup: &Lookup<'_>,
    target: &Target,
    at: &str,
) -> Result<Profile, Problems> {
    let chain = Chain::follow(spec, lookup, at)?;
    let Some(document) = chain.document() else {
        // Following a chain ends at a document or says why not.
        return Err(problem(
            at.to_owned(),
            "derives from nothing".into(),
            "name a built-in in base".into(),
        ));
    };
    let profile = document.resolve(target);
    if chain.changes().all(Delta::is_empty) {
        return profile.canonical(at);
    }
    let mut semantics = profile.exact_semantics(at)?;
    for changes in chain.changes() {
        semantics
            .change(changes, target.arch)
            .map_err(|error| too_complex(at, error))?;
    }
    semantics.profile(at)
}

/// Composes the spec for every architecture that Kubernetes runs on, for a current kernel: what an API server can say
/// before any node has seen it.
pub fn check(
    spec: &Spec,
    lookup: &Lookup<'_>,
    capabilities: CapabilitySet,
    at: &str,
) -> Result<(), Problems> {
    Arch::KUBERNETES.iter().try_for_each(|arch| {
        let target = Target {
            arch: *arch,
            kernel: KernelVersion::CURRENT,
            capabilities,
        };
        compose(spec, lookup, &target, at).map(|_| ())
    })
}

/// A spec and what it derives from.
pub(super) struct Chain<'a> {
    own: &'a Spec,
    /// The profiles below, from the top.
    found: Vec<Arc<Spec>>,
    /// What is at the bottom, if that is no profile.
    builtin: Option<&'static Document>,
}

impl<'a> Chain<'a> {
    pub(super) fn follow(own: &'a Spec, lookup: &Lookup<'_>, at: &str) -> Result<Self, Problems> {
        let path = || field(at, "base");
        let mut chain = Self {
            own,
            found: Vec::new(),
            builtin: None,
        };
        let mut names: Vec<String> = Vec::new();
        while let Some(base) = chain.lowest().base() {
            if let Some(document) = builtin(base) {
                chain.builtin = Some(document);
                break;
            }
            if let Some(first) = names.iter().position(|name| name == base) {
                let circle = names[first..].join(" -> ");
                let reason = format!("leads in a circle: {circle} -> {base}");
                return Err(problem(
                    path(),
                    reason,
                    "let one of them derive from a built-in or have a profile".into(),
                ));
            }
            if names.len() >= MAX_DEPTH {
                let reason = format!("is more than {MAX_DEPTH} profiles deep");
                return Err(problem(
                    path(),
                    reason,
                    "put the changes of some of them into one".into(),
                ));
            }
            let found = lookup(base).ok_or_else(|| {
                let reason = match names.last() {
                    None => format!("{base:?} is neither a built-in nor a known profile"),
                    Some(by) => format!(
                        "{base:?}, the base of {by:?}, is neither a built-in nor a known profile"
                    ),
                };
                let remedy = match meant_builtin(base) {
                    Some(name) => format!("write {name:?}"),
                    None => format!("create it, or write one of {}", BUILTINS.join(", ")),
                };
                problem(path(), reason, remedy)
            })?;
            names.push(base.to_owned());
            chain.found.push(found);
        }
        Ok(chain)
    }

    fn lowest(&self) -> &Spec {
        self.found.last().map_or(self.own, Arc::as_ref)
    }

    /// What everything else changes.
    pub(super) fn document(&self) -> Option<&Document> {
        match self.lowest() {
            Spec::Document(document) | Spec::Changed { document, .. } => Some(document),
            Spec::Derived { .. } => self.builtin,
        }
    }

    /// The changes to it, the lowest first.
    pub(super) fn changes(&self) -> impl Iterator<Item = &Delta> {
        let all = self.found.iter().rev().map(Arc::as_ref).chain([self.own]);
        all.filter_map(|spec| match spec {
            Spec::Document(_) => None,
            Spec::Changed { changes, .. } | Spec::Derived { changes, .. } => Some(changes),
        })
    }
}

/// The path of a field of what `at` is the path of.
pub(super) fn field(at: &str, name: &str) -> String {
    Path::Root(at).key(name).to_string()
}

fn problem(path: String, reason: String, remedy: String) -> Problems {
    Problem {
        path,
        reason,
        remedy,
    }
    .into()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::{Action, Arguments, Errno, RUNTIME_DEFAULT, Syscall, parse};

    const AMD64: Target = Target {
        arch: Arch::X86_64,
        kernel: KernelVersion {
            major: 6,
            minor: 12,
        },
        capabilities: CapabilitySet::RUNTIME_DEFAULT,
    };
    const EPERM: Action = Action::Errno(Errno::EPERM);

    fn derived(base: &str, lists: &Value) -> Spec {
        let list = |key: &str| lists[key].as_array().cloned().unwrap_or_default();
        let fields = Fields {
            profile: None,
            base: Some(base),
            allow: &list("allow"),
            log: &list("log"),
            deny: &list("deny"),
        };
        Spec::parse(&fields, "spec").unwrap()
    }

    fn nothing(_: &str) -> Option<Arc<Spec>> {
        None
    }

    fn decide(profile: &Profile, arch: Arch, call: &str, args: impl Into<Arguments>) -> Action {
        let number = Syscall::named(call).unwrap().number(arch).unwrap();
        profile.model().unwrap().decide(arch, number, &args.into())
    }

    #[test]
    fn one_line_closes_a_hole_and_nothing_else() {
        let deny = json!({"deny": [{"name": "socket", "args": [{"index": 0, "op": "SCMP_CMP_EQ", "value": 38}]}]});
        let spec = derived(RUNTIME_DEFAULT, &deny);
        let profile = compose(&spec, &nothing, &AMD64, "spec").unwrap();
        let before = builtin(RUNTIME_DEFAULT).unwrap().resolve(&AMD64);
        for arch in [Arch::X86_64, Arch::X86, Arch::X32] {
            for (family, action) in [
                (1, Action::Allow),
                (2, Action::Allow),
                (10, Action::Allow),
                (38, EPERM),
                (40, EPERM),
            ] {
                assert_eq!(
                    decide(&profile, arch, "socket", [family, 0, 0, 0, 0, 0]),
                    action,
                    "{arch} {family}"
                );
            }
        }
        let (was, is) = (before.model().unwrap(), profile.model().unwrap());
        for (arch, number, decision) in is.calls().filter(|(arch, number, _)| {
            Syscall::numbered(*arch, *number).unwrap().name() != "socket"
        }) {
            for args in decision.boundaries() {
                assert_eq!(
                    is.decide(arch, number, &args),
                    was.decide(arch, number, &args)
                );
            }
        }
        check(&spec, &nothing, CapabilitySet::RUNTIME_DEFAULT, "spec").unwrap();
    }

    #[test]
    fn later_lists_win_and_groups_are_all_of_their_calls() {
        let spec = derived(
            "docker-default",
            &json!({
                "allow": ["ptrace", "keyctl", "bpf"],
                "log": ["keyctl", "bpf", "openat"],
                "deny": ["@chmod", "bpf", {"name": "mkdir", "errno": "ENOSYS"}],
            }),
        );
        let profile = compose(&spec, &nothing, &AMD64, "spec").unwrap();
        for (call, action) in [
            ("ptrace", Action::Allow),
            ("keyctl", Action::Log),
            ("openat", Action::Log),
            ("bpf", EPERM),
            ("chmod", EPERM),
            ("fchmodat2", EPERM),
            ("mkdir", Action::Errno(Errno::ENOSYS)),
            ("read", Action::Allow),
            ("clone3", Action::Errno(Errno::ENOSYS)),
        ] {
            assert_eq!(
                decide(&profile, Arch::X86_64, call, Arguments::ZEROS),
                action,
                "{call}"
            );
        }
    }

    #[test]
    fn a_condition_on_a_call_that_is_allowed_leaves_the_rest_of_it() {
        let between = json!([{"index": 1, "op": "SCMP_CMP_GE", "value": 10}, {"index": 1, "op": "SCMP_CMP_LE", "value": 20}]);
        let spec = derived(
            "audit",
            &json!({
                "deny": [{"name": "ioctl", "args": between, "errno": 25}, {"name": "kill", "args": [
                    {"index": 0, "op": "SCMP_CMP_EQ", "value": 1}, {"index": 1, "op": "SCMP_CMP_EQ", "value": 9},
                ]}],
            }),
        );
        let profile = compose(&spec, &nothing, &AMD64, "spec").unwrap();
        assert_eq!(profile.model().unwrap().flaws(), []);
        for (call, args, action) in [
            ("ioctl", [0, 9], Action::Log),
            ("ioctl", [0, 10], Action::Errno(Errno::new(25).unwrap())),
            ("ioctl", [0, 20], Action::Errno(Errno::new(25).unwrap())),
            ("ioctl", [0, 21], Action::Log),
            ("kill", [1, 9], EPERM),
            ("kill", [1, 15], Action::Log),
            ("kill", [2, 9], Action::Log),
        ] {
            for arch in [Arch::X86_64, Arch::X86] {
                let args = [args[0], args[1], 0, 0, 0, 0];
                assert_eq!(
                    decide(&profile, arch, call, args),
                    action,
                    "{arch} {call} {args:?}"
                );
            }
        }
    }

    #[test]
    fn profiles_derive_from_each_other_and_circles_and_towers_are_refused() {
        let mut known = BTreeMap::from([
            (
                "base".to_owned(),
                Arc::new(derived(
                    "docker-default",
                    &json!({"deny": ["read", "mkdir"]}),
                )),
            ),
            ("a".to_owned(), Arc::new(derived("b", &json!({})))),
            ("b".to_owned(), Arc::new(derived("a", &json!({})))),
        ]);
        for n in 0..MAX_DEPTH + 2 {
            let below = if n == 0 {
                "audit".to_owned()
            } else {
                format!("tower{}", n - 1)
            };
            known.insert(format!("tower{n}"), Arc::new(derived(&below, &json!({}))));
        }
        let lookup = |name: &str| known.get(name).cloned();
        let profile = compose(
            &derived("base", &json!({"allow": ["read"]})),
            &lookup,
            &AMD64,
            "spec",
        )
        .unwrap();
        assert_eq!(
            decide(&profile, Arch::X86_64, "read", Arguments::ZEROS),
            Action::Allow
        );
        assert_eq!(
            decide(&profile, Arch::X86_64, "mkdir", Arguments::ZEROS),
            EPERM
        );
        let said = |base: &str| {
            compose(&derived(base, &json!({})), &lookup, &AMD64, "spec")
                .unwrap_err()
                .to_string()
        };
        assert!(
            said("a").starts_with("spec.base: leads in a circle: a -> b -> a; "),
            "{}",
            said("a")
        );
        assert!(
            said("tower16").starts_with("spec.base: is more than 15 profiles deep; "),
            "{}",
            said("tower16")
        );
        assert!(compose(&derived("tower13", &json!({})), &lookup, &AMD64, "spec").is_ok());
        assert_eq!(
            said("runtime-defualt"),
            "spec.base: \"runtime-defualt\" is neither a built-in nor a known profile; write \"runtime-default\""
        );
    }

    #[test]
    fn numbers_of_64_bits_are_refused_where_arguments_have_32() {
        let wide = json!({"deny": [{"name": "ioctl", "args": [{"index": 2, "op": "SCMP_CMP_LT", "value": 1u64 << 32}]}]});
        let said = compose(&derived("audit", &wide), &nothing, &AMD64, "spec")
            .unwrap_err()
            .to_string();
        assert!(
            said.starts_with(
                "spec: compares ioctl with numbers of more than 32 bits, and SCMP_ARCH_X86 sees "
            ),
            "{said}"
        );
        let riscv = Target {
            arch: Arch::Riscv64,
            ..AMD64
        };
        assert!(compose(&derived("audit", &wide), &nothing, &riscv, "spec").is_ok());
        // The value fits, but not what is left of the call without it.
        let masked = json!({"deny": [{"name": "ioctl", "args": [
            {"index": 2, "op": "SCMP_CMP_MASKED_EQ", "value": 0x1_0000_0001_u64, "valueTwo": 1},
        ]}]});
        let said = compose(
            &derived("docker-default", &masked),
            &nothing,
            &AMD64,
            "spec",
        );
        assert!(
            said.unwrap_err().to_string().contains("lower halves only"),
            "an i386 caller would get through"
        );
    }

    #[test]
    fn what_is_wrong_on_one_architecture_of_kubernetes_only_is_found() {
        // More values than can be told apart, on riscv64 only.
        let rules: Vec<_> = (0..1200)
            .map(|value| {
                json!({"names": ["ioctl"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["riscv64"]},
                    "args": [{"index": 1, "op": "SCMP_CMP_EQ", "value": value * 2}]})
            })
            .collect();
        let document = json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": rules});
        let spec = Spec::Document(parse(&document, "").unwrap());
        let said = check(&spec, &nothing, CapabilitySet::RUNTIME_DEFAULT, "spec").unwrap_err();
        assert!(said.to_string().contains("500 conditions"), "{said}");
        assert!(compose(&spec, &nothing, &AMD64, "spec").is_ok());
    }

    #[test]
    fn a_spec_is_a_document_or_changes() {
        let profile = json!({"defaultAction": "SCMP_ACT_LOG"});
        let said = |fields: Fields<'_>| Spec::parse(&fields, "spec").unwrap_err().to_string();
        let both = Fields {
            profile: Some(&profile),
            base: Some("audit"),
            ..Fields::default()
        };
        assert!(said(both).starts_with("spec.base: stands beside profile; "));
        assert!(said(Fields::default()).starts_with("spec: has neither profile nor base; "));
        let wrong = Fields {
            profile: Some(&profile),
            deny: &[json!("reed")],
            ..Fields::default()
        };
        assert!(said(wrong).starts_with("spec.deny[0]: "));
        let alone = Fields {
            profile: Some(&profile),
            ..Fields::default()
        };
        assert!(Spec::parse(&alone, "spec").unwrap().base().is_none());
    }

    #[test]
    fn a_document_is_changed_by_what_stands_beside_it_and_below_what_derives_from_it() {
        let document = json!({
            "defaultAction": "SCMP_ACT_ERRNO",
            "architectures": ["SCMP_ARCH_X86_64"],
            "syscalls": [{"names": ["read", "write", "chmod"], "action": "SCMP_ACT_ALLOW"}],
        });
        let (allow, deny) = (
            [json!("getpid"), json!("read")],
            [json!("@chmod"), json!("read")],
        );
        let fields = Fields {
            profile: Some(&document),
            allow: &allow,
            deny: &deny,
            ..Fields::default()
        };
        let spec = Arc::new(Spec::parse(&fields, "spec").unwrap());
        assert!(spec.base().is_none());
        let decided = |profile: &Profile, calls: &[&str]| -> Vec<Action> {
            let of = |call: &&str| decide(profile, Arch::X86_64, call, [0; 6]);
            calls.iter().map(of).collect()
        };
        let calls = ["write", "getpid", "read", "chmod", "mount"];
        let own = compose(&spec, &nothing, &AMD64, "spec").unwrap();
        let allow = Action::Allow;
        assert_eq!(decided(&own, &calls), [allow, allow, EPERM, EPERM, EPERM]);
        let below = |name: &str| (name == "changed").then(|| spec.clone());
        let above = derived("changed", &json!({"allow": ["chmod"], "deny": ["write"]}));
        let above = compose(&above, &below, &AMD64, "spec").unwrap();
        assert_eq!(decided(&above, &calls), [EPERM, allow, EPERM, allow, EPERM]);
        check(&spec, &nothing, CapabilitySet::RUNTIME_DEFAULT, "spec").unwrap();
    }

    #[test]
    fn numbers_that_an_api_server_may_have_rounded_are_refused_where_one_has_handed_them_on() {
        let document = |value: Value| {
            let args =
                json!([{"index": 0, "op": "SCMP_CMP_MASKED_EQ", "value": 1, "valueTwo": value}]);
            json!({"defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{"names": ["personality"], "action": "SCMP_ACT_ERRNO", "args": args}]})
        };
        let in_object = |value: Value| {
            let document = document(value);
            let fields = Fields {
                profile: Some(&document),
                ..Fields::default()
            };
            Spec::parse(&fields, "spec").map_err(|problems| problems.to_string())
        };
        for taken in [
            json!(0x7fff_ffff_ffff_ffff_u64),
            json!("9223372036854775808"),
            json!("0xffffffffffffffff"),
        ] {
            assert!(in_object(taken.clone()).is_ok(), "{taken}");
        }
        for rounded in [1 << 63, 18_446_744_069_414_584_000, u64::MAX] {
            let said = in_object(json!(rounded)).unwrap_err();
            let place =
                format!("spec.profile.syscalls[0].args[0].valueTwo: {rounded} is 2^63 or more");
            assert!(
                said.starts_with(&place) && said.contains("as a string"),
                "{said}"
            );
            // Nothing has rounded what stands in a file that a runtime reads.
            assert!(parse(&document(json!(rounded)), "").is_ok());
        }
    }
}
