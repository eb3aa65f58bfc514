//! What the messages mean that kubelet passes on from container runtimes.
//!
//! Seen with containerd 1.6 and 2.4, CRI-O's sources, runc 1.1.5 to 1.5.3 and crun 1.21 and 1.28. A message that means nothing here has nothing to
//! do with seccomp, as far as it can be told.

use seccomp_profile::Runtime;

/// What happened, in one word for programs: the reason of an Event and a metric's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// There is no such file on the node.
    ProfileMissing,
    /// The file holds no profile.
    ProfileUnreadable,
    /// The runtime takes the file for no profile that it can load.
    ProfileRefused,
    /// The profile refuses what the runtime itself has to call.
    RuntimeCallRefused,
    /// Nobody is there whom the profile asks about calls.
    ListenerAway,
    /// A call ended the container.
    KilledBySeccomp,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::ProfileMissing,
        Self::ProfileUnreadable,
        Self::ProfileRefused,
        Self::RuntimeCallRefused,
        Self::ListenerAway,
        Self::KilledBySeccomp,
    ];

    /// The word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::ProfileMissing => "SeccompProfileMissing",
            Self::ProfileUnreadable => "SeccompProfileUnreadable",
            Self::ProfileRefused => "SeccompProfileRefused",
            Self::RuntimeCallRefused => "SeccompRefusesRuntime",
            Self::ListenerAway => "SeccompListenerAway",
            Self::KilledBySeccomp => "SeccompKilled",
        }
    }
}

/// What a message says, without what differs from try to try.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// No such file.
    NoFile,
    /// A folder of that name.
    Folder,
    /// An empty path, which the API server takes.
    NoPath,
    /// Why it is no JSON, or none of the right form.
    NotJson(String),
    /// Why the runtime refuses the profile.
    Refused(String),
    /// The runtime's own step that failed before the container's program was executed.
    Step {
        /// The runtime's words.
        said: String,
        /// The calls that the step makes, as far as they are known.
        calls: &'static [&'static str],
    },
    /// The runtime's process had ended when the program should have been executed.
    Stopped,
    /// Nobody listens where the profile says.
    NoListener,
    /// SIGSYS.
    Killed,
}

impl Cause {
    /// The kind.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        match self {
            Self::NoFile | Self::Folder | Self::NoPath => Reason::ProfileMissing,
            Self::NotJson(_) => Reason::ProfileUnreadable,
            Self::Refused(_) => Reason::ProfileRefused,
            Self::Step { .. } | Self::Stopped => Reason::RuntimeCallRefused,
            Self::NoListener => Reason::ListenerAway,
            Self::Killed => Reason::KilledBySeccomp,
        }
    }

    /// What a message of kubelet says; none if a seccomp profile is not the reason.
    #[must_use]
    pub fn read(message: &str) -> Option<Self> {
        if let Some(rest) = after(message, "cannot load seccomp profile ")
            .or_else(|| after(message, "unable to load local profile "))
        {
            return Some(if rest.contains("is a directory") {
                Self::Folder
            } else if rest.contains("no such file or directory") {
                Self::NoFile
            } else {
                Self::NotJson(after_path(rest))
            });
        }
        if let Some(rest) = after(message, "decoding seccomp profile failed ") {
            return Some(Self::NotJson(after_path(rest)));
        }
        if message.contains("localhostProfile must be set if seccompProfile type is Localhost") {
            return Some(Self::NoPath);
        }
        if NO_LISTENER.iter().any(|words| message.contains(words)) {
            return Some(Self::NoListener);
        }
        let said = said_by_runtime(message);
        if REFUSALS.iter().any(|refusal| said.contains(refusal)) {
            return Some(Self::Refused(said.to_owned()));
        }
        if STOPPED.iter().any(|stopped| said.contains(stopped)) {
            return Some(Self::Stopped);
        }
        let step = STEPS.iter().find(|(words, _)| said.contains(words));
        let refused = said.to_ascii_lowercase();
        let refused = ERRNOS.iter().any(|errno| refused.contains(errno));
        match step {
            Some((_, calls)) => Some(Self::Step {
                said: said.to_owned(),
                calls,
            }),
            // After this the runtime is in the container, and the filter may be in force.
            None if refused && message.contains(IN_CONTAINER) => Some(Self::Step {
                said: said.to_owned(),
                calls: &[],
            }),
            None => None,
        }
    }
}

/// What runc's process in the container says begins so.
const IN_CONTAINER: &str = "error during container init: ";

/// What runc and crun say when they cannot hand over the filter.
const NO_LISTENER: &[&str] = &[
    "failed to connect with seccomp agent specified in the seccomp profile",
    "open seccomp receiver",
];

