//! What the kernel records of a pod under an audit profile.

use std::collections::BTreeSet;
use std::time::Duration;

use e2e::audit::{AuditLog, field};
use e2e::cluster::Cluster;
use e2e::pods::Pod;

use super::Tested;

#[tokio::test]
async fn an_audit_profile_makes_the_kernel_record_what_a_pod_calls() -> Tested {
    let cluster = Cluster::with_operator().await?;
    let namespace = cluster.namespace("e2e-audit", &[]).await?;
    cluster
        .apply_profile("e2e-audit", r#"{"defaultAction": "SCMP_ACT_LOG"}"#)
        .await?;
    cluster.wait_ready("e2e-audit").await?;

    let log = AuditLog::listen()?;
    // A shell of a name that nothing else on the machine has: records name the command, not the container.
    let script = "cp /bin/bash /tmp/e2e-audit-bash; /tmp/e2e-audit-bash -c 'ls /; true'; while true; do sleep 30; done";
    Pod::script(&cluster, &namespace, "audit-seccomp", script)
        .localhost("profiles/e2e-audit.json")
        .log_with(&cluster, "tmp")
        .await?;

    let names: &[(&str, &str, &str)] = &[("execve", "59", "221"), ("openat", "257", "56")];
    let mut missing: BTreeSet<_> = names.iter().map(|(name, ..)| *name).collect();
    let complete = log.until(Duration::from_secs(20), |record| {
        if field(record, "comm") == Some("e2e-audit-bash")
            && field(record, "code") == Some("0x7ffc0000")
        {
            let number = field(record, "syscall");
            let named = names.iter().find(|(_, x86_64, aarch64)| {
                number
                    == Some(if cfg!(target_arch = "aarch64") {
                        aarch64
                    } else {
                        x86_64
                    })
            });
            missing
                .extract_if(.., |name| named.is_some_and(|(found, ..)| found == name))
                .for_each(drop);
        }
        missing.is_empty()
    })?;
    assert!(complete, "no audit record of the pod's {missing:?}");
    Ok(())
}
