//! What the profiles with `spec.observe` refuse: how the recorder knows that a container runs under one.

/// What the metadata of an observed profile begin with. Those of a recording have no colon.
const OBSERVED: &str = "observe:";

/// The text that the file of an observed profile has as its `listenerMetadata`, which the runtime hands to the recorder with each filter.
#[must_use]
pub fn observed_metadata(profile: &str) -> String {
    format!("{OBSERVED}{profile}")
}

/// The observed profile that a `listenerMetadata` names.
#[must_use]
pub fn observed_by(metadata: &str) -> Option<&str> {
    let name = metadata.strip_prefix(OBSERVED)?;
    super::ProfileName::parse(name).is_ok().then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RecordingReference;

    #[test]
    fn the_runtime_hands_back_which_profile_is_observed() {
        let text = observed_metadata("team.tight");
        assert_eq!(observed_by(&text), Some("team.tight"));
        assert_eq!(RecordingReference::from_metadata(&text), None);
        for wrong in ["", "tight", "observe/tight/1", "observe:", "observe:../x"] {
            assert_eq!(observed_by(wrong), None, "{wrong}");
        }
    }
}
