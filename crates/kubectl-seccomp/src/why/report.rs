//! What is said of each container: pure functions.

use std::fmt::Write as _;

use serde::Serialize;

use crate::text::{plural, visible, wrap};
use seccomp_diagnosis::{
    Applied, Certainty, Ending, Explanation, Failure, Origin, applied, endings, explain, failures,
};
use seccomp_policy::given;
use seccomp_policy::pod::{Container, ContainerStatus, Pod};
use seccomp_profile::{Library, Runtime, Target};

/// What is known of the cluster.
#[derive(Debug)]
pub struct Known {
    /// The SeccompProfiles; none if one may not list them.
    pub library: Option<Library>,
    /// The folder below kubelet's seccomp folder that they are in.
    pub profiles_dir: String,
    /// The pod's node.
    pub node: Node,
}

/// What a node has.
#[derive(Debug)]
pub struct Node {
    /// What its filters are made for; the capabilities are the profiles' own.
    pub target: Target,
    /// What starts its containers, as far as it can be told.
    pub runtime: Option<Runtime>,
}

/// What is said of a pod.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    pub pod: String,
    pub namespace: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    pub containers: Vec<Row>,
    /// What could not be asked.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// What is said of a container.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    container: String,
    /// Which profile it has, and from where.
    profile: String,
    /// What kubelet says.
    state: String,
    /// Whether seccomp is the reason: `certain`, `possible` or `no`.
    seccomp: &'static str,
    /// In one word, if it is or may be.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    /// A sentence.
    why: String,
    /// The calls that the profile refuses and should not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    lacks: Vec<&'static str>,
    /// What to do, or to try.
    #[serde(skip_serializing_if = "String::is_empty")]
    remedy: String,
}

/// A row for each container of the pod, or for that one.
pub fn containers(pod: &Pod<'_>, known: &Known, only: Option<&str>) -> Vec<Row> {
    let failures = failures(&pod.spec, &pod.status, &known.profiles_dir);
    let all = seccomp_diagnosis::containers(&pod.spec, &pod.status);
    all.filter(|(container, _)| only.is_none_or(|only| container.name == only))
        .map(|(container, status)| {
            let mut failures = failures.iter();
            let failure = failures.find(|failure| failure.container == container.name);
            row(pod, container, status, failure, known)
        })
        .collect()
}

fn row(
    pod: &Pod<'_>,
    container: &Container<'_>,
    status: Option<&ContainerStatus<'_>>,
    failure: Option<&Failure>,
    known: &Known,
) -> Row {
    let (applied, origin) = applied(&pod.spec, container, &known.profiles_dir);
    let row = Row {
        container: container.name.clone().into_owned(),
        profile: profile(pod, container, &applied, origin),
        state: state(status),
        seccomp: Certainty::No.word(),
        reason: None,
        why: String::new(),
        lacks: Vec::new(),
        remedy: String::new(),
    };
    let Some(failure) = failure else {
        let (why, remedy) = otherwise(status, &applied);
        return Row { why, remedy, ..row };
    };
    let Explanation {
        reason,
        certainty,
        sentence,
        lacks,
        remedy,
    } = explain(
        failure,
        known.library.as_ref(),
        &known.node.target,
        known.node.runtime,
    );
    Row {
        seccomp: certainty.word(),
        reason: (certainty != Certainty::No).then(|| reason.word()),
        why: sentence,
        lacks,
        remedy,
        ..row
    }
}

