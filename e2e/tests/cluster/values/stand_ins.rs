//! What other projects bring to a cluster, as far as the chart needs it: their definitions, and certificates as cert-manager gives them.

use anyhow::Context as _;
use e2e::cluster::{Cluster, NAMESPACE};
use e2e::command::kubectl;
use k8s_openapi::ByteString;
use serde_json::{Value, json};

use crate::Tested;

/// The definitions of the kinds that the chart may make, which take anything.
const KINDS: &[(&str, &str, &str)] = &[
    ("monitoring.coreos.com", "podmonitors", "PodMonitor"),
    ("monitoring.coreos.com", "servicemonitors", "ServiceMonitor"),
    ("monitoring.coreos.com", "prometheusrules", "PrometheusRule"),
    ("cert-manager.io", "certificates", "Certificate"),
];

fn definition(group: &str, plural: &str, kind: &str) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": format!("{plural}.{group}")},
        "spec": {
            "group": group, "scope": "Namespaced", "names": {"plural": plural, "singular": kind.to_lowercase(), "kind": kind},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
            }],
        },
    })
}

pub async fn define(cluster: &Cluster) -> Tested {
    let definitions = KINDS
        .iter()
        .map(|(group, plural, kind)| definition(group, plural, kind).to_string());
    cluster
        .apply(&definitions.collect::<Vec<_>>().join("\n---\n"))
        .await?;
    for (group, plural, _) in KINDS {
        let name = format!("crd/{plural}.{group}");
        let wait = [
            "wait",
            "--for=condition=Established",
            "--timeout=30s",
            &name,
        ];
        kubectl(&wait, "").await?.ok()?;
    }
    Ok(())
}

pub async fn undefine(cluster: &Cluster) -> Tested {
    for (group, plural, _) in KINDS {
        cluster.delete("crd", &format!("{plural}.{group}")).await?;
    }
    Ok(())
}

/// Gives every Certificate of the operator's namespace its Secret, and the webhook configurations that name it the authority.
pub async fn issue_certificates(cluster: &Cluster) -> Tested {
    let list = cluster
        .get(&["certificates.cert-manager.io", "--namespace", NAMESPACE])
        .await?;
    let certificates = list.data["items"].as_array().context("no list")?;
    let certificate = certificates
        .first()
        .context("there is no Certificate yet")?;
    let name = certificate["metadata"]["name"]
        .as_str()
        .context("no name")?;
    let secret = certificate["spec"]["secretName"]
        .as_str()
        .context("no secret")?;
    let hosts: Vec<String> = serde_json::from_value(certificate["spec"]["dnsNames"].clone())?;
    let made = rcgen::generate_simple_self_signed(hosts)?;
    let (cert, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": {"name": secret, "namespace": NAMESPACE},
        "stringData": {"ca.crt": cert, "tls.crt": cert, "tls.key": key},
    });
    cluster.apply(&secret.to_string()).await?;
    let authority = serde_json::to_value(ByteString(cert.clone().into_bytes()))?;
    for kind in [
        "mutatingwebhookconfigurations",
        "validatingwebhookconfigurations",
    ] {
        let list = cluster.get(&[kind]).await?;
        for configuration in list.data["items"].as_array().into_iter().flatten() {
            let wants = &configuration["metadata"]["annotations"]["cert-manager.io/inject-ca-from"];
            if wants.as_str() != Some(&format!("{NAMESPACE}/{name}")) {
                continue;
            }
            let webhooks = configuration["webhooks"].as_array().map_or(0, Vec::len);
            let patch: Vec<_> = (0..webhooks)
                .map(|at| json!({"op": "add", "path": format!("/webhooks/{at}/clientConfig/caBundle"), "value": authority}))
                .collect();
            let object = configuration["metadata"]["name"]
                .as_str()
                .unwrap_or_default();
            let patch = json!(patch).to_string();
            kubectl(
                &["patch", kind, object, "--type=json", "--patch", &patch],
                "",
            )
            .await?
            .ok()?;
        }
    }
    Ok(())
}
