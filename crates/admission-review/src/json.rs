//! Reads a JSON text where it stands, once and from the front: whoever knows its shape asks for one value after the other, and
//! gets strings that are parts of the text. An AdmissionReview has some kilobytes, of which a decision needs some dozen short
//! strings; only a string with escapes in it is copied. Nothing here recurses, so that no text is nested too deeply.
//!
//! All that is asked for is read as `serde_json` reads it, and so are the objects that it is asked for in: their keys, escaped or
//! not, and the numbers (of any size), words and strings that nobody wants. Of an object or array that nobody wants only its end is
//! looked for (`brackets`): what stands in there cannot change what is read, and would take more time than all the rest.

use std::borrow::Cow;

use wide::u8x16;

use crate::brackets::Brackets;

/// Why a text is not what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// Not Unicode.
    #[error("not UTF-8 at byte {0}")]
    NotUtf8(usize),
    /// Something else stands there, or nothing.
    #[error("expected {expected} at byte {at}")]
    Expected {
        /// What should be there, with its article.
        expected: &'static str,
        /// How many bytes of the text stand before it.
        at: usize,
    },
    /// A member that has to be there is not.
    #[error("missing field {0:?}")]
    Missing(&'static str),
    /// An array has more items than are read.
    #[error("more than {MAX_ITEMS} items")]
    TooMany,
}

/// What can be read of a text, and may borrow from it.
pub trait Read<'a>: Sized {
    /// Reads the whole value.
    fn read(reader: &mut Reader<'a>) -> Result<Self>;
}

/// So many items are read of an array: an empty object has two bytes, and many times that as what is read of it. No pod has
/// anywhere near as many containers.
pub const MAX_ITEMS: usize = 1024;

impl<'a, T: Read<'a>> Read<'a> for Box<T> {
    fn read(reader: &mut Reader<'a>) -> Result<Self> {
        T::read(reader).map(Self::new)
    }
}

impl<'a, T: Read<'a>> Read<'a> for Vec<T> {
    fn read(reader: &mut Reader<'a>) -> Result<Self> {
        let mut items = Self::new();
        reader.array(|reader| {
            if items.len() == MAX_ITEMS {
                return Err(JsonError::TooMany);
            }
            items.push(T::read(reader)?);
            Ok(())
        })?;
        Ok(items)
    }
}

type Result<T> = std::result::Result<T, JsonError>;

/// How far a text has been read.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    text: &'a str,
    /// What has not been read yet.
    rest: &'a [u8],
    brackets: Brackets,
}

impl<'a> Reader<'a> {
    /// At the beginning of a text.
    pub fn new(text: &'a [u8]) -> Result<Self> {
        let text =
            std::str::from_utf8(text).map_err(|error| JsonError::NotUtf8(error.valid_up_to()))?;
        let rest = text.as_bytes();
        let brackets = Brackets::new();
        Ok(Self {
            text,
            rest,
            brackets,
        })
    }

