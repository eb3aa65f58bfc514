//! What a runtime says of a descriptor that it hands over: the container process state of the runtime-spec.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::answer::{MAX_STANDING, Standing};

/// The longest message. Annotations are part of it, and Kubernetes lets a pod have 256 KiB of them.
pub const MAX_MESSAGE: usize = 1 << 20;

/// The name under which the filter's descriptor comes.
const SECCOMP_FD: &str = "seccompFd";

/// What is kept of a name is no longer than Kubernetes lets it be.
const MAX_NAME: usize = 253;
const MAX_METADATA: usize = crate::profile::MAX_METADATA;

/// Whose calls come through a descriptor.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Subject {
    /// The container's id, as the runtime has it.
    pub container_id: String,
    /// The namespace, name and uid of its pod, and its own name there; empty if the runtime does not say.
    pub namespace: String,
    #[allow(missing_docs)]
    pub pod: String,
    #[allow(missing_docs)]
    pub pod_uid: String,
    #[allow(missing_docs)]
    pub container: String,
    /// The image, as the runtime says it; empty if it does not.
    pub image: String,
    /// What the profile has as `listenerMetadata`, in its first line.
    pub metadata: String,
    /// It was executed into a container that ran already: by `kubectl exec`, by a probe or by a hook.
    pub exec: bool,
}

/// A message, and which of the descriptors that came with it is the filter's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Whose it is.
    pub subject: Subject,
    /// What the filter stands on: the lines of the `listenerMetadata` below the first one.
    pub standing: Standing,
    /// The position of the filter's descriptor.
    pub descriptor: usize,
    /// How many descriptors have to come with it.
    pub descriptors: usize,
}

/// Why a message is none.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// It may be the beginning of one.
    #[error("the message is not complete")]
    Incomplete,
    #[allow(missing_docs)]
    #[error("the message is longer than {MAX_MESSAGE} bytes")]
    TooLong,
    #[allow(missing_docs)]
    #[error(
        "what the filter stands on is longer than {MAX_STANDING} bytes, or has control characters"
    )]
    NoStanding,
    #[allow(missing_docs)]
    #[error("the message is no container process state")]
    Malformed(#[source] serde_json::Error),
    #[allow(missing_docs)]
    #[error("the message names no descriptor `seccompFd`, or more than one, or too many others")]
    NoDescriptor,
    #[allow(missing_docs)]
    #[error("the message is of a container in the state {0:?}, in which no filter is loaded")]
    NoSuchState(String),
    #[allow(missing_docs)]
    #[error("the message has no state.id, or one of more than {MAX_NAME} bytes")]
    NoId,
}

#[derive(Deserialize)]
struct ProcessState {
    #[serde(default)]
    fds: Vec<String>,
    #[serde(default)]
    metadata: String,
    state: State,
}

#[derive(Deserialize)]
struct State {
    #[serde(default)]
    id: String,
    #[serde(default)]
    status: String,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
}

/// How many descriptors a message may come with. Runtimes send one.
pub(crate) const MAX_DESCRIPTORS: usize = 4;

