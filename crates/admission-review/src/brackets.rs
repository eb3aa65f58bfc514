//! Where an object or array ends, found by its brackets, 64 bytes at a time: where strings in it end, and when as many brackets
//! have been closed as were opened. What else stands in it is not looked at.
//!
//! Most of a review is passed over this way, so it is done with what the processor at hand is best at.

use wide::u8x16;

/// How to look at 64 bytes.
#[derive(Clone, Copy, Debug)]
pub struct Brackets(Way);

#[derive(Clone, Copy, Debug)]
enum Way {
    /// With what every processor has that the product is compiled for.
    Common,
    /// Only where [`avx2::is_here`].
    #[cfg(target_arch = "x86_64")]
    Avx2,
}

impl Brackets {
    /// The best way for this processor.
    #[inline]
    pub fn new() -> Self {
        #[cfg(target_arch = "x86_64")]
        if avx2::is_here() {
            return Self(Way::Avx2);
        }
        Self(Way::Common)
    }

    /// The way for every processor.
    #[cfg(test)]
    const fn common() -> Self {
        Self(Way::Common)
    }

    /// How many bytes the object or array has that `text` begins with. None if it does not end.
    #[inline]
    pub fn length(self, text: &[u8]) -> Option<usize> {
        // What is open is never taken for empty below, so that there is always something to close.
        if let [b'{' | b'[', b'}' | b']', ..] = text {
            return Some(2);
        }
        match self.0 {
            Way::Common => common(text),
            #[cfg(target_arch = "x86_64")]
            Way::Avx2 => {
                // SAFETY: there is such a value only where the processor has what the function is compiled for.
                #[allow(unsafe_code)]
                unsafe {
                    avx2::length(text)
                }
            }
        }
    }
}

/// Where in 64 bytes the characters are that matter here: bit n is byte n.
struct Marks {
    quotes: u64,
    backslashes: u64,
    opens: u64,
    closes: u64,
}

/// In both kinds of brackets, and in nothing else, this bit makes what opens a `{` and what closes a `}`.
const FOLD: u8 = 0x20;

fn common(text: &[u8]) -> Option<usize> {
    let is = |bytes: u8x16, byte| bytes.simd_eq(u8x16::splat(byte));
    let marks = |block: &[u8; 64]| {
        let (mut quotes, mut backslashes, mut opens, mut closes) = (0, 0, 0, 0);
        for (n, chunk) in block.as_chunks().0.iter().enumerate() {
            let bytes = u8x16::new(*chunk);
            let folded = bytes | u8x16::splat(FOLD);
            let place = |found: u8x16| u64::from(found.to_bitmask()) << (n * 16);
            quotes |= place(is(bytes, b'"'));
            backslashes |= place(is(bytes, b'\\'));
            opens |= place(is(folded, b'{'));
            closes |= place(is(folded, b'}'));
        }
        Marks {
            quotes,
            backslashes,
            opens,
            closes,
        }
    };
    let parity = |mut bits: u64| {
        for shift in [1, 2, 4, 8, 16, 32] {
            bits ^= bits << shift;
        }
        bits
    };
    length(text, marks, parity)
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::{
        __m256i, _mm_clmulepi64_si128, _mm_cvtsi128_si64, _mm_set_epi64x, _mm256_cmpeq_epi8,
        _mm256_movemask_epi8, _mm256_or_si256, _mm256_set1_epi8,
    };

    use super::{FOLD, Marks};

    /// Whether this processor has what [`length`] is compiled for: nearly all servers do.
    #[inline]
    pub fn is_here() -> bool {
        is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("bmi1")
            && is_x86_feature_detected!("lzcnt")
            && is_x86_feature_detected!("pclmulqdq")
            && is_x86_feature_detected!("popcnt")
    }

    #[target_feature(enable = "avx2,bmi1,lzcnt,pclmulqdq,popcnt")]
    pub fn length(text: &[u8]) -> Option<usize> {
        let is = |bytes: [__m256i; 2], byte: u8| {
            let byte = _mm256_set1_epi8(byte.cast_signed());
            let [low, high] = bytes.map(|bytes| {
                let found = _mm256_movemask_epi8(_mm256_cmpeq_epi8(bytes, byte));
                u64::from(found.cast_unsigned())
            });
            low | high << 32
        };
        let marks = |block: &[u8; 64]| {
            // SAFETY: any 64 bytes are two of these.
            #[allow(unsafe_code)]
            let bytes: [__m256i; 2] = unsafe { std::mem::transmute(*block) };
            let fold = _mm256_set1_epi8(FOLD.cast_signed());
            let folded = bytes.map(|bytes| _mm256_or_si256(bytes, fold));
            Marks {
                quotes: is(bytes, b'"'),
                backslashes: is(bytes, b'\\'),
                opens: is(folded, b'{'),
                closes: is(folded, b'}'),
            }
        };
        // A product without carries by all ones.
        let parity = |bits: u64| {
            let bits = _mm_set_epi64x(0, bits.cast_signed());
            let product = _mm_clmulepi64_si128::<0>(bits, _mm_set_epi64x(0, -1));
            _mm_cvtsi128_si64(product).cast_unsigned()
        };
        super::length(text, marks, parity)
    }
}

