//! What a recording's status says of its reports, in a bounded size.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use crate::findings::{Call, Findings};
use crate::progress::progress;
use seccomp_operator_api::{RecordedCounts, SeccompRecordingStatus, StatusCall};
use seccomp_profile::Syscall;

/// So many calls has a status at most; of all that Linux has, on one architecture, there are fewer.
const MAX_CALLS: usize = 600;

/// What the reports come to. Generation, times of the end, profiles and conditions are the controller's.
#[must_use]
pub fn observed(
    findings: &Findings,
    assumed: &[Syscall],
    now: Timestamp,
) -> SeccompRecordingStatus {
    let natives = findings.natives();
    let progress = progress(findings, now);
    let calls: Vec<_> = findings.calls().collect();
    let count = |number: usize| i32::try_from(number).unwrap_or(i32::MAX);
    let mut assumed: Vec<_> = assumed
        .iter()
        .filter(|call| natives.iter().any(|native| call.number(*native).is_some()))
        .map(|call| call.name().to_owned())
        .collect();
    assumed.sort_unstable();
    assumed.truncate(256);
    let more = calls.len().saturating_sub(MAX_CALLS);
    SeccompRecordingStatus {
        started: findings.started.map(Time),
        containers: Some(RecordedCounts {
            now: count(findings.now),
            were: count(findings.were),
        }),
        known: Some(count(progress.known)),
        new_in_last_minute: Some(count(progress.new_in_last_minute)),
        last_new: progress.last_new.map(Time),
        calls: calls
            .iter()
            .take(MAX_CALLS)
            .map(|call| status_call(call, natives.contains(&call.arch)))
            .collect(),
        more_calls: (more > 0).then(|| count(more)),
        assumed,
        ..SeccompRecordingStatus::default()
    }
}

fn status_call(call: &Call<'_>, native: bool) -> StatusCall {
    let seen = call.seen;
    StatusCall {
        name: call.syscall.name().to_owned(),
        architecture: (!native).then(|| call.arch.native_name().to_owned()),
        count: seen.count(),
        refused: seen.refused,
        start_up_only: seen.start_up > 0 && seen.steady == 0 && seen.exec == 0,
        exec_only: call.is_exec_only(),
        first_seen: seen.first_seen.clone(),
        last_seen: seen.last_seen.clone(),
        arguments: seen.arguments.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::findings::tests::report;
    use serde_json::json;

    #[test]
    fn a_status_has_each_call_once_and_says_what_is_particular_about_it() {
        let containers = json!([{"pod": "p", "container": "c", "started": "2026-01-01T00:00:00Z", "calls": [
            ["X86_64", "bind", {"startUp": 2, "firstSeen": "2026-01-01T00:00:01Z"}],
            ["X86_64", "mkdir", {"exec": 1}], ["X86", "mkdir", {"steady": 3, "refused": 3}],
        ]}]);
        let findings = Findings::new([&report("n", &containers)]);
        let assumed: Vec<_> = ["write", "read"]
            .into_iter()
            .filter_map(Syscall::named)
            .collect();
        let status = observed(&findings, &assumed, "2026-01-01T00:00:30Z".parse().unwrap());
        let said: Vec<_> = status
            .calls
            .iter()
            .map(|call| {
                (
                    call.name.as_str(),
                    call.architecture.as_deref(),
                    call.count,
                    call.refused,
                    call.start_up_only,
                    call.exec_only,
                )
            })
            .collect();
        assert_eq!(
            said,
            [
                ("mkdir", Some("x86"), 3, 3, false, false),
                ("bind", None, 2, 0, true, false),
                ("mkdir", None, 1, 0, false, true)
            ]
        );
        assert_eq!(status.assumed, ["read", "write"]);
        assert_eq!(
            (status.known, status.new_in_last_minute),
            (Some(3), Some(1))
        );
        assert_eq!(status.containers, Some(RecordedCounts { now: 1, were: 0 }));
    }

    #[test]
    fn the_status_of_a_recording_that_saw_everything_stays_small() {
        let all: Vec<_> = Syscall::all()
            .flat_map(|call| [("X86_64", call), ("X86", call), ("AARCH64", call)])
            .filter(|(arch, call)| call.number(seccomp_profile::Arch::named(&format!("SCMP_ARCH_{arch}")).unwrap()).is_some())
            .map(|(arch, call)| {
                let times = "2026-01-01T00:00:01.123456Z";
                json!([arch, call.name(), {"steady": i64::MAX, "firstSeen": times, "lastSeen": times}])
            })
            .collect();
        assert!(all.len() > MAX_CALLS);
        let expected = i32::try_from(all.len() - MAX_CALLS).unwrap();
        let report = report("n", &json!([{"pod": "p", "container": "c", "calls": all}]));
        let findings = Findings::new([&report]);
        let every: Vec<_> = Syscall::all().collect();
        let status = observed(&findings, &every, Timestamp::UNIX_EPOCH);
        assert_eq!(status.calls.len(), MAX_CALLS);
        assert_eq!(status.more_calls, Some(expected));
        assert!(serde_json::to_vec(&status).unwrap().len() < 150_000);
    }
}
