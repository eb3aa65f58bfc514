//! Logs: structured fields and one sentence, on standard error; what is logged can change while the process runs.
//!
//! The filter comes from a file (in a cluster a mounted `ConfigMap`, so that one edit reaches every pod without a restart, and
//! nothing listens for it). Signals would need somebody who can send one, which the operator's image has no tool for; an HTTP
//! route would let whoever reaches the port make every node log at `trace`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};
use tracing::{info, warn};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, fmt, registry, reload};

/// How often to look at the file.
const EVERY: Duration = Duration::from_secs(10);
/// No filter is longer; what is, is none.
const MAX_LENGTH: u64 = 4096;

/// How to log.
#[derive(Args, Debug, Clone)]
#[allow(clippy::struct_field_names)] // they are the options' names
pub struct LogArgs {
    /// What to log: a level (error, warn, info, debug, trace) or directives such as `info,kube=debug`
    #[arg(long, env = "RUST_LOG", default_value = "info", global = true)]
    log_level: String,
    /// A file that holds what to log and is looked at every 10 seconds; while it is not there or is empty, --log-level counts
    #[arg(long, env = "LOG_LEVEL_FILE", global = true, value_name = "FILE")]
    log_level_file: Option<PathBuf>,
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

/// Sets the filter of a process that logs already.
type SetFilter = Box<dyn Fn(Targets) -> Result<(), reload::Error> + Send + Sync>;

/// What [`start`] began.
pub struct Logging {
    level: String,
    file: Option<PathBuf>,
    in_force: String,
    set_filter: SetFilter,
}

/// A filter that means nothing.
#[derive(Debug, thiserror::Error)]
#[error("--log-level {filter:?}: {reason}")]
pub struct FilterError {
    filter: String,
    reason: String,
}

/// Starts logging; call it once.
pub fn start(args: &LogArgs) -> Result<Logging, FilterError> {
    let filter = filter(&args.log_level).map_err(|reason| FilterError {
        filter: args.log_level.clone(),
        reason,
    })?;
    let (filter, handle) = reload::Layer::new(filter);
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines = match args.log_format {
        LogFormat::Text => lines.with_ansi(false).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    registry().with(lines.with_filter(filter)).init();
    let set_filter = Box::new(move |filter| handle.reload(filter));
    let mut logging = Logging {
        level: args.log_level.clone(),
        file: args.log_level_file.clone(),
        in_force: args.log_level.clone(),
        set_filter,
    };
    logging.look();
    Ok(logging)
}

impl Logging {
    /// Does what the file says, for as long as the process lives.
    pub async fn follow(mut self) {
        while self.file.is_some() {
            tokio::time::sleep(EVERY).await;
            self.look();
        }
    }

    /// Brings the filter in line with the file. One that means nothing changes nothing, and is complained of once.
    fn look(&mut self) {
        let Some(file) = &self.file else { return };
        let wanted = read(file).unwrap_or_else(|| self.level.clone());
        if wanted == self.in_force {
            return;
        }
        match filter(&wanted) {
            Ok(filter) => {
                if (self.set_filter)(filter).is_ok() {
                    info!(filter = wanted, "what is logged has changed");
                }
            }
            Err(error) => {
                warn!(file = %file.display(), filter = wanted, error, "the filter of logs cannot be used; the old one stays");
            }
        }
        self.in_force = wanted;
    }
}

/// What the file says, if anything.
fn read(file: &Path) -> Option<String> {
    if std::fs::metadata(file).ok()?.len() > MAX_LENGTH {
        return None;
    }
    let text = std::fs::read_to_string(file).ok()?;
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

fn filter(level: &str) -> Result<Targets, String> {
    // On an answer that it cannot read, kube's client logs all of it at WARN: megabytes, and Secrets among them.
    let quiet = if level.contains("kube_client") {
        ""
    } else {
        ",kube_client=error"
    };
    let example = "use for example `info` or `info,kube=debug`";
    if level.contains('[') {
        return Err(format!("spans cannot be told apart; {example}"));
    }
    // What is empty would be taken for a level, and what has a space for another module.
    let directives: Vec<_> = format!("{level}{quiet}")
        .split(',')
        .map(str::trim)
        .filter(|directive| !directive.is_empty())
        .map(str::to_owned)
        .collect();
    directives
        .join(",")
        .parse()
        .map_err(|error| format!("{error}; {example}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_counts_while_it_says_something_that_can_be_used() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("filter");
        let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let tell = seen.clone();
        let mut logging = Logging {
            level: "info".into(),
            file: Some(file.clone()),
            in_force: "info".into(),
            set_filter: Box::new(move |filter| {
                tell.lock().unwrap().push(filter.to_string());
                Ok(())
            }),
        };
        let mut look = |content: Option<&str>| {
            match content {
                Some(content) => std::fs::write(&file, content).unwrap(),
                None => std::fs::remove_file(&file).unwrap(),
            }
            logging.look();
            std::mem::take(&mut *seen.lock().unwrap())
        };
        assert_eq!(look(Some("debug\n")), ["kube_client=error,debug"]);
        assert!(look(Some(" debug ")).is_empty(), "nothing new");
        assert!(
            look(Some("seccomp_operator=loud")).is_empty(),
            "it means nothing"
        );
        assert_eq!(
            look(Some("warn,kube_client=info")),
            ["kube_client=info,warn"]
        );
        assert_eq!(
            look(Some("warn ,\n  kube=debug,")),
            ["kube_client=error,kube=debug,warn"]
        );
        assert!(look(Some("info,kube[HTTP]=debug")).is_empty());
        assert_eq!(look(None), ["kube_client=error,info"]);
        assert!(look(Some("")).is_empty());
        assert!(look(Some(&"x".repeat(5000))).is_empty());
    }
}
