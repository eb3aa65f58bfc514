//! The fields of a record: which call, whose, and what the filter did with it.

use std::borrow::Cow;

use super::Kind;
use super::needles::{Needle, Needles};
use crate::arch_words::arch_named;
use crate::arguments::{Given, Known};
use crate::call::{Call, Called, Verdict};
use seccomp_profile::{Arch, Syscall};

/// The bit that makes an `x86_64` number an x32 one.
const X32_BIT: u32 = 0x4000_0000;

/// The fields that matter, as they are written.
pub struct Record<'a> {
    arch: Arch,
    called: Called,
    pid: Option<u32>,
    comm: Cow<'a, str>,
    exe: Cow<'a, str>,
    arguments: Given<'a>,
    /// A rule has none.
    verdict: Option<Verdict>,
}

impl<'a> Record<'a> {
    pub fn read(needles: &Needles, fields: &'a str, kind: Kind) -> Option<Self> {
        // The names come before these, and `ausearch -i` writes them as the process chose them: the last is the kernel's.
        let last = |key: &Needle| key.after_last(fields).map(word);
        let first = |key: &Needle| key.after(fields);
        let name = |key: &Needle, next: &Needle| {
            let rest = first(key)?;
            Some(
                next.find(rest)
                    .map_or_else(|| word(rest), |end| &rest[..end]),
            )
        };
        // A rule's record begins with these, and a process has no say in what comes first.
        let sure = |key: &Needle| match kind {
            Kind::Seccomp => last(key),
            Kind::Rule => first(key).map(word),
        };
        let (arch, called) = call(sure(&needles.arch)?, sure(&needles.syscall)?)?;
        // `ausearch -i` puts numbers into words of its own.
        let is_raw = sure(&needles.syscall).is_some_and(|number| number.parse::<i64>().is_ok());
        let arguments = match kind {
            Kind::Rule if is_raw => Given::Registers(registers(fields)),
            _ => Given::Nothing,
        };
        let (behind_exe, verdict) = match kind {
            Kind::Seccomp => (&needles.sig, Some(verdict(last(&needles.code)?)?)),
            Kind::Rule => (&needles.subj, None),
        };
        Some(Self {
            arch,
            called,
            pid: first(&needles.pid).and_then(|p| word(p).parse().ok()),
            comm: name(&needles.comm, &needles.exe).map_or(Cow::Borrowed(""), text),
            exe: name(&needles.exe, behind_exe)
                .map(|exe| exe.split_once(" key=").map_or(exe, |(exe, _)| exe))
                .map_or(Cow::Borrowed(""), text),
            arguments,
            verdict,
        })
    }

    pub fn call(&self) -> Call<'_> {
        Call {
            arch: self.arch,
            called: self.called,
            times: 1,
            pid: self.pid,
            comm: &self.comm,
            exe: &self.exe,
            arguments: self.arguments,
            verdict: self.verdict,
        }
    }
}

/// `a0=2 a1=80001 a2=0 a3=7ffe12345678`: the first four of six.
fn registers(fields: &str) -> Known {
    let mut known = [None; 6];
    for (value, key) in known.iter_mut().zip([" a0=", " a1=", " a2=", " a3="]) {
        let digits = fields.split_once(key).map(|(_, rest)| word(rest));
        *value = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok());
    }
    known
}

/// Up to the next space, or to where auditd's own fields begin.
fn word(text: &str) -> &str {
    text.split([' ', '\x1d']).next().unwrap_or(text)
}

/// A name that a process may have chosen: in quotes, or in hexadecimal where that would not be safe.
fn text(value: &str) -> Cow<'_, str> {
    if let Some(quoted) = value.strip_prefix('"') {
        return Cow::Borrowed(quoted.strip_suffix('"').unwrap_or(quoted));
    }
    if value == "(null)" {
        return Cow::Borrowed("");
    }
    let bytes: Option<Vec<u8>> = value
        .as_bytes()
        .chunks(2)
        .map(|pair| match pair {
            [high, low] => Some(hex_digit(*high)? << 4 | hex_digit(*low)?),
            _ => None,
        })
        .collect();
    match bytes {
        // Some names hold a final NUL.
        Some(bytes) if !bytes.is_empty() => Cow::Owned(
            String::from_utf8_lossy(&bytes)
                .trim_end_matches('\0')
                .to_owned(),
        ),
        // `ausearch -i` leaves the quotes out.
        _ => Cow::Borrowed(value),
    }
}

