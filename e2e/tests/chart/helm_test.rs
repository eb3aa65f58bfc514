//! What `helm test` makes: a profile, and a pod that runs under it.

use anyhow::Result;
use serde_json::{Value, json};

use crate::helm::{CURRENT, render};
use crate::objects::{all, string};

#[test]
fn helm_test_runs_a_pod_under_a_profile_of_its_own_as_agents_do() -> Result<()> {
    let values = json!({"profilesDir": "own", "agent": {"tolerations": [{"key": "own"}], "image": {"tag": "other"}}});
    let objects = render(CURRENT, &values)?;
    let test = |kind: &'static str| {
        let mut found = all(&objects, kind);
        found.next().cloned().unwrap_or_default()
    };
    let (profile, pod) = (test("SeccompProfile"), test("Pod"));
    for (object, weight) in [(&profile, "0"), (&pod, "1")] {
        let annotations = &object["metadata"]["annotations"];
        assert_eq!(annotations["helm.sh/hook"], "test");
        assert_eq!(annotations["helm.sh/hook-weight"], weight);
    }
    let file = format!("own/{}.json", string(&profile, "/metadata/name")?);
    assert_eq!(
        pod["spec"]["securityContext"]["seccompProfile"]["localhostProfile"],
        file
    );
    let agent = test("DaemonSet");
    let stated = &agent["spec"]["template"]["spec"];
    assert_ne!(stated["nodeSelector"], Value::Null);
    assert_eq!(pod["spec"]["nodeSelector"], stated["nodeSelector"]);
    // It waits for the taint of a node whose agent is not ready.
    assert_eq!(pod["spec"]["tolerations"], json!([{"key": "own"}]));
    assert_eq!(
        pod["spec"]["containers"][0]["image"],
        stated["containers"][0]["image"]
    );
    Ok(())
}
