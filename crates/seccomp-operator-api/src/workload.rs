//! What made a pod, as far as its name tells.

/// Random suffixes of Kubernetes' names have these characters, and this length: no vowels, so that they hardly ever are words
/// (k8s.io/apimachinery, `util/rand`).
const RANDOM: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
const SUFFIX: usize = 5;
/// A ReplicaSet's name has a hash of 32 bits at its end, in decimals of which each is one of [`RANDOM`].
const HASH: std::ops::RangeInclusive<usize> = 6..=10;

/// What made a pod, by the pod's name: that without what controllers put behind it (a ReplicaSet's hash, a StatefulSet's number, a random
/// suffix). Runtimes hand over no more of a pod than its name.
#[must_use]
pub fn workload(pod: &str) -> &str {
    let split = |text| str::rsplit_once(text, '-').filter(|(before, _)| !before.is_empty());
    let is_random = |text: &str| text.bytes().all(|byte| RANDOM.contains(&byte));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let Some((before, last)) = split(pod) else {
        return pod;
    };
    if last.len() == SUFFIX && is_random(last) {
        return match split(before) {
            Some((first, hash)) if HASH.contains(&hash.len()) && is_random(hash) => first,
            // A CronJob's Job has the minute in its name, and one with indexes the index of the pod.
            Some((first, number)) if is_number(number) => first,
            _ => before,
        };
    }
    if is_number(last) { before } else { pod }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_of_what_made_it() {
        for (pod, expected) in [
            ("web-7d9c8b6f5d-x2k9l", "web"),
            ("shop-web-5b54fb449c-7wqxn", "shop-web"),
            ("db-0", "db"),
            ("db-12", "db"),
            ("logs-x2k9l", "logs"),
            ("backup-29012345-x2k9l", "backup"),
            ("web", "web"),
            ("web-proxy", "web-proxy"),
            ("web-proxy-x2k9l", "web-proxy"),
            ("-0", "-0"),
            ("", ""),
        ] {
            assert_eq!(workload(pod), expected, "{pod}");
        }
    }
}
