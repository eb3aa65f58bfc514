//! The texts that audit's lines are searched for, each prepared once: every line is searched for nearly all of them.

use memchr::memmem::{Finder, FinderRev};

/// A text to search for.
#[derive(Debug)]
pub struct Needle {
    forward: Finder<'static>,
    backward: FinderRev<'static>,
    length: usize,
}

impl Needle {
    fn new(text: &'static str) -> Self {
        Self {
            forward: Finder::new(text),
            backward: FinderRev::new(text),
            length: text.len(),
        }
    }

    /// Where it begins first.
    pub fn find(&self, line: &str) -> Option<usize> {
        self.forward.find(line.as_bytes())
    }

    /// Where it begins, everywhere.
    pub fn find_all<'l>(&'l self, line: &'l str) -> impl Iterator<Item = usize> + 'l {
        self.forward.find_iter(line.as_bytes())
    }

    /// What follows where it stands first.
    pub fn after<'l>(&self, line: &'l str) -> Option<&'l str> {
        line.get(self.find(line)? + self.length..)
    }

    /// What follows where it stands last.
    pub fn after_last<'l>(&self, line: &'l str) -> Option<&'l str> {
        let at = self.backward.rfind(line.as_bytes())?;
        line.get(at + self.length..)
    }
}

/// All of them, by what they are for.
#[derive(Debug)]
pub struct Needles {
    /// How a record begins, in the order of `MARKS`.
    pub marks: [Needle; 6],
    pub suppressed: Needle,
    pub audit_lost: Needle,
    pub printed: Needle,
    pub auid: Needle,
    pub arch: Needle,
    pub syscall: Needle,
    pub code: Needle,
    pub pid: Needle,
    pub comm: Needle,
    pub exe: Needle,
    pub sig: Needle,
    pub subj: Needle,
}

impl Needles {
    pub fn new(marks: [&'static str; 6]) -> Self {
        Self {
            marks: marks.map(Needle::new),
            suppressed: Needle::new("kauditd_printk_skb: "),
            audit_lost: Needle::new("audit: audit_lost="),
            printed: Needle::new("type=1"),
            auid: Needle::new("auid="),
            arch: Needle::new(" arch="),
            syscall: Needle::new(" syscall="),
            code: Needle::new(" code="),
            pid: Needle::new(" pid="),
            comm: Needle::new(" comm="),
            exe: Needle::new(" exe="),
            sig: Needle::new(" sig="),
            subj: Needle::new(" subj="),
        }
    }
}
