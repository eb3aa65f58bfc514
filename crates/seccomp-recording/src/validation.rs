//! Whether the spec of a SeccompRecording is valid, beyond what its schema says. It looks at no other object.

use seccomp_operator_api::{MAX_RECORDING_NAME, Merge, ProfileName, SeccompRecordingSpec};
use seccomp_profile::Problem;

use crate::length::parse_length;

/// The longest name of a container.
const CONTAINER_NAME: usize = 63;

/// All problems of a recording of this name, each with its path, reason and remedy. Those of its selector are the policies' business.
#[must_use]
pub fn problems(name: &str, spec: &SeccompRecordingSpec) -> Vec<Problem> {
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
    if let Some(profile) = &spec.profile_name {
        let longest = match spec.merge {
            Merge::PerContainer => ProfileName::MAX - CONTAINER_NAME - 1,
            Merge::PerPod => ProfileName::MAX,
        };
        if ProfileName::parse(profile).is_err() || profile.len() > longest {
            problem(
                "spec.profileName",
                format!("{profile:?} cannot be the name of a SeccompProfile"),
                "use lower-case letters, digits, '-' and '.', at most 200 of them, and 136 with merge: PerContainer",
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
        });
        let spec: SeccompRecordingSpec = serde_json::from_value(spec).unwrap();
        let found = problems(&"r".repeat(101), &spec);
        let paths: Vec<_> = found.iter().map(|problem| problem.path.as_str()).collect();
        assert_eq!(
            paths,
            ["metadata.name", "spec.stop.after", "spec.profileName"]
        );
        let spec = SeccompRecordingSpec {
            merge: Merge::PerPod,
            stop: None,
            ..spec
        };
        assert_eq!(problems("web", &spec), []);
    }
}
