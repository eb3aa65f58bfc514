//! What admission says of profiles, policies and ceilings.

use super::*;
use admission_review::read;
use seccomp_policy::ceiling::Ceiling;
use seccomp_policy::view::View;
use serde_json::{Value, json};

/// Around it there is nothing.
struct Nothing;

impl Around for Nothing {
    fn conflicts(&self, _: &str, _: &SeccompPolicySpec) -> Vec<String> {
        Vec::new()
    }

    fn surroundings(&self, _: &str, _: &str, _: &SeccompRecordingSpec) -> Surroundings {
        Surroundings::default()
    }

    fn pulls(&self) -> bool {
        true
    }
}

/// The body of a review.
fn body(kind: &str, object: &Value, old: Option<&Value>) -> String {
    let review = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "u", "kind": {"group": "seccomp-operator.io", "kind": kind}, "name": "x",
            "operation": if old.is_some() { "UPDATE" } else { "CREATE" }, "object": object, "oldObject": old,
        },
    });
    review.to_string()
}

fn request(body: &str) -> Request<'_, Object<'_>> {
    read(body.as_bytes()).unwrap()
}

fn answered(body: &str) -> Answer {
    let none = Ceilings::default();
    answer(&request(body), &Library::default(), &none, &Nothing)
}

fn denied(kind: &str, object: &Value) -> Option<String> {
    answered(&body(kind, object, None)).denied
}

fn profile_object(name: &str, document: &Value) -> Value {
    json!({"metadata": {"name": name}, "spec": {"profile": document}})
}

#[test]
fn a_good_profile_passes() {
    assert_eq!(
        denied(
            "SeccompProfile",
            &profile_object("ok", &json!({"defaultAction": "SCMP_ACT_LOG"}))
        ),
        None
    );
}

#[test]
fn bad_profiles_are_refused_with_a_sentence_that_names_the_field() {
    let rule = |rule: Value| json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]});
    for (document, parts) in [
        (json!({}), &["spec.profile", "defaultAction"][..]),
        (
            json!({"defaultAction": "SCMP_ACT_NO"}),
            &["spec.profile.defaultAction", "SCMP_ACT_NO"],
        ),
        (
            rule(json!({"names": ["chmod"], "action": "DENY"})),
            &["spec.profile.syscalls[0].action", "DENY"],
        ),
        (
            rule(
                json!({"names": ["socket"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 6, "value": 1, "op": "SCMP_CMP_EQ"}]}),
            ),
            &["spec.profile.syscalls[0].args[0].index", "6"],
        ),
        // Docker's format is read, and not carelessly.
        (
            json!({"defaultAction": "SCMP_ACT_ERRNO", "archMap": [{"architecture": "SCMP_ARCH_AMD64", "subArchitectures": []}]}),
            &["spec.profile.archMap[0].architecture", "SCMP_ARCH_AMD64"],
        ),
        (
            rule(
                json!({"names": ["bpf"], "action": "SCMP_ACT_ERRNO", "excludes": {"caps": ["CAP_BFP"]}}),
            ),
            &["spec.profile.syscalls[0].excludes.caps[0]", "CAP_BFP"],
        ),
        (
            json!({"apiVersion": "v1", "spec": {"defaultAction": "SCMP_ACT_LOG"}}),
            &["spec.profile"],
        ),
    ] {
        let sentence = denied("SeccompProfile", &profile_object("x", &document)).unwrap();
        assert!(
            parts.iter().all(|part| sentence.contains(part)),
            "{document}: {sentence}"
        );
    }
}

