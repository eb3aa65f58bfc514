//! Which pod gets which seccomp profile, and why.
//!
//! A SeccompPolicy selects pods by namespace, labels and images, and names the profile that they get where they state none. This crate
//! answers every question about that: what happens to this pod ([`decide`]), is this policy valid ([`validation`]), does another
//! policy leave it nothing to do ([`conflicts`]), which SeccompProfile does this `localhostProfile` name ([`localhost`]), and does a profile
//! allow more than a SeccompCeiling lets any ([`ceiling`]). The webhook
//! asks it for each new pod, the controller for each policy's status, the agents for the profiles in use, and `kubectl seccomp
//! coverage` for pods that exist: they all get the same answer.
//!
//! Everything is a plain function of its arguments. A [`View`](view::View) holds what is known of the cluster: whoever has watches
//! feeds it, whoever has files fills it from these. Nothing here does I/O, reads a clock, or asks an API server, and no input makes it
//! panic or work without bound.

pub mod ceiling;
pub mod conflicts;
pub mod constraints;
pub mod counters;
pub mod decide;
pub mod given;
mod image;
mod index;
pub mod localhost;
pub mod patch;
pub mod pod;
pub mod profile_state;
pub mod selector;
pub mod trial;
pub mod validation;
pub mod view;