/// What only runc says; it names itself before all that it says of a container that it does not create.
const OF_RUNC: &[&str] = &["runc create failed", "known to runc", "supported by runc"];

/// What only crun says.
const OF_CRUN: &[&str] = &[
    "open seccomp receiver",
    "read from the init process",
    "invalid seccomp action",
    "seccomp unknown architecture",
    "unknown seccomp option",
    "errno value specified for action",
    "get_seccomp_operator",
    "seccomp_rule_add",
    "prctl drop bounding",
    "create failed: capset: ",
    "cannot setresuid",
    "cannot setresgid",
];

/// The runtime whose words are in a message of kubelet, where they tell.
#[must_use]
pub fn speaker(message: &str) -> Option<Runtime> {
    let says = |words: &[&str]| words.iter().any(|words| message.contains(words));
    if says(OF_RUNC) {
        Some(Runtime::Runc)
    } else {
        says(OF_CRUN).then_some(Runtime::Crun)
    }
}

/// The words of an error that profiles answer with.
const ERRNOS: &[&str] = &[
    "operation not permitted",
    "permission denied",
    "function not implemented",
    "bad system call",
];

/// How runtimes begin to say what they refuse in a profile.
const REFUSALS: &[&str] = &[
    "is not a valid action for seccomp",
    "is not a valid arch for seccomp",
    "is not a valid operator for seccomp",
    "is not known to runc",
    "unable to init seccomp",
    "error loading seccomp filter",
    "error adding seccomp",
    "unable to add seccomp",
    "seccomp_load",
    "seccomp_rule_add",
    "seccomp get action",
    "seccomp unknown",
    "could not translate syscall",
    "empty string is not a valid syscall",
    "requested a listenerPath",
    "invalid seccomp",
    "unknown seccomp option",
    "errno value specified for action",
    "get_seccomp_operator",
];

/// What is said when the runtime's process has ended before its time.
const STOPPED: &[&str] = &[
    "cannot start a stopped process",
    "cannot start a container that has stopped",
    "cannot start an already running container",
    "container is not running",
    "read from the init process",
    "init process is not running",
];

/// What runtimes say when a step of theirs failed, and the calls that it makes. Other errors may make it fail as well.
const STEPS: &[(&str, &[&str])] = &[
    ("unable to get capability version", &["capget"]),
    ("unable to apply caps", &["capset"]),
    ("capset:", &["capset"]),
    ("unable to apply bounding set", &["prctl"]),
    ("prctl drop bounding", &["prctl"]),
    ("unable to setup user: setgroups", &["setgroups"]),
    (
        "unable to setup user: operation not permitted",
        &["setgid", "setuid"],
    ),
    ("setresuid to", &["setresuid"]),
    ("setresgid to", &["setresgid"]),
    (
        "failed to verify if current working directory is safe",
        &["getcwd"],
    ),
    ("chdir to cwd", &["chdir"]),
    ("error closing exec fds: readdirent", &["getdents64"]),
    ("error closing exec fds: get handle", &["openat2", "openat"]),
    ("could not get mount id", &["statx"]),
];

/// What follows after `words`.
fn after<'m>(message: &'m str, words: &str) -> Option<&'m str> {
    message.split_once(words).map(|(_, rest)| rest)
}

/// What is said after a quoted path.
fn after_path(rest: &str) -> String {
    let rest = rest.strip_prefix('"').unwrap_or(rest);
    let rest = rest.split_once("\": ").map_or(rest, |(_, rest)| rest);
    rest.trim_end_matches(": unknown").trim().to_owned()
}

