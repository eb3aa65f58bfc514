//! The webhook configurations that each injection engine renders: the controller waits for these, and for no others, before it is ready.

use anyhow::Result;
use serde_json::json;

use crate::helm::{CHART, CURRENT, RELEASE, succeed};
use crate::objects::{all, arg, documents, only, string};

#[test]
fn the_mutating_configuration_comes_with_the_engine_that_the_controller_waits_for_it_with()
-> Result<()> {
    for (engine, rendered) in [("webhook", 1), ("policy", 0), ("none", 0)] {
        let values = json!({
            "injection": {"engine": engine},
            "defaultPolicy": {"enabled": true, "spec": {"profile": {"type": "RuntimeDefault"}}},
        });
        let args = [
            "template",
            RELEASE,
            CHART,
            "--kube-version",
            CURRENT,
            "--api-versions",
            "admissionregistration.k8s.io/v1/MutatingAdmissionPolicy",
            "--values",
            "-",
        ];
        let objects = documents(&succeed(&args, &values)?)?;
        let controller = only(&objects, "Deployment")?;
        assert_eq!(arg(controller, "injection-engine")?, engine);
        let mutating = all(&objects, "MutatingWebhookConfiguration");
        assert_eq!(mutating.count(), rendered, "{engine}");
        // This one is waited for with every engine.
        let validating = only(&objects, "ValidatingWebhookConfiguration")?;
        assert_eq!(
            arg(controller, "validating-webhook-configuration")?,
            string(validating, "/metadata/name")?
        );
    }
    Ok(())
}
