//! What was measured, beside what it should be.

use std::time::Duration;

/// Rows in the order in which they were measured.
#[derive(Default)]
pub struct Table(Vec<[String; 4]>);

impl Table {
    /// Something without a budget.
    pub fn row(&mut self, what: &str, measured: String, budget: &str) {
        self.add(what, measured, budget, "");
    }

    /// Something with a budget, and whether it is kept.
    pub fn check(&mut self, what: &str, measured: String, budget: &str, kept: bool) {
        self.add(what, measured, budget, if kept { "ok" } else { "MISSED" });
    }

    fn add(&mut self, what: &str, measured: String, budget: &str, verdict: &str) {
        println!("  {what}: {measured}");
        self.0.push([
            what.to_owned(),
            measured,
            budget.to_owned(),
            verdict.to_owned(),
        ]);
    }

    /// Prints all of them.
    pub fn print(&self) {
        println!("\n{:<60} {:>12} {:>10}", "", "measured", "budget");
        for [what, measured, budget, verdict] in &self.0 {
            println!("{what:<60} {measured:>12} {budget:>10} {verdict}");
        }
    }
}

/// The smallest of the times that so many per cent of them do not exceed.
pub fn percentile(times: &[Duration], percent: usize) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}

/// In milliseconds.
pub fn ms(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}