/// What the OCI runtime said, without the words of those who pass it on.
fn said_by_runtime(message: &str) -> &str {
    let mut said = message;
    for prefix in [
        "OCI runtime create failed: ",
        "runc create failed: ",
        "unable to start container process: ",
        IN_CONTAINER,
        "error during container init ",
    ] {
        said = after(said, prefix).unwrap_or(said);
    }
    said.trim_end_matches(": unknown").trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_runtimes_are_understood() {
        const SHIM: &str = "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed: ";
        const INIT: &str = "unable to start container process: error during container init: ";
        let step = |said: &str, calls| Cause::Step {
            said: said.to_owned(),
            calls,
        };
        let path = "/var/lib/kubelet/seccomp/profiles/x.json";
        let load = format!(
            "failed to create containerd container: cannot load seccomp profile \"{path}\": "
        );
        for (message, cause) in [
            (
                format!("{load}open {path}: no such file or directory"),
                Cause::NoFile,
            ),
            (
                format!(
                    "setup seccomp: unable to load local profile \"{path}\": open {path}: no such file or directory"
                ),
                Cause::NoFile,
            ),
            (format!("{load}read {path}: is a directory"), Cause::Folder),
            (
                "localhostProfile must be set if seccompProfile type is Localhost.".to_owned(),
                Cause::NoPath,
            ),
            (
                format!(
                    "failed to create containerd container: decoding seccomp profile failed \"{path}\": unexpected end of JSON input"
                ),
                Cause::NotJson("unexpected end of JSON input".to_owned()),
            ),
            (
                format!("{SHIM}string SCMP_ACT_DENY is not a valid action for seccomp: unknown"),
                Cause::Refused("string SCMP_ACT_DENY is not a valid action for seccomp".to_owned()),
            ),
            (
                format!("{SHIM}seccomp flag SECCOMP_FILTER_FLAG_LOG is not known to runc: unknown"),
                Cause::Refused(
                    "seccomp flag SECCOMP_FILTER_FLAG_LOG is not known to runc".to_owned(),
                ),
            ),
            (
                format!(
                    "{SHIM}{INIT}unable to setup user: setgroups: operation not permitted: unknown"
                ),
                step(
                    "unable to setup user: setgroups: operation not permitted",
                    &["setgroups"],
                ),
            ),
            (
                format!(
                    "{SHIM}{INIT}unable to apply caps: can't apply capabilities: operation not permitted: unknown"
                ),
                step(
                    "unable to apply caps: can't apply capabilities: operation not permitted",
                    &["capset"],
                ),
            ),
            (
                format!("{SHIM}{INIT}operation not permitted: unknown"),
                step("operation not permitted", &[]),
            ),
            (
                "failed to start containerd task \"1f\": cannot start a stopped process: unknown"
                    .to_owned(),
                Cause::Stopped,
            ),
            (
                format!(
                    "{SHIM}{INIT}failed to connect with seccomp agent specified in the seccomp profile: dial unix /x/notify.sock: connect: connection refused: unknown"
                ),
                Cause::NoListener,
            ),
            // By runc 1.5.
            (
                "failed to start containerd task \"1f\": OCI runtime start failed: cannot start a container that has stopped"
                    .to_owned(),
                Cause::Stopped,
            ),
        ] {
            assert_eq!(Cause::read(&message), Some(cause), "{message}");
            let runtime = message.starts_with(SHIM).then_some(Runtime::Runc);
            assert_eq!(speaker(&message), runtime, "{message}");
        }
    }

    #[test]
    fn what_crun_says_is_understood_as_crun_s() {
        let refused = |said: &str| Cause::Refused(said.to_owned());
        let step = |said: &str, calls| Cause::Step {
            said: said.to_owned(),
            calls,
        };
        for (said, cause) in [
            (
                "open seccomp receiver: connect socket to `/x/notify.sock`: No such file or directory",
                Cause::NoListener,
            ),
            ("read from the init process", Cause::Stopped),
            (
                "capset: Operation not permitted",
                step("capset: Operation not permitted", &["capset"]),
            ),
            (
                "cannot setresuid to `0`: Operation not permitted",
                step(
                    "cannot setresuid to `0`: Operation not permitted",
                    &["setresuid"],
                ),
            ),
            (
                "unknown seccomp option `SECCOMP_FILTER_FLAG_NEW`",
                refused("unknown seccomp option `SECCOMP_FILTER_FLAG_NEW`"),
            ),
            (
                "errno value specified for action `SCMP_ACT_ALLOW`",
                refused("errno value specified for action `SCMP_ACT_ALLOW`"),
            ),
            ("get_seccomp_operator", refused("get_seccomp_operator")),
        ] {
            let message = format!(
                "failed to create containerd task: failed to create shim task: OCI runtime create failed: {said}"
            );
            assert_eq!(Cause::read(&message), Some(cause), "{said}");
            assert_eq!(speaker(&message), Some(Runtime::Crun), "{said}");
        }
    }

    #[test]
    fn what_has_another_reason_is_left_alone() {
        for message in [
            "",
            "back-off 10s restarting failed container=web pod=web_shop(1)",
            "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed: unable to start \
             container process: error during container init: exec: \"/nothing\": stat /nothing: no such file or directory: unknown",
            "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed: unable to start \
             container process: error during container init: error mounting \"/x\" to rootfs at \"/etc/x\": not a directory: unknown",
            "configmap \"settings\" not found",
        ] {
            assert_eq!(Cause::read(message), None, "{message}");
        }
    }

    #[test]
    fn every_reason_has_a_word_of_its_own() {
        let words: std::collections::BTreeSet<_> =
            Reason::ALL.iter().map(|reason| reason.word()).collect();
        assert_eq!(words.len(), Reason::ALL.len());
    }
}
