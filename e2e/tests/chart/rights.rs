//! What RBAC grants to whom.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use serde_json::json;

use crate::helm::{CURRENT, NAMESPACE, render};
use crate::objects::{all, identity, kind, list, rules, string, workloads};

/// The controller's cluster-wide rights without the default policy's.
const CONTROLLER_EVERYWHERE: &[&str] = &[
    "seccomp-operator.io/seccompprofiles: get list watch create patch delete",
    "seccomp-operator.io/seccompprofiles/status: patch",
    "seccomp-operator.io/seccomppolicies: get list watch",
    "seccomp-operator.io/seccomppolicies/status: patch",
    "seccomp-operator.io/seccomprecordings: get list watch",
    "seccomp-operator.io/seccomprecordings/status: patch",
    "seccomp-operator.io/seccomprecordingreports: get list watch patch delete",
    "seccomp-operator.io/seccompdenialreports: get list watch delete",
    "seccomp-operator.io/seccompauditreports: get list watch delete",
    "seccomp-operator.io/seccompnodes: get list watch patch delete",
    "/nodes: get list watch",
    "/namespaces: list watch",
    "admissionregistration.k8s.io/mutatingwebhookconfigurations [rel-seccomp-operator.security]: get list watch patch",
    "admissionregistration.k8s.io/validatingwebhookconfigurations [rel-seccomp-operator.security]: get list watch patch",
];
const CONTROLLER_AT_HOME: &[&str] = &[
    "coordination.k8s.io/leases: create",
    "coordination.k8s.io/leases [rel-seccomp-operator-controller]: get update",
    "/secrets: create",
    "/secrets [rel-seccomp-operator-webhook-ca]: get list watch update",
    "/pods: list watch",
    "apps/daemonsets [rel-seccomp-operator-agent]: list watch",
];
const AGENT_EVERYWHERE: &[&str] = &[
    "seccomp-operator.io/seccompprofiles: list watch",
    "seccomp-operator.io/seccompnodes: list watch create patch",
    "/pods: list watch",
    "/nodes: list watch",
    "/events: create",
];

fn lines(expected: &[&str]) -> BTreeSet<String> {
    expected.iter().map(|&line| line.to_owned()).collect()
}

#[test]
fn the_roles_grant_exactly_what_is_needed() -> Result<()> {
    for default_policy in [true, false] {
        let objects = render(
            CURRENT,
            &json!({"defaultPolicy": {"enabled": default_policy}}),
        )?;
        let mut granted = BTreeMap::new();
        for object in &objects {
            if ["Role", "ClusterRole"].contains(&kind(object)) {
                assert!(object.get("aggregationRule").is_none());
                granted.insert(identity(object)?, rules(object)?);
            }
        }
        let mut everywhere = lines(CONTROLLER_EVERYWHERE);
        let verbs = if default_policy {
            "create patch"
        } else {
            "delete"
        };
        everywhere.insert(format!(
            "seccomp-operator.io/seccomppolicies [default]: {verbs}"
        ));
        let expected = BTreeMap::from([
            (
                "ClusterRole /rel-seccomp-operator-controller.security".to_owned(),
                everywhere,
            ),
            (
                "Role security/rel-seccomp-operator-controller".to_owned(),
                lines(CONTROLLER_AT_HOME),
            ),
            (
                "ClusterRole /rel-seccomp-operator-agent.security".to_owned(),
                lines(AGENT_EVERYWHERE),
            ),
        ]);
        assert_eq!(granted, expected);
    }
    Ok(())
}

#[test]
fn no_role_has_a_wildcard_or_may_write_what_users_own() -> Result<()> {
    for object in render(CURRENT, &json!({}))? {
        if !["Role", "ClusterRole"].contains(&kind(&object)) {
            continue;
        }
        // The finalizer that keeps a profile in use is on the profile itself, and the profiles of recordings are made and removed: RBAC
        // knows no smaller right for either.
        let may_write_profiles =
            identity(&object)? == "ClusterRole /rel-seccomp-operator-controller.security";
        for rule in list(&object, "/rules")? {
            assert!(!rule.to_string().contains('*'), "{rule}");
            let has = |field: &str, value: &str| {
                rule[field]
                    .as_array()
                    .is_some_and(|values| values.contains(&json!(value)))
            };
            for verb in [
                "create",
                "update",
                "patch",
                "delete",
                "deletecollection",
                "escalate",
                "bind",
                "impersonate",
            ] {
                let excused = may_write_profiles && ["create", "patch", "delete"].contains(&verb);
                assert!(
                    !(has("resources", "seccompprofiles") && has("verbs", verb)) || excused,
                    "{rule}"
                );
                let other_policies = has("resources", "seccomppolicies")
                    && rule["resourceNames"] != json!(["default"]);
                assert!(!(other_policies && has("verbs", verb)), "{rule}");
            }
        }
    }
    Ok(())
}

#[test]
fn each_account_gets_its_own_roles_and_only_pods_mount_its_token() -> Result<()> {
    let objects = render(CURRENT, &json!({}))?;
    let mut bound = BTreeSet::new();
    for binding in objects
        .iter()
        .filter(|object| ["RoleBinding", "ClusterRoleBinding"].contains(&kind(object)))
    {
        for subject in list(binding, "/subjects")? {
            assert_eq!(
                (&subject["kind"], &subject["namespace"]),
                (&json!("ServiceAccount"), &json!(NAMESPACE))
            );
            let account = string(subject, "/name")?;
            bound.insert(format!(
                "{account}: {} {}",
                string(binding, "/roleRef/kind")?,
                string(binding, "/roleRef/name")?
            ));
        }
    }
    let expected = lines(&[
        "rel-seccomp-operator-agent: ClusterRole rel-seccomp-operator-agent.security",
        "rel-seccomp-operator-controller: ClusterRole rel-seccomp-operator-controller.security",
        "rel-seccomp-operator-controller: Role rel-seccomp-operator-controller",
    ]);
    assert_eq!(bound, expected);
    for account in all(&objects, "ServiceAccount") {
        assert_eq!(account["automountServiceAccountToken"], false);
    }
    for (component, workload) in workloads(&objects)? {
        let pod = &workload["spec"]["template"]["spec"];
        assert_eq!(pod["automountServiceAccountToken"], true, "{component}");
        assert_eq!(
            pod["serviceAccountName"],
            format!("rel-seccomp-operator-{component}")
        );
    }
    Ok(())
}
