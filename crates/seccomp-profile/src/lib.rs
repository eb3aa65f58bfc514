//! The profile engine: reads, understands, changes and writes seccomp profiles.
//!
//! Pure: no I/O, no Kubernetes, no clock; a function of its arguments, with bounded work for any input. The way
//! through it is [`parse`] (a document in OCI or Docker format, as an author wrote it) to [`Document`], with
//! [`Document::resolve`] (for one kind of node) to [`Profile`], with [`Profile::canonical`] (rules that libseccomp
//! combines as meant) and [`Profile::to_canonical_json`] to the bytes that a container runtime reads.
//!
//! What a profile does is asked of its [`Model`]; what it means, and can be changed, is its [`Semantics`]. A user's wish (a
//! whole document, or changes to a built-in or another profile) is a [`Spec`], and [`compose`] goes the whole way. The
//! [`Library`] has all of them by name, and knows which stand on which.

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
mod groups;
mod library;
mod lint;
mod merge;
mod model;
mod oci;
mod problem;
mod read;
mod resolve;
mod runtime;
mod semantics;
mod suggest;
mod syscall;
mod target;

pub use action::Action;
pub use algebra::Excess;
pub use arch::Arch;
pub use arguments::Arguments;
pub use builtin::{AUDIT, BUILTINS, DOCKER_DEFAULT, RUNTIME_DEFAULT, RUNTIME_DEFAULT_IS, builtin};
pub use capability::{Capability, CapabilitySet};
pub use compose::{Fields, Lookup, MAX_DEPTH, Spec, check, compose};
pub use condition::{ArgIndex, Condition, Operator};
pub use decision::{Decision, TooComplex};
pub use delta::Delta;
pub use document::Document;
pub use errno::Errno;
pub use groups::{group, groups};
pub use library::{Defined, Definition, Library, LibraryError, Undefined};
pub use lint::{
    Code, Delivery, Finding, MAX_FINDINGS, Severity, lint, lint_document, lint_everywhere,
};
pub use model::{Miscompilation, Model};
pub use oci::{ArchSet, Flag, Flags, Listener, Profile, Rule};
pub use problem::{Problem, Problems};
pub use read::{MAX_BYTES, parse, parse_slice};
pub use runtime::{Runtime, every_program_needs};
pub use semantics::Semantics;
pub use syscall::{KERNEL as SYSCALLS_OF_KERNEL, Syscall};
pub use target::{KernelVersion, Target};
