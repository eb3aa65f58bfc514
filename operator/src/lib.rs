//! seccomp-operator: what runs in a cluster. `control_plane` is the process of the Deployment, and ties `controller` and `webhook`
//! together; `agent` is the process of the DaemonSet, `recorder` has the two of another one, and `audit` that of a third.
//!
//! Controller, webhook, agent, recorder and audit reader do not know each other: what they share is what they say to the API server
//! (`seccomp_operator_api`), which pod gets which profile (`seccomp_policy`), and `pki`. `docs/architecture.md` is the map.

pub mod agent;
mod args;
pub mod audit;
mod ceilings;
pub mod control_plane;
pub mod controller;
mod health;
pub mod logging;
mod metrics;
mod node;
mod node_report;
pub mod pki;
pub mod process;
pub mod recorder;
mod recordings;
mod shutdown;
mod sources;
mod stored_pod;
mod trials;
pub mod webhook;
