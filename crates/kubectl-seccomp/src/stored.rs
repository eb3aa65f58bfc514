//! The profiles of a cluster as the engine has them.

use kube::core::error_boundary::InvalidObject;

use crate::Failure;
use crate::cluster::Cluster;
use kube::Api;
use kube::api::ListParams;
use seccomp_operator_api::{SeccompProfile, StoredProfile, define};
use seccomp_profile::{Arch, KernelVersion, Library, LibraryError, Profile, Target};

/// What nodes mostly are.
pub const ARCHES: [Arch; 2] = [Arch::X86_64, Arch::Aarch64];

/// A library of what was listed; of what cannot be read it has why.
pub fn library(profiles: &[Result<SeccompProfile, InvalidObject>]) -> Library {
    let mut library = Library::default();
    for profile in profiles {
        let name = match profile {
            Ok(profile) => profile.metadata.name.as_deref(),
            Err(unreadable) => unreadable.metadata.name.as_deref(),
        };
        library.define(name.unwrap_or_default(), define(profile));
    }
    library
}

/// The library of a cluster.
pub async fn listed(cluster: &Cluster) -> Result<Library, Failure> {
    let profiles: Api<StoredProfile> = Api::all(cluster.client.clone());
    let kind = "seccompprofiles.seccomp-operator.io";
    let profiles = cluster
        .list(&profiles, &ListParams::default(), kind, "the cluster")
        .await?;
    let profiles: Vec<_> = profiles.into_iter().map(StoredProfile::read).collect();
    Ok(library(&profiles))
}

/// The library with another content of one profile.
pub fn with(library: &Library, profile: &SeccompProfile) -> Library {
    let mut with = library.clone();
    let name = profile.metadata.name.as_deref().unwrap_or_default();
    with.define(name, define(&Ok(profile.clone())));
    with
}

/// What nodes of an architecture with a new kernel have as the profile of this name.
pub fn compose(library: &Library, name: &str, arch: Arch) -> Result<Profile, LibraryError> {
    let target = Target {
        arch,
        kernel: KernelVersion::CURRENT,
        capabilities: library.capabilities(name),
    };
    library.compose(name, &target, "spec")
}
