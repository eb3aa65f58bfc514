//! Which pod gets which seccomp profile, and why: pure functions of a pod and of what the watches have told.
//!
//! [`view`] is what is known, [`mutate`] decides, [`conflicts`] compares policies with each other, `index` says which policies to
//! ask about a pod, [`patch`] writes what was decided.

pub mod conflicts;
mod constraints;
pub mod counters;
mod image;
mod index;
pub mod localhost;
pub mod mutate;
pub mod patch;
pub mod pod;
pub mod selector;
pub mod validation;
pub mod view;
