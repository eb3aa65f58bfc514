//! The pods that still run under the file of a policy's trial that is over.

use std::collections::BTreeSet;

use kube::api::ListParams;
use kube::{Api, ResourceExt};

use super::Named;
use crate::Failure;
use crate::cluster::{Cluster, Refusal};
use crate::coverage::effective::Placed;
use crate::coverage::{pods, profiles_dir};
use crate::status::profiles;
use seccomp_operator_api::{Mode, SeccompPolicy, SeccompProfile, StoredProfile, policy_on_trial};
use seccomp_policy::localhost::LocalhostProfile;
use seccomp_policy::patch::stated;

/// In one namespace or in all; none where one may not know of policies.
pub async fn left_pods(cluster: &Cluster, scope: Option<&str>) -> Result<BTreeSet<Named>, Failure> {
    let stored = match profiles(cluster).await {
        Ok(stored) => stored,
        Err(Refusal::Forbidden(_)) => return Ok(BTreeSet::new()),
        Err(refusal) => return Err(refusal.into()),
    };
    let stored: Vec<_> = stored.into_iter().map(StoredProfile::read).collect();
    let is_kept = |profile: &SeccompProfile| policy_on_trial(&profile.metadata).is_some();
    if !stored.iter().flatten().any(is_kept) {
        return Ok(BTreeSet::new());
    }
    let api: Api<SeccompPolicy> = Api::all(cluster.client.clone());
    let kind = "seccomppolicies.seccomp-operator.io";
    let everything = ListParams::default();
    let policies = match cluster.list(&api, &everything, kind, "the cluster").await {
        Ok(policies) => policies,
        Err(Refusal::Forbidden(_)) => return Ok(BTreeSet::new()),
        Err(refusal) => return Err(refusal.into()),
    };
    let profiles: Vec<_> = stored.into_iter().flatten().collect();
    let over = over(&profiles, &policies);
    if over.is_empty() {
        return Ok(BTreeSet::new());
    }
    let dir = profiles_dir(profiles.iter());
    let pods = pods(cluster, scope, None).await?;
    Ok(under(&pods, &over, &dir))
}

/// The profiles that are kept for pods alone: their policy is gone, is another, or is not on trial.
fn over(profiles: &[SeccompProfile], policies: &[SeccompPolicy]) -> BTreeSet<String> {
    let kept = profiles.iter().filter(|profile| {
        let Some((name, uid)) = policy_on_trial(&profile.metadata) else {
            return false;
        };
        let mut policies = policies.iter();
        !policies.any(|policy| {
            let is_it = policy.name_any() == name && policy.uid().as_deref() == Some(uid);
            is_it && policy.spec.mode == Mode::Trial
        })
    });
    kept.map(ResourceExt::name_any).collect()
}

fn under(pods: &[Placed], over: &BTreeSet<String>, dir: &str) -> BTreeSet<Named> {
    let is_under = |placed: &&Placed| {
        let mut stated = stated(&placed.pod, &[]).into_iter();
        stated.any(|(_, profile)| {
            let name = profile
                .and_then(|profile| LocalhostProfile::parse(profile.path()?, dir).into_name());
            name.is_some_and(|name| over.contains(name.as_str()))
        })
    };
    let pods = pods.iter().filter(is_under);
    pods.map(|placed| (placed.namespace.clone(), placed.name.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::coverage::effective::tests::placed;

    #[test]
    fn pods_of_a_trial_that_is_over_are_made_anew_and_others_are_not() {
        let profile = |policy: &str, uid: &str| -> SeccompProfile {
            let owner = json!([{"apiVersion": "seccomp-operator.io/v1alpha1", "kind": "SeccompPolicy", "name": policy, "uid": uid}]);
            let object = json!({"apiVersion": "seccomp-operator.io/v1alpha1", "kind": "SeccompProfile", "spec": {"base": "runtime-default"},
                "metadata": {"name": format!("trial.{policy}"), "ownerReferences": owner}});
            serde_json::from_value(object).unwrap()
        };
        let policy = |name: &str, mode: &str| -> SeccompPolicy {
            let spec = json!({"mode": mode, "profile": {"type": "Localhost", "name": "web"}});
            let object = json!({"apiVersion": "seccomp-operator.io/v1alpha1", "kind": "SeccompPolicy", "spec": spec,
                "metadata": {"name": name, "uid": "1"}});
            serde_json::from_value(object).unwrap()
        };
        let profiles = [
            profile("tried", "1"),
            profile("enforced", "1"),
            profile("anew", "0"),
            profile("gone", "1"),
        ];
        let policies = [
            policy("tried", "Trial"),
            policy("enforced", "Enforce"),
            policy("anew", "Trial"),
        ];
        let over = over(&profiles, &policies);
        let names: Vec<_> = over.iter().map(String::as_str).collect();
        assert_eq!(names, ["trial.anew", "trial.enforced", "trial.gone"]);
        let pod = |name: &str, profile: &str| {
            let profile = json!({"type": "Localhost", "localhostProfile": format!("profiles/{profile}.json")});
            let containers = json!([{"name": "a"}, {"name": "b", "securityContext": {"seccompProfile": profile}}]);
            placed("shop", name, &json!({}), json!({"containers": containers}))
        };
        let pods = [
            pod("a", "trial.tried"),
            pod("b", "trial.enforced"),
            pod("c", "web"),
        ];
        let under = under(&pods, &over, "profiles");
        assert_eq!(under, BTreeSet::from([("shop".to_owned(), "b".to_owned())]));
    }
}
