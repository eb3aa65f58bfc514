//! What a process tells Prometheus of itself: the registry that `/metrics` is made of, and what every process has.
//!
//! There is one registry per process, made by its `run` and handed down; each component's `metrics` module registers what it
//! counts. A label's values are known beforehand: reasons, outcomes, kinds, never the names of objects. Series with known labels
//! start at 0, so that a rate over the first failure sees it. `docs/metrics.md` describes them all, and a test compares.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _, text};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

/// All names but those of the process begin so.
pub const PREFIX: &str = "seccomp_operator";
/// The media type of what [`encode`] gives.
pub const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Clock ticks per second in /proc; a constant of Linux' interface (`USER_HZ`) on all architectures that this is built for.
const TICKS: f64 = 100.0;

/// One label, whose value is one of a few words.
pub type Label = [(&'static str, &'static str); 1];

/// A registry with what every process tells.
#[must_use]
pub fn registry() -> Registry {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Process));
    registry.sub_registry_with_prefix(PREFIX).register(
        "build",
        "The version that runs",
        Info::new([("version", env!("CARGO_PKG_VERSION"))]),
    );
    registry
}

/// A family with one series at its default for each of these values of its one label.
pub fn family<M: Default>(label: &'static str, values: &[&'static str]) -> Family<Label, M> {
    let family = Family::default();
    for value in values {
        drop(family.get_or_create(&[(label, *value)]));
    }
    family
}

/// All that is registered, in the `OpenMetrics` text format.
pub fn encode(registry: &Registry) -> Result<String, fmt::Error> {
    let mut text = String::new();
    text::encode(&mut text, registry)?;
    Ok(text)
}

/// What the kernel says of this process, by the names that Prometheus' own clients use.
#[derive(Debug)]
struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        // Without /proc there is nothing to tell, which is no reason to tell nothing else.
        if let Some(bytes) = resident_memory() {
            let gauge = ConstGauge::new(bytes);
            let help = "Resident memory size in bytes";
            gauge.encode(encoder.encode_descriptor(
                "process_resident_memory",
                help,
                Some(&Unit::Bytes),
                gauge.metric_type(),
            )?)?;
        }
        if let Some(seconds) = cpu_seconds() {
            let counter = ConstCounter::new(seconds);
            let help = "Total user and system CPU time spent in seconds";
            counter.encode(encoder.encode_descriptor(
                "process_cpu",
                help,
                Some(&Unit::Seconds),
                counter.metric_type(),
            )?)?;
        }
        if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
            // One of them reads the folder.
            let gauge =
                ConstGauge::new(i64::try_from(open.count().saturating_sub(1)).unwrap_or(i64::MAX));
            let help = "Number of open file descriptors";
            gauge.encode(encoder.encode_descriptor(
                "process_open_fds",
                help,
                None,
                gauge.metric_type(),
            )?)?;
        }
        Ok(())
    }
}

fn resident_memory() -> Option<i64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: i64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the program's name in parentheses, and may hold anything.
    let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_whitespace();
    let user: u32 = fields.nth(11)?.parse().ok()?;
    let system: u32 = fields.next()?.parse().ok()?;
    Some((f64::from(user) + f64::from(system)) / TICKS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};
    use std::convert::Infallible;
    use std::path::Path;

    use axum::http;
    use futures::FutureExt as _;
    use tower::{Layer as _, ServiceExt as _, service_fn};

    use crate::controller::metrics as controller;
    use crate::{agent, audit, webhook};
    use kube_support::Requests;

    /// A metric's type and the names of its labels, by its name.
    type Described = BTreeMap<String, (String, BTreeSet<String>)>;

    /// Registers the counters of calls, and makes one, so that there is a series.
    fn api_requests(registry: &mut Registry) {
        let requests = Requests::new(registry.sub_registry_with_prefix(PREFIX));
        let service = requests.layer(service_fn(async |_: http::Request<()>| {
            Ok::<_, Infallible>(http::Response::new(()))
        }));
        let called = service.oneshot(http::Request::new(())).now_or_never();
        assert!(called.is_some());
    }

    fn agent() -> Registry {
        let mut registry = registry();
        drop(agent::metrics::Metrics::new(&mut registry));
        api_requests(&mut registry);
        registry
    }

    fn audit() -> Registry {
        let mut registry = registry();
        audit::metrics::register(&mut registry, seccomp_audit::Reader::default().control());
        api_requests(&mut registry);
        registry
    }

    fn controller() -> Registry {
        let mut registry = registry();
        drop(controller::Metrics::new(&mut registry));
        drop(webhook::metrics::Metrics::new(&mut registry));
        api_requests(&mut registry);
        let counts = controller::CountsCollector(controller::Counts::default);
        registry
            .sub_registry_with_prefix(PREFIX)
            .sub_registry_with_prefix("controller")
            .register_collector(Box::new(counts));
        registry
    }

    fn exposed(registry: &Registry) -> Described {
        let text = encode(registry).unwrap();
        let mut described = Described::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                described.insert(name.into(), (kind.into(), BTreeSet::new()));
            } else if let Some((series, rest)) = line.split_once('{') {
                let labels = rest.split_once('}').unwrap().0;
                let names = labels
                    .split("\",")
                    .filter_map(|label| Some(label.split_once('=')?.0));
                let metric = described
                    .iter_mut()
                    .filter(|(name, _)| series.starts_with(name.as_str()))
                    .max_by_key(|(name, _)| name.len())
                    .unwrap();
                // A histogram's own.
                metric
                    .1
                    .1
                    .extend(names.filter(|name| *name != "le").map(str::to_owned));
            }
        }
        described
    }

    /// The rows `| name | type | labels | meaning |` of the section with this heading.
    fn documented(page: &str, heading: &str) -> Described {
        let section = page
            .split("\n## ")
            .find(|section| section.starts_with(heading));
        let rows = section
            .unwrap()
            .lines()
            .filter_map(|line| line.strip_prefix("| `"));
        rows.map(|row| {
            let cells: Vec<_> = row.split('|').map(str::trim).collect();
            let labels = cells[2].split('`').skip(1).step_by(2).map(str::to_owned);
            // A page for people names the series that they ask for; the format has a family's name without its ending.
            let name = cells[0].trim_end_matches('`');
            let name = match cells[1] {
                "counter" => name.trim_end_matches("_total"),
                "info" => name.trim_end_matches("_info"),
                _ => name,
            };
            (name.to_owned(), (cells[1].to_owned(), labels.collect()))
        })
        .collect()
    }

    fn page() -> String {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn the_page_on_metrics_describes_what_there_is_and_nothing_else() {
        let page = page();
        for (heading, registry) in [
            ("The agent", agent()),
            ("The audit reader", audit()),
            ("The controller", controller()),
        ] {
            let mut described = documented(&page, "Both");
            described.extend(documented(&page, heading));
            assert_eq!(exposed(&registry), described, "{heading}");
            let text = encode(&registry).unwrap();
            assert!(!text.contains("{}") && !text.contains(",}"), "{text}");
        }
    }

    #[test]
    fn no_label_holds_the_name_of_an_object() {
        let names = [
            "name",
            "profile",
            "pod",
            "namespace",
            "node",
            "container",
            "uid",
            "image",
        ];
        for registry in [agent(), audit(), controller()] {
            for (metric, (_, labels)) in exposed(&registry) {
                assert!(
                    labels.iter().all(|label| !names.contains(&label.as_str())),
                    "{metric}: {labels:?}"
                );
            }
        }
    }
}
