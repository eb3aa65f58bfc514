//! What a process that works with a Kubernetes API server for months needs beside the crate `kube`.
//!
//! * [`watch()`]: watches that go on after any failure, hand on objects that cannot be read instead of stopping at them, and say what is
//!   gone after a new list ([`Listing`]);
//! * [`bounded`]: calls with a time limit, since `kube`'s client retries for hours if let;
//! * [`apply`], [`apply_status`]: server-side apply of typed fields, and [`JsonPatch`]: a patch that tests what it was decided by.
//!   There is no other way to patch;
//! * [`leader`]: leader election on a Lease;
//! * [`events`]: Events about objects;
//! * [`Requests`]: a count of the calls;
//! * [`Backoff`]: delays that grow.
//!
//! Nothing here knows what the objects mean, and no kind but those of Kubernetes itself is named.

mod backoff;
#[cfg(feature = "metrics")]
mod client;
pub mod error;
pub mod events;
pub mod leader;
mod patch;
#[cfg(feature = "metrics")]
mod requests;
mod watch;
mod write;

pub use backoff::Backoff;
#[cfg(feature = "metrics")]
pub use client::{ClientError, client, in_cluster_client};
pub use patch::{JsonPatch, patch, patch_metadata, patch_status};
#[cfg(feature = "metrics")]
pub use requests::Requests;
pub use watch::{Listing, WatchEvent, Watched, watch, watch_as};
pub use write::{Conflicts, WriteError, apply, apply_status, bounded};

/// Resource versions are numbers on every API server there is (and by promise since Kubernetes 1.35); one that is not
/// counts as the oldest.
#[must_use]
pub fn resource_version(text: &str) -> u64 {
    text.parse().unwrap_or(0)
}
