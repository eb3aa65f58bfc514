//! Inputs that may be of any length, read line by line in bounded memory, as plain text in UTF-8 whatever they were.

use std::borrow::Cow;
use std::io::{self, BufReader, Cursor, Read};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

/// What is kept of a line; whatever it says after that is read and forgotten.
const KEPT: usize = 64 << 10;

/// Calls `each` with every line, without its end and its colours, and with what `look` sees in it. What is neither UTF-8 nor UTF-16 is
/// replaced.
///
/// A second thread reads, and looks while `each` is busy.
pub fn for_each<L: Send>(
    mut from: impl Read + Send,
    look: impl Fn(&str) -> L + Sync,
    each: impl FnMut(&str, L),
) -> io::Result<()> {
    let mut start = Vec::with_capacity(3);
    (&mut from).take(3).read_to_end(&mut start)?;
    match start.as_slice() {
        [0xff, 0xfe, rest @ ..] => {
            let from = Utf16::new(Cursor::new(rest).chain(from), u16::from_le_bytes);
            for_each_utf8(from, vec![], look, each)
        }
        [0xfe, 0xff, rest @ ..] => {
            let from = Utf16::new(Cursor::new(rest).chain(from), u16::from_be_bytes);
            for_each_utf8(from, vec![], look, each)
        }
        [0xef, 0xbb, 0xbf] => for_each_utf8(from, vec![], look, each),
        _ => for_each_utf8(from, start, look, each),
    }
}

/// Where in a text a part of it is: smaller than a range, since each line has some.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// Where `part` is if it starts there.
    pub fn new(start: usize, part: impl AsRef<[u8]>) -> Self {
        let narrow = |at| u32::try_from(at).unwrap_or(u32::MAX);
        Self {
            start: narrow(start),
            end: narrow(start + part.as_ref().len()),
        }
    }

    /// That part of the text that it was made for.
    pub fn of(self, text: &str) -> &str {
        &text[self.start as usize..self.end as usize]
    }
}

/// What is read at once.
const BLOCK: usize = 1 << 17;

/// Whole lines, each with its end, but for the last of an input.
struct Block<L> {
    text: Text,
    /// Of plain text that was looked at: where each line is, and what is seen in it.
    lines: Vec<(Span, L)>,
}

enum Text {
    /// In UTF-8, and without colours.
    Plain(String),
    Other(Vec<u8>),
}

impl From<Vec<u8>> for Text {
    fn from(bytes: Vec<u8>) -> Self {
        if memchr::memchr(b'\x1b', &bytes).is_some() {
            return Self::Other(bytes);
        }
        String::from_utf8(bytes).map_or_else(|e| Self::Other(e.into_bytes()), Self::Plain)
    }
}

/// Calls `each` with every line, without its end, and where it starts.
fn plain_lines<'t>(text: &'t str, mut each: impl FnMut(usize, &'t str)) {
    let ends = memchr::memchr_iter(b'\n', text.as_bytes());
    let last = (!text.ends_with('\n')).then_some(text.len());
    let mut start = 0;
    for end in ends.chain(last) {
        let kept = text.floor_char_boundary(end.min(start + KEPT));
        let mut line = &text[start..kept];
        while let Some(shorter) = line.strip_suffix('\r') {
            line = shorter;
        }
        each(start, line);
        start = end + 1;
    }
}

fn for_each_utf8<L: Send>(
    from: impl Read + Send,
    start: Vec<u8>,
    look: impl Fn(&str) -> L + Sync,
    mut each: impl FnMut(&str, L),
) -> io::Result<()> {
    let (send, blocks) = mpsc::sync_channel(4);
    let (give_back, used) = mpsc::channel();
    let (look, ahead) = (&look, &AtomicUsize::new(0));
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut room = vec![];
            let give = |bytes: Vec<u8>| {
                let mut lines = std::mem::take(&mut room);
                let text = bytes.into();
                // The other thread looks for itself while little waits for it: so both have as much to do, and it never waits.
                if ahead.fetch_add(1, Ordering::Relaxed) > 1
                    && let Text::Plain(text) = &text
                {
                    plain_lines(text, |start, line| {
                        lines.push((Span::new(start, line), look(line)));
                    });
                }
                send.send(Ok(Block { text, lines })).ok()?;
                let bytes;
                (bytes, room) = used.try_recv().unwrap_or_default();
                Some(bytes)
            };
            if let Err(error) = read_blocks(from, start, give) {
                // Whoever does not listen any more does not ask what was wrong.
                let _ = send.send(Err(error));
            }
        });
        for block in blocks {
            let Block { text, mut lines } = block?;
            let bytes = match text {
                Text::Plain(text) => {
                    if lines.is_empty() {
                        plain_lines(&text, |_, line| each(line, look(line)));
                    }
                    for (at, seen) in lines.drain(..) {
                        each(at.of(&text), seen);
                    }
                    text.into_bytes()
                }
                Text::Other(bytes) => {
                    let text = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
                    for line in text.split(|b| *b == b'\n') {
                        let line = decoded(line);
                        let line = plain(line.trim_end_matches('\r'));
                        each(&line, look(&line));
                    }
                    bytes
                }
            };
            ahead.fetch_sub(1, Ordering::Relaxed);
            // Nobody reads any more at the end.
            let _ = give_back.send((bytes, lines));
        }
        Ok(())
    })
}

