//! seccomp-operator: seccomp profiles on Kubernetes, from `kubectl apply` to the kernel.
//!
//! Dependencies between the modules point one way: `cli`, `agent`, `controller` and `webhook` use `api`, which uses
//! `profile`; `profile` knows nobody. `cli` also asks what `webhook` would decide; both have pods as the crate `admission_review`
//! reads them. `docs/architecture.md` is the map.

pub mod agent;
pub mod api;
mod args;
pub mod cli;
pub mod controller;
mod health;
mod kubernetes;
pub mod logging;
mod metrics;
pub mod process;
pub mod profile;
mod shutdown;
pub mod webhook;
