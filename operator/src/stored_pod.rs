//! A pod as the watch of a node's pods sees it: its metadata, and what says which profiles it uses.

use k8s_openapi::api::core::v1::Pod as CorePod;
use kube::core::ObjectMeta;
use kube::core::error_boundary::InvalidObject;
use serde::Deserialize;
use serde_json::value::RawValue;

use kube_support::Watched;
use seccomp_operator_api::without_managed_fields;
use seccomp_policy::pod::{Spec, Status};

/// A pod as it comes from the wire: only its metadata are read with it, so that one that cannot be read does not stop the watch.
#[derive(kube::Resource, Clone, Debug, Deserialize)]
#[resource(inherit = CorePod)]
pub struct StoredPod {
    #[serde(deserialize_with = "without_managed_fields")]
    metadata: ObjectMeta,
    #[serde(default)]
    spec: Option<Box<RawValue>>,
    #[serde(default)]
    status: Option<Box<RawValue>>,
}

/// A pod: only what says which profiles it uses.
#[derive(Clone, Debug, Default)]
pub struct UsingPod {
    /// Its metadata.
    pub metadata: ObjectMeta,
    /// What was asked for.
    pub spec: Spec<'static>,
    /// What kubelet says.
    pub status: Status<'static>,
}

impl StoredPod {
    /// The pod, or why it cannot be read.
    pub fn read(self) -> Watched<UsingPod> {
        fn part<'a, T: Deserialize<'a> + Default>(
            part: Option<&'a RawValue>,
        ) -> serde_json::Result<T> {
            part.map_or_else(|| Ok(T::default()), |part| serde_json::from_str(part.get()))
        }
        let spec: serde_json::Result<Spec<'_>> = part(self.spec.as_deref());
        let status: serde_json::Result<Status<'_>> = part(self.status.as_deref());
        match spec.and_then(|spec| Ok((spec, status?))) {
            Ok((spec, status)) => Ok(UsingPod {
                metadata: self.metadata,
                spec: spec.into_owned(),
                status: status.into_owned(),
            }),
            Err(error) => Err(InvalidObject {
                error: error.to_string(),
                metadata: self.metadata,
            }),
        }
    }
}