#[test]
fn a_profile_that_cannot_be_observed_is_refused_and_one_without_refusals_warned_about() {
    let listened = json!({"defaultAction": "SCMP_ACT_ERRNO", "listenerPath": "/run/a.sock", "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW"}, {"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]});
    let of = |spec: &Value| {
        let object = json!({"metadata": {"name": "x"}, "spec": spec});
        answered(&body("SeccompProfile", &object, None))
    };
    let denied = of(&json!({"profile": listened, "observe": true})).denied;
    assert!(denied.unwrap().contains("a listener of its own"));
    assert_eq!(of(&json!({"profile": listened})).denied, None);
    let is_said = |answer: &Answer| {
        let mut warnings = answer.warnings.iter();
        warnings.any(|warning| warning.starts_with("spec.observe: has no effect"))
    };
    for (base, said) in [("audit", true), ("runtime-default", false)] {
        let answer = of(&json!({"base": base, "observe": true}));
        assert_eq!(answer.denied, None);
        assert_eq!(is_said(&answer), said, "{base} {:?}", answer.warnings);
    }
}

#[test]
fn a_trial_that_cannot_be_is_refused_and_one_that_refuses_no_more_warned_about() {
    let of = |trial: Value| {
        let spec = json!({"base": "runtime-default", "trial": trial});
        let object = json!({"metadata": {"name": "x"}, "spec": spec});
        answered(&body("SeccompProfile", &object, None))
    };
    for (trial, said) in [
        (json!({}), "spec.trial: changes nothing"),
        (json!({"deny": ["chmood"]}), "spec.trial.deny[0]"),
        (
            json!({"base": "x"}),
            "once spec.trial is promoted: spec.base: leads in a circle",
        ),
    ] {
        let denied = of(trial).denied.unwrap();
        assert!(denied.starts_with(said), "{denied}");
    }
    let none = of(json!({"deny": ["mount"]}));
    assert_eq!(none.denied, None);
    assert!(
        none.warnings[0].starts_with("spec.trial: refuses nothing"),
        "{:?}",
        none.warnings
    );
    let fine = of(json!({"deny": ["@chmod"]}));
    assert_eq!((fine.denied, fine.warnings.len()), (None, 0));
}

#[test]
fn the_author_of_a_policy_on_trial_is_told_what_it_cannot_tell() {
    let of = |profile: Value| {
        let mut library = Library::default();
        let spec: SeccompProfileSpec = serde_json::from_value(profile).unwrap();
        let defined = spec.define().map(Into::into).map_err(Into::into);
        library.define("web", defined);
        let policy = json!({"mode": "Trial", "profile": {"type": "Localhost", "name": "web"}});
        let object = json!({"metadata": {"name": "p"}, "spec": policy});
        let body = body("SeccompPolicy", &object, None);
        let answer = answer(&request(&body), &library, &Ceilings::default(), &Nothing);
        assert_eq!(answer.denied, None);
        answer.warnings
    };
    let fine = of(json!({"base": "runtime-default", "deny": ["@chmod"]}));
    assert_eq!(fine, Vec::<String>::new());
    for (profile, said) in [
        (
            json!({"base": "runtime-default"}),
            "spec.mode: Trial of SeccompProfile \"web\" refuses nothing that runtime-default does not refuse",
        ),
        (
            json!({"base": "runtime-default", "deny": ["sendto"]}),
            "spec.mode: Trial of SeccompProfile \"web\" would refuse sendto in addition, and that is not reported",
        ),
        (
            json!({"base": "trial.p"}),
            "spec.mode: SeccompProfile \"web\" cannot be tried, and pods get RuntimeDefault: ",
        ),
    ] {
        let warnings = of(profile);
        assert!(warnings[0].starts_with(said), "{warnings:?}");
    }
}

#[test]
fn a_document_that_is_nested_too_deeply_is_denied_with_a_sentence() {
    let deep = format!("{}{}", "[".repeat(9000), "]".repeat(9000));
    let body = format!(
        r#"{{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {{"uid": "u", "operation": "CREATE",
            "kind": {{"group": "seccomp-operator.io", "version": "v1alpha1", "kind": "SeccompProfile"}},
            "object": {{"metadata": {{"name": "x"}}, "spec": {{"profile": {{"x": {deep}}}}}}}}}}}"#
    );
    let denied = answered(&body).denied.unwrap();
    assert!(denied.contains("nested too deeply"), "{denied}");
}

#[test]
fn a_document_of_very_many_objects_is_denied_with_a_sentence() {
    let rules = vec![json!({}); MAX_BRACKETS];
    let document = json!({"defaultAction": "SCMP_ACT_LOG", "syscalls": rules});
    let denied = denied("SeccompProfile", &profile_object("x", &document)).unwrap();
    assert!(denied.contains("more than 32768 objects"), "{denied}");
}

