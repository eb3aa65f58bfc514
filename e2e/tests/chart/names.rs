//! What objects are called and what points at them, whatever the release is called.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::helm::{CURRENT, NAMESPACE, RELEASE, render, render_as};
use crate::objects::{all, arg, identity, list, only, string, workloads};

#[test]
fn releases_in_one_cluster_share_no_object() -> Result<()> {
    let long = "a-release-whose-name-is-as-long-as-helm-allows-it-to-";
    assert_eq!(long.len(), 53);
    let twin = format!("{}x", &long[..52]);
    let long = format!("{}y", &long[..52]);
    let mut owners: BTreeMap<String, (&str, &str)> = BTreeMap::new();
    for (release, namespace) in [
        ("one", "first"),
        ("two", "first"),
        ("one", "second"),
        ("seccomp-operator", "first"),
        ("seccomp-operator", "seccomp-operator"),
        (&long, "first"),
        (&twin, "first"),
    ] {
        // The definitions are there once in a cluster, whoever brings them.
        let objects = render_as(
            release,
            namespace,
            CURRENT,
            &json!({"crds": {"enabled": false}}),
        )?;
        let controller = only(&objects, "Deployment")?;
        let mut names = objects.iter().map(identity).collect::<Result<Vec<_>>>()?;
        // Not in the release, but made by its controller.
        names.push(format!(
            "Secret {namespace}/{}",
            arg(controller, "webhook-secret")?
        ));
        names.push(format!(
            "Lease {namespace}/{}",
            arg(controller, "lease-name")?
        ));
        for name in names {
            let other = owners.insert(name.clone(), (release, namespace));
            assert_eq!(other, None, "{release} in {namespace} has the same {name}");
        }
    }
    Ok(())
}

#[test]
fn names_stay_within_their_limits_whatever_the_release_is_called() -> Result<()> {
    // The second makes names that are too long only with their suffixes.
    let (long, longish) = ("r".repeat(53), "r".repeat(42));
    for release in [
        long.as_str(),
        longish.as_str(),
        "1",
        "1password",
        "true",
        "a.b.c",
        "seccomp-operator",
    ] {
        for namespace in ["n".repeat(63).as_str(), "123", "null"] {
            let objects = render_as(release, namespace, CURRENT, &json!({}))?;
            for object in &objects {
                let name = string(object, "/metadata/name")?;
                let limit = if object["metadata"]["namespace"].is_null() {
                    253
                } else {
                    63
                };
                assert!(name.len() <= limit, "{}", identity(object)?);
                if let Some(stated) = object["metadata"].get("namespace") {
                    assert_eq!(stated, namespace);
                    let label = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
                    assert!(name.chars().all(label), "{name} is no DNS label");
                    // A Service's name may not begin with a digit.
                    assert!(name.starts_with(|c: char| c.is_ascii_lowercase()), "{name}");
                }
                for (label, value) in object["metadata"]["labels"]
                    .as_object()
                    .into_iter()
                    .flatten()
                {
                    let value = value
                        .as_str()
                        .with_context(|| format!("{label} of {name} is no string"))?;
                    assert!(value.len() <= 63, "{label} of {name}");
                }
            }
            let controller = only(&objects, "Deployment")?;
            for flag in ["webhook-secret", "lease-name"] {
                assert!(arg(controller, flag)?.len() <= 63, "{flag}");
            }
        }
    }
    Ok(())
}

#[test]
fn what_points_at_an_object_points_at_one_of_the_release() -> Result<()> {
    let long = "r".repeat(53);
    for release in [RELEASE, &long] {
        let objects = render_as(release, NAMESPACE, CURRENT, &json!({}))?;
        let name = |kind: &'static str| string(only(&objects, kind)?, "/metadata/name");
        let controller = only(&objects, "Deployment")?;
        assert_eq!(
            arg(controller, "mutating-webhook-configuration")?,
            name("MutatingWebhookConfiguration")?
        );
        assert_eq!(
            arg(controller, "validating-webhook-configuration")?,
            name("ValidatingWebhookConfiguration")?
        );
        assert_eq!(arg(controller, "webhook-service")?, name("Service")?);
        for configuration in [
            "MutatingWebhookConfiguration",
            "ValidatingWebhookConfiguration",
        ] {
            for webhook in list(only(&objects, configuration)?, "/webhooks")? {
                let service = &webhook["clientConfig"]["service"];
                assert_eq!(service["name"], name("Service")?);
                assert_eq!(service["namespace"], NAMESPACE);
                assert_eq!(
                    service["port"],
                    only(&objects, "Service")?["spec"]["ports"][0]["port"]
                );
            }
        }
        for (component, workload) in workloads(&objects)? {
            let account = string(workload, "/spec/template/spec/serviceAccountName")?;
            assert!(
                all(&objects, "ServiceAccount").any(|object| object["metadata"]["name"] == account),
                "{component}"
            );
        }
    }
    Ok(())
}

#[test]
fn selectors_select_the_pods_of_one_component_only() -> Result<()> {
    // The user's labels must not be able to change what is selected.
    let labels = json!({"app.kubernetes.io/component": "mine", "extra": "label"});
    let objects = render(
        CURRENT,
        &json!({"controller": {"podLabels": labels}, "agent": {"podLabels": labels}}),
    )?;
    let [(_, controller), (_, agent)] = workloads(&objects)?;
    let selects = |selector: &Value, workload: &Value| {
        let labels = &workload["spec"]["template"]["metadata"]["labels"];
        selector
            .as_object()
            .is_some_and(|selector| selector.iter().all(|(key, value)| labels[key] == *value))
    };
    for (selector, selected, other) in [
        (
            &controller["spec"]["selector"]["matchLabels"],
            controller,
            agent,
        ),
        (&agent["spec"]["selector"]["matchLabels"], agent, controller),
        (
            &only(&objects, "Service")?["spec"]["selector"],
            controller,
            agent,
        ),
        (
            &only(&objects, "PodDisruptionBudget")?["spec"]["selector"]["matchLabels"],
            controller,
            agent,
        ),
        (
            &controller["spec"]["template"]["spec"]["topologySpreadConstraints"][0]["labelSelector"]
                ["matchLabels"],
            controller,
            agent,
        ),
        (
            &controller["spec"]["template"]["spec"]["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
                [0]["podAffinityTerm"]["labelSelector"]["matchLabels"],
            controller,
            agent,
        ),
    ] {
        assert!(
            selects(selector, selected),
            "{selector} does not select its pods"
        );
        assert!(
            !selects(selector, other),
            "{selector} selects the other component's pods"
        );
        assert!(
            selector.get("app.kubernetes.io/version").is_none(),
            "{selector} would change with the version"
        );
    }
    assert_eq!(
        agent["spec"]["template"]["metadata"]["labels"]["extra"],
        "label"
    );
    let flag: serde_json::Map<_, _> = arg(controller, "agent-selector")?
        .split(',')
        .filter_map(|pair| pair.split_once('='))
        .map(|(key, value)| (key.to_owned(), json!(value)))
        .collect();
    assert_eq!(
        Value::Object(flag),
        agent["spec"]["selector"]["matchLabels"]
    );
    Ok(())
}