/// `parity` makes each bit the parity of those up to it.
#[allow(clippy::inline_always)] // it is compiled for what its caller is compiled for
#[inline(always)]
fn length(
    text: &[u8],
    marks: impl Fn(&[u8; 64]) -> Marks,
    parity: impl Fn(u64) -> u64,
) -> Option<usize> {
    let mut strings = Strings::default();
    // How many brackets are open.
    let mut depth = 0;
    let mut padded = [0; 64];
    let (blocks, last) = text.as_chunks::<64>();
    for n in 0..=blocks.len() {
        let block = blocks.get(n).unwrap_or_else(|| {
            padded
                .iter_mut()
                .zip(last)
                .for_each(|(to, from)| *to = *from);
            &padded
        });
        let marks = marks(block);
        let quotes = marks.quotes & !strings.escaped(marks.backslashes);
        let outside = !strings.inside(parity(quotes));
        let (opens, closes) = (marks.opens & outside, marks.closes & outside);
        // What is empty, of which there is much, changes nothing.
        let empty = opens & closes >> 1;
        let (opens, closes) = (opens & !empty, closes & !(empty << 1));
        if closes == 0 && depth > 0 {
            depth += opens.count_ones();
            continue;
        }
        let closed = closes.count_ones();
        if closed < depth {
            depth += opens.count_ones();
            depth -= closed;
            continue;
        }
        let mut brackets = opens | closes;
        while brackets != 0 {
            let bracket = brackets & brackets.wrapping_neg();
            brackets ^= bracket;
            if opens & bracket != 0 {
                depth += 1;
            } else if depth == 1 {
                return Some(n * 64 + bracket.trailing_zeros() as usize + 1);
            } else {
                depth -= 1;
            }
        }
    }
    None
}

/// What one block of a text leaves to the next.
#[derive(Default)]
struct Strings {
    /// All ones within a string.
    inside: u64,
    /// One after a backslash.
    escaped: u64,
}

impl Strings {
    /// The bytes of the next block that are after a backslash which is not after another.
    #[inline]
    fn escaped(&mut self, backslashes: u64) -> u64 {
        let mut escaped = self.escaped;
        let mut backslashes = backslashes & !escaped;
        self.escaped = 0;
        while backslashes != 0 {
            let escaping = backslashes & backslashes.wrapping_neg();
            backslashes &= !(escaping | escaping << 1);
            escaped |= escaping << 1;
            self.escaped = escaping >> 63;
        }
        escaped
    }

    /// The bytes of the next block that are in strings: each from its first quotation mark, and without its last. Of `quotes` it
    /// gets the parity up to each byte.
    #[inline]
    fn inside(&mut self, quotes: u64) -> u64 {
        let inside = quotes ^ self.inside;
        self.inside = if inside >> 63 == 1 { u64::MAX } else { 0 };
        inside
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The same, byte by byte. A backslash matters to quotation marks and backslashes only, wherever it stands.
    fn plainly(text: &[u8]) -> Option<usize> {
        let (mut depth, mut inside, mut escaped) = (0, false, false);
        for (n, byte) in text.iter().enumerate() {
            let was_escaped = std::mem::replace(&mut escaped, false);
            match byte {
                b'\\' => escaped = !was_escaped,
                b'"' => inside ^= !was_escaped,
                b'{' | b'[' if !inside => depth += 1,
                b'}' | b']' if !inside => {
                    depth -= 1;
                    if depth == 0 {
                        return Some(n + 1);
                    }
                }
                _ => (),
            }
        }
        None
    }

    fn compare(text: &[u8]) {
        let expected = plainly(text);
        let shown = String::from_utf8_lossy(text);
        assert_eq!(Brackets::common().length(text), expected, "{shown}");
        assert_eq!(Brackets::new().length(text), expected, "{shown}");
    }

    #[test]
    fn each_byte_counts_wherever_it_stands() {
        for byte in 0..=u8::MAX {
            for before in 0..130 {
                let mut text = b"[".to_vec();
                text.resize(1 + before, b' ');
                text.push(byte);
                text.extend(b"\"]\"]]");
                compare(&text);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(5000))]

        #[test]
        fn all_ways_find_the_same_end(text in r#"[\[{]["\\\[\]{}a,ü]{0,300}"#, far in "[a\\[ ]{0,80}") {
            compare(text.as_bytes());
            // Deeper, and with more in between.
            compare(format!("[{far}{{{far}\"{far}\"{text}").as_bytes());
        }
    }
}
