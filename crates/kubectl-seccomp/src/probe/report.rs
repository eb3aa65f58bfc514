//! What the probes say, gathered, as data. Pure.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Serialize, Serializer};

use super::names::Abi;
use super::plan::{Pattern, Probe, Trial};
use super::status::Status;
use super::sweep::{Method, Outcome};
use crate::text::errno_name;

/// All that is known.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProbeReport {
    /// `uname -r`.
    pub kernel: String,
    /// The ABI of this program.
    pub architecture: &'static str,
    /// What `/proc/self/status` says.
    #[serde(flatten)]
    pub status: Status,
    /// How the calls were caught.
    pub method: &'static str,
    /// The native syscalls.
    pub native: Native,
    /// The calls with a name, in the order of the plan.
    pub calls: Vec<NamedCall>,
    /// Numbers beyond the table.
    pub unknown_numbers: Vec<UnknownNumber>,
    /// The other ways into the kernel.
    pub other_abis: Vec<OtherAbi>,
    /// What could not be told.
    pub limits: Vec<String>,
}

/// Native syscalls by what stops them.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Native {
    /// How many were probed.
    pub probed: usize,
    /// Those stopped with all arguments tried, by number.
    pub stopped: Vec<Decided>,
    /// Those for which the arguments matter, by number.
    pub conditional: Vec<Conditional>,
    /// The names of those that nothing stopped, by number.
    pub permitted: Vec<&'static str>,
    /// The names of those of which nothing can be said, by number.
    pub untold: Vec<&'static str>,
}

/// A syscall and what stops it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Decided {
    pub name: &'static str,
    #[serde(flatten)]
    pub decision: Decision,
}

/// A syscall whose arguments matter.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Conditional {
    pub name: &'static str,
    /// With all arguments zero.
    pub zeros: Decision,
    /// With others, where that differs.
    pub differing: Vec<Differing>,
}

/// Arguments that made a difference.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Differing {
    pub arguments: String,
    /// What stops the call.
    #[serde(flatten)]
    pub decision: Decision,
}

/// A call with a name and what became of it.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct NamedCall {
    pub call: String,
    #[serde(flatten)]
    pub decision: Decision,
}

/// A number that no table has.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct UnknownNumber {
    pub number: u32,
    #[serde(flatten)]
    pub decision: Decision,
}

/// Another way into the kernel.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OtherAbi {
    pub abi: &'static str,
    /// Whether it is filtered call by call, closed altogether, or not there.
    pub state: AbiState,
    /// How many syscalls were probed.
    pub probed: usize,
    /// Those stopped, by number.
    pub stopped: Vec<Decided>,
    /// The names of those that nothing stopped.
    pub permitted: Vec<&'static str>,
    /// Those that nothing stopped though the native syscall of that name, or all that it does, is stopped.
    pub open_though_stopped_natively: Vec<&'static str>,
}

/// What is to be said of another way into the kernel as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum AbiState {
    /// Calls are filtered one by one.
    Filtered,
    /// Whatever is called, the caller is killed (or gets SIGSYS).
    Closed,
    /// The kernel has no such entry.
    Absent,
}

/// What became of a call: [`Outcome`] with the words for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Decision {
    /// Nothing stopped it.
    Permitted,
    /// The filter answered with this errno.
    Errno(i32),
    /// The filter raised SIGSYS.
    Trapped,
    /// The filter killed the caller.
    Killed,
    /// The caller died of another signal.
    Died(i32),
    /// Permitted, or ENOSYS from the filter.
    Untold,
    /// It never came back.
    Silent,
}

impl Decision {
    /// Whether a filter stopped the call.
    pub fn stops(self) -> bool {
        matches!(self, Self::Errno(_) | Self::Trapped | Self::Killed)
    }
}

