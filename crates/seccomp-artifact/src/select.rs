//! From an artifact to the layer that has the profile.
//!
//! KEP-6061's artifacts have one. Those of the Security Profiles Operator have one for each platform, or one for all; each is a
//! SeccompProfile's YAML as it is, whatever its media type says: the library that writes them calls every file a tar archive.

use seccomp_profile::{Arch, MAX_BYTES};

use super::manifest::{
    DOCKER_MANIFEST, Descriptor, EMPTY, INDEX, Index, MANIFEST, MAX_MANIFEST, Manifest, PROFILE,
    Platform,
};

/// The media types that are asked for where a manifest is.
pub const ACCEPTED: &[&str] = &[MANIFEST, INDEX, DOCKER_MANIFEST];
/// What a container image's config is.
const IMAGE_CONFIGS: &[&str] = &[
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.docker.container.image.v1+json",
];
/// The largest object that is read: a profile with what its author says of it.
pub const MAX_OBJECT: u64 = 2 << 20;

/// The layer that has the profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// The layer.
    pub layer: Descriptor,
    /// What is in it.
    pub form: Form,
}

impl Chosen {
    /// The longest layer of that form.
    #[must_use]
    pub fn max_bytes(&self) -> u64 {
        match self.form {
            Form::Runtime => MAX_BYTES as u64,
            Form::Object => MAX_OBJECT,
        }
    }
}

/// What a layer holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A profile's JSON, as KEP-6061 has it.
    Runtime,
    /// What somebody has put there: an object, or a profile's JSON.
    Object,
}

/// What a registry answers where a manifest is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// An artifact.
    Manifest(Box<Manifest>),
    /// Several, of which one is for a platform.
    Index(Index),
}

/// Why an artifact is no profile's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// It is no manifest.
    #[error("is no manifest of the OCI image-spec: {0}")]
    Malformed(String),
    /// It is of another kind.
    #[error("is an artifact of type {0:?}, no seccomp profile")]
    OtherType(String),
    /// It is an image that containers start from.
    #[error("is a container image, no seccomp profile")]
    Image,
    /// Its config and its manifest say different things.
    #[error(
        "has the artifact type {artifact_type:?} and a config of type {config:?}, which runtimes refuse"
    )]
    TwoTypes {
        /// The manifest's.
        artifact_type: String,
        /// The config's.
        config: String,
    },
    /// KEP-6061's form has one layer.
    #[error("has {0} layers, and the artifact of a profile has one")]
    Layers(usize),
    /// None of its layers is for the platform.
    #[error("has no profile for {0}; it has {1}")]
    NoPlatform(String, String),
    /// A layer is somewhere else.
    #[error("has a layer with URLs, which are not followed")]
    Elsewhere,
    /// A layer is longer than a profile may be.
    #[error("has a layer of {0} bytes, and a profile has at most {1}")]
    TooLarge(u64, u64),
    /// The layer is packed.
    #[error("has an archive for its layer, no document")]
    Archive,
}

/// Reads what a registry answered where a manifest is.
///
/// # Errors
///
/// If it is none.
pub fn read(bytes: &[u8]) -> Result<Found, Unfit> {
    if bytes.len() > MAX_MANIFEST {
        return Err(Unfit::TooLarge(bytes.len() as u64, MAX_MANIFEST as u64));
    }
    let malformed = |error: serde_json::Error| Unfit::Malformed(error.to_string());
    let value: serde_json::Value = serde_json::from_slice(bytes).map_err(malformed)?;
    if value.get("manifests").is_some() && value.get("layers").is_none() {
        return serde_json::from_value(value)
            .map(Found::Index)
            .map_err(malformed);
    }
    serde_json::from_value(value)
        .map(|manifest| Found::Manifest(Box::new(manifest)))
        .map_err(malformed)
}

