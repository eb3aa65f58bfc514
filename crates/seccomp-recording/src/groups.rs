//! What of a recording becomes one profile, and what that is called.

use std::collections::BTreeSet;

use crate::findings::Findings;
use seccomp_operator_api::{
    Merge, RecordedContainer, RecordingReport, SeccompRecordingSpec, workload,
};

/// The profiles that a recording comes to: the name of each, and what was found for it. `name` is that of all of them together.
#[must_use]
pub fn groups(merge: Merge, name: &str, reports: &[&RecordingReport]) -> Vec<(String, Findings)> {
    let key = |container: &RecordedContainer| match merge {
        Merge::PerContainer => Some(container.container.clone()),
        Merge::PerPod => Some(workload(&container.pod).to_owned()),
        Merge::All => None,
    };
    let containers = reports.iter().flat_map(|report| &report.containers);
    let keys: BTreeSet<_> = containers.map(key).collect();
    // One that found nothing says so.
    if keys.is_empty() {
        return vec![(name.to_owned(), all(reports))];
    }
    keys.into_iter()
        .map(|wanted| {
            let findings = Findings::of(reports.iter().copied(), |container| {
                key(container) == wanted
            });
            let name = wanted.map_or_else(|| name.to_owned(), |key| format!("{name}.{key}"));
            (name, findings)
        })
        .collect()
}

fn all(reports: &[&RecordingReport]) -> Findings {
    Findings::new(reports.iter().copied())
}

/// The name of what a recording makes, or what its names begin with.
#[must_use]
pub fn result_name(namespace: &str, recording: &str, spec: &SeccompRecordingSpec) -> String {
    let own = || format!("{namespace}.{recording}");
    spec.profile_name.clone().unwrap_or_else(own)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::findings::tests::report;
    use serde_json::json;

    #[test]
    fn one_profile_is_made_of_each_container_of_each_workload_or_of_everything() {
        let container = |pod: &str, name: &str, call: &str| json!({"pod": pod, "container": name, "calls": [["X86_64", call, {"steady": 1}]]});
        let one = report(
            "n1",
            &json!([
                container("web-7d9c8b6f5d-x2k9l", "app", "bind"),
                container("web-7d9c8b6f5d-x2k9l", "proxy", "listen")
            ]),
        );
        let other = report(
            "n2",
            &json!([
                container("web-7d9c8b6f5d-7wqxn", "app", "mkdir"),
                container("db-0", "app", "unlink")
            ]),
        );
        let made = |merge| {
            let groups = groups(merge, "shop.r", &[&one, &other]);
            let names = |findings: Findings| {
                let names = findings.calls().map(|call| call.syscall.name());
                names.collect::<Vec<_>>().join(" ")
            };
            let said = groups
                .into_iter()
                .map(|(name, findings)| format!("{name}: {}", names(findings)));
            said.collect::<Vec<_>>()
        };
        assert_eq!(made(Merge::All), ["shop.r: bind listen mkdir unlink"]);
        assert_eq!(
            made(Merge::PerPod),
            ["shop.r.db: unlink", "shop.r.web: bind listen mkdir"]
        );
        assert_eq!(
            made(Merge::PerContainer),
            ["shop.r.app: bind mkdir unlink", "shop.r.proxy: listen"]
        );
        assert_eq!(groups(Merge::PerPod, "shop.r", &[]).len(), 1);
    }
}