#[test]
fn a_name_that_makes_no_file_is_refused() {
    let sentence = denied(
        "SeccompProfile",
        &profile_object(&"n".repeat(201), &json!({"defaultAction": "SCMP_ACT_LOG"})),
    )
    .unwrap();
    assert!(
        sentence.starts_with("metadata.name: has 201 characters"),
        "{sentence}"
    );
}

#[test]
fn an_object_that_is_being_deleted_or_keeps_its_spec_passes_even_when_bad() {
    let mut object = profile_object("x", &json!({}));
    let relabelled = body("SeccompProfile", &object, Some(&object));
    assert_eq!(answered(&relabelled).denied, None);
    object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    assert_eq!(denied("SeccompProfile", &object), None);
}

#[test]
fn a_policy_that_names_a_missing_profile_is_warned_about() {
    let object = json!({"metadata": {"name": "x"}, "spec": {"profile": {"type": "Localhost", "name": "absent"}}});
    let view = View::new("profiles", []);
    let body = body("SeccompPolicy", &object, None);
    let (library, none) = (Library::default(), Ceilings::default());
    let answer = answer(&request(&body), &library, &none, &view);
    assert_eq!(answer.denied, None);
    assert!(answer.warnings[0].contains("absent"));
}

#[test]
fn a_recording_is_judged_by_its_namespace_and_by_what_there_is() {
    let mut view = View::new("profiles", ["kube-system".to_owned()]);
    view.profile("shop.web", true, None);
    let spec = json!({"podSelector": {}, "stop": {"after": "soon"}, "create": true});
    let object = json!({"metadata": {"name": "web", "namespace": "shop"}, "spec": spec});
    let mut review: Value = serde_json::from_str(&body("SeccompRecording", &object, None)).unwrap();
    review["request"]["namespace"] = json!("shop");
    let told = |review: &Value, view: &View| {
        let (library, none) = (Library::default(), Ceilings::default());
        answer(&request(&review.to_string()), &library, &none, view)
    };
    let sentence = told(&review, &view).denied.unwrap();
    for part in [
        "spec.stop.after: ",
        "spec.create: there is a SeccompProfile \"shop.web\"",
    ] {
        assert!(sentence.contains(part), "{sentence}");
    }
    // The operator's own, of another recording of that name, or none.
    view.gone(seccomp_policy::view::Kind::Profile, "shop.web");
    review["request"]["object"]["spec"] = json!({"podSelector": {}});
    let answer = told(&review, &view);
    assert_eq!(answer.denied, None);
    assert!(answer.warnings[0].starts_with("spec.stop: "), "{answer:?}");
    review["request"]["object"]["spec"] = json!({"podSelector": 1});
    let sentence = told(&review, &view).denied.unwrap();
    assert!(sentence.starts_with("spec: "), "{sentence}");
}

#[test]
fn a_source_is_judged_by_its_fields_and_by_the_profile_of_its_name() {
    let object = |spec: Value| json!({"metadata": {"name": "nginx"}, "spec": spec});
    for (spec, start) in [
        (
            json!({"reference": "nginx"}),
            "spec.reference: \"nginx\" names no registry; write REGISTRY/",
        ),
        (
            json!({"reference": "ghcr.io/x:v1", "interval": "1s"}),
            "spec.interval: \"1s\" is not between 1m and 7d; say",
        ),
        (
            json!({"reference": "ghcr.io/x:v1", "verification": {"keys": ["no"]}}),
            "spec.verification.keys[0]: is no public key in PEM",
        ),
        (json!({}), "spec: missing field `reference`"),
    ] {
        let said = denied("SeccompSource", &object(spec.clone())).unwrap_or_default();
        assert!(said.starts_with(start), "{spec}: {said}");
    }
    let pinned = format!("ghcr.io/x@sha256:{}", "a".repeat(64));
    let good = object(json!({"reference": pinned}));
    let none = Ceilings::default();
    let there = library(&json!({"nginx": {"base": "runtime-default"}}));
    let created = body("SeccompSource", &good, None);
    let here = |body: &str, library: &Library| answer(&request(body), library, &none, &Nothing);
    assert_eq!(here(&created, &Library::default()), Answer::allow());
    let taken = here(&created, &there);
    assert!(
        taken.denied.is_none() && taken.warnings[0].starts_with("metadata.name: "),
        "{taken:?}"
    );
    // By then it is its own.
    let old = object(json!({"reference": "ghcr.io/x:v1"}));
    let changed = here(&body("SeccompSource", &good, Some(&old)), &there);
    assert_eq!(changed.warnings, Vec::<String>::new());
    let elsewhere = View::default();
    let off = answer(&request(&created), &Library::default(), &none, &elsewhere);
    assert!(off.warnings[0].contains("sources.enabled"), "{off:?}");
}