impl From<Outcome> for Decision {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Permitted => Self::Permitted,
            Outcome::Errno(errno) => Self::Errno(errno),
            Outcome::Trap(_) => Self::Trapped,
            Outcome::Killed => Self::Killed,
            Outcome::Died(signal) => Self::Died(signal),
            Outcome::Untold => Self::Untold,
            Outcome::Silent => Self::Silent,
        }
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Permitted => f.write_str("permitted"),
            Self::Errno(0) => f.write_str("faked success"),
            Self::Errno(errno) => f.write_str(&errno_name(*errno)),
            Self::Trapped => f.write_str("SIGSYS"),
            Self::Killed => f.write_str("killed"),
            Self::Died(signal) => write!(f, "died of signal {signal}"),
            Self::Untold => f.write_str("permitted or ENOSYS"),
            Self::Silent => f.write_str("no answer"),
        }
    }
}

impl Serialize for Decision {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Fields {
            decision: &'static str,
            #[serde(skip_serializing_if = "Option::is_none")]
            errno: Option<i32>,
            #[serde(skip_serializing_if = "Option::is_none")]
            errno_name: Option<String>,
            #[serde(skip_serializing_if = "Option::is_none")]
            signal: Option<i32>,
        }
        let mut fields = Fields {
            decision: "",
            errno: None,
            errno_name: None,
            signal: None,
        };
        fields.decision = match self {
            Self::Permitted => "permitted",
            Self::Errno(errno) => {
                fields.errno = Some(*errno);
                fields.errno_name = (*errno != 0).then(|| errno_name(*errno));
                "errno"
            }
            Self::Trapped => "trap",
            Self::Killed => "kill",
            Self::Died(signal) => {
                fields.signal = Some(*signal);
                "died"
            }
            Self::Untold => "permittedOrEnosys",
            Self::Silent => "noAnswer",
        };
        fields.serialize(serializer)
    }
}

/// Everything that was probed, with its decision.
pub type Rows = [(Probe, Decision)];

impl Native {
    /// Gathers the rows of the native ABI.
    pub fn gather(native: Abi, rows: &Rows) -> Self {
        let mut by_number: BTreeMap<u32, (Decided, Vec<Differing>)> = BTreeMap::new();
        for (probe, decision) in rows.iter().filter(|(p, _)| p.abi == native) {
            match &probe.trial {
                Trial::Zeros => {
                    by_number.insert(
                        probe.nr,
                        (
                            Decided {
                                name: probe.name,
                                decision: *decision,
                            },
                            Vec::new(),
                        ),
                    );
                }
                Trial::Pattern(pattern) => {
                    if let Some((zeros, differing)) = by_number.get_mut(&probe.nr)
                        && zeros.decision != *decision
                    {
                        differing.push(Differing {
                            arguments: pattern.to_string(),
                            decision: *decision,
                        });
                    }
                }
                Trial::Named { label, .. } => {
                    if let Some((zeros, differing)) = by_number.get_mut(&probe.nr)
                        && zeros.decision != *decision
                    {
                        differing.push(Differing {
                            arguments: label.clone(),
                            decision: *decision,
                        });
                    }
                }
                Trial::UnknownNumber => {}
            }
        }
        let mut gathered = Self {
            probed: by_number.len(),
            ..Self::default()
        };
        for (zeros, differing) in by_number.into_values() {
            if !differing.is_empty() {
                gathered.conditional.push(Conditional {
                    name: zeros.name,
                    zeros: zeros.decision,
                    differing,
                });
            } else if zeros.decision.stops() {
                gathered.stopped.push(zeros);
            } else if zeros.decision == Decision::Permitted {
                gathered.permitted.push(zeros.name);
            } else {
                gathered.untold.push(zeros.name);
            }
        }
        gathered
    }

    /// Whether every call of this syscall that was tried is stopped.
    pub fn stops(&self, name: &str) -> bool {
        self.stopped.iter().any(|s| s.name == name)
            || self.conditional.iter().any(|c| {
                c.name == name && c.zeros.stops() && c.differing.iter().all(|d| d.decision.stops())
            })
    }

    /// Whether no call of this syscall that was tried is stopped.
    pub fn permits(&self, name: &str) -> bool {
        self.permitted.contains(&name)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OnesIn(at) => write!(f, "argument {at} all ones"),
            Self::Ones => f.write_str("all arguments all ones"),
            Self::Odd => f.write_str("all arguments odd"),
        }
    }
}

