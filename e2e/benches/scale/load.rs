//! What the API server is asked, and what memory that takes, from one moment to another: it is looked at every second.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use e2e::metrics::{scrape, sum};
use tokio::task::JoinHandle;

const EACH: Duration = Duration::from_secs(1);
/// It is calm when in so many looks there was hardly more than before.
const LOOKS: usize = 5;
const PATIENCE: Duration = Duration::from_mins(10);

/// What was asked since something began.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    pub requests: f64,
    pub lists: f64,
    pub writes: f64,
    /// Requests a second, the most of any look.
    pub peak: f64,
    /// The API server's resident bytes, the most of any look.
    pub memory: f64,
    /// Requests a second of the last looks, the latest last.
    last: Vec<f64>,
}

/// The totals that an API server has counted since it started.
#[derive(Clone, Copy, Default)]
struct Totals {
    requests: f64,
    lists: f64,
    writes: f64,
}

/// Looks until it is dropped.
pub struct Load {
    asked: Arc<Mutex<Asked>>,
    looks: JoinHandle<()>,
}

impl Drop for Load {
    fn drop(&mut self) {
        self.looks.abort();
    }
}

impl Load {
    pub fn watch() -> Self {
        let asked = Arc::new(Mutex::new(Asked::default()));
        let of_task = asked.clone();
        let looks = tokio::spawn(async move {
            let mut before: Option<(Totals, Instant)> = None;
            loop {
                tokio::time::sleep(EACH).await;
                // One that starts has nothing to say yet.
                let Ok(text) = scrape("/metrics").await else {
                    continue;
                };
                let (now, at) = (totals(&text), Instant::now());
                let memory = sum(&text, "process_resident_memory_bytes", |_| true);
                if let Some((before, then)) = before {
                    let mut asked = of_task.lock().unwrap_or_else(PoisonError::into_inner);
                    asked.take(before, now, at - then, memory);
                }
                before = Some((now, at));
            }
        });
        Self { asked, looks }
    }

    fn asked(&self) -> MutexGuard<'_, Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until it is calm, and gives how many requests a second that are.
    pub async fn rest(&self) -> anyhow::Result<f64> {
        self.forget();
        let begun = Instant::now();
        while self.asked().last.len() < LOOKS {
            anyhow::ensure!(begun.elapsed() < PATIENCE, "the API server says nothing");
            tokio::time::sleep(EACH).await;
        }
        Ok(self.asked().rate())
    }

    /// What is counted begins now.
    pub fn forget(&self) {
        *self.asked() = Asked::default();
    }

    /// What was asked, once it is as calm as that again, and how long that took.
    pub async fn until_calm(&self, rest: f64) -> anyhow::Result<(Asked, Duration)> {
        let begun = Instant::now();
        loop {
            tokio::time::sleep(EACH).await;
            let asked = self.asked().clone();
            let calm = asked.last.len() > LOOKS && asked.rate() <= rest * 1.3 + 5.0;
            if calm || begun.elapsed() > PATIENCE {
                return Ok((asked, begun.elapsed()));
            }
        }
    }
}

impl Asked {
    fn take(&mut self, before: Totals, now: Totals, took: Duration, memory: f64) {
        // One that was started anew counts from nothing.
        let since = |before: f64, now: f64| if now < before { now } else { now - before };
        let requests = since(before.requests, now.requests);
        self.requests += requests;
        self.lists += since(before.lists, now.lists);
        self.writes += since(before.writes, now.writes);
        let rate = requests / took.as_secs_f64();
        self.peak = self.peak.max(rate);
        self.memory = self.memory.max(memory);
        self.last.push(rate);
    }

    fn rate(&self) -> f64 {
        let last = self.last.iter().rev().take(LOOKS);
        last.sum::<f64>() / f64::from(u32::try_from(LOOKS).unwrap_or(1))
    }
}

fn totals(text: &str) -> Totals {
    let of = |verbs: &[&str]| {
        sum(text, "apiserver_request_total", |labels| {
            let mut verbs = verbs.iter();
            verbs.any(|verb| labels.contains(&format!("verb=\"{verb}\"")))
        })
    };
    Totals {
        requests: sum(text, "apiserver_request_total", |_| true),
        lists: of(&["LIST"]),
        writes: of(&["POST", "PUT", "PATCH", "APPLY", "DELETE"]),
    }
}
