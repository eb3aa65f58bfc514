//! The system calls that the Security Profiles Operator allows to profiles at all (`allowedSyscalls` of its daemon's configuration), as a
//! SeccompCeiling.
//!
//! It refuses profiles that name another call in a rule that allows, logs, traces or notifies, or that do so by default, and looks at no
//! arguments or architectures. Source: its `internal/pkg/seccompcheck`, and `allowProfile` of its daemon before that was there.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::document::Faulty;
use super::text::visible;
use seccomp_operator_api::SeccompCeilingSpec;
use seccomp_profile::{Arch, Problem, Problems, Syscall};

/// Where the list stands, in its versions.
const PLACES: [(&str, &str); 2] = [
    (
        "/spec/security/allowedSyscalls",
        "spec.security.allowedSyscalls",
    ),
    ("/spec/allowedSyscalls", "spec.allowedSyscalls"),
];
const ACTIONS: [&str; 2] = [
    "/spec/security/allowedSeccompActions",
    "/spec/allowedSeccompActions",
];

/// Whether it is the configuration of that operator's daemon.
pub fn is_one(object: &Value) -> bool {
    let version = object["apiVersion"].as_str().unwrap_or_default();
    object["kind"] == "SecurityProfilesOperatorDaemon"
        && version.starts_with("security-profiles-operator.x-k8s.io/")
}

/// The name and the spec of the ceiling; says what is left out.
pub fn ceiling(object: &Value, name: Option<&str>) -> Result<(String, Value), Faulty> {
    let own = object["metadata"]["name"].as_str().unwrap_or("spod");
    let mut places = PLACES.iter();
    let found =
        places.find_map(|(pointer, path)| Some((object.pointer(pointer)?.as_array()?, *path)));
    let Some((list, path)) = found.filter(|(list, _)| !list.is_empty()) else {
        return Err(Faulty {
            name: own.to_owned(),
            problems: Problem {
                path: "spec.allowedSyscalls".into(),
                reason: "is not there, so that profiles may allow every call".into(),
                remedy: "there is nothing to convert; write a SeccompCeiling if there shall be one"
                    .into(),
            }
            .into(),
        });
    };
    let mut names = BTreeSet::new();
    for (i, call) in list.iter().enumerate() {
        let call = call.as_str().unwrap_or_default();
        if Syscall::named(call).is_some() {
            names.insert(call);
        } else {
            note(
                own,
                &format!("{path}[{i}]: {call:?} is left out; it is no system call"),
            );
        }
    }
    let actions = ACTIONS
        .iter()
        .find_map(|pointer| object.pointer(pointer)?.as_array());
    if actions.is_some_and(|actions| (1..4).contains(&actions.len())) {
        note(
            own,
            "allowedSeccompActions is left out: what is logged, traced or left to a listener counts as allowed under a ceiling",
        );
    }
    let arches = Arch::KUBERNETES.iter().map(|arch| {
        let others: Vec<_> = arch.abis()[1..].iter().map(Arch::to_string).collect();
        json!({"architecture": arch.to_string(), "subArchitectures": others})
    });
    let spec = json!({
        "action": "Deny",
        "profile": {
            "defaultAction": "SCMP_ACT_ERRNO",
            "archMap": arches.collect::<Vec<_>>(),
            "syscalls": [{"names": names, "action": "SCMP_ACT_ALLOW"}],
        },
    });
    is_valid(&spec).map_err(|problems| Faulty {
        name: own.to_owned(),
        problems,
    })?;
    note(
        own,
        "profiles that are above it already stay, with a warning in their statuses; that operator deletes such",
    );
    Ok((name.unwrap_or(own).to_owned(), spec))
}

fn is_valid(spec: &Value) -> Result<(), Problems> {
    match serde_json::from_value::<SeccompCeilingSpec>(spec.clone()) {
        Ok(spec) => spec.define().map(drop),
        Err(error) => Err(Problem {
            path: "spec".into(),
            reason: error.to_string(),
            remedy: "mend the list".into(),
        }
        .into()),
    }
}

fn note(own: &str, sentence: &str) {
    eprintln!("note: {}: {}", visible(own), visible(sentence));
}

#[cfg(test)]
mod tests {
    use super::*;
    use seccomp_policy::ceiling::Ceiling;
    use seccomp_profile::{CapabilitySet, KernelVersion, Target, parse};

    fn daemon(spec: &Value) -> Value {
        json!({
            "apiVersion": "security-profiles-operator.x-k8s.io/v1", "kind": "SecurityProfilesOperatorDaemon",
            "metadata": {"name": "spod", "namespace": "security-profiles-operator"}, "spec": spec,
        })
    }

    /// Whether a profile is above the ceiling of a list.
    fn is_above(list: &[&str], profile: &Value) -> bool {
        let object = daemon(&json!({"security": {"allowedSyscalls": list}}));
        let (_, spec) = ceiling(&object, None).unwrap();
        let ceiling = Ceiling::new(&serde_json::from_value(spec).unwrap());
        let models = [Arch::X86_64, Arch::Aarch64, Arch::S390X].map(|arch| {
            let target = Target {
                arch,
                kernel: KernelVersion::CURRENT,
                capabilities: CapabilitySet::RUNTIME_DEFAULT,
            };
            let profile = parse(profile, "").unwrap().resolve(&target);
            (arch, profile.model().unwrap())
        });
        ceiling.breach("spod", &models).is_some()
    }

    #[test]
    fn a_profile_is_above_the_ceiling_where_that_operator_refuses_it() {
        let list = ["exit", "exit_group", "futex", "nanosleep"];
        let profile = |default: &str, action: &str, names: &[&str]| {
            json!({"defaultAction": default, "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
                "syscalls": [{"names": names, "action": action}]})
        };
        for (default, action, names, above) in [
            (
                "SCMP_ACT_ERRNO",
                "SCMP_ACT_ALLOW",
                &["exit", "futex"][..],
                false,
            ),
            ("SCMP_ACT_ERRNO", "SCMP_ACT_ALLOW", &["exit", "mount"], true),
            ("SCMP_ACT_ERRNO", "SCMP_ACT_LOG", &["mount"], true),
            ("SCMP_ACT_ERRNO", "SCMP_ACT_KILL", &["mount"], false),
            ("SCMP_ACT_LOG", "SCMP_ACT_ALLOW", &["exit"], true),
        ] {
            let mut profile = profile(default, action, names);
            assert_eq!(
                is_above(&list, &profile),
                above,
                "{default} {action} {names:?}"
            );
            profile["architectures"] = json!([]);
            assert_eq!(
                is_above(&list, &profile),
                above,
                "{default} {action} {names:?}"
            );
        }
    }

    #[test]
    fn the_list_is_found_in_both_versions_and_may_be_missing() {
        for spec in [
            json!({"allowedSyscalls": ["read", "none_such"]}),
            json!({"security": {"allowedSyscalls": ["read"], "allowedSeccompActions": ["SCMP_ACT_ALLOW"]}}),
        ] {
            let object = daemon(&spec);
            assert!(is_one(&object));
            let (name, spec) = ceiling(&object, None).unwrap();
            assert_eq!(name, "spod");
            assert_eq!(spec["profile"]["syscalls"][0]["names"], json!(["read"]));
            let (name, _) = ceiling(&object, Some("allowed")).unwrap();
            assert_eq!(name, "allowed");
        }
        for spec in [json!({}), json!({"allowedSyscalls": []})] {
            let said = ceiling(&daemon(&spec), None).unwrap_err().to_string();
            assert!(
                said.starts_with("spod: spec.allowedSyscalls: is not there"),
                "{said}"
            );
        }
    }
}
