//! A recording from its first sight to its end.

use serde_json::{Value, json};

use super::*;
use seccomp_policy::ceiling::Ceiling;

const NAME: &str = "recording.shop.web";

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_767_225_600 + seconds).unwrap()
}

fn recording(spec: &Value, status: Option<&SeccompRecordingStatus>) -> SeccompRecording {
    let mut whole = json!({"podSelector": {}});
    for (key, value) in spec.as_object().unwrap() {
        whole[key] = value.clone();
    }
    let object = json!({
        "apiVersion": "seccomp-operator.io/v1alpha1", "kind": "SeccompRecording",
        "metadata": {"namespace": "shop", "name": "web", "uid": "7", "generation": 2}, "spec": whole, "status": status,
    });
    serde_json::from_value(object).unwrap()
}

/// The profile that records for the recording of that uid.
fn profile(uid: &str, ready: bool) -> SeccompProfile {
    let conditions = json!([{
        "type": "Ready", "status": if ready { "True" } else { "False" }, "reason": "", "message": "",
        "lastTransitionTime": at(0).to_string(),
    }]);
    serde_json::from_value(json!({
        "apiVersion": "seccomp-operator.io/v1alpha1", "kind": "SeccompProfile",
        "metadata": {"name": NAME, "uid": "p", "generation": 1},
        "spec": {"base": "runtime-default", "record": {"namespace": "shop", "name": "web", "uid": uid}},
        "status": {"observedGeneration": 1, "conditions": conditions,
            "failures": if ready { json!([]) } else { json!([{"node": "n1", "reason": "Invalid", "message": "no recorder"}]) }},
    })).unwrap()
}

/// A report of one running container that called `bind` 10 seconds after its start at 0.
fn report(owned: bool, degraded: Option<&str>) -> SeccompRecordingReport {
    let owners =
        owned.then(|| json!([{"apiVersion": "v1", "kind": "x", "name": "web", "uid": "7"}]));
    serde_json::from_value(json!({
        "apiVersion": "seccomp-operator.io/v1alpha1", "kind": "SeccompRecordingReport",
        "metadata": {"namespace": "shop", "name": "web.n1.0", "ownerReferences": owners},
        "recording": {"name": "web", "uid": "7"}, "node": "n1", "recorderVersion": "1", "degraded": degraded,
        "containers": [{
            "pod": "web-1", "podUid": "u", "container": "c", "containerId": "i", "started": at(0).to_string(),
            "image": "docker.io/library/nginx:1",
            "calls": [{"architecture": "SCMP_ARCH_X86_64", "name": "bind", "steady": 1,
                "firstSeen": at(10).to_string(), "lastSeen": at(10).to_string()}],
        }],
    })).unwrap()
}

fn steps(recordings: &Recordings, now: Timestamp) -> Vec<Step> {
    steps_with(recordings, now, None, None)
}

fn steps_with(
    recordings: &Recordings,
    now: Timestamp,
    without_effect: Option<&str>,
    lack: Option<Lack>,
) -> Vec<Step> {
    recordings.steps(&Around {
        library: &Library::default(),
        ceilings: &Ceilings::default(),
        profiles_dir: "profiles",
        without_effect,
        lack,
        now,
    })
}

fn status(steps: &[Step]) -> SeccompRecordingStatus {
    let status = steps.iter().find_map(|step| match step {
        Step::Status { status, .. } => Some((**status).clone()),
        _ => None,
    });
    status.unwrap()
}

fn condition(status: &SeccompRecordingStatus, type_: &str) -> (bool, String, String) {
    let condition = status
        .conditions
        .iter()
        .find(|condition| condition.type_ == type_)
        .unwrap();
    (
        condition.status == "True",
        condition.reason.clone(),
        condition.message.clone(),
    )
}

#[test]
fn a_recording_gets_its_profile_and_goes_on_once_all_nodes_have_it() {
    let mut known = Recordings::default();
    known.recording(&Ok(recording(&json!({}), None)));
    let first = steps(&known, at(0));
    let Step::Record { name, spec } = &first[0] else {
        panic!("{first:?}")
    };
    assert_eq!(name, NAME);
    assert_eq!(spec.base.as_deref(), Some("runtime-default"));
    assert_eq!(spec.record.as_ref().unwrap().uid, "7");
    assert_eq!(condition(&status(&first), "Recording").1, "Preparing");

    assert!(known.profile(&profile("7", false)));
    let waiting = condition(&status(&steps(&known, at(1))), "Recording");
    assert!(
        !waiting.0 && waiting.2.contains("node n1: no recorder"),
        "{waiting:?}"
    );
    known.profile(&profile("7", true));
    let ready = status(&steps(&known, at(2)));
    assert!(condition(&ready, "Recording").0);
    assert_eq!(
        ready.localhost_profile.as_deref(),
        Some("profiles/recording.shop.web.json")
    );
    // In a steady state nothing is written, and a node that is new ends nothing.
    known.recording(&Ok(recording(&json!({}), Some(&ready))));
    assert_eq!(steps(&known, at(60)), []);
    known.profile(&profile("7", false));
    assert_eq!(steps(&known, at(61)), []);
}

