//! The engines that can give pods their profiles, and the one without a server held to the webhook's table of cases.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use e2e::cel;
use e2e::table::{DEFAULT, Table, merge};
use seccomp_operator_api::Selector;
use seccomp_policy::selector::matches;
use serde_json::{Value, json};

use crate::helm::{
    CHART, CURRENT, NAMESPACE, RELEASE, helm, notes, refusal, render, succeed, text,
};
use crate::objects::{all, args, documents, kind, list, only, rules, string};

const POLICIES: &str = "admissionregistration.k8s.io/v1/MutatingAdmissionPolicy";

/// The chart with the engine `policy` and this default policy, as for a cluster that serves this API.
fn rendered(api: &str, spec: &Value) -> Result<Vec<Value>> {
    let values = json!({
        "injection": {"engine": "policy"}, "profilesDir": "profiles", "defaultPolicy": {"spec": spec},
    });
    let args = [
        "template",
        RELEASE,
        CHART,
        "--namespace",
        NAMESPACE,
        "--kube-version",
        CURRENT,
        "--api-versions",
        api,
        "--values",
        "-",
    ];
    documents(&succeed(&args, &values)?)
}

/// A MutatingAdmissionPolicy, as far as it decides about pods.
struct Policy(Value);

impl Policy {
    fn render(spec: &Value) -> Result<Self> {
        let objects = rendered(POLICIES, spec)?;
        let policy = only(&objects, "MutatingAdmissionPolicy")?.clone();
        let binding = only(&objects, "MutatingAdmissionPolicyBinding")?;
        assert_eq!(binding["spec"]["policyName"], policy["metadata"]["name"]);
        Ok(Self(policy["spec"].clone()))
    }

    fn selector(&self, field: &str) -> Result<Selector> {
        Ok(serde_json::from_value(
            self.0["matchConstraints"][field].clone(),
        )?)
    }

    fn selects(&self, namespace: &str, labels: &Value, pod: &Value) -> Result<bool> {
        let mut labels = labels.clone();
        labels["kubernetes.io/metadata.name"] = namespace.into();
        let of_pod = &pod["metadata"]["labels"];
        let of_pod: BTreeMap<String, String> = serde_json::from_value(if of_pod.is_object() {
            of_pod.clone()
        } else {
            json!({})
        })?;
        let labels: BTreeMap<String, String> = serde_json::from_value(labels)?;
        Ok(matches(&self.selector("namespaceSelector")?, &labels)
            && matches(&self.selector("objectSelector")?, &of_pod))
    }

    /// The pod afterwards.
    fn mutate(&self, namespace: &str, labels: &Value, pod: &Value) -> Result<Value> {
        // As the API server has it before any policy is asked.
        let mut pod = pod.clone();
        if pod.get("metadata").is_none() {
            pod["metadata"] = json!({});
        }
        if !self.selects(namespace, labels, &pod)? {
            return Ok(pod);
        }
        for condition in list(&self.0, "/matchConditions")? {
            if !cel::holds(string(condition, "/expression")?, &[("object", &pod)])? {
                return Ok(pod);
            }
        }
        for mutation in list(&self.0, "/mutations")? {
            let expression = string(mutation, "/applyConfiguration/expression")?;
            merge(&mut pod, &cel::apply_configuration(expression)?);
        }
        Ok(pod)
    }
}

fn with_profile(pod: &Value, profile: &Value) -> Value {
    let mut pod = pod.clone();
    merge(
        &mut pod,
        &json!({"spec": {"securityContext": {"seccompProfile": profile}}}),
    );
    pod
}

#[test]
fn the_policy_decides_on_every_case_as_the_webhook_does_but_where_the_table_says_so() -> Result<()>
{
    let table = Table::read()?;
    let policy = Policy::render(&table.policies[DEFAULT])?;
    let mut decided = [0, 0];
    for case in &table.cases {
        if !case.is_of_default() || case.is_decoded_away() {
            continue;
        }
        let name = &case.name;
        let labels = json!(table.labels(&case.namespace));
        let expected = case.by_policy()?;
        let after = policy.mutate(&case.namespace, &labels, &case.pod)?;
        assert_eq!(after, expected, "{name}");
        let again = policy.mutate(&case.namespace, &labels, &after)?;
        assert_eq!(again, after, "{name}: a second pass");
        decided[usize::from(after["spec"] != case.pod["spec"])] += 1;
    }
    assert!(decided.iter().all(|&count| count >= 20), "{decided:?}");
    Ok(())
}

