//! The table of what admission does to new pods, through a real API server: by the webhook, and by the chart's
//! MutatingAdmissionPolicy. Every pod is created with `dryRun=All`: the whole way through admission, and nothing is stored.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use anyhow::ensure;
use e2e::cluster::{Cluster, NAMESPACE};
use e2e::command::{kubectl, until};
use e2e::table::{Case, DEFAULT, Table};
use kube::client::Body;
// Written by the webhook besides, for others to read.
use seccomp_policy::given::ANNOTATION as GIVEN;
use serde_json::{Map, Value, json};

use super::{NO_CHMOD, Tested};

/// On a namespace: which set of policies its pods are for.
const SET: &str = "e2e-table";
/// What the API server gives beside a pod that it knows from older days.
const OF_API_SERVER: [&str; 2] = ["metadata.annotations[", "spec."];

/// What the API server answers.
struct Answer {
    stored: Result<Value, String>,
    warnings: Vec<String>,
}

async fn create(cluster: &Cluster, namespace: &str, pod: &Value) -> anyhow::Result<Answer> {
    let uri = format!("/api/v1/namespaces/{namespace}/pods?dryRun=All");
    let request = http::Request::post(uri)
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(Body::from(serde_json::to_vec(pod)?))?;
    let answer = cluster.client.send(request).await?;
    let (head, body) = answer.into_parts();
    // `299 - "the sentence"`, with quotes and backslashes escaped.
    let warnings = head.headers.get_all(http::header::WARNING).iter();
    let warnings = warnings.filter_map(|warning| {
        let text = warning.to_str().ok()?.split_once('"')?.1;
        Some(
            text.strip_suffix('"')?
                .replace("\\\"", "\"")
                .replace("\\\\", "\\"),
        )
    });
    let warnings = warnings
        .filter(|warning| {
            !OF_API_SERVER
                .iter()
                .any(|theirs| warning.starts_with(theirs))
        })
        .collect();
    let body = body.collect_bytes().await?;
    let object: Value = serde_json::from_slice(&body)?;
    let stored = if head.status.is_success() {
        Ok(object)
    } else {
        Err(object["message"].as_str().unwrap_or_default().to_owned())
    };
    Ok(Answer { stored, warnings })
}

/// The pod as somebody would send it, with what the table leaves out because it decides nothing.
fn whole(pod: &Value, namespace: &str) -> Value {
    let mut pod = pod.clone();
    pod["apiVersion"] = "v1".into();
    pod["kind"] = "Pod".into();
    if !pod["metadata"].is_object() {
        pod["metadata"] = json!({});
    }
    pod["metadata"]["namespace"] = namespace.into();
    if pod["metadata"].get("generateName").is_none() {
        pod["metadata"]["name"] = "p".into();
    }
    for list in ["initContainers", "containers"] {
        let containers = pod["spec"][list].as_array_mut();
        for container in containers.into_iter().flatten() {
            if container.get("image").is_none() {
                container["image"] = "none".into();
            }
        }
    }
    pod
}

/// What of a pod the table speaks of: the security contexts and the annotations, without what is empty.
fn seen(pod: &Value) -> Value {
    let mut seen = Map::new();
    let mut put = |key: String, value: &Value| {
        if value.as_object().is_some_and(|fields| !fields.is_empty()) {
            seen.insert(key, value.clone());
        }
    };
    let mut annotations = pod["metadata"]["annotations"].clone();
    if let Some(annotations) = annotations.as_object_mut() {
        annotations.remove(GIVEN);
    }
    put("annotations".into(), &annotations);
    put("pod".into(), &pod["spec"]["securityContext"]);
    for list in ["initContainers", "containers"] {
        for container in pod["spec"][list].as_array().into_iter().flatten() {
            let name = container["name"].as_str().unwrap_or_default();
            put(format!("{list}.{name}"), &container["securityContext"]);
        }
    }
    // A null is none, in the pod that was sent as well.
    for context in seen.values_mut().filter_map(Value::as_object_mut) {
        context.retain(|_, value| !value.is_null());
    }
    seen.retain(|_, value| value.as_object().is_some_and(|fields| !fields.is_empty()));
    Value::Object(seen)
}

/// A case, and what is to come of it under one engine.
struct Held<'t> {
    case: &'t Case,
    is_stored: bool,
    /// The pod afterwards.
    after: Value,
    warnings: &'t [String],
}

