//! What to run beside a pod's containers so that the filter of one of them is probed, and how that comes on. Pure.

use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod, SecurityContext};
use serde_json::{Value, json};

/// Kubernetes has ephemeral containers since this minor version (1.23 has them on by default).
const FIRST_WITH_EPHEMERAL: u32 = 23;
/// Where the operator's image has the plugin.
const PROGRAM: &str = "/kubectl-seccomp";
/// As `kubectl exec` takes it.
const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";
/// What does not end by waiting.
const STUCK: [&str; 7] = [
    "ErrImagePull",
    "ImagePullBackOff",
    "ErrImageNeverPull",
    "InvalidImageName",
    "CreateContainerError",
    "CreateContainerConfigError",
    "RunContainerError",
];

/// How the probe gets into the same circumstances as the container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// In the pod itself.
    Ephemeral,
    /// In a pod of its own, on the same node.
    Copy,
}

/// The name of the pod that the user means: as such, or as `kubectl get -o name` prints it.
pub fn pod_name<'a>(text: &'a str, namespace: &str) -> Result<&'a str, String> {
    match text.split_once('/') {
        None => Ok(text),
        Some(("pod" | "pods" | "po", name)) if !name.is_empty() && !name.contains('/') => Ok(name),
        Some(_) => Err(format!(
            "{text:?} is no pod; name one of its pods, as kubectl get pods -n {namespace} lists them"
        )),
    }
}

/// The way that works for this pod, or why none does.
pub fn way(pod: &Pod, minor: Option<u32>) -> Result<Way, String> {
    let spec = pod.spec.as_ref();
    if spec.and_then(|spec| spec.node_name.as_ref()).is_none() {
        return Err("has no node yet, so nothing filters it; wait until it is scheduled".into());
    }
    let status = pod.status.as_ref();
    let phase = status.and_then(|status| status.phase.as_deref());
    let has_ended = matches!(phase, Some("Succeeded" | "Failed"));
    let is_old = minor.is_some_and(|minor| minor < FIRST_WITH_EPHEMERAL);
    Ok(if has_ended || is_old {
        Way::Copy
    } else {
        Way::Ephemeral
    })
}

/// The container whose filter is asked for: the named one, or what `kubectl exec` would take.
pub fn container<'a>(pod: &'a Pod, wanted: Option<&str>) -> Result<&'a Container, String> {
    let spec = pod.spec.as_ref();
    let all: Vec<&Container> = spec
        .map(|spec| {
            let init = spec.init_containers.iter().flatten();
            spec.containers.iter().chain(init).collect()
        })
        .unwrap_or_default();
    let annotations = pod.metadata.annotations.as_ref();
    let preferred = annotations.and_then(|all| all.get(DEFAULT_CONTAINER));
    let Some(name) = wanted.or(preferred.map(String::as_str)) else {
        return all.first().copied().ok_or("has no container".into());
    };
    let found = all.iter().find(|container| container.name == name);
    found.copied().ok_or_else(|| {
        let names: Vec<_> = all
            .iter()
            .map(|container| container.name.as_str())
            .collect();
        format!("has no container {name:?}; it has {}", names.join(", "))
    })
}

/// What an ephemeral container or a copy runs, with the container's own circumstances: its profile, its user, its capabilities.
fn probing(name: &str, like: &Container, image: &str, args: &[String]) -> Value {
    let args: Vec<&str> = ["probe"]
        .into_iter()
        .chain(args.iter().map(String::as_str))
        .collect();
    let mut probing = json!({
        "name": name, "image": image, "imagePullPolicy": "IfNotPresent", "command": [PROGRAM], "args": args,
    });
    if let Some(context) = &like.security_context {
        probing["securityContext"] = json!(context);
    }
    probing
}

/// The patch that puts an ephemeral container into the pod.
pub fn ephemeral(name: &str, like: &Container, image: &str, args: &[String]) -> Value {
    json!({"spec": {"ephemeralContainers": [probing(name, like, image, args)]}})
}

/// A pod of its own beside this one. It has no labels: no Service and no workload takes it for one of theirs.
pub fn copy(name: &str, pod: &Pod, like: &Container, image: &str, args: &[String]) -> Value {
    let spec = pod.spec.clone().unwrap_or_default();
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": pod.metadata.namespace},
        "spec": {
            "nodeName": spec.node_name, "restartPolicy": "Never", "automountServiceAccountToken": false,
            "enableServiceLinks": false, "securityContext": spec.security_context, "runtimeClassName": spec.runtime_class_name,
            "imagePullSecrets": spec.image_pull_secrets, "tolerations": spec.tolerations,
            "containers": [probing(name, like, image, args)],
        },
    })
}

