//! Suggested changes of profiles, for people to review and for `kubectl apply`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde::Serialize;
use similar::TextDiff;

use super::suggest::{Suggestion, suggest};
use crate::stored::{ARCHES, compose, with};
use crate::text::{Style, visible, wrap};
use crate::{Failure, diff, manifest};
use seccomp_operator_api::{Denial, SeccompProfile};
use seccomp_profile::Library;

/// What becomes of the profiles that refused something.
pub struct Suggested<'a> {
    library: &'a Library,
    /// Each with what is there now.
    profiles: Vec<(&'a SeccompProfile, Suggestion)>,
    /// Profiles that are not there any more, or cannot be read.
    missing: BTreeSet<&'a str>,
}

/// For programs.
#[derive(Debug, Serialize)]
pub struct Data {
    suggestions: Vec<OfProfile>,
}

#[derive(Debug, Serialize)]
struct OfProfile {
    profile: String,
    allowed: BTreeSet<String>,
    left: BTreeMap<String, String>,
    diff: String,
    spec: serde_json::Value,
}

impl<'a> Suggested<'a> {
    pub fn new(
        denials: impl Iterator<Item = (&'a str, &'a Denial)>,
        profiles: &'a [SeccompProfile],
        library: &'a Library,
    ) -> Self {
        let mut by_profile = BTreeMap::<_, Vec<&Denial>>::new();
        for (profile, denial) in denials {
            by_profile.entry(profile).or_default().push(denial);
        }
        let mut suggested = Self {
            library,
            profiles: Vec::new(),
            missing: BTreeSet::new(),
        };
        for (name, denials) in by_profile {
            let mut all = profiles.iter();
            match all.find(|profile| profile.metadata.name.as_deref() == Some(name)) {
                Some(profile) => {
                    let suggestion = suggest(profile, library, &denials);
                    suggested.profiles.push((profile, suggestion));
                }
                None => {
                    suggested.missing.insert(name);
                }
            }
        }
        suggested
    }

    pub fn text(&self, style: Style) -> Result<String, Failure> {
        let mut out = String::new();
        for (profile, suggestion) in &self.profiles {
            let name = profile.metadata.name.as_deref().unwrap_or_default();
            out += &style.bold(&format!("SeccompProfile {name}\n"));
            if suggestion.allowed.is_empty() {
                out += "nothing to change\n";
            } else {
                out += &unified(profile, suggestion)?;
                out += &self.effect(profile, suggestion, style)?;
            }
            for (call, why) in &suggestion.left {
                out += &wrap(&format!("left as it is: {}: ", visible(call)), why);
            }
            out += "\n";
        }
        for name in &self.missing {
            let name = visible(name);
            let _ = writeln!(
                out,
                "SeccompProfile {name} is gone, or cannot be read: nothing is suggested for it"
            ); // a string takes all
        }
        if self.changed().next().is_some() {
            out += "Nothing was written. With -o yaml the changed profiles are printed, for `kubectl apply -f -`.\n";
        }
        Ok(out)
    }

    pub fn data(&self) -> Result<Data, Failure> {
        let suggestions = self.profiles.iter().map(|(profile, suggestion)| {
            Ok(OfProfile {
                profile: profile.metadata.name.clone().unwrap_or_default(),
                allowed: suggestion.allowed.clone(),
                left: suggestion.left.clone(),
                diff: unified(profile, suggestion)?,
                spec: serde_json::to_value(&suggestion.changed.spec)?,
            })
        });
        Ok(Data {
            suggestions: suggestions.collect::<Result<_, Failure>>()?,
        })
    }

    /// The profiles that change, as YAML documents; what does not is said on standard error.
    pub fn manifests(&self) -> Result<String, Failure> {
        for (profile, suggestion) in &self.profiles {
            let name = profile.metadata.name.as_deref().unwrap_or_default();
            for (call, why) in &suggestion.left {
                let (name, call) = (visible(name), visible(call));
                eprintln!("note: SeccompProfile {name}: {call} is left as it is: {why}");
            }
        }
        for name in &self.missing {
            eprintln!(
                "note: SeccompProfile {} is gone, or cannot be read",
                visible(name)
            );
        }
        let documents = self.changed().map(manifest::profile);
        let documents = documents.collect::<Result<Vec<_>, _>>()?;
        Ok(documents.join("---\n"))
    }