impl OtherAbi {
    /// Gathers the rows of one of the other ABIs.
    pub fn gather(abi: Abi, rows: &Rows, native: &Native) -> Self {
        let mut mine: Vec<_> = rows
            .iter()
            .filter(|(p, _)| p.abi == abi && p.trial == Trial::Zeros)
            .collect();
        mine.sort_by_key(|(p, _)| p.nr);
        let permitted: Vec<_> = mine
            .iter()
            .filter(|(_, d)| *d == Decision::Permitted)
            .map(|(p, _)| p.name)
            .collect();
        // `socketcall` and `ipc` do what several native syscalls do: each is as good as any of them.
        let twin = |name| match name {
            "socketcall" => {
                native.conditional.iter().any(|c| c.name == "socket") || native.stops("socket")
            }
            "ipc" => native.stops("shmat") || native.stops("msgget") || native.stops("semget"),
            _ => native.stops(name),
        };
        Self {
            abi: abi.as_str(),
            state: AbiState::from_decisions(&mine.iter().map(|(_, d)| *d).collect::<Vec<_>>()),
            probed: mine.len(),
            stopped: mine
                .iter()
                .filter(|(_, d)| d.stops())
                .map(|(p, d)| Decided {
                    name: p.name,
                    decision: *d,
                })
                .collect(),
            open_though_stopped_natively: permitted
                .iter()
                .copied()
                .filter(|name| twin(name))
                .collect(),
            permitted,
        }
    }
}

impl AbiState {
    /// Judges by all decisions known.
    pub fn from_decisions(decisions: &[Decision]) -> Self {
        if decisions
            .iter()
            .all(|d| matches!(d, Decision::Killed | Decision::Trapped))
        {
            Self::Closed
        } else if decisions.iter().all(|d| matches!(d, Decision::Died(_))) {
            Self::Absent
        } else {
            Self::Filtered
        }
    }
}

/// What cannot be told, in sentences.
pub fn limits(native: Abi, method: Method, traps_told: bool) -> Vec<String> {
    let mut limits = Vec::new();
    limits.push(match method {
        Method::Listener => "A rule that only logs, or asks a tracer, looks like one that permits.".into(),
        Method::AbsentTracer => "seccomp(2) is stopped here, so calls were caught in a poorer way: ENOSYS from the filter \
             looks like a permitted call, and so does a rule that logs or asks a tracer or a listener."
            .into(),
    });
    let entry = if native.foreign().contains(&Abi::X32) {
        ", or x32 at all,"
    } else {
        ""
    };
    limits.push(format!(
        "Nothing is executed: whether the kernel has a permitted syscall{entry} is not known."
    ));
    if !traps_told {
        limits.push("rt_sigaction(2) is stopped here, so SIGSYS (trap) looks like a kill.".into());
    }
    if native == Abi::Aarch64 {
        limits.push(
            "32-bit Arm calls cannot be made from a 64-bit process and were not probed.".into(),
        );
    } else {
        limits.push(
            "uretprobe and uprobe pass before any filter is asked (on kernels that have them) and were not probed.".into(),
        );
    }
    limits
}

#[cfg(test)]
mod tests {
    use super::*;

    const NATIVE: Abi = Abi::X86_64;
    const EPERM: Decision = Decision::Errno(1);

    fn row(name: &'static str, nr: u32, trial: Trial, decision: Decision) -> (Probe, Decision) {
        (
            Probe {
                abi: NATIVE,
                nr,
                name,
                trial,
            },
            decision,
        )
    }

    fn named(label: &str) -> Trial {
        Trial::Named {
            label: label.into(),
            args: vec![],
        }
    }

