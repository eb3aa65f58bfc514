//! What a recording of system calls comes to.
//!
//! Each node's recorder reports what it saw. This crate puts the reports of a recording together ([`Findings`], or those of what becomes one profile: [`groups`]), says how complete they
//! are and when the recording is over ([`progress`]), what its status has to say of that ([`status`]), whether its spec is valid
//! ([`problems`]), and makes a profile of it ([`profile`]) that says where it comes from ([`provenance`]). Controller and plugin ask it, and get the same answer.
//!
//! Everything is a plain function of its arguments: no I/O, no clock.

mod findings;
mod groups;
mod length;
pub mod profile;
pub mod progress;
pub mod provenance;
pub mod status;
mod validation;

pub use findings::{Call, Findings};
pub use groups::{groups, result_name};
pub use length::{parse_length, show_length};
pub use validation::problems;
