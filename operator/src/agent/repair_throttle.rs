//! Files that somebody keeps changing: when to look at them again, when to say so, and whether it goes on. A pure state that is told
//! the time.
//!
//! A change is put right at once, always: between two changes pods start with whatever is there. Only a storm is answered every
//! [`PAUSE`], so that a fight over one file costs the node little and the other files nothing. What is slowed down is the telling:
//! it is once when it begins, and now and then while it goes on.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use seccomp_operator_api::ProfileName;

/// The shortest time between two looks at a file that was put right.
const PAUSE: Duration = Duration::from_millis(50);
/// After so long without a change an incident is over.
const OVER: Duration = Duration::from_mins(10);
/// So many changes in [`CALM`] go on; fewer are mishaps.
const GOES_ON: usize = 3;
/// After so long without a change none goes on.
const CALM: Duration = Duration::from_mins(1);
/// While it goes on it is told of this often.
const RENEW: Duration = Duration::from_mins(5);
/// So many incidents at once are told of one by one. Somebody who clears the whole folder is one story, not thousands.
const MAX_TOLD: usize = 20;

#[derive(Debug)]
struct Incident {
    /// When the file was put right the last times, the latest first, and how often it was in all.
    last: [Option<Instant>; GOES_ON],
    repairs: u64,
    /// When it was told that it goes on.
    renewed: Option<Instant>,
    /// The file was touched, and has to be looked at after the pause.
    touched: bool,
}

/// What should be said of a repair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Announce {
    /// That a file was changed by somebody else.
    Begins,
    /// That it is being changed over and over.
    GoesOn,
    /// Nothing: it was said.
    Said,
    /// Nothing: too much was said.
    Unsaid,
}

/// See the module's head.
#[derive(Debug, Default)]
pub struct RepairThrottle(BTreeMap<ProfileName, Incident>);

impl Incident {
    /// When the file was last put right.
    fn latest(&self) -> Option<Instant> {
        self.last[0]
    }

    /// The end of the pause in which it is not looked at.
    fn rests_until(&self) -> Option<Instant> {
        Some(self.latest()? + PAUSE)
    }

    /// Until when it goes on, if nothing else happens.
    fn goes_on_until(&self) -> Option<Instant> {
        let (latest, earliest) = (self.latest()?, self.last[GOES_ON - 1]?);
        (latest.duration_since(earliest) <= CALM).then_some(latest + CALM)
    }
}

impl RepairThrottle {
    /// A file was touched by somebody, perhaps by us. Whether to look at it now; else [`due`](Self::due) names it later.
    pub fn touched(&mut self, name: &ProfileName, now: Instant) -> bool {
        let Some(incident) = self.0.get_mut(name) else {
            return true;
        };
        let look = incident.rests_until().is_none_or(|end| now >= end);
        incident.touched = !look;
        look
    }

    /// A file that had been right was put right again.
    pub fn repaired(&mut self, name: &ProfileName, now: Instant) -> Announce {
        self.0.retain(|_, incident| {
            let latest = incident.latest();
            latest.is_some_and(|latest| now.duration_since(latest) < OVER)
        });
        let begins = !self.0.contains_key(name);
        let many = self.0.len() >= MAX_TOLD;
        let incident = self.0.entry(name.clone()).or_insert(Incident {
            last: [None; GOES_ON],
            repairs: 0,
            renewed: None,
            touched: false,
        });
        incident.last.rotate_right(1);
        incident.last[0] = Some(now);
        incident.repairs += 1;
        let goes_on = incident.goes_on_until().is_some();
        let due = incident
            .renewed
            .is_none_or(|told| now.duration_since(told) >= RENEW);
        match (begins, many) {
            (true, true) => Announce::Unsaid,
            (true, false) => Announce::Begins,
            (false, _) if goes_on && due => {
                incident.renewed = Some(now);
                Announce::GoesOn
            }
            (false, _) => Announce::Said,
        }
    }

    /// When [`due`](Self::due) will name something, or [`ongoing`](Self::ongoing) something less, if ever.
    #[must_use]
    pub fn wakes(&self, now: Instant) -> Option<Instant> {
        let waiting = self.0.values().filter(|incident| incident.touched);
        let waiting = waiting.filter_map(Incident::rests_until);
        let ends = self.0.values().filter_map(Incident::goes_on_until);
        waiting.chain(ends.filter(|end| *end > now)).min()
    }

