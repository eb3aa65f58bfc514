//! What the forms of traces have in common: their lines become calls, one after the other.

use crate::arguments::Given;
use crate::call::{Call, Called, Seen};
use crate::{audit, carrier, perf, strace};
use seccomp_profile::{Arch, Syscall};

/// A parser of lines.
pub trait Parser {
    /// What is seen of a line without those before it.
    type Glance: Send;
    /// Glances at lines, on whichever thread has time.
    fn glance(&self) -> impl Fn(&str) -> Self::Glance + Sync + use<Self>;
    /// To be called before the first line of each input.
    fn begin(&mut self, name: &str);
    /// Reads a line.
    fn read(&mut self, line: &str, glance: Self::Glance, found: &mut dyn FnMut(&Call<'_>)) -> Seen;
    /// To be called after the last line of each input.
    fn end(&mut self, found: &mut dyn FnMut(&Call<'_>));
    /// What is wrong with all that was read.
    fn caveat(&self) -> Option<&'static str> {
        None
    }
    /// How many records an input lacks by their numbers; none if nothing is lost, whatever its lines say.
    fn missing(&self) -> Option<u64> {
        Some(0)
    }
}

/// What tracers print.
pub struct Tracers {
    pub strace: strace::Reader,
    perf: perf::Reader,
}

impl Tracers {
    pub fn new(native: Arch) -> Self {
        Self {
            strace: strace::Reader::new(native),
            perf: perf::Reader::new(native),
        }
    }

    fn read(&mut self, line: &str, found: &mut dyn FnMut(&Call<'_>)) -> Seen {
        let Some(line) = carrier::unwrapped(line) else {
            return Seen::Unreadable;
        };
        let line = carrier::without_prefix(&line);
        match self.perf.read(line, found) {
            Some(seen) => seen,
            None => self.strace.read(line, found),
        }
    }
}

impl Parser for Tracers {
    type Glance = Option<strace::Beginning>;

    fn glance(&self) -> impl Fn(&str) -> Self::Glance + Sync + use<> {
        strace::Beginning::read
    }

    fn begin(&mut self, name: &str) {
        self.strace.begin(name);
        self.perf.begin();
    }

    fn read(&mut self, line: &str, glance: Self::Glance, found: &mut dyn FnMut(&Call<'_>)) -> Seen {
        match glance {
            Some(beginning) if self.strace.read_repeat(line, beginning) => Seen::Used,
            _ => self.read(line, found),
        }
    }

    fn end(&mut self, found: &mut dyn FnMut(&Call<'_>)) {
        self.strace.end(found);
    }

    fn caveat(&self) -> Option<&'static str> {
        self.perf.caveat()
    }
}

impl Parser for audit::Reader {
    type Glance = Option<audit::Glance>;

    fn glance(&self) -> impl Fn(&str) -> Self::Glance + Sync + use<> {
        self.glance()
    }

    fn begin(&mut self, _: &str) {
        self.begin();
    }

    fn read(&mut self, line: &str, glance: Self::Glance, found: &mut dyn FnMut(&Call<'_>)) -> Seen {
        self.read(line, glance, found)
    }

    fn end(&mut self, found: &mut dyn FnMut(&Call<'_>)) {
        self.end(found);
    }

    fn missing(&self) -> Option<u64> {
        self.missing()
    }
}

/// Lines of any of the forms. No line can be taken for one of another.
pub struct AnyLines {
    audit: audit::Reader,
    tracers: Tracers,
    native: Arch,
}

impl AnyLines {
    /// Names of calls are those of calls on such a machine.
    pub fn new(native: Arch) -> Self {
        Self {
            audit: audit::Reader::default(),
            tracers: Tracers::new(native),
            native,
        }
    }
}

impl Parser for AnyLines {
    type Glance = Option<audit::Glance>;

    fn glance(&self) -> impl Fn(&str) -> Self::Glance + Sync + use<> {
        self.audit.glance()
    }

    fn begin(&mut self, name: &str) {
        self.audit.begin();
        self.tracers.begin(name);
    }

    fn read(&mut self, line: &str, glance: Self::Glance, found: &mut dyn FnMut(&Call<'_>)) -> Seen {
        match self.audit.read(line, glance, found) {
            Seen::Silent => {}
            seen => return seen,
        }
        if let Some(call) = Syscall::named(line.trim()) {
            found(&Call {
                arch: self.native,
                called: Called::Known(call),
                times: 1,
                pid: None,
                comm: "",
                exe: "",
                arguments: Given::Nothing,
                verdict: None,
            });
            return Seen::Used;
        }
        self.tracers.read(line, found)
    }

    fn end(&mut self, found: &mut dyn FnMut(&Call<'_>)) {
        self.audit.end(found);
        self.tracers.end(found);
    }

    fn caveat(&self) -> Option<&'static str> {
        self.tracers.caveat()
    }

    fn missing(&self) -> Option<u64> {
        self.audit.missing()
    }
}
