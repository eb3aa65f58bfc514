//! The kernel's record of a call that seccomp logged or killed: `kernel/auditsc.c`, `audit_seccomp`.

/// What became of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// It returned an error. Logged only where the filter was loaded with `SECCOMP_FILTER_FLAG_LOG`.
    Refused,
    /// Its thread or process was killed.
    Killed,
    /// Its thread got a signal instead. Logged only with `SECCOMP_FILTER_FLAG_LOG`.
    Trapped,
    /// It happened.
    Logged,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Refused, Self::Killed, Self::Trapped, Self::Logged];

    /// By what the filter returned (`SECCOMP_RET_*`). None for what a tracer or a listener was asked: the filter did not decide.
    #[must_use]
    pub const fn of(code: u32) -> Option<Self> {
        match code & 0xffff_0000 {
            0x8000_0000 | 0 => Some(Self::Killed),
            0x0003_0000 => Some(Self::Trapped),
            0x0005_0000 => Some(Self::Refused),
            0x7ffc_0000 => Some(Self::Logged),
            _ => None,
        }
    }

    /// A word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Killed => "killed",
            Self::Trapped => "trapped",
            Self::Logged => "logged",
        }
    }
}

/// Which call, and what became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Call {
    /// `AUDIT_ARCH_*`.
    pub arch: u32,
    /// The system call's number there. Those of x32 have the bit that tells them.
    pub number: u32,
    /// What became of it.
    pub outcome: Outcome,
}

/// A record of seccomp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// The process, in the machine's first PID namespace.
    pub pid: u32,
    /// The thread's name, as the record has it: quoted, or in hexadecimal digits where it has other than plain characters.
    pub comm: &'a str,
    /// The call. None if it was left to a tracer or to a listener.
    pub call: Option<Call>,
}

impl<'a> Record<'a> {
    /// `AUDIT_SECCOMP`.
    pub const KIND: u16 = 1326;

    /// Reads the text of a record of this kind: `audit(1700000000.123:456): auid=... pid=7 comm="x" ... code=0x7ffc0000`.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Self> {
        let (mut pid, mut comm, mut arch, mut number, mut code) = (None, None, None, None, None);
        // No value has a space in it: names that have are in hexadecimal digits.
        for word in text.split_ascii_whitespace() {
            let Some((name, value)) = word.split_once('=') else {
                continue;
            };
            match name {
                "pid" => pid = value.parse().ok(),
                "comm" => comm = Some(value),
                "arch" => arch = u32::from_str_radix(value, 16).ok(),
                "syscall" => number = number_of(value),
                "code" => code = u32::from_str_radix(value.strip_prefix("0x")?, 16).ok(),
                _ => {}
            }
        }
        let (arch, number) = (arch?, number?);
        let call = Outcome::of(code?).map(|outcome| Call {
            arch,
            number,
            outcome,
        });
        Some(Self {
            pid: pid?,
            comm: comm?,
            call,
        })
    }

    /// The thread's name, readable.
    #[must_use]
    pub fn name(&self) -> String {
        let quoted = self.comm.strip_prefix('"');
        if let Some(name) = quoted.and_then(|rest| rest.strip_suffix('"')) {
            return name.chars().take(COMM).collect();
        }
        let digits = self.comm.as_bytes().chunks_exact(2).take(COMM);
        let bytes = digits.map(|pair| {
            let pair = std::str::from_utf8(pair).ok()?;
            u8::from_str_radix(pair, 16).ok()
        });
        let bytes: Option<Vec<u8>> = bytes.collect();
        let bytes = bytes.unwrap_or_default();
        let name = String::from_utf8_lossy(&bytes);
        let visible = |c: char| if c.is_control() { '?' } else { c };
        name.chars().map(visible).collect()
    }
}

/// `TASK_COMM_LEN`, without its zero.
const COMM: usize = 15;

/// The kernel prints a `long`: -1 is a call that a tracer skipped.
fn number_of(value: &str) -> Option<u32> {
    let number: i64 = value.parse().ok()?;
    u32::try_from(number).ok()
}

/// The serial number of any audit record.
#[must_use]
pub fn serial(text: &str) -> Option<u64> {
    let (_, rest) = text.strip_prefix("audit(")?.split_once(':')?;
    rest.split_once(')')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: &str = r#"audit(1700000000.123:456): auid=4294967295 uid=0 gid=0 ses=4294967295 subj=unconfined pid=4242 comm="busybox" exe="/bin/busybox" sig=0 arch=c000003e syscall=83 compat=0 ip=0x7f0000001000 code=0x7ffc0000"#;

    #[test]
    fn a_record_says_who_called_what_and_what_became_of_it() {
        let record = Record::parse(TEXT).unwrap();
        let call = Call {
            arch: 0xc000_003e,
            number: 83,
            outcome: Outcome::Logged,
        };
        assert_eq!((record.pid, record.call), (4242, Some(call)));
        assert_eq!(
            (record.name().as_str(), serial(TEXT)),
            ("busybox", Some(456))
        );
        for (code, outcome) in [
            ("0x80000000", Some(Outcome::Killed)),
            ("0x0", Some(Outcome::Killed)),
            ("0x30000", Some(Outcome::Trapped)),
            ("0x50001", Some(Outcome::Refused)),
            ("0x7fc00000", None),
            ("0x7ff00000", None),
        ] {
            let text = TEXT.replace("0x7ffc0000", code);
            let call = Record::parse(&text).unwrap().call;
            assert_eq!(call.map(|call| call.outcome), outcome, "{code}");
        }
    }

    #[test]
    fn a_name_with_other_characters_is_read_too() {
        let text = TEXT.replace("\"busybox\"", "6120622203");
        assert_eq!(Record::parse(&text).unwrap().name(), "a b\"?");
        let text = TEXT.replace("\"busybox\"", "(null)");
        assert_eq!(Record::parse(&text).unwrap().name(), "");
    }

    #[test]
    fn what_lacks_a_field_is_no_record() {
        for field in ["pid=4242", "arch=c000003e", "syscall=83", "code=0x7ffc0000"] {
            assert_eq!(Record::parse(&TEXT.replace(field, "")), None, "{field}");
        }
        assert_eq!(Record::parse(&TEXT.replace("=83", "=-1")), None);
    }

    proptest! {
        #[test]
        fn garbage_is_read_without_harm(text in "\\PC*", cut in 0..TEXT.len(), noise in "[a-z=0-9x\" ]*") {
            for text in [text, TEXT[..cut].to_owned(), format!("{}{noise}{}", &TEXT[..cut], &TEXT[cut..])] {
                let _ = serial(&text);
                if let Some(record) = Record::parse(&text) {
                    prop_assert!(record.name().chars().count() <= COMM);
                }
            }
        }
    }
}
