//! How people name an artifact: `REGISTRY/REPOSITORY[:TAG][@DIGEST]`.

use std::fmt;
use std::str::FromStr;

use super::digest::Digest;

/// What a name ends in if it does not say.
const LATEST: &str = "latest";
/// The longest name that registries take, without the registry.
const MAX_REPOSITORY: usize = 255;
const MAX_TAG: usize = 128;

/// An artifact, or the place for one. The registry is always stated: to guess one would pull from a stranger.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Why a text names no artifact.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadReference {
    /// The first part names no host.
    #[error(
        "{0:?} names no registry; write REGISTRY/REPOSITORY:TAG, such as ghcr.io/acme/nginx:v1"
    )]
    NoRegistry(String),
    /// The repository has characters that registries refuse.
    #[error(
        "the repository {0:?} is no name for registries; write lower-case letters, digits, and . _ - / between them"
    )]
    Repository(String),
    /// The tag has characters that registries refuse.
    #[error("the tag {0:?} is none; write at most 128 letters, digits, and . _ - after the first")]
    Tag(String),
    /// What stands behind the `@` is no digest.
    #[error("{0:?} is no digest; write sha256: and 64 lower-case hexadecimal digits behind the @")]
    Digest(String),
}

impl Reference {
    /// The registry's host, with the port if there is one.
    #[must_use]
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The repository in it.
    #[must_use]
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag, if one is stated.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, if one is stated.
    #[must_use]
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// What a registry is asked for: the digest where there is one, since a tag may have moved.
    #[must_use]
    pub fn target(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => LATEST.into(),
        }
    }

    /// The artifact with that digest in the same repository.
    #[must_use]
    pub fn pinned(&self, digest: Digest) -> Self {
        Self {
            tag: None,
            digest: Some(digest),
            ..self.clone()
        }
    }

    /// Whether its registry is on this very machine, where nobody is in between.
    #[must_use]
    pub fn is_on_this_machine(&self) -> bool {
        let host = match self.registry.strip_prefix('[') {
            Some(rest) => rest.split(']').next().unwrap_or_default(),
            None => self.registry.split(':').next().unwrap_or_default(),
        };
        let address: Option<std::net::IpAddr> = host.parse().ok();
        host == "localhost" || address.is_some_and(|address| address.is_loopback())
    }

    /// A name for an object that is made of it: the last part of the repository.
    #[must_use]
    pub fn object_name(&self) -> &str {
        self.repository.rsplit('/').next().unwrap_or_default()
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl FromStr for Reference {
    type Err = BadReference;

    fn from_str(text: &str) -> Result<Self, BadReference> {
        let text = text.strip_prefix("oci://").unwrap_or(text);
        let (rest, digest) = match text.split_once('@') {
            None => (text, None),
            Some((rest, digest)) => {
                let parsed = digest.parse();
                let parsed = parsed.map_err(|_| BadReference::Digest(digest.into()))?;
                (rest, Some(parsed))
            }
        };
        let no_registry = || BadReference::NoRegistry(text.to_owned());
        let (registry, path) = rest.split_once('/').ok_or_else(no_registry)?;
        // What Docker would look for on its own hub is not a host here.
        let is_host = registry.contains(['.', ':']) || registry == "localhost";
        if !is_host || !is_authority(registry) {
            return Err(no_registry());
        }
        let (repository, tag) = match path.rsplit_once(':') {
            None => (path, None),
            Some((repository, tag)) => (repository, Some(tag)),
        };
        if !is_repository(repository) {
            return Err(BadReference::Repository(repository.into()));
        }
        if let Some(tag) = tag
            && !is_tag(tag)
        {
            return Err(BadReference::Tag(tag.into()));
        }
        Ok(Self {
            registry: registry.to_owned(),
            repository: repository.to_owned(),
            tag: tag.map(str::to_owned),
            digest,
        })
    }
}

/// Whether it is a host with or without a port: nothing that would change where a URL leads.
fn is_authority(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, rest)) => {
            let hex = |b: u8| b.is_ascii_hexdigit() || b == b':' || b == b'.';
            if host.is_empty() || !host.bytes().all(hex) {
                return false;
            }
            (host, (!rest.is_empty()).then_some(rest))
        }
        None => match text.split_once(':') {
            Some((host, _)) => (host, Some(&text[host.len()..])),
            None => (text, None),
        },
    };
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':' | b'_');
    let port_is_one = port.is_none_or(|port| {
        port.strip_prefix(':')
            .is_some_and(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
    });
    !host.is_empty() && host.bytes().all(plain) && port_is_one
}

