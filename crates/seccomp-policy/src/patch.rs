//! Changes to a pod, and the JSON patch that makes them.

use std::borrow::Cow;
use std::sync::Arc;

use crate::pod::SeccompProfile;
use admission_review::{encode, write_json};

/// A place in a pod that can state a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The pod level.
    Pod,
    /// The container level, of one of `initContainers`.
    InitContainer(usize),
    /// The container level, of one of `containers`.
    Container(usize),
}

/// A change to a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change<'a> {
    /// A place gets a profile, instead of what it states if it states any.
    Set {
        /// Where.
        place: Place,
        /// Whether there is a `securityContext` to write it into.
        has_context: bool,
        /// What.
        profile: Cow<'a, SeccompProfile<'a>>,
    },
    /// An annotation is dropped.
    Drop(Cow<'a, str>),
}

impl Place {
    /// The JSON pointer of its `securityContext`.
    fn context(self) -> Cow<'static, str> {
        match self {
            Self::Pod => "/spec/securityContext".into(),
            Self::InitContainer(index) => {
                format!("/spec/initContainers/{index}/securityContext").into()
            }
            Self::Container(index) => format!("/spec/containers/{index}/securityContext").into(),
        }
    }
}

/// Changes as a JSON patch (RFC 6902), as text; nothing for none.
///
/// `add` on a member that exists replaces it.
#[must_use]
pub fn of(changes: &[Change<'_>]) -> Vec<u8> {
    let mut patch = Vec::with_capacity(changes.len() * 192);
    for change in changes {
        patch.push(if patch.is_empty() { b'[' } else { b',' });
        match change {
            Change::Set {
                place,
                has_context,
                profile,
            } => {
                let path = place.context();
                if !has_context {
                    patch.extend_from_slice(br#"{"op":"add","path":""#);
                    patch.extend_from_slice(path.as_bytes());
                    patch.extend_from_slice(br#"","value":{}},"#);
                }
                patch.extend_from_slice(br#"{"op":"add","path":""#);
                patch.extend_from_slice(path.as_bytes());
                patch.extend_from_slice(br#"/seccompProfile","value":"#);
                write_json(&mut patch, profile);
            }
            Change::Drop(key) => {
                let pointer = key.replace('~', "~0").replace('/', "~1");
                let path = format!("/metadata/annotations/{pointer}");
                patch.extend_from_slice(br#"{"op":"remove","path":"#);
                write_json(&mut patch, &path);
            }
        }
        patch.push(b'}');
    }
    if !patch.is_empty() {
        patch.push(b']');
    }
    patch
}

/// The patch that gives a pod a profile at pod level and changes nothing else, as an answer carries it. Written once for a policy,
/// since it is the same for nearly every pod.
#[derive(Clone, Debug)]
pub struct AtPod {
    with_context: Arc<str>,
    without: Arc<str>,
}

impl AtPod {
    /// For this profile.
    #[must_use]
    pub fn new(profile: &SeccompProfile<'_>) -> Self {
        let patch = |has_context| {
            encode(&of(&[Change::Set {
                place: Place::Pod,
                has_context,
                profile: Cow::Borrowed(profile),
            }]))
        };
        Self {
            with_context: patch(true),
            without: patch(false),
        }
    }

    /// For a pod that has a `securityContext`, or none.
    #[must_use]
    pub fn of(&self, has_context: bool) -> Arc<str> {
        if has_context {
            self.with_context.clone()
        } else {
            self.without.clone()
        }
    }
}