fn decoded(line: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(line.get(..KEPT).unwrap_or(line))
}

/// Gives away what is read in blocks, as soon as lines are whole: a pipe may go on for days. What it gets for one is room for the next,
/// whatever is in it; none if nobody wants more.
fn read_blocks(
    mut from: impl Read,
    mut rest: Vec<u8>,
    mut give: impl FnMut(Vec<u8>) -> Option<Vec<u8>>,
) -> io::Result<()> {
    let mut block = vec![];
    // Whether the line is so long that the rest of it is forgotten.
    let mut skips = false;
    loop {
        block.resize(BLOCK, 0);
        block[..rest.len()].copy_from_slice(&rest);
        let mut filled = rest.len();
        let whole = loop {
            let read = match from.read(&mut block[filled..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read?,
            };
            filled += read;
            if read == 0 {
                block.truncate(filled);
                if filled > 0 {
                    give(block);
                }
                return Ok(());
            }
            if skips {
                let Some(end) = memchr::memchr(b'\n', &block[..filled]) else {
                    filled = 0;
                    continue;
                };
                block.copy_within(end + 1..filled, 0);
                filled -= end + 1;
                skips = false;
            }
            match memchr::memrchr(b'\n', &block[..filled]) {
                Some(end) => break end + 1,
                None if filled < BLOCK => {}
                None => {
                    skips = true;
                    break filled;
                }
            }
        };
        rest.clear();
        rest.extend_from_slice(&block[whole..filled]);
        block.truncate(whole);
        let Some(room) = give(block) else {
            return Ok(());
        };
        block = room;
    }
}

/// Text in UTF-16, read as UTF-8.
struct Utf16<R> {
    from: R,
    unit: fn([u8; 2]) -> u16,
    /// The first half of a character that has two.
    high: Option<u16>,
}

impl<R: Read> Utf16<R> {
    /// As `PowerShell` writes what a command prints.
    fn new(from: R, unit: fn([u8; 2]) -> u16) -> Utf16<BufReader<R>> {
        Utf16 {
            from: BufReader::with_capacity(KEPT, from),
            unit,
            high: None,
        }
    }

    fn unit(&mut self) -> io::Result<Option<u16>> {
        let mut pair = Vec::with_capacity(2);
        (&mut self.from).take(2).read_to_end(&mut pair)?;
        Ok(match pair.as_slice() {
            [a, b] => Some((self.unit)([*a, *b])),
            _ => None,
        })
    }

    fn char(&mut self) -> io::Result<Option<char>> {
        let Some(first) = self
            .high
            .take()
            .map_or_else(|| self.unit(), |high| Ok(Some(high)))?
        else {
            return Ok(None);
        };
        if !(0xd800..0xdc00).contains(&first) {
            return Ok(Some(
                char::from_u32(u32::from(first)).unwrap_or(char::REPLACEMENT_CHARACTER),
            ));
        }
        let second = self.unit()?;
        let pair = [first, second.unwrap_or(0)];
        let decoded = char::decode_utf16(pair).next().and_then(Result::ok);
        if decoded.is_none() {
            self.high = second;
        }
        Ok(Some(decoded.unwrap_or(char::REPLACEMENT_CHARACTER)))
    }
}

impl<R: Read> Read for Utf16<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while let Some(room) = buffer.get_mut(filled..).filter(|room| room.len() >= 4) {
            let Some(char) = self.char()? else {
                break;
            };
            filled += char.encode_utf8(room).len();
            // A pipe that goes on is shown line by line.
            if char == '\n' {
                break;
            }
        }
        Ok(filled)
    }
}

