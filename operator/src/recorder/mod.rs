//! The recorder of a node: two processes, of which one holds what runtimes hand over and the other counts and reports.
//!
//! What they do is in the crate `seccomp-recorder`; here is what it has to do with Kubernetes. `report` decides what a recording's
//! report says, `publish` writes it, `remembered` tells the next recorder whose containers there were; `denials` and `denial_publisher` are the same for what observed profiles refuse. None knows the agent, the controller or the webhook.

mod denial_publisher;
mod denials;
mod publish;
mod remembered;
mod report;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use clap::Args;
use kube_support::{Requests, in_cluster_client};
use seccomp_recorder::{Folder, Holder, Recorder};
use tokio::sync::oneshot;
use tracing::{error, info, warn};

use crate::{health, shutdown};
use denial_publisher::DenialPublisher;
use publish::Publisher;
use remembered::Remembered;

/// What the agent's binary is called where it is the recorder.
pub const NAME: &str = "seccomp-operator-recorder";
/// How long the last reports may take.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Where holder and recorder meet.
#[derive(Args, Debug)]
pub struct FolderArgs {
    /// The folder of the sockets, below kubelet's seccomp folder
    #[arg(
        long,
        env = "RECORDER_DIR",
        default_value = "/var/lib/kubelet/seccomp/recorder"
    )]
    recorder_dir: PathBuf,
}

/// Counts what containers call, and reports it.
#[derive(Args, Debug)]
pub struct RecordArgs {
    #[command(flatten)]
    folder: FolderArgs,
    /// This node's name
    #[arg(long, env = "NODE_NAME")]
    node_name: String,
    /// Port for /livez, /readyz and /metrics
    #[arg(long, env = "HEALTH_PORT", default_value_t = 8083)]
    health_port: u16,
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// Holds what runtimes hand over, until it is told to stop and nobody needs it any more. To be called by a process of one thread.
pub fn hold(args: FolderArgs) -> anyhow::Result<()> {
    let folder = args.recorder_dir;
    let opened = Holder::open(Folder::new(&folder), |said| warn!("{said}"));
    let holder = opened.with_context(|| format!("cannot listen in {}", folder.display()))?;
    info!(folder = %folder.display(), "the holder starts");
    holder.run().context("the holder failed")
}

/// Runs until it is told to stop and nothing is left to record.
pub async fn record(args: RecordArgs) -> anyhow::Result<()> {
    let mut registry = crate::metrics::registry();
    let requests = Requests::new(registry.sub_registry_with_prefix(crate::metrics::PREFIX));
    let client = in_cluster_client(&requests)
        .context("cannot find out how to reach the API server; the recorder has to run as a pod")?;
    let remembered = args.folder.recorder_dir.join("recordings");
    let remembered = Remembered::read(remembered).unwrap_or_else(|error| {
        warn!(%error, "what was recorded before cannot be read");
        Remembered::default()
    });
    let recorder =
        Recorder::new(Folder::new(args.folder.recorder_dir)).context("cannot make the recorder")?;
    let (control, of_health) = (recorder.control(), recorder.control());
    let (end, ended) = oneshot::channel();
    std::thread::Builder::new()
        .name("recorder".into())
        .spawn(move || end.send(recorder.run()))?;
    let ready = Arc::new(move || {
        let connected = of_health.is_connected().then_some(());
        connected.ok_or_else(|| "the holder has not handed over yet".to_owned())
    });
    let publisher = Publisher::new(client.clone(), args.node_name.clone(), remembered);
    let denials = DenialPublisher::new(client.clone(), args.node_name.clone());
    info!(node = args.node_name, "the recorder starts");
    tokio::select! {
        done = finish(ended, &control) => done?,
        served = health::serve(args.health_port, ready, Arc::new(registry)) => served?,
        () = publisher.run(control.clone()) => {}
        () = denials.run(control.clone()) => {}
    }
    let mut publisher = Publisher::new(client, args.node_name, Remembered::default());
    if tokio::time::timeout(LAST_WORDS, publisher.publish(&control, true))
        .await
        .is_err()
    {
        warn!("the last reports could not be published; the holder has what they would say");
    }
    Ok(())
}

/// Ends once this process is asked to stop and the recorder has nothing left to do.
async fn finish(
    ended: oneshot::Receiver<std::io::Result<()>>,
    control: &seccomp_recorder::Control,
) -> anyhow::Result<()> {
    let mut ended = std::pin::pin!(ended);
    tokio::select! {
        end = &mut ended => {
            if let Ok(Err(failed)) = end {
                error!(error = %failed, "the recorder failed");
                return Err(failed.into());
            }
            // Started anew, it would stand in the way of the one that has taken over.
            info!("another recorder has taken over");
            shutdown::requested().await;
        }
        () = shutdown::requested() => {
            info!("the recorder stops once nothing is left to record, or another one takes over");
            control.finish();
            if let Ok(Err(failed)) = ended.await {
                return Err(failed.into());
            }
        }
    }
    Ok(())
}
