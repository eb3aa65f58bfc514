//! Which source is to be pulled, and when. It knows a clock only as a number, and no registry.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::core::ObjectMeta;

use kube_support::{Listing, WatchEvent, Watched};
use seccomp_operator_api::source_condition::PULLED;
use seccomp_operator_api::{
    SOURCE_DIGEST_ANNOTATION, SeccompProfile, SeccompSource, SeccompSourceSpec,
    SeccompSourceStatus, SourceState,
};

/// So many pulls go on at once.
pub const AT_ONCE: usize = 4;
/// The pause after a first failure; it doubles with each.
const FIRST_PAUSE: Duration = Duration::from_secs(10);
/// The longest, unless the interval is longer.
const LONGEST_PAUSE: Duration = Duration::from_mins(10);
/// So soon after a pull nothing that happened to its profile leads to the next: others may want to write it too.
const REST: Duration = Duration::from_secs(5);
/// A draw is below this.
pub const DRAWS: u32 = 1024;

/// A source that is to be pulled now.
#[derive(Clone, Debug)]
pub struct Job {
    pub name: String,
    pub uid: String,
    pub generation: i64,
    /// What it asks for, or why that cannot be read.
    pub spec: Result<Arc<SeccompSourceSpec>, String>,
    pub status: SeccompSourceStatus,
}

/// A pull that has ended.
#[derive(Clone, Debug)]
pub struct Done {
    pub name: String,
    pub uid: String,
    pub generation: i64,
    pub end: End,
}

/// How a pull ended, as far as the next one goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The profile with that uid has that generation since.
    Kept { profile: Kept, interval: Duration },
    /// It is tried again.
    Failed { interval: Duration, is_taken: bool },
    /// Only another spec can change that.
    Over,
}

/// The SeccompProfile of a source, as somebody has seen it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    pub uid: String,
    pub generation: i64,
}

/// What the profile of a source has to look like for the source to rest.
#[derive(Clone, Debug, Default)]
enum Expected {
    /// Whatever.
    #[default]
    Any,
    /// As a status says that somebody has left it.
    OfDigest(String),
    /// As it was left.
    Left(Kept),
    /// Still somebody else's.
    Taken,
}

/// Sources by what their statuses show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceCounts {
    /// The profile is what the artifact says.
    pub ready: usize,
    /// The registry is left alone.
    pub suspended: usize,
    /// It could not be pulled, verified or kept.
    pub failed: usize,
    /// Nobody has looked at the newest generation.
    pub unseen: usize,
}

#[derive(Debug)]
struct Known {
    job: Job,
    expected: Expected,
    /// When to pull whatever happens; never by itself where there is none.
    due: Option<Duration>,
    ended: Option<Duration>,
    failures: u32,
    runs: bool,
}

#[derive(Debug)]
struct Profile {
    kept: Kept,
    owner: Option<String>,
    digest: Option<String>,
}

/// The sources, and the profiles that there are.
#[derive(Debug, Default)]
pub struct Sources {
    known: BTreeMap<String, Known>,
    listing: Listing,
    profiles: BTreeMap<String, Profile>,
    profile_listing: Listing,
}

impl Sources {
    /// Takes what the watch of sources tells.
    pub fn source(
        &mut self,
        change: &WatchEvent<SeccompSource>,
        now: Duration,
        wall: Timestamp,
        draw: u32,
    ) {
        match change {
            WatchEvent::ListBegins => self.listing.begins(),
            WatchEvent::ListEnds => {
                for gone in self.listing.ends(self.known.keys().map(String::as_str)) {
                    self.known.remove(&gone);
                }
            }
            WatchEvent::Exists(source) => {
                let job = job_of(source);
                self.listing.saw(&job.name);
                if metadata_of(source).deletion_timestamp.is_some() {
                    self.known.remove(&job.name);
                } else {
                    self.exists(job, now, wall, draw);
                }
            }
            WatchEvent::Deleted(source) => {
                let metadata = metadata_of(source);
                self.known
                    .remove(metadata.name.as_deref().unwrap_or_default());
            }
        }
    }

