//! Seccomp profiles as artifacts of OCI registries.
//!
//! An artifact is written in the form that KEP-6061 asks of container runtimes: one layer with the profile's JSON as it is, and a media
//! type that says what it is. It is read in that form, and in the one that the Security Profiles Operator has for its objects.
//!
//! | module | is for |
//! |---|---|
//! | [`reference`], [`digest`] | which artifact |
//! | [`manifest`] | what registries know of it |
//! | [`pack`](mod@pack) | from a profile to an artifact, always the same bytes for the same profile; what runtimes take of one |
//! | [`select`] | from an artifact to the layer that has the profile |
//! | [`signature`] | who signed it |
//! | [`registry`] | the client, which the feature `client` brings |
//!
//! All but the last do no I/O and read no clock but the one that certificates are compared with.

#![warn(missing_docs)]

pub mod digest;
pub mod manifest;
pub mod pack;
pub mod reference;
#[cfg(feature = "client")]
pub mod registry;
pub mod select;
pub mod signature;

pub use digest::Digest;
pub use pack::{Artifact, pack};
pub use reference::Reference;
