//! Changes to a pod, and the JSON patch (RFC 6902) that makes them. How an answer carries it is not known here.

use std::borrow::Cow;

use serde::Serialize;

use crate::pod::SeccompProfile;

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
    fn context(self) -> String {
        match self {
            Self::Pod => "/spec/securityContext".to_owned(),
            Self::InitContainer(index) => format!("/spec/initContainers/{index}/securityContext"),
            Self::Container(index) => format!("/spec/containers/{index}/securityContext"),
        }
    }
}

#[derive(Serialize)]
#[serde(tag = "op", rename_all = "lowercase")]
enum Operation<'a> {
    /// Replaces a member that exists.
    Add {
        path: String,
        value: Added<'a>,
    },
    Remove {
        path: String,
    },
}

#[derive(Serialize)]
#[serde(untagged)]
enum Added<'a> {
    EmptyContext {},
    Profile(&'a SeccompProfile<'a>),
}

/// The text of the patch that makes these changes.
#[must_use]
pub fn to_json(changes: &[Change<'_>]) -> Vec<u8> {
    let mut operations = Vec::with_capacity(changes.len() * 2);
    for change in changes {
        match change {
            Change::Set {
                place,
                has_context,
                profile,
            } => {
                let context = place.context();
                let path = format!("{context}/seccompProfile");
                if !has_context {
                    operations.push(Operation::Add {
                        path: context,
                        value: Added::EmptyContext {},
                    });
                }
                operations.push(Operation::Add {
                    path,
                    value: Added::Profile(profile),
                });
            }
            Change::Drop(key) => {
                let pointer = key.replace('~', "~0").replace('/', "~1");
                operations.push(Operation::Remove {
                    path: format!("/metadata/annotations/{pointer}"),
                });
            }
        }
    }
    // It has string keys and plain values, so that writing it cannot fail.
    serde_json::to_vec(&operations).unwrap_or_default()
}