#[test]
fn reports_become_the_status_and_get_their_recording_as_owner() {
    let mut known = Recordings::default();
    known.recording(&Ok(recording(&json!({}), None)));
    known.profile(&profile("7", true));
    known.report(&report(false, Some("the holder was replaced")));
    let all = steps(&known, at(20));
    assert!(matches!(&all[0], Step::Own { report, uid, .. } if report == "web.n1.0" && uid == "7"));
    let seen = status(&all);
    assert_eq!((seen.known, seen.new_in_last_minute), (Some(1), Some(1)));
    assert_eq!(seen.calls[0].name, "bind");
    let (degraded, _, why) = condition(&seen, "Degraded");
    assert!(degraded && why == "node n1: the holder was replaced");
    known.report(&report(true, None));
    assert!(
        !steps(&known, at(20))
            .iter()
            .any(|step| matches!(step, Step::Own { .. }))
    );
}

#[test]
fn a_recording_that_is_over_is_complete_and_makes_its_profile_if_it_was_asked_to() {
    for (create, made) in [(true, vec!["shop.web".to_owned()]), (false, vec![])] {
        let mut known = Recordings::default();
        known.recording(&Ok(recording(
            &json!({"stop": {"quietFor": "1m"}, "create": create}),
            None,
        )));
        known.profile(&profile("7", true));
        known.report(&report(true, None));
        assert_eq!(status(&steps(&known, at(69))).ended, None);
        let last = steps(&known, at(70));
        let end = status(&last);
        assert_eq!(end.ended, Some(Time(at(70))));
        assert_eq!(end.profiles, made);
        assert!(condition(&end, "Complete").0 && !condition(&end, "Recording").0);
        let published: Vec<_> = last.iter().filter_map(published_name).collect();
        assert_eq!(published, made);
        for step in &last {
            if let Step::Publish {
                spec, annotations, ..
            } = step
            {
                assert!(spec.define().is_ok());
                assert_eq!(annotations[provenance::RECORDING], "shop/web");
                assert_eq!(annotations[provenance::IMAGES], "docker.io/library/nginx:1");
                assert!(
                    annotations[provenance::COMPLETENESS].contains("none was new in the last 1m")
                );
            }
        }
        // What has ended stays as it is.
        known.recording(&Ok(recording(
            &json!({"stop": {"quietFor": "1m"}, "create": create}),
            Some(&end),
        )));
        known.report(&report(true, Some("later")));
        assert_eq!(steps(&known, at(500)), []);
    }
}

#[test]
fn the_profile_of_a_recording_that_is_gone_or_another_one_is_removed_and_nobody_else_s() {
    let mut known = Recordings::default();
    known.profile(&profile("7", true));
    let forget = Step::Forget {
        name: NAME.into(),
        uid: "p".into(),
    };
    assert_eq!(steps(&known, at(0)), std::slice::from_ref(&forget));
    known.recording(&Ok(recording(&json!({}), None)));
    assert!(!steps(&known, at(0)).contains(&forget));
    known.profile(&profile("6", true));
    assert!(steps(&known, at(0)).contains(&forget));
    let mut theirs = profile("7", true);
    theirs.spec.record = None;
    known.profile(&theirs);
    let all = steps(&known, at(0));
    assert!(
        !all.iter()
            .any(|step| matches!(step, Step::Forget { .. } | Step::Record { .. }))
    );
    assert_eq!(condition(&status(&all), "Degraded").1, "Conflict");
}

#[test]
fn no_recording_begins_while_a_recorder_is_away_and_one_that_goes_on_says_so() {
    let mut known = Recordings::default();
    known.recording(&Ok(recording(&json!({}), None)));
    known.profile(&profile("7", true));
    let away = Lack::Away("recorders that are not ready: n1".into());
    let missing = Lack::Missing("nodes without a recorder: n2".into());
    let held = status(&steps_with(&known, at(1), None, Some(away.clone())));
    let expected = (
        false,
        "RecorderAway".to_owned(),
        "recorders that are not ready: n1".to_owned(),
    );
    assert_eq!(condition(&held, "Recording"), expected);
    assert!(!condition(&held, "Degraded").0);
    // Admission gives nobody its profile before.
    let object = recording(&json!({}), Some(&held));
    assert!(!goes_on(&object));
    known.recording(&Ok(object));
    let begun = status(&steps(&known, at(2)));
    assert!(condition(&begun, "Recording").0);

    known.recording(&Ok(recording(&json!({}), Some(&begun))));
    for (lack, words) in [(away, "not ready: n1"), (missing, "without a recorder: n2")] {
        let now = status(&steps_with(&known, at(3), None, Some(lack)));
        assert!(condition(&now, "Recording").0);
        let (degraded, reason, said) = condition(&now, "Degraded");
        assert!(degraded && reason == "RecorderAway" && said.contains(words));
    }
    assert_eq!(steps(&known, at(4)), []);
}

