//! Removes the start-up taint from nodes whose agent has applied the whole profile list, so that no pod gets there before its profile.
//! The leader does it, and only where the installation asks for it: it takes the right to patch Nodes.

use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{info, warn};

use super::{ControllerError, MANAGER, Shared};
use kube_support::error::chain;
use kube_support::leader::Role;
use kube_support::{JsonPatch, patch_metadata};
use seccomp_operator_api::STARTUP_TAINT;

/// The pause after a write that failed.
const AFTER_FAILURE: Duration = Duration::from_secs(2);

/// Runs for as long as the process lives.
pub async fn run(
    client: &Client,
    shared: &Shared,
    mut role: watch::Receiver<Role>,
) -> Result<(), ControllerError> {
    let api: Api<Node> = Api::all(client.clone());
    loop {
        role.wait_for(|role| *role == Role::Leads).await?;
        let untaint = shared.index().untaint();
        let mut failed = false;
        for (node, places) in untaint {
            match patch_metadata(&api, &node, MANAGER, removal(&places)).await {
                Ok(_) => info!(
                    node,
                    "the node has all profiles; its start-up taint was removed"
                ),
                // The watch brings what it is now.
                Err(error) if error.is_not_found() || error.is_conflict() => {}
                Err(error) => {
                    warn!(
                        node,
                        error = chain(&error),
                        "a node's start-up taint could not be removed"
                    );
                    failed = true;
                }
            }
        }
        tokio::select! {
            () = shared.nodes_changed.notified() => {}
            () = sleep(AFTER_FAILURE), if failed => {}
            changed = role.changed() => changed?,
        }
    }
}

/// Removes the taints at these places, in rising order, unless others are there by now.
fn removal(places: &[usize]) -> JsonPatch {
    let places: Vec<_> = places.iter().map(ToString::to_string).collect();
    let tested = places.iter().fold(JsonPatch::default(), |patch, place| {
        patch.test(&["spec", "taints", place, "key"], STARTUP_TAINT)
    });
    // From the end, so that the others keep their places.
    places.iter().rev().fold(tested, |patch, place| {
        patch.remove(&["spec", "taints", place])
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_patch_removes_the_start_up_taints_and_no_others() {
        let taint = |key: &str| json!({ "key": key, "effect": "NoSchedule" });
        let ours = || taint(STARTUP_TAINT);
        let mut node = json!({ "spec": { "taints": [ours(), taint("x"), ours(), taint("y")] } });
        json_patch::patch(&mut node, removal(&[0, 2]).operations()).unwrap();
        assert_eq!(node["spec"]["taints"], json!([taint("x"), taint("y")]));
        let before = node.clone();
        assert!(json_patch::patch(&mut node, removal(&[0]).operations()).is_err());
        assert!(json_patch::patch(&mut node, removal(&[7]).operations()).is_err());
        assert_eq!(node, before, "others moved into its place");
    }
}
