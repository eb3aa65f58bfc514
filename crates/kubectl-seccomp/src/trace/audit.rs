//! What one line of a kernel log, a journal or an audit log says of a call that seccomp stopped or logged. Pure.
//!
//! The record is `AUDIT_SECCOMP`, number 1326, of the kernel's `kernel/auditsc.c`. Its line looks different wherever it is
//! kept, and so do its values once `ausearch -i` has put them into words.

use std::borrow::Cow;

use super::call::{Call, Called, Seen, Verdict};
use super::carrier;
use super::copies::Copies;
use crate::machine;
use seccomp_profile::{Arch, Syscall};

/// The bit that makes an `x86_64` number an x32 one.
const X32_BIT: u32 = 0x4000_0000;

/// How a record begins, what of, and by which way it came.
const MARKS: [(&str, Kind, Way); 6] = [
    ("type=1326", Kind::Seccomp, Way::Kernel),
    ("type=SECCOMP", Kind::Seccomp, Way::Auditd),
    ("SECCOMP", Kind::Seccomp, Way::Journal),
    ("type=1300", Kind::Rule, Way::Kernel),
    ("type=SYSCALL", Kind::Rule, Way::Auditd),
    ("SYSCALL", Kind::Rule, Way::Journal),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A filter stopped or logged the call.
    Seccomp,
    /// A rule of audit (`auditctl -a always,exit -S all`) was true of it.
    Rule,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Printed by the kernel, which leaves out what comes too fast.
    Kernel,
    /// Written by auditd.
    Auditd,
    /// Received by journald, which has `audit[PID]:` before it, and all of them.
    Journal,
}

/// Reads line by line.
#[derive(Debug, Default)]
pub struct Reader {
    copies: Copies,
    /// The last serial number that the kernel has printed in this input.
    serial: Option<u64>,
    missing: u64,
    whole: bool,
}

impl Reader {
    /// To be called before the first line of each input.
    pub fn begin(&mut self) {
        self.serial = None;
        self.missing = 0;
        self.whole = false;
    }

    /// Reads a line. A call that another record has told of is not told of again.
    pub fn read(&mut self, line: &str, found: &mut dyn FnMut(&Call<'_>)) -> Seen {
        let Some(line) = carrier::unwrapped(line) else {
            return Seen::Unreadable;
        };
        if let Some(lost) = lost(&line) {
            return Seen::Lost(lost);
        }
        if let Some(serial) = printed_serial(&line) {
            let before = self.serial.replace(serial).unwrap_or(serial);
            // Several records can have one number; after a boot they begin anew.
            let gap = serial.saturating_sub(before).saturating_sub(1);
            self.missing = self.missing.saturating_add(gap);
        }
        let Some((fields, kind, way)) = record(&line) else {
            return Seen::Silent;
        };
        let Some(record) = Record::read(fields, kind) else {
            return Seen::Unreadable;
        };
        self.whole |= way == Way::Journal;
        let call = record.call();
        let same_record = fields.find("auid=").map_or(fields, |at| &fields[at..]);
        let same_record = same_record
            .split('\x1d')
            .next()
            .unwrap_or(same_record)
            .trim_end();
        let is_new = self.copies.is_new((same_record, kind as u8), way as usize)
            && call.pid.is_none_or(|pid| {
                self.copies
                    .is_new((pid, call.arch, call.called), kind as usize)
            });
        if is_new {
            found(&call);
            Seen::Used
        } else {
            Seen::Silent
        }
    }

    /// How many records are missing between the serial numbers of this input; none where audit's own way holds all.
    pub fn missing(&self) -> Option<u64> {
        (!self.whole).then_some(self.missing)
    }
}

/// The serial number of a record, of any type, that the kernel has printed: `audit: type=1326 audit(1795474870.398:22725):`
fn printed_serial(line: &str) -> Option<u64> {
    let (_, rest) = line.split_once("type=1")?;
    let (kind, rest) = rest.split_once(" audit(")?;
    let (time, _) = rest
        .split_once(')')
        .filter(|_| kind.bytes().all(|b| b.is_ascii_digit()))?;
    time.rsplit_once(':')?.1.parse().ok()
}

/// How many records the kernel says it has left out, if that is what the line says.
fn lost(line: &str) -> Option<u64> {
    if let Some((_, rest)) = line.split_once("kauditd_printk_skb: ") {
        return rest.split_once(" callbacks suppressed")?.0.parse().ok();
    }
    // `audit: audit_lost=7 audit_rate_limit=0 audit_backlog_limit=64`, the total so far: that some are lost is enough.
    line.contains("audit: audit_lost=").then_some(1)
}

/// The part of the line that holds the record's fields.
fn record(line: &str) -> Option<(&str, Kind, Way)> {
    MARKS.into_iter().find_map(|(mark, kind, way)| {
        let (at, _) = line.match_indices(mark).find(|(at, _)| {
            let before = line[..*at].chars().next_back();
            let after = line[at + mark.len()..].chars().next();
            before.is_none_or(char::is_whitespace) && after.is_none_or(char::is_whitespace)
        })?;
        let fields = &line[at + mark.len()..];
        // The bare word may stand in anybody's message.
        let is_record = mark.starts_with("type=") || fields.contains(" syscall=");
        is_record.then_some((fields, kind, way))
    })
}

/// The fields that matter, as they are written.
struct Record<'a> {
    arch: Arch,
    called: Called,
    pid: Option<u32>,
    comm: Cow<'a, str>,
    exe: Cow<'a, str>,
    /// A rule has none.
    verdict: Option<Verdict>,
}

