//! What a profile's file should hold, small enough to be kept for every profile: its digest, and its bytes packed.
//!
//! The digest is enough to see whether a file is right; the bytes are there to put it right at once, also while the API
//! server is away. Profiles are lists of words and shrink to a tenth.

use std::fmt;
use std::sync::Arc;

use miniz_oxide::deflate::compress_to_vec;
use miniz_oxide::inflate::decompress_to_vec_with_limit;

/// The fastest that packs at all: each change of a profile packs its file on every node. Level 6 takes three times as long for a fifth less.
const LEVEL: u8 = 1;

/// Tells one content from another: the first half of a SHA-256.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Digest([u8; 16]);

impl Digest {
    /// The digest of these bytes.
    #[must_use]
    pub fn from_content(bytes: &[u8]) -> Self {
        let mut hasher = Hasher::default();
        hasher.update(bytes);
        hasher.finish()
    }

    /// Reads what [`Display`](fmt::Display) writes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let number = u128::from_str_radix(text, 16).ok()?;
        (text.len() == 32).then(|| Self(number.to_be_bytes()))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A digest of bytes that come piece by piece.
pub struct Hasher(ring::digest::Context);

impl Default for Hasher {
    fn default() -> Self {
        Self(ring::digest::Context::new(&ring::digest::SHA256))
    }
}

impl Hasher {
    /// More bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all of them.
    #[must_use]
    pub fn finish(self) -> Digest {
        let mut first = [0; 16];
        let whole = self.0.finish();
        for (to, from) in first.iter_mut().zip(whole.as_ref()) {
            *to = *from;
        }
        Digest(first)
    }
}

/// See the module's head.
#[derive(Clone, PartialEq, Eq)]
pub struct Content {
    digest: Digest,
    length: usize,
    packed: Arc<[u8]>,
}

impl Content {
    /// Packs these bytes.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        Self {
            digest: Digest::from_content(bytes),
            length: bytes.len(),
            packed: compress_to_vec(bytes, LEVEL).into(),
        }
    }

    /// The bytes' digest.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// How many bytes there are.
    #[must_use]
    pub fn length(&self) -> usize {
        self.length
    }

    /// The bytes; none if what was kept of them is damaged, which only faulty memory can do.
    #[must_use]
    pub fn bytes(&self) -> Option<Vec<u8>> {
        let bytes = decompress_to_vec_with_limit(&self.packed, self.length).ok()?;
        (Digest::from_content(&bytes) == self.digest).then_some(bytes)
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes, {}", self.length, self.digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back_as_they_were() {
        let profile = r#"{"names":["chmod"],"action":"SCMP_ACT_ERRNO"},"#.repeat(1000);
        for bytes in [b"".as_slice(), b"{}", profile.as_bytes()] {
            let content = Content::new(bytes);
            assert_eq!(content.bytes().as_deref(), Some(bytes));
            assert_eq!(content.length(), bytes.len());
        }
        assert!(Content::new(profile.as_bytes()).packed.len() < profile.len() / 10);
    }

    #[test]
    fn what_was_damaged_in_memory_is_not_given_out() {
        let mut content = Content::new(b"{\"defaultAction\":\"SCMP_ACT_ERRNO\"}");
        let mut packed = content.packed.to_vec();
        packed[3] ^= 1;
        content.packed = packed.into();
        assert_eq!(content.bytes(), None);
    }

    #[test]
    fn a_digest_reads_back_as_it_was_written() {
        let digest = Digest::from_content(b"a");
        assert_eq!(digest.to_string(), "ca978112ca1bbdcafac231b39a23dc4d");
        assert_eq!(Digest::parse(&digest.to_string()), Some(digest));
        for wrong in ["", "ca97", "+a978112ca1bbdcafac231b39a23dc4", "zz"] {
            assert_eq!(Digest::parse(wrong), None, "{wrong}");
        }
    }
}