/// Without what colours text on a terminal (`ESC [ 33 m`) and names windows and links (`ESC ] 8 ; ; ... ESC \`).
fn plain(line: &str) -> Cow<'_, str> {
    if !line.contains('\x1b') {
        return Cow::Borrowed(line);
    }
    let mut plain = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, escape)) = rest.split_once('\x1b') {
        plain.push_str(before);
        let mut chars = escape.chars();
        rest = match chars.next() {
            Some('[') => escape[1..]
                .trim_start_matches(|c| !matches!(c, '@'..='~'))
                .get(1..)
                .unwrap_or(""),
            Some(']') => {
                let end = escape.find(['\x07', '\x1b']).unwrap_or(escape.len());
                let after = &escape[end..];
                after
                    .strip_prefix('\x07')
                    .or_else(|| after.strip_prefix("\x1b\\"))
                    .unwrap_or(after)
            }
            _ => chars.as_str(),
        };
    }
    plain.push_str(rest);
    Cow::Owned(plain)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn lines(bytes: &[u8]) -> Vec<String> {
        let mut lines = vec![];
        for_each(bytes, str::len, |line, length| {
            assert_eq!(line.len(), length);
            lines.push(line.into());
        })
        .unwrap();
        lines
    }

    #[test]
    fn lines_end_where_they_end() {
        assert_eq!(lines(b"a\n\nb\r\nc"), ["a", "", "b", "c"]);
        assert_eq!(lines(b""), [""; 0]);
        assert_eq!(lines(b"a\xffb\n"), ["a\u{fffd}b"]);
    }

    #[test]
    fn a_line_may_be_longer_than_what_is_read_at_once() {
        for length in [BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 2 * BLOCK + 7] {
            let long = [vec![b'x'; length], b"\nnext\nlast".to_vec()].concat();
            let lines = lines(&long);
            let lengths: Vec<_> = lines.iter().map(String::len).collect();
            assert_eq!(lengths, [KEPT, 4, 4], "{length}");
        }
        // Lines that begin in one piece and end in the next.
        let many: Vec<_> = (0..50_000).map(|n| format!("line {n}\r\n")).collect();
        let lines = lines(many.concat().as_bytes());
        assert_eq!(lines.len(), 50_000);
        let right = lines
            .iter()
            .enumerate()
            .all(|(n, line)| *line == format!("line {n}"));
        assert!(right);
    }

    #[test]
    fn a_line_is_told_of_before_the_next_is_written() {
        let (mut write, read) = (None::<std::io::PipeWriter>, std::io::pipe().unwrap());
        let (reader, writer) = read;
        write.replace(writer);
        write.as_mut().unwrap().write_all(b"one\ntw").unwrap();
        let mut told = vec![];
        for_each(
            reader,
            |_| (),
            |line, ()| {
                told.push(line.to_owned());
                match told.len() {
                    1 => write.as_mut().unwrap().write_all(b"o\n").unwrap(),
                    _ => drop(write.take()),
                }
            },
        )
        .unwrap();
        assert_eq!(told, ["one", "two"]);
    }

    #[test]
    fn of_a_line_without_end_only_the_start_is_kept() {
        let long = [vec![b'x'; 3 * KEPT], b"\nnext\n".to_vec()].concat();
        let lines = lines(&long);
        assert_eq!(
            (lines[0].len(), lines[1].as_str(), lines.len()),
            (KEPT, "next", 2)
        );
        let exact = [vec![b'x'; KEPT], b"\nnext\n".to_vec()].concat();
        assert_eq!(super::tests::lines(&exact)[1], "next");
    }

    #[test]
    fn colours_are_left_out() {
        for (coloured, plain) in [
            (
                "\x1b[33mgetpid\x1b[0m(\x1b[35m\x1b[0m)\x1b[0m =",
                "getpid() =",
            ),
            ("\x1b[0;1;31mtype=1326\x1b[0;1;39m a", "type=1326 a"),
            ("\x1b]8;;http://a\x1b\\name\x1b]8;;\x07 b\x1b(", "name b"),
            ("cut off\x1b[0;1", "cut off"),
            ("cut off\x1b", "cut off"),
            ("\x1b]0;title", ""),
        ] {
            assert_eq!(lines(coloured.as_bytes()), [plain], "{coloured:?}");
        }
    }

    #[test]
    fn text_is_decoded_by_its_byte_order_mark() {
        let text = "a \u{1f512} b\r\n\u{e9}\r\n";
        let want = ["a \u{1f512} b", "\u{e9}"];
        let units = || text.encode_utf16();
        let little: Vec<_> = units().flat_map(u16::to_le_bytes).collect();
        let big: Vec<_> = units().flat_map(u16::to_be_bytes).collect();
        assert_eq!(lines(&[&[0xff, 0xfe], little.as_slice()].concat()), want);
        assert_eq!(lines(&[&[0xfe, 0xff], big.as_slice()].concat()), want);
        assert_eq!(
            lines(&[&[0xef, 0xbb, 0xbf], text.as_bytes()].concat()),
            want
        );
        // Half a character, and half a unit.
        assert_eq!(lines(b"\xff\xfe\x3d\xd8a\0b"), ["\u{fffd}a"]);
        assert_eq!(lines(b"ab"), ["ab"]);
    }
}
