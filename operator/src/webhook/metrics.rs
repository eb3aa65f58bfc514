//! What the webhooks count. `docs/metrics.md` says what each is good for.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::metrics::{Label, PREFIX, family};
use seccomp_policy::decide::Reason;

const COMPONENT: &str = "webhook";
/// From fifty microseconds, since a review that is answered from memory takes not much more, to what an API server waits for.
const SECONDS: [f64; 14] = [
    0.000_05, 0.000_1, 0.000_2, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0,
];

/// `webhook`, `outcome` and `reason`.
type ReviewLabels = [(&'static str, &'static str); 3];

/// Which of the two routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Webhook {
    /// `/mutate`: pods.
    Mutate,
    /// `/validate`: the operator's own kinds.
    Validate,
}

impl Webhook {
    const fn word(self) -> &'static str {
        match self {
            Self::Mutate => "mutate",
            Self::Validate => "validate",
        }
    }
}

/// What became of a review, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A pod was looked at.
    Pod(Reason),
    /// The pods' webhook was asked about something that is no new pod.
    NotANewPod,
    /// An object of the operator's own kinds may be stored.
    Valid,
    /// It may, and there is something that its author should know.
    Warned,
    /// It may not.
    Invalid,
    /// There was no decision; the API server does what `failurePolicy` says.
    Failed,
}

impl Verdict {
    const fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Pod(reason @ (Reason::Injected | Reason::Recorded | Reason::Converted)) => {
                ("patched", reason.word())
            }
            Self::Pod(reason @ Reason::Conflict) => ("denied", reason.word()),
            Self::Pod(reason) => ("allowed", reason.word()),
            Self::NotANewPod => ("allowed", "not_a_new_pod"),
            Self::Valid => ("allowed", "valid"),
            Self::Warned => ("allowed", "valid_with_warnings"),
            Self::Invalid => ("denied", "invalid"),
            Self::Failed => ("failed", "internal_error"),
        }
    }

    fn label(self, webhook: Webhook) -> ReviewLabels {
        let (outcome, reason) = self.words();
        [
            ("webhook", webhook.word()),
            ("outcome", outcome),
            ("reason", reason),
        ]
    }

    /// All that a webhook can come to.
    fn all(webhook: Webhook) -> Vec<Self> {
        let own = match webhook {
            Webhook::Mutate => Reason::ALL
                .map(Self::Pod)
                .into_iter()
                .chain([Self::NotANewPod, Self::Invalid])
                .collect(),
            Webhook::Validate => vec![Self::Valid, Self::Warned, Self::Invalid],
        };
        own.into_iter().chain([Self::Failed]).collect()
    }
}

/// Why a request is no review that can be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No AdmissionReview of a version that is served.
    Unreadable,
    /// Not sent as JSON.
    ContentType,
    /// Neither of the two paths, or not by POST.
    Route,
    /// The body is larger than is read of any review.
    TooLarge,
    /// The body did not come whole.
    CutOff,
    /// The body did not come in time, or there were too many others before it.
    TooSlow,
}

impl Refusal {
    const ALL: [Self; 6] = [
        Self::Unreadable,
        Self::ContentType,
        Self::Route,
        Self::TooLarge,
        Self::CutOff,
        Self::TooSlow,
    ];

    const fn word(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::ContentType => "content_type",
            Self::Route => "route",
            Self::TooLarge => "too_large",
            Self::CutOff => "cut_off",
            Self::TooSlow => "too_slow",
        }
    }
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By either side, in order.
    Closed,
    /// The client did not trust the certificate, spoke no TLS, or took too long over it.
    Handshake,
    /// It was broken off, or spoke no HTTP.
    Broken,
    /// The client took too long: for the head of a request, or between two of them.
    TimedOut,
    /// There were too many, and this one had been quiet for the longest time.
    Crowded,
}

impl Ended {
    const ALL: [Self; 5] = [
        Self::Closed,
        Self::Handshake,
        Self::Broken,
        Self::TimedOut,
        Self::Crowded,
    ];

    const fn word(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Handshake => "handshake_failed",
            Self::Broken => "broken",
            Self::TimedOut => "timed_out",
            Self::Crowded => "crowded_out",
        }
    }
}

/// See [`Metrics`].
#[derive(Clone, Debug)]
struct Pods {
    by_reason: [Counter; Reason::ALL.len()],
    seconds: Histogram,
}

/// Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub struct Metrics {
    reviews: Family<ReviewLabels, Counter>,
    seconds: Family<Label, Histogram, fn() -> Histogram>,
    /// Of the two above those that count reviews of pods, at hand: to look one up would take longer than to count.
    pods: Pods,
    refused: Family<Label, Counter>,
    connections: Gauge,
    ended: Family<Label, Counter>,
}

