//! What components of the cluster tell Prometheus.

use anyhow::ensure;
use serde_json::Value;

use crate::cluster::Cluster;
use crate::command::kubectl;

/// All metrics of the component that serves them under this path of the API server.
pub async fn scrape(path: &str) -> anyhow::Result<String> {
    kubectl(&["get", "--raw", path], "").await?.ok()
}

/// The sum of all series of a metric whose labels `wanted` accepts.
pub fn sum(text: &str, metric: &str, wanted: impl Fn(&str) -> bool) -> f64 {
    let series = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(metric)?;
        let (labels, value) = rest.rsplit_once(' ')?;
        (labels.is_empty() || labels.starts_with('{'))
            .then_some(labels)
            .filter(|labels| wanted(labels))?;
        value.parse::<f64>().ok()
    });
    series.sum()
}

/// The bytes of each container of that name that are in memory and in no file, by its node, as kubelet says it. Some seconds old.
pub async fn anonymous_memory(
    cluster: &Cluster,
    container: &str,
) -> anyhow::Result<Vec<(String, u64)>> {
    let mut all = Vec::new();
    let nodes = cluster.get(&["nodes"]).await?;
    for node in nodes.data["items"].as_array().into_iter().flatten() {
        let node = node["metadata"]["name"].as_str().unwrap_or_default();
        let summary = scrape(&format!("/api/v1/nodes/{node}/proxy/stats/summary")).await?;
        let summary: Value = serde_json::from_str(&summary)?;
        let pods = summary["pods"].as_array().into_iter().flatten();
        let containers = pods.flat_map(|pod| pod["containers"].as_array().into_iter().flatten());
        let named = containers.filter(|known| known["name"] == container);
        let bytes = named.filter_map(|known| known["memory"]["rssBytes"].as_u64());
        all.extend(bytes.map(|bytes| (node.to_owned(), bytes)));
    }
    ensure!(!all.is_empty(), "no {container} is in the statistics");
    Ok(all)
}
