//! Waiting longer after each failure.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

/// Doubling delays between a first and a longest one.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    /// The delays are `first`, twice that, four times that, and so on, but never more than `longest`.
    #[must_use]
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self {
            first,
            longest,
            next: first,
        }
    }

    /// The delay before the next try.
    pub fn fail(&mut self) -> Duration {
        let delay = self.next;
        self.next = (delay * 2).min(self.longest);
        delay
    }

    /// Starts over, after a success.
    pub fn succeed(&mut self) {
        self.next = self.first;
    }
}

/// For kube's watches. Each delay is drawn out by up to a half, so that a fleet does not come back in step.
impl Iterator for Backoff {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let delay = self.fail();
        let draw = u32::try_from(RandomState::new().hash_one(delay) % 512).unwrap_or_default();
        Some(delay + delay * draw / 1024)
    }
}

impl kube::runtime::utils::Backoff for Backoff {
    fn reset(&mut self) {
        self.succeed();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_longest_and_start_over_after_a_success() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(3));
        assert_eq!(
            [backoff.fail(), backoff.fail(), backoff.fail()].map(|d| d.as_secs()),
            [1, 2, 3]
        );
        backoff.succeed();
        assert_eq!(backoff.fail().as_secs(), 1);
    }

    #[test]
    fn a_watch_waits_a_little_longer_than_the_delay_and_never_much() {
        let longest = Duration::from_secs(5);
        let mut backoff = Backoff::new(longest, longest);
        for delay in backoff.by_ref().take(100) {
            assert!(delay >= longest && delay <= longest * 3 / 2, "{delay:?}");
        }
    }
}
