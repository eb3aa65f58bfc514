//! Hears what seccomp logs and kills on a node, and tells of which container it is.
//!
//! The kernel writes an audit record for each call that a filter logs (`SCMP_ACT_LOG`) or kills, whoever made the filter. Every member of
//! a multicast group gets it ([`Listener`]), without an audit daemon and beside one. A record names a process, not a container: the process's cgroup
//! leads to that ([`Origin`]), as long as there is the process. [`Ledger`] counts, in bounded room, whatever processes do. [`Reader`] puts
//! them together, and proves again and again that it hears: outside the machine's first network namespace the group is silent, without an error.
//!
//! It knows neither Kubernetes' API nor profiles: that is for who reads the [`Snapshot`].

mod cgroup;
mod hear;
mod ledger;
mod listen;
mod processes;
mod reader;
mod record;
mod serials;
mod sys;

pub use cgroup::{Container, Origin};
pub use hear::{Deaf, actions_logged};
pub use ledger::{Count, Ledger, MAX_CALLS, MAX_UNPLACED, Placed, Unplaced};
pub use listen::{Listener, Message};
pub use processes::Processes;
pub use reader::{Control, Reader, Snapshot, Totals};
pub use record::{Call, Outcome, Record};
pub use serials::Serials;
