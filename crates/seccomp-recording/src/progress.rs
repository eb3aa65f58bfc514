//! How complete a recording is, and when it is over.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use crate::findings::Findings;
use crate::length::parse_length;
use seccomp_operator_api::RecordingStop;

/// How a recording comes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// How many calls are known.
    pub known: usize,
    /// How many of them were new in the last minute.
    pub new_in_last_minute: usize,
    /// When one was last new.
    pub last_new: Option<Timestamp>,
}

const MINUTE: Duration = Duration::from_mins(1);

/// How the recording comes on at this moment.
#[must_use]
pub fn progress(findings: &Findings, now: Timestamp) -> Progress {
    let firsts = findings.firsts();
    Progress {
        known: findings.calls().count(),
        new_in_last_minute: firsts
            .iter()
            .filter(|first| since(**first, now) < MINUTE)
            .count(),
        last_new: firsts.last().copied(),
    }
}

/// The curve: how many calls were known at the end of each step of this length, from the start to now. At most `most` steps; the last
/// ones.
#[must_use]
pub fn curve(findings: &Findings, step: Duration, now: Timestamp, most: usize) -> Vec<usize> {
    let firsts = findings.firsts();
    let Some(start) = findings.started.or(firsts.first().copied()) else {
        return Vec::new();
    };
    let steps = since(start, now).as_millis() / step.as_millis().max(1) + 1;
    let steps = usize::try_from(steps).unwrap_or(usize::MAX);
    let shown = steps.min(most);
    (steps - shown..steps)
        .map(|n| {
            let length = step.saturating_mul(u32::try_from(n + 1).unwrap_or(u32::MAX));
            firsts.partition_point(|first| since(start, *first) < length)
        })
        .collect()
}

/// Why a recording is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// `stop.after` has passed.
    After,
    /// No call was new for `stop.quietFor`.
    Quiet,
}

/// Whether the recording is over, and if not, when to look again at the latest.
pub fn over(
    findings: &Findings,
    stop: Option<&RecordingStop>,
    now: Timestamp,
) -> Result<Over, Option<Duration>> {
    let (Some(stop), Some(started)) = (stop, findings.started) else {
        return Err(None);
    };
    let length = |text: &Option<String>| parse_length(text.as_deref()?).ok();
    let left = |length: Duration, from: Timestamp| length.saturating_sub(since(from, now));
    let after = length(&stop.after).map(|length| left(length, started));
    if after.is_some_and(|left| left.is_zero()) {
        return Ok(Over::After);
    }
    let last_new = findings
        .firsts()
        .last()
        .copied()
        .unwrap_or(started)
        .max(started);
    let quiet = length(&stop.quiet_for).map(|length| left(length, last_new));
    if quiet.is_some_and(|left| left.is_zero()) && findings.now > 0 {
        return Ok(Over::Quiet);
    }
    Err([after, quiet]
        .into_iter()
        .flatten()
        .filter(|left| !left.is_zero())
        .min())
}

/// Clocks of nodes differ: what lies in the future is now.
fn since(from: Timestamp, to: Timestamp) -> Duration {
    to.duration_since(from).try_into().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::findings::tests::report;
    use serde_json::json;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_767_225_600 + seconds).unwrap()
    }

    /// A container that started at second 0, with calls first seen at these seconds.
    fn findings(firsts: &[i64], ended: bool) -> Findings {
        let names = ["bind", "listen", "mkdir", "unlink", "chmod"];
        let calls: Vec<_> = firsts
            .iter()
            .zip(names)
            .map(|(first, name)| json!(["X86_64", name, {"steady": 1, "firstSeen": at(*first).to_string()}]))
            .collect();
        let ended = ended.then(|| at(1).to_string());
        let containers = json!([{"pod": "p", "container": "c", "started": at(0).to_string(), "ended": ended, "calls": calls}]);
        Findings::new([&report("n", &containers)])
    }

    #[test]
    fn a_curve_that_flattens_says_how_complete_a_recording_is() {
        let findings = findings(&[1, 2, 3, 65, 200], false);
        let expected = Progress {
            known: 5,
            new_in_last_minute: 1,
            last_new: Some(at(200)),
        };
        assert_eq!(progress(&findings, at(230)), expected);
        assert_eq!(progress(&findings, at(300)).new_in_last_minute, 0);
        assert_eq!(curve(&findings, MINUTE, at(290), 100), [3, 4, 4, 5, 5]);
        assert_eq!(curve(&findings, MINUTE, at(290), 2), [5, 5]);
        assert_eq!(curve(&Findings::default(), MINUTE, at(0), 9), [0; 0]);
    }

    #[test]
    fn a_recording_ends_by_time_or_when_nothing_is_new_while_something_runs() {
        let stop = |after: Option<&str>, quiet: Option<&str>| RecordingStop {
            after: after.map(Into::into),
            quiet_for: quiet.map(Into::into),
        };
        let seconds = |n| Err(Some(Duration::from_secs(n)));
        let running = findings(&[1, 50], false);
        let both = stop(Some("10m"), Some("2m"));
        assert_eq!(over(&running, Some(&both), at(60)), seconds(110));
        assert_eq!(over(&running, Some(&both), at(170)), Ok(Over::Quiet));
        assert_eq!(
            over(&running, Some(&stop(Some("1m"), None)), at(60)),
            Ok(Over::After)
        );
        assert_eq!(over(&running, Some(&stop(None, None)), at(60)), Err(None));
        assert_eq!(over(&running, None, at(60)), Err(None));
        // Nothing runs: nothing could be new.
        let ended = findings(&[1, 50], true);
        assert_eq!(over(&ended, Some(&both), at(400)), seconds(200));
        assert_eq!(over(&ended, Some(&both), at(600)), Ok(Over::After));
        // Nothing has begun: no time runs.
        assert_eq!(over(&Findings::default(), Some(&both), at(600)), Err(None));
    }
}
