//! System calls by the names that people write.

use seccomp_profile::Syscall;

/// The call of that name, or which may be meant.
pub fn named(name: &str) -> Result<Syscall, String> {
    Syscall::named(name).ok_or_else(|| {
        let meant = Syscall::meant_by(name).into_iter();
        let meant: Vec<_> = meant.map(Syscall::name).collect();
        let meant = match meant.as_slice() {
            [] => Syscall::suggestion_for(name).map(|call| format!("; did you mean {call}?")),
            calls => Some(format!("; the call is {}", calls.join(" or "))),
        };
        format!("no syscall has that name{}", meant.unwrap_or_default())
    })
}