    fn exists(&mut self, job: Job, now: Duration, wall: Timestamp, draw: u32) {
        if let Some(known) = self
            .known
            .get_mut(&job.name)
            .filter(|known| known.job.uid == job.uid)
        {
            if known.job.generation != job.generation {
                known.due = Some(now);
                known.failures = 0;
            }
            known.job = job;
            return;
        }
        let (due, expected) = first(&job, now, wall, draw);
        let name = job.name.clone();
        let known = Known {
            job,
            expected,
            due,
            ended: None,
            failures: 0,
            runs: false,
        };
        self.known.insert(name, known);
    }

    /// Takes what the watch of profiles tells.
    pub fn profile(&mut self, change: &WatchEvent<SeccompProfile>) {
        match change {
            WatchEvent::ListBegins => self.profile_listing.begins(),
            WatchEvent::ListEnds => {
                for gone in self
                    .profile_listing
                    .ends(self.profiles.keys().map(String::as_str))
                {
                    self.profiles.remove(&gone);
                }
            }
            WatchEvent::Exists(profile) => {
                let metadata = profile_metadata(profile);
                let name = metadata.name.clone().unwrap_or_default();
                self.profile_listing.saw(&name);
                let annotations = metadata.annotations.as_ref();
                let seen = Profile {
                    kept: kept(metadata),
                    owner: owner(metadata).map(str::to_owned),
                    digest: annotations.and_then(|all| all.get(SOURCE_DIGEST_ANNOTATION).cloned()),
                };
                self.profiles.insert(name, seen);
            }
            WatchEvent::Deleted(profile) => {
                let name = profile_metadata(profile).name.as_deref();
                self.profiles.remove(name.unwrap_or_default());
            }
        }
    }

    /// How many there are, by what their statuses show.
    pub fn counts(&self) -> SourceCounts {
        let mut counts = SourceCounts::default();
        for Known { job, .. } in self.known.values() {
            let count = match job.status.state(Some(job.generation)) {
                SourceState::Ready => &mut counts.ready,
                SourceState::Suspended => &mut counts.suspended,
                SourceState::Failed => &mut counts.failed,
                SourceState::Unseen => &mut counts.unseen,
            };
            *count += 1;
        }
        counts
    }

    /// Those to pull now. They count as running from now on.
    pub fn due(&mut self, now: Duration) -> Vec<Job> {
        let running = self.running();
        let mut due: Vec<_> = self
            .known
            .iter()
            .filter_map(|(name, known)| Some((self.time(known)?, name.clone())))
            .filter(|(time, _)| *time <= now)
            .collect();
        // Whoever has waited for longest.
        due.sort_unstable();
        due.truncate(AT_ONCE.saturating_sub(running));
        let jobs = due.iter().filter_map(|(_, name)| {
            let known = self.known.get_mut(name)?;
            known.runs = true;
            Some(known.job.clone())
        });
        jobs.collect()
    }

    /// When there is something to pull next; while as many run as may, the end of one decides.
    pub fn next(&self) -> Option<Duration> {
        if self.running() >= AT_ONCE {
            return None;
        }
        let times = self.known.values().filter_map(|known| self.time(known));
        times.min()
    }

    fn running(&self) -> usize {
        self.known.values().filter(|known| known.runs).count()
    }

    fn time(&self, known: &Known) -> Option<Duration> {
        if known.runs {
            return None;
        }
        let astray = self
            .is_astray(known)
            .then(|| known.ended.map_or(Duration::ZERO, |at| at + REST));
        [known.due, astray].into_iter().flatten().min()
    }

    /// Whether the profile is not what the source has left.
    fn is_astray(&self, known: &Known) -> bool {
        let profile = self.profiles.get(&known.job.name);
        let is_own = profile.is_some_and(|profile| profile.owner.as_ref() == Some(&known.job.uid));
        match (&known.expected, profile) {
            (Expected::Any, _) => false,
            (Expected::Taken, profile) => is_own || profile.is_none(),
            (_, None) => true,
            (Expected::OfDigest(digest), Some(profile)) => {
                !is_own || profile.digest.as_ref() != Some(digest)
            }
            // The watch may not have told of what was just written.
            (Expected::Left(left), Some(profile)) => {
                profile.kept.uid != left.uid || profile.kept.generation > left.generation
            }
        }
    }