    #[test]
    fn a_syscall_is_stopped_only_if_no_argument_helps() {
        let native = Native::gather(
            NATIVE,
            &[
                row("bpf", 321, Trial::Zeros, EPERM),
                row("bpf", 321, Trial::Pattern(Pattern::Ones), EPERM),
                row("clone", 56, Trial::Zeros, Decision::Permitted),
                row("clone", 56, Trial::Pattern(Pattern::Ones), EPERM),
                row("read", 0, Trial::Zeros, Decision::Permitted),
                row("socket", 41, Trial::Zeros, Decision::Permitted),
                row("socket", 41, named("socket(AF_ALG)"), EPERM),
                row("mount", 165, Trial::Zeros, Decision::Killed),
                row("", 999, Trial::UnknownNumber, EPERM),
            ],
        );
        assert_eq!(native.probed, 5);
        assert_eq!(
            native.stopped.iter().map(|s| s.name).collect::<Vec<_>>(),
            ["mount", "bpf"]
        );
        assert_eq!(
            native
                .conditional
                .iter()
                .map(|s| s.name)
                .collect::<Vec<_>>(),
            ["socket", "clone"]
        );
        assert_eq!(native.permitted, ["read"]);
        assert!(
            native.stops("bpf")
                && !native.stops("clone")
                && !native.permits("clone")
                && native.permits("read")
        );
    }

    #[test]
    fn different_refusals_are_still_a_stop() {
        let native = Native::gather(
            NATIVE,
            &[
                row("ioctl", 16, Trial::Zeros, EPERM),
                row("ioctl", 16, Trial::Pattern(Pattern::Ones), Decision::Killed),
            ],
        );
        assert_eq!(native.stopped, []);
        assert!(native.stops("ioctl"));
    }

    #[test]
    fn what_cannot_be_told_is_not_called_permitted() {
        let native = Native::gather(NATIVE, &[row("read", 0, Trial::Zeros, Decision::Untold)]);
        assert_eq!((native.permitted.len(), native.untold), (0, vec!["read"]));
    }

    #[test]
    fn decisions_have_one_shape_in_json() -> Result<(), serde_json::Error> {
        let json = |d| {
            serde_json::to_string(&Decided {
                name: "bpf",
                decision: d,
            })
        };
        assert_eq!(
            json(EPERM)?,
            r#"{"name":"bpf","decision":"errno","errno":1,"errnoName":"EPERM"}"#
        );
        assert_eq!(
            json(Decision::Errno(0))?,
            r#"{"name":"bpf","decision":"errno","errno":0}"#
        );
        assert_eq!(
            json(Decision::Killed)?,
            r#"{"name":"bpf","decision":"kill"}"#
        );
        assert_eq!(
            json(Decision::Died(11))?,
            r#"{"name":"bpf","decision":"died","signal":11}"#
        );
        Ok(())
    }

    #[test]
    fn an_entry_is_closed_or_absent_only_if_all_calls_say_so() {
        assert_eq!(
            AbiState::from_decisions(&[Decision::Killed, Decision::Trapped]),
            AbiState::Closed
        );
        assert_eq!(
            AbiState::from_decisions(&[Decision::Died(11); 3]),
            AbiState::Absent
        );
        assert_eq!(
            AbiState::from_decisions(&[Decision::Killed, EPERM]),
            AbiState::Filtered
        );
        assert_eq!(
            AbiState::from_decisions(&[Decision::Permitted]),
            AbiState::Filtered
        );
    }

    #[test]
    fn socketcall_is_open_if_a_native_socket_is_not() {
        let mut rows = vec![
            row("socket", 41, Trial::Zeros, Decision::Permitted),
            row("socket", 41, named("socket(AF_ALG)"), EPERM),
            row("bpf", 321, Trial::Zeros, EPERM),
        ];
        for (name, nr, decision) in [
            ("socketcall", 102, Decision::Permitted),
            ("bpf", 357, EPERM),
        ] {
            rows.push((
                Probe {
                    abi: Abi::I386,
                    nr,
                    name,
                    trial: Trial::Zeros,
                },
                decision,
            ));
        }
        let i386 = OtherAbi::gather(Abi::I386, &rows, &Native::gather(NATIVE, &rows));
        assert_eq!(i386.open_though_stopped_natively, ["socketcall"]);
        assert_eq!((i386.probed, i386.stopped.len()), (2, 1));
    }
}