/// The manifest of an index that is for nodes of that architecture; without one, what is for all of them.
///
/// # Errors
///
/// If there is none.
pub fn manifest_for(index: &Index, arch: Option<Arch>) -> Result<&Descriptor, Unfit> {
    let is_for = |descriptor: &&Descriptor| {
        let platform = descriptor.platform.as_ref();
        platform.is_some_and(|platform| platform.os == "linux" && is_of(platform, arch))
    };
    let alone = || match &index.manifests[..] {
        [only] if only.platform.is_none() => Some(only),
        _ => None,
    };
    let found = index.manifests.iter().find(is_for).or_else(alone);
    found.ok_or_else(|| {
        let platforms = index.manifests.iter().filter_map(|m| m.platform.as_ref());
        let platforms = platforms.map(|p| format!("{}/{}", p.os, p.architecture));
        Unfit::NoPlatform(wanted(arch), listed(platforms))
    })
}

/// The layer of a manifest that has the profile for nodes of that architecture; without one, what is for all of them.
///
/// # Errors
///
/// If there is none, or one that is not read.
pub fn layer(manifest: &Manifest, arch: Option<Arch>) -> Result<Chosen, Unfit> {
    let config = manifest.config.media_type.as_str();
    let stated = manifest.artifact_type.as_deref().unwrap_or_default();
    let declared = if config == EMPTY { stated } else { config };
    // As runtimes do: scanners may go by either.
    if declared == PROFILE && !stated.is_empty() && stated != PROFILE {
        return Err(Unfit::TwoTypes {
            artifact_type: stated.into(),
            config: config.into(),
        });
    }
    let chosen = if declared == PROFILE {
        match &manifest.layers[..] {
            [layer] => Chosen {
                layer: layer.clone(),
                form: Form::Runtime,
            },
            layers => return Err(Unfit::Layers(layers.len())),
        }
    } else if IMAGE_CONFIGS.contains(&declared) {
        return Err(Unfit::Image);
    } else if is_generic(declared) {
        Chosen {
            layer: titled(&manifest.layers, arch)?.clone(),
            form: Form::Object,
        }
    } else {
        return Err(Unfit::OtherType(declared.into()));
    };
    if !chosen.layer.urls.is_empty() {
        return Err(Unfit::Elsewhere);
    }
    if chosen.layer.size > chosen.max_bytes() {
        return Err(Unfit::TooLarge(chosen.layer.size, chosen.max_bytes()));
    }
    Ok(chosen)
}

/// Whether a layer's bytes are a document, not an archive as images have them.
///
/// # Errors
///
/// If they are an archive.
pub fn document(bytes: &[u8]) -> Result<&[u8], Unfit> {
    const TAR_MAGIC_AT: usize = 257;
    let is_tar = bytes
        .get(TAR_MAGIC_AT..)
        .is_some_and(|rest| rest.starts_with(b"ustar"));
    let is_packed =
        bytes.starts_with(&[0x1f, 0x8b]) || bytes.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]);
    if is_tar || is_packed {
        return Err(Unfit::Archive);
    }
    Ok(bytes)
}

/// Whether the type says nothing of what the artifact is: what oras writes where nobody tells it.
fn is_generic(declared: &str) -> bool {
    declared.is_empty() || declared.starts_with("application/vnd.unknown.")
}

/// The layer by its file's name, as the Security Profiles Operator chooses.
fn titled(layers: &[Descriptor], arch: Option<Arch>) -> Result<&Descriptor, Unfit> {
    let own = |layer: &&Descriptor| match &layer.platform {
        Some(platform) => platform.os == "linux" && is_of(platform, arch),
        None => is_named_for(layer.title(), arch),
    };
    let any = |layer: &&Descriptor| {
        layer.platform.is_none() && matches!(layer.title(), "profile.yaml" | "profile.json")
    };
    let alone = || match layers {
        [only] if only.platform.is_none() && !only.title().starts_with("profile-") => Some(only),
        _ => None,
    };
    let found = layers
        .iter()
        .find(own)
        .or_else(|| layers.iter().find(any))
        .or_else(alone);
    found.ok_or_else(|| {
        let titles = layers.iter().map(|layer| layer.title().to_owned());
        Unfit::NoPlatform(wanted(arch), listed(titles))
    })
}

