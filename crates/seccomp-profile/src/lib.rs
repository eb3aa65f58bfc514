//! Reads, understands, changes and writes seccomp profiles as container runtimes use them.
//!
//! A profile is JSON in the form of the OCI runtime-spec ([`linux.seccomp`]) or of Docker. A runtime hands it to libseccomp, which
//! compiles it to a filter that the kernel runs before each system call. What the filter does is not always what the JSON seems to
//! say; this crate knows what libseccomp and runtimes make of it.
//!
//! ```
//! use seccomp_profile::{
//!     Action, Arch, Arguments, CapabilitySet, Errno, KernelVersion, Syscall, Target, parse_slice,
//! };
//!
//! // Two conditions on one argument are alternatives to libseccomp: every socket family is "not 38" or "not 40".
//! let document = parse_slice(br#"{
//!     "defaultAction": "SCMP_ACT_ERRNO",
//!     "syscalls": [{"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [
//!         {"index": 0, "op": "SCMP_CMP_NE", "value": 38},
//!         {"index": 0, "op": "SCMP_CMP_NE", "value": 40}
//!     ]}]
//! }"#, "")?;
//! let profile = document.resolve(&Target {
//!     arch: Arch::X86_64,
//!     kernel: KernelVersion::CURRENT,
//!     capabilities: CapabilitySet::RUNTIME_DEFAULT,
//! });
//! let model = profile.model()?;
//! let socket = Syscall::named("socket").and_then(|call| call.number(Arch::X86_64)).unwrap();
//! assert_eq!(model.decide(Arch::X86_64, socket, &[38, 0, 0, 0, 0, 0].into()), Action::Allow);
//!
//! let read = Syscall::named("read").and_then(|call| call.number(Arch::X86_64)).unwrap();
//! let refused = model.decide(Arch::X86_64, read, &Arguments::ZEROS);
//! assert_eq!(refused, Action::Errno(Errno::EPERM));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Terminology
//!
//! * A **document** ([`Document`]) is what an author wrote: in either format, with conditions on architecture, kernel and
//!   capabilities. [`parse`] and [`parse_slice`] read it strictly; [`parse_as_is`] reads a file
//!   of which what runtimes make counts, and keeps what they drop as [oddities](Document::oddities).
//! * A **target** ([`Target`]) is a kind of node and of container, for which those conditions are decided.
//! * A **profile** ([`Profile`]) is a document resolved for a target: what a runtime gets. It has **rules** ([`Rule`]): system
//!   calls, **conditions** ([`Condition`]) on their arguments, and an **action** ([`Action`]).
//! * A **decision** ([`Decision`]) is the action for one call as a function of its six **arguments** ([`Arguments`]).
//! * A **model** ([`Model`]) is the filter that libseccomp makes of a profile: a decision for each number on each **architecture**
//!   ([`Arch`]). A **miscompilation** ([`Miscompilation`]) is a place where libseccomp does not do what the rules say.
//! * The **semantics** ([`Semantics`]) of a profile are a decision for each call by name: what can be changed, united, intersected
//!   and compared.
//! * The **canonical form** ([`Profile::canonical`]) of a profile has the same semantics, and only rules that libseccomp combines
//!   as meant; [`Profile::to_canonical_json`] writes it in stable bytes.
//! * A **delta** ([`Delta`]) is calls to allow, to log and to deny on top of a **base**. A **spec** ([`Spec`]) is a document, or a
//!   delta with the name of its base; [`compose`] makes a profile of it. A [`Library`] has specs by name and knows which derives
//!   from which.
//! * A **finding** ([`Finding`]) is what a profile does that its author hardly wants; see [`lint()`].
//!
//! # What it does not do
//!
//! No I/O, no clock, no panic; no filter is loaded. The work is bounded for any input: a document has at most [`MAX_BYTES`], and
//! what takes too long to tell apart is [`TooComplex`].
//!
//! Every function that reports problems takes the path of what it reads, such as `spec.profile`, and puts it before the paths in
//! its messages; an empty one is fine. Messages have a remedy in the profile's own words; a tool adds the commands that it has.
//!
//! # Sources
//!
//! libseccomp 2.5.4 to 2.6.1, runc 1.1 to 1.4 and Linux up to [`SYSCALLS_OF_KERNEL`]. The crate's tests compare the model with
//! libseccomp and with the kernel.
//!
//! [`linux.seccomp`]: https://github.com/opencontainers/runtime-spec/blob/main/config-linux.md#seccomp

#![warn(missing_docs)]

mod action;
mod algebra;
mod arch;
mod arg_set;
mod arguments;
mod builtin;
mod capability;
mod compose;
mod condition;
mod decision;
mod delta;
mod document;
mod emit;
mod errno;
mod fallback;
mod groups;
mod library;
mod lint;
mod loader;
mod memo;
mod merge;
mod model;
mod notified;
mod oci;
mod parameters;
mod place;
mod problem;
mod read;
mod read_back;
mod resolve;
mod runtime;
mod semantics;
mod size;
mod suggest;
mod surplus;
mod syscall;
mod target;
mod trial;

pub use action::Action;
pub use algebra::Excess;
pub use arch::Arch;
pub use arguments::Arguments;
pub use builtin::{
    AUDIT, BUILTINS, DOCKER_DEFAULT, RUNTIME_DEFAULT, RUNTIME_DEFAULT_IS, builtin, meant_builtin,
};
pub use capability::{Capability, CapabilitySet};
pub use compose::{Fields, Lookup, MAX_DEPTH, Spec, check, compose};
pub use condition::{ArgIndex, Condition, Operator};
pub use decision::{Decision, TooComplex};
pub use delta::Delta;
pub use document::Document;
pub use errno::Errno;
pub use fallback::to_answer_enosys;
pub use groups::{group, groups};
pub use library::{Defined, Definition, Library, LibraryError, Undefined};
pub use lint::{
    Code, Delivery, Finding, MAX_FINDINGS, Severity, Startup, lint, lint_document,
    lint_document_under, lint_everywhere, lint_under, startup,
};
pub use loader::{Loader, Loaders};
pub use model::{Miscompilation, Model};
pub use oci::{ArchSet, Flag, Flags, Listener, Profile, Rule};
pub use place::{DecidedCall, Place};
pub use problem::{Problem, Problems};
pub use read::{
    MAX_BYTES, parse, parse_as_is, parse_in_object, parse_in_object_as_is, parse_slice,
    parse_slice_as_is,
};
pub use runtime::{Runtime, every_program_needs};
pub use semantics::Semantics;
pub use size::MAX_INSTRUCTIONS;
pub use surplus::{Extent, Surplus};
pub use syscall::{KERNEL as SYSCALLS_OF_KERNEL, Syscall};
pub use target::{KernelVersion, Target};
pub use trial::{Reporting, Trial};

/// The examples of the README are tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
