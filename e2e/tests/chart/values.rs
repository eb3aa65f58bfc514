//! The schema of the values: what it takes, and what it refuses.

use anyhow::Result;
use serde_json::{Value, json};

use crate::helm::{CURRENT, refusal, render};
use crate::objects::{file, yaml_file};

#[test]
fn the_schema_accepts_the_defaults_and_what_a_parent_chart_adds() -> Result<()> {
    let defaults = yaml_file("values.yaml")?;
    render(CURRENT, &defaults)?;
    render(
        CURRENT,
        &json!({"global": {"imageRegistry": "x"}, "enabled": true}),
    )?;
    render(
        CURRENT,
        &json!({"agent": {"resources": {"limits": {"cpu": 0.5, "memory": "1Gi"}, "requests": {"cpu": "100m"}}}}),
    )?;
    Ok(())
}

#[test]
fn the_schema_knows_every_key_of_every_object_it_describes() -> Result<()> {
    fn open(path: &str, schema: &Value, found: &mut Vec<String>) {
        if schema["type"] == "object"
            && schema["properties"].is_object()
            && schema["additionalProperties"] != false
        {
            found.push(path.to_owned());
        }
        let list = schema.as_array().into_iter().flatten().enumerate();
        let inner = list.map(|(index, schema)| (index.to_string(), schema));
        let map = schema.as_object().into_iter().flatten();
        for (key, schema) in inner.chain(map.map(|(key, schema)| (key.clone(), schema))) {
            open(&format!("{path}/{key}"), schema, found);
        }
    }
    let mut found = Vec::new();
    open(
        "",
        &serde_json::from_str(&file("values.schema.json")?)?,
        &mut found,
    );
    assert_eq!(
        found,
        Vec::<String>::new(),
        "objects that take unknown keys"
    );
    Ok(())
}

/// `{"a": {"b": value}}` for `a.b`.
fn at(path: &str, value: &Value) -> Value {
    path.rsplit('.')
        .fold(value.clone(), |value, key| json!({ key: value }))
}

#[test]
fn the_schema_refuses_wrong_values_and_names_the_field() -> Result<()> {
    let long = "n".repeat(53);
    for (path, value) in [
        ("replicas", json!(2)),
        ("nameOverride", json!("Upper")),
        ("fullnameOverride", json!(long)),
        ("fullnameOverride", json!("1st")),
        ("commonLabels.team", json!("not a label")),
        ("image", json!("x:y")),
        ("image.name", json!("x")),
        ("image.repository", json!("")),
        ("image.repository", json!("a/b:tag")),
        ("image.tag", json!(1.2)),
        ("image.digest", json!("sha256:12")),
        ("image.pullPolicy", json!("Sometimes")),
        ("imagePullSecrets", json!(["name"])),
        ("crds.keep", json!("yes")),
        ("crds.install", json!(true)),
        ("kubeletDir", json!("var/lib/kubelet")),
        ("kubeletDir", json!("/var/lib/kubelet/")),
        ("kubeletDir", json!("/var/lib/../../etc")),
        ("kubeletDir", json!("/")),
        ("profilesDir", json!("/profiles")),
        ("profilesDir", json!("a/../b")),
        ("excludedNamespaces", json!("kube-flannel")),
        ("excludedNamespaces", json!(["a,b"])),
        ("defaultPolicy.spec.profile.type", json!("Default")),
        ("defaultPolicy.spec.profile", json!({"type": "Localhost"})),
        ("defaultPolicy.spec.profile.name", json!("no-chmod")),
        ("defaultPolicy.spec.mode", json!("Warn")),
        ("defaultPolicy.spec.priority", json!(2_147_483_648_u64)),
        ("defaultPolicy.spec.selector", json!({})),
        ("ceiling.spec.action", json!("Refuse")),
        ("ceiling.spec.profile", json!("runtime-default")),
        ("ceiling.spec.mode", json!("Enforce")),
        ("log.format", json!("logfmt")),
        ("log.filter", json!("")),
        ("log.reloadable", json!("yes")),
        ("monitoring.enabled", json!(true)),
        ("monitoring.podMonitor.enabled", json!("yes")),
        ("monitoring.podMonitor.interval", json!("30")),
        ("monitoring.serviceMonitor.labels", json!(["release"])),
        ("monitoring.serviceMonitor.relabelings", json!({})),
        ("monitoring.prometheusRule.disabled", json!(["Other"])),
        ("monitoring.dashboard.namespace", json!("grafana")),
        ("networkPolicy.metricsFrom", json!(["monitoring"])),
        (
            "networkPolicy.apiServer.to",
            json!([{"cidr": "10.0.0.1/32"}]),
        ),
        ("networkPolicy.apiServer.ports", json!([])),
        ("agent.annotations.note", json!(1)),
        ("webhook.failurePolicy", json!("Ignore")),
        ("webhook.containerPort", json!(443)),
        ("webhook.mutate.failurePolicy", json!("fail")),
        ("webhook.mutate.timeoutSeconds", json!(31)),
        ("webhook.validate.timeoutSeconds", json!(0)),
        ("controller.replicas", json!(0)),
        ("controller.replicas", json!("2")),
        ("controller.image.tag", json!("a b")),
        ("controller.resources.memory", json!("64Mi")),
        ("controller.resources.limits.memory", json!("64 MB")),
        ("controller.serviceAccount", json!({"create": false})),
        ("controller.updateStrategy.type", json!("OnDelete")),
        (
            "controller.updateStrategy.rollingUpdate.maxSurge",
            json!("110%"),
        ),
        (
            "controller.topologySpreadConstraints",
            json!([{"topologyKey": "zone"}]),
        ),
        ("controller.podDisruptionBudget.minAvailable", json!(1)),
        ("controller.seLinuxOptions", json!({})),
        ("agent.hostNetwork", json!(true)),
        ("agent.replicas", json!(3)),
        ("agent.securityContext", json!({"privileged": true})),
        ("agent.tolerations", json!([{"operator": "Exist"}])),
        ("agent.nodeSelector.gpu", json!(true)),
        ("agent.affinity.podAffinities", json!({})),
        ("agent.extraArgs", json!("--more")),
        ("agent.extraEnv", json!([{"value": "x"}])),
        ("agent.healthPort", json!(70_000)),
    ] {
        let message = refusal(&at(path, &value))?;
        assert!(message.contains("schema"), "{path} {value}: {message}");
        // All keys of the path: helm says `at '/image/tag'`, and for an unknown key the object and the key.
        for key in path.split('.') {
            assert!(message.contains(key), "{path} {value}: {message}");
        }
    }
    Ok(())
}
