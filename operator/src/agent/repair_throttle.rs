//! Files that somebody keeps changing: when to look at them again, and when to say so. A pure state that is told the time.
//!
//! The first change of a file is put right at once. Whoever changes it over and over is answered ever more slowly, so that a
//! fight over one file costs the node little and the other files nothing; and is told of once, not once per change.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use seccomp_operator_api::ProfileName;

/// The pause between two looks at a file that was just put right, while it is changed on: from the first to the second.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));
/// After so long without a change an incident is over.
const OVER: Duration = Duration::from_mins(10);
/// So many incidents at once are told of one by one. Somebody who clears the whole folder is one story, not thousands.
const MAX_TOLD: usize = 20;

#[derive(Debug)]
struct Incident {
    /// When the file was last put right, and how often it was.
    last: Instant,
    repairs: u64,
    pause: Duration,
    /// The file was touched, and has to be looked at after the pause.
    touched: bool,
}

/// What should be said of a repair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Announce {
    /// That a file is being changed by somebody else.
    Begins,
    /// Nothing: it was said.
    Goes,
    /// Nothing: too much was said.
    Unsaid,
}

/// See the module's head.
#[derive(Debug, Default)]
pub struct RepairThrottle(BTreeMap<ProfileName, Incident>);

impl RepairThrottle {
    /// A file was touched by somebody, perhaps by us. Whether to look at it now; else [`due`](Self::due) names it later.
    pub fn touched(&mut self, name: &ProfileName, now: Instant) -> bool {
        let Some(incident) = self.0.get_mut(name) else {
            return true;
        };
        let look = now >= incident.last + incident.pause;
        incident.touched = !look;
        look
    }

    /// A file that had been right was put right again.
    pub fn repaired(&mut self, name: &ProfileName, now: Instant) -> Announce {
        self.0
            .retain(|_, incident| now.duration_since(incident.last) < OVER);
        if let Some(incident) = self.0.get_mut(name) {
            let calm = now.duration_since(incident.last) > incident.pause * 4;
            incident.pause = if calm {
                PAUSE.0
            } else {
                (incident.pause * 2).min(PAUSE.1)
            };
            incident.last = now;
            incident.repairs += 1;
            return Announce::Goes;
        }
        let incident = Incident {
            last: now,
            repairs: 1,
            pause: PAUSE.0,
            touched: false,
        };
        self.0.insert(name.clone(), incident);
        if self.0.len() > MAX_TOLD {
            Announce::Unsaid
        } else {
            Announce::Begins
        }
    }

    /// When [`due`](Self::due) will name something, if ever.
    #[must_use]
    pub fn wakes(&self) -> Option<Instant> {
        let waiting = self.0.values().filter(|incident| incident.touched);
        waiting.map(|incident| incident.last + incident.pause).min()
    }

    /// Files that were touched, and whose pause is over.
    pub fn due(&mut self, now: Instant) -> Vec<ProfileName> {
        let mut due = Vec::new();
        for (name, incident) in &mut self.0 {
            if incident.touched && now >= incident.last + incident.pause {
                incident.touched = false;
                due.push(name.clone());
            }
        }
        due
    }

    /// How often the file was put right in the incident that goes on.
    #[must_use]
    pub fn repairs(&self, name: &ProfileName) -> u64 {
        self.0.get(name).map_or(0, |incident| incident.repairs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> ProfileName {
        ProfileName::parse(name).unwrap()
    }

    #[test]
    fn a_storm_is_answered_ever_more_slowly_and_told_of_once() {
        let (mut throttle, a, mut now) = (RepairThrottle::default(), named("a"), Instant::now());
        let (mut repairs, mut told) = (0_u32, 0);
        let end = now + Duration::from_mins(2);
        // Somebody changes the file every five milliseconds.
        while now < end {
            if throttle.touched(&a, now) {
                repairs += 1;
                told += u32::from(throttle.repaired(&a, now) == Announce::Begins);
            }
            now += Duration::from_millis(5);
        }
        assert_eq!(told, 1);
        assert!((10..30).contains(&repairs), "{repairs}");
        assert_eq!(u64::from(repairs), throttle.repairs(&a));
        assert!(
            throttle.touched(&named("b"), now),
            "other files are not concerned"
        );
    }

    #[test]
    fn a_change_during_the_pause_is_looked_at_after_it() {
        let (mut throttle, a, start) = (RepairThrottle::default(), named("a"), Instant::now());
        throttle.repaired(&a, start);
        assert_eq!(throttle.wakes(), None);
        assert!(!throttle.touched(&a, start + Duration::from_millis(1)));
        assert_eq!(throttle.wakes(), Some(start + PAUSE.0));
        assert!(throttle.due(start + Duration::from_millis(2)).is_empty());
        assert_eq!(throttle.due(start + PAUSE.0), [a]);
        assert_eq!(throttle.wakes(), None);
    }

    #[test]
    fn a_single_change_some_time_later_is_put_right_at_once_again() {
        let (mut throttle, a, start) = (RepairThrottle::default(), named("a"), Instant::now());
        assert_eq!(throttle.repaired(&a, start), Announce::Begins);
        let later = start + Duration::from_secs(30);
        assert!(throttle.touched(&a, later));
        assert_eq!(throttle.repaired(&a, later), Announce::Goes);
        let after = later + OVER;
        assert!(throttle.touched(&a, after));
        assert_eq!(
            throttle.repaired(&a, after),
            Announce::Begins,
            "another incident"
        );
    }

    #[test]
    fn a_cleared_folder_is_not_told_of_file_by_file() {
        let (mut throttle, now) = (RepairThrottle::default(), Instant::now());
        let told = (0..200).map(|n| throttle.repaired(&named(&format!("p{n}")), now));
        let told = told.filter(|told| *told == Announce::Begins).count();
        assert_eq!(told, MAX_TOLD);
    }
}
