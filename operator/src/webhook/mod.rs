//! Admission: gives pods that state no seccomp profile the one that the SeccompPolicies say, and refuses SeccompProfiles and
//! SeccompPolicies that do not mean what they seem to.
//!
//! Decisions are pure functions of a review and of what the watches have told (`mutate`, `validate`, `view`); `review` reads and
//! writes AdmissionReviews; `server` speaks TLS and HTTP; `certificate` makes certificates. No decision calls the API server.

pub mod certificate;
#[cfg(test)]
mod golden;
pub mod mutate;
pub mod pod;
pub mod review;
pub mod server;
pub mod validate;
pub mod view;