#[test]
fn a_policy_that_contradicts_itself_is_refused() {
    let sentence = denied(
        "SeccompPolicy",
        &json!({"metadata": {"name": "x"}, "spec": {"profile": {"type": "Localhost"}}}),
    )
    .unwrap();
    assert!(
        sentence.starts_with("spec.profile.name: must be set"),
        "{sentence}"
    );
}

fn library(specs: &Value) -> Library {
    let mut library = Library::default();
    for (name, spec) in specs.as_object().unwrap() {
        let spec: SeccompProfileSpec = serde_json::from_value(spec.clone()).unwrap();
        library.define(name, spec.define().map(Into::into).map_err(Into::into));
    }
    library
}

fn applied(name: &str, spec: &Value, library: &Library) -> Answer {
    under(&Ceilings::default(), name, spec, library)
}

fn under(ceilings: &Ceilings, name: &str, spec: &Value, library: &Library) -> Answer {
    let object = json!({"metadata": {"name": name}, "spec": spec});
    answer(
        &request(&body("SeccompProfile", &object, None)),
        library,
        ceilings,
        &Nothing,
    )
}

#[test]
fn a_profile_above_a_ceiling_is_denied_or_warned_of_and_a_wrong_ceiling_denied() {
    let none = Library::default();
    let more = json!({"base": "runtime-default", "allow": ["mount"]});
    for (action, denies) in [("Deny", true), ("Warn", false)] {
        let spec = json!({"base": "runtime-default", "action": action});
        let ceiling = Ceiling::new(&serde_json::from_value(spec).unwrap());
        let mut ceilings = Ceilings::default();
        ceilings.exists("top", ceiling);
        let answer = under(&ceilings, "x", &more, &none);
        let said = answer.denied.as_ref().or(answer.warnings.first()).unwrap();
        assert_eq!(answer.denied.is_some(), denies);
        assert!(
            said.starts_with(
                "SeccompProfile \"x\" allows more than SeccompCeiling \"top\": mount; "
            ),
            "{said}"
        );
        let within = json!({"base": "runtime-default", "deny": ["@chmod"]});
        assert_eq!(under(&ceilings, "x", &within, &none), Answer::allow());
    }
    let of = |spec: &Value| json!({"metadata": {"name": "top"}, "spec": spec});
    let said = denied("SeccompCeiling", &of(&json!({"base": "web"}))).unwrap();
    assert!(
        said.starts_with("spec.base: \"web\" is no built-in"),
        "{said}"
    );
    let said = denied("SeccompCeiling", &of(&json!({"action": "Refuse"}))).unwrap();
    assert!(said.contains("unknown variant"), "{said}");
    let fine = of(&json!({"base": "runtime-default", "exceptions": ["absent"]}));
    let answer = answered(&body("SeccompCeiling", &fine, None));
    assert_eq!((answer.denied, answer.warnings.len()), (None, 1));
}

#[test]
fn a_document_in_dockers_format_passes() {
    let docker = json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}],
        "syscalls": [{"name": "bpf", "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_BPF"]}}],
    });
    assert_eq!(
        denied("SeccompProfile", &profile_object("docker", &docker)),
        None
    );
}