    /// A pull has ended. `draw`, below [`DRAWS`], keeps many of them from coming in step.
    pub fn done(&mut self, done: &Done, now: Duration, draw: u32) {
        let known = self.known.get_mut(&done.name);
        let Some(known) = known.filter(|known| known.job.uid == done.uid) else {
            return;
        };
        known.runs = false;
        known.ended = Some(now);
        let is_stale = known.job.generation != done.generation;
        known.expected = match &done.end {
            End::Kept { profile, .. } => Expected::Left(profile.clone()),
            End::Failed { is_taken: true, .. } => Expected::Taken,
            End::Failed { .. } | End::Over => Expected::Any,
        };
        let pause = match &done.end {
            End::Kept { interval, .. } => {
                known.failures = 0;
                // A tenth more at most.
                Some(*interval + drawn(*interval, draw) / 10)
            }
            End::Failed { interval, .. } => {
                let longest = LONGEST_PAUSE.max(*interval);
                let pause = FIRST_PAUSE
                    .saturating_mul(1 << known.failures.min(16))
                    .min(longest);
                known.failures = known.failures.saturating_add(1);
                Some(pause + drawn(pause, draw) / 2)
            }
            End::Over => None,
        };
        known.due = if is_stale {
            Some(now)
        } else {
            pause.map(|pause| now + pause)
        };
    }

    /// Nothing runs any more: somebody else leads.
    pub fn stopped(&mut self) {
        self.known.values_mut().for_each(|known| known.runs = false);
    }
}

/// A part of a time, by a draw.
fn drawn(time: Duration, draw: u32) -> Duration {
    time * draw.min(DRAWS) / DRAWS
}

/// When a source is pulled that nobody here has pulled yet: where the status says that it is well, when it would have been anyway, so that
/// a new leader does not ask all registries at once.
fn first(job: &Job, now: Duration, wall: Timestamp, draw: u32) -> (Option<Duration>, Expected) {
    let status = &job.status;
    let is_well = status.observed_generation == Some(job.generation)
        && status
            .ready()
            .is_some_and(|ready| ready.status == "True" && ready.reason == PULLED);
    let spec = job.spec.as_ref().ok().filter(|_| is_well);
    let interval = spec.and_then(|spec| seccomp_recording::parse_length(&spec.interval).ok());
    let (Some(interval), Some(pulled), Some(digest)) =
        (interval, &status.last_pulled, &status.digest)
    else {
        return (Some(now), Expected::Any);
    };
    let passed = Duration::try_from(wall.duration_since(pulled.0)).unwrap_or_default();
    let rest = interval.saturating_sub(passed);
    let due = now + rest + drawn(interval, draw) / 10;
    (Some(due), Expected::OfDigest(digest.clone()))
}

fn metadata_of(source: &Watched<SeccompSource>) -> &ObjectMeta {
    match source {
        Ok(source) => &source.metadata,
        Err(unreadable) => &unreadable.metadata,
    }
}

fn profile_metadata(profile: &Watched<SeccompProfile>) -> &ObjectMeta {
    match profile {
        Ok(profile) => &profile.metadata,
        Err(unreadable) => &unreadable.metadata,
    }
}

fn job_of(source: &Watched<SeccompSource>) -> Job {
    let metadata = metadata_of(source);
    Job {
        name: metadata.name.clone().unwrap_or_default(),
        uid: metadata.uid.clone().unwrap_or_default(),
        generation: metadata.generation.unwrap_or_default(),
        spec: match source {
            Ok(source) => Ok(Arc::new(source.spec.clone())),
            Err(unreadable) => Err(unreadable.error.clone()),
        },
        status: source
            .as_ref()
            .ok()
            .and_then(|source| source.status.clone())
            .unwrap_or_default(),
    }
}

/// A profile as its metadata say it is.
pub fn kept(metadata: &ObjectMeta) -> Kept {
    Kept {
        uid: metadata.uid.clone().unwrap_or_default(),
        generation: metadata.generation.unwrap_or_default(),
    }
}

/// The uid of the source that a profile is kept by.
pub fn owner(metadata: &ObjectMeta) -> Option<&str> {
    let owners = metadata.owner_references.iter().flatten();
    let mut sources = owners.filter(|owner| owner.kind == super::KIND);
    sources.next().map(|owner| owner.uid.as_str())
}

#[cfg(test)]
mod tests;
