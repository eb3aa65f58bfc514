//! Takes back what blocks have made and changed, found by their marks.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::plan::{Change, MADE, MARK, marked};
use super::{BlockArgs, apply, named, names};
use crate::ask::confirmed;
use crate::cluster::Cluster;
use crate::restart::{Named, outdated_pods, renew};
use crate::status::profiles;
use crate::{Failure, Findings, coverage, output};
use kube::api::{DeleteParams, ListParams};
use kube::{Api, ResourceExt};
use seccomp_operator_api::{SeccompPolicy, SeccompProfile};
use seccomp_policy::localhost::LocalhostProfile;

/// What is taken back.
#[derive(Debug, Default, PartialEq)]
pub struct Undo {
    /// These policies and profiles were made, and go.
    pub policies: Vec<String>,
    pub profiles: Vec<String>,
    /// These were changed, and become this.
    pub changed: Vec<SeccompProfile>,
}

/// Finds what blocks have made and changed. What somebody has put into `deny` besides stays.
pub fn undo(profiles: &[SeccompProfile], policies: &[SeccompPolicy]) -> Undo {
    let is_made = |labels: &std::collections::BTreeMap<String, String>| {
        labels.get(MARK).is_some_and(|value| value == MADE)
    };
    let mut undo = Undo::default();
    let made = policies.iter().filter(|policy| is_made(policy.labels()));
    undo.policies = made.map(ResourceExt::name_any).collect();
    for profile in profiles {
        if is_made(profile.labels()) {
            undo.profiles.push(profile.name_any());
        } else if profile.annotations().contains_key(MARK) {
            let mut changed = profile.clone();
            for entry in marked(profile) {
                let deny = &mut changed.spec.deny;
                if let Some(at) = deny.iter().rposition(|found| *found == entry) {
                    deny.remove(at);
                }
            }
            undo.changed.push(changed);
        }
    }
    undo
}

/// Shows, asks, and takes back.
pub async fn run(cluster: &Cluster, args: &BlockArgs) -> Result<Findings, Failure> {
    let stored = profiles(cluster).await?.into_iter();
    let stored: Vec<_> = stored.filter_map(|profile| profile.read().ok()).collect();
    let api: Api<SeccompPolicy> = Api::all(cluster.client.clone());
    let kind = "seccomppolicies.seccomp-operator.io";
    let everything = ListParams::default();
    let policies = cluster.list(&api, &everything, kind, "the cluster").await?;
    let undo = undo(&stored, &policies);
    if undo == Undo::default() {
        output::print("Nothing is blocked.\n")?;
        return Ok(Findings::None);
    }
    let mut text = String::new();
    for name in &undo.policies {
        let _ = writeln!(text, "SeccompPolicy {name} goes");
    }
    for profile in &undo.changed {
        let entries = marked(profile).len();
        let _ = writeln!(
            text,
            "SeccompProfile {}: deny loses {entries} of its entries",
            profile.name_any()
        );
    }
    for name in &undo.profiles {
        let _ = writeln!(text, "SeccompProfile {name} goes, once no pod uses it");
    }
    output::print(text)?;
    if args.dry_run {
        return Ok(Findings::None);
    }
    if !args.yes && !confirmed("Take this back?", "to take it back")? {
        return Err(Failure::Usage("nothing was changed".into()));
    }
    let users = users(cluster, &undo.profiles).await?;
    take_back(cluster, &undo, args).await?;
    if !args.restart {
        eprintln!("Running pods keep what they were created with; --restart makes them anew.");
        return Ok(Findings::None);
    }
    let mut wanted = outdated_pods(cluster, None).await?;
    wanted.extend(users);
    let lines = renew(cluster, &wanted, None, args.timeout).await?;
    Ok(if lines.is_empty() {
        Findings::None
    } else {
        Findings::Some(lines)
    })
}