    /// That nothing follows any more.
    pub fn end(mut self) -> Result<()> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.expected("the end")),
        }
    }

    /// Reads an object whose members have names: `member` is told each, and has to read the value.
    #[inline]
    pub fn object(&mut self, mut member: impl FnMut(&mut Self, &[u8]) -> Result<()>) -> Result<()> {
        self.take(b'{', "an object")?;
        if self.takes(b'}') {
            return Ok(());
        }
        loop {
            if let Some(key) = self.short_key() {
                member(self, key)?;
            } else {
                let key = self.string()?;
                self.take(b':', "a colon")?;
                member(self, key.as_bytes())?;
            }
            if !self.goes_on(b'}')? {
                return Ok(());
            }
        }
    }

    /// A key as nearly all are: short, plain, and with its colon right after it.
    #[inline]
    fn short_key(&mut self) -> Option<&'a [u8]> {
        let (b'"', rest) = self.rest.split_first()? else {
            return None;
        };
        let ends = ends(rest.first_chunk()?);
        if ends == 0 {
            return None;
        }
        let (key, rest) = rest.split_at_checked(ends.trailing_zeros() as usize)?;
        let (b"\":", rest) = rest.split_first_chunk()? else {
            return None;
        };
        self.rest = rest;
        Some(key)
    }

    /// Reads an object whose keys say something: `member` is told each, and has to read the value.
    pub fn pairs(
        &mut self,
        mut member: impl FnMut(&mut Self, Cow<'a, str>) -> Result<()>,
    ) -> Result<()> {
        self.take(b'{', "an object")?;
        if self.takes(b'}') {
            return Ok(());
        }
        loop {
            let key = self.string()?;
            self.take(b':', "a colon")?;
            member(self, key)?;
            if !self.goes_on(b'}')? {
                return Ok(());
            }
        }
    }

    /// Reads an array: `item` has to read each of its values.
    pub fn array(&mut self, mut item: impl FnMut(&mut Self) -> Result<()>) -> Result<()> {
        self.take(b'[', "an array")?;
        if self.takes(b']') {
            return Ok(());
        }
        loop {
            item(self)?;
            if !self.goes_on(b']')? {
                return Ok(());
            }
        }
    }

    /// Reads a string.
    #[inline]
    pub fn string(&mut self) -> Result<Cow<'a, str>> {
        self.take(b'"', "a string")?;
        let plain = self.plain();
        if let [b'"', rest @ ..] = self.rest {
            self.rest = rest;
            return Ok(Cow::Borrowed(plain));
        }
        self.with_escapes(plain).map(Cow::Owned)
    }

    #[cold]
    fn with_escapes(&mut self, plain: &str) -> Result<String> {
        let mut whole = plain.to_owned();
        self.rest_of_string(|part| match part {
            Part::Plain(part) => whole.push_str(part),
            Part::Escaped(c) => whole.push(c),
        })?;
        Ok(whole)
    }

    /// Reads `true` or `false`.
    pub fn boolean(&mut self) -> Result<bool> {
        match self.peek() {
            Some(b't') => self.word("true").map(|()| true),
            Some(b'f') => self.word("false").map(|()| false),
            _ => Err(self.expected("true or false")),
        }
    }

    /// Reads a member that may be there once. `null` is taken for none, as Kubernetes takes it.
    #[inline]
    pub fn member<T>(
        &mut self,
        place: &mut Option<T>,
        read: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<()> {
        if place.is_some() {
            return Err(self.expected("a key that was not there before"));
        }
        if self.peek() == Some(b'n') {
            return self.word("null");
        }
        *place = Some(read(self)?);
        Ok(())
    }

    /// Passes over a value, whatever it is. Its text.
    pub fn text(&mut self) -> Result<&'a str> {
        self.peek();
        let begin = self.rest;
        self.skip()?;
        Ok(self.since(begin))
    }

    /// Passes over a value, whatever it is.
    pub fn skip(&mut self) -> Result<()> {
        match self.peek() {
            Some(b'"') => self.skip_string(),
            Some(b'{' | b'[') => self.skip_container(),
            Some(b't') => self.word("true"),
            Some(b'f') => self.word("false"),
            Some(b'n') => self.word("null"),
            _ => self.number(),
        }
    }

    /// Passes over an object or array by its brackets.
    fn skip_container(&mut self) -> Result<()> {
        if let Some(length) = self.brackets.length(self.rest) {
            self.pass(length);
            return Ok(());
        }
        self.rest = &[];
        Err(self.expected("an end of what is open"))
    }

    #[inline]
    fn skip_string(&mut self) -> Result<()> {
        self.take(b'"', "a string")?;
        self.pass_plain();
        if let [b'"', rest @ ..] = self.rest {
            self.rest = rest;
            return Ok(());
        }
        self.rest_of_string(|_| ())
    }

    /// After a value in what `close` closes: whether another follows.
    #[inline]
    fn goes_on(&mut self, close: u8) -> Result<bool> {
        let next = self.peek();
        if next != Some(b',') && next != Some(close) {
            return Err(self.expected("a comma or the end of what is open"));
        }
        self.pass(1);
        Ok(next != Some(close))
    }

    /// The part of a string that stands for itself.
    #[inline]
    fn plain(&mut self) -> &'a str {
        let begin = self.rest;
        self.pass_plain();
        self.since(begin)
    }

    #[inline]
    fn pass_plain(&mut self) {
        while let Some((chunk, rest)) = self.rest.split_first_chunk() {
            let ends = ends(chunk);
            if ends != 0 {
                self.pass(ends.trailing_zeros() as usize);
                return;
            }
            self.rest = rest;
        }
        let ends = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..0x20);
        self.pass(self.rest.iter().position(ends).unwrap_or(self.rest.len()));
    }

    /// The part of a string that is not plain, and all after it.
    #[cold]
    fn rest_of_string(&mut self, mut part: impl FnMut(Part<'_>)) -> Result<()> {
        loop {
            match self.byte() {
                Some(b'"') => {
                    self.pass(1);
                    return Ok(());
                }
                Some(b'\\') => {
                    self.pass(1);
                    let escaped = self.escaped()?;
                    part(Part::Escaped(escaped));
                }
                _ => return Err(self.expected("a quotation mark")),
            }
            part(Part::Plain(self.plain()));
        }
    }

    /// After a backslash.
    fn escaped(&mut self) -> Result<char> {
        let escaped = match self.byte() {
            Some(byte @ (b'"' | b'\\' | b'/')) => char::from(byte),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.pass(1);
                return self.unicode();
            }
            _ => return Err(self.expected("an escape")),
        };
        self.pass(1);
        Ok(escaped)
    }

    /// After `\u`. Characters beyond 16 bits come in two halves.
    fn unicode(&mut self) -> Result<char> {
        let begin = self.at();
        let mut code = u32::from(self.hex()?);
        if (0xd800..0xdc00).contains(&code) && self.rest.starts_with(b"\\u") {
            self.pass(2);
            let low = u32::from(self.hex()?);
            code = match low.checked_sub(0xdc00) {
                Some(low @ 0..0x400) => 0x1_0000 + ((code - 0xd800) << 10) + low,
                _ => code,
            };
        }
        let expected = "a character";
        char::from_u32(code).ok_or(JsonError::Expected {
            expected,
            at: begin,
        })
    }

    fn hex(&mut self) -> Result<u16> {
        let digits: Option<&[u8; 4]> = self.rest.first_chunk();
        let code = digits.and_then(|digits| {
            digits.iter().try_fold(0, |code, digit| {
                let digit = char::from(*digit).to_digit(16)?;
                Some(code << 4 | u16::try_from(digit).ok()?)
            })
        });
        let code = code.ok_or_else(|| self.expected("four hexadecimal digits"))?;
        self.pass(4);
        Ok(code)
    }

    fn number(&mut self) -> Result<()> {
        if self.byte() == Some(b'-') {
            self.pass(1);
        }
        if self.byte() == Some(b'0') {
            self.pass(1);
        } else {
            self.digits("a value")?;
        }
        if self.byte() == Some(b'.') {
            self.pass(1);
            self.digits("a digit")?;
        }
        if let Some(b'e' | b'E') = self.byte() {
            self.pass(1);
            if let Some(b'+' | b'-') = self.byte() {
                self.pass(1);
            }
            self.digits("a digit")?;
        }
        Ok(())
    }

    fn digits(&mut self, expected: &'static str) -> Result<()> {
        let begin = self.rest.len();
        while let [b'0'..=b'9', rest @ ..] = self.rest {
            self.rest = rest;
        }
        if self.rest.len() == begin {
            return Err(self.expected(expected));
        }
        Ok(())
    }

    fn word(&mut self, word: &'static str) -> Result<()> {
        let rest = self.rest.strip_prefix(word.as_bytes());
        self.rest = rest.ok_or_else(|| self.expected(word))?;
        Ok(())
    }

    #[inline]
    fn take(&mut self, byte: u8, what: &'static str) -> Result<()> {
        if self.takes(byte) {
            Ok(())
        } else {
            Err(self.expected(what))
        }
    }

    #[inline]
    fn takes(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        if there {
            self.pass(1);
        }
        there
    }

    /// The first byte of what comes next, at which the reader is then.
    #[inline]
    pub fn peek(&mut self) -> Option<u8> {
        loop {
            match self.rest {
                [b' ' | b'\t' | b'\n' | b'\r', rest @ ..] => self.rest = rest,
                rest => return rest.first().copied(),
            }
        }
    }

    #[inline]
    fn byte(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    #[inline]
    fn pass(&mut self, bytes: usize) {
        self.rest = self.rest.get(bytes..).unwrap_or_default();
    }

    /// How many bytes have been read.
    fn at(&self) -> usize {
        self.text.len() - self.rest.len()
    }

    /// What has been read since `begin` was the rest.
    #[inline]
    fn since(&self, begin: &[u8]) -> &'a str {
        let begin = self.text.len() - begin.len();
        self.text.get(begin..self.at()).unwrap_or_default()
    }

    #[cold]
    fn expected(&self, expected: &'static str) -> JsonError {
        let at = self.at();
        JsonError::Expected { expected, at }
    }
}