/// Reads the message of a runtime, which ends where its JSON ends: runtimes may keep their end of the connection open.
pub fn parse(bytes: &[u8]) -> Result<Message, MessageError> {
    if bytes.len() > MAX_MESSAGE {
        return Err(MessageError::TooLong);
    }
    // Nothing is read twice for each piece that comes.
    let end = bytes.iter().rfind(|byte| !byte.is_ascii_whitespace());
    if end.is_none_or(|end| *end != b'}')
        && bytes
            .iter()
            .find(|byte| !byte.is_ascii_whitespace())
            .is_none_or(|start| *start == b'{')
    {
        return Err(MessageError::Incomplete);
    }
    let message: ProcessState = serde_json::from_slice(bytes).map_err(|error| {
        if error.is_eof() {
            MessageError::Incomplete
        } else {
            MessageError::Malformed(error)
        }
    })?;
    let mut found = message
        .fds
        .iter()
        .enumerate()
        .filter(|(_, name)| *name == SECCOMP_FD);
    let (Some((descriptor, _)), None) = (found.next(), found.next()) else {
        return Err(MessageError::NoDescriptor);
    };
    if message.fds.len() > MAX_DESCRIPTORS {
        return Err(MessageError::NoDescriptor);
    }
    let state = message.state;
    // Pids do not tell them apart: crun says 0 for all, and in a pod of its own the reader could not use them.
    let exec = match state.status.as_str() {
        "creating" | "created" => false,
        "running" => true,
        _ => return Err(MessageError::NoSuchState(cut(state.status, 64))),
    };
    if state.id.is_empty() || state.id.len() > MAX_NAME {
        return Err(MessageError::NoId);
    }
    let (metadata, standing) = match message.metadata.split_once('\n') {
        Some((metadata, standing)) => (metadata.to_owned(), standing.to_owned()),
        None => (message.metadata, String::new()),
    };
    // In a notice it takes twice the room at most.
    if standing.len() > MAX_STANDING || standing.bytes().any(|byte| byte.is_ascii_control()) {
        return Err(MessageError::NoStanding);
    }
    let mut annotations = state.annotations.unwrap_or_default();
    // containerd's, then those of CRI-O.
    let mut first = |names: [&str; 2]| {
        let found = names.into_iter().find_map(|name| annotations.remove(name));
        cut(found.unwrap_or_default(), MAX_NAME)
    };
    Ok(Message {
        descriptor,
        descriptors: message.fds.len(),
        standing: standing.into(),
        subject: Subject {
            container_id: state.id,
            namespace: first([
                "io.kubernetes.cri.sandbox-namespace",
                "io.kubernetes.pod.namespace",
            ]),
            pod: first(["io.kubernetes.cri.sandbox-name", "io.kubernetes.pod.name"]),
            pod_uid: first(["io.kubernetes.cri.sandbox-uid", "io.kubernetes.pod.uid"]),
            container: first([
                "io.kubernetes.cri.container-name",
                "io.kubernetes.container.name",
            ]),
            image: first([
                "io.kubernetes.cri.image-name",
                "io.kubernetes.cri-o.ImageName",
            ]),
            metadata: cut(metadata, MAX_METADATA),
            exec,
        },
    })
}

