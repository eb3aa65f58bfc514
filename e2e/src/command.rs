//! Runs the real kubectl and helm as a person would.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

/// The value of an environment variable that the tests cannot do without.
pub fn required(name: &str) -> anyhow::Result<String> {
    std::env::var(name).with_context(|| {
        format!("{name} is not set: run these tests by `make test`, or see e2e/src/lib.rs")
    })
}

/// How a command ended, and what it printed.
#[derive(Debug)]
pub struct Finished {
    /// Whether the exit code is 0.
    pub success: bool,
    /// The exit code, unless a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Finished {
    /// The standard output of a command that has to succeed.
    pub fn ok(self) -> anyhow::Result<String> {
        if !self.success {
            bail!("the command failed: {}{}", self.stdout, self.stderr);
        }
        Ok(self.stdout)
    }
}

/// Runs kubectl, with `input` on its standard input.
pub async fn kubectl(args: &[&str], input: &str) -> anyhow::Result<Finished> {
    run(&kubectl_program(), args, input).await
}

/// Runs `kubectl seccomp`, with the plugin that was built beside the tests.
pub async fn plugin(args: &[&str]) -> anyhow::Result<Finished> {
    plugin_as(&[], args).await
}

/// The same with these variables in its environment.
pub async fn plugin_as(variables: &[(&str, &str)], args: &[&str]) -> anyhow::Result<Finished> {
    plugin_by(&[&kubectl_program()], variables, args).await
}

/// What `kubectl seccomp` prints in this time, of a command that goes on until it is stopped.
pub async fn plugin_for(time: Duration, args: &[&str]) -> anyhow::Result<String> {
    let seconds = time.as_secs().to_string();
    let finished = plugin_by(&["timeout", &seconds, &kubectl_program()], &[], args).await?;
    // `timeout` ends with this where it had to stop the command.
    if finished.code != Some(124) {
        bail!("the command did not go on: {finished:?}");
    }
    Ok(finished.stdout)
}

async fn plugin_by(
    program: &[&str],
    variables: &[(&str, &str)],
    args: &[&str],
) -> anyhow::Result<Finished> {
    let tests = std::env::current_exe()?;
    let built = tests.ancestors().nth(2).context("no folder of binaries")?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::iter::once(built.to_owned()).chain(std::env::split_paths(&path));
    let mut command = Command::new(program[0]);
    command
        .args(&program[1..])
        .arg("seccomp")
        .args(args)
        .envs(variables.iter().copied())
        .env("PATH", std::env::join_paths(path)?);
    finish(program[0], command, "").await
}

fn kubectl_program() -> String {
    std::env::var("KUBECTL").unwrap_or_else(|_| "kubectl".into())
}

/// Runs helm.
pub async fn helm(args: &[&str]) -> anyhow::Result<Finished> {
    run(
        &std::env::var("HELM").unwrap_or_else(|_| "helm".into()),
        args,
        "",
    )
    .await
}

async fn run(program: &str, args: &[&str], input: &str) -> anyhow::Result<Finished> {
    let mut command = Command::new(program);
    command.args(args);
    finish(program, command, input).await
}

pub(crate) async fn finish(
    program: &str,
    mut command: Command,
    input: &str,
) -> anyhow::Result<Finished> {
    let mut child = command
        .env("KUBECONFIG", required("E2E_KUBECONFIG")?)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot run {program}"))?;
    let mut stdin = child.stdin.take().context("no standard input")?;
    stdin.write_all(input.as_bytes()).await?;
    drop(stdin);
    let output = child.wait_with_output().await?;
    Ok(Finished {
        success: output.status.success(),
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// Asks again and again until `check` gives something, for at most `patience`; the last answer says what was missing.
pub async fn until<T, F>(
    what: &str,
    patience: Duration,
    mut check: impl FnMut() -> F,
) -> anyhow::Result<T>
where
    F: Future<Output = anyhow::Result<T>>,
{
    let started = Instant::now();
    loop {
        let error = match check().await {
            Ok(found) => return Ok(found),
            Err(error) => error,
        };
        if started.elapsed() > patience {
            return Err(error.context(format!("waited {} s for {what}", patience.as_secs())));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
