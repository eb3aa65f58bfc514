//! Whose containers this node's recorder recorded last, in a file beside its sockets: what both of its processes knew is gone when both have
//! ended, and a right to list all reports would tell a recorder what other nodes record.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read as _};
use std::path::PathBuf;

use seccomp_operator_api::{RecordedContainer, RecordingReference, RecordingReport};
use seccomp_recorder::Recorded;

/// A recording and its namespace, in the form of a profile's `listenerMetadata`.
type Line = String;

/// So much of the file is read: some hundred recordings.
const MAX_BYTES: u64 = 256 << 10;

/// The file, and what it says.
#[derive(Debug, Default)]
pub struct Remembered {
    path: PathBuf,
    lines: BTreeSet<Line>,
}

impl Remembered {
    /// What the recorder before this one has left.
    pub fn read(path: PathBuf) -> io::Result<Self> {
        let mut text = String::new();
        match fs::File::open(&path) {
            Ok(file) => file.take(MAX_BYTES).read_to_string(&mut text).map(drop)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let lines = text.lines().map(str::to_owned).collect();
        Ok(Self { path, lines })
    }

    /// The recordings.
    pub fn recordings(&self) -> impl Iterator<Item = (String, RecordingReference)> {
        let lines = self.lines.iter();
        lines.filter_map(|line| RecordingReference::from_metadata(line))
    }

    /// Keeps these from now on: those of whose containers some run.
    pub fn keep<'a>(
        &mut self,
        reports: impl Iterator<Item = (&'a str, &'a RecordingReport)>,
    ) -> io::Result<()> {
        let running = reports.filter(|(_, report)| report.containers.iter().any(is_heard));
        let lines = running.map(|(namespace, report)| report.recording.to_metadata(namespace));
        let lines: BTreeSet<_> = lines.collect();
        if lines == self.lines || self.path.as_os_str().is_empty() {
            return Ok(());
        }
        let new = self.path.with_extension("new");
        let text = lines.iter().flat_map(|line| [line, "\n"]);
        let text: String = text.collect();
        fs::write(&new, text)?;
        fs::rename(&new, &self.path)?;
        self.lines = lines;
        Ok(())
    }
}

fn is_heard(container: &RecordedContainer) -> bool {
    container.ended.is_none() && !container.unheard
}

/// Says of containers that ran and that the recorder has nothing of any more that nobody hears them. Whether there are any.
pub fn mark(containers: &mut [RecordedContainer], recorded: &[Recorded]) -> bool {
    let mut is_marked = false;
    for container in containers
        .iter_mut()
        .filter(|container| is_heard(container))
    {
        let id = &container.container_id;
        if recorded
            .iter()
            .all(|recorded| recorded.subject.container_id != *id)
        {
            container.unheard = true;
            is_marked = true;
        }
    }
    is_marked
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use k8s_openapi::jiff::Timestamp;
    use seccomp_recorder::{Counts, Subject};

    fn container(id: &str, ended: bool) -> RecordedContainer {
        RecordedContainer {
            container_id: id.into(),
            ended: ended.then_some(Time(Timestamp::UNIX_EPOCH)),
            ..RecordedContainer::default()
        }
    }

    fn report(name: &str, containers: Vec<RecordedContainer>) -> RecordingReport {
        RecordingReport {
            recording: RecordingReference {
                name: name.into(),
                uid: "u".into(),
            },
            containers,
            ..RecordingReport::default()
        }
    }

    #[test]
    fn recordings_with_running_containers_are_known_to_the_next_recorder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("recordings");
        let mut remembered = Remembered::read(path.clone()).unwrap();
        let running = report("web", vec![container("a", true), container("b", false)]);
        let over = report("old", vec![container("c", true)]);
        let both = [("shop", &running), ("shop", &over)];
        remembered.keep(both.into_iter()).unwrap();
        let next = Remembered::read(path.clone()).unwrap();
        let found: Vec<_> = next.recordings().collect();
        assert_eq!(found, [("shop".to_owned(), running.recording.clone())]);
        remembered.keep([("shop", &over)].into_iter()).unwrap();
        assert_eq!(
            Remembered::read(path.clone()).unwrap().recordings().count(),
            0
        );
        // What is no recording is left out, as somebody else's words would be.
        fs::write(&path, "shop/web/u\n../x\n").unwrap();
        assert_eq!(Remembered::read(path).unwrap().recordings().count(), 1);
    }

    #[test]
    fn containers_that_ran_and_of_which_nothing_is_left_are_heard_by_nobody() {
        let counted = Recorded::new(
            Subject {
                container_id: "a".into(),
                ..Subject::default()
            },
            0,
            None,
            Counts::default(),
        );
        let mut containers = vec![
            container("a", false),
            container("b", false),
            container("c", true),
        ];
        assert!(mark(&mut containers, std::slice::from_ref(&counted)));
        let unheard: Vec<_> = containers
            .iter()
            .map(|container| container.unheard)
            .collect();
        assert_eq!(unheard, [false, true, false]);
        assert!(!mark(&mut containers, &[counted]));
    }
}
