//! Where a profile comes from: the annotations of a SeccompProfile that was made of a recording.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use crate::findings::Findings;
use crate::length::show_length;
use crate::profile::Made;
use crate::progress::{curve, progress};
use seccomp_operator_api::RecordedImage;

/// The recording, as `<namespace>/<name>`.
pub const RECORDING: &str = "seccomp-operator.io/recording";
/// A digest of what was recorded: architectures, calls and values of arguments.
pub const DIGEST: &str = "seccomp-operator.io/recorded-digest";
/// How many calls, in how many containers, and when one was last new.
pub const COMPLETENESS: &str = "seccomp-operator.io/recorded-completeness";
/// How many calls were known at the end of each of the last minutes.
pub const CURVE: &str = "seccomp-operator.io/recorded-curve";
/// The pods.
pub const PODS: &str = "seccomp-operator.io/recorded-pods";
/// The images.
pub const IMAGES: &str = "seccomp-operator.io/recorded-images";
/// The calls that the profile allows though nobody has seen them.
pub const ASSUMED: &str = "seccomp-operator.io/assumed";
/// The calls that were wanted and that the recording's base refused, at least once; the profile refuses these as well.
pub const REFUSED: &str = "seccomp-operator.io/wanted-refused";

/// The curve has so many steps at most, each so long.
const STEPS: usize = 30;
const STEP: Duration = Duration::from_mins(1);
/// Of pods and images so many are named.
const NAMED: usize = 20;

/// The annotations. Of a recording that ended at `end`, or goes on then.
#[must_use]
pub fn annotations(
    recording: &str,
    findings: &Findings,
    made: &Made,
    (end, images): (Timestamp, &[RecordedImage]),
) -> BTreeMap<String, String> {
    let progress = progress(findings, end);
    let quiet = progress.last_new.unwrap_or(end);
    let quiet = end.duration_since(quiet).try_into().unwrap_or_default();
    let completeness = format!(
        "calls: {}, of containers: {}; none was new in the last {}",
        progress.known,
        findings.now + findings.were,
        show_length(quiet)
    );
    let curve = curve(findings, STEP, end, STEPS);
    let curve: Vec<_> = curve.iter().map(ToString::to_string).collect();
    let assumed: Vec<_> = made.assumed.iter().map(|call| call.name()).collect();
    let refused: Vec<_> = made.refused.keys().map(|call| call.name()).collect();
    let annotations = [
        (RECORDING, recording.to_owned()),
        (DIGEST, digest(findings)),
        (COMPLETENESS, completeness),
        (CURVE, curve.join(" ")),
        (PODS, some(&findings.pods)),
        (IMAGES, some(&with_digests(&findings.images, images))),
        (ASSUMED, assumed.join(" ")),
        (REFUSED, refused.join(" ")),
    ];
    annotations
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
}

/// `docker.io/library/nginx:1@sha256:...`, where it is known which image that was.
fn with_digests(names: &BTreeSet<String>, images: &[RecordedImage]) -> BTreeSet<String> {
    let named = names.iter().flat_map(|name| {
        let of_name = images.iter().filter(|image| image.name == *name);
        let mut known: Vec<_> = of_name
            .map(|image| {
                if name.ends_with(&image.digest) {
                    name.clone()
                } else {
                    format!("{name}@{}", image.digest)
                }
            })
            .collect();
        if known.is_empty() {
            known.push(name.clone());
        }
        known
    });
    named.collect()
}

fn some(names: &BTreeSet<String>) -> String {
    let mut text = names
        .iter()
        .take(NAMED)
        .cloned()
        .collect::<Vec<_>>()
        .join(" ");
    if names.len() > NAMED {
        let _ = write!(text, " and {} more", names.len() - NAMED);
    }
    text
}

/// SHA-256 over one line for each call; counts and times are not in it, so that the same behaviour has the same digest.
fn digest(findings: &Findings) -> String {
    let mut lines = String::new();
    for call in findings.calls() {
        let refused = if call.succeeded() { "" } else { " refused" };
        let _ = write!(lines, "{} {}{refused}", call.arch, call.syscall);
        for argument in &call.seen.arguments {
            let any = if argument.more { "*" } else { "" };
            let _ = write!(
                lines,
                " {}={any}{}",
                argument.index,
                argument.values.join(",")
            );
        }
        lines.push('\n');
    }
    let hash = ring::digest::digest(&ring::digest::SHA256, lines.as_bytes());
    hash.as_ref()
        .iter()
        .fold("sha256:".to_owned(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::findings::tests::report;
    use serde_json::json;

    #[test]
    fn the_same_behaviour_has_the_same_digest_however_often_it_was_seen() {
        let seen = |count: i64, values: &[&str]| {
            let call = json!(["X86_64", "socket", {"steady": count, "arguments": [{"index": 0, "values": values}]}]);
            digest(&Findings::new([&report(
                "n",
                &json!([{"pod": "p", "container": "c", "calls": [call]}]),
            )]))
        };
        assert_eq!(seen(1, &["0x1"]), seen(7, &["0x1"]));
        assert_ne!(seen(1, &["0x1"]), seen(1, &["0x2"]));
        assert!(seen(1, &[]).starts_with("sha256:"));
        let with_mount = |refused: i64| {
            let call = json!(["X86_64", "mount", {"steady": 2, "refused": refused}]);
            let calls = json!([{"pod": "p", "container": "c", "calls": [call]}]);
            digest(&Findings::new([&report("n", &calls)]))
        };
        assert_ne!(with_mount(0), with_mount(2));
    }

    #[test]
    fn images_have_their_digests_where_these_are_known() {
        let image = |name: &str, digest: &str| RecordedImage {
            name: name.into(),
            digest: digest.into(),
        };
        let names = ["a:1", "b:1", "c@sha256:3"].map(str::to_owned).into();
        let known = [
            image("a:1", "sha256:1"),
            image("a:1", "sha256:2"),
            image("c@sha256:3", "sha256:3"),
        ];
        let expected = ["a:1@sha256:1", "a:1@sha256:2", "b:1", "c@sha256:3"];
        assert_eq!(
            with_digests(&names, &known),
            expected.map(str::to_owned).into()
        );
    }

    #[test]
    fn of_very_many_pods_some_are_named() {
        let pods: BTreeSet<_> = (10..40).map(|n| format!("web-{n}")).collect();
        assert!(some(&pods).ends_with("web-29 and 10 more"));
        assert_eq!(some(&BTreeSet::new()), "");
    }
}