#[test]
fn the_policy_gives_the_profile_and_selects_what_the_default_policy_says() -> Result<()> {
    let policy = Policy::render(&json!({
        "profile": {"type": "Localhost", "name": "no-chmod"},
        "namespaceSelector": {"matchLabels": {"team": "web"}, "matchExpressions": [{"key": "old", "operator": "DoesNotExist"}]},
        "podSelector": {"matchLabels": {"app": "shop"}},
    }))?;
    let pod =
        json!({"metadata": {"labels": {"app": "shop"}}, "spec": {"containers": [{"name": "c"}]}});
    let web = json!({"team": "web"});
    let profile = json!({"type": "Localhost", "localhostProfile": "profiles/no-chmod.json"});
    assert_eq!(
        policy.mutate("n", &web, &pod)?,
        with_profile(&pod, &profile)
    );
    let mut other = pod.clone();
    other["metadata"]["labels"]["app"] = "bank".into();
    for (labels, pod) in [
        (json!({}), &pod),
        (json!({"team": "web", "old": ""}), &pod),
        (
            json!({"team": "web", "seccomp-operator.io/inject": "disabled"}),
            &pod,
        ),
        (web.clone(), &other),
    ] {
        assert_eq!(&policy.mutate("n", &labels, pod)?, pod, "{labels}");
    }
    assert_eq!(policy.mutate(NAMESPACE, &web, &pod)?, pod, "the release's");
    // The annotation that says the same is no obstacle; another is.
    for (annotation, injected) in [
        ("localhost/profiles/no-chmod.json", true),
        ("runtime/default", false),
    ] {
        let mut pod = pod.clone();
        pod["metadata"]["annotations"] =
            json!({"seccomp.security.alpha.kubernetes.io/pod": annotation});
        assert_eq!(
            policy.mutate("n", &web, &pod)? != pod,
            injected,
            "{annotation}"
        );
    }
    Ok(())
}

#[test]
fn what_the_policy_cannot_do_is_refused_with_a_sentence() -> Result<()> {
    let engine = json!({"engine": "policy"});
    let refused = |default_policy: Value| {
        refusal(&json!({"injection": engine, "defaultPolicy": default_policy}))
    };
    let profile = json!({"type": "RuntimeDefault"});
    for (default_policy, part) in [
        (
            json!({"enabled": false}),
            "there is nothing to inject. Turn defaultPolicy.enabled on",
        ),
        (
            json!({"spec": {"profile": profile, "mode": "Observe"}}),
            "mode Observe",
        ),
        (
            json!({"spec": {"profile": {"type": "Localhost", "name": "web"}, "mode": "Trial"}}),
            "mode Trial",
        ),
        (
            json!({"spec": {"profile": profile, "overrides": ["Unconfined"]}}),
            "overrides",
        ),
        (
            json!({"spec": {"profile": profile, "onConflict": "Deny"}}),
            "onConflict Deny",
        ),
        (
            json!({"spec": {"profile": profile, "images": ["nginx"]}}),
            "images (it gives a profile at pod level)",
        ),
        (
            json!({}),
            "Kubernetes has them since 1.36. Set injection.engine to webhook",
        ),
    ] {
        let refused = refused(default_policy.clone())?;
        assert!(refused.contains(part), "{default_policy}: {refused}");
    }
    assert!(refusal(&json!({"injection": {"engine": "magic"}}))?.contains("injection"));
    Ok(())
}

#[test]
fn only_one_engine_is_ever_installed() -> Result<()> {
    let default = json!({"profile": {"type": "RuntimeDefault"}});
    let kinds = |objects: &[Value], wanted: &str| all(objects, wanted).count();
    for (objects, webhooks, policies) in [
        (render(CURRENT, &json!({}))?, 1, 0),
        (
            render(CURRENT, &json!({"injection": {"engine": "none"}}))?,
            0,
            0,
        ),
        (rendered(POLICIES, &default)?, 0, 1),
    ] {
        assert_eq!(kinds(&objects, "MutatingWebhookConfiguration"), webhooks);
        for kind in ["MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding"] {
            assert_eq!(kinds(&objects, kind), policies);
        }
        // Profiles and policies are checked in any case.
        assert_eq!(kinds(&objects, "ValidatingWebhookConfiguration"), 1);
        // A policy that nobody asks must not look as if it were in force.
        let arguments = args(only(&objects, "Deployment")?)?;
        let kept = arguments
            .iter()
            .any(|arg| arg.starts_with("--default-policy="));
        assert_eq!(kept, webhooks == 1);
        let roles = all(&objects, "ClusterRole");
        let lines: Vec<_> = roles.map(rules).collect::<Result<_>>()?;
        let verbs = lines
            .iter()
            .flatten()
            .find(|line| line.contains("seccomppolicies [default]"))
            .context("no rule")?;
        assert_eq!(verbs.ends_with(": delete"), webhooks == 0, "{verbs}");
    }
    Ok(())
}

#[test]
fn where_only_the_beta_is_served_the_policy_is_of_the_beta() -> Result<()> {
    let objects = rendered(
        &POLICIES.replace("/v1/", "/v1beta1/"),
        &json!({"profile": {"type": "RuntimeDefault"}}),
    )?;
    let policies = objects
        .iter()
        .filter(|object| kind(object).starts_with("MutatingAdmissionPolicy"));
    for object in policies {
        assert_eq!(object["apiVersion"], "admissionregistration.k8s.io/v1beta1");
    }
    Ok(())
}

#[test]
fn the_notes_warn_when_nothing_injects() -> Result<()> {
    let notes = notes(NAMESPACE, &json!({"injection": {"engine": "none"}}))?;
    assert!(notes.contains("injection.engine is none"), "{notes}");
    let output = helm(
        &["template", RELEASE, CHART, "--values", "-"],
        &json!({"injection": {}}),
    )?;
    assert!(output.status.success(), "{}", text(&output.stderr));
    Ok(())
}
