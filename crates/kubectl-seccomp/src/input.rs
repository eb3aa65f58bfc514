//! The files that commands read.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

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

impl Unreadable {
    /// Whether there is no such file.
    pub fn is_missing(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }
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
                Box::new(BufReader::new(file))
            }
        })
    }

    /// Opens it to be read in large pieces.
    pub fn open_unbuffered(&self) -> Result<Box<dyn Read + Send>, Unreadable> {
        Ok(match self {
            Self::Stdin => Box::new(io::stdin()),
            Self::File(path) => {
                let file = File::open(path).map_err(|error| self.unreadable(error))?;
                Box::new(file)
            }
        })
    }
}
