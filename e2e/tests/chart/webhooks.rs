//! The webhook configurations: what is sent to the operator, and what is not.

use std::collections::BTreeMap;

use anyhow::Result;
use serde_json::json;

use crate::helm::{CURRENT, NAMESPACE, OLDEST, refusal, render};
use crate::objects::{all, arg, args, identity, kind, list, only, rules, string};

#[test]
fn with_cert_manager_the_operator_only_reads_what_cert_manager_makes() -> Result<()> {
    let own = json!({"name": "corp", "kind": "ClusterIssuer"});
    for (issuer, expected) in [
        (
            json!({}),
            json!({"name": "rel-seccomp-operator-webhook", "kind": "Issuer"}),
        ),
        (own.clone(), own),
    ] {
        let values = json!({"webhook": {"certManager": {"enabled": true, "issuerRef": issuer}}});
        let objects = render(CURRENT, &values)?;
        assert_eq!(
            all(&objects, "Issuer").count(),
            usize::from(expected["kind"] == "Issuer")
        );
        let certificate = only(&objects, "Certificate")?;
        assert_eq!(certificate["spec"]["issuerRef"], expected);
        let service = string(only(&objects, "Service")?, "/metadata/name")?;
        let name = format!("{service}.{NAMESPACE}.svc");
        assert_eq!(certificate["spec"]["dnsNames"][0], name.as_str());
        let injected = format!("{NAMESPACE}/{}", string(certificate, "/metadata/name")?);
        for kind in [
            "MutatingWebhookConfiguration",
            "ValidatingWebhookConfiguration",
        ] {
            let annotations = &only(&objects, kind)?["metadata"]["annotations"];
            assert_eq!(
                annotations["cert-manager.io/inject-ca-from"],
                injected.as_str()
            );
        }
        let controller = only(&objects, "Deployment")?;
        assert!(args(controller)?.contains(&"--external-certificates"));
        let secret = arg(controller, "webhook-secret")?;
        assert_eq!(certificate["spec"]["secretName"], secret);
        let granted = objects
            .iter()
            .filter(|object| kind(object).ends_with("Role"))
            .map(rules)
            .collect::<Result<Vec<_>>>()?;
        let touching = |what: &str| {
            let lines = granted.iter().flatten().filter(|line| line.contains(what));
            lines.cloned().collect::<Vec<_>>()
        };
        for line in [touching("secrets"), touching("webhookconfigurations")].concat() {
            for verb in ["create", "update", "patch", "delete"] {
                assert!(!line.contains(verb), "{line}");
            }
        }
        assert!(!touching("secrets").is_empty() && !touching("webhookconfigurations").is_empty());
    }
    let plain = render(CURRENT, &json!({}))?;
    assert_eq!(
        all(&plain, "Certificate").count() + all(&plain, "Issuer").count(),
        0
    );
    for issuer in [json!({"kind": "Issuer"}), json!({"name": ""})] {
        refusal(&json!({"webhook": {"certManager": {"enabled": true, "issuerRef": issuer}}}))?;
    }
    Ok(())
}

#[test]
fn no_release_states_a_ca_bundle() -> Result<()> {
    for version in [OLDEST, CURRENT] {
        for object in render(version, &json!({}))? {
            // A definition may have a field of that name.
            assert!(
                kind(&object) == "CustomResourceDefinition"
                    || !object.to_string().contains("caBundle"),
                "{}",
                identity(&object)?
            );
        }
    }
    Ok(())
}

