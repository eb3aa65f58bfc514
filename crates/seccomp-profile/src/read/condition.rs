//! Conditions on arguments.

use serde_json::{Map, Value};

use super::Reader;
use super::messages::{kind, not_a, one_of, quoted};
use crate::condition::{ArgIndex, Condition, Operator};
use crate::document::OddityKind;
use crate::problem::Path;

const ARG: &[&str] = &["index", "value", "valueTwo", "op"];

impl Reader {
    pub(super) fn condition(&mut self, value: &Value, path: &Path<'_>) -> Option<Condition> {
        let map = self.object(value, path, "a condition with index, op and value")?;
        self.fields(map, path, ARG);
        let arg = self.arg_index(map, path);
        let operand = self.operand(map, path, "value");
        if map.get("value").is_none_or(Value::is_null) {
            self.problems.add(&path.key("value"), || {
                (
                    "is missing".into(),
                    "state what the argument is compared with".into(),
                )
            });
        }
        let two = self.operand(map, path, "valueTwo");
        let op_path = path.key("op");
        let op = match map.get("op").filter(|value| !value.is_null()) {
            Some(value) => self.string(value, &op_path, "an operator, such as \"SCMP_CMP_EQ\"")?,
            None => "",
        };
        let (arg, value) = (arg?, operand?);
        let operator = match op {
            "SCMP_CMP_MASKED_EQ" => {
                let operator = Operator::MaskedEqual { mask: value };
                return Some(Condition {
                    arg,
                    operator,
                    value: two.unwrap_or(0),
                });
            }
            "SCMP_CMP_NE" => Operator::NotEqual,
            "SCMP_CMP_LT" => Operator::Less,
            "SCMP_CMP_LE" => Operator::LessOrEqual,
            "SCMP_CMP_EQ" => Operator::Equal,
            "SCMP_CMP_GE" => Operator::GreaterOrEqual,
            "SCMP_CMP_GT" => Operator::Greater,
            "" => {
                self.problems
                    .add(&op_path, || ("is missing".into(), one_of(Operator::NAMES)));
                return None;
            }
            other => {
                self.problems.add(&op_path, || {
                    not_a(other, "an operator", Operator::NAMES, "SCMP_CMP_")
                });
                return None;
            }
        };
        if two.is_some_and(|two| two != 0) {
            let what = || {
                (
                    format!("is not looked at by {op}"),
                    "remove it, or use SCMP_CMP_MASKED_EQ (value is the mask)".into(),
                )
            };
            let here = path.key("valueTwo");
            if self.as_is {
                let kind = OddityKind::Field {
                    name: format!("valueTwo of {op}"),
                    is_misspelt: true,
                };
                self.odd(kind, &here, what);
            } else {
                self.problems.add(&here, what);
            }
        }
        Some(Condition {
            arg,
            operator,
            value,
        })
    }

    pub(super) fn arg_index(
        &mut self,
        map: &Map<String, Value>,
        path: &Path<'_>,
    ) -> Option<ArgIndex> {
        let here = path.key("index");
        let remedy = || "write 0 to 5: the first argument of the call is 0".to_owned();
        match map.get("index").filter(|value| !value.is_null()) {
            None => {
                self.problems.add(&here, || {
                    (
                        "is missing, and runtimes would take the first argument".into(),
                        remedy(),
                    )
                });
                None
            }
            Some(value) => {
                let index = value.as_u64().and_then(ArgIndex::new);
                if index.is_none() {
                    self.problems.add(&here, || {
                        let what = match value {
                            Value::Number(number) => format!(
                                "{number} is not the index of one of a call's six arguments"
                            ),
                            other => format!("is {}, not a number", kind(other)),
                        };
                        (what, remedy())
                    });
                }
                index
            }
        }
    }

    /// A 64-bit operand: an integer, or a decimal or hexadecimal string for what JSON tools would round.
    pub(super) fn operand(
        &mut self,
        map: &Map<String, Value>,
        path: &Path<'_>,
        key: &str,
    ) -> Option<u64> {
        let value = map.get(key).filter(|value| !value.is_null())?;
        let number = match value {
            Value::Number(number) => number.as_u64().filter(|&number| !self.is_rounded(number)),
            Value::String(text) => {
                match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
                    Some(digits) if digits.bytes().all(|b| b.is_ascii_hexdigit()) => {
                        u64::from_str_radix(digits, 16).ok()
                    }
                    None if text.bytes().all(|b| b.is_ascii_digit()) => text.parse().ok(),
                    _ => None,
                }
            }
            _ => None,
        };
        if self.as_is && number.is_some() && value.is_string() {
            self.odd(OddityKind::Quoted, &path.key(key), || {
                (
                    "is a string: runc, containerd and youki start no container with it, and crun takes it for 0"
                        .into(),
                    "write the number without quotes".into(),
                )
            });
        }
        if number.is_none() {
            let whole_only = self.as_is && !self.in_object;
            self.problems.add(&path.key(key), || match value {
                Value::Number(number) if number.is_f64() && whole_only => (
                    format!("{number} is not a whole number of 64 bits, and runtimes start no container with it"),
                    format!("write it in digits alone, at most {}", u64::MAX),
                ),
                Value::Number(number) if number.is_f64() => (
                    format!("{number} is a floating-point number, which has lost the last digits of a 64-bit value"),
                    // In a file a string is no remedy: runtimes refuse it, or crun takes it for 0.
                    if self.in_object {
                        "write the value as a string, decimal or hexadecimal, such as \"0xffffffffffffffff\"".into()
                    } else {
                        "write it as a whole number, with all its digits, of at most 18446744073709551615".into()
                    },
                ),
                Value::Number(number) if number.is_u64() => (
                    format!("{number} is 2^63 or more, and API servers round such numbers to a multiple of 2048 without a word"),
                    "write the value that is meant as a string, decimal or hexadecimal, such as \"0xffffffffffffffff\"".into(),
                ),
                Value::Number(number) => (
                    format!("{number} is negative, and arguments are compared unsigned"),
                    if self.in_object {
                        "write the value as the kernel sees it, such as \"0xffffffff\" for a 32-bit -1".into()
                    } else {
                        "write the value as the kernel sees it, such as 4294967295 for a 32-bit -1".into()
                    },
                ),
                Value::String(text) => (
                    format!("{} is not a 64-bit number", quoted(text)),
                    if whole_only {
                        "write a whole number in digits, without quotes".into()
                    } else {
                        "write it in decimal or, after 0x, in hexadecimal digits".into()
                    },
                ),
                other => (
                    format!("is {}, not a number", kind(other)),
                    if whole_only {
                        "write a whole number".into()
                    } else {
                        "write a whole number, or a string that holds one".into()
                    },
                ),
            });
        }
        number
    }

    /// Whether an API server does not keep the number: its JSON has integers of 63 bits, and doubles for what is larger.
    fn is_rounded(&self, number: u64) -> bool {
        self.in_object && i64::try_from(number).is_err()
    }
}