enum Part<'a> {
    Plain(&'a str),
    Escaped(char),
}

/// Which bytes of a string are not its own text: bit n is byte n.
#[inline]
fn ends(chunk: &[u8; 16]) -> u32 {
    let bytes = u8x16::new(*chunk);
    let control = bytes.min(u8x16::splat(0x1f)).simd_eq(bytes);
    (control | is(bytes, b'"') | is(bytes, b'\\')).to_bitmask()
}

#[inline]
fn is(bytes: u8x16, byte: u8) -> u8x16 {
    bytes.simd_eq(u8x16::splat(byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::whole::whole;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn skipped(text: &[u8]) -> Result<&str> {
        let mut reader = Reader::new(text)?;
        let skipped = reader.text()?;
        reader.end()?;
        Ok(skipped)
    }

    /// That a text is read as `serde_json` reads it, or refused by both.
    fn compare(text: &[u8]) {
        let shown = String::from_utf8_lossy(text);
        match serde_json::from_slice::<Value>(text) {
            Ok(expected) => {
                assert_eq!(whole(text).as_ref(), Ok(&expected), "{shown}");
                let trimmed = shown.trim_matches([' ', '\t', '\n', '\r']);
                assert_eq!(skipped(text), Ok(trimmed));
            }
            Err(error) if error.to_string().contains("number out of range") => {}
            Err(error) => assert!(whole(text).is_err(), "{shown}: {error}"),
        }
    }

    #[test]
    fn texts_are_read_or_refused_as_by_serde_json() {
        for text in [
            "",
            " ",
            "{",
            "}",
            "[",
            "]",
            "{]",
            "[}",
            "[1,]",
            "[,1]",
            "{,}",
            r#"{"a"}"#,
            r#"{"a":}"#,
            r#"{"a":1,}"#,
            "{a:1}",
            "[1 2]",
            "[1]]",
            "[[1]",
            "1 1",
            "nul",
            "truefalse",
            "nulll",
            "tru",
            "NaN",
            "+1",
            "-",
            "01",
            "-0",
            "1.",
            ".5",
            "1.5e",
            "1e+7",
            "1E-7",
            "0x1",
            "-1.25",
            "\"",
            r#""a"#,
            r#""\""#,
            r#""\x""#,
            r#""\u12""#,
            r#""\u12g4""#,
            r#""\u+123""#,
            r#""\ud83d\ude00""#,
            r#""\ud83d""#,
            r#""\ud83dx""#,
            r#""\ud83d\n""#,
            r#""\ude00""#,
            r#""\ud83d\ud83d""#,
            r#""\"\\\/\b\f\n\r\t\u0041""#,
            "\"a\nb\"",
            "\"a\0b\"",
            "\"\u{7f}ü\u{1f600}\"",
            "\u{feff}{}",
            r#"{"\u0073pec":1}"#,
            r#"{"a":1,"a":2}"#,
            r#"{"a" : 1}"#,
            r#"{"0123456789abcd":1}  "#,
            r#"{"0123456789abcde":1} "#,
            r#"{"0123456789abcdef":1}"#,
            r#"{"0123456789abcdef0":1}"#,
            r#"{"0123456789abcdef0123456789abcdef":1}"#,
            "{\"0123456789abcd\n\":1}",
            "{\"ü\":1,          \"é\\u00fc\":2}                  ",
            "{\u{a0}}",
            " [ 1 , { } , [ ] ] \n",
            "[\"0123456789abcde\",\"0123456789abcdef\"]",
        ] {
            compare(text.as_bytes());
        }
        for text in [&b"\"\xff\""[..], b"[\xc3\x28]", b"{\"\xed\xa0\x80\":1}"] {
            compare(text);
        }
    }

    #[test]
    fn only_a_string_with_escapes_is_copied() {
        let read = |text: &'static str| Reader::new(text.as_bytes()).unwrap().string().unwrap();
        assert!(matches!(read(r#""plain""#), Cow::Borrowed("plain")));
        assert!(matches!(read(r#""\u0070lain""#), Cow::Owned(text) if text == "plain"));
    }

    #[test]
    fn what_is_passed_over_is_closed_as_often_as_it_was_opened() {
        for text in [
            "[",
            "{\"a\":[",
            "{\"a\":[[]}",
            "[[],[[],[[]",
            "[\"]",
            "[\"\\\"]",
            "[[]",
            "{\"a\":\"b}",
        ] {
            assert!(skipped(text.as_bytes()).is_err(), "{text}");
            let long = format!("[\"{}\",{text}", "x".repeat(100));
            assert!(skipped(long.as_bytes()).is_err(), "{long}");
        }
    }

    #[test]
    fn of_brackets_that_do_not_match_only_the_number_counts() {
        assert_eq!(skipped(b"{]"), Ok("{]"));
        assert_eq!(skipped(b"[}"), Ok("[}"));
        assert_eq!(skipped(b"{[}]"), Ok("{[}]"));
        for text in ["{]}", "{]}[[]", "[}]", "{}}"] {
            assert!(skipped(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn no_text_is_nested_too_deeply() {
        let deep = format!("{}{}", "[".repeat(1_000_000), "]".repeat(1_000_000));
        assert_eq!(skipped(deep.as_bytes()), Ok(deep.as_str()));
        assert!(skipped(&deep.as_bytes()[1..]).is_err());
        assert!(skipped(&deep.as_bytes()[..deep.len() - 1]).is_err());
    }

    #[test]
    fn a_list_of_very_many_is_refused() {
        struct Nothing;
        impl<'a> Read<'a> for Nothing {
            fn read(reader: &mut Reader<'a>) -> Result<Self> {
                reader.skip().map(|()| Self)
            }
        }
        let read = |count| {
            let text = json!(vec![json!({}); count]).to_string();
            Vec::<Nothing>::read(&mut Reader::new(text.as_bytes()).unwrap()).map(|all| all.len())
        };
        assert_eq!(read(MAX_ITEMS), Ok(MAX_ITEMS));
        assert_eq!(read(MAX_ITEMS + 1), Err(JsonError::TooMany));
    }

    /// Much of what could be taken for the end of something.
    fn text() -> impl Strategy<Value = String> {
        prop_oneof!["[a-z/.]{0,40}", r#"["\\\[\]{}:,ü]{0,70}"#, any::<String>()]
    }

    fn document() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            text().prop_map(Value::from),
        ];
        leaf.prop_recursive(5, 60, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
                prop::collection::btree_map(text(), inner, 0..8)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn documents_are_read_as_serde_json_reads_them(document in document()) {
            compare(document.to_string().as_bytes());
            compare(serde_json::to_string_pretty(&document).unwrap().as_bytes());
        }

        #[test]
        fn damaged_documents_are_read_or_refused_as_by_serde_json(
            document in document(), at in any::<prop::sample::Index>(),
            byte in prop::sample::select(&b"\"\\{}[]:,0-e u\n\xff"[..]), cut in any::<bool>(),
        ) {
            let mut text = document.to_string().into_bytes();
            let at = at.index(text.len());
            if cut {
                text.truncate(at);
            } else {
                text[at] = byte;
            }
            compare(&text);
        }

        #[test]
        fn an_object_that_is_cut_off_is_not_passed_over(
            document in document(), at in any::<prop::sample::Index>(),
        ) {
            let text = json!({"a": document}).to_string().into_bytes();
            prop_assert!(skipped(&text[..at.index(text.len())]).is_err());
        }
    }
}
