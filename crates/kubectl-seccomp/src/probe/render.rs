//! The report for people. Pure.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::plan::Pattern;
use super::report::{AbiState, Conditional, Decided, Decision, Differing, ProbeReport};
use crate::text::{Style, wrap};

impl ProbeReport {
    /// For people.
    pub fn to_text(&self, style: Style) -> String {
        let mut out = String::new();
        self.write_process(&mut out, style);
        self.write_native(&mut out, style);
        self.write_rest(&mut out, style);
        out
    }

    fn write_process(&self, out: &mut String, style: Style) {
        let yes_no =
            |known: Option<bool>| known.map_or("unknown", |yes| if yes { "yes" } else { "no" });
        let number = |known: Option<u32>| known.map_or_else(|| "?".into(), |n| n.to_string());
        let filters = self.status.seccomp_filters.map_or_else(String::new, |n| {
            format!(" ({n} filter{})", if n == 1 { "" } else { "s" })
        });
        let seccomp = format!("{}{filters}", self.status.seccomp.unwrap_or("unknown"));
        let mut line = |name: &str, text: &str| {
            let _ = writeln!(
                out,
                "{} {text}",
                style.bold(&format!("{:<19}", format!("{name}:")))
            );
        };
        line("Kernel", &format!("{} {}", self.kernel, self.architecture));
        line(
            "User",
            &format!(
                "uid {}, gid {}",
                number(self.status.uid),
                number(self.status.gid)
            ),
        );
        line("Seccomp", &seccomp);
        line("No new privileges", yes_no(self.status.no_new_privileges));
        *out += &style.bold("Capabilities:\n");
        let sets = &self.status.capabilities;
        for (name, set) in [("bounding", &sets.bounding), ("effective", &sets.effective)] {
            let names = match set {
                None => "unknown".into(),
                Some(names) if names.is_empty() => "none".into(),
                Some(_) if name == "effective" && set == &sets.bounding => "all of these".into(),
                Some(names) => names.join(" "),
            };
            *out += &wrap(&format!("  {name}: "), &names);
        }
    }

    fn write_native(&self, out: &mut String, style: Style) {
        let native = &self.native;
        *out += &style.bold(&format!(
            "\nStopped syscalls: {} of {} ({})\n",
            native.stopped.len(),
            native.probed,
            self.architecture
        ));
        for (decision, names) in group(&native.stopped) {
            *out += &wrap(&format!("  {decision}: "), &names.join(" "));
        }
        if !native.untold.is_empty() {
            *out += &style.bold(&format!("\nNot to be told: {}\n", native.untold.len()));
            *out += &wrap("  ", &native.untold.join(" "));
        }
        if !native.conditional.is_empty() {
            *out += &style.bold(&format!(
                "\nStopped depending on the arguments: {}\n",
                native.conditional.len()
            ));
            for syscall in &native.conditional {
                let _ = writeln!(out, "  {}", syscall.name);
                for (decision, calls) in self.variants(syscall) {
                    *out += &wrap(&format!("    {decision}: "), &calls.join(", "));
                }
            }
        }
    }

    /// What was tried of a syscall, by decision. A pattern of several arguments is told only if none of one argument
    /// tells as much.
    fn variants(&self, syscall: &Conditional) -> BTreeMap<Decision, Vec<String>> {
        let mut variants: BTreeMap<Decision, Vec<String>> = BTreeMap::new();
        variants
            .entry(syscall.zeros)
            .or_default()
            .push("all arguments 0".into());
        for pattern in Pattern::ALL {
            let found = syscall
                .differing
                .iter()
                .find(|d| d.arguments == pattern.to_string());
            if let Some(Differing {
                arguments,
                decision,
            }) = found
            {
                let told = variants.entry(*decision).or_default();
                if told.is_empty() || matches!(pattern, Pattern::OnesIn(_)) {
                    told.push(arguments.clone());
                }
            }
        }
        for call in &self.calls {
            if call.call.split(['(', ':']).next() == Some(syscall.name) {
                variants
                    .entry(call.decision)
                    .or_default()
                    .push(call.call.clone());
            }
        }
        variants
    }

    fn write_rest(&self, out: &mut String, style: Style) {
        let asked: Vec<_> = self
            .calls
            .iter()
            .filter(|c| !c.call.contains('('))
            .collect();
        if !asked.is_empty() {
            *out += &style.bold("\nCalls asked for\n");
            for call in asked {
                let _ = writeln!(out, "  {}: {}", call.call, call.decision);
            }
        }
        *out += &style.bold("\nNumbers that no syscall has yet\n");
        let numbers: Vec<_> = self
            .unknown_numbers
            .iter()
            .map(|u| format!("{}: {}", u.number, u.decision))
            .collect();
        *out += &wrap("  ", &numbers.join(", "));
        if !self.other_abis.is_empty() {
            *out += &style.bold("\nOther ways into the kernel\n");
        }
        for abi in &self.other_abis {
            match abi.state {
                AbiState::Closed => {
                    let _ = writeln!(out, "  {}: closed, any call kills", abi.abi);
                }
                AbiState::Absent => {
                    let _ = writeln!(out, "  {}: this kernel has none", abi.abi);
                }
                AbiState::Filtered => {
                    let _ = write!(
                        out,
                        "  {}: {} of {} stopped",
                        abi.abi,
                        abi.stopped.len(),
                        abi.probed
                    );
                    if abi.open_though_stopped_natively.is_empty() {
                        *out += "\n";
                    } else {
                        *out += &wrap(
                            "; open though stopped above: ",
                            &abi.open_though_stopped_natively.join(" "),
                        );
                    }
                }
            }
        }
        *out += &style.bold("\nLimits\n");
        for limit in &self.limits {
            *out += &wrap("  ", limit);
        }
    }
}

fn group(stopped: &[Decided]) -> BTreeMap<Decision, Vec<&'static str>> {
    let mut groups: BTreeMap<Decision, Vec<&'static str>> = BTreeMap::new();
    for syscall in stopped {
        groups
            .entry(syscall.decision)
            .or_default()
            .push(syscall.name);
    }
    for names in groups.values_mut() {
        names.sort_unstable();
    }
    groups
}
