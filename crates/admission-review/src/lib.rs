//! AdmissionReviews (`admission.k8s.io/v1`) of pods: reads what decisions need where it stands in the body, and writes the answers.
//!
//! An API server waits for this with every pod of a cluster, so this crate is compiled for speed, unlike the rest of the product,
//! which is compiled for size; that is why it is one. It knows neither policies nor profiles, and does no I/O.

pub mod json;
#[cfg(any(test, feature = "whole"))]
pub mod whole;

mod answer;
mod brackets;
mod question;
mod warnings;

pub use answer::{Answer, encode, failure, write_json};
pub use question::{Anything, Head, Kind, Request, ReviewError, read, read_head};

const API_VERSION: &str = "admission.k8s.io/v1";
const KIND: &str = "AdmissionReview";
