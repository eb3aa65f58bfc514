//! How many records were never heard, by the gaps in their serial numbers. Pure.
//!
//! Each event takes the next number, and several records may share one. Numbers of several cores come out of order, a little: one counts as lost
//! once so many have come after it.

/// So far behind the highest number one may still come.
const WINDOW: u64 = 1024;

/// See the module's head.
#[derive(Debug)]
pub struct Serials {
    highest: Option<u64>,
    /// Which of the last `WINDOW` numbers have come, by their remainders.
    came: Box<[bool]>,
    lost: u64,
}

impl Default for Serials {
    fn default() -> Self {
        Self {
            highest: None,
            came: (0..WINDOW).map(|_| true).collect(),
            lost: 0,
        }
    }
}

impl Serials {
    /// This number has come.
    pub fn came(&mut self, serial: u64) {
        let highest = *self.highest.get_or_insert(serial.saturating_sub(1));
        if serial <= highest {
            // One that is too old was counted as lost, or came before the first.
            if highest - serial < WINDOW {
                *self.at(serial) = true;
            }
            return;
        }
        let skipped = serial - highest - 1;
        // Of more than the window holds those that leave it at once are lost.
        let beyond = skipped.saturating_sub(WINDOW - 1);
        if beyond > 0 {
            let waiting = self.came.iter().filter(|came| !**came).count();
            self.lost = self.lost.saturating_add(beyond + waiting as u64);
            self.came.fill(true);
        }
        for passed in highest + 1 + beyond..=serial {
            let came = std::mem::replace(self.at(passed), passed == serial);
            self.lost = self.lost.saturating_add(u64::from(!came));
        }
        self.highest = Some(serial);
    }

    /// How many numbers have not come, and will not.
    #[must_use]
    pub const fn lost(&self) -> u64 {
        self.lost
    }

    fn at(&mut self, serial: u64) -> &mut bool {
        let at = usize::try_from(serial % WINDOW).unwrap_or_default();
        &mut self.came[at]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lost(serials: impl IntoIterator<Item = u64>) -> u64 {
        let mut all = Serials::default();
        for serial in serials {
            all.came(serial);
        }
        all.lost()
    }

    #[test]
    fn what_is_missing_is_lost_once_it_is_far_behind() {
        assert_eq!(lost(100..10_000), 0);
        assert_eq!(lost([5, 5, 6, 8, 7]), 0);
        let without = |missing: fn(u64) -> bool| (1..9_000).filter(move |n| !missing(*n));
        assert_eq!(lost(without(|n| n == 77 || n == 4000)), 2);
        assert_eq!(lost(without(|n| (100..300).contains(&n))), 200);
        assert_eq!(lost(without(|n| (1_000..6_000).contains(&n))), 5_000);
        // One that was counted as lost and comes after all does not make it less, nor another one lost.
        assert_eq!(lost((1..9_000).filter(|n| *n != 50).chain([50])), 1);
    }

    proptest! {
        #[test]
        fn any_order_within_the_window_loses_nothing(chunks in prop::collection::vec(Just((0_u64..200).collect::<Vec<_>>()).prop_shuffle(), 1..20)) {
            // The first of all may come late: what comes before the first that is heard is not missed.
            let all = chunks.iter().zip(0_u64..).flat_map(|(chunk, at)| chunk.iter().map(move |n| at * 200 + n + 1000));
            let end = 1000 + 200 * chunks.len() as u64;
            prop_assert_eq!(lost(all.chain(end..end + 2 * WINDOW)), 0);
        }

        #[test]
        fn hostile_numbers_do_no_harm(serials in prop::collection::vec(any::<u64>(), 0..50)) {
            lost(serials);
        }
    }
}
