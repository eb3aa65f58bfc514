//! What the processes of a cluster have in common: they log from the start, and the last word of one that fails is kept.

use std::process::ExitCode;

use tokio::runtime::Builder;

use crate::logging::{self, LogArgs};

/// How many threads a process has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threads {
    /// One is plenty for a watch and a few files, and it is what keeps an idle process small.
    One,
    /// As many as there are cores.
    Many,
}

/// Whether this process was started under that name: one file of an image is several programs.
#[must_use]
pub fn is_called(name: &str) -> bool {
    let called = std::env::args_os().next().unwrap_or_default();
    std::path::Path::new(&called).file_name() == Some(name.as_ref())
}

/// Runs until it ends, and says why if that is not well.
pub fn run(
    log: &LogArgs,
    threads: Threads,
    work: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<ExitCode> {
    let logging = logging::start(log)?;
    let mut runtime = match threads {
        Threads::One => Builder::new_current_thread(),
        Threads::Many => Builder::new_multi_thread(),
    };
    let done = runtime.enable_all().build()?.block_on(async {
        tokio::spawn(logging.follow());
        work.await
    });
    let Err(error) = done else {
        return Ok(ExitCode::SUCCESS);
    };
    tracing::error!(error = format!("{error:#}"), "cannot go on");
    // Shown by `kubectl describe pod`; outside a pod there is no such file, and that is fine.
    let _ = std::fs::write("/dev/termination-log", format!("{error:#}\n"));
    Ok(ExitCode::FAILURE)
}
