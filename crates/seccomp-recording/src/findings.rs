//! All that the reports of a recording say, put together: over replicas, restarts and nodes.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::jiff::Timestamp;

use seccomp_operator_api::{RecordedCall, RecordedContainer, RecordingReport, absorb_calls};
use seccomp_profile::{Arch, Syscall};

/// What is known of a recording.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Findings {
    /// Containers that are recorded now.
    pub now: usize,
    /// Containers that were.
    pub were: usize,
    /// When the first one was handed over.
    pub started: Option<Timestamp>,
    /// The pods that were recorded, as far as the reports still tell them apart.
    pub pods: BTreeSet<String>,
    /// The images, as the runtimes name them.
    pub images: BTreeSet<String>,
    /// Why calls may be missing: sentences.
    pub gaps: Vec<String>,
    /// The calls, each architecture and name once, in their order.
    calls: Vec<RecordedCall>,
}

/// A call that the engine knows.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// The architecture that it was made through.
    pub arch: Arch,
    /// Which.
    pub syscall: Syscall,
    /// How often, when, with what arguments.
    pub seen: &'a RecordedCall,
}

impl Call<'_> {
    /// Whether the base let it happen at least once.
    #[must_use]
    pub fn succeeded(&self) -> bool {
        self.seen.count() > self.seen.refused
    }

    /// Whether only processes made it that were started in a running container.
    #[must_use]
    pub fn is_exec_only(&self) -> bool {
        self.seen.exec > 0 && self.seen.start_up == 0 && self.seen.steady == 0
    }
}

