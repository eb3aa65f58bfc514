//! From a profile to the bytes that a runtime reads.

use serde::{Serialize, Serializer};

use super::action::Action;
use super::condition::{Condition, Operator};
use super::errno::Errno;
use super::oci::{Flag, Profile, Rule};

impl Profile {
    /// Runtime-spec JSON, always the same bytes for an equal profile; [`parse_slice`](super::parse_slice) reads the
    /// same profile from it. Everything that a runtime would otherwise fill in is written out.
    #[must_use]
    pub fn to_canonical_json(&self) -> Vec<u8> {
        // Writing to memory with string keys cannot fail.
        let mut bytes = serde_json::to_vec_pretty(&File::from(self)).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct File<'a> {
    default_action: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    default_errno_ret: Option<u16>,
    architectures: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    flags: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    listener_path: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    listener_metadata: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    syscalls: Vec<Entry<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry<'a> {
    names: Vec<&'static str>,
    action: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    errno_ret: Option<u16>,
    #[serde(skip_serializing_if = "<[_]>::is_empty", serialize_with = "args")]
    args: &'a [Condition],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Arg {
    index: u8,
    value: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_two: Option<u64>,
    op: &'static str,
}

impl<'a> From<&'a Profile> for File<'a> {
    fn from(profile: &'a Profile) -> Self {
        let listener = profile.listener.as_ref();
        Self {
            default_action: profile.default_action.name(),
            default_errno_ret: errno_ret(profile.default_action),
            architectures: profile
                .architectures
                .iter()
                .map(|arch| arch.to_string())
                .collect(),
            flags: profile.flags.iter().map(Flag::name).collect(),
            listener_path: listener.map(|listener| listener.path.as_str()),
            listener_metadata: listener.and_then(|listener| listener.metadata.as_deref()),
            syscalls: profile.rules.iter().map(Entry::from).collect(),
        }
    }
}

impl<'a> From<&'a Rule> for Entry<'a> {
    fn from(rule: &'a Rule) -> Self {
        Self {
            names: rule.syscalls.iter().map(|call| call.name()).collect(),
            action: rule.action.name(),
            errno_ret: errno_ret(rule.action),
            args: &rule.conditions,
        }
    }
}

fn errno_ret(action: Action) -> Option<u16> {
    action.errno().map(Errno::get)
}

fn args<S: Serializer>(conditions: &[Condition], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(conditions.iter().map(|condition| {
        let (value, value_two) = match condition.operator {
            Operator::MaskedEqual { mask } => (mask, Some(condition.value)),
            _ => (condition.value, None),
        };
        Arg {
            index: condition.arg.get(),
            value,
            value_two,
            op: condition.operator.name(),
        }
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::*;

    const TARGET: Target = Target {
        arch: Arch::X86_64,
        kernel: KernelVersion { major: 6, minor: 1 },
        capabilities: CapabilitySet::RUNTIME_DEFAULT,
    };

    #[test]
    fn writes_what_a_runtime_would_fill_in_and_reads_the_same_back() {
        let document = json!({
            "defaultAction": "SCMP_ACT_ERRNO",
            "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}],
            "flags": ["SECCOMP_FILTER_FLAG_LOG"],
            "syscalls": [
                {"names": ["read", "close", "read"], "action": "SCMP_ACT_ALLOW", "args": []},
                {"name": "bpf", "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_BPF"]}},
                {"name": "clone", "action": "SCMP_ACT_ALLOW", "args": [
                    {"index": 0, "value": "0x7e020000", "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"},
                    {"index": 1, "value": "18446744073709551615", "op": "SCMP_CMP_NE"},
                ]},
                {"name": "clone3", "action": "SCMP_ACT_ERRNO", "errno": "ENOSYS"},
            ],
        });
        let profile = parse(&document, "").unwrap().resolve(&TARGET);
        let bytes = profile.to_canonical_json();
        let written: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(
            written,
            json!({
                "defaultAction": "SCMP_ACT_ERRNO",
                "defaultErrnoRet": 1,
                "architectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X86_64"],
                "flags": ["SECCOMP_FILTER_FLAG_LOG"],
                "syscalls": [
                    {"names": ["close", "read"], "action": "SCMP_ACT_ALLOW"},
                    {"names": ["clone"], "action": "SCMP_ACT_ALLOW", "args": [
                        {"index": 0, "value": 0x7e02_0000, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"},
                        {"index": 1, "value": u64::MAX, "op": "SCMP_CMP_NE"},
                    ]},
                    {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
                ],
            })
        );
        assert_eq!(parse_slice(&bytes, "").unwrap().resolve(&TARGET), profile);
    }
}