/// What is said where no message means a profile.
fn otherwise(status: Option<&ContainerStatus<'_>>, applied: &Applied) -> (String, String) {
    const UNSEEN: &str = "kubectl seccomp probe POD lists the calls that its filter stops, and kubectl seccomp record those that it makes";
    let filtered = !matches!(applied, Applied::Privileged | Applied::Unconfined);
    let ending = status.and_then(|status| {
        endings(status)
            .into_iter()
            .find(|ending| ending.exit_code.is_some_and(|code| code != 0))
    });
    let waiting = status.and_then(|status| status.state.waiting.as_ref());
    match (status, ending) {
        _ if !filtered => (
            "seccomp is not the reason of anything: no profile filters it".to_owned(),
            String::new(),
        ),
        (None, _) => (
            "kubelet has not said anything of it yet".to_owned(),
            String::new(),
        ),
        (Some(status), _) if status.state.running.is_some() => (
            "it runs; what a profile answers with an error, no status shows".to_owned(),
            UNSEEN.to_owned(),
        ),
        (
            _,
            Some(Ending {
                reason: "OOMKilled",
                ..
            }),
        ) => (
            "seccomp is not the reason: the kernel ended it for its memory limit".to_owned(),
            String::new(),
        ),
        (
            _,
            Some(Ending {
                exit_code: Some(code),
                reason,
                ..
            }),
        ) if reason != "StartError" => (
            format!(
                "no profile ended it: SIGSYS would be exit code 159, and this is {code}. A call that was answered with an error may have \
                 made the program end by itself"
            ),
            format!(
                "look at its log for \"Operation not permitted\" and \"Function not implemented\"; {UNSEEN}"
            ),
        ),
        _ if status.is_some_and(has_succeeded) => (
            "it ended as it should, with exit code 0".to_owned(),
            String::new(),
        ),
        _ if waiting.is_some_and(|waiting| {
            waiting.reason == "ContainerCreating" || waiting.reason == "PodInitializing"
        }) =>
        {
            ("it is being made".to_owned(), String::new())
        }
        _ => (
            "seccomp is not the reason: what kubelet says has to do with something else".to_owned(),
            String::new(),
        ),
    }
}

/// Whether its latest try ended without an error.
fn has_succeeded(status: &ContainerStatus<'_>) -> bool {
    let ending = endings(status)
        .into_iter()
        .find_map(|ending| ending.exit_code);
    ending == Some(0)
}

/// What kubelet says of it, in one line.
fn state(status: Option<&ContainerStatus<'_>>) -> String {
    let Some(status) = status else {
        return "unknown".to_owned();
    };
    let restarts = match status.restart_count {
        0 => String::new(),
        count => format!(", {}", plural(count, "restart")),
    };
    if status.state.running.is_some() {
        return format!("running{restarts}");
    }
    let mut endings = endings(status);
    // The same again says nothing more.
    endings.dedup_by(|later, first| {
        later.message == first.message
            && !(later.message.is_empty() && later.reason != first.reason)
    });
    let endings: Vec<_> = endings
        .into_iter()
        .map(|ending| {
            let code = ending.exit_code;
            let code = code.map(|code| format!(" (exit code {code})"));
            let message = match ending.message {
                "" => String::new(),
                message => format!(": {message}"),
            };
            format!("{}{}{message}", ending.reason, code.unwrap_or_default())
        })
        .collect();
    format!("{}{restarts}", endings.join("; before: "))
}

/// The profile in words, and who stated it.
fn profile(pod: &Pod<'_>, container: &Container<'_>, applied: &Applied, origin: Origin) -> String {
    let what = match applied {
        Applied::Managed(name) => format!("SeccompProfile {}", name.as_str()),
        Applied::File(path) => format!("file {path}, which the operator does not keep"),
        Applied::RuntimeDefault => "RuntimeDefault".to_owned(),
        Applied::Unconfined => "Unconfined".to_owned(),
        Applied::Unstated => return "none is stated".to_owned(),
        Applied::Privileged => return "none, since the container is privileged".to_owned(),
    };
    let place = match origin {
        Origin::Pod => "for the pod",
        Origin::Container => "for the container",
    };
    let given = given::read(pod).into_iter().find(|given| match origin {
        Origin::Pod => given.container.is_none(),
        Origin::Container => given.container.as_deref() == Some(container.name.as_ref()),
    });
    match given {
        Some(given) => format!(
            "{what}, given {place} by the SeccompPolicy {}",
            given.policy
        ),
        None => format!("{what}, stated {place}"),
    }
}

