//! Runs the real helm on the chart, away from the user's cluster and settings. It knows nothing of what the chart renders.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::objects::documents;

pub const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/seccomp-operator");
/// The oldest version that the product supports.
pub const OLDEST: &str = "1.20.2";
pub const CURRENT: &str = "1.36.2";
pub const RELEASE: &str = "rel";
pub const NAMESPACE: &str = "security";

/// Runs helm with `values` on its standard input, away from the user's cluster and settings.
pub fn helm(args: &[&str], values: &Value) -> Result<Output> {
    let program = std::env::var("HELM").unwrap_or_else(|_| "helm".to_owned());
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("helm");
    let mut child = Command::new(&program)
        .args(args)
        .env("HELM_CACHE_HOME", home.join("cache"))
        .env("HELM_CONFIG_HOME", home.join("config"))
        .env("HELM_DATA_HOME", home.join("data"))
        .env("KUBECONFIG", home.join("no-cluster"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| {
            format!("could not run {program:?}; set HELM to a helm of version 3.8 or newer")
        })?;
    let written = child
        .stdin
        .take()
        .context("helm has no standard input")?
        .write_all(values.to_string().as_bytes());
    let output = child.wait_with_output()?;
    // A helm that refuses its arguments does not read the values; what it printed says more than the broken pipe.
    if output.status.success() {
        written.context("could not write the values")?;
    }
    Ok(output)
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub fn succeed(args: &[&str], values: &Value) -> Result<String> {
    let output = helm(args, values)?;
    ensure!(
        output.status.success(),
        "helm {args:?} with {values}: {}{}",
        text(&output.stdout),
        text(&output.stderr)
    );
    Ok(text(&output.stdout))
}

pub fn render_as(
    release: &str,
    namespace: &str,
    kubernetes: &str,
    values: &Value,
) -> Result<Vec<Value>> {
    let args = [
        "template",
        release,
        CHART,
        "--namespace",
        namespace,
        "--kube-version",
        kubernetes,
        "--values",
        "-",
    ];
    documents(&succeed(&args, values)?)
}

pub fn render(kubernetes: &str, values: &Value) -> Result<Vec<Value>> {
    render_as(RELEASE, NAMESPACE, kubernetes, values)
}

/// What helm says when it refuses the values.
pub fn refusal(values: &Value) -> Result<String> {
    let output = helm(&["template", RELEASE, CHART, "--values", "-"], values)?;
    ensure!(!output.status.success(), "{values} was accepted");
    Ok(text(&output.stderr))
}

/// The notes that helm prints after an install.
pub fn notes(namespace: &str, values: &Value) -> Result<String> {
    let args = [
        "install",
        RELEASE,
        CHART,
        "--namespace",
        namespace,
        "--dry-run=client",
        "--values",
        "-",
    ];
    let printed = succeed(&args, values)?;
    let (_, notes) = printed
        .split_once("\nNOTES:\n")
        .context("helm printed no notes")?;
    Ok(notes.to_owned())
}