/// The profile that a container has by its own word or its pod's.
pub fn profile(pod: &Pod, container: &Container) -> Option<Value> {
    let own = |context: &SecurityContext| context.seccomp_profile.clone();
    let own = container.security_context.as_ref().and_then(own);
    let of_pod = || {
        pod.spec
            .as_ref()?
            .security_context
            .as_ref()?
            .seccomp_profile
            .clone()
    };
    own.or_else(of_pod).map(|profile| json!(profile))
}

/// How a probe comes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Not done; the word of kubelet.
    Waits(String),
    /// Done, with this exit code, and there is something to read.
    Ended(u8),
    /// It will not come to anything.
    Failed(String),
}

/// How the container of this name comes on.
pub fn state(pod: &Pod, name: &str) -> State {
    let status = pod.status.as_ref();
    let all = status.into_iter().flat_map(|status| {
        let lists = [
            &status.ephemeral_container_statuses,
            &status.container_statuses,
        ];
        lists.into_iter().flatten().flatten()
    });
    let Some(found) = all.into_iter().find(|status| status.name == name) else {
        let phase = status.and_then(|status| status.phase.as_deref());
        let message = status.and_then(|status| status.message.clone());
        return match (phase, message) {
            (Some("Failed"), message) => State::Failed(message.unwrap_or_default()),
            _ => State::Waits("kubelet has not taken it up".into()),
        };
    };
    of_container(found)
}

fn of_container(status: &ContainerStatus) -> State {
    let Some(state) = &status.state else {
        return State::Waits("it is being created".into());
    };
    if let Some(ended) = &state.terminated {
        let reason = ended.reason.as_deref().unwrap_or_default();
        let message = ended.message.as_deref().unwrap_or_default();
        return match ended.exit_code {
            0..=2 => State::Ended(u8::try_from(ended.exit_code).unwrap_or(2)),
            _ if matches!(reason, "StartError" | "ContainerCannotRun") => State::Failed(format!(
                "the runtime cannot start a container under this profile: {message}"
            )),
            code if code > 128 => State::Failed(format!(
                "signal {} ended the probe before it could say anything: the profile kills for what every program calls at its start",
                code - 128
            )),
            code => State::Failed(format!("the probe ended with {code}: {message}")),
        };
    }
    if let Some(waiting) = &state.waiting {
        let reason = waiting.reason.clone().unwrap_or_default();
        let message = waiting.message.as_deref().unwrap_or_default();
        if STUCK.contains(&reason.as_str()) {
            return State::Failed(format!("{reason}: {message}"));
        }
        return State::Waits(reason);
    }
    State::Waits("it runs".into())
}

