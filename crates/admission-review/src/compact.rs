//! Reads JSON as API servers write it: without spaces. What it does not know is left to `serde_json`, which reads anything.
//!
//! Most of a review is passed over, and that is what this is quick at: it takes a third of the instructions. It accepts nothing that
//! `serde_json` refuses, and reads the same of it; errors say nothing, since whoever asks then asks `serde_json`.

use std::fmt;

use serde::Deserialize;
use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;

/// Brackets that may be open at once in what is passed over: one bit is kept of each.
const MAX_DEPTH: u32 = u64::BITS;

/// Reads a value; none if the text has anything unusual.
pub(crate) fn read<'a, T: Deserialize<'a>>(text: &'a str) -> Option<T> {
    // Go's encoder ends a text with a line break.
    let text = text.strip_suffix('\n').unwrap_or(text);
    if has_control_characters(text) {
        return None;
    }
    let mut reader = Reader { text, at: 0 };
    let value = T::deserialize(&mut reader).ok()?;
    (reader.at == text.len()).then_some(value)
}

/// Whether a control character stands anywhere: if not, strings need not be searched for them. Not generic, so that it is compiled here,
/// for speed, and vectorised.
fn has_control_characters(text: &str) -> bool {
    let bytes = text.as_bytes().iter();
    bytes.fold(u8::MAX, |least, &byte| least.min(byte)) < 0x20
}

/// Anything that is not read here.
#[derive(Debug)]
struct Unusual;

impl fmt::Display for Unusual {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not as API servers write it")
    }
}

impl std::error::Error for Unusual {}

impl de::Error for Unusual {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
    // The provided ones would write sentences for nobody.
    fn invalid_type(_: de::Unexpected<'_>, _: &dyn de::Expected) -> Self {
        Self
    }
    fn duplicate_field(_: &'static str) -> Self {
        Self
    }
    fn missing_field(_: &'static str) -> Self {
        Self
    }
}

/// A place in a text.
struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    #[inline]
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    #[inline]
    fn take(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    #[inline]
    fn expect(&mut self, byte: u8) -> Result<(), Unusual> {
        (self.take() == Some(byte)).then_some(()).ok_or(Unusual)
    }

    fn word(&mut self, word: &str) -> Result<(), Unusual> {
        let rest = self.text.as_bytes().get(self.at..).ok_or(Unusual)?;
        self.at += word.len();
        rest.starts_with(word.as_bytes())
            .then_some(())
            .ok_or(Unusual)
    }

    /// Passes over a string, from its first quote on, and says whether it has an escape.
    #[inline]
    fn skip_string(&mut self) -> Result<bool, Unusual> {
        self.expect(b'"')?;
        let bytes = self.text.as_bytes();
        let mut escaped = false;
        loop {
            if let Some(eight) = bytes.get(self.at..).and_then(<[u8]>::first_chunk) {
                let found = quotes_and_backslashes(u64::from_le_bytes(*eight));
                if found == 0 {
                    self.at += 8;
                    continue;
                }
                self.at += found.trailing_zeros() as usize / 8;
            }
            match self.take().ok_or(Unusual)? {
                b'"' => return Ok(escaped),
                b'\\' => {
                    escaped = true;
                    self.skip_escape()?;
                }
                _ => {}
            }
        }
    }

    #[cold]
    fn skip_escape(&mut self) -> Result<(), Unusual> {
        match self.take() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(()),
            Some(b'u') => {
                for _ in 0..4 {
                    let digit = self.take().ok_or(Unusual)?;
                    digit.is_ascii_hexdigit().then_some(()).ok_or(Unusual)?;
                }
                Ok(())
            }
            _ => Err(Unusual),
        }
    }

    fn skip_digits(&mut self) -> Result<(), Unusual> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        (self.at > start).then_some(()).ok_or(Unusual)
    }

    fn skip_number(&mut self) -> Result<(), Unusual> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.skip_digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.skip_digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.skip_digits()?;
        }
        Ok(())
    }

    /// Passes over a key and its colon.
    #[inline]
    fn skip_key(&mut self) -> Result<(), Unusual> {
        self.skip_string()?;
        self.expect(b':')
    }

    /// Passes over a value.
    fn skip_value(&mut self) -> Result<(), Unusual> {
        // The lowest bit is the innermost open bracket: one for an object.
        let (mut objects, mut depth) = (0_u64, 0);
        loop {
            let object = match self.peek().ok_or(Unusual)? {
                b'{' => Some(true),
                b'[' => Some(false),
                b'"' => {
                    self.skip_string()?;
                    None
                }
                b't' => {
                    self.word("true")?;
                    None
                }
                b'f' => {
                    self.word("false")?;
                    None
                }
                b'n' => {
                    self.word("null")?;
                    None
                }
                _ => {
                    self.skip_number()?;
                    None
                }
            };
            if let Some(object) = object {
                self.at += 1;
                if self.peek() == Some(if object { b'}' } else { b']' }) {
                    self.at += 1;
                } else if depth == MAX_DEPTH {
                    return Err(Unusual);
                } else {
                    objects = objects << 1 | u64::from(object);
                    depth += 1;
                    if object {
                        self.skip_key()?;
                    }
                    continue;
                }
            }
            loop {
                if depth == 0 {
                    return Ok(());
                }
                let object = objects & 1 == 1;
                match self.take() {
                    Some(b',') => {
                        if object {
                            self.skip_key()?;
                        }
                        break;
                    }
                    Some(b'}') if object => {}
                    Some(b']') if !object => {}
                    _ => return Err(Unusual),
                }
                objects >>= 1;
                depth -= 1;
            }
        }
    }
}