    /// Files that were touched, and whose pause is over.
    pub fn due(&mut self, now: Instant) -> Vec<ProfileName> {
        let mut due = Vec::new();
        for (name, incident) in &mut self.0 {
            if incident.touched && incident.rests_until().is_none_or(|end| now >= end) {
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

    /// The files that are being changed over and over, and how often they were put right at least: a power of two, for whoever writes
    /// that into an object.
    #[must_use]
    pub fn ongoing(&self, now: Instant) -> BTreeMap<ProfileName, u64> {
        let ongoing = |(name, incident): (&ProfileName, &Incident)| {
            let goes_on = incident.goes_on_until().is_some_and(|end| now < end);
            goes_on.then(|| (name.clone(), 1 << incident.repairs.ilog2()))
        };
        self.0.iter().filter_map(ongoing).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> ProfileName {
        ProfileName::parse(name).unwrap()
    }

    /// Somebody changes the file `every` so often for `long`: how long it was wrong, and what was told when.
    fn tampering(every: Duration, long: Duration) -> (RepairThrottle, Duration, Vec<Announce>) {
        const STEP: Duration = Duration::from_millis(5);
        let (mut throttle, a, start) = (RepairThrottle::default(), named("a"), Instant::now());
        let (mut wrong, mut told, mut next) = (Duration::ZERO, Vec::new(), Duration::ZERO);
        let (mut passed, mut is_wrong) = (Duration::ZERO, false);
        while passed < long {
            let now = start + passed;
            let mut look = !throttle.due(now).is_empty();
            if passed >= next {
                is_wrong = true;
                next += every;
                look |= throttle.touched(&a, now);
            }
            if look && is_wrong {
                is_wrong = false;
                told.push(throttle.repaired(&a, now));
            }
            wrong += if is_wrong { STEP } else { Duration::ZERO };
            passed += STEP;
        }
        told.retain(|told| *told != Announce::Said);
        (throttle, wrong, told)
    }

    #[test]
    fn a_file_that_is_changed_over_and_over_is_right_nearly_all_the_time_and_told_of_now_and_then()
    {
        let minutes = Duration::from_mins(12);
        let (throttle, wrong, told) = tampering(Duration::from_millis(200), minutes);
        assert!(wrong < Duration::from_secs(1), "wrong for {wrong:?}");
        let goes_on = Announce::GoesOn;
        assert_eq!(told, [Announce::Begins, goes_on, goes_on, goes_on]);
        assert_eq!(throttle.repairs(&named("a")), 12 * 60 * 5);
    }

    #[test]
    fn a_storm_is_answered_no_more_often_than_its_pause() {
        let (throttle, _, told) = tampering(Duration::from_millis(5), Duration::from_mins(1));
        let most = 60_000 / 50 + 1;
        let repairs = throttle.repairs(&named("a"));
        assert!((most / 2..=most).contains(&repairs), "{repairs}");
        assert_eq!(told, [Announce::Begins, Announce::GoesOn]);
        let mut throttle = throttle;
        assert!(
            throttle.touched(&named("b"), Instant::now()),
            "other files are not concerned"
        );
    }

    #[test]
    fn what_goes_on_is_known_until_it_has_been_calm_for_a_while() {
        let (mut throttle, a, start) = (RepairThrottle::default(), named("a"), Instant::now());
        for seconds in [0, 10] {
            throttle.repaired(&a, start + Duration::from_secs(seconds));
        }
        assert!(
            throttle.ongoing(start).is_empty(),
            "two changes are a mishap"
        );
        let third = start + Duration::from_secs(20);
        throttle.repaired(&a, third);
        assert_eq!(throttle.ongoing(third), BTreeMap::from([(a.clone(), 2)]));
        assert_eq!(throttle.wakes(third), Some(third + CALM));
        assert!(throttle.ongoing(third + CALM).is_empty());
        assert_eq!(throttle.wakes(third + CALM), None);
        // One change a minute later does not make it go on again.
        throttle.repaired(&a, third + CALM * 2);
        assert!(throttle.ongoing(third + CALM * 2).is_empty());
    }

    #[test]
    fn a_change_during_the_pause_is_looked_at_after_it() {
        let (mut throttle, a, start) = (RepairThrottle::default(), named("a"), Instant::now());
        throttle.repaired(&a, start);
        assert_eq!(throttle.wakes(start), None);
        assert!(!throttle.touched(&a, start + Duration::from_millis(1)));
        assert_eq!(throttle.wakes(start), Some(start + PAUSE));
        assert!(throttle.due(start + Duration::from_millis(2)).is_empty());
        assert_eq!(throttle.due(start + PAUSE), [a]);
        assert_eq!(throttle.wakes(start), None);
    }

    #[test]
    fn a_single_change_some_time_later_is_put_right_at_once_again() {
        let (mut throttle, a, start) = (RepairThrottle::default(), named("a"), Instant::now());
        assert_eq!(throttle.repaired(&a, start), Announce::Begins);
        let later = start + Duration::from_secs(30);
        assert!(throttle.touched(&a, later));
        assert_eq!(throttle.repaired(&a, later), Announce::Said);
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