impl<'a> Record<'a> {
    fn read(fields: &'a str, kind: Kind) -> Option<Self> {
        // The names come before these, and `ausearch -i` writes them as the process chose them: the last is the kernel's.
        let last = |key: &str| Some(word(&fields[fields.rfind(key)? + key.len()..]));
        let first = |key: &str| Some(&fields[fields.find(key)? + key.len()..]);
        let name = |key: &str, next: &str| {
            let rest = first(key)?;
            Some(
                rest.find(next)
                    .map_or_else(|| word(rest), |end| &rest[..end]),
            )
        };
        // A rule's record begins with these, and a process has no say in what comes first.
        let sure = |key: &str| match kind {
            Kind::Seccomp => last(key),
            Kind::Rule => first(key).map(word),
        };
        let (arch, called) = call(sure(" arch=")?, sure(" syscall=")?)?;
        let (behind_exe, verdict) = match kind {
            Kind::Seccomp => (" sig=", Some(verdict(last(" code=")?)?)),
            Kind::Rule => (" subj=", None),
        };
        Some(Self {
            arch,
            called,
            pid: first(" pid=").and_then(|p| word(p).parse().ok()),
            comm: name(" comm=", " exe=").map_or(Cow::Borrowed(""), text),
            exe: name(" exe=", behind_exe)
                .map(|exe| exe.split_once(" key=").map_or(exe, |(exe, _)| exe))
                .map_or(Cow::Borrowed(""), text),
            verdict,
        })
    }