impl Metrics {
    /// Metrics that the registry knows.
    #[must_use]
    pub fn new(registry: &mut Registry) -> Self {
        let reviews = Family::<ReviewLabels, Counter>::default();
        let seconds: Family<Label, Histogram, fn() -> Histogram> =
            Family::new_with_constructor(|| Histogram::new(SECONDS));
        let counter = |reason| {
            let label = Verdict::Pod(reason).label(Webhook::Mutate);
            reviews.get_or_create(&label).clone()
        };
        let pods = Pods {
            by_reason: Reason::ALL.map(counter),
            seconds: seconds
                .get_or_create(&[("webhook", Webhook::Mutate.word())])
                .clone(),
        };
        let metrics = Self {
            reviews,
            seconds,
            pods,
            refused: family("reason", &Refusal::ALL.map(Refusal::word)),
            connections: Gauge::default(),
            ended: family("reason", &Ended::ALL.map(Ended::word)),
        };
        for webhook in [Webhook::Mutate, Webhook::Validate] {
            drop(
                metrics
                    .seconds
                    .get_or_create(&[("webhook", webhook.word())]),
            );
            for verdict in Verdict::all(webhook) {
                drop(metrics.reviews.get_or_create(&verdict.label(webhook)));
            }
        }
        metrics.register(registry);
        metrics
    }

    fn register(&self, registry: &mut Registry) {
        let registry = registry
            .sub_registry_with_prefix(PREFIX)
            .sub_registry_with_prefix(COMPONENT);
        registry.register(
            "reviews",
            "Reviews answered, by what was decided and why",
            self.reviews.clone(),
        );
        registry.register_with_unit(
            "review_duration",
            "From the head of a review to its answer",
            Unit::Seconds,
            self.seconds.clone(),
        );
        registry.register(
            "refused_requests",
            "Requests that were no review that can be answered, by why",
            self.refused.clone(),
        );
        registry.register(
            "connections",
            "Connections that are open",
            self.connections.clone(),
        );
        registry.register(
            "ended_connections",
            "Connections that ended, by how",
            self.ended.clone(),
        );
    }

    /// A review was answered, `took` after its head had come.
    pub fn reviewed(&self, webhook: Webhook, verdict: Verdict, took: Duration) {
        let took = took.as_secs_f64();
        if let (Webhook::Mutate, Verdict::Pod(reason)) = (webhook, verdict) {
            if let Some(counter) = self.pods.by_reason.get(reason as usize) {
                counter.inc();
            }
            self.pods.seconds.observe(took);
            return;
        }
        self.reviews.get_or_create(&verdict.label(webhook)).inc();
        self.seconds
            .get_or_create(&[("webhook", webhook.word())])
            .observe(took);
    }

    /// A request could not be answered.
    pub fn refused(&self, reason: Refusal) {
        self.refused
            .get_or_create(&[("reason", reason.word())])
            .inc();
    }

    /// A connection was taken. To be followed by [`ended`](Self::ended).
    pub fn connected(&self) {
        self.connections.inc();
    }

    /// A connection ended.
    pub fn ended(&self, how: Ended) {
        self.connections.dec();
        self.ended.get_or_create(&[("reason", how.word())]).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_counted_by_its_own_name() {
        for reason in Reason::ALL {
            let mut registry = Registry::default();
            let verdict = Verdict::Pod(reason);
            Metrics::new(&mut registry).reviewed(Webhook::Mutate, verdict, Duration::ZERO);
            let text = crate::metrics::encode(&registry).unwrap();
            let reviews = text.lines().filter(|line| line.contains("reviews_total{"));
            let counted: Vec<_> = reviews.filter(|line| line.ends_with(" 1")).collect();
            let own = format!("reason={:?}", reason.word());
            assert!(
                matches!(counted[..], [line] if line.contains(&own)),
                "{counted:?}"
            );
        }
    }

    #[test]
    fn what_was_counted_is_shown_under_names_that_stay() {
        let mut registry = Registry::default();
        let metrics = Metrics::new(&mut registry);
        metrics.reviewed(
            Webhook::Mutate,
            Verdict::Pod(Reason::Injected),
            Duration::from_micros(70),
        );
        metrics.refused(Refusal::TooLarge);
        metrics.connected();
        metrics.connected();
        metrics.ended(Ended::Crowded);
        let text = crate::metrics::encode(&registry).unwrap();
        for line in [
            r#"reviews_total{webhook="mutate",outcome="patched",reason="injected"} 1"#,
            r#"reviews_total{webhook="mutate",outcome="allowed",reason="already_set"} 0"#,
            r#"reviews_total{webhook="validate",outcome="denied",reason="invalid"} 0"#,
            r#"review_duration_seconds_bucket{le="0.00005",webhook="mutate"} 0"#,
            r#"review_duration_seconds_bucket{le="0.0001",webhook="mutate"} 1"#,
            r#"review_duration_seconds_count{webhook="validate"} 0"#,
            r#"refused_requests_total{reason="too_large"} 1"#,
            "connections 1",
            r#"ended_connections_total{reason="crowded_out"} 1"#,
        ] {
            let line = format!("seccomp_operator_webhook_{line}");
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
    }
}