/// One bit in each byte that is a quote or a backslash. The lowest is exact; above it there may be others.
#[inline]
fn quotes_and_backslashes(bytes: u64) -> u64 {
    const ONES: u64 = u64::MAX / 0xff;
    let zeros = |bytes: u64| bytes.wrapping_sub(ONES) & !bytes;
    let is = |byte: u8| zeros(bytes ^ (ONES * u64::from(byte)));
    (is(b'"') | is(b'\\')) & (ONES << 7)
}

impl<'de> de::Deserializer<'de> for &mut Reader<'de> {
    type Error = Unusual;

    /// Numbers, and what is read by its own form.
    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Unusual> {
        Err(Unusual)
    }

    #[inline]
    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unusual> {
        let start = self.at;
        let escaped = self.skip_string()?;
        let quoted = self.text.get(start..self.at).ok_or(Unusual)?;
        if escaped {
            return visitor.visit_string(serde_json::from_str(quoted).map_err(|_| Unusual)?);
        }
        let text = quoted.get(1..quoted.len() - 1).ok_or(Unusual)?;
        visitor.visit_borrowed_str(text)
    }

    #[inline]
    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unusual> {
        self.deserialize_str(visitor)
    }

    #[inline]
    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unusual> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unusual> {
        let value = self.peek() == Some(b't');
        self.word(if value { "true" } else { "false" })?;
        visitor.visit_bool(value)
    }

    #[inline]
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unusual> {
        if self.peek() != Some(b'n') {
            return visitor.visit_some(self);
        }
        self.word("null")?;
        visitor.visit_none()
    }

    #[inline]
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Unusual> {
        visitor.visit_newtype_struct(self)
    }

    #[inline]
    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unusual> {
        self.expect(b'{')?;
        let (reader, first) = (self, true);
        visitor.visit_map(Members { reader, first })
    }

    #[inline]
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Unusual> {
        self.deserialize_map(visitor)
    }

    #[inline]
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unusual> {
        self.expect(b'[')?;
        let (reader, first) = (self, true);
        visitor.visit_seq(Items { reader, first })
    }

    #[inline]
    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unusual> {
        self.skip_value()?;
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct tuple tuple_struct enum
    }
}

/// What stands in a bracket that is open.
struct Members<'r, 'a> {
    reader: &'r mut Reader<'a>,
    first: bool,
}

impl<'de> MapAccess<'de> for Members<'_, 'de> {
    type Error = Unusual;

    #[inline]
    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Unusual> {
        if !self.reader.next_item(&mut self.first, b'}')? {
            return Ok(None);
        }
        seed.deserialize(&mut *self.reader).map(Some)
    }

    #[inline]
    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Unusual> {
        self.reader.expect(b':')?;
        seed.deserialize(&mut *self.reader)
    }
}

/// As [`Members`].
struct Items<'r, 'a> {
    reader: &'r mut Reader<'a>,
    first: bool,
}

impl<'de> SeqAccess<'de> for Items<'_, 'de> {
    type Error = Unusual;

    #[inline]
    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Unusual> {
        if !self.reader.next_item(&mut self.first, b']')? {
            return Ok(None);
        }
        seed.deserialize(&mut *self.reader).map(Some)
    }
}