impl Held<'_> {
    /// What is not as the table says; none if all is.
    async fn difference(
        &self,
        cluster: &Cluster,
        namespace: &str,
    ) -> anyhow::Result<Option<String>> {
        let answer = create(cluster, namespace, &whole(&self.case.pod, namespace)).await?;
        let expected = seen(&self.after);
        let differs = match answer.stored {
            Err(why) => self.is_stored.then_some(why),
            Ok(_) if !self.is_stored => Some("it is stored".into()),
            Ok(pod) if seen(&pod) != expected => Some(format!("{}, not {expected}", seen(&pod))),
            Ok(_) => {
                let mut pairs = answer.warnings.iter().zip(self.warnings);
                let same = answer.warnings.len() == self.warnings.len()
                    && pairs.all(|(said, part)| said.contains(part));
                (!same).then(|| format!("{:?}, not {:?}", answer.warnings, self.warnings))
            }
        };
        Ok(differs.map(|differs| format!("{}: {differs}", self.case.name)))
    }
}

/// The namespaces of the cases, by the place in the table and the policies that there are.
struct Places {
    run: u64,
    named: BTreeMap<(String, BTreeSet<String>), String>,
}

impl Places {
    /// Makes them: all sets of policies are in the cluster at once, each for namespaces of its own.
    async fn make<'c>(
        cluster: &Cluster,
        table: &Table,
        cases: impl Iterator<Item = &'c Case>,
    ) -> anyhow::Result<Self> {
        let run = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
        let mut places = Self {
            run: run.as_secs() % 100_000,
            named: BTreeMap::new(),
        };
        let mut objects = Vec::new();
        for case in cases {
            let key = (case.namespace.clone(), case.policies.clone());
            if case.namespace == "kube-system" || places.named.contains_key(&key) {
                continue;
            }
            let name = format!("e2e-table-{}-{}", places.run, places.named.len());
            let mut labels = json!(table.labels(&case.namespace));
            labels[SET] = set(&case.policies).into();
            objects.push(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}).to_string());
            places.named.insert(key, name);
        }
        cluster.apply(&objects.join("\n---\n")).await?;
        for name in places.named.values() {
            until(
                "the namespace's service account",
                Duration::from_secs(20),
                || async {
                    cluster
                        .get(&["serviceaccount", "default", "-n", name])
                        .await
                        .map(drop)
                },
            )
            .await?;
        }
        Ok(places)
    }

    fn of<'a>(&'a self, case: &'a Case) -> &'a str {
        let key = (case.namespace.clone(), case.policies.clone());
        self.named
            .get(&key)
            .map_or(case.namespace.as_str(), String::as_str)
    }

    async fn remove(&self) -> Tested {
        let names: Vec<_> = self.named.values().map(String::as_str).collect();
        let delete = ["delete", "namespace", "--wait=false"];
        kubectl(&[&delete[..], &names].concat(), "")
            .await?
            .ok()
            .map(drop)
    }
}

/// A set of policies as a label's value.
fn set(policies: &BTreeSet<String>) -> String {
    if policies.is_empty() {
        return "none".into();
    }
    policies.iter().cloned().collect::<Vec<_>>().join("_")
}

/// The name on the cluster: `default` is the chart's.
fn named(policy: &str) -> &str {
    if policy == DEFAULT {
        "e2e-default"
    } else {
        policy
    }
}

/// The policies, each for the namespaces of the sets that it is in.
fn policies(table: &Table, places: &Places) -> Vec<String> {
    let sets: BTreeSet<_> = places.named.keys().map(|(_, policies)| policies).collect();
    let manifests = table.policies.iter().map(|(name, spec)| {
        let mut spec = spec.clone();
        let its: Vec<_> = sets.iter().filter(|set| set.contains(name)).collect();
        let its: Vec<_> = its.into_iter().map(|policies| set(policies)).collect();
        let mut selector = spec.get("namespaceSelector").cloned();
        let selector = selector.get_or_insert(json!({}));
        if let Some(wanted) = selector.pointer_mut("/matchLabels/kubernetes.io~1metadata.name") {
            let of_table = wanted.as_str().unwrap_or_default().to_owned();
            let key = (of_table, BTreeSet::from([name.clone()]));
            *wanted = places.named[&key].clone().into();
        }
        selector["matchExpressions"] = json!([{"key": SET, "operator": "In", "values": its}]);
        spec["namespaceSelector"] = selector.clone();
        json!({
            "apiVersion": "seccomp-operator.io/v1alpha1", "kind": "SeccompPolicy",
            "metadata": {"name": named(name)}, "spec": spec,
        })
        .to_string()
    });
    manifests.collect()
}

