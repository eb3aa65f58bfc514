//! What changes cost, and how it grows.

use std::fmt;
use std::time::Duration;

use anyhow::Context as _;
use e2e::cluster::{Cluster, NAMESPACE};
use e2e::metrics::{scrape, sum};
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};
use seccomp_operator_api::GROUP;

use crate::agents::Agents;

const MIB: f64 = 1024.0 * 1024.0;
/// More than this, as the power of the number of nodes, is more than growth with it.
const LINEAR: f64 = 1.1;
const CONTROLLER_PORT: u16 = 8081;

/// One size.
pub struct Measured {
    pub nodes: usize,
    pub profiles: usize,
    /// Until all nodes had the profiles that this size has more than the one before.
    pub made: Duration,
    /// Of each single change, from the request until it was heard that all nodes had it.
    pub times: Vec<Duration>,
    pub single: Cost,
    pub burst: usize,
    pub burst_took: Duration,
    pub in_burst: Cost,
    pub state: State,
}

/// What one change cost.
pub struct Cost {
    /// All requests for the operator's kinds, the change itself among them.
    pub requests: f64,
    pub node_writes: f64,
    pub status_writes: f64,
    /// Milliseconds.
    pub controller: f64,
    /// Of all agents together, milliseconds.
    pub agents: f64,
    /// Of the API server, milliseconds.
    pub api_server: f64,
}

/// What there is when nothing happens, in bytes.
pub struct State {
    pub agent: f64,
    pub controller: f64,
    /// Of etcd's file.
    pub stored: f64,
    /// Of the objects that the operator keeps, as the API server writes them in JSON: the profiles and the nodes' reports.
    pub objects: f64,
}

/// What was counted so far.
pub struct Counts {
    requests: f64,
    node_writes: f64,
    status_writes: f64,
    controller: f64,
    agents: f64,
    api_server: f64,
}

impl Counts {
    pub async fn read(cluster: &Cluster, agents: &Agents) -> anyhow::Result<Self> {
        let requests = scrape("/metrics").await?;
        let writes = |resource: &str, part: &str| {
            sum(&requests, "apiserver_request_total", |labels| {
                let verbs = ["POST", "PUT", "PATCH", "APPLY"];
                let mut verbs = verbs.iter();
                verbs.any(|verb| labels.contains(&format!("verb=\"{verb}\"")))
                    && labels.contains(&format!("resource=\"{resource}\""))
                    && labels.contains(&format!("subresource=\"{part}\""))
            })
        };
        let group = format!("group=\"{GROUP}\"");
        Ok(Self {
            requests: sum(&requests, "apiserver_request_total", |labels| {
                labels.contains(&group)
            }),
            node_writes: writes("seccompnodes", ""),
            status_writes: writes("seccompprofiles", "status"),
            controller: of_controllers(cluster, "process_cpu_seconds_total")
                .await?
                .iter()
                .sum(),
            agents: agents.cpu()?,
            api_server: sum(&requests, "process_cpu_seconds_total", |_| true),
        })
    }

    pub fn since(&self, before: &Self, changes: usize) -> Cost {
        let changes = f64::from(u32::try_from(changes).unwrap_or(u32::MAX));
        Cost {
            requests: (self.requests - before.requests) / changes,
            node_writes: (self.node_writes - before.node_writes) / changes,
            status_writes: (self.status_writes - before.status_writes) / changes,
            controller: (self.controller - before.controller) * 1000.0 / changes,
            agents: (self.agents - before.agents) * 1000.0 / changes,
            api_server: (self.api_server - before.api_server) * 1000.0 / changes,
        }
    }
}

impl State {
    pub async fn read(cluster: &Cluster, agents: &Agents, nodes: usize) -> anyhow::Result<Self> {
        let nodes = f64::from(u32::try_from(nodes)?);
        let controllers = of_controllers(cluster, "process_resident_memory_bytes").await?;
        let metrics = scrape("/metrics").await?;
        let mut objects = 0;
        for kind in ["seccompnodes", "seccompprofiles"] {
            objects += scrape(&format!("/apis/{GROUP}/v1alpha1/{kind}"))
                .await?
                .len();
        }
        Ok(Self {
            objects: f64::from(u32::try_from(objects)?),
            agent: agents.memory()? / nodes,
            controller: controllers.into_iter().fold(0.0, f64::max),
            stored: sum(&metrics, "apiserver_storage_size_bytes", |_| true),
        })
    }
}