impl Reader<'_> {
    /// Whether there is another item before the bracket that closes.
    #[inline]
    fn next_item(&mut self, first: &mut bool, end: u8) -> Result<bool, Unusual> {
        let first = std::mem::take(first);
        match self.peek() {
            Some(byte) if byte == end => {
                self.at += 1;
                Ok(false)
            }
            Some(b',') if !first => {
                self.at += 1;
                Ok(true)
            }
            Some(_) if first => Ok(true),
            _ => Err(Unusual),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde::de::IgnoredAny;
    use std::borrow::Cow;

    /// Each form that a review's types have.
    #[derive(Debug, PartialEq, Deserialize)]
    struct Forms<'a> {
        #[serde(borrow, default)]
        text: Cow<'a, str>,
        flag: Option<bool>,
        #[serde(default)]
        list: Vec<Forms<'a>>,
        object: Option<Box<Forms<'a>>>,
        number: Option<i32>,
    }

    /// Holds what is read against what `serde_json` reads, and says whether it was read here.
    fn compare(text: &str) -> bool {
        let passed_over = read::<IgnoredAny>(text).is_some();
        if passed_over {
            assert!(serde_json::from_str::<IgnoredAny>(text).is_ok(), "{text}");
        }
        let forms = read::<Forms<'_>>(text);
        if let Some(forms) = &forms {
            assert_eq!(*forms, serde_json::from_str(text).unwrap(), "{text}");
        }
        passed_over
    }

    const WRITTEN: &str = concat!(
        r#"{"text":"a","x":[],"y":{},"z":[1,-0.5e+3,0,1E9,true,false,null,"\"\\\/\b\f\n\r\tü\u00e9",{"k:{\"uid\":\"1\"}":[[{}]]}],"#,
        r#""list":[{"text":"é\n\u20ac","flag":true},{"flag":null,"object":null}],"object":{"flag":false,"list":[]}}"#,
        "\n"
    );

    #[test]
    fn what_api_servers_write_is_read_here() {
        assert!(compare(WRITTEN));
        let forms: Forms<'_> = read(WRITTEN).unwrap();
        assert!(matches!(forms.text, Cow::Borrowed("a")));
        assert!(matches!(&forms.list[0].text, Cow::Owned(text) if text == "é\n€"));
    }

    #[test]
    fn what_is_unusual_is_left_to_serde_json() {
        let deep = format!("{}{}", "[".repeat(66), "]".repeat(66));
        assert!(!compare(&deep) && compare(&deep[1..deep.len() - 1]));
        for text in [" 1", "{ }", "[1 ]", "\t1", "1\n\n"] {
            assert!(!compare(text), "{text}");
        }
        for text in [
            r#"{"number":1}"#,
            r#"["a",true,[],null,1]"#,
            r#"{"text":"\ud800"}"#,
        ] {
            assert!(read::<Forms<'_>>(text).is_none() && compare(text), "{text}");
        }
    }

    #[test]
    fn whatever_is_cut_off_or_put_together_wrongly_is_not_accepted() {
        for end in 0..WRITTEN.len() - 1 {
            assert!(
                !WRITTEN.is_char_boundary(end) || !compare(&WRITTEN[..end]),
                "{end}"
            );
        }
        for text in [
            "",
            "\n",
            "{",
            "[",
            "{]",
            "[}",
            "[1}",
            "{\"a\":1]",
            "[1,]",
            "[,1]",
            "{,}",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{1:2}",
            "1,",
            "11 1",
            "01",
            "-",
            "1.",
            ".1",
            "1e",
            "+1",
            "tru",
            "truex",
            "nul",
            "\"",
            "\"\\\"",
            "\"\\x\"",
            "\"\\u12g4\"",
            "\"\\u123",
            "\"a\nb\"",
            "\"\u{1f}\"",
            "[]]",
            "{}{}",
        ] {
            assert!(!compare(text), "{text}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn whatever_is_read_is_read_as_serde_json_reads_it(
            parts in prop::collection::vec(prop::sample::select(vec![
                "{", "}", "[", "]", ",", ":", "\"", "\\", "u12ef", "n", "null", "true", "false", "0", "1", "-", ".", "e", "+", " ", "\n", "\u{1}", "é", "€",
                "\"text\":", "\"flag\":", "\"list\":[", "\"object\":{", "\"number\":", "\"abcdefgh\"", "\"\\\"\"", "{}", "[]",
            ]), 0..24),
            at in 0..WRITTEN.len(), take in 0..8_usize,
        ) {
            let inserted = parts.concat();
            compare(&inserted);
            compare(&format!("[{inserted}]"));
            compare(&format!("{{{inserted}}}"));
            if let (Some(before), Some(after)) = (WRITTEN.get(..at), WRITTEN.get(at + take..)) {
                compare(&format!("{before}{after}"));
                compare(&format!("{before}{}{after}", parts.first().unwrap_or(&"")));
            }
        }
    }
}