/// `profile-linux-arm64.yaml`, and `profile-linux-arm64-v8.yaml`.
fn is_named_for(title: &str, arch: Option<Arch>) -> bool {
    let rest = title.strip_prefix("profile-linux-");
    let rest = rest.and_then(|rest| rest.strip_suffix(".yaml"));
    let architecture = rest.and_then(|rest| rest.split('-').next());
    architecture.is_some_and(|word| arch.is_some() && Arch::from_node(word) == arch)
}

fn is_of(platform: &Platform, arch: Option<Arch>) -> bool {
    arch.is_some() && Arch::from_node(&platform.architecture) == arch
}

fn wanted(arch: Option<Arch>) -> String {
    arch.map_or_else(
        || "all platforms".into(),
        |arch| format!("linux/{}", arch.native_name()),
    )
}

fn listed(names: impl Iterator<Item = String>) -> String {
    const SHOWN: usize = 8;
    let names: Vec<_> = names.filter(|name| !name.is_empty()).take(SHOWN).collect();
    if names.is_empty() {
        "none by name".into()
    } else {
        names.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::manifest::JSON;
    use super::*;

    fn descriptor(media_type: &str, title: &str) -> Value {
        let mut descriptor = json!(Descriptor::of(media_type, b"{}"));
        if !title.is_empty() {
            descriptor["annotations"] = json!({"org.opencontainers.image.title": title});
        }
        descriptor
    }

    fn chosen(manifest: &Value, arch: impl Into<Option<Arch>>) -> Result<Chosen, Unfit> {
        match read(manifest.to_string().as_bytes())? {
            Found::Manifest(manifest) => layer(&manifest, arch.into()),
            Found::Index(index) => panic!("{index:?}"),
        }
    }

    fn manifest(config: &str, artifact_type: Option<&str>, layers: &[Value]) -> Value {
        let mut manifest =
            json!({"schemaVersion": 2, "config": descriptor(config, ""), "layers": layers});
        if let Some(artifact_type) = artifact_type {
            manifest["artifactType"] = json!(artifact_type);
        }
        manifest
    }

    #[test]
    fn runtimes_artifacts_are_known_by_their_config_or_by_their_type() {
        let tar = "application/vnd.oci.image.layer.v1.tar";
        for (config, artifact_type) in [
            (PROFILE, Some(PROFILE)),
            (PROFILE, None),
            (EMPTY, Some(PROFILE)),
        ] {
            let layers = [descriptor(tar, "")];
            let chosen = chosen(&manifest(config, artifact_type, &layers), Arch::X86_64).unwrap();
            assert_eq!(chosen.form, Form::Runtime, "{config} {artifact_type:?}");
        }
        let two = manifest(PROFILE, Some("application/example"), &[descriptor(tar, "")]);
        assert!(matches!(
            chosen(&two, Arch::X86_64),
            Err(Unfit::TwoTypes { .. })
        ));
        let layers = [descriptor(tar, ""), descriptor(tar, "")];
        let many = manifest(PROFILE, None, &layers);
        assert_eq!(chosen(&many, Arch::X86_64), Err(Unfit::Layers(2)));
    }

    #[test]
    fn the_security_profiles_operators_layers_are_for_platforms() {
        let tar = "application/vnd.oci.image.layer.v1.tar";
        let unknown = Some("application/vnd.unknown.config.v1+json");
        let mut arm = descriptor(tar, "profile-linux-arm64-v8.yaml");
        arm["platform"] = json!({"os": "linux", "architecture": "arm64", "variant": "v8"});
        let layers = [descriptor(tar, "profile-linux-amd64.yaml"), arm];
        let manifest_of = |layers: &[Value]| manifest(EMPTY, unknown, layers);
        let title = |arch| chosen(&manifest_of(&layers), arch).map(|c| c.layer.title().to_owned());
        assert_eq!(title(Arch::X86_64).unwrap(), "profile-linux-amd64.yaml");
        assert_eq!(title(Arch::Aarch64).unwrap(), "profile-linux-arm64-v8.yaml");
        assert_eq!(
            title(Arch::S390X).unwrap_err().to_string(),
            "has no profile for linux/s390x; it has profile-linux-amd64.yaml, profile-linux-arm64-v8.yaml"
        );
        let said = chosen(&manifest_of(&layers), None).unwrap_err();
        assert!(
            said.to_string()
                .starts_with("has no profile for all platforms")
        );
        for title in ["profile.yaml", "nginx.yaml", ""] {
            for arch in [Some(Arch::S390X), None] {
                let one = chosen(&manifest_of(&[descriptor(tar, title)]), arch).unwrap();
                assert_eq!(one.form, Form::Object, "{title}");
            }
        }
    }

    #[test]
    fn other_artifacts_are_no_profiles() {
        let layers = [descriptor("application/octet-stream", "")];
        for (config, said) in [
            (
                "application/vnd.oci.image.config.v1+json",
                "is a container image, no seccomp profile",
            ),
            (
                "application/vnd.cncf.helm.config.v1+json",
                "is an artifact of type \"application/vnd.cncf.helm.config.v1+json\", no seccomp profile",
            ),
        ] {
            let unfit = chosen(&manifest(config, None, &layers), Arch::X86_64).unwrap_err();
            assert_eq!(unfit.to_string(), said);
        }
    }

    #[test]
    fn layers_elsewhere_and_long_ones_are_not_read() {
        let mut elsewhere = descriptor(JSON, "");
        elsewhere["urls"] = json!(["https://example.com/profile.json"]);
        let mut long = descriptor(JSON, "");
        long["size"] = json!(MAX_BYTES + 1);
        for (layer, unfit) in [
            (elsewhere, Unfit::Elsewhere),
            (
                long,
                Unfit::TooLarge(MAX_BYTES as u64 + 1, MAX_BYTES as u64),
            ),
        ] {
            let manifest = manifest(PROFILE, None, &[layer]);
            assert_eq!(chosen(&manifest, Arch::X86_64), Err(unfit));
        }
        let mut tar = vec![0; 512];
        tar[257..262].copy_from_slice(b"ustar");
        for archive in [tar.as_slice(), &[0x1f, 0x8b, 8], &[0x28, 0xb5, 0x2f, 0xfd]] {
            assert_eq!(document(archive), Err(Unfit::Archive));
        }
        assert!(document(b"{}").is_ok());
    }

    #[test]
    fn an_index_has_one_manifest_for_each_platform_or_one_for_all() {
        let mut arm = descriptor(MANIFEST, "");
        arm["platform"] = json!({"os": "linux", "architecture": "arm64"});
        let read_index = |manifests: &[Value]| {
            let index = json!({"schemaVersion": 2, "manifests": manifests});
            match read(index.to_string().as_bytes()) {
                Ok(Found::Index(index)) => index,
                other => panic!("{other:?}"),
            }
        };
        let index = read_index(&[arm]);
        assert!(manifest_for(&index, Some(Arch::Aarch64)).is_ok());
        assert_eq!(
            manifest_for(&index, Some(Arch::X86_64))
                .unwrap_err()
                .to_string(),
            "has no profile for linux/amd64; it has linux/arm64"
        );
        assert_eq!(
            manifest_for(&index, None).unwrap_err().to_string(),
            "has no profile for all platforms; it has linux/arm64"
        );
        let index = read_index(&[descriptor(MANIFEST, "")]);
        assert!(manifest_for(&index, Some(Arch::X86_64)).is_ok());
        assert!(manifest_for(&index, None).is_ok());
    }

    #[test]
    fn what_is_no_manifest_is_said() {
        for wrong in ["", "{}", "[]", r#"{"schemaVersion":1}"#, "<html>"] {
            assert!(
                matches!(read(wrong.as_bytes()), Err(Unfit::Malformed(_))),
                "{wrong}"
            );
        }
    }
}
