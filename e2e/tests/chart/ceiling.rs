//! The ceiling that the installation asks for.

use anyhow::Result;
use serde_json::{Value, json};

use crate::helm::{CURRENT, refusal, render};
use crate::objects::{arg, only};

#[test]
fn the_ceiling_is_handed_over_whole_or_not_at_all() -> Result<()> {
    let handed = |ceiling: Value| -> Result<Value> {
        let objects = render(CURRENT, &json!({"ceiling": ceiling}))?;
        let spec = arg(only(&objects, "Deployment")?, "default-ceiling")?;
        Ok(serde_json::from_str(spec)?)
    };
    let few = handed(
        json!({"enabled": true, "spec": {"action": "Deny", "exceptions": ["debug"], "deny": ["@chmod"]}}),
    )?;
    let expected = json!({"base": "runtime-default", "action": "Deny", "exceptions": ["debug"], "deny": ["@chmod"]});
    assert_eq!(few, expected);
    let document = json!({"defaultAction": "SCMP_ACT_ERRNO"});
    let own = handed(json!({"enabled": true, "spec": {"base": null, "profile": document}}))?;
    assert_eq!(
        own,
        json!({"profile": document, "action": "Warn", "exceptions": []})
    );
    // The operator reads what the chart hands over.
    for spec in [few, own] {
        let spec: seccomp_operator_api::SeccompCeilingSpec = serde_json::from_value(spec)?;
        spec.define()?;
    }
    let objects = render(CURRENT, &json!({}))?;
    assert!(arg(only(&objects, "Deployment")?, "default-ceiling").is_err());
    Ok(())
}

#[test]
fn a_ceiling_of_two_profiles_is_refused_before_it_is_installed() -> Result<()> {
    let both = json!({"enabled": true, "spec": {"profile": {"defaultAction": "SCMP_ACT_ERRNO"}}});
    let said = refusal(&json!({"ceiling": both}))?;
    assert!(said.contains("ceiling.spec.base to null"), "{said}");
    Ok(())
}
