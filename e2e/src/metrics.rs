//! What components of the cluster tell Prometheus.

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
