//! What the messages mean that kubelet passes on from container runtimes.
//!
//! Seen with containerd 1.6 and 2.4, CRI-O 1.34, runc 1.1.5 to 1.5.3 and crun 1.21 and 1.28. A message that means nothing here has nothing to
//! do with seccomp, as far as it can be told.

use std::borrow::Cow;

use seccomp_profile::{Runtime, Syscall};

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
    /// CRI-O's notifier, for these calls, as far as they are known.
    Forbidden(Vec<&'static str>),
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
            Self::Killed | Self::Forbidden(_) => Reason::KilledBySeccomp,
        }
    }

    /// What a message of kubelet says; none if a seccomp profile is not the reason.
    #[must_use]
    pub fn read(message: &str) -> Option<Self> {
        let message = &*logged(message);
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
        if let Some(rest) = after(message, "decoding seccomp profile failed: ") {
            return Some(Self::NotJson(rest.to_owned()));
        }
        if let Some(rest) = after(message, "load local profile: ") {
            return Some(Self::Refused(rest.to_owned()));
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
        if STOPPED.iter().any(|stopped| said.contains(stopped)) || is_gone(said) {
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

    /// What CRI-O's notifier says of a container that it ended: `Used forbidden syscalls: mkdir (2x), chmod (1x)`.
    pub(crate) fn forbidden(message: &str) -> Self {
        let calls = after(message, "Used forbidden syscalls: ").unwrap_or_default();
        let names = calls.split(", ").filter_map(|call| call.split(' ').next());
        Self::Forbidden(
            names
                .filter_map(Syscall::named)
                .map(Syscall::name)
                .collect(),
        )
    }
}

/// What CRI-O passes on of an OCI runtime is a line of its log, `container create failed: time="..." level=error msg="..."`, and another one with
/// each try.
fn logged(message: &str) -> Cow<'_, str> {
    let Some((_, quoted)) = message.rsplit_once(" level=error msg=\"") else {
        return Cow::Borrowed(message);
    };
    let mut text = String::with_capacity(quoted.len());
    let mut characters = quoted.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => break,
            '\\' => text.extend(characters.next()),
            _ => text.push(character),
        }
    }
    Cow::Owned(text)
}

/// Whether CRI-O looked for the process of a container that it had just created, and found it gone: `open /proc/4711/stat: no such file ...`.
fn is_gone(said: &str) -> bool {
    let rest = said.strip_prefix("open /proc/");
    let rest = rest.map(|rest| rest.trim_start_matches(|digit: char| digit.is_ascii_digit()));
    rest == Some("/stat: no such file or directory")
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
    "error creating seccomp",
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
    "is not in created state: stopped",
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
    fn what_cri_o_says_of_a_profile_and_passes_on_of_runc_is_understood() {
        const INIT: &str =
            "runc create failed: unable to start container process: error during container init: ";
        let refused = |said: &str| Cause::Refused(said.to_owned());
        let load = "setup seccomp: apply profile from bytes: load local profile: ";
        let own = [
            (
                "decoding seccomp profile failed: unexpected end of JSON input",
                Cause::NotJson("unexpected end of JSON input".to_owned()),
            ),
            ("unknown errno NOPE", refused("unknown errno NOPE")),
            (
                "'name' and 'names' were specified in the seccomp profile, use either 'name' or 'names'",
                refused(
                    "'name' and 'names' were specified in the seccomp profile, use either 'name' or 'names'",
                ),
            ),
        ];
        for (said, cause) in own {
            let message = format!("{load}{said}");
            assert_eq!(Cause::read(&message), Some(cause), "{said}");
            assert_eq!(speaker(&message), None);
        }
        for gone in [
            "open /proc/1898/stat: no such file or directory",
            "container 432750069da3 is not in created state: stopped",
        ] {
            assert_eq!(Cause::read(gone), Some(Cause::Stopped), "{gone}");
        }
        let capset = "unable to apply caps: can't apply capabilities: operation not permitted";
        let condition = "error creating seccomp syscall condition for syscall mkdir: syscalls only have up to 6 arguments (7 given)";
        let passed_on = [
            (
                "runc create failed: string SCMP_ACT_DENY is not a valid action for seccomp"
                    .to_owned(),
                refused("string SCMP_ACT_DENY is not a valid action for seccomp"),
            ),
            (format!("{INIT}{condition}"), refused(condition)),
            (
                format!("{INIT}{capset}"),
                Cause::Step {
                    said: capset.to_owned(),
                    calls: &["capset"],
                },
            ),
            (
                format!(
                    "{INIT}failed to connect with seccomp agent specified in the seccomp profile: dial unix /x.sock: connect: no such file or directory"
                ),
                Cause::NoListener,
            ),
        ];
        for (said, cause) in passed_on {
            for second in ["52", "53"] {
                let message = format!(
                    "container create failed: time=\"2026-11-30T15:26:{second}Z\" level=error msg=\"{said}\"\n"
                );
                assert_eq!(Cause::read(&message), Some(cause.clone()), "{said}");
                assert_eq!(speaker(&message), Some(Runtime::Runc));
            }
        }
        let quoted = r#"x: time="1" level=error msg="exec: \"/a\\b\": not \"there\"" more="y""#;
        assert_eq!(logged(quoted), r#"exec: "/a\b": not "there""#);
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
            "open /proc/1/status: no such file or directory",
            "container create failed: time=\"2026-11-30T15:26:53Z\" level=error msg=\"runc create failed: unable to start container process: \
             error during container init: exec: \\\"/nothing\\\": stat /nothing: no such file or directory\"\n",
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
