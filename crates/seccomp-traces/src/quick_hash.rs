//! A hash for tables that every line of a trace is looked up in: a few instructions for each sixteen bytes. Its start is drawn for each
//! process, so that nobody can choose texts that all hash alike without knowing it.

use std::hash::{BuildHasher, Hasher, RandomState};

/// Makes hashers that begin alike.
#[derive(Clone, Debug)]
pub struct QuickHash {
    start: u64,
}

impl Default for QuickHash {
    fn default() -> Self {
        let start = RandomState::new().hash_one(0);
        Self { start }
    }
}

impl BuildHasher for QuickHash {
    type Hasher = Quick;

    fn build_hasher(&self) -> Quick {
        Quick(self.start)
    }
}

const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

#[inline]
#[allow(clippy::cast_possible_truncation)] // either half
fn halves(value: u128) -> (u64, u64) {
    (value as u64, (value >> 64) as u64)
}

/// Less than sixteen bytes as two numbers, which differ where bytes of that number do.
#[inline]
fn short(bytes: &[u8]) -> (u64, u64) {
    if let (Some(first), Some(last)) = (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
        (u64::from_le_bytes(*first), u64::from_le_bytes(*last))
    } else if let (Some(first), Some(last)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        (
            u32::from_le_bytes(*first).into(),
            u32::from_le_bytes(*last).into(),
        )
    } else {
        let number = bytes.iter().fold(0, |all, b| all << 8 | u64::from(*b));
        (number, 0)
    }
}

/// The halves of the product, one upon the other.
#[inline]
fn folded(a: u64, b: u64) -> u64 {
    let (low, high) = halves(u128::from(a) * u128::from(b));
    low ^ high
}

/// See [`QuickHash`].
#[derive(Debug)]
pub struct Quick(u64);

impl Quick {
    #[inline]
    fn add(&mut self, word: u64) {
        self.0 = folded(self.0 ^ word, FACTOR);
    }

    #[inline]
    fn add_pair(&mut self, (low, high): (u64, u64)) {
        self.0 = folded(self.0 ^ low, FACTOR ^ high);
    }
}

impl Hasher for Quick {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        // Some of the last sixteen may have been added already.
        match bytes.last_chunk() {
            Some(last) => {
                let (pairs, _) = bytes[..bytes.len() - 1].as_chunks();
                for pair in pairs.iter().chain([last]) {
                    self.add_pair(halves(u128::from_le_bytes(*pair)));
                }
            }
            None => self.add_pair(short(bytes)),
        }
        // This tells a text from one with zeros behind it.
        self.add(bytes.len() as u64);
    }

    #[inline]
    fn write_u8(&mut self, value: u8) {
        self.add(value.into());
    }

    #[inline]
    fn write_u16(&mut self, value: u16) {
        self.add(value.into());
    }

    #[inline]
    fn write_u32(&mut self, value: u32) {
        self.add(value.into());
    }

    #[inline]
    fn write_u64(&mut self, value: u64) {
        self.add(value);
    }

    #[inline]
    fn write_usize(&mut self, value: usize) {
        self.add(value as u64);
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn texts_that_differ_hash_otherwise() {
        let quick = QuickHash::default();
        let texts = ["", "\0", "a", "a\0", "aaaaaaaa", "aaaaaaaab", "baaaaaaaa"];
        let hashes: BTreeSet<_> = texts.iter().map(|text| quick.hash_one(text)).collect();
        assert_eq!(hashes.len(), texts.len());
        // Every byte counts, and the length.
        for length in 1..50 {
            let mut text = vec![b'a'; length];
            let mut hashes = BTreeSet::from([quick.hash_one(&text)]);
            for at in 0..length {
                text[at] = b'b';
                hashes.insert(quick.hash_one(&text));
                text[at] = b'a';
            }
            assert_eq!(hashes.len(), length + 1);
        }
        // Tables use the upper bits and the lower.
        let numbers = || (0..4096_u64).map(|n| quick.hash_one(n));
        let upper: BTreeSet<_> = numbers().map(|hash| hash >> 57).collect();
        let lower: BTreeSet<_> = numbers().map(|hash| hash & 0x7f).collect();
        assert_eq!((upper.len(), lower.len()), (128, 128));
    }
}