/// The kernel writes capitals here, and small letters everywhere else.
fn hex_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// A number in small hexadecimal digits, whatever follows: auditd puts its own fields right behind the kernel's last.
fn hex(text: &str) -> Option<u32> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    let end = digits
        .find(|c: char| !matches!(c, '0'..='9' | 'a'..='f'))
        .unwrap_or(digits.len());
    u32::from_str_radix(&digits[..end], 16).ok()
}

/// From numbers, or from the words of `ausearch -i`.
fn call(arch: &str, syscall: &str) -> Option<(Arch, Called)> {
    // `unknown-syscall(1073742344)`
    let bare = syscall
        .strip_prefix("unknown-syscall(")
        .and_then(|s| s.strip_suffix(')'))
        .unwrap_or(syscall);
    // `socketcall(socket)`: what it asks for is taken from the record before, whosever that is.
    let bare = bare.split_once('(').map_or(bare, |(name, _)| name);
    let number = bare.parse::<i64>().ok();
    // ausearch takes names of an architecture that it does not know from that of its own machine.
    let strange = arch
        .strip_prefix("unknown-elf-type(")
        .and_then(|s| s.strip_suffix(')'));
    let arch = match arch_named(arch) {
        Some(named) => named,
        None => arch_from_audit(hex(strange.unwrap_or(arch))?)?,
    };
    let Some(number) = number else {
        if strange.is_some() {
            return None;
        }
        return Some((arch, Called::Known(audit_name(arch, bare)?)));
    };
    // Numbers are long; x86 programs can call -1.
    let number = u32::try_from(number)
        .or_else(|_| i32::try_from(number).map(i32::cast_unsigned))
        .ok()?;
    let is_x32 = arch == Arch::X86_64 && number & X32_BIT != 0 && number < 2 * X32_BIT;
    let arch = if is_x32 { Arch::X32 } else { arch };
    Some((arch, Called::numbered(arch, number)))
}

/// Names that the audit tools have for calls, and the kernel has not everywhere.
const AUDIT_NAMES: [&str; 7] = [
    "getdents",
    "madvise1",
    "newfstat",
    "pread",
    "pwrite",
    "sys_kexec_load",
    "timerfd",
];

/// The call that the audit tools mean by that name.
fn audit_name(arch: Arch, name: &str) -> Option<Syscall> {
    if AUDIT_NAMES.contains(&name) {
        return Syscall::named_on(name, arch);
    }
    Syscall::named(name).filter(|call| call.number(arch).is_some())
}

fn arch_from_audit(number: u32) -> Option<Arch> {
    Arch::ALL
        .iter()
        .copied()
        .find(|arch| *arch != Arch::X32 && arch.audit_arch() == number)
}

/// From `SECCOMP_RET_*`, or from the words of `ausearch -i`, which has one for both ways to kill.
fn verdict(code: &str) -> Option<Verdict> {
    if let Some(number) = code.strip_prefix("0x") {
        return Some(Verdict::from_code(hex(number)?));
    }
    if let Some(number) = code.strip_prefix("unknown-seccomp-code(") {
        return Some(Verdict::from_code(hex(number)?));
    }
    let word = code
        .find(|c: char| !c.is_ascii_lowercase() && c != '-')
        .map_or(code, |end| &code[..end]);
    match word {
        "user-notify" => Some(Verdict::Notify),
        "kill" => Some(Verdict::KillThread),
        _ => Verdict::ALL.into_iter().find(|v| v.name() == word),
    }
}
