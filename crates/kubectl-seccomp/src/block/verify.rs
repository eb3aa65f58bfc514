//! Looks at what came of a block: how all containers stand now, and what the filter of one container of each profile really stops.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use super::plan::{Fate, Plan, Scope, Standing};
use super::{BlockArgs, decide, render, see};
use crate::call::Call;
use crate::cluster::Cluster;
use crate::probe::{self, At};
use crate::text::Style;
use crate::{Failure, output};

/// How long a probe may take.
const PROBE: Duration = Duration::from_mins(2);
/// The agents report within a few seconds which containers are new.
const REPORTS: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Lines about what does not refuse the calls; none if all does.
pub async fn verify(
    cluster: &Cluster,
    calls: &[Call],
    scope: &Scope,
    args: &BlockArgs,
) -> Result<String, Failure> {
    let begun = Instant::now();
    let plan = loop {
        let seen = see(cluster, scope).await?;
        let plan = decide(calls, scope, &seen)?;
        // A pod that was just made anew counts as the old one until its node's report says otherwise.
        if !args.restart || plan.to_restart().is_empty() || begun.elapsed() > REPORTS {
            break plan;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    };
    output::print("\nNow: ")?;
    output::print(render::standing(&plan, Style::for_stdout()))?;
    let mut found = String::new();
    if !args.no_probe {
        for (profile, fate) in samples(&plan) {
            let said = probe(cluster, calls, fate, args).await;
            let place = format!(
                "{}/{}, container {}",
                fate.namespace, fate.pod, fate.container
            );
            match said {
                Ok(open) if open.is_empty() => {
                    output::print(format!("probed {place}, under {profile}: refused\n"))?;
                }
                Ok(open) => {
                    let _ = writeln!(found, "{place}, under {profile}: {}", open.join(", "));
                }
                Err(why) => {
                    let _ = writeln!(
                        found,
                        "{place}, under {profile}: not probed: {}",
                        why.sentence()
                    );
                }
            }
        }
    }
    let restarts = plan.to_restart().len();
    if restarts > 0 {
        let hint = if args.restart {
            ""
        } else {
            "; --restart makes them anew"
        };
        let _ = writeln!(
            found,
            "pods that do not refuse the calls yet: {restarts}{hint}"
        );
    }
    let open = plan.open().count();
    if open > 0 {
        let _ = writeln!(found, "containers that cannot be reached: {open}");
    }
    Ok(found)
}

/// A container for each profile, a pod's own rather than an init container.
fn samples(plan: &Plan) -> BTreeMap<&str, &Fate> {
    let mut samples = BTreeMap::new();
    for fate in plan.fates.iter().filter(|fate| fate.is_main) {
        if let Standing::Covered(profile) = &fate.standing {
            samples.entry(profile.as_str()).or_insert(fate);
        }
    }
    samples
}

/// The calls that the container's filter lets through.
async fn probe(
    cluster: &Cluster,
    calls: &[Call],
    fate: &Fate,
    args: &BlockArgs,
) -> Result<Vec<String>, Failure> {
    let at = At {
        namespace: &fate.namespace,
        container: Some(&fate.container),
        image: args.image.as_deref(),
        timeout: PROBE,
    };
    let words: Vec<_> = calls.iter().flat_map(expected).collect();
    let (log, code) = probe::ask(cluster, &fate.pod, &at, &words).await?;
    let open = log.lines().filter(|line| line.ends_with(": not stopped"));
    let open: Vec<_> = open.map(str::to_owned).collect();
    if code > 1 || (code == 1 && open.is_empty()) {
        let last = log.lines().last().unwrap_or("it says nothing").to_owned();
        return Err(Failure::Usage(last));
    }
    Ok(open)
}

/// What asks the probe to fail unless the call is stopped.
fn expected(call: &Call) -> Vec<String> {
    let name = call.syscall.name();
    let Some(last) = call.args.iter().rposition(Option::is_some) else {
        return vec![format!("--must-stop={name}")];
    };
    let args = call.args[..=last].iter();
    let args: Vec<_> = args.map(|arg| arg.unwrap_or(0).to_string()).collect();
    let call = format!("{name}:{}", args.join(","));
    vec![format!("--call={call}"), format!("--must-stop={call}")]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call;

    #[test]
    fn a_probe_is_asked_for_the_call_in_numbers_that_any_version_reads() {
        let of = |text: &str| expected(&call::one(text).unwrap());
        assert_eq!(of("keyctl"), ["--must-stop=keyctl"]);
        assert_eq!(
            of("socket(_, SOCK_RAW)"),
            ["--call=socket:0,3", "--must-stop=socket:0,3"]
        );
    }
}