impl Findings {
    /// Of all that these reports have.
    #[must_use]
    pub fn new<'a>(reports: impl IntoIterator<Item = &'a RecordingReport>) -> Self {
        Self::of(reports, |_| true)
    }

    /// Of these reports, for some of the containers.
    #[must_use]
    pub fn of<'a>(
        reports: impl IntoIterator<Item = &'a RecordingReport>,
        wanted: impl Fn(&RecordedContainer) -> bool,
    ) -> Self {
        let mut findings = Self::default();
        for report in reports {
            if let Some(gap) = &report.degraded {
                findings.gaps.push(format!("node {}: {gap}", report.node));
            }
            for recorded in report.containers.iter().filter(|of| wanted(of)) {
                findings.add(&report.node, recorded);
            }
        }
        findings
    }

    fn add(&mut self, node: &str, recorded: &RecordedContainer) {
        let count = usize::try_from(recorded.merged.unwrap_or(1)).unwrap_or(1);
        match recorded.ended {
            None if !recorded.unheard => self.now += count,
            _ => self.were += count,
        }
        if recorded.unheard {
            self.gaps.push(format!(
                "node {node}: container {:?} of pod {} is not heard any more, since both processes of the recorder had ended",
                recorded.container, recorded.pod
            ));
        }
        let started = recorded.started.as_ref().map(|time| time.0);
        self.started = match (self.started, started) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        self.pods.insert(recorded.pod.clone());
        self.images.extend(recorded.image.clone());
        if recorded.unnamed > 0 {
            self.gaps.push(format!(
                "node {node}: calls of container {:?} of pod {} that were let through unread when the recorder was replaced: {}",
                recorded.container, recorded.pod, recorded.unnamed
            ));
        }
        absorb_calls(&mut self.calls, &recorded.calls);
    }

    /// The calls. What this version does not know by name is left out: no profile could name it.
    pub fn calls(&self) -> impl Iterator<Item = Call<'_>> {
        self.calls.iter().filter_map(|seen| {
            let arch = Arch::named(&seen.architecture)?;
            let syscall = Syscall::named(&seen.name)?;
            Some(Call {
                arch,
                syscall,
                seen,
            })
        })
    }

    /// How many calls with names that this version does not know.
    #[must_use]
    pub fn nameless(&self) -> usize {
        self.calls.len() - self.calls().count()
    }

    /// The machine's own architecture of those that were recorded: programs of others run on it too.
    #[must_use]
    pub fn natives(&self) -> BTreeSet<Arch> {
        let ran: BTreeSet<_> = self.calls().map(|call| call.arch).collect();
        let is_other = |arch: &Arch| {
            let hosts = Arch::KUBERNETES.iter().filter(|host| *host != arch);
            hosts.into_iter().any(|host| host.abis().contains(arch))
        };
        let own: BTreeSet<_> = ran.iter().copied().filter(|arch| !is_other(arch)).collect();
        // A 32-bit program alone, which calls nothing that is recorded through the machine's own architecture: the usual host.
        let host = |arch: &Arch| {
            let mut hosts = Arch::KUBERNETES.iter().copied();
            hosts
                .find(|host| host.abis().contains(arch))
                .unwrap_or(*arch)
        };
        let hosts: BTreeSet<_> = ran.iter().map(host).collect();
        if own.is_empty() {
            hosts
        } else {
            own.iter().map(host).collect()
        }
    }

    /// When each call was first seen, in order.
    #[must_use]
    pub fn firsts(&self) -> Vec<Timestamp> {
        let firsts = self
            .calls
            .iter()
            .filter_map(|call| Some(call.first_seen.as_ref()?.0));
        let mut firsts: Vec<_> = firsts.collect();
        firsts.sort_unstable();
        firsts
    }

    /// How often each call was made, by its name, over all architectures.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<&str, i64> {
        let mut counts = BTreeMap::new();
        for call in &self.calls {
            let count: &mut i64 = counts.entry(call.name.as_str()).or_default();
            *count = count.saturating_add(call.count());
        }
        counts
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// A report of containers `{"pod", "container", "ended", "calls": [[arch, name, {..}]]}`.
    pub fn report(node: &str, containers: &Value) -> RecordingReport {
        let containers: Vec<_> = containers.as_array().unwrap().iter().map(|given| {
            let calls: Vec<_> = given["calls"].as_array().unwrap().iter().map(|call| {
                let mut seen = json!({"architecture": format!("SCMP_ARCH_{}", call[0].as_str().unwrap()), "name": call[1]});
                for (key, value) in call[2].as_object().unwrap() {
                    seen[key] = value.clone();
                }
                seen
            }).collect();
            let mut container = given.clone();
            container["calls"] = calls.into();
            container["podUid"] = "u".into();
            container["containerId"] = "c".into();
            container
        }).collect();
        serde_json::from_value(json!({
            "recording": {"name": "web", "uid": "1"}, "node": node, "recorderVersion": "0", "containers": containers,
        })).unwrap()
    }

    #[test]
    fn replicas_restarts_and_nodes_come_to_one_set_of_calls() {
        let one = report(
            "n1",
            &json!([
                {"pod": "web-1", "container": "web", "started": "2026-01-01T00:00:05Z",
                    "calls": [["X86_64", "socket", {"steady": 2}], ["X86", "socketcall", {"startUp": 1}]]},
                {"pod": "web-1", "container": "log", "ended": "2026-01-01T00:01:00Z", "started": "2026-01-01T00:00:01Z",
                    "calls": [["X86_64", "mkdir", {"exec": 1}]]},
            ]),
        );
        let two = report(
            "n2",
            &json!([
                {"pod": "web-2", "container": "web", "merged": 3, "unnamed": 4, "ended": "2026-01-01T00:02:00Z",
                    "calls": [["X86_64", "socket", {"steady": 3, "startUp": 1}], ["X86_64", "bind", {"startUp": 1}], ["X86_64", "not_yet", {"exec": 1}]]},
            ]),
        );
        let all = Findings::new([&one, &two]);
        assert_eq!((all.now, all.were), (1, 4));
        assert_eq!(all.started, Some("2026-01-01T00:00:01Z".parse().unwrap()));
        let counts: Vec<_> = all
            .calls()
            .map(|call| (call.arch, call.syscall.name(), call.seen.count()))
            .collect();
        assert_eq!(
            counts,
            [
                (Arch::X86, "socketcall", 1),
                (Arch::X86_64, "bind", 1),
                (Arch::X86_64, "mkdir", 1),
                (Arch::X86_64, "socket", 6),
            ]
        );
        assert_eq!(all.nameless(), 1);
        assert_eq!(all.gaps.len(), 1);
        assert_eq!(all.natives(), [Arch::X86_64].into());
        let web = Findings::of([&one, &two], |container| container.container == "web");
        assert!(web.calls().all(|call| call.syscall.name() != "mkdir"));
    }

    #[test]
    fn a_program_of_32_bits_alone_is_one_of_its_usual_machine() {
        let one = report(
            "n1",
            &json!([{"pod": "p", "container": "c", "calls": [["X86", "mkdir", {"steady": 2}]]}]),
        );
        assert_eq!(Findings::new([&one]).natives(), [Arch::X86_64].into());
        let arm = report(
            "n1",
            &json!([{"pod": "p", "container": "c", "calls": [["AARCH64", "mkdirat", {"steady": 2}]]}]),
        );
        assert_eq!(
            Findings::new([&one, &arm]).natives(),
            [Arch::Aarch64].into()
        );
    }
}