#[test]
fn pods_are_changed_at_creation_only_and_start_without_the_operator() -> Result<()> {
    let objects = render(CURRENT, &json!({}))?;
    let webhooks = list(only(&objects, "MutatingWebhookConfiguration")?, "/webhooks")?;
    assert_eq!(webhooks.len(), 1);
    let webhook = &webhooks[0];
    for (field, expected) in [
        ("name", json!("pods.seccomp-operator.io")),
        ("admissionReviewVersions", json!(["v1"])),
        ("sideEffects", json!("None")),
        ("failurePolicy", json!("Ignore")),
        ("timeoutSeconds", json!(5)),
        ("matchPolicy", json!("Equivalent")),
        ("reinvocationPolicy", json!("IfNeeded")),
        (
            "rules",
            json!([{
                "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"], "scope": "Namespaced",
            }]),
        ),
    ] {
        assert_eq!(webhook[field], expected, "{field}");
    }
    assert_eq!(webhook["clientConfig"]["service"]["path"], "/mutate");

    let objects = render(
        CURRENT,
        &json!({"webhook": {"mutate": {"failurePolicy": "Fail", "timeoutSeconds": 9}}}),
    )?;
    let webhook = &only(&objects, "MutatingWebhookConfiguration")?["webhooks"][0];
    assert_eq!(
        (&webhook["failurePolicy"], &webhook["timeoutSeconds"]),
        (&json!("Fail"), &json!(9))
    );
    Ok(())
}

#[test]
fn profiles_and_policies_are_checked_at_creation_and_change_and_never_kept_from_going() -> Result<()>
{
    let objects = render(CURRENT, &json!({}))?;
    let mut seen = BTreeMap::new();
    for webhook in list(
        only(&objects, "ValidatingWebhookConfiguration")?,
        "/webhooks",
    )? {
        assert_eq!(webhook["failurePolicy"], "Fail");
        assert_eq!(webhook["timeoutSeconds"], 5);
        assert_eq!(webhook["sideEffects"], "None");
        assert_eq!(webhook["admissionReviewVersions"], json!(["v1"]));
        assert_eq!(webhook["clientConfig"]["service"]["path"], "/validate");
        seen.insert(string(webhook, "/name")?, webhook["rules"].clone());
    }
    let rule = |resource: &str| {
        let scope = if resource == "seccomprecordings" {
            "Namespaced"
        } else {
            "Cluster"
        };
        json!([{
            "apiGroups": ["seccomp-operator.io"], "apiVersions": ["v1alpha1"], "operations": ["CREATE", "UPDATE"],
            "resources": [resource], "scope": scope,
        }])
    };
    let expected = BTreeMap::from([
        ("ceilings.seccomp-operator.io", rule("seccompceilings")),
        ("policies.seccomp-operator.io", rule("seccomppolicies")),
        ("profiles.seccomp-operator.io", rule("seccompprofiles")),
        ("recordings.seccomp-operator.io", rule("seccomprecordings")),
        ("sources.seccomp-operator.io", rule("seccompsources")),
    ]);
    assert_eq!(seen, expected);

    let objects = render(
        CURRENT,
        &json!({"webhook": {"validate": {"failurePolicy": "Ignore"}}}),
    )?;
    for webhook in list(
        only(&objects, "ValidatingWebhookConfiguration")?,
        "/webhooks",
    )? {
        assert_eq!(webhook["failurePolicy"], "Ignore");
    }
    Ok(())
}

