//! Which images a policy selects: image references as container runtimes read them, and globs over them.
//!
//! A glob knows `*` (any run of characters, `/` too, also none) and `?` (one character), and nothing else: no regular
//! expression is built of what users write, and a match takes at most as many steps as pattern and image have characters,
//! multiplied. Both are bounded.

use std::fmt;

/// The longest pattern, in bytes.
pub const MAX_PATTERN: usize = 512;
/// The longest image that any pattern matches, in bytes. A reference that a runtime takes has at most 255 for the name and 128
/// for the tag, and a digest; what a pod states may be a megabyte.
const MAX_IMAGE: usize = 1024;
/// Where an image without a registry comes from, and the repository of one without a path.
const REGISTRY: &str = "docker.io";
const LIBRARY: &str = "library";
/// The tag of an image that states neither tag nor digest.
const TAG: &str = "latest";

/// An image as a container runtime would pull it: `nginx` is `docker.io/library/nginx:latest`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Registry and path, such as `docker.io/library/nginx`.
    repository: String,
    /// Empty where only a digest is stated.
    tag: String,
    /// Such as `sha256:...`; empty where none is stated.
    digest: String,
}

impl Image {
    /// Reads what a container states as its `image`; none for what no runtime takes (nothing at all, or far too much).
    #[must_use]
    pub fn parse(reference: &str) -> Option<Self> {
        if reference.is_empty() || reference.len() > MAX_IMAGE {
            return None;
        }
        let (repository, tag, digest) = parts(reference);
        let tag = match (tag, digest) {
            (None, None) => TAG,
            (tag, _) => tag.unwrap_or_default(),
        };
        Some(Self {
            repository: complete(repository),
            tag: tag.to_owned(),
            digest: digest.unwrap_or_default().to_owned(),
        })
    }
}

/// A glob over images. One without a tag or digest matches any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImagePattern {
    repository: String,
    tag: Option<String>,
    digest: Option<String>,
}

/// Why a text is no pattern for images.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImagePatternError {
    /// Nothing to match.
    #[error("must not be empty")]
    Empty,
    /// Too much to match.
    #[error("has {0} characters, and at most {MAX_PATTERN} are taken")]
    TooLong(usize),
    /// What no image has.
    #[error("has a {0:?}, which no image reference holds")]
    Character(char),
}

impl ImagePattern {
    /// Reads a pattern. It is completed as an image is, so that `nginx` and `docker.io/library/nginx` are the same; only one
    /// that begins with a `*` is taken as it stands, so that `*` is everything and `*/nginx` any registry's.
    pub fn parse(pattern: &str) -> Result<Self, ImagePatternError> {
        if pattern.is_empty() {
            return Err(ImagePatternError::Empty);
        }
        if pattern.len() > MAX_PATTERN {
            return Err(ImagePatternError::TooLong(pattern.len()));
        }
        let known = |c: &char| c.is_ascii_alphanumeric() || "._-/:@+*?".contains(*c);
        if let Some(other) = pattern.chars().find(|c| !known(c)) {
            return Err(ImagePatternError::Character(other));
        }
        let (repository, tag, digest) = parts(pattern);
        Ok(Self {
            repository: if repository.starts_with('*') {
                repository.to_owned()
            } else {
                complete(repository)
            },
            tag: tag.map(str::to_owned),
            digest: digest.map(str::to_owned),
        })
    }

    /// Whether an image is meant.
    #[must_use]
    pub fn matches(&self, image: &Image) -> bool {
        let part = |pattern: &Option<String>, text: &str| {
            pattern.as_ref().is_none_or(|pattern| glob(pattern, text))
        };
        glob(&self.repository, &image.repository)
            && part(&self.tag, &image.tag)
            && part(&self.digest, &image.digest)
    }

    /// Whether every image that `other` means is meant by this pattern too. May say no where the answer is yes.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        // A wildcard of the other, taken as a character, is matched by nothing but a wildcard of this one, and that matches
        // whatever it stands for. (`?` for `*` would not: `*` may be empty or long.)
        let covers = |ours: &str, theirs: &str| {
            ours == theirs || (glob(ours, theirs) && !(ours.contains('?') && theirs.contains('*')))
        };
        let part = |ours: &Option<String>, theirs: &Option<String>| match (ours, theirs) {
            (None, _) => true,
            (Some(ours), None) => ours == "*",
            (Some(ours), Some(theirs)) => covers(ours, theirs),
        };
        covers(&self.repository, &other.repository)
            && part(&self.tag, &other.tag)
            && part(&self.digest, &other.digest)
    }
}

