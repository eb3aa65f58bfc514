//! Which container a process belongs to, by the names of its cgroups (`/proc/PID/cgroup`). Pure.
//!
//! kubelet names a pod's cgroup by the pod's uid, and the runtime those below it by the container's id, in one of few ways:
//!
//! | driver | path |
//! |---|---|
//! | cgroupfs | `/kubepods/burstable/pod<uid>/<id>` |
//! | systemd | `/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod<uid>.slice/cri-containerd-<id>.scope` |
//! | systemd, the runtime without it | `/system.slice/containerd.service/kubepods-burstable-pod<uid>.slice:cri-containerd:<id>` |
//!
//! systemd takes `_` for `-` in the uid. Who reads in a cgroup namespace of its own sees paths relative to its own cgroup (`/../../pod<uid>/<id>`). So only
//! the part from the pod's cgroup on is read, wherever it lies.

/// A container, as far as a cgroup tells.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Container {
    /// The uid of its pod; of a static pod the hash of its manifest. Empty if only the container is known.
    pub pod_uid: String,
    /// Its id. Empty if only the pod is known.
    pub id: String,
}

/// Where a process belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// To a container of a pod.
    Container(Container),
    /// To no pod.
    Host,
    /// It cannot be told any more: the process ends.
    Unknown,
}

impl Origin {
    /// Reads the text of `/proc/PID/cgroup`.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let paths = text.lines().filter_map(|line| line.splitn(3, ':').nth(2));
        let mut has_left = true;
        for path in paths {
            if let Some(container) = container(path) {
                return Self::Container(container);
            }
            // What ends is in the root of each hierarchy of version 1.
            has_left &= path == "/";
        }
        if has_left { Self::Unknown } else { Self::Host }
    }
}

fn container(path: &str) -> Option<Container> {
    let parts: Vec<_> = path.split(['/', ':']).collect();
    let pod = parts.iter().position(|part| pod_uid(part).is_some());
    let id = |parts: &[&str]| parts.iter().find_map(|part| container_id(part));
    match pod {
        Some(pod) => Some(Container {
            pod_uid: pod_uid(parts[pod])?,
            id: id(&parts[pod + 1..]).unwrap_or_default(),
        }),
        // Beside the reader's own container: the pod is above what it sees.
        None if parts.contains(&"..") => Some(Container {
            pod_uid: String::new(),
            id: id(&parts)?,
        }),
        None => None,
    }
}

/// `pod<uid>`, `kubepods-pod<uid>.slice`, `kubelet-kubepods-besteffort-pod<uid>.slice`.
fn pod_uid(part: &str) -> Option<String> {
    let part = part.strip_suffix(".slice").unwrap_or(part);
    let uid = match part.strip_prefix("pod") {
        Some(uid) => uid,
        None => {
            part.rsplit_once("-pod")
                .filter(|(before, _)| {
                    let before = before.trim_end_matches("-besteffort");
                    before.trim_end_matches("-burstable").ends_with("kubepods")
                })?
                .1
        }
    };
    let uid = uid.replace('_', "-");
    let digits = uid.bytes().filter(u8::is_ascii_hexdigit).count();
    let is_uid = uid.len() == 36 && digits == 32 && uid.matches('-').count() == 4;
    let is_hash = uid.len() == 32 && digits == 32;
    (is_uid || is_hash).then_some(uid)
}

