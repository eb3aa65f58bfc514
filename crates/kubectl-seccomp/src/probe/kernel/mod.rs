//! The kernel's seccomp interface, by hand, and so with unsafe code.
//!
//! It runs before Rust's runtime does ([`early`]), forks ([`process`]), shares a board of calls between the processes ([`board`]), stacks a filter that catches every
//! call carrying a secret cookie in its sixth argument, makes such calls and answers them ([`filter`]), and notes the
//! signal that a filter may raise ([`trap`]). What to call and what an answer means is decided elsewhere: nothing here
//! knows a syscall's name.
//!
//! A call can only be made through a [`Guard`], and a `Guard` only exists in a process (or the child of one) that has
//! the catching filter in force: this is what makes it safe to call anything at all.
#![allow(unsafe_code)]

mod board;
mod early;
mod filter;
mod process;
mod trap;

pub use board::{Board, Call, EntryPoint, Mark};
pub use filter::{
    Cookie, Guard, Listener, catch_with_listener, catch_without_tracer, no_new_privs,
};
pub use process::{
    End, Side, die_with_parent, exit_now, fork, kill, no_core_dumps, pause, pipe, poll, wait,
};
pub use trap::note_traps;