/// A controller is not ready, and so not asked, before the default policy is in place: it must not have to check it itself.
#[test]
fn the_operator_s_own_policy_is_not_sent_to_the_operator_and_everything_else_is() -> Result<()> {
    let label = json!({
        "key": "app.kubernetes.io/managed-by", "operator": "NotIn", "values": ["seccomp-operator"],
    });
    for (version, account, selector, user) in [
        (OLDEST, "", json!({"matchExpressions": [label]}), None),
        ("1.29.9", "", json!({"matchExpressions": [label]}), None),
        (
            "1.30.0",
            "",
            json!({}),
            Some("rel-seccomp-operator-controller"),
        ),
        (CURRENT, "mine", json!({}), Some("mine")),
    ] {
        let values = json!({"controller": {"serviceAccount": {"name": account}}});
        let objects = render(version, &values)?;
        let configuration = only(&objects, "ValidatingWebhookConfiguration")?;
        for webhook in list(configuration, "/webhooks")? {
            let own = [
                "ceilings.seccomp-operator.io",
                "policies.seccomp-operator.io",
            ];
            let policies = own.iter().any(|name| webhook["name"] == *name);
            let expected = if policies {
                selector.clone()
            } else {
                json!({})
            };
            assert_eq!(
                webhook["objectSelector"], expected,
                "for Kubernetes {version}"
            );
            let conditions = webhook["matchConditions"].as_array();
            let asked = |username: String, deleted: bool| -> Result<bool> {
                let mut object = json!({"metadata": {"name": "x"}});
                if deleted {
                    object["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
                }
                let request = json!({"userInfo": {"username": username}});
                let variables = [("object", &object), ("request", &request)];
                for condition in conditions.into_iter().flatten() {
                    if !e2e::cel::holds(string(condition, "/expression")?, &variables)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            };
            let own = |user: &str| format!("system:serviceaccount:{NAMESPACE}:{user}");
            // Before match conditions were there, everybody and everything is asked about.
            let user_or_none = user.unwrap_or("nobody");
            assert!(asked("alice".into(), false)?);
            assert_eq!(asked("alice".into(), true)?, user.is_none());
            let of_own = asked(own(user_or_none), false)?;
            assert_eq!(of_own, user.is_none() || !policies, "{version}");
        }
    }
    Ok(())
}

#[test]
fn the_own_namespace_and_kube_system_are_never_injected_into() -> Result<()> {
    for (excluded, expected) in [
        (json!([]), json!(["kube-system", NAMESPACE])),
        (
            json!(["kube-flannel", "kube-system"]),
            json!(["kube-flannel", "kube-system", NAMESPACE]),
        ),
    ] {
        let objects = render(CURRENT, &json!({"excludedNamespaces": excluded}))?;
        let selector =
            &only(&objects, "MutatingWebhookConfiguration")?["webhooks"][0]["namespaceSelector"];
        let by_name =
            json!({"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": expected});
        let by_label = json!({"key": "seccomp-operator.io/inject", "operator": "NotIn", "values": ["disabled"]});
        assert_eq!(selector, &json!({"matchExpressions": [by_name, by_label]}));
        // The server is told the same: Kubernetes 1.20 has no label to select by.
        let told: Vec<_> = arg(only(&objects, "Deployment")?, "excluded-namespaces")?
            .split(',')
            .collect();
        assert_eq!(json!(told), expected);
    }
    Ok(())
}

#[test]
fn pods_are_told_apart_by_their_labels_only_where_namespaces_cannot_be() -> Result<()> {
    for (version, policy, by_label, conditions) in [
        (OLDEST, "Fail", true, false),
        (OLDEST, "Ignore", false, false),
        ("1.21.0", "Fail", false, false),
        ("1.29.9", "Ignore", false, false),
        ("1.30.0-eks-1", "Ignore", false, true),
        (CURRENT, "Fail", false, true),
    ] {
        let values = json!({"webhook": {"mutate": {"failurePolicy": policy}}});
        let objects = render(version, &values)?;
        let webhook = &only(&objects, "MutatingWebhookConfiguration")?["webhooks"][0];
        let selector = &webhook["objectSelector"];
        if by_label {
            let own = json!({"key": "app.kubernetes.io/name", "operator": "NotIn", "values": ["seccomp-operator"]});
            assert_eq!(
                selector,
                &json!({"matchExpressions": [own]}),
                "for Kubernetes {version}"
            );
        } else {
            assert_eq!(selector, &json!({}), "for Kubernetes {version}");
        }
        let names: Vec<_> = webhook["matchConditions"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|condition| condition["name"].clone())
            .collect();
        let expected = if conditions {
            vec!["not-windows", "not-mirror-pod"]
        } else {
            vec![]
        };
        assert_eq!(names, expected, "for Kubernetes {version}");
    }
    Ok(())
}