    fn changed(&self) -> impl Iterator<Item = &SeccompProfile> {
        let changed = self.profiles.iter();
        let changed = changed.filter(|(_, suggestion)| !suggestion.allowed.is_empty());
        changed.map(|(_, suggestion)| &suggestion.changed)
    }

    /// What the change does, which may be more than what was seen.
    fn effect(
        &self,
        profile: &SeccompProfile,
        suggestion: &Suggestion,
        style: Style,
    ) -> Result<String, Failure> {
        let name = profile.metadata.name.as_deref().unwrap_or_default();
        let after = with(self.library, &suggestion.changed);
        let contents = ARCHES.iter().map(|arch| {
            let before = compose(self.library, name, *arch)?;
            Ok((*arch, before, compose(&after, name, *arch)?))
        });
        let contents = contents.collect::<anyhow::Result<Vec<_>>>();
        let contents = contents.map_err(Failure::Other)?;
        diff::change(&contents, style).map_err(|error| Failure::Other(error.into()))
    }
}

fn unified(profile: &SeccompProfile, suggestion: &Suggestion) -> Result<String, Failure> {
    let before = manifest::profile(profile)?;
    let after = manifest::profile(&suggestion.changed)?;
    let diff = TextDiff::from_lines(&before, &after);
    let name = profile.metadata.name.as_deref().unwrap_or_default();
    let (old, new) = (format!("{name} (now)"), format!("{name} (suggested)"));
    Ok(diff.unified_diff().header(&old, &new).to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::stored::library;

    #[test]
    fn a_change_is_shown_as_a_diff_with_all_that_it_opens_and_as_manifests() {
        let profile: SeccompProfile = serde_json::from_value(json!({
            "apiVersion": "seccomp-operator.io/v1alpha1", "kind": "SeccompProfile",
            "metadata": {"name": "tight", "uid": "u", "resourceVersion": "7", "labels": {"team": "shop"}},
            "spec": {"base": "runtime-default", "deny": ["@keyring", "chmod"], "observe": true},
        }))
        .unwrap();
        let denial = |profile: &'static str, call: &str| -> (&str, Denial) {
            let denial = json!({"namespace": "shop", "pod": "web-0", "podUid": "u", "container": "web",
                "call": call, "architecture": "SCMP_ARCH_X86_64", "count": 1, "firstSeen": null, "lastSeen": null});
            (profile, serde_json::from_value(denial).unwrap())
        };
        let denials = [
            denial("tight", "chmod"),
            denial("tight", "mkdir"),
            denial("gone", "chmod"),
        ];
        let library = library(&[Ok(profile.clone())]);
        let profiles = [profile];
        let suggested = Suggested::new(
            denials.iter().map(|(profile, denial)| (*profile, denial)),
            &profiles,
            &library,
        );
        assert_eq!(
            suggested.text(Style::plain()).unwrap(),
            "\
SeccompProfile tight
--- tight (now)
+++ tight (suggested)
@@ -8,5 +8,4 @@
   base: runtime-default
   deny:
   - \"@keyring\"
-  - chmod
   observe: true
Opened
  amd64, x86, x32, arm: EPERM -> allowed
    chmod
left as it is: mkdir: the profile allows it by now

SeccompProfile gone is gone, or cannot be read: nothing is suggested for it
Nothing was written. With -o yaml the changed profiles are printed, for `kubectl apply -f -`.
"
        );
        let manifests = suggested.manifests().unwrap();
        assert!(!manifests.contains("resourceVersion") && manifests.contains("team: shop"));
        assert!(!manifests.contains("chmod"), "{manifests}");
        let data = serde_json::to_value(suggested.data().unwrap()).unwrap();
        assert_eq!(data["suggestions"][0]["allowed"], json!(["chmod"]));
        assert_eq!(data["suggestions"][0]["spec"]["deny"], json!(["@keyring"]));
    }
}
