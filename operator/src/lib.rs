//! seccomp-operator: what runs in a cluster. `control_plane` is the process of the Deployment, and ties `controller` and `webhook`
//! together; `agent` is the process of the DaemonSet, and `recorder` has the two of another one.
//!
//! Controller, webhook, agent and recorder do not know each other: what they share is what they say to the API server
//! (`seccomp_operator_api`), which pod gets which profile (`seccomp_policy`), and `pki`. `docs/architecture.md` is the map.

pub mod agent;
mod args;
mod ceilings;
pub mod control_plane;
pub mod controller;
mod health;
pub mod logging;
mod metrics;
pub mod pki;
pub mod process;
pub mod recorder;
mod shutdown;
mod trials;
pub mod webhook;