/// The report, and what else was said: beside a report in JSON, expectations that are not met stand in the other stream, whose lines
/// the log may have anywhere between those of the first.
pub fn split(log: &str) -> (String, String) {
    let of_json = |line: &&str| line.starts_with(['{', '}', ' ']);
    if !log.lines().any(|line| line == "{") {
        return (log.to_owned(), String::new());
    }
    log.split_inclusive('\n').partition(of_json)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(value: Value) -> Pod {
        serde_json::from_value(value).unwrap()
    }

    fn web() -> Pod {
        pod(json!({
            "metadata": {"name": "web", "namespace": "shop", "labels": {"app": "web"}},
            "spec": {
                "nodeName": "n1",
                "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}, "runAsUser": 1000},
                "containers": [
                    {"name": "main", "image": "web:1"},
                    {"name": "side", "image": "side:1", "securityContext": {
                        "seccompProfile": {"type": "Localhost", "localhostProfile": "profiles/x.json"},
                    }},
                ],
            },
            "status": {"phase": "Running"},
        }))
    }

    #[test]
    fn a_pod_is_named_as_kubectl_prints_it_and_nothing_else_is_a_pod() {
        for text in ["web-0", "pod/web-0", "pods/web-0", "po/web-0"] {
            assert_eq!(pod_name(text, "shop"), Ok("web-0"), "{text}");
        }
        for text in ["deploy/web", "deployment.apps/web", "pod/", "pod/a/b"] {
            let said = pod_name(text, "shop").unwrap_err();
            assert!(said.contains("kubectl get pods -n shop"), "{text}: {said}");
        }
    }

    #[test]
    fn the_container_is_the_named_one_or_the_one_that_kubectl_takes() {
        let mut web = web();
        let name = |pod: &Pod, wanted| container(pod, wanted).map(|found| found.name.clone());
        assert_eq!(name(&web, None), Ok("main".into()));
        assert_eq!(name(&web, Some("side")), Ok("side".into()));
        let error = name(&web, Some("sied")).unwrap_err();
        assert_eq!(error, "has no container \"sied\"; it has main, side");
        let preferred = (DEFAULT_CONTAINER.to_owned(), "side".to_owned());
        web.metadata.annotations = Some([preferred].into());
        assert_eq!(name(&web, None), Ok("side".into()));
    }

    #[test]
    fn the_probe_has_the_circumstances_of_the_container() {
        let web = web();
        let side = container(&web, Some("side")).unwrap();
        let patch = ephemeral("probe-x", side, "tool:1", &["-o".into(), "json".into()]);
        let beside = &patch["spec"]["ephemeralContainers"][0];
        assert_eq!(beside["args"], json!(["probe", "-o", "json"]));
        assert_eq!(beside["securityContext"], json!(side.security_context));
        let main = container(&web, Some("main")).unwrap();
        let copied = copy("probe-x", &web, main, "tool:1", &[]);
        assert_eq!(copied["spec"]["nodeName"], "n1");
        assert!(copied["metadata"]["labels"].is_null());
        let copied = pod(copied);
        let own = &copied.spec.as_ref().unwrap().containers[0];
        assert_eq!(profile(&copied, own), profile(&web, main));
        assert_eq!(profile(&web, main), Some(json!({"type": "RuntimeDefault"})));
        assert_eq!(
            profile(&web, side).unwrap()["localhostProfile"],
            "profiles/x.json"
        );
    }

    #[test]
    fn where_there_are_no_ephemeral_containers_a_pod_of_its_own_does() {
        let mut web = web();
        assert_eq!(way(&web, Some(37)), Ok(Way::Ephemeral));
        assert_eq!(way(&web, None), Ok(Way::Ephemeral));
        assert_eq!(way(&web, Some(20)), Ok(Way::Copy));
        web.status.as_mut().unwrap().phase = Some("Succeeded".into());
        assert_eq!(way(&web, Some(37)), Ok(Way::Copy));
        web.spec.as_mut().unwrap().node_name = None;
        assert!(way(&web, Some(37)).is_err_and(|why| why.contains("has no node")));
    }

    #[test]
    fn what_becomes_of_a_probe_is_said() {
        let of = |state: Value| {
            let status = json!({"name": "p", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state});
            let list = json!({"metadata": {}, "status": {"ephemeralContainerStatuses": [status]}});
            super::state(&pod(list), "p")
        };
        let ended = |code: i32, reason: &str| json!({"terminated": {"exitCode": code, "reason": reason, "message": "m"}});
        assert_eq!(of(ended(0, "Completed")), State::Ended(0));
        assert_eq!(of(ended(1, "Error")), State::Ended(1));
        for (state, part) in [
            (ended(159, "Error"), "signal 31 ended the probe"),
            (
                ended(128, "StartError"),
                "cannot start a container under this profile: m",
            ),
            (
                json!({"waiting": {"reason": "ErrImagePull", "message": "no such image"}}),
                "ErrImagePull: no such image",
            ),
        ] {
            let State::Failed(why) = of(state.clone()) else {
                panic!("{state}");
            };
            assert!(why.contains(part), "{why}");
        }
        let waits = json!({"waiting": {"reason": "ContainerCreating"}});
        assert_eq!(of(waits), State::Waits("ContainerCreating".into()));
        assert!(matches!(super::state(&web(), "p"), State::Waits(_)));
    }

    #[test]
    fn a_report_in_json_is_told_from_what_is_said_of_it() {
        let report = "{\n  \"a\": {\n  }\n}\n";
        for log in [
            "{\n  \"a\": {\n  }\n}\nbpf: not stopped\n",
            "{\n  \"a\": {\nbpf: not stopped\n  }\n}\n",
            "bpf: not stopped\n{\n  \"a\": {\n  }\n}\n",
        ] {
            let said = "bpf: not stopped\n".to_owned();
            assert_eq!(split(log), (report.to_owned(), said), "{log}");
        }
        assert_eq!(split("Stopped: 2\n").0, "Stopped: 2\n");
    }
}
