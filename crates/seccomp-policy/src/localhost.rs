//! What a pod's `localhostProfile` means: the one place that turns the path into the name of a SeccompProfile.
//!
//! kubelet joins the path to its seccomp folder with `filepath.Join`, which takes `.` and double slashes out; the API server refuses
//! an absolute path and one with `..` in it. Nothing here looks for a file, or knows which profiles there are.

use seccomp_operator_api::ProfileName;

/// Which file a `localhostProfile` names, seen from the operator's folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LocalhostProfile {
    /// The file of a SeccompProfile, whether there is such a profile or not.
    Managed(ProfileName),
    /// Another file in the folder, which no SeccompProfile can have.
    Unmanageable,
    /// The legacy annotation's value, with its prefix `localhost/`, where a path is meant. The rest is the path of this SeccompProfile.
    WithAnnotationPrefix(ProfileName),
    /// A file outside of the folder.
    Elsewhere,
}

impl LocalhostProfile {
    /// Reads the path; `profiles_dir` is the operator's folder below kubelet's seccomp folder.
    #[must_use]
    pub fn parse(path: &str, profiles_dir: &str) -> Self {
        if let Some(file) = inside(path, profiles_dir) {
            return name_of(&file).map_or(Self::Unmanageable, Self::Managed);
        }
        let rest = path.strip_prefix("localhost/");
        rest.and_then(|rest| name_of(&inside(rest, profiles_dir)?))
            .map_or(Self::Elsewhere, Self::WithAnnotationPrefix)
    }

    /// The SeccompProfile that somebody may mean with a path that is the file of none: `web`, `web.json`, `profiles/web`.
    #[must_use]
    pub fn meant(path: &str) -> Option<ProfileName> {
        let last = path.trim_end_matches('/').rsplit('/').next()?;
        ProfileName::parse(last.strip_suffix(".json").unwrap_or(last)).ok()
    }

    /// Whether it looks like a profile's file.
    #[must_use]
    pub fn is_file(path: &str) -> bool {
        path.trim_end_matches('/').strip_suffix(".json").is_some()
    }

    /// The SeccompProfile whose file it is.
    #[must_use]
    pub fn into_name(self) -> Option<ProfileName> {
        match self {
            Self::Managed(name) => Some(name),
            Self::Unmanageable | Self::WithAnnotationPrefix(_) | Self::Elsewhere => None,
        }
    }
}

fn name_of(file: &str) -> Option<ProfileName> {
    ProfileName::parse(file.strip_suffix(".json")?).ok()
}

/// The path below the folder, as kubelet cleans it; none if it leads elsewhere.
fn inside(path: &str, profiles_dir: &str) -> Option<String> {
    let clean = |path: &str| -> Vec<String> {
        let parts = path.split('/').filter(|part| !matches!(*part, "" | "."));
        parts.map(str::to_owned).collect()
    };
    if path.starts_with('/') || path.split('/').any(|part| part == "..") {
        return None;
    }
    let (path, folder) = (clean(path), clean(profiles_dir));
    let rest = path.strip_prefix(&folder[..])?;
    (!rest.is_empty()).then(|| rest.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_cleaned_as_kubelet_cleans_it() {
        for (path, expected) in [
            ("profiles/a.json", Some("a")),
            ("./profiles/a.json", Some("a")),
            ("./profiles//a.json", Some("a")),
            ("profiles/././a.json", Some("a")),
            ("profiles/a.json/", Some("a")),
            // The API server refuses these.
            ("/profiles/a.json", None),
            ("profiles/../profiles/a.json", None),
            ("a.json", None),
            ("profiles/sub/a.json", None),
            ("profiles/a", None),
            ("profiles/A_b.json", None),
            ("profilesa.json", None),
            ("profiles", None),
            ("", None),
        ] {
            let name = LocalhostProfile::parse(path, "profiles").into_name();
            assert_eq!(name.as_ref().map(ProfileName::as_str), expected, "{path}");
        }
        let name = LocalhostProfile::parse("x/./y/a.json", "x/y").into_name();
        assert_eq!(name.as_ref().map(ProfileName::as_str), Some("a"));
    }

    #[test]
    fn a_name_is_seen_in_what_is_no_path_of_a_profile() {
        for path in ["a", "a.json", "profiles/a", "old/a.json", "./a/"] {
            let name = LocalhostProfile::meant(path);
            assert_eq!(name.as_ref().map(ProfileName::as_str), Some("a"), "{path}");
        }
        assert_eq!(LocalhostProfile::meant("x/A_b.json"), None);
    }

    #[test]
    fn what_is_no_profile_s_file_is_told_apart() {
        let parse = |path| LocalhostProfile::parse(path, "profiles");
        let a = || ProfileName::parse("a").unwrap();
        assert_eq!(
            parse("localhost/profiles/a.json"),
            LocalhostProfile::WithAnnotationPrefix(a())
        );
        assert_eq!(parse("localhost/other.json"), LocalhostProfile::Elsewhere);
        assert_eq!(parse("profiles/A.json"), LocalhostProfile::Unmanageable);
        assert_eq!(parse("profiles/x/a.json"), LocalhostProfile::Unmanageable);
        assert_eq!(parse("other/a.json"), LocalhostProfile::Elsewhere);
        // A folder may have that name.
        assert_eq!(
            LocalhostProfile::parse("localhost/a.json", "localhost"),
            LocalhostProfile::Managed(a())
        );
    }
}