/// What each controller says of itself; one that comes or goes says nothing.
pub async fn of_controllers(cluster: &Cluster, metric: &str) -> anyhow::Result<Vec<f64>> {
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), NAMESPACE);
    let selected = ListParams::default().labels("app.kubernetes.io/component=controller");
    let mut all = Vec::new();
    let there = |pod: &Pod| {
        let address = pod
            .status
            .as_ref()
            .and_then(|status| status.pod_ip.as_ref());
        address.is_some() && pod.metadata.deletion_timestamp.is_none()
    };
    for pod in pods.list(&selected).await?.into_iter().filter(there) {
        let path = format!(
            "/api/v1/namespaces/{NAMESPACE}/pods/{}:{CONTROLLER_PORT}/proxy/metrics",
            pod.name_any()
        );
        let metrics = scrape(&path).await?;
        let prefix = format!("{metric} ");
        let line = metrics.lines().find_map(|line| line.strip_prefix(&prefix));
        all.push(line.with_context(|| format!("no {metric}"))?.parse()?);
    }
    Ok(all)
}

impl Measured {
    fn p50(&self) -> f64 {
        let mut times = self.times.clone();
        times.sort_unstable();
        let median = times.get(times.len() / 2);
        median.map_or(0.0, Duration::as_secs_f64)
    }

    fn per_agent(&self, cost: &Cost) -> f64 {
        cost.agents / f64::from(u32::try_from(self.nodes).unwrap_or(u32::MAX))
    }

    fn rows(&self) -> [(&'static str, String); 13] {
        let writes = |cost: &Cost| format!("{:.1} / {:.1}", cost.node_writes, cost.status_writes);
        let cpu = |cost: &Cost| {
            let agent = self.per_agent(cost);
            format!(
                "{:.1} / {:.2} / {:.0}",
                cost.controller, agent, cost.api_server
            )
        };
        [
            (
                "one change: apply -> Ready on all nodes, p50",
                format!("{:.2} s", self.p50()),
            ),
            (
                "writes for it: SeccompNodes / statuses",
                writes(&self.single),
            ),
            (
                "requests for it, all that are for the operator's kinds",
                format!("{:.1}", self.single.requests),
            ),
            (
                "CPU for it: controllers / one agent / API server, ms",
                cpu(&self.single),
            ),
            ("changes at once", self.burst.to_string()),
            (
                "first request -> all Ready",
                format!("{:.1} s", self.burst_took.as_secs_f64()),
            ),
            (
                "writes for each of them: SeccompNodes / statuses",
                writes(&self.in_burst),
            ),
            (
                "CPU for each of them: controllers / one agent / API server, ms",
                cpu(&self.in_burst),
            ),
            (
                "new profiles of this size, all Ready after",
                format!("{:.1} s", self.made.as_secs_f64()),
            ),
            (
                "agent, resident",
                format!("{:.1} MiB", self.state.agent / MIB),
            ),
            (
                "controller, resident",
                format!("{:.1} MiB", self.state.controller / MIB),
            ),
            (
                "SeccompProfiles and SeccompNodes, as JSON",
                format!("{:.1} KiB", self.state.objects / 1024.0),
            ),
            ("etcd", format!("{:.1} MiB", self.state.stored / MIB)),
        ]
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, value) in self.rows() {
            writeln!(f, "  {what}: {value}")?;
        }
        Ok(())
    }
}

/// A table in Markdown, a column for each size.
pub fn print(all: &[Measured]) {
    let line = |cells: Vec<String>| println!("| {} |", cells.join(" | "));
    let sizes = all
        .iter()
        .map(|one| format!("N = {}, P = {}", one.nodes, one.profiles));
    line(std::iter::once(String::new()).chain(sizes).collect());
    println!("|---{}|", "|---".repeat(all.len()));
    let rows: Vec<_> = all.iter().map(Measured::rows).collect();
    let Some(first) = rows.first() else { return };
    for (at, (what, _)) in first.iter().enumerate() {
        let cells = rows.iter().map(|rows| rows[at].1.clone());
        line(std::iter::once((*what).to_owned()).chain(cells).collect());
    }
}

