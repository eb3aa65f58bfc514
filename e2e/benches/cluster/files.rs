//! When a file comes to a folder of the node, and the watcher that the agent is compared with.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Write as _;
use std::mem::MaybeUninit;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use e2e::cluster::Cluster;
use futures::StreamExt as _;
use kube::api::PartialObjectMeta;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, ResourceExt as _};
use rustix::fs::inotify;
use seccomp_operator_api::SeccompProfile;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::load;

/// What has not come by then does not come.
const PATIENCE: Duration = Duration::from_mins(2);

/// A folder whose files are told as they come.
pub struct Folder {
    path: PathBuf,
    came: UnboundedReceiver<(Instant, String)>,
}

impl Folder {
    /// Watches it; makes it if it is not there.
    pub fn watch(path: &str) -> anyhow::Result<Self> {
        fs::create_dir_all(path)?;
        let events = inotify::init(inotify::CreateFlags::CLOEXEC)?;
        inotify::add_watch(&events, path, inotify::WatchFlags::MOVED_TO)?;
        let (tell, came) = unbounded_channel();
        // A thread of its own: the time is that of the event, whatever else there is to do.
        std::thread::spawn(move || {
            let mut buffer = [MaybeUninit::uninit(); 4096];
            let mut reader = inotify::Reader::new(events, &mut buffer);
            while let Ok(event) = reader.next() {
                let now = Instant::now();
                let name = event
                    .file_name()
                    .map(|name| name.to_string_lossy().into_owned());
                if tell.send((now, name.unwrap_or_default())).is_err() {
                    break;
                }
            }
        });
        Ok(Self {
            path: path.into(),
            came,
        })
    }

    async fn arrival(&mut self, file: &str) -> anyhow::Result<Instant> {
        let arrival = async {
            loop {
                let (when, name) = self.came.recv().await.context("the watch ended")?;
                if name == file {
                    return Ok(when);
                }
            }
        };
        timeout(PATIENCE, arrival)
            .await
            .with_context(|| format!("{file} did not come"))?
    }

    /// Creates the profile, and says how long it took from the request until the file was there.
    pub async fn create(
        &mut self,
        cluster: &Cluster,
        profile: &SeccompProfile,
    ) -> anyhow::Result<Duration> {
        let api = load::profiles(cluster);
        let start = Instant::now();
        api.create(&kube::api::PostParams::default(), profile)
            .await?;
        let arrived = self
            .arrival(&format!("{}.json", profile.name_any()))
            .await?;
        Ok(arrived - start)
    }

    /// Removes or changes a file, and says how long it took until it was put right.
    pub async fn vandalise(&mut self, file: &str, remove: bool) -> anyhow::Result<Duration> {
        let path = self.path.join(file);
        let start = Instant::now();
        if remove {
            fs::remove_file(&path)?;
        } else {
            fs::write(&path, "{}")?;
        }
        Ok(self.arrival(file).await? - start)
    }

    /// When the last of these profiles' files came.
    pub async fn await_all(&mut self, profiles: &[String]) -> anyhow::Result<Instant> {
        let mut missing: BTreeSet<_> = profiles.iter().map(|name| format!("{name}.json")).collect();
        let mut last = Instant::now();
        let arrivals = async {
            while !missing.is_empty() {
                let (when, name) = self.came.recv().await.context("the watch ended")?;
                if missing.remove(&name) {
                    last = when;
                }
            }
            anyhow::Ok(())
        };
        timeout(PATIENCE, arrivals)
            .await
            .context("some files did not come")??;
        Ok(last)
    }
}

/// What the agent is compared with: watches profiles, and writes, syncs and renames the bytes that the agent would write. It knows
/// them beforehand, and asks for nothing but names.
pub struct Bare(JoinHandle<()>);

impl Bare {
    /// Starts it. `files`: the bytes by the name of the profile.
    pub fn start(cluster: &Cluster, folder: &str, mut files: BTreeMap<String, Vec<u8>>) -> Self {
        let api: Api<PartialObjectMeta<SeccompProfile>> = Api::all(cluster.client.clone());
        let folder = PathBuf::from(folder);
        Self(tokio::spawn(async move {
            let profiles = watcher(api, watcher::Config::default()).applied_objects();
            let mut profiles = std::pin::pin!(profiles);
            while let Some(profile) = profiles.next().await {
                if let Ok(profile) = profile
                    && let Some(bytes) = files.remove(&profile.name_any())
                {
                    write(&folder, &profile.name_any(), &bytes).expect("a file is written");
                }
            }
        }))
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn write(folder: &Path, name: &str, bytes: &[u8]) -> std::io::Result<()> {
    let temporary = folder.join(".temporary");
    let mut file = File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, folder.join(format!("{name}.json")))
}
