//! What of a pod's status a seccomp profile can be the reason of.

use std::borrow::Cow;

use seccomp_operator_api::ProfileName;
use seccomp_policy::localhost::LocalhostProfile;
use seccomp_policy::pod::{Container, ContainerStatus, SeccompProfile, Spec, Status};
use seccomp_profile::Runtime;

use crate::message::{Cause, speaker};

/// The exit code of a shell, and of containers, for a process that SIGSYS ended.
const KILLED_BY_SIGSYS: i32 = 128 + 31;
/// What kubelet gives to a container that could not be started.
const START_ERROR: &str = "StartError";
/// What CRI-O gives to a container that its notifier ended (annotation `io.kubernetes.cri-o.seccompNotifierAction`), with the calls in the
/// message. SIGSYS is an `Error` to it.
const SECCOMP_KILLED: &str = "seccomp killed";

/// How the time begins at which a container of CRI-O's was started that never was: its zero, passed through a count of nanoseconds.
const NEVER: &str = "1754-08-30T";

/// Which profile a container has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Applied {
    /// The file of a SeccompProfile, whether there is such a profile or not.
    Managed(ProfileName),
    /// Another file below kubelet's folder.
    File(String),
    /// The runtime's own.
    RuntimeDefault,
    /// None, since it asks for none.
    Unconfined,
    /// None, since nobody says anything; kubelet's `seccompDefault` decides.
    Unstated,
    /// None, since it is privileged.
    Privileged,
}

/// Where a container's profile is stated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// For all containers of the pod.
    Pod,
    /// For this one.
    Container,
}

/// A container that did not start, or was killed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Its name.
    pub container: String,
    /// The profile that it has.
    pub applied: Applied,
    /// What is the matter.
    pub cause: Cause,
    /// The runtime that said it, where its words tell.
    pub runtime: Option<Runtime>,
}

/// How a container's latest try ended, or what it waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending<'s> {
    /// kubelet's word: `CreateContainerError`, `StartError`, `Error` ...
    pub reason: &'s str,
    /// kubelet's message.
    pub message: &'s str,
    /// The exit code, if it ended.
    pub exit_code: Option<i32>,
    /// Whether CRI-O says that it ended before it was started.
    pub never_started: bool,
}

/// The containers of a pod that a seccomp profile can have kept from starting, or killed. `profiles_dir` is the operator's folder below
/// kubelet's seccomp folder.
#[must_use]
pub fn failures(spec: &Spec<'_>, status: &Status<'_>, profiles_dir: &str) -> Vec<Failure> {
    let failed = containers(spec, status).filter_map(|(container, status)| {
        let (applied, _) = applied(spec, container, profiles_dir);
        // What no profile filters, no profile stops.
        if matches!(applied, Applied::Privileged | Applied::Unconfined) {
            return None;
        }
        let mut endings = endings(status?).into_iter();
        let (cause, message) =
            endings.find_map(|ending| Some((cause(&ending)?, ending.message)))?;
        Some(Failure {
            container: container.name.clone().into_owned(),
            applied,
            runtime: speaker(message),
            cause,
        })
    });
    failed.collect()
}

/// All containers of a pod, in the order in which they start, each with what kubelet says of it, if it does.
pub fn containers<'p, 'a>(
    spec: &'p Spec<'a>,
    status: &'p Status<'a>,
) -> impl Iterator<Item = (&'p Container<'a>, Option<&'p ContainerStatus<'a>>)> {
    let all = [
        (&spec.init_containers, &status.init_container_statuses),
        (&spec.containers, &status.container_statuses),
        (
            &spec.ephemeral_containers,
            &status.ephemeral_container_statuses,
        ),
    ];
    all.into_iter().flat_map(|(containers, statuses)| {
        containers.iter().map(move |container| {
            let status = statuses.iter().find(|status| status.name == container.name);
            (container, status)
        })
    })
}

/// Which profile a container has, and where it is stated.
#[must_use]
pub fn applied(
    spec: &Spec<'_>,
    container: &Container<'_>,
    profiles_dir: &str,
) -> (Applied, Origin) {
    let own = container.profile();
    let origin = if own.is_some() {
        Origin::Container
    } else {
        Origin::Pod
    };
    let profile = own.or_else(|| spec.profile());
    let applied = match profile {
        _ if container.is_privileged() => Applied::Privileged,
        None => Applied::Unstated,
        Some(profile) => stated(profile, profiles_dir),
    };
    (applied, origin)
}

fn stated(profile: &SeccompProfile<'_>, profiles_dir: &str) -> Applied {
    match profile.type_.as_ref() {
        "Localhost" => {
            let path = profile.path().unwrap_or_default();
            match LocalhostProfile::parse(path, profiles_dir) {
                LocalhostProfile::Managed(name) => Applied::Managed(name),
                _ => Applied::File(path.to_owned()),
            }
        }
        "RuntimeDefault" => Applied::RuntimeDefault,
        _ => Applied::Unconfined,
    }
}