/// The runtime classes that pods of the table name.
async fn runtime_classes(cluster: &Cluster, there: bool) -> Tested {
    for name in ["gvisor", "crun"] {
        if there {
            let class = json!({
                "apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": name}, "handler": "runc",
            });
            cluster.apply(&class.to_string()).await?;
        } else {
            cluster.delete("runtimeclass", name).await?;
        }
    }
    Ok(())
}

/// Holds the API server to cases.
async fn hold(cluster: &Cluster, places: &Places, cases: &[Held<'_>]) -> Tested {
    let check = || async {
        let mut differences = Vec::new();
        for held in cases {
            let place = places.of(held.case);
            differences.extend(held.difference(cluster, place).await?);
        }
        ensure!(differences.is_empty(), "{}", differences.join("\n"));
        Ok(())
    };
    // Replicas and API server hear of policies and namespaces by watches; then each of several times all is as the table says.
    until("the table", Duration::from_secs(20), check).await?;
    for _ in 0..3 {
        check().await?;
    }
    println!("{} cases", cases.len());
    Ok(())
}

#[tokio::test]
async fn the_webhook_decides_on_every_case_of_the_table() -> Tested {
    let cluster = Cluster::connect().await?;
    cluster
        .install(NAMESPACE, &["--set", "defaultPolicy.enabled=false"])
        .await?;
    let table = Table::read()?;
    for (name, is_ready) in &table.profiles {
        if is_ready.as_bool() == Some(true) {
            cluster.apply_profile(name, NO_CHMOD).await?;
            cluster.wait_ready(name).await?;
        } else {
            let waits = json!({
                "apiVersion": "seccomp-operator.io/v1alpha1", "kind": "SeccompProfile",
                "metadata": {"name": name}, "spec": {"base": "e2e-table-not-there"},
            });
            cluster.apply(&waits.to_string()).await?;
        }
    }
    runtime_classes(&cluster, true).await?;
    let places = Places::make(&cluster, &table, table.cases.iter()).await?;
    let policies = policies(&table, &places);
    cluster.apply(&policies.join("\n---\n")).await?;
    let cases = table.cases.iter().map(|case| {
        anyhow::Ok(Held {
            case,
            is_stored: case.is_stored_by_webhook(),
            after: case.by_webhook()?,
            warnings: &case.warnings,
        })
    });
    let held = hold(&cluster, &places, &cases.collect::<Result<Vec<_>, _>>()?).await;
    places.remove().await?;
    runtime_classes(&cluster, false).await?;
    for name in table.policies.keys() {
        cluster.delete("seccomppolicy", named(name)).await?;
    }
    for name in table.profiles.keys().filter(|name| *name != "no-chmod") {
        cluster.delete("seccompprofile", name).await?;
    }
    held
}

#[tokio::test]
async fn the_chart_s_policy_decides_on_every_case_of_the_default_policy() -> Tested {
    let cluster = Cluster::connect().await?;
    let served = kubectl(&["api-resources", "--output", "name"], "")
        .await?
        .ok()?;
    if !served.contains("mutatingadmissionpolicies.") {
        println!("skipped: this Kubernetes has no MutatingAdmissionPolicies");
        return Ok(());
    }
    cluster
        .install(NAMESPACE, &["--set", "injection.engine=policy"])
        .await?;
    let table = Table::read()?;
    runtime_classes(&cluster, true).await?;
    let of_default = || table.cases.iter().filter(|case| case.is_of_default());
    let places = Places::make(&cluster, &table, of_default()).await?;
    let cases = of_default().map(|case| {
        anyhow::Ok(Held {
            case,
            is_stored: case.is_stored_by_policy(),
            after: case.by_policy()?,
            // It has no voice.
            warnings: &[],
        })
    });
    let held = hold(&cluster, &places, &cases.collect::<Result<Vec<_>, _>>()?).await;
    places.remove().await?;
    runtime_classes(&cluster, false).await?;
    cluster.install(NAMESPACE, &[]).await?;
    held
}
