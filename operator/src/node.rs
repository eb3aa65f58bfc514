//! The node that this process runs on: what profiles are rendered for, and what the SeccompNode says of it.

use seccomp_operator_api::NodeInfo;
use seccomp_profile::{Arch, CapabilitySet, KernelVersion, Target};

/// Why no profile can be rendered for this node.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// The engine does not know it.
    #[error("profiles cannot be rendered for architecture {0:?}")]
    Architecture(String),
    /// It does not begin with two numbers.
    #[error("the kernel's release {0:?} cannot be read")]
    Kernel(String),
}

/// What profiles are rendered for here.
pub fn target() -> Result<Target, TargetError> {
    let node = info(None);
    let (architecture, release) = (node.architecture, node.kernel_version);
    let Some(arch) = Arch::from_node(&architecture) else {
        return Err(TargetError::Architecture(architecture));
    };
    let Some(kernel) = KernelVersion::from_release(&release) else {
        return Err(TargetError::Kernel(release));
    };
    Ok(Target {
        arch,
        kernel,
        capabilities: CapabilitySet::RUNTIME_DEFAULT,
    })
}

/// What the SeccompNode says of the node; the digest is that of the Node's labels.
pub fn info(labels_digest: Option<String>) -> NodeInfo {
    // Rust's words for architectures on the left, Go's (and so Kubernetes') on the right, where they differ.
    let architecture = match (std::env::consts::ARCH, cfg!(target_endian = "little")) {
        ("x86_64", _) => "amd64",
        ("x86", _) => "386",
        ("aarch64", _) => "arm64",
        ("loongarch64", _) => "loong64",
        ("powerpc64", true) => "ppc64le",
        ("powerpc64", false) => "ppc64",
        (other, _) => other,
    };
    NodeInfo {
        architecture: architecture.into(),
        kernel_version: rustix::system::uname()
            .release()
            .to_string_lossy()
            .into_owned(),
        container_runtime: None,
        labels_digest,
        agent_version: env!("CARGO_PKG_VERSION").into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_can_be_rendered_for_this_machine() {
        assert!(target().is_ok());
    }
}
