//! Runs something before Rust's runtime starts.
//!
//! What the runtime does before `main` (poll on the standard descriptors, SIGPIPE, a stack for signals) ends the process with SIGABRT where
//! a filter stops it: nothing is said, and under a filter that also stops the signal the shell shows 139. The probe needs none of
//! that. So it runs when the C library calls the program's initialisers, and the process is over before the runtime's turn comes. The
//! runtime's own initialiser, which takes the arguments, has a number and runs before those that have none.

use std::os::unix::ffi::OsStrExt as _;

use super::process::exit_now;

extern "C" fn early() {
    let mut args = std::env::args_os();
    let program = args.next().unwrap_or_default();
    let name = program.as_bytes().rsplit(|byte| *byte == b'/').next();
    // Test binaries have other names.
    if name != Some(crate::BINARY.as_bytes()) || args.next().is_none_or(|word| word != "probe") {
        return;
    }
    if let Some(code) = crate::early_probe() {
        exit_now(code.into());
    }
}

#[used]
// SAFETY: the section holds pointers to functions that take at most argc, argv and envp; this one takes none of them.
#[unsafe(link_section = ".init_array")]
static EARLY: extern "C" fn() = early;