/// How a container's tries ended, the latest first. A container that runs again has got over what was before.
#[must_use]
pub fn endings<'s>(status: &'s ContainerStatus<'_>) -> Vec<Ending<'s>> {
    let text = |text: &'s Cow<'_, str>| text.as_ref();
    let mut endings = Vec::new();
    if status.state.running.is_some() {
        return endings;
    }
    if let Some(waiting) = &status.state.waiting {
        endings.push(Ending {
            reason: text(&waiting.reason),
            message: text(&waiting.message),
            exit_code: None,
            never_started: false,
        });
    }
    for terminated in [&status.state.terminated, &status.last_state.terminated] {
        endings.extend(terminated.as_ref().map(|terminated| Ending {
            reason: text(&terminated.reason),
            message: text(&terminated.message),
            exit_code: Some(terminated.exit_code),
            never_started: terminated.started_at.starts_with(NEVER),
        }));
    }
    endings
}

/// What a seccomp profile has to do with it.
fn cause(ending: &Ending<'_>) -> Option<Cause> {
    match (ending.exit_code, ending.reason) {
        (_, SECCOMP_KILLED) => Some(Cause::forbidden(ending.message)),
        (Some(KILLED_BY_SIGSYS), _) => Some(Cause::Killed),
        (Some(_), _) if ending.never_started => Some(Cause::Stopped),
        // The message of a program that ran is its own.
        (Some(_), START_ERROR) | (None, _) => Cause::read(ending.message),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn of(spec: &Value, status: &Value) -> Vec<(String, Cause)> {
        let (spec, status) = (spec.to_string(), status.to_string());
        let spec: Spec<'_> = serde_json::from_str(&spec).unwrap();
        let status: Status<'_> = serde_json::from_str(&status).unwrap();
        let found = failures(&spec, &status, "profiles").into_iter();
        found
            .map(|failure| (failure.container, failure.cause))
            .collect()
    }

    #[test]
    fn a_loop_of_restarts_has_the_reason_of_its_last_try() {
        let spec = json!({
            "securityContext": {"seccompProfile": {"type": "Localhost", "localhostProfile": "profiles/a.json"}},
            "containers": [
                {"name": "killed"}, {"name": "fine"}, {"name": "stopped"}, {"name": "again"}, {"name": "own"}, {"name": "noted"},
                {"name": "never"},
                {"name": "free", "securityContext": {"privileged": true}},
            ],
        });
        let back_off = json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s restarting failed container"}});
        let killed = json!({"terminated": {"exitCode": 159, "reason": "Error"}});
        let stopped = json!({"terminated": {
            "exitCode": 128, "reason": "StartError",
            "message": "failed to start containerd task \"1\": cannot start a stopped process: unknown",
        }});
        // A program that says such words itself.
        let own = json!({"terminated": {"exitCode": 1, "reason": "Error", "message": "cannot start a stopped process"}});
        let status = json!({"containerStatuses": [
            {"name": "killed", "state": back_off, "lastState": killed},
            {"name": "fine", "state": {"running": {}}},
            {"name": "stopped", "state": stopped, "lastState": {}},
            {"name": "again", "state": {"running": {}}, "lastState": killed},
            {"name": "own", "state": own},
            {"name": "noted", "state": {"terminated": {
                "exitCode": 137, "reason": "seccomp killed", "message": "Used forbidden syscalls: chmod (1x), mkdir (2x)",
            }}},
            {"name": "never", "state": back_off, "lastState": {"terminated": {
                "exitCode": 255, "reason": "Error", "startedAt": "1754-08-30T22:43:41Z", "finishedAt": "2026-11-30T15:59:29Z",
            }}},
            {"name": "free", "state": killed},
        ]});
        assert_eq!(
            of(&spec, &status),
            [
                ("killed".to_owned(), Cause::Killed),
                ("stopped".to_owned(), Cause::Stopped),
                ("noted".to_owned(), Cause::Forbidden(vec!["chmod", "mkdir"])),
                ("never".to_owned(), Cause::Stopped),
            ]
        );
    }

    #[test]
    fn a_container_s_own_profile_counts_before_the_pod_s() {
        let spec = json!({
            "securityContext": {"seccompProfile": {"type": "Localhost", "localhostProfile": "profiles/a.json"}},
            "containers": [
                {"name": "1"},
                {"name": "2", "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}}},
                {"name": "3", "securityContext": {"seccompProfile": {"type": "Localhost", "localhostProfile": "x.json"}}},
                {"name": "4", "securityContext": {"privileged": true}},
            ],
        })
        .to_string();
        let spec: Spec<'_> = serde_json::from_str(&spec).unwrap();
        let found: Vec<_> = spec
            .containers
            .iter()
            .map(|container| applied(&spec, container, "profiles"))
            .collect();
        let name = ProfileName::parse("a").unwrap();
        assert_eq!(
            found,
            [
                (Applied::Managed(name), Origin::Pod),
                (Applied::RuntimeDefault, Origin::Container),
                (Applied::File("x.json".to_owned()), Origin::Container),
                (Applied::Privileged, Origin::Pod),
            ]
        );
    }
}
