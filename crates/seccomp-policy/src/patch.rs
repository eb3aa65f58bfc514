//! Changes to a pod, and the JSON patch (RFC 6902) that makes them. How an answer carries it is not known here.

use std::borrow::Cow;

use serde::Serialize;

use crate::pod::{Pod, SeccompProfile};

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
    /// An annotation is written, instead of one of the same key.
    Annotate {
        /// Which.
        key: &'static str,
        /// Whether there are annotations to write it into.
        has_annotations: bool,
        /// What.
        value: String,
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

/// What every place of a pod states once these changes are made.
#[must_use]
pub fn stated<'a>(
    pod: &'a Pod<'a>,
    changes: &'a [Change<'a>],
) -> Vec<(Place, Option<&'a SeccompProfile<'a>>)> {
    let init = pod.spec.init_containers.iter().enumerate();
    let others = pod.spec.containers.iter().enumerate();
    let before = std::iter::once((Place::Pod, pod.spec.profile()))
        .chain(init.map(|(n, container)| (Place::InitContainer(n), container.profile())))
        .chain(others.map(|(n, container)| (Place::Container(n), container.profile())));
    let after = |(at, before)| {
        let set = changes.iter().rev().find_map(|change| match change {
            Change::Set { place, profile, .. } if *place == at => Some(profile.as_ref()),
            _ => None,
        });
        (at, set.or(before))
    };
    before.map(after).collect()
}

/// The JSON pointer of a pod's annotations.
const ANNOTATIONS: &str = "/metadata/annotations";

/// The JSON pointer of one of them.
fn annotation(key: &str) -> String {
    let key = key.replace('~', "~0").replace('/', "~1");
    format!("{ANNOTATIONS}/{key}")
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
    EmptyObject {},
    Text(&'a str),
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
                        value: Added::EmptyObject {},
                    });
                }
                operations.push(Operation::Add {
                    path,
                    value: Added::Profile(profile),
                });
            }
            Change::Annotate {
                key,
                has_annotations,
                value,
            } => {
                if !has_annotations {
                    operations.push(Operation::Add {
                        path: ANNOTATIONS.to_owned(),
                        value: Added::EmptyObject {},
                    });
                }
                operations.push(Operation::Add {
                    path: annotation(key),
                    value: Added::Text(value),
                });
            }
            Change::Drop(key) => operations.push(Operation::Remove {
                path: annotation(key),
            }),
        }
    }
    // It has string keys and plain values, so that writing it cannot fail.
    serde_json::to_vec(&operations).unwrap_or_default()
}