/// `<id>`, `cri-containerd-<id>.scope`, `crio-<id>.scope`, `docker-<id>.scope`. Not that of conmon, which is a part of the runtime.
fn container_id(part: &str) -> Option<String> {
    let part = part.strip_suffix(".scope").unwrap_or(part);
    let (by, id) = part.rsplit_once('-').unwrap_or(("", part));
    let is_id = id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    (is_id && !by.ends_with("conmon")).then(|| id.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const UID: &str = "1f0c7f3e-5a5a-4a59-8d0e-0c1f0b8f2a11";
    const ID: &str = "3c9dcb8b3d1b2bd7b3e7a4b0b5b3c9dcb8b3d1b2bd7b3e7a4b0b5b3c9dcb8b3d";
    const HASH: &str = "0a5ee5ed6b4ac8e0a5ee5ed6b4ac8e01";

    fn origin(template: &str) -> Origin {
        let text = template.replace("UID", UID).replace("ID", ID);
        Origin::parse(
            &text
                .replace("U_D", &UID.replace('-', "_"))
                .replace("HASH", HASH),
        )
    }

    fn of(pod_uid: &str, id: &str) -> Origin {
        let (pod_uid, id) = (pod_uid.to_owned(), id.to_owned());
        Origin::Container(Container { pod_uid, id })
    }

    #[test]
    fn every_driver_s_and_runtime_s_path_leads_to_the_container() {
        for path in [
            "0::/kubepods/burstable/podUID/ID",
            "0::/kubepods/podUID/ID",
            "0::/kubepods/besteffort/podUID/ID/init.scope",
            "12:pids:/kubepods/burstable/podUID/ID\n11:cpu,cpuacct:/kubepods/burstable/podUID/ID\n1:name=systemd:/kubepods/burstable/podUID/ID\n0::/",
            "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podU_D.slice/cri-containerd-ID.scope",
            "0::/kubepods.slice/kubepods-podU_D.slice/crio-ID.scope",
            "0::/kubepods/besteffort/podUID/crio-ID",
            "0::/kubepods.slice/kubepods-podU_D.slice/crio-ID.scope/container",
            "0::/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-podU_D.slice/docker-ID.scope",
            "0::/system.slice/containerd.service/kubepods-burstable-podU_D.slice:cri-containerd:ID",
            "0::/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/kubelet-kubepods-besteffort-podU_D.slice/cri-containerd-ID.scope",
            "0::/kubelet/kubepods/burstable/podUID/ID",
            // Seen from a cgroup namespace of another pod.
            "0::/../../podUID/ID",
            "0::/../../../kubepods-burstable.slice/kubepods-burstable-podU_D.slice/cri-containerd-ID.scope",
            "0::/../cri-containerd-ID.scope/../../kubepods-podU_D.slice/cri-containerd-ID.scope",
        ] {
            assert_eq!(origin(path), of(UID, ID), "{path}");
        }
        assert_eq!(origin("0::/kubepods/podHASH/ID"), of(HASH, ID));
        assert_eq!(origin("0::/kubepods/podUID"), of(UID, ""));
        assert_eq!(origin("0::/../ID"), of("", ID));
        assert_eq!(origin("0::/../cri-containerd-ID.scope"), of("", ID));
        let conmon = "0::/kubepods.slice/kubepods-podU_D.slice/crio-conmon-ID.scope";
        assert_eq!(origin(conmon), of(UID, ""));
    }

    #[test]
    fn what_is_in_no_pod_is_the_host_s() {
        for path in [
            "0::/system.slice/kubelet.service",
            "0::/init.scope",
            "0::/user.slice/user-1000.slice/session-1.scope",
            "0::/docker/ID",
            "0::/podman/podUIDx",
            "0::/kubepods.slice",
            "0::/../../../system.slice/ssh.service",
            "5:cpu:/\n4:memory:/system.slice/ssh.service",
        ] {
            assert_eq!(origin(path), Origin::Host, "{path}");
        }
    }

    #[test]
    fn of_what_ends_nothing_can_be_told() {
        assert_eq!(origin("12:pids:/\n11:cpu:/\n0::/"), Origin::Unknown);
        assert_eq!(origin(""), Origin::Unknown);
    }

    proptest! {
        #[test]
        fn garbage_is_read_without_harm(text in "[0-9:/.\\-_a-fpodkubeslicritn\\n]*", any in "\\PC*") {
            let _ = (Origin::parse(&text), Origin::parse(&any));
        }
    }
}
