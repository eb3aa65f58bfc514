//! Inputs that may be of any length, read line by line in bounded memory.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
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

/// Calls `each` with every line, without its end. What is not UTF-8 is replaced.
pub fn for_each(mut from: impl BufRead, mut each: impl FnMut(&str)) -> io::Result<()> {
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
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        each(&String::from_utf8_lossy(&line));
    }
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
}
