//! Logs: structured fields and one sentence, on standard error.

use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;

/// How to log.
#[derive(Args, Debug, Clone)]
pub struct LogArgs {
    /// What to log: a level (error, warn, info, debug, trace) or directives such as `info,kube=debug`
    #[arg(long, env = "RUST_LOG", default_value = "info", global = true)]
    log_level: String,
    /// How log lines look
    #[arg(long, env = "LOG_FORMAT", default_value = "text", global = true)]
    log_format: LogFormat,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people
    Text,
    /// For programs, one object a line
    Json,
}

/// An error with all that caused it, as one line.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        // Some errors repeat their source's text.
        if !line.ends_with(&text) {
            line = format!("{line}: {text}");
        }
        source = cause.source();
    }
    line
}

/// Starts logging; call it once.
pub fn start(args: &LogArgs) -> anyhow::Result<()> {
    // On an answer that it cannot read, kube's client logs all of it at WARN: megabytes, and Secrets among them.
    let quiet = if args.log_level.contains("kube_client") {
        ""
    } else {
        ",kube_client=error"
    };
    let filter = EnvFilter::try_new(format!("{}{quiet}", args.log_level)).map_err(|error| {
        anyhow::anyhow!(
            "--log-level {:?}: {error}; use for example `info` or `info,kube=debug`",
            args.log_level
        )
    })?;
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match args.log_format {
        LogFormat::Text => subscriber.with_ansi(false).init(),
        LogFormat::Json => subscriber.json().flatten_event(true).init(),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_logged_with_its_causes() {
        #[derive(Debug, thiserror::Error)]
        #[error("the outer")]
        struct Outer(#[source] std::io::Error);
        assert_eq!(
            chain(&Outer(std::io::Error::other("the inner"))),
            "the outer: the inner"
        );
    }
}
