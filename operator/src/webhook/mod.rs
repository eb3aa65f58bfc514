//! Admission: gives pods that state no seccomp profile the one that the SeccompPolicies say, and refuses SeccompProfiles and
//! SeccompPolicies that do not mean what they seem to.
//!
//! Decisions are pure functions of a review and of what the watches have told (`mutate`, `validate`, `view`), and `patch` writes them;
//! the crate `admission_review` reads reviews and writes answers; `server` has the routes, `connections` speaks TLS and HTTP;
//! `certificate` makes certificates; `metrics` counts. No decision calls the API server.

pub mod connections;
#[cfg(test)]
mod golden;
pub mod metrics;
pub mod server;
pub mod validate;
