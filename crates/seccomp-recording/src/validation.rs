//! Whether the spec of a SeccompRecording is valid, beyond what its schema says. It looks at no other object.

use seccomp_operator_api::{MAX_RECORDING_NAME, Merge, ProfileName, SeccompRecordingSpec};
use seccomp_profile::{Problem, Syscall};

use crate::length::parse_length;

/// The longest name of a container, and of most workloads.
const CONTAINER_NAME: usize = 63;

/// All problems of a recording of this name, each with its path, reason and remedy. Those of its selector are the policies' business.
/// `assumed` are the calls that are never recorded.
#[must_use]
pub fn problems(name: &str, spec: &SeccompRecordingSpec, assumed: &[Syscall]) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut problem = |path: &str, reason: String, remedy: &str| {
        problems.push(Problem {
            path: path.into(),
            reason,
            remedy: remedy.into(),
        });
    };
    if name.len() > MAX_RECORDING_NAME {
        problem(
            "metadata.name",
            format!(
                "has {} characters, but the names made of it take at most {MAX_RECORDING_NAME}",
                name.len()
            ),
            "choose a shorter name",
        );
    }
    let stop = spec.stop.iter();
    let lengths = stop.flat_map(|stop| {
        [
            ("spec.stop.after", &stop.after),
            ("spec.stop.quietFor", &stop.quiet_for),
        ]
    });
    for (path, length) in lengths {
        if let Some(Err(said)) = length.as_deref().map(parse_length) {
            let (reason, remedy) = said.split_once("; ").unwrap_or((&said, ""));
            problem(path, reason.to_owned(), remedy);
        }
    }
    for (position, argument) in spec.arguments.iter().enumerate() {
        let path = format!("spec.arguments[{position}]");
        let call = &argument.call;
        match argument.known() {
            None => problem(
                &path,
                format!(
                    "{call:?} is no system call, or has no argument {}",
                    argument.index
                ),
                "write a call's name and an index from 0 to 5",
            ),
            Some((known, _)) if assumed.contains(&known) => problem(
                &path,
                format!(
                    "{call} is assumed and never recorded, so that none of its values are known"
                ),
                "leave it out; status.assumed of a recording lists such calls",
            ),
            Some(_)
                if spec
                    .arguments
                    .iter()
                    .take(position)
                    .any(|other| other.call == *call) =>
            {
                problem(
                    &path,
                    format!("{call} is there already"),
                    "name one argument of each call",
                );
            }
            Some(_) => {}
        }
    }
    if let Some(profile) = &spec.profile_name {
        let longest = match spec.merge {
            Merge::PerContainer | Merge::PerPod => ProfileName::MAX - CONTAINER_NAME - 1,
            Merge::All => ProfileName::MAX,
        };
        if ProfileName::parse(profile).is_err() || profile.len() > longest {
            problem(
                "spec.profileName",
                format!("{profile:?} cannot be the name of a SeccompProfile"),
                "use lower-case letters, digits, '-' and '.', at most 200 of them, and 136 with merge: PerContainer or PerPod",
            );
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_the_schema_cannot_say_is_a_problem_with_its_path() {
        let spec = json!({
            "podSelector": {}, "stop": {"after": "soon", "quietFor": "2m"}, "profileName": "x".repeat(180), "merge": "PerContainer",
            "arguments": [
                {"call": "setsockopt", "index": 2}, {"call": "setsockopt", "index": 1}, {"call": "read", "index": 0}, {"call": "nothing", "index": 0},
            ],
        });
        let spec: SeccompRecordingSpec = serde_json::from_value(spec).unwrap();
        let assumed = [Syscall::named("read").unwrap()];
        let found = problems(&"r".repeat(101), &spec, &assumed);
        let paths: Vec<_> = found.iter().map(|problem| problem.path.as_str()).collect();
        assert_eq!(
            paths,
            [
                "metadata.name",
                "spec.stop.after",
                "spec.arguments[1]",
                "spec.arguments[2]",
                "spec.arguments[3]",
                "spec.profileName"
            ]
        );
        let spec = SeccompRecordingSpec {
            merge: Merge::All,
            stop: None,
            arguments: spec.arguments.iter().take(1).cloned().collect(),
            ..spec
        };
        assert_eq!(problems("web", &spec, &assumed), []);
    }
}
