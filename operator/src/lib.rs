//! seccomp-operator: seccomp profiles on Kubernetes, from `kubectl apply` to the kernel.
//!
//! Dependencies between the modules point one way: `cli`, `agent`, `controller` and `webhook` use `api`, which uses
//! `profile`; `profile` knows nobody. `cli` also asks what `webhook` would decide; both have pods as the crate `admission_review`
//! reads them. `docs/architecture.md` is the map.

pub mod agent;
mod args;
pub mod controller;
mod health;
pub mod logging;
mod metrics;
pub mod pki;
pub mod process;
mod shutdown;
pub mod webhook;
