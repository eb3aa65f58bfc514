//! Inputs that may be of any length, read line by line in bounded memory, as plain text in UTF-8 whatever they were.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};

/// What is kept of a line; whatever it says after that is read and forgotten.
const KEPT: usize = 64 << 10;

/// One of the files that the user named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// `-`, or nothing named.
    Stdin,
    /// A file.
    File(PathBuf),
}

/// An input that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{name}")]
pub struct Unreadable {
    name: String,
    #[source]
    source: io::Error,
}

impl Input {
    /// The inputs that a list of arguments stands for.
    pub fn all(arguments: &[PathBuf]) -> Vec<Self> {
        if arguments.is_empty() {
            return vec![Self::Stdin];
        }
        arguments.iter().map(|a| Self::from_argument(a)).collect()
    }

    /// The input that one argument stands for.
    pub fn from_argument(argument: &Path) -> Self {
        if argument == Path::new("-") {
            Self::Stdin
        } else {
            Self::File(argument.to_path_buf())
        }
    }

    /// What to call it in a message.
    pub fn name(&self) -> String {
        match self {
            Self::Stdin => "standard input".into(),
            Self::File(path) => path.display().to_string(),
        }
    }

    /// Says which input cannot be read, and why.
    pub fn unreadable(&self, source: io::Error) -> Unreadable {
        let name = self.name();
        Unreadable { name, source }
    }

    /// Opens it.
    pub fn open(&self) -> Result<Box<dyn BufRead>, Unreadable> {
        Ok(match self {
            Self::Stdin => Box::new(io::stdin().lock()),
            Self::File(path) => {
                let file = File::open(path).map_err(|error| self.unreadable(error))?;
                Box::new(BufReader::with_capacity(1 << 18, file))
            }
        })
    }
}

/// Calls `each` with every line, without its end and its colours. What is neither UTF-8 nor UTF-16 is replaced.
pub fn for_each(mut from: impl BufRead, each: impl FnMut(&str)) -> io::Result<()> {
    let mut start = Vec::with_capacity(3);
    (&mut from).take(3).read_to_end(&mut start)?;
    match start.as_slice() {
        [0xff, 0xfe, rest @ ..] => {
            for_each_utf16(Cursor::new(rest).chain(from), u16::from_le_bytes, each)
        }
        [0xfe, 0xff, rest @ ..] => {
            for_each_utf16(Cursor::new(rest).chain(from), u16::from_be_bytes, each)
        }
        [0xef, 0xbb, 0xbf] => for_each_utf8(from, each),
        start => for_each_utf8(Cursor::new(start).chain(from), each),
    }
}

/// As `PowerShell` writes what a command prints.
fn for_each_utf16(
    from: impl BufRead,
    unit: fn([u8; 2]) -> u16,
    each: impl FnMut(&str),
) -> io::Result<()> {
    let decoded = Utf16 {
        from,
        unit,
        high: None,
    };
    for_each_utf8(BufReader::with_capacity(KEPT, decoded), each)
}

fn for_each_utf8(mut from: impl BufRead, mut each: impl FnMut(&str)) -> io::Result<()> {
    let mut line = Vec::new();
    loop {
        line.clear();
        let limit = u64::try_from(KEPT).unwrap_or(u64::MAX);
        if (&mut from).take(limit).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        if line.last() == Some(&b'\n') {
            line.pop();
        } else {
            from.skip_until(b'\n')?;
        }
        while line.last() == Some(&b'\r') {
            line.pop();
        }
        each(&plain(&String::from_utf8_lossy(&line)));
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
    use super::*;

    fn lines(bytes: &[u8]) -> Vec<String> {
        let mut lines = vec![];
        for_each(bytes, |line| lines.push(line.into())).unwrap();
        lines
    }

    #[test]
    fn lines_end_where_they_end() {
        assert_eq!(lines(b"a\n\nb\r\nc"), ["a", "", "b", "c"]);
        assert_eq!(lines(b""), [""; 0]);
        assert_eq!(lines(b"a\xffb\n"), ["a\u{fffd}b"]);
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
