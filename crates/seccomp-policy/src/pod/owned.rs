//! Pods that stay when the text is gone that they were read from.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer};

use super::{
    Capabilities, Container, ContainerState, ContainerStatus, Metadata, Os, Pairs, Pod,
    SeccompProfile, SecurityContext, Spec, Status, Terminated, Waiting,
};

impl Pod<'_> {
    #[must_use]
    pub fn into_owned(self) -> Pod<'static> {
        Pod {
            metadata: self.metadata.into_owned(),
            spec: self.spec.into_owned(),
            status: self.status.into_owned(),
        }
    }
}

impl Metadata<'_> {
    #[must_use]
    pub fn into_owned(self) -> Metadata<'static> {
        Metadata {
            labels: self.labels.into_owned(),
            annotations: self.annotations.into_owned(),
        }
    }
}

impl Spec<'_> {
    #[must_use]
    pub fn into_owned(self) -> Spec<'static> {
        Spec {
            security_context: self.security_context.map(SecurityContext::into_owned),
            containers: all(self.containers, Container::into_owned),
            init_containers: all(self.init_containers, Container::into_owned),
            ephemeral_containers: all(self.ephemeral_containers, Container::into_owned),
            restart_policy: self.restart_policy.map(text),
            os: self.os.map(|os| Os {
                name: text(os.name),
            }),
            node_selector: self.node_selector.into_owned(),
            node_name: self.node_name.map(text),
            runtime_class_name: self.runtime_class_name.map(text),
        }
    }

    /// For a field of a type that is read from a stream (`#[serde(deserialize_with)]`).
    pub fn deserialize_owned<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Spec<'static>, D::Error> {
        Spec::deserialize(deserializer).map(Spec::into_owned)
    }
}

impl Container<'_> {
    fn into_owned(self) -> Container<'static> {
        Container {
            name: text(self.name),
            image: text(self.image),
            security_context: self.security_context.map(SecurityContext::into_owned),
            restart_policy: self.restart_policy.map(text),
        }
    }
}

impl SecurityContext<'_> {
    fn into_owned(self) -> SecurityContext<'static> {
        SecurityContext {
            seccomp_profile: self.seccomp_profile.map(SeccompProfile::into_owned),
            privileged: self.privileged,
            capabilities: Capabilities {
                add: all(self.capabilities.add, text),
                drop: all(self.capabilities.drop, text),
            },
        }
    }
}

impl SeccompProfile<'_> {
    #[must_use]
    pub fn into_owned(self) -> SeccompProfile<'static> {
        SeccompProfile {
            type_: text(self.type_),
            localhost_profile: self.localhost_profile.map(text),
        }
    }
}

impl Status<'_> {
    #[must_use]
    pub fn into_owned(self) -> Status<'static> {
        Status {
            phase: self.phase.map(text),
            container_statuses: all(self.container_statuses, ContainerStatus::into_owned),
            init_container_statuses: all(self.init_container_statuses, ContainerStatus::into_owned),
            ephemeral_container_statuses: all(
                self.ephemeral_container_statuses,
                ContainerStatus::into_owned,
            ),
        }
    }
}

impl ContainerStatus<'_> {
    fn into_owned(self) -> ContainerStatus<'static> {
        ContainerStatus {
            name: text(self.name),
            state: self.state.into_owned(),
            last_state: self.last_state.into_owned(),
            restart_count: self.restart_count,
            container_id: self.container_id.map(text),
        }
    }
}

impl ContainerState<'_> {
    fn into_owned(self) -> ContainerState<'static> {
        ContainerState {
            waiting: self.waiting.map(|waiting| Waiting {
                reason: text(waiting.reason),
                message: text(waiting.message),
            }),
            running: self.running,
            terminated: self.terminated.map(|terminated| Terminated {
                exit_code: terminated.exit_code,
                started_at: text(terminated.started_at),
                reason: text(terminated.reason),
                message: text(terminated.message),
            }),
        }
    }
}

impl Pairs<'_> {
    fn into_owned(self) -> Pairs<'static> {
        Pairs(all(self.0, |(key, value)| (text(key), text(value))))
    }
}

fn text(text: Cow<'_, str>) -> Cow<'static, str> {
    Cow::Owned(text.into_owned())
}

fn all<T, U>(items: Vec<T>, into_owned: impl Fn(T) -> U) -> Vec<U> {
    items.into_iter().map(into_owned).collect()
}
