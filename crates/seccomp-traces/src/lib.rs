//! Which system calls traces tell of: what strace, perf and bpftrace print, and what the kernel's audit logs.
//!
//! [`Traces`] reads inputs of one form after another, and counts. A line becomes [`Call`]s, the calls that pass a [`Filter`] are counted in
//! [`CallCounters`], and a [`Reading`] says besides how much was understood. [`written`] reads the arguments of a call as people write them.
//!
//! Lines are of any length and inputs of any, in bounded memory. What a line says that is not understood is counted, not guessed.
//!
//! The crate is compiled for speed, and who depends on it need not be. So whatever has to do with each line is in here, and nothing that
//! others call is generic: that would be compiled as they are.

#![warn(missing_docs)]

mod arch_words;
mod arguments;
mod audit;
mod call;
mod carrier;
mod constants;
mod copies;
mod counters;
mod lines;
mod parser;
mod perf;
mod quick_hash;
mod reading;
mod strace;

pub use arch_words::arch_named;
pub use arguments::{Given, Known, written};
pub use call::{Call, Called, Verdict};
pub use counters::{ArchCounts, CallCounters, CountsByArch, Filter, Program, total};
pub use reading::{Lines, Progress, Puzzle, Reading, Traces};