#[test]
fn a_report_that_outlived_its_recording_is_discarded() {
    let mut known = Recordings::default();
    known.report(&report(true, None));
    let discard = Step::Discard {
        namespace: "shop".into(),
        report: "web.n1.0".into(),
        version: None,
    };
    assert_eq!(steps(&known, at(0)), std::slice::from_ref(&discard));
    known.recording(&Ok(recording(&json!({}), None)));
    assert!(!steps(&known, at(0)).contains(&discard));
}

#[test]
fn what_cannot_record_says_why() {
    let mut known = Recordings::default();
    known.recording(&Ok(recording(&json!({"stop": {"after": "soon"}}), None)));
    let said = condition(&status(&steps(&known, at(0))), "Degraded");
    assert!(
        said.0 && said.1 == "Invalid" && said.2.contains("spec.stop.after"),
        "{said:?}"
    );
    known.recording(&Ok(recording(&json!({}), None)));
    let all = steps_with(&known, at(0), Some("injection.engine is none"), None);
    assert_eq!(
        condition(&status(&all), "Recording"),
        (
            false,
            "NoAdmission".into(),
            "injection.engine is none".into()
        )
    );
    assert_eq!(all.len(), 1);
}

#[test]
fn after_a_new_list_only_what_it_had_is_known() {
    let mut known = Recordings::default();
    known.recording(&Ok(recording(&json!({}), None)));
    known.report(&report(true, None));
    for kind in [Kind::Recording, Kind::Report, Kind::Profile] {
        known.list_begins(kind);
        known.list_ends(kind);
    }
    assert!(known.by_key.is_empty() && known.reports.is_empty());
}

#[test]
fn a_recording_whose_profile_would_be_above_a_ceiling_says_so_and_makes_none() {
    let held = |action: &str| {
        let spec = json!({"base": "runtime-default", "deny": ["@chmod"], "action": action});
        let mut ceilings = Ceilings::default();
        let ceiling = Ceiling::new(&serde_json::from_value(spec).unwrap());
        ceilings.exists("top", ceiling);
        ceilings
    };
    let steps = |known: &Recordings, ceilings: &Ceilings, now| {
        known.steps(&Around {
            library: &Library::default(),
            ceilings,
            profiles_dir: "profiles",
            without_effect: None,
            lack: None,
            now,
        })
    };
    let mut known = Recordings::default();
    known.recording(&Ok(recording(&json!({}), None)));
    let denied = steps(&known, &held("Deny"), at(0));
    let (holds, reason, sentence) = condition(&status(&denied), "Recording");
    assert!(!holds && reason == "AboveCeiling", "{reason}");
    assert!(
        sentence.contains("allows more than SeccompCeiling \"top\": chmod, "),
        "{sentence}"
    );
    let is_made = |step: &Step| matches!(step, Step::Record { .. });
    assert!(!denied.iter().any(is_made));
    assert!(steps(&known, &held("Warn"), at(0)).iter().any(is_made));
}

#[test]
fn a_profile_that_the_recording_did_not_make_is_left_as_it_is() {
    let theirs = |made_of: Option<&str>| -> SeccompProfile {
        let annotations = made_of.map(|of| json!({provenance::RECORDING: of}));
        serde_json::from_value(json!({
            "apiVersion": "seccomp-operator.io/v1alpha1", "kind": "SeccompProfile",
            "metadata": {"name": "shop.web", "annotations": annotations}, "spec": {"base": "runtime-default"},
        }))
        .unwrap()
    };
    let end = |made_of| {
        let mut known = Recordings::default();
        let spec = json!({"stop": {"quietFor": "1m"}, "create": true});
        known.recording(&Ok(recording(&spec, None)));
        known.profile(&profile("7", true));
        assert!(!known.profile(&theirs(made_of)));
        known.report(&report(true, None));
        let last = steps(&known, at(70));
        let published = last.iter().filter_map(published_name).count();
        (published, condition(&status(&last), "Degraded").2)
    };
    for made_of in [None, Some("shop/other")] {
        let (published, said) = end(made_of);
        assert_eq!(published, 0);
        assert!(
            said.contains("\"shop.web\" that was not made of this recording"),
            "{said}"
        );
    }
    assert_eq!(end(Some("shop/web")).0, 1);
}