/// The policies first: no new pod gets what is about to go.
async fn take_back(cluster: &Cluster, undo: &Undo, args: &BlockArgs) -> Result<(), Failure> {
    let now = DeleteParams::default();
    let policies: Api<SeccompPolicy> = Api::all(cluster.client.clone());
    for name in &undo.policies {
        let gone = policies.delete(name, &now).await;
        gone.map_err(|error| apply::refused::<SeccompPolicy>(name, "delete", &error))?;
    }
    let api: Api<SeccompProfile> = Api::all(cluster.client.clone());
    for profile in &undo.changed {
        let mut change = profile.clone();
        change.annotations_mut().remove(MARK);
        let change = Change::Changed(change);
        apply::write(&api, &change, apply::deny).await?;
    }
    for name in &undo.profiles {
        let gone = api.delete(name, &now).await;
        gone.map_err(|error| apply::refused::<SeccompProfile>(name, "delete", &error))?;
    }
    let changed = names(&undo.changed);
    apply::await_ready(cluster, &changed, None, args.timeout).await?;
    tokio::time::sleep(apply::HEARD).await;
    if !changed.is_empty() {
        eprintln!("{} as before on all nodes", named(&changed));
    }
    Ok(())
}

/// The pods that use these profiles.
async fn users(cluster: &Cluster, profiles: &[String]) -> Result<BTreeSet<Named>, Failure> {
    let mut notes = Vec::new();
    let known = coverage::known(cluster, &mut notes).await?;
    let pods = coverage::pods(cluster, None, None).await?;
    let uses = pods.iter().filter(|placed| {
        let spec = &placed.pod.spec;
        let at_containers = spec
            .all_containers()
            .filter_map(|container| container.profile());
        let all = spec.profile().into_iter().chain(at_containers);
        let mut names = all.filter_map(|profile| {
            LocalhostProfile::parse(profile.path()?, &known.profiles_dir).into_name()
        });
        names.any(|name| profiles.iter().any(|profile| profile == name.as_str()))
    });
    Ok(uses
        .map(|placed| (placed.namespace.clone(), placed.name.clone()))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn profile(json: serde_json::Value) -> SeccompProfile {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn what_was_made_goes_and_what_was_changed_loses_what_it_got() {
        let alg =
            json!({"name": "socket", "args": [{"index": 0, "op": "SCMP_CMP_EQ", "value": 38}]});
        let object = |name: &str, metadata: serde_json::Value, deny: serde_json::Value| {
            let mut object = json!({"apiVersion": "seccomp-operator.io/v1alpha1", "kind": "SeccompProfile",
                "metadata": metadata, "spec": {"base": "runtime-default", "deny": deny}});
            object["metadata"]["name"] = name.into();
            profile(object)
        };
        let mark = json!([alg, "keyctl"]).to_string();
        let profiles = [
            object(
                "emergency-block",
                json!({"labels": {MARK: MADE}, "annotations": {MARK: mark}}),
                json!([alg, "keyctl"]),
            ),
            // Somebody has taken keyctl out, and put bpf in.
            object(
                "web",
                json!({"annotations": {MARK: mark}}),
                json!(["@chmod", alg, "bpf"]),
            ),
            object("other", json!({}), json!([alg])),
        ];
        let policy: SeccompPolicy = serde_json::from_value(json!({"apiVersion": "seccomp-operator.io/v1alpha1", "kind": "SeccompPolicy",
            "metadata": {"name": "emergency-block", "labels": {MARK: MADE}}, "spec": {"profile": {"type": "RuntimeDefault"}}})).unwrap();
        let undo = undo(&profiles, &[policy]);
        assert_eq!(undo.policies, ["emergency-block"]);
        assert_eq!(undo.profiles, ["emergency-block"]);
        let [web] = &undo.changed[..] else {
            panic!("{undo:?}");
        };
        assert_eq!(web.name_any(), "web");
        assert_eq!(web.spec.deny, [json!("@chmod"), json!("bpf")]);
    }
}
