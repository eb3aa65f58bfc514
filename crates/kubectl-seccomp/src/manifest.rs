//! Objects of a cluster as their authors write them, for `kubectl apply` and repositories.

use kube::core::ObjectMeta;
use serde::Serialize;

use super::{Failure, output};
use seccomp_operator_api::{SeccompPolicy, SeccompProfile};

/// A profile, as YAML.
pub fn profile(profile: &SeccompProfile) -> Result<String, Failure> {
    let mut written = SeccompProfile::new("", profile.spec.clone());
    written.metadata = metadata(&profile.metadata);
    yaml(&written)
}

/// A policy, as YAML.
pub fn policy(policy: &SeccompPolicy) -> Result<String, Failure> {
    let mut written = SeccompPolicy::new("", policy.spec.clone());
    written.metadata = metadata(&policy.metadata);
    yaml(&written)
}

fn yaml(object: &impl Serialize) -> Result<String, Failure> {
    let text = output::yaml(object)?;
    Ok(if text.ends_with('\n') {
        text
    } else {
        text + "\n"
    })
}

/// What its author writes of an object's metadata.
fn metadata(stored: &ObjectMeta) -> ObjectMeta {
    let mut annotations = stored.annotations.clone();
    if let Some(annotations) = &mut annotations {
        annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
    }
    ObjectMeta {
        name: stored.name.clone(),
        labels: stored.labels.clone(),
        annotations,
        ..ObjectMeta::default()
    }
}