type CostOf = fn(&Measured) -> f64;

/// With which power of the number of nodes each cost grows, for as many profiles.
pub fn growth(all: &[Measured]) {
    let costs: [(&str, CostOf); 7] = [
        ("requests for a change", |one| one.single.requests),
        ("writes for a change", |one| {
            one.single.node_writes + one.single.status_writes
        }),
        ("controllers' CPU for a change", |one| one.single.controller),
        ("an agent's CPU for a change", |one| {
            one.per_agent(&one.single)
        }),
        ("a controller's memory", |one| one.state.controller),
        ("an agent's memory", |one| one.state.agent),
        ("etcd's bytes", |one| one.state.stored),
    ];
    let mut profiles: Vec<_> = all.iter().map(|one| one.profiles).collect();
    profiles.sort_unstable();
    profiles.dedup();
    for number in profiles {
        let sizes: Vec<_> = all.iter().filter(|one| one.profiles == number).collect();
        for (what, cost) in costs {
            let points = sizes.iter().map(|one| {
                let nodes = f64::from(u32::try_from(one.nodes).unwrap_or(u32::MAX));
                (nodes, cost(one))
            });
            let points: Vec<_> = points.collect();
            let Some((a, b)) = fit(&points) else { continue };
            let Some((_, power)) = fit(&points
                .iter()
                .map(|(n, y)| (n.ln(), y.ln()))
                .collect::<Vec<_>>())
            else {
                continue;
            };
            let verdict = if power > LINEAR {
                "  MORE THAN LINEAR"
            } else {
                ""
            };
            println!("P = {number}: {what} = {a:.3} + {b:.5} N; as N to the {power:.2}{verdict}");
        }
    }
}

/// How the bytes that are stored grow with both.
pub fn stored(all: &[Measured]) {
    let number = |of: usize| f64::from(u32::try_from(of).unwrap_or(u32::MAX));
    let points = all.iter().map(|one| {
        let bytes = one.state.objects;
        (number(one.nodes), number(one.profiles), bytes)
    });
    if let Some([c, d, e]) = plane(&points.collect::<Vec<_>>()) {
        println!("bytes of SeccompProfiles and SeccompNodes = {c:.0} + {d:.0} N + {e:.0} P");
    }
}

/// The plane of least squares through these, as what is at 0, and by how much it rises with each.
fn plane(points: &[(f64, f64, f64)]) -> Option<[f64; 3]> {
    // The normal equations, solved by Cramer's rule.
    let (mut matrix, mut right) = ([[0.0; 3]; 3], [0.0; 3]);
    for (nodes, profiles, bytes) in points {
        let row = [1.0, *nodes, *profiles];
        for ((equation, result), factor) in matrix.iter_mut().zip(&mut right).zip(row) {
            for (term, other) in equation.iter_mut().zip(row) {
                *term += factor * other;
            }
            *result += factor * bytes;
        }
    }
    let determinant = |m: &[[f64; 3]; 3]| {
        m[0][0] * (m[1][1] * m[2][2] - m[1][2] * m[2][1])
            - m[0][1] * (m[1][0] * m[2][2] - m[1][2] * m[2][0])
            + m[0][2] * (m[1][0] * m[2][1] - m[1][1] * m[2][0])
    };
    let whole = determinant(&matrix);
    let found = [0, 1, 2].map(|column| {
        let mut with = matrix;
        for (row, value) in with.iter_mut().zip(right) {
            row[column] = value;
        }
        determinant(&with) / whole
    });
    // Fewer sizes than that lie on many planes.
    (whole.abs() > 1e-3 && found.iter().all(|of| of.is_finite())).then_some(found)
}

/// The line of least squares through these.
fn fit(points: &[(f64, f64)]) -> Option<(f64, f64)> {
    let many = f64::from(u32::try_from(points.len()).ok()?);
    if points.len() < 2 {
        return None;
    }
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / many;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let spread: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    let slope = points
        .iter()
        .map(|point| (point.0 - x) * (point.1 - y))
        .sum::<f64>()
        / spread;
    slope.is_finite().then_some((y - slope * x, slope))
}
