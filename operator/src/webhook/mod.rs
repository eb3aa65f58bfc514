//! Admission: gives pods that state no seccomp profile the one that the SeccompPolicies say, and refuses SeccompProfiles and
//! SeccompPolicies that do not mean what they seem to.
//!
//! Decisions are pure functions of a review and of what the watches have told: on pods in the crate `seccomp_policy`, on the
//! operator's own kinds in `validate`. The crate `admission_review` reads reviews and writes answers. `server` has the routes, `body`
//! takes requests in, `response` answers them, `admission` is what they share; `connections` speaks TLS and HTTP; `metrics` counts. No
//! decision calls the API server, and nothing here knows the controller or the agents.

mod admission;
mod body;
pub mod connections;
#[cfg(test)]
mod golden;
pub mod metrics;
mod response;
pub mod server;
pub mod validate;
