//! The codes of findings: stable words for programs.

use std::fmt;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// What kind of thing a finding is about. The words stay what they are.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Code {
            $($(#[$doc])* $name,)*
        }

        impl Code {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Its word, e.g. `open-twin`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

codes! {
    /// A rule or change does not change anything.
    NoOpRule = "no-op-rule",
    /// A refusal has no effect, because another rule for the call wins.
    LostDeny = "lost-deny",
    /// Another rule has no effect, because one for the same call wins.
    VoidRule = "void-rule",
    /// Several conditions on one argument are alternatives.
    OrConditions = "or-conditions",
    /// A condition holds for every argument.
    AlwaysHolds = "always-holds",
    /// A condition holds for no argument.
    NeverHolds = "never-holds",
    /// A masked comparison expects bits that the mask does not have.
    BitsOutsideMask = "bits-outside-mask",
    /// An architecture of 32 bits compares with another number.
    HalfSeenNumber = "half-seen-number",
    /// A refused number is let through with other bits above those that the kernel reads.
    IgnoredBits = "ignored-bits",
    /// An error of 0 looks like success.
    FakedSuccess = "faked-success",
    /// A denied call has an open one that does the same.
    OpenTwin = "open-twin",
    /// Neither processes nor threads can be made.
    CannotFork = "cannot-fork",
    /// Calls that are denied can be made through `io_uring`.
    IoUringBypass = "io-uring-bypass",
    /// A call is allowed that opens much of the kernel.
    DangerousAllow = "dangerous-allow",
    /// New namespaces can be made.
    NewNamespaces = "new-namespaces",
    /// What is not named is let through.
    OpenByDefault = "open-by-default",
    /// Nothing is stopped.
    StopsNothing = "stops-nothing",
    /// No container starts under it.
    NoContainerStarts = "no-container-starts",
    /// Some versions of the runtime start no container under it.
    RuntimeNeedsMore = "runtime-needs-more",
    /// What every program needs is refused.
    ProgramsNeedMore = "programs-need-more",
    /// A call kills that libraries only try.
    KillsProbe = "kills-probe",
    /// 32-bit programs are not let make the calls that they try first.
    Time64Stopped = "time64-stopped",
    /// Calls are allowed that the architecture does not have, and not those that it has instead.
    LacksCounterparts = "lacks-counterparts",
    /// A new call is answered so that programs do not fall back to the old one.
    HidesFallback = "hides-fallback",
    /// Calls newer than the profile are not treated as the default says.
    NewCallsEnosys = "new-calls-enosys",
    /// Programs of another width are killed.
    KillsOtherWidth = "kills-other-width",
    /// Calls that are denied can be made through a multiplexer, by 32-bit programs as a rule.
    MultiplexerOpen = "multiplexer-open",
    /// Calls that are allowed cannot be made through a multiplexer.
    MultiplexerClosed = "multiplexer-closed",
    /// Older runtimes do not know flags.
    NeedsNewRuntime = "needs-new-runtime",
    /// A listener must be there for a container to start.
    NeedsListener = "needs-listener",
    /// Nothing is asked of the listener.
    UnusedListener = "unused-listener",
    /// Nobody traces.
    NoTracer = "no-tracer",
    /// One thread is killed, and the others go on.
    KillsThread = "kills-thread",
    /// Older runtimes do not know a denied call.
    UnknownToOlderRuntimes = "unknown-to-older-runtimes",
    /// More than a runtime takes from a registry.
    ManyRules = "many-rules",
    /// More than the kernel loads.
    TooManyInstructions = "too-many-instructions",
    /// Fields that container runtimes on Kubernetes drop.
    DockerFormat = "docker-format",
    /// Rules that libseccomp does not combine as they say.
    UnreliableRules = "unreliable-rules",
    /// A field that runtimes drop.
    UnknownField = "unknown-field",
    /// A name that is no system call's.
    UnknownCall = "unknown-call",
    /// A number in quotes, which runtimes do not read.
    QuotedNumber = "quoted-number",
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Code {
    /// The code of that word.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.name() == name)
    }
}
