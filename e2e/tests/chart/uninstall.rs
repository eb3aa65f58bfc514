//! The job that runs before the release goes.

use anyhow::Result;
use serde_json::{Value, json};

use crate::helm::{CURRENT, render};
use crate::objects::{arg, args, container, only};

#[test]
fn before_the_release_goes_a_job_lets_go_of_the_profiles() -> Result<()> {
    let values = json!({"controller": {"tolerations": [{"key": "own"}]}, "agent": {"image": {"tag": "other"}}});
    let objects = render(CURRENT, &values)?;
    let (job, controller) = (only(&objects, "Job")?, only(&objects, "Deployment")?);
    assert_eq!(job["metadata"]["annotations"]["helm.sh/hook"], "pre-delete");
    assert_eq!(
        args(job)?,
        [
            "release",
            "--namespace=$(POD_NAMESPACE)",
            "--identity=$(POD_NAME)",
            "--lease-name=rel-seccomp-operator-controller",
            "--log-format=json",
        ]
    );
    // It is the controller in all but its task.
    assert_eq!(arg(job, "lease-name")?, arg(controller, "lease-name")?);
    for field in [
        "serviceAccountName",
        "securityContext",
        "tolerations",
        "nodeSelector",
    ] {
        let stated = |workload: &Value| workload["spec"]["template"]["spec"][field].clone();
        assert_eq!(stated(job), stated(controller), "{field}");
        assert!(!stated(job).is_null(), "{field}");
    }
    for field in ["image", "imagePullPolicy", "resources", "securityContext"] {
        assert_eq!(
            container(job)?[field],
            container(controller)?[field],
            "{field}"
        );
    }
    let values = json!({"uninstall": {"releaseProfiles": false}});
    assert!(only(&render(CURRENT, &values)?, "Job").is_err());
    Ok(())
}