#[test]
fn three_lines_are_a_profile_and_what_is_wrong_with_them_is_told() {
    let none = Library::default();
    let good = json!({"base": "docker-default", "deny": ["@chmod"]});
    assert_eq!(applied("x", &good, &none), Answer::allow());
    for (spec, parts) in [
        (json!({}), &["spec: has neither profile nor base"][..]),
        (
            json!({"base": "audit", "profile": {"defaultAction": "SCMP_ACT_LOG"}}),
            &["spec.base: stands beside profile"],
        ),
        (
            json!({"deny": ["@chmod"]}),
            &["spec: has neither profile nor base"],
        ),
        (
            json!({"base": "audit", "deny": ["@chmdo"]}),
            &["spec.deny[0]: \"@chmdo\"", "write \"@chmod\""],
        ),
        (
            json!({"base": "audit", "allow": [{"name": "read", "errno": 1}]}),
            &["spec.allow[0].errno"],
        ),
        (
            json!({"base": "audit", "deny": "@chmod"}),
            &["spec: invalid type"],
        ),
        (
            json!({"base": "audit", "capabilities": ["SYS_ADMN"]}),
            &["spec.capabilities[0]", "write \"SYS_ADMIN\""],
        ),
        (json!({"base": "x"}), &["spec.base: leads in a circle"]),
    ] {
        let sentence = applied("x", &spec, &none).denied.unwrap();
        assert!(
            parts.iter().all(|part| sentence.contains(part)),
            "{spec}: {sentence}"
        );
    }
}

#[test]
fn a_base_that_is_not_there_yet_is_warned_of_and_a_circle_through_others_is_refused() {
    let on = |base: &str| json!({"base": base});
    let answer = applied("x", &on("later"), &Library::default());
    assert_eq!(answer.denied, None);
    assert!(answer.warnings[0].contains("\"later\" is neither a built-in nor a known profile"));
    // No SeccompProfile can ever have that name.
    let sentence = applied(
        "x",
        &on("runtime-default/containerd-9"),
        &Library::default(),
    );
    assert!(
        sentence
            .denied
            .unwrap()
            .contains("is neither a built-in nor a known profile")
    );
    // `x` was a document when `b` was put on it.
    let others =
        library(&json!({"b": on("x"), "x": {"profile": {"defaultAction": "SCMP_ACT_LOG"}}}));
    assert_eq!(applied("y", &on("b"), &others), Answer::allow());
    let sentence = applied("x", &on("b"), &others).denied.unwrap();
    assert!(
        sentence.contains("leads in a circle: b -> x -> b"),
        "{sentence}"
    );
}

#[test]
fn what_the_author_should_know_is_warned_of_and_what_is_only_worth_knowing_is_not() {
    let none = Library::default();
    let twin = json!({"base": "docker-default", "deny": ["chmod"]});
    let answer = applied("x", &twin, &none);
    assert_eq!(answer.denied, None);
    assert_eq!(answer.warnings.len(), 1, "{:?}", answer.warnings);
    assert!(
        answer.warnings[0].starts_with("spec.deny[0]: ")
            && answer.warnings[0].ends_with("[open-twin]"),
        "{:?}",
        answer.warnings
    );
    let denied: Vec<_> = seccomp_profile::Syscall::all()
        .take(40)
        .map(seccomp_profile::Syscall::name)
        .collect();
    let many: Vec<_> = denied
        .iter()
        .map(|name| json!({"name": name, "errno": "EACCES"}))
        .collect();
    let answer = applied("x", &json!({"base": "audit", "deny": many}), &none);
    assert!(
        answer.warnings.len() <= MAX_FINDINGS + 1,
        "{:?}",
        answer.warnings
    );
}

#[test]
fn a_change_that_breaks_what_stands_on_it_is_warned_of_and_taken() {
    let mut specs = serde_json::Map::new();
    specs.insert("base".into(), json!({"base": "audit"}));
    specs.insert("low".into(), json!({"base": "audit"}));
    for n in 0..seccomp_profile::MAX_DEPTH {
        let below = if n == 0 {
            "base".to_owned()
        } else {
            format!("tower{}", n - 1)
        };
        specs.insert(format!("tower{n}"), json!({"base": below}));
    }
    let others = library(&Value::Object(specs));
    assert_eq!(
        applied("base", &json!({"base": "docker-default"}), &others),
        Answer::allow()
    );
    let answer = applied("base", &json!({"base": "low"}), &others);
    assert_eq!((answer.denied, answer.warnings.len()), (None, 1));
    assert!(
        answer.warnings[0].contains("\"tower14\"") && answer.warnings[0].contains("deep"),
        "{:?}",
        answer.warnings
    );
}
