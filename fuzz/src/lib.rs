//! The engine by itself. It knows nothing of the rest of the product and needs next to nothing, so that it is built for
//! fuzzing in a fraction of the time.
#![allow(dead_code)] // what only its own tests use

#[path = "../../operator/src/profile/mod.rs"]
pub mod profile;