impl Report {
    /// Whether seccomp is, or may be, the reason of something.
    pub fn is_seccomp(&self) -> bool {
        self.containers.iter().any(|row| row.reason.is_some())
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for row in &self.containers {
            let verdict = match (row.seccomp, row.reason) {
                ("certain", Some(reason)) => reason.to_owned(),
                (certainty, Some(reason)) => format!("{reason} ({certainty})"),
                _ => "not seccomp".to_owned(),
            };
            let _ = writeln!(text, "container {}: {verdict}", visible(&row.container));
            for (head, words) in [
                ("  profile: ", &row.profile),
                ("  state:   ", &row.state),
                ("  why:     ", &row.why),
                ("  remedy:  ", &row.remedy),
            ] {
                if !words.is_empty() {
                    text.push_str(&wrap(head, &visible(words)));
                    if !text.ends_with('\n') {
                        text.push('\n');
                    }
                }
            }
        }
        for note in &self.notes {
            let _ = writeln!(text, "note: {}", visible(note));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use seccomp_operator_api::{SeccompProfile, SeccompProfileSpec, define};
    use seccomp_profile::{Arch, CapabilitySet, KernelVersion};
    use serde_json::{Value, json};

    fn known() -> Known {
        let mut library = Library::default();
        let spec = json!({"profile": {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW"}]}});
        let spec: SeccompProfileSpec = serde_json::from_value(spec).unwrap();
        library.define("tight", define(&Ok(SeccompProfile::new("tight", spec))));
        Known {
            library: Some(library),
            profiles_dir: "profiles".to_owned(),
            node: Node {
                target: Target {
                    arch: Arch::X86_64,
                    kernel: KernelVersion::CURRENT,
                    capabilities: CapabilitySet::RUNTIME_DEFAULT,
                },
                runtime: Some(Runtime::Runc),
            },
        }
    }

    fn report(spec: &Value, status: &Value, annotations: &Value) -> Report {
        let pod = json!({"metadata": {"annotations": annotations}, "spec": spec, "status": status});
        let pod = pod.to_string();
        Report {
            pod: "p".into(),
            namespace: "n".into(),
            node: None,
            containers: containers(&serde_json::from_str(&pod).unwrap(), &known(), None),
            notes: Vec::new(),
        }
    }

    #[test]
    fn a_page_names_the_profile_its_policy_the_calls_and_the_remedy() {
        let spec = json!({
            "securityContext": {"seccompProfile": {"type": "Localhost", "localhostProfile": "profiles/tight.json"}},
            "containers": [{"name": "web"}],
        });
        let given = json!({given::ANNOTATION: r#"[{"policy":"default"}]"#});
        let message =
            "failed to start containerd task \"1\": cannot start a stopped process: unknown";
        let state = json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}});
        let last =
            json!({"terminated": {"exitCode": 128, "reason": "StartError", "message": message}});
        let status = json!({"containerStatuses": [{"name": "web", "state": state, "lastState": last, "restartCount": 3}]});
        let found = report(&spec, &status, &given);
        assert!(found.is_seccomp());
        let text = found.text();
        for part in [
            "container web: SeccompRefusesRuntime\n",
            "profile: SeccompProfile tight, given for the pod by the SeccompPolicy default\n",
            "CrashLoopBackOff: back-off; before: StartError (exit code 128): failed to start",
            "refuses ",
            "add to spec.allow of the SeccompProfile tight: [",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn what_has_another_reason_is_said_not_to_be_seccomp() {
        let spec = json!({
            "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{"name": "a"}, {"name": "b"}, {"name": "c"}, {"name": "d"}, {"name": "e", "securityContext": {"privileged": true}}],
        });
        let ended =
            |code: i32, reason: &str| json!({"terminated": {"exitCode": code, "reason": reason}});
        let status = json!({"containerStatuses": [
            {"name": "a", "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}},
            {"name": "b", "state": ended(137, "OOMKilled")},
            {"name": "c", "state": ended(1, "Error")},
            {"name": "d", "state": {"running": {}}},
            {"name": "e", "state": ended(159, "Error")},
        ]});
        let found = report(&spec, &status, &json!({}));
        assert!(!found.is_seccomp(), "{found:?}");
        let whys: Vec<_> = found
            .containers
            .iter()
            .map(|row| row.why.as_str())
            .collect();
        for (why, part) in whys.iter().zip([
            "something else",
            "memory limit",
            "this is 1",
            "it runs",
            "no profile filters it",
        ]) {
            assert!(why.contains(part), "{part}: {why}");
        }
    }
}
