//! Profiles from registries: nothing of it is there before somebody asks for it.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::helm::{CURRENT, NAMESPACE, OLDEST, render};
use crate::objects::{args, identity, only, rules};

const CONTROLLER: &str = "rel-seccomp-operator-controller";

fn find<'a>(objects: &'a [Value], kind: &str, place: &str, name: &str) -> Result<&'a Value> {
    let wanted = format!("{kind} {place}/{name}");
    let is_it = |object: &&Value| identity(object).is_ok_and(|identity| identity == wanted);
    objects
        .iter()
        .find(is_it)
        .with_context(|| format!("no {wanted}"))
}

fn more(one: &BTreeSet<String>, other: &BTreeSet<String>) -> BTreeSet<String> {
    one.difference(other).cloned().collect()
}

#[test]
fn the_controller_reads_secrets_and_asks_registries_only_if_it_is_to() -> Result<()> {
    let on = json!({"sources": {"enabled": true}});
    for version in [OLDEST, CURRENT] {
        let (without, with) = (render(version, &json!({}))?, render(version, &on)?);
        let asks = |objects: &[Value]| -> Result<bool> {
            let controller = only(objects, "Deployment")?;
            Ok(args(controller)?.contains(&"--sources"))
        };
        assert_eq!((asks(&without)?, asks(&with)?), (false, true));
        let cluster_role = |objects: &[Value]| {
            let name = format!("{CONTROLLER}.{NAMESPACE}");
            rules(find(objects, "ClusterRole", "", &name)?)
        };
        let role = |objects: &[Value]| rules(find(objects, "Role", NAMESPACE, CONTROLLER)?);
        let (before, after) = (cluster_role(&without)?, cluster_role(&with)?);
        let cluster = [
            "/events: create",
            "seccomp-operator.io/seccompsources/status: patch",
            "seccomp-operator.io/seccompsources: get list watch",
        ];
        assert_eq!(more(&after, &before), cluster.map(str::to_owned).into());
        // In its own namespace alone.
        let (before, after) = (role(&without)?, role(&with)?);
        assert_eq!(more(&after, &before), ["/secrets: get".to_owned()].into());
        assert!(before.iter().all(|rule| !rule.contains("seccompsources")));
    }
    Ok(())
}

#[test]
fn with_network_policies_the_controller_reaches_registries_and_dns_only_if_it_is_to() -> Result<()>
{
    let egress = |values: &Value| -> Result<Value> {
        let objects = render(CURRENT, values)?;
        let of = |name: &str| find(&objects, "NetworkPolicy", NAMESPACE, name);
        let (policy, agent) = (of(CONTROLLER)?, of("rel-seccomp-operator-agent")?);
        assert_eq!(agent["spec"]["egress"].as_array().map(Vec::len), Some(1));
        Ok(policy["spec"]["egress"].clone())
    };
    let closed = egress(&json!({"networkPolicy": {"enabled": true}}))?;
    assert_eq!(closed.as_array().map(Vec::len), Some(1));
    let registry = json!({"ipBlock": {"cidr": "10.1.2.3/32"}});
    let open = egress(&json!({
        "networkPolicy": {"enabled": true, "registries": {"to": [registry], "ports": [5000]}}, "sources": {"enabled": true},
    }))?;
    assert_eq!(open[0], closed[0]);
    assert_eq!(
        open[1],
        json!({"to": [registry], "ports": [{"protocol": "TCP", "port": 5000}]})
    );
    assert_eq!(
        open[2],
        json!({"ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]})
    );
    Ok(())
}
