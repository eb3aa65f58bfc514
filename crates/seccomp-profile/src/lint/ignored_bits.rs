//! `ignored-bits`: a call is refused for a number, and let through for others that the kernel takes for the same.

use super::subject::{Subject, listed};
use super::{Code, Finding, Severity};
use crate::action::Action;
use crate::condition::{ArgIndex, of_bits};
use crate::decision::{Decision, WorkBudget};
use crate::parameters::read_in_part;

pub(super) fn check(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    let native = subject.target.arch;
    let calls = subject.semantics.calls.iter();
    // Where arguments have 32 bits there is nothing above.
    let calls = calls.filter(|(call, _)| native.is_64_bit() && call.number(native).is_some());
    let mut budget = WorkBudget::for_profile();
    let found: Vec<_> = calls
        .filter(|(_, decision)| decision.constant().is_none())
        .flat_map(|(call, decision)| {
            let args = read_in_part(*call);
            args.filter(|(arg, bits)| is_open_above(decision, *arg, *bits, &mut budget))
                .map(|(arg, bits)| (*call, arg, bits))
                .collect::<Vec<_>>()
        })
        .collect();
    let Some((first, _, bits)) = found.first() else {
        return;
    };
    let most = of_bits(*bits);
    let which: Vec<_> = found
        .iter()
        .map(|(call, arg, _)| format!("argument {} of {}", arg.get(), call.name()))
        .collect();
    findings.push(Finding {
        code: Code::IgnoredBits,
        severity: Severity::Warning,
        path: subject.place_of_conditions(*first),
        reason: format!(
            "compares all 64 bits of {}, and the kernel reads the lower {bits}: a number that differs above is let through, and does what is \
             refused",
            listed(&which)
        ),
        remedy: format!(
            "refuse with SCMP_CMP_MASKED_EQ, {most} as value and the number as valueTwo; or allow with SCMP_CMP_EQ and SCMP_CMP_LT alone"
        ),
    });
}

/// Whether a number is let through, or answered more mildly, than what the kernel reads of it.
fn is_open_above(decision: &Decision, arg: ArgIndex, bits: u32, budget: &mut WorkBudget) -> bool {
    let mut closed = decision.clone();
    if closed.close_above(arg, bits, budget).is_err() {
        return false;
    }
    let is_open = |mine: Action, closed: Action| !mine.refuses() && closed.refuses();
    decision.find(&closed, is_open).is_some()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::lint::tests::{AMD64, derived_from, nothing};
    use crate::lint::{Code, Delivery, lint_document, lint_everywhere};
    use crate::{CapabilitySet, parse};

    #[test]
    fn what_the_kernel_does_not_read_of_a_number_opens_no_refusal_unsaid() {
        let socket = |action: &str, args: Value| json!({"names": ["socket"], "action": action, "args": [args]});
        let document = |default: &str, rule: Value| json!({"defaultAction": default, "architectures": ["SCMP_ARCH_X86_64"], "syscalls": [rule]});
        let equal = |op: &str| json!({"index": 0, "op": op, "value": 38});
        let masked =
            json!({"index": 0, "op": "SCMP_CMP_MASKED_EQ", "value": u32::MAX, "valueTwo": 38});
        let found = |document: &Value| {
            let document = parse(document, "").unwrap();
            let findings = lint_document(&document, Delivery::AsIs, &AMD64, "");
            findings
                .into_iter()
                .find(|finding| finding.code == Code::IgnoredBits)
        };
        let open = found(&document(
            "SCMP_ACT_ALLOW",
            socket("SCMP_ACT_ERRNO", equal("SCMP_CMP_EQ")),
        ))
        .unwrap();
        assert!(
            open.reason
                .starts_with("compares all 64 bits of argument 0 of socket"),
            "{open}"
        );
        assert!(open.remedy.contains("4294967295 as value"), "{open}");
        assert!(
            found(&document(
                "SCMP_ACT_ERRNO",
                socket("SCMP_ACT_ALLOW", equal("SCMP_CMP_NE"))
            ))
            .is_some()
        );
        // What the remedy says.
        for closed in [
            document("SCMP_ACT_ALLOW", socket("SCMP_ACT_ERRNO", masked)),
            document(
                "SCMP_ACT_ERRNO",
                socket("SCMP_ACT_ALLOW", equal("SCMP_CMP_EQ")),
            ),
            document(
                "SCMP_ACT_ERRNO",
                socket("SCMP_ACT_ALLOW", equal("SCMP_CMP_LT")),
            ),
        ] {
            assert_eq!(found(&closed), None, "{closed}");
        }
        // A denial on top is about what the kernel reads.
        let deny = json!({"deny": [{"name": "socket", "args": [{"index": 0, "op": "SCMP_CMP_EQ", "value": 2}]}]});
        for base in ["docker-default", "audit"] {
            let spec = derived_from(base, &deny);
            let findings = lint_everywhere(&spec, &nothing, CapabilitySet::RUNTIME_DEFAULT, "spec");
            assert!(
                findings
                    .iter()
                    .all(|finding| finding.code != Code::IgnoredBits),
                "{findings:?}"
            );
        }
    }
}