/// The distribution-spec's `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*`.
fn is_repository(text: &str) -> bool {
    let part = |part: &str| {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let separators = part.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
        part.bytes().all(|b| plain(b) || b"._-".contains(&b))
            && part.bytes().next().is_some_and(plain)
            && part.bytes().last().is_some_and(plain)
            && separators
                .filter(|run| !run.is_empty())
                .all(|run| matches!(run, "." | "_" | "__") || run.bytes().all(|b| b == b'-'))
    };
    text.len() <= MAX_REPOSITORY && text.split('/').all(part)
}

/// The distribution-spec's `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`.
fn is_tag(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    text.len() <= MAX_TAG
        && text.bytes().next().is_some_and(word)
        && text.bytes().all(|b| word(b) || b == b'.' || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";

    #[test]
    fn names_are_read_as_people_write_them() {
        let pinned = format!("ghcr.io/acme/profiles/nginx:v1@{DIGEST}");
        for (text, registry, repository, target) in [
            ("ghcr.io/acme/nginx:v1.2", "ghcr.io", "acme/nginx", "v1.2"),
            (
                "oci://ghcr.io/acme/nginx",
                "ghcr.io",
                "acme/nginx",
                "latest",
            ),
            ("localhost/nginx", "localhost", "nginx", "latest"),
            (
                "localhost:5000/a__b/c--d:_x",
                "localhost:5000",
                "a__b/c--d",
                "_x",
            ),
            ("[::1]:5000/nginx", "[::1]:5000", "nginx", "latest"),
            (&pinned, "ghcr.io", "acme/profiles/nginx", DIGEST),
        ] {
            let read: Reference = text.parse().unwrap();
            assert_eq!(read.registry(), registry);
            assert_eq!(read.repository(), repository);
            assert_eq!(read.target(), target);
            assert_eq!(read.to_string(), text.trim_start_matches("oci://"));
        }
        assert_eq!(pinned.parse::<Reference>().unwrap().object_name(), "nginx");
    }

    #[test]
    fn this_machine_has_few_names() {
        for (registry, is_here) in [
            ("localhost", true),
            ("localhost:5000", true),
            ("127.0.0.1:5000", true),
            ("127.1.2.3", true),
            ("[::1]:5000", true),
            ("localhost.example.com", false),
            ("127.0.0.1.example.com", false),
            ("[::2]:5000", false),
            ("10.0.0.1:5000", false),
        ] {
            let reference: Reference = format!("{registry}/x").parse().unwrap();
            assert_eq!(reference.is_on_this_machine(), is_here, "{registry}");
        }
    }

    #[test]
    fn what_names_no_artifact_is_told_apart() {
        use BadReference::{Digest, NoRegistry, Repository, Tag};
        type Kind = fn(String) -> BadReference;
        let upper = format!("ghcr.io/acme/{}", "a".repeat(256));
        let cases: [(&str, Kind, &str); 14] = [
            ("nginx", NoRegistry, "nginx"),
            ("acme/nginx:v1", NoRegistry, "acme/nginx:v1"),
            ("ghcr.io", NoRegistry, "ghcr.io"),
            ("user@ghcr.io/x", Digest, "ghcr.io/x"),
            ("ghcr.io:0/x", NoRegistry, "ghcr.io:0/x"),
            ("ghcr.io:65536/x", NoRegistry, "ghcr.io:65536/x"),
            ("ghcr.io?q=/x", NoRegistry, "ghcr.io?q=/x"),
            ("ghcr.io/", Repository, ""),
            ("ghcr.io/Acme/x", Repository, "Acme/x"),
            ("ghcr.io/a/../b", Repository, "a/../b"),
            ("ghcr.io/a___b", Repository, "a___b"),
            (&upper, Repository, &upper[8..]),
            ("ghcr.io/x:", Tag, ""),
            ("ghcr.io/x:-v", Tag, "-v"),
        ];
        for (text, kind, said) in cases {
            assert_eq!(text.parse::<Reference>(), Err(kind(said.into())), "{text}");
        }
    }
}
