//! Why a container does not start, or was killed, as far as seccomp is the reason.
//!
//! kubelet says of a container what its runtime said, and seldom names seccomp. [`failures`] reads a pod's status and finds what a
//! seccomp profile can be the reason of; [`explain`] says with the profile at hand what it means, which calls the profile lacks, and what
//! to do. Agents make Events of it, the plugin a page; both get the same answer.
//!
//! Everything is a plain function of its arguments: no I/O, no clock.

mod calls;
mod explanation;
mod failure;
mod message;

pub use explanation::{Certainty, Explanation, explain};
pub use failure::{Applied, Ending, Failure, Origin, applied, containers, endings, failures};
pub use message::{Cause, Reason};
