//! `AdmissionReview`s (`admission.k8s.io/v1`): reads what a decision needs of a body, and writes the answers.
//!
//! What the object is is up to the caller ([`Request`] is generic in it). This crate knows neither pods nor policies, and does no I/O.

mod answer;
mod compact;
mod head;
mod question;
mod warnings;

pub use answer::{Answer, failure};
pub use head::{Head, read_head};
pub use question::{Kind, Request, ReviewError, read};

const API_VERSION: &str = "admission.k8s.io/v1";
const KIND: &str = "AdmissionReview";
