//! What policies gave to a pod, told apart from what its author wrote.
//!
//! The field looks the same in both cases, and the API server's managed fields name who created the pod in both. So admission leaves
//! an annotation with what it gave; whoever asks what would become of the pod takes that away first. Anybody can write the annotation,
//! so admission itself never reads a meaning into it.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::pod::{Pod, SeccompProfile, SecurityContext};

/// A list of [`Given`] as JSON.
pub const ANNOTATION: &str = "seccomp-operator.io/given";

/// One place in a pod that a policy gave a profile to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Given<'a> {
    /// The container; none for the pod level.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<Cow<'a, str>>,
    /// The SeccompPolicy's name.
    pub policy: Cow<'a, str>,
    /// The type of the profile that the author had written there, if the policy overrode it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced: Option<Cow<'a, str>>,
}

/// The annotation's value after a policy has given more. What a review in the same admission has left stays.
pub(crate) fn written(pod: &Pod<'_>, more: Vec<Given<'_>>) -> String {
    let mut all = read(pod);
    all.retain(|before| more.iter().all(|given| given.container != before.container));
    all.extend(more);
    // It has string keys and plain values, so that writing it cannot fail.
    serde_json::to_string(&all).unwrap_or_default()
}

/// What the annotation says; nothing if it cannot be read.
#[must_use]
pub fn read<'p>(pod: &'p Pod<'_>) -> Vec<Given<'p>> {
    let value = pod.metadata.annotations.get(ANNOTATION);
    value
        .and_then(|value| serde_json::from_str(value).ok())
        .unwrap_or_default()
}

/// The pod without what policies gave it: what its author, or its owner's template, would hand to admission again.
#[must_use]
pub fn as_written(pod: &Pod<'static>) -> Pod<'static> {
    let mut bare = pod.clone();
    for given in read(pod) {
        let context = match &given.container {
            None => bare.spec.security_context.as_mut(),
            Some(name) => {
                let init = bare.spec.init_containers.iter_mut();
                let mut containers = init.chain(&mut bare.spec.containers);
                containers
                    .find(|container| container.name == *name)
                    .and_then(|container| container.security_context.as_mut())
            }
        };
        if let Some(context) = context {
            put_back(context, given.replaced.as_deref());
        }
    }
    bare
}

fn put_back(context: &mut SecurityContext<'static>, replaced: Option<&str>) {
    context.seccomp_profile = replaced.map(|type_| SeccompProfile {
        type_: type_.to_owned().into(),
        localhost_profile: None,
    });
}