impl fmt::Display for ImagePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

/// Repository, tag and digest, as stated. A `:` before the last `/` belongs to a registry's port.
fn parts(reference: &str) -> (&str, Option<&str>, Option<&str>) {
    let (rest, digest) = match reference.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (reference, None),
    };
    let name = rest.rfind('/').map_or(0, |slash| slash + 1);
    match rest[name..].find(':') {
        Some(colon) => (
            &rest[..name + colon],
            Some(&rest[name + colon + 1..]),
            digest,
        ),
        None => (rest, None, digest),
    }
}

/// A repository with its registry. What stands before the first `/` is a registry when it looks like a host: with a dot or a
/// port, or `localhost`.
fn complete(repository: &str) -> String {
    let is_host = |first: &&str| first.contains(['.', ':']) || *first == "localhost";
    let (registry, path) = match repository.split_once('/') {
        Some((first, path)) if is_host(&first) => (first, path),
        _ => (REGISTRY, repository),
    };
    let registry = if registry == "index.docker.io" {
        REGISTRY
    } else {
        registry
    };
    if registry == REGISTRY && !path.contains('/') && !path.starts_with('*') {
        format!("{registry}/{LIBRARY}/{path}")
    } else {
        format!("{registry}/{path}")
    }
}

/// Whether `text` as a whole is what `pattern` says.
fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    // Where to go on when what follows the last `*` does not fit: the `*` then takes one character more. An earlier `*` never
    // needs another try, since the last one can take whatever that would have.
    let mut again: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                again = Some((p, t));
                p += 1;
            }
            Some(&c) if c == b'?' || c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => {
                let Some((star, from)) = again else {
                    return false;
                };
                again = Some((star, from + 1));
                p = star + 1;
                t = from + 1;
            }
        }
    }
    pattern[p..].iter().all(|&c| c == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matches(pattern: &str, image: &str) -> bool {
        ImagePattern::parse(pattern)
            .unwrap()
            .matches(&Image::parse(image).unwrap())
    }

    #[test]
    fn an_image_is_read_as_a_runtime_reads_it() {
        for (reference, repository, tag, digest) in [
            ("nginx", "docker.io/library/nginx", "latest", ""),
            ("nginx:1.27", "docker.io/library/nginx", "1.27", ""),
            ("bitnami/nginx", "docker.io/bitnami/nginx", "latest", ""),
            ("docker.io/nginx", "docker.io/library/nginx", "latest", ""),
            (
                "index.docker.io/nginx",
                "docker.io/library/nginx",
                "latest",
                "",
            ),
            ("localhost/a", "localhost/a", "latest", ""),
            ("localhost:5000/a:b", "localhost:5000/a", "b", ""),
            ("registry:5000/a/b", "registry:5000/a/b", "latest", ""),
            (
                "nginx@sha256:abc",
                "docker.io/library/nginx",
                "",
                "sha256:abc",
            ),
            (
                "ghcr.io/a/b:v1@sha256:abc",
                "ghcr.io/a/b",
                "v1",
                "sha256:abc",
            ),
        ] {
            let image = Image::parse(reference).unwrap();
            assert_eq!(
                (
                    image.repository.as_str(),
                    image.tag.as_str(),
                    image.digest.as_str()
                ),
                (repository, tag, digest),
                "{reference}"
            );
        }
    }

    #[test]
    fn a_pattern_matches_by_registry_path_tag_and_digest() {
        for (pattern, image, expected) in [
            ("nginx", "nginx", true),
            ("nginx", "docker.io/library/nginx:latest", true),
            ("nginx", "nginx:1.27", true),
            ("nginx", "nginx@sha256:abc", true),
            ("nginx", "bitnami/nginx", false),
            ("nginx", "ghcr.io/library/nginx", false),
            ("nginx:latest", "nginx", true),
            ("nginx:1.*", "nginx:1.27", true),
            ("nginx:1.*", "nginx:2.0", false),
            ("nginx:1.*", "nginx@sha256:abc", false),
            ("nginx:*", "nginx@sha256:abc", true),
            ("nginx:1.2?", "nginx:1.27", true),
            ("nginx:1.2?", "nginx:1.2", false),
            ("nginx@sha256:abc", "nginx:1.27@sha256:abc", true),
            ("nginx@sha256:abc", "nginx:1.27", false),
            ("nginx@sha256:a*", "nginx@sha256:abc", true),
            ("nginx:1@sha256:a*", "nginx:2@sha256:abc", false),
            ("*", "ghcr.io/a/b:c@sha256:d", true),
            ("*/nginx", "ghcr.io/a/nginx:1", true),
            ("*/nginx", "nginx", true),
            ("*:debug", "ghcr.io/a/b:debug", true),
            ("*:debug", "ghcr.io/a/b", false),
            (
                "registry.example.com/*",
                "registry.example.com/a/b/c:1",
                true,
            ),
            (
                "registry.example.com/*",
                "registry.example.com.evil/a",
                false,
            ),
            (
                "registry.example.com:5000/team/*",
                "registry.example.com:5000/team/x",
                true,
            ),
            (
                "registry.example.com:5000/team/*",
                "registry.example.com/team/x",
                false,
            ),
            ("docker.io/*", "nginx", true),
            ("ghcr.io/*/web-?", "ghcr.io/team/web-1", true),
            ("my*", "mysql", true),
            ("my*", "ghcr.io/mysql", false),
        ] {
            assert_eq!(matches(pattern, image), expected, "{pattern} {image}");
        }
    }

    #[test]
    fn what_is_no_image_matches_nothing() {
        assert_eq!(Image::parse(""), None);
        assert_eq!(Image::parse(&"x".repeat(MAX_IMAGE + 1)), None);
    }

    #[test]
    fn what_is_no_pattern_is_refused_with_the_reason() {
        let error = |pattern: &str| ImagePattern::parse(pattern).unwrap_err().to_string();
        assert!(error("").contains("empty"));
        assert!(error("nginx:[12]").contains("'['"));
        assert!(error("a b").contains("' '"));
        assert!(error(&"x".repeat(513)).contains("513 characters"));
    }

    #[test]
    fn a_wider_pattern_covers_a_narrower_one_and_not_the_other_way_round() {
        let covers = |a: &str, b: &str| {
            ImagePattern::parse(a)
                .unwrap()
                .covers(&ImagePattern::parse(b).unwrap())
        };
        for (wide, narrow) in [
            ("*", "nginx"),
            ("nginx", "nginx:1.*"),
            ("nginx", "nginx@sha256:abc"),
            ("ghcr.io/*", "ghcr.io/a/*"),
            ("ghcr.io/*", "ghcr.io/a/?:1"),
        ] {
            assert!(covers(wide, narrow), "{wide} {narrow}");
            assert!(!covers(narrow, wide), "{narrow} {wide}");
            assert!(covers(wide, wide) && covers(narrow, narrow));
        }
        assert!(!covers("ghcr.io/??*", "ghcr.io/*?"));
    }

    /// The definition, without cleverness.
    fn naive(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern, text) {
            ([], []) => true,
            ([b'*', rest @ ..], _) => {
                naive(rest, text) || (!text.is_empty() && naive(pattern, &text[1..]))
            }
            ([c, rest @ ..], [d, others @ ..]) => (*c == b'?' || c == d) && naive(rest, others),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn the_matcher_agrees_with_the_definition(pattern in "[ab*?]{0,10}", text in "[ab]{0,12}") {
            prop_assert_eq!(glob(&pattern, &text), naive(pattern.as_bytes(), text.as_bytes()));
        }

        #[test]
        fn what_a_covered_pattern_matches_the_wider_one_matches_too(a in "[ab*?]{1,5}", b in "[ab*?]{1,5}", image in "[ab]{1,6}") {
            let (a, b) = (ImagePattern::parse(&a).unwrap(), ImagePattern::parse(&b).unwrap());
            let image = Image::parse(&image).unwrap();
            prop_assert!(!a.covers(&b) || !b.matches(&image) || a.matches(&image));
        }
    }

    #[test]
    fn a_hostile_pattern_and_image_cost_little() {
        let pattern = ImagePattern::parse(&"*a".repeat(255)).unwrap();
        let image = Image::parse(&format!("{}b", "a".repeat(1000))).unwrap();
        // Without the bound on backtracking this would not end.
        assert!(!pattern.matches(&image));
    }
}
