//! A profile as the watch saw it: its name, and what tells one form of the object from another.

use std::collections::BTreeMap;

use kube_support::{Watched, resource_version};
use seccomp_operator_api::{ADOPT_ANNOTATION, ProfileName, SeccompProfile};

/// What the agent has to know of the object beside its meaning.
#[derive(Clone, Debug)]
pub struct Observed {
    /// The object's uid: a profile made again under the same name is another profile.
    pub uid: String,
    /// The generation of its spec.
    pub generation: i64,
    /// The object's resource version, as a number; see [`resource_version`].
    pub version: u64,
    /// The `status.revision` of that generation, once the controller has given one.
    pub revision: u64,
    /// Labels that a node must have to get the profile.
    pub selector: BTreeMap<String, String>,
    /// Somebody else's file of the profile's name is to be overwritten.
    pub adopt: bool,
}

impl Observed {
    /// The name, and what tells one form of the object from another. A name that cannot be a file is not this agent's business:
    /// admission refuses it, and the controller says so in the profile's status.
    pub fn identify(profile: &Watched<SeccompProfile>) -> Option<(ProfileName, Self)> {
        let metadata = match profile {
            Ok(profile) => &profile.metadata,
            Err(unreadable) => &unreadable.metadata,
        };
        let name = ProfileName::parse(metadata.name.as_deref()?).ok()?;
        let generation = metadata.generation.unwrap_or_default();
        let status = profile
            .as_ref()
            .ok()
            .and_then(|profile| profile.status.as_ref());
        let revision = status
            .filter(|status| status.observed_generation == Some(generation))
            .and_then(|status| status.revision.as_deref())
            .map_or(0, resource_version);
        let version = metadata
            .resource_version
            .as_deref()
            .map_or(0, resource_version);
        Some((
            name,
            Self {
                uid: metadata.uid.clone().unwrap_or_default(),
                generation,
                version,
                revision,
                selector: profile
                    .as_ref()
                    .map(|profile| profile.spec.node_selector.clone())
                    .unwrap_or_default(),
                adopt: metadata
                    .annotations
                    .as_ref()
                    .and_then(|annotations| annotations.get(ADOPT_ANNOTATION))
                    .is_some_and(|value| value == "true"),
            },
        ))
    }
}