    fn call(&self) -> Call<'_> {
        Call {
            arch: self.arch,
            called: self.called,
            times: 1,
            pid: self.pid,
            comm: &self.comm,
            exe: &self.exe,
            verdict: self.verdict,
        }
    }
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
    let arch = match machine::named(arch) {
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

/// The call that the audit tools mean by that name. Where theirs is not the kernel's, it may be the kernel's name of another
/// call.
fn audit_name(arch: Arch, name: &str) -> Option<Syscall> {
    let kernels = match (name, arch) {
        ("pread", _) => "pread64",
        ("pwrite", _) => "pwrite64",
        ("madvise1", _) => "madvise",
        ("sys_kexec_load", _) => "kexec_load",
        ("timerfd", Arch::X86_64 | Arch::X86) => "timerfd_create",
        ("newfstat", _) => "fstat",
        ("getdents", Arch::Aarch64 | Arch::Riscv64 | Arch::Loongarch64) => "getdents64",
        _ => name,
    };
    Syscall::named(kernels).filter(|call| call.number(arch).is_some())
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

#[cfg(test)]
mod tests {
    use proptest::strategy::Strategy;

    use super::*;

    /// `arch name pid comm exe verdict`
    fn say(line: &str) -> Result<String, Seen> {
        let mut said = String::new();
        match Reader::default().read(line, &mut |call| said = call.to_string()) {
            Seen::Used => Ok(said),
            other => Err(other),
        }
    }

    const KERNEL: &str = r#"audit: type=1326 audit(1795474870.398:22725): auid=4294967295 uid=0 gid=0 ses=4294967295 pid=13748 comm="busybox" exe="/bin/busybox" sig=0 arch=c000003e syscall=83 compat=0 ip=0x47b567 code=0x7ffc0000"#;

    #[test]
    fn the_record_is_found_wherever_it_is_kept() {
        let fields = KERNEL.split_once("): ").unwrap().1;
        for line in [
            KERNEL.to_owned(),
            format!("[  270.853767] {KERNEL}"),
            format!("<5>[  270.853767] {KERNEL}"),
            format!("Jul  8 10:31:23 node1 kernel: [  270.853767] {KERNEL}"),
            format!("Nov 24 06:51:10 node1 kernel: {KERNEL}"),
            format!("2026-11-24T06:51:10.123456+00:00 node1 kernel: {KERNEL}"),
            format!("Nov 24 06:51:10 node1 audit[13748]: SECCOMP {fields}"),
            format!("SECCOMP {fields}"),
            format!("type=SECCOMP msg=audit(1795474870.398:22725): {fields}"),
            format!("node=node1 type=SECCOMP msg=audit(1795474870.398:22725): {fields}"),
            format!(
                "type=SECCOMP msg=audit(1.2:3): {fields}\x1dAUID=\"unset\" UID=\"root\" ARCH=x86_64 SYSCALL=mkdir"
            ),
            // The separator is lost on the way through some tools.
            format!(
                "type=SECCOMP msg=audit(1.2:3): {fields}AUID=\"unset\" UID=\"root\" ARCH=x86_64 SYSCALL=mkdir"
            ),
            format!("type=SECCOMP msg=audit(1.2:3): {fields}#035AUID=\"unset\""),
            serde_json::json!({"_TRANSPORT": "kernel", "MESSAGE": KERNEL}).to_string(),
            serde_json::json!({"_TRANSPORT": "audit", "MESSAGE": format!("SECCOMP {fields}")})
                .to_string(),
            serde_json::json!({"MESSAGE": KERNEL.as_bytes()}).to_string(),
        ] {
            assert_eq!(
                say(&line).as_deref(),
                Ok("amd64 mkdir 13748 busybox /bin/busybox log"),
                "{line}"
            );
        }
    }

    #[test]
    fn the_words_of_ausearch_are_read_too() {
        for (fields, want) in [
            (
                "arch=x86_64 syscall=mkdir compat=0 ip=0x7f code=log ",
                "amd64 mkdir 9 ls /usr/bin/ls log",
            ),
            (
                "arch=i386 syscall=socketcall compat=1 ip=0x7f code=kill",
                "x86 socketcall 9 ls /usr/bin/ls kill-thread",
            ),
            (
                "arch=aarch64 syscall=mkdirat compat=0 ip=0x7f code=errno",
                "arm64 mkdirat 9 ls /usr/bin/ls errno",
            ),
            (
                "arch=x86_64 syscall=unknown-syscall(1073742344) compat=0 ip=0x7f code=unknown-seccomp-code(0x7fc00000)",
                "x32 execve 9 ls /usr/bin/ls notify",
            ),
        ] {
            let line = format!(
                "type=SECCOMP msg=audit(24/11/26 06:51:10.123:456) : auid=unset uid=root gid=root ses=unset subj=docker-default (enforce) pid=9 comm=ls exe=/usr/bin/ls sig=SIG0 {fields}"
            );
            assert_eq!(say(&line).as_deref(), Ok(want), "{line}");
        }
    }

    #[test]
    fn architectures_are_kept_apart() {
        for (arch, syscall, want) in [
            ("c000003e", "83", "amd64 mkdir"),
            ("40000003", "83", "x86 symlink"),
            ("40000003", "102", "x86 socketcall"),
            ("c000003e", "1073741907", "x32 mkdir"),
            ("c000003e", "1073742344", "x32 execve"),
            ("c00000b7", "34", "arm64 mkdirat"),
            ("40000028", "39", "arm mkdir"),
            ("40000028", "983045", "arm set_tls"),
            ("c00000f3", "34", "riscv64 mkdirat"),
            ("c0000015", "39", "ppc64le mkdir"),
            ("80000016", "39", "s390x mkdir"),
            ("c0000102", "34", "loongarch64 mkdirat"),
            ("40000008", "4039", "mipsel mkdir"),
            ("8", "4039", "mips mkdir"),
            ("e0000008", "6081", "mipsel64n32 mkdir"),
            ("c000003e", "999", "amd64 999"),
            ("c000003e", "-1", "amd64 4294967295"),
        ] {
            let line = format!(
                "audit: type=1326 audit(1.2:3): pid=1 comm=\"a\" exe=(null) sig=0 arch={arch} syscall={syscall} compat=0 ip=0x1 code=0x50000"
            );
            assert_eq!(say(&line), Ok(format!("{want} 1 a - errno")), "{line}");
        }
    }

    #[test]
    fn every_action_has_its_code() {
        for (code, want) in [
            ("0x0", "kill-thread"),
            ("0x80000000", "kill-process"),
            ("0x30000", "trap"),
            ("0x50000", "errno"),
            ("0x50026", "errno"),
            ("0x7fc00000", "notify"),
            ("0x7ff00000", "trace"),
            ("0x7ff00001", "trace"),
            ("0x7ffc0000", "log"),
            ("0x7fff0000", "allow"),
            // As the kernel takes what it does not know.
            ("0x12340000", "kill-process"),
        ] {
            let line = KERNEL.replace("0x7ffc0000", code);
            let said = say(&line).unwrap();
            assert_eq!(said.rsplit_once(' ').unwrap().1, want, "{line}");
        }
    }

    #[test]
    fn names_that_a_process_chose_are_read_as_the_kernel_writes_them() {
        for (comm, exe, want) in [
            (r#""my app""#, r#""/bin/a""#, "my app /bin/a"),
            (
                "6D7920617070",
                "2F62696E2F6D7920617070",
                "my app /bin/my app",
            ),
            ("2220737973", "(null)", "\" sys -"),
            (r#""ABCD""#, r#""(null)""#, "ABCD (null)"),
            ("C3A9", r#""/x""#, "\u{e9} /x"),
            // An odd number of digits is no hexadecimal.
            ("abc", "/bin/x", "abc /bin/x"),
        ] {
            let line = KERNEL
                .replace(r#""busybox""#, comm)
                .replace(r#""/bin/busybox""#, exe);
            assert_eq!(
                say(&line),
                Ok(format!("amd64 mkdir 13748 {want} log")),
                "{line}"
            );
        }
    }

    #[test]
    fn a_process_cannot_write_a_field_into_its_name() {
        // What `x" sys` becomes.
        let line = KERNEL.replace(r#""busybox""#, "782220737973");
        assert_eq!(
            say(&line).as_deref(),
            Ok("amd64 mkdir 13748 x\" sys /bin/busybox log")
        );
        // `ausearch -i` writes it as it is.
        let line = "type=SECCOMP msg=audit(24/11/26 06:51:10.123:456) : pid=9 comm=a arch=i386 code=errno exe=/a syscall=read b sig=SIG0 arch=x86_64 syscall=mkdir compat=0 ip=0x7f code=log";
        assert_eq!(
            say(line).as_deref(),
            Ok("amd64 mkdir 9 a arch=i386 code=errno /a syscall=read b log")
        );
    }

    #[test]
    fn other_lines_say_nothing() {
        for line in [
            "",
            "-- Boot 1234 --",
            "Nov 24 06:51:10 node1 sshd[1]: SECCOMP is a kernel feature",
            "audit: type=1016 audit(1.2:3): pid=1 comm=\"sh\" exe=\"/bin/sh\" sig=0 arch=c000003e syscall=1 code=0x7ffc0000",
            "audit: type=13260 audit(1.2:3): arch=c000003e syscall=1 code=0x7ffc0000",
            "----",
            "{}",
            r#"{"MESSAGE":null}"#,
            r#"{"MESSAGE":"audit: initializing"}"#,
            "{sa_handler=0x55}, NULL, 8) = 0",
        ] {
            assert_eq!(say(line), Err(Seen::Silent), "{line}");
        }
    }

    #[test]
    fn a_record_without_its_fields_is_unreadable() {
        for line in [
            "type=1326 syscall=1",
            "audit: type=1326 audit(1.2:3): pid=1 arch=c000003e syscall=1 compat=0 ip=0x1",
            "audit: type=1326 audit(1.2:3): pid=1 arch=c000003e syscall=read code=",
            "audit: type=1326 audit(1.2:3): pid=1 arch=deadbeef syscall=1 code=0x0",
            "audit: type=1326 audit(1.2:3): pid=1 arch=c000003e syscall=99999999999999999999 code=0x0",
            "{\"MESSAGE\": \"audit: type=1326 cut off",
        ] {
            assert_eq!(say(line), Err(Seen::Unreadable), "{line}");
        }
    }

    #[test]
    fn a_record_is_found_in_whatever_carries_it() {
        let escaped = KERNEL.replace('"', "\\\"");
        for line in [
            format!("{{\"log\":\"{escaped}\\n\",\"stream\":\"stdout\"}}"),
            format!("{{\"jsonPayload\":{{\"message\":\"{escaped}\"}}}}"),
            format!("         \"msg\": \"{escaped}\""),
            format!("\u{1e}{{\"MESSAGE\":\"{escaped}\"}}"),
            format!(
                "    MESSAGE={}",
                KERNEL.replace("audit: type=1326 audit(1795474870.398:22725):", "SECCOMP")
            ),
        ] {
            let want = "amd64 mkdir 13748 busybox /bin/busybox log";
            assert_eq!(say(&line).as_deref(), Ok(want), "{line}");
        }
    }

    #[test]
    fn the_words_of_ausearch_are_those_of_its_own_tables() {
        for (fields, want) in [
            ("arch=x86_64 syscall=pread", "amd64 pread64"),
            ("arch=aarch64 syscall=newfstat", "arm64 fstat"),
            ("arch=aarch64 syscall=getdents", "arm64 getdents64"),
            ("arch=x86_64 syscall=getdents", "amd64 getdents"),
            ("arch=i386 syscall=sys_kexec_load", "x86 kexec_load"),
            ("arch=i386 syscall=timerfd", "x86 timerfd_create"),
            // What it asks for is of the record before.
            ("arch=i386 syscall=socketcall(socket)", "x86 socketcall"),
            (
                "arch=unknown-elf-type(8) syscall=unknown-syscall(4039)",
                "mips mkdir",
            ),
        ] {
            let line = format!(
                "type=SECCOMP msg=audit(28/11/26 06:51:10.123:1) : pid=9 comm=a exe=/a sig=SIG0 {fields} compat=0 ip=0x7f code=user-notify "
            );
            assert_eq!(say(&line), Ok(format!("{want} 9 a /a notify")), "{line}");
            // A name of its own machine's, whatever the number meant.
            let strange = "arch=unknown-elf-type(c0000102) syscall=pause";
            assert_eq!(say(&line.replace(fields, strange)), Err(Seen::Unreadable));
        }
    }

    fn calls(lines: &[String]) -> (usize, Option<u64>) {
        let (mut reader, mut calls) = (Reader::default(), 0);
        reader.begin();
        for line in lines {
            reader.read(line, &mut |_| calls += 1);
        }
        (calls, reader.missing())
    }

    #[test]
    fn a_call_counts_once_whichever_ways_its_record_came() {
        let (_, fields) = KERNEL.split_once("): ").unwrap();
        let journal = format!("Nov 28 22:49:58 vm audit[13748]: SECCOMP {fields}");
        let kernel = format!("Nov 28 22:49:58 vm kernel: {KERNEL}");
        let auditd =
            format!("type=SECCOMP msg=audit(1795474870.398:22725): {fields}\u{1d}ARCH=x86_64");
        assert_eq!(
            calls(&[
                kernel.clone(),
                journal.clone(),
                journal.clone(),
                kernel.clone()
            ]),
            (2, None)
        );
        assert_eq!(calls(&[kernel.clone(), auditd]), (1, Some(0)));
        assert_eq!(calls(&[kernel.clone(), kernel]), (2, Some(0)));
    }

    #[test]
    fn records_of_audit_rules_are_calls_unless_seccomp_told_of_them() {
        let rule = "type=SYSCALL msg=audit(1.2:4): arch=c000003e syscall=83 success=no exit=-2 a0=55 items=2 ppid=1 pid=13748 comm=\"ls\" exe=\"/bin/ls\" subj=a key=\"seen\"";
        assert_eq!(say(rule).as_deref(), Ok("amd64 mkdir 13748 ls /bin/ls"));
        let keyed = rule.replace("subj=a ", "");
        assert_eq!(say(&keyed).as_deref(), Ok("amd64 mkdir 13748 ls /bin/ls"));
        let seccomp = KERNEL.replace("audit: type=1326", "type=SECCOMP");
        assert_eq!(calls(&[seccomp, rule.into()]).0, 1);
        assert_eq!(calls(&[rule.into(), rule.into()]).0, 2);
    }

    #[test]
    fn gaps_in_the_serial_numbers_are_losses() {
        let serial = |n: u64| KERNEL.replace(":22725", &format!(":{n}"));
        let other = "audit: type=1400 audit(1795474870.398:12): apparmor=\"DENIED\"".to_owned();
        assert_eq!(
            calls(&[serial(10), serial(11), other, serial(13)]).1,
            Some(0)
        );
        assert_eq!(calls(&[serial(10), serial(29), serial(29)]).1, Some(18));
        // After a boot.
        assert_eq!(calls(&[serial(100), serial(1), serial(2)]).1, Some(0));
    }

    #[test]
    fn losses_are_counted() {
        assert_eq!(
            say("[ 3683.829070] kauditd_printk_skb: 17 callbacks suppressed"),
            Err(Seen::Lost(17))
        );
        assert_eq!(
            say("kernel: kauditd_printk_skb: 18 callbacks suppressed in all"),
            Err(Seen::Lost(18))
        );
        assert_eq!(
            say("audit: audit_lost=7 audit_rate_limit=0 audit_backlog_limit=64"),
            Err(Seen::Lost(1))
        );
    }

    /// A name as the kernel writes it (`audit_log_untrustedstring`).
    fn untrusted(name: &[u8]) -> String {
        if name.iter().any(|b| *b == b'"' || *b < 0x21 || *b > 0x7e) {
            return name
                .iter()
                .fold(String::new(), |hex, b| hex + &format!("{b:02X}"));
        }
        format!("\"{}\"", String::from_utf8_lossy(name))
    }

    proptest::proptest! {
        #[test]
        fn what_the_kernel_writes_is_read(
            number in proptest::sample::select(Arch::ALL.to_vec()).prop_flat_map(|arch| {
                let calls: Vec<_> = seccomp_profile::Syscall::all().filter_map(|c| c.number(arch)).collect();
                (proptest::strategy::Just(arch), proptest::sample::select(calls))
            }),
            comm in "[^\0]{1,15}",
            code in proptest::num::u32::ANY,
        ) {
            let (arch, number) = number;
            let line = format!(
                "audit: type=1326 audit(1.2:3): auid=0 uid=0 gid=0 ses=1 subj=a b=\"c pid=5 comm={} exe=\"/x\" sig=0 arch={:x} syscall={number} compat=0 ip=0x1 code=0x{code:x}",
                untrusted(comm.as_bytes()),
                arch.audit_arch(),
            );
            let mut found = vec![];
            let seen = Reader::default().read(&line, &mut |call| {
                found.push((call.arch, call.called, call.comm.to_owned(), call.verdict));
            });
            proptest::prop_assert_eq!(seen, Seen::Used);
            let want = (arch, Called::numbered(arch, number), comm, Some(Verdict::from_code(code)));
            proptest::prop_assert_eq!(found, vec![want]);
        }

        #[test]
        fn no_line_is_too_strange(
            line in "(type=1326 |type=SECCOMP |SECCOMP |arch=|syscall=|code=0x|comm=|\"|=|[0-9a-f]| |\\{|\\PC){0,30}"
        ) {
            let mut calls = 0;
            let seen = Reader::default().read(&line, &mut |_| calls += 1);
            proptest::prop_assert_eq!(seen == Seen::Used, calls == 1);
        }
    }
}
