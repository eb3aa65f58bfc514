//! The table of what admission does to new pods, for all who are held to it besides the decision itself: the chart's policy as it is
//! rendered, and both engines in a real API server. The table's head says how to read it.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, bail};
use serde_json::{Map, Value, json};

/// The file.
const TABLE: &str = include_str!("../../crates/seccomp-policy/tests/cases.yaml");
/// The one policy of a case that names none.
pub const DEFAULT: &str = "default";

/// The table.
#[derive(Debug)]
pub struct Table {
    /// The labels of namespaces.
    pub namespaces: Map<String, Value>,
    /// Whether every node has a profile.
    pub profiles: Map<String, Value>,
    /// The specs of policies.
    pub policies: Map<String, Value>,
    /// What happens.
    pub cases: Vec<Case>,
}

/// A pod, and what becomes of it.
#[derive(Clone, Debug)]
pub struct Case {
    /// A sentence.
    pub name: String,
    /// The policies that there are.
    pub policies: BTreeSet<String>,
    /// Where the pod is created.
    pub namespace: String,
    /// The pod.
    pub pod: Value,
    /// Parts of the sentences that kubectl prints.
    pub warnings: Vec<String>,
    reason: String,
    changes: Map<String, Value>,
    engine: Option<String>,
    stored: Option<String>,
}

impl Table {
    /// Reads it.
    pub fn read() -> anyhow::Result<Self> {
        let table: Value = serde_saphyr::from_str(TABLE)?;
        let map = |key: &str| table[key].as_object().cloned().context(key.to_owned());
        let cases = table["cases"].as_array().context("no cases")?;
        Ok(Self {
            namespaces: map("namespaces")?,
            profiles: map("profiles")?,
            policies: map("policies")?,
            cases: cases.iter().map(Case::read).collect::<Result<_, _>>()?,
        })
    }

    /// The labels of a namespace; one that the table does not name has none.
    #[must_use]
    pub fn labels(&self, namespace: &str) -> BTreeMap<String, String> {
        let labels = self.namespaces.get(namespace).and_then(Value::as_object);
        let labels = labels.into_iter().flatten();
        labels
            .map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned()))
            .collect()
    }
}

impl Case {
    fn read(case: &Value) -> anyhow::Result<Self> {
        let text = |key: &str| case[key].as_str().map(str::to_owned);
        let words = |key: &str| {
            let words = case[key].as_array().into_iter().flatten();
            words.filter_map(Value::as_str).map(str::to_owned)
        };
        let name = text("name").context("a case without a name")?;
        let policies = match case.get("policies") {
            Some(_) => words("policies").collect(),
            None => BTreeSet::from([DEFAULT.to_owned()]),
        };
        Ok(Self {
            policies,
            namespace: text("in").unwrap_or_else(|| "default".into()),
            pod: case["pod"].clone(),
            warnings: words("warnings").collect(),
            reason: text("reason").with_context(|| name.clone())?,
            changes: case["changes"].as_object().cloned().unwrap_or_default(),
            engine: text("engine"),
            stored: text("stored"),
            name,
        })
    }

    /// Whether no policy has a say but the default one.
    #[must_use]
    pub fn is_of_default(&self) -> bool {
        self.policies.iter().eq([DEFAULT])
    }

    /// Whether the API server has made another pod of it by the time that a MutatingAdmissionPolicy sees it.
    #[must_use]
    pub fn is_decoded_away(&self) -> bool {
        self.engine.as_deref() == Some("skip")
    }

    /// Whether the API server stores it as the webhook leaves it.
    #[must_use]
    pub fn is_stored_by_webhook(&self) -> bool {
        self.stored.as_deref() != Some("never")
    }

    /// The same of the chart's policy.
    #[must_use]
    pub fn is_stored_by_policy(&self) -> bool {
        self.stored.is_none()
    }

    /// The pod after the webhook.
    pub fn by_webhook(&self) -> anyhow::Result<Value> {
        let mut after = with_metadata(&self.pod);
        for (pointer, value) in &self.changes {
            let (parent, key) = pointer.rsplit_once('/').context("no pointer")?;
            let key = key.replace("~1", "/").replace("~0", "~");
            let parent = after.pointer_mut(parent).and_then(Value::as_object_mut);
            let parent = parent.with_context(|| format!("{}: {pointer}", self.name))?;
            if value.is_null() {
                parent.remove(&key);
            } else {
                parent.insert(key, value.clone());
            }
        }
        Ok(after)
    }

    /// The pod after the chart's MutatingAdmissionPolicy for the table's default policy.
    pub fn by_policy(&self) -> anyhow::Result<Value> {
        let mut after = with_metadata(&self.pod);
        let injects = match self.engine.as_deref() {
            Some("injects") => true,
            Some("leaves") => false,
            None | Some("skip") => self.reason == "injected",
            Some(other) => bail!("{}: engine {other:?} means nothing", self.name),
        };
        if injects {
            let profile = json!({"type": "RuntimeDefault"});
            let change = json!({"spec": {"securityContext": {"seccompProfile": profile}}});
            merge(&mut after, &change);
        }
        if self.engine.is_none() && after != self.by_webhook()? {
            bail!(
                "{}: the engines differ, and the table does not say so",
                self.name
            );
        }
        Ok(after)
    }
}

/// The pod as any API server has it.
fn with_metadata(pod: &Value) -> Value {
    let mut pod = pod.clone();
    merge(&mut pod, &json!({"metadata": {}}));
    pod
}

/// Server-side apply of what has no lists.
pub fn merge(object: &mut Value, change: &Value) {
    match (object.as_object_mut(), change.as_object()) {
        (Some(fields), Some(changes)) => {
            for (key, change) in changes {
                merge(fields.entry(key).or_insert(Value::Null), change);
            }
        }
        _ => *object = change.clone(),
    }
}