/// The longest beginning that has at most `most` bytes.
fn cut(mut text: String, most: usize) -> String {
    text.truncate(text.floor_char_boundary(most));
    text
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn state(status: &str, annotations: &Value) -> Value {
        json!({
            "ociVersion": "1.0.2-dev", "fds": ["seccompFd"], "pid": 4711, "metadata": "shop/web/1",
            "state": {
                "ociVersion": "1.0.2-dev", "id": "c0ffee", "status": status, "pid": 4711,
                "bundle": "/run/containerd/io.containerd.runtime.v2.task/k8s.io/c0ffee", "annotations": annotations,
            },
        })
    }

    fn read(message: &Value) -> Result<Message, MessageError> {
        parse(message.to_string().as_bytes())
    }

    #[test]
    fn containerd_and_cri_o_say_whose_container_it_is() {
        let containerd = json!({
            "io.kubernetes.cri.container-type": "container", "io.kubernetes.cri.container-name": "nginx",
            "io.kubernetes.cri.image-name": "docker.io/library/nginx:1.27", "io.kubernetes.cri.sandbox-id": "beef",
            "io.kubernetes.cri.sandbox-name": "web-0", "io.kubernetes.cri.sandbox-namespace": "shop", "io.kubernetes.cri.sandbox-uid": "u-1",
        });
        let cri_o = json!({
            "io.kubernetes.cri-o.ContainerType": "container", "io.kubernetes.container.name": "nginx",
            "io.kubernetes.cri-o.ImageName": "docker.io/library/nginx:1.27", "io.kubernetes.pod.name": "web-0",
            "io.kubernetes.pod.namespace": "shop", "io.kubernetes.pod.uid": "u-1",
        });
        for annotations in [containerd, cri_o] {
            let message = read(&state("creating", &annotations)).unwrap();
            assert_eq!((message.descriptor, message.descriptors), (0, 1));
            let expected = Subject {
                container_id: "c0ffee".into(),
                namespace: "shop".into(),
                pod: "web-0".into(),
                pod_uid: "u-1".into(),
                container: "nginx".into(),
                image: "docker.io/library/nginx:1.27".into(),
                metadata: "shop/web/1".into(),
                exec: false,
            };
            assert_eq!(message.subject, expected);
        }
    }

    #[test]
    fn the_status_tells_an_exec_from_a_start() {
        assert!(!read(&state("creating", &json!(null))).unwrap().subject.exec);
        assert!(read(&state("running", &json!({}))).unwrap().subject.exec);
        // crun writes it over several lines, and pids that say nothing.
        let mut crun = state("running", &json!({}));
        crun["pid"] = json!(0);
        crun["state"]["pid"] = json!(0);
        crun["state"]["bundle"] = json!(".");
        let lines = serde_json::to_string_pretty(&crun).unwrap() + "\n";
        assert!(parse(lines.as_bytes()).unwrap().subject.exec);
        let stopped = read(&state("stopped", &json!({}))).unwrap_err();
        assert!(matches!(stopped, MessageError::NoSuchState(_)));
    }

    #[test]
    fn every_beginning_of_a_message_is_waited_for() {
        let mut whole = state("creating", &json!({"a": "}"}));
        whole["metadata"] = json!("{\"a\": {}}");
        let bytes = whole.to_string().into_bytes();
        for end in 0..bytes.len() {
            assert!(
                matches!(parse(&bytes[..end]), Err(MessageError::Incomplete)),
                "{end}"
            );
        }
        assert!(parse(&bytes).is_ok());
    }

    #[test]
    fn large_annotations_are_read_and_what_is_kept_of_them_is_bounded() {
        let annotations =
            json!({"big": "x".repeat(300_000), "io.kubernetes.pod.name": "ä".repeat(300)});
        let message = read(&state("creating", &annotations)).unwrap();
        assert_eq!(message.subject.pod, "ä".repeat(126));
        let huge = read(&state("creating", &json!({"big": "x".repeat(MAX_MESSAGE)})));
        assert!(matches!(huge, Err(MessageError::TooLong)));
    }

    #[test]
    fn what_a_filter_stands_on_comes_below_the_first_line_of_the_metadata() {
        let mut message = state("creating", &json!({}));
        message["metadata"] = json!("shop/web/1\n{\"defaultAction\": 1}");
        let found = read(&message).unwrap();
        assert_eq!(found.subject.metadata, "shop/web/1");
        assert_eq!(found.standing.text(), "{\"defaultAction\": 1}");
        for wrong in ["x".repeat(MAX_STANDING + 1), "{\n}".into()] {
            message["metadata"] = json!(format!("a\n{wrong}"));
            assert!(matches!(read(&message), Err(MessageError::NoStanding)));
        }
    }

    #[test]
    fn what_is_no_message_is_refused() {
        for (fds, is_one) in [
            (json!(["seccompFd"]), true),
            (json!(["pidfd", "seccompFd"]), true),
            (json!([]), false),
            (json!(["seccompFd", "seccompFd"]), false),
            (json!(["a", "b", "c", "d", "seccompFd"]), false),
        ] {
            let mut message = state("creating", &json!({}));
            message["fds"] = fds;
            assert_eq!(read(&message).is_ok(), is_one, "{message}");
        }
        for bytes in ["[]", "GET / HTTP/1.1\r\n", "{}", "{\"state\": 5}", "\u{0}"] {
            let said = parse(bytes.as_bytes());
            assert!(
                matches!(said, Err(MessageError::Malformed(_))),
                "{bytes} {said:?}"
            );
        }
        let mut nameless = state("creating", &json!({}));
        nameless["state"]["id"] = json!("");
        assert!(matches!(read(&nameless), Err(MessageError::NoId)));
    }
}
