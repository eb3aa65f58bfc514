//! What has to be made and changed so that calls are refused in a part of a cluster, and which containers that reaches. Pure.
//!
//! A container with a profile of ours is reached by an entry in that profile's `deny`. One with no profile, `RuntimeDefault` or
//! `Unconfined` gets a profile from a policy when its pod is made anew. Which those are is asked of the very decision that admission
//! makes, with the policy beside those that there are.

use std::collections::{BTreeMap, BTreeSet};

use kube::ResourceExt;
use kube::core::error_boundary::InvalidObject;
use serde::Serialize;
use serde_json::Value;

use super::entries::entries;
use crate::call::Call;
use crate::coverage::effective::{Kind, Placed, Row, State, Surroundings, rows};
use crate::coverage::what_if::Known;
use crate::restart::Named;
use crate::stored::{ARCHES, compose, library, with};
use crate::text::plural;
use seccomp_operator_api::{
    Mode, Overridden, PolicyProfile, ProfileType, Requirement, RequirementOperator, SeccompPolicy,
    SeccompPolicySpec, SeccompProfile, SeccompProfileSpec, Selector, define,
};
use seccomp_policy::decide::{Decision, Reason, SeccompProfile as Stated, decide};
use seccomp_policy::given::as_written;
use seccomp_policy::localhost::LocalhostProfile;
use seccomp_policy::patch::stated;
use seccomp_policy::view::View;
use seccomp_profile::{Arch, Library, Model, RUNTIME_DEFAULT, Severity};

/// On what a block has made, as a label, and on every profile that has entries of a block, as an annotation: these entries.
pub const MARK: &str = "seccomp-operator.io/block";
/// The label's value.
pub const MADE: &str = "made";
const NAME: &str = "emergency-block";
const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";
/// The policy's priority where no other policy gives a profile of ours.
const PRIORITY: i32 = 1_000_000;

/// Where calls are to be refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// The one namespace; all if none is named.
    pub namespace: Option<String>,
    /// These are left out.
    pub except: BTreeSet<String>,
}

/// What is known of the cluster.
pub struct Seen {
    /// The pods that have not finished, those of other namespaces too if all were asked for.
    pub pods: Vec<Placed>,
    /// What admission knows.
    pub known: Known,
    pub surroundings: Surroundings,
    pub profiles: Vec<Result<SeccompProfile, InvalidObject>>,
    pub policies: Vec<SeccompPolicy>,
    /// Whether policies give pods profiles at all.
    pub injects: bool,
    /// Pods that run under an older content of a profile.
    pub outdated: BTreeSet<Named>,
}

/// What becomes of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change<T> {
    /// It is made.
    Made(T),
    /// It is there, and becomes this.
    Changed(T),
    /// It refuses the calls already, or is as it should be.
    Stands,
    /// It cannot be changed.
    Impossible(String),
}

/// What filters a container, as far as the calls are concerned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", tag = "state", content = "by")]
pub enum Standing {
    /// It runs under this profile, which refuses the calls.
    Covered(String),
    /// It will, once its pod is made anew.
    Restart(String),
    /// Not at all, and why.
    Open(String),
}

/// A container, and how it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fate {
    pub namespace: String,
    pub pod: String,
    pub container: String,
    /// Whether it is one of the pod's `containers`, as most are.
    #[serde(skip)]
    pub is_main: bool,
    #[serde(flatten)]
    pub standing: Standing,
}

/// All of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    pub profiles: BTreeMap<String, Change<SeccompProfile>>,
    /// None where no policy has an effect.
    pub policy: Option<(String, Change<SeccompPolicy>)>,
    pub fates: Vec<Fate>,
    pub notes: Vec<String>,
}

impl Scope {
    fn name(&self) -> String {
        match &self.namespace {
            None => NAME.to_owned(),
            Some(namespace) => format!("{NAME}-{namespace}"),
        }
    }

    pub fn contains(&self, namespace: &str) -> bool {
        let is_named = self
            .namespace
            .as_ref()
            .is_none_or(|named| named == namespace);
        is_named && !self.except.contains(namespace)
    }

    fn selector(&self) -> Option<Selector> {
        let label = || NAMESPACE_NAME.to_owned();
        match &self.namespace {
            Some(namespace) => Some(Selector {
                match_labels: [(label(), namespace.clone())].into(),
                ..Selector::default()
            }),
            None if self.except.is_empty() => None,
            None => Some(Selector {
                match_expressions: vec![Requirement {
                    key: label(),
                    operator: RequirementOperator::NotIn,
                    values: self.except.iter().cloned().collect(),
                }],
                ..Selector::default()
            }),
        }
    }
}

impl Plan {
    /// Whether anything has to be written.
    pub fn changes(&self) -> bool {
        let policy = self.policy.iter().map(|(_, change)| change.is_written());
        let profiles = self.profiles.values().map(Change::is_written);
        policy.chain(profiles).any(|written| written)
    }

    /// The pods that have to be made anew.
    pub fn to_restart(&self) -> BTreeSet<Named> {
        let restart = |fate: &&Fate| matches!(fate.standing, Standing::Restart(_));
        let fates = self.fates.iter().filter(restart);
        fates
            .map(|fate| (fate.namespace.clone(), fate.pod.clone()))
            .collect()
    }

    /// The containers that nothing of this reaches.
    pub fn open(&self) -> impl Iterator<Item = (&Fate, &str)> {
        self.fates.iter().filter_map(|fate| match &fate.standing {
            Standing::Open(why) => Some((fate, why.as_str())),
            _ => None,
        })
    }
}

impl<T> Change<T> {
    fn is_written(&self) -> bool {
        matches!(self, Self::Made(_) | Self::Changed(_))
    }

    /// What is to be written.
    pub fn object(&self) -> Option<&T> {
        match self {
            Self::Made(object) | Self::Changed(object) => Some(object),
            Self::Stands | Self::Impossible(_) => None,
        }
    }
}

/// Decides what to do.
pub fn plan(calls: &[Call], scope: &Scope, seen: &Seen) -> Result<Plan, String> {
    let wanted = entries(calls);
    let own = scope.name();
    let policy = if seen.injects {
        Some((own.clone(), policy(&own, scope, seen)?))
    } else {
        None
    };
    let view = view(seen, &own, policy.as_ref().map(|(_, change)| change));
    let reached: Vec<_> = (seen.pods.iter())
        .map(|placed| Reached::new(placed, &view, seen))
        .collect();
    let names = affected(scope, seen, &reached);
    let library = library(&seen.profiles);
    let mut profiles = BTreeMap::new();
    for profile in seen.profiles.iter().flatten() {
        let name = profile.name_any();
        if name != own && names.contains(&name) {
            profiles.insert(name, change(profile, &wanted, &library));
        }
    }
    if policy.is_some() {
        let change = own_profile(&own, &wanted, seen)?;
        profiles.insert(own.clone(), change);
    }
    let in_scope = reached
        .iter()
        .filter(|reached| scope.contains(&reached.placed.namespace));
    let fates = in_scope.flat_map(|reached| reached.fates(&profiles, seen));
    let mut notes = advice(&own, &wanted, library);
    let excepted = seen.pods.iter();
    let excepted = excepted.filter(|placed| scope.except.contains(&placed.namespace));
    match excepted.count() {
        0 => {}
        left => notes.push(format!("--except leaves out {}", plural(left, "pod"))),
    }
    if !seen.injects {
        notes.push(
            "no webhook of the operator gives pods profiles (injection.engine): only pods with a SeccompProfile are reached"
                .to_owned(),
        );
    }
    Ok(Plan {
        fates: fates.collect(),
        profiles,
        policy,
        notes,
    })
}

/// The policy that gives the block's own profile. It comes after all that give profiles of ours, which keep them, and before the others.
fn policy(own: &str, scope: &Scope, seen: &Seen) -> Result<Change<SeccompPolicy>, String> {
    let others = seen.policies.iter().filter(|policy| {
        policy.name_any() != own
            && policy.spec.mode == Mode::Enforce
            && policy.spec.profile.type_ == ProfileType::Localhost
    });
    let lowest = others.map(|policy| policy.spec.priority).min();
    let spec = SeccompPolicySpec {
        priority: lowest.map_or(PRIORITY, |lowest| lowest.saturating_sub(1).min(PRIORITY)),
        namespace_selector: scope.selector(),
        profile: PolicyProfile {
            type_: ProfileType::Localhost,
            name: Some(own.to_owned()),
        },
        overrides: vec![Overridden::Unconfined, Overridden::RuntimeDefault],
        ..SeccompPolicySpec::default()
    };
    let Some(stored) = seen.policies.iter().find(|policy| policy.name_any() == own) else {
        let mut made = SeccompPolicy::new(own, spec);
        made.metadata.labels = Some([(MARK.to_owned(), MADE.to_owned())].into());
        return Ok(Change::Made(made));
    };
    if stored.labels().get(MARK).is_none_or(|value| value != MADE) {
        return Err(format!(
            "there is a SeccompPolicy {own:?} that no block has made; give it another name"
        ));
    }
    if stored.spec.namespace_selector != spec.namespace_selector {
        return Err(format!(
            "SeccompPolicy {own:?} of an earlier block leaves other namespaces out; say the same with --except, or take that block \
             back first with --undo"
        ));
    }
    if stored.spec == spec {
        return Ok(Change::Stands);
    }
    let mut changed = stored.clone();
    changed.spec = spec;
    Ok(Change::Changed(changed))
}

fn own_profile(own: &str, wanted: &[Value], seen: &Seen) -> Result<Change<SeccompProfile>, String> {
    let mut profiles = seen.profiles.iter().flatten();
    let Some(stored) = profiles.find(|profile| profile.name_any() == own) else {
        let spec = SeccompProfileSpec {
            base: Some(RUNTIME_DEFAULT.to_owned()),
            ..SeccompProfileSpec::default()
        };
        let mut made = SeccompProfile::new(own, spec);
        made.metadata.labels = Some([(MARK.to_owned(), MADE.to_owned())].into());
        add(&mut made, wanted.iter().cloned());
        return Ok(Change::Made(made));
    };
    if stored.labels().get(MARK).is_none_or(|value| value != MADE) {
        return Err(format!(
            "there is a SeccompProfile {own:?} that no block has made; give it another name"
        ));
    }
    Ok(with_entries(stored, wanted))
}

/// The profile with the entries that it lacks.
fn with_entries(profile: &SeccompProfile, wanted: &[Value]) -> Change<SeccompProfile> {
    let has = |entry: &&Value| profile.spec.deny.contains(entry);
    let lacking: Vec<_> = wanted.iter().filter(|entry| !has(entry)).collect();
    if lacking.is_empty() {
        return Change::Stands;
    }
    let mut changed = profile.clone();
    add(&mut changed, lacking.into_iter().cloned());
    Change::Changed(changed)
}

fn add(profile: &mut SeccompProfile, entries: impl Iterator<Item = Value>) {
    let mut mark = marked(profile);
    for entry in entries {
        profile.spec.deny.push(entry.clone());
        mark.push(entry);
    }
    let value = Value::from(mark).to_string();
    profile.annotations_mut().insert(MARK.to_owned(), value);
}

/// The entries that blocks have put into a profile.
pub fn marked(profile: &SeccompProfile) -> Vec<Value> {
    let value = profile.annotations().get(MARK);
    value
        .and_then(|value| serde_json::from_str(value).ok())
        .unwrap_or_default()
}

/// What becomes of a profile that others have made.
fn change(profile: &SeccompProfile, wanted: &[Value], library: &Library) -> Change<SeccompProfile> {
    let changed = match with_entries(profile, wanted) {
        Change::Changed(changed) => changed,
        other => return other,
    };
    let name = profile.name_any();
    let before: Result<Vec<_>, _> = ARCHES
        .iter()
        .map(|arch| model(library, &name, *arch))
        .collect();
    let before = match before {
        Ok(models) => models,
        Err(why) => return Change::Impossible(why),
    };
    let with = with(library, &changed);
    let after: Result<Vec<_>, _> = ARCHES
        .iter()
        .map(|arch| model(&with, &name, *arch))
        .collect();
    match after {
        Err(why) => Change::Impossible(why),
        // It does the same with the entries and without.
        Ok(after)
            if before
                .iter()
                .zip(&after)
                .all(|(a, b)| a.difference(b).is_none()) =>
        {
            Change::Stands
        }
        Ok(_) => Change::Changed(changed),
    }
}

fn model(library: &Library, name: &str, arch: Arch) -> Result<Model, String> {
    let composed = compose(library, name, arch).map_err(|error| error.to_string())?;
    composed.model().map_err(|error| error.to_string())
}

/// What lint says of the entries: ways around them that are left, for example.
fn advice(own: &str, wanted: &[Value], mut library: Library) -> Vec<String> {
    let spec = SeccompProfileSpec {
        base: Some(RUNTIME_DEFAULT.to_owned()),
        deny: wanted.to_vec(),
        ..SeccompProfileSpec::default()
    };
    library.define(own, define(&Ok(SeccompProfile::new(own, spec))));
    let findings = library.lint(own, "spec").into_iter();
    findings
        .filter(|finding| finding.severity >= Severity::Warning && finding.path.contains("deny"))
        .map(|finding| format!("{}; {} [{}]", finding.reason, finding.remedy, finding.code))
        .collect()
}

/// What admission would know, with the block's own policy.
fn view(seen: &Seen, own: &str, policy: Option<&Change<SeccompPolicy>>) -> View {
    let known = &seen.known;
    let mut view = View::new(&known.profiles_dir, known.excluded.iter().cloned());
    for (name, labels) in &known.namespaces {
        view.namespace(name, labels.clone());
    }
    for (name, state) in &known.profiles {
        view.profile(name, state.clone(), None);
    }
    if seen.injects {
        for policy in &seen.policies {
            view.policy(&policy.name_any(), policy.spec.clone());
        }
    }
    if let Some(policy) = policy.and_then(Change::object) {
        view.policy(own, policy.spec.clone());
    }
    view
}

/// The profiles that pods in the scope use, or would; with all namespaces also those that nobody uses.
fn affected(scope: &Scope, seen: &Seen, reached: &[Reached<'_>]) -> BTreeSet<String> {
    let (mut inside, mut outside) = (BTreeSet::new(), BTreeSet::new());
    for pod in reached {
        if scope.contains(&pod.placed.namespace) {
            inside.extend(pod.names(seen));
        } else {
            outside.extend(pod.names(seen));
        }
    }
    let all = seen.profiles.iter().flatten();
    let recorded = |profile: &&SeccompProfile| profile.spec.record.is_none();
    let all = all.filter(recorded).map(ResourceExt::name_any);
    all.filter(|name| {
        let is_everywhere = scope.namespace.is_none() && !outside.contains(name);
        inside.contains(name) || is_everywhere
    })
    .collect()
}

/// A pod as it is, and as it would be if it were made anew.
struct Reached<'a> {
    placed: &'a Placed,
    rows: Vec<Row>,
    /// What would stand at the pod, and then at each container that is not ephemeral.
    after: Vec<Option<Stated<'static>>>,
    reason: Reason,
    /// The policy that would decide about the pod, or why the pod would be refused.
    decided: Option<String>,
}

impl<'a> Reached<'a> {
    fn new(placed: &'a Placed, view: &View, seen: &Seen) -> Self {
        let written = as_written(&placed.pod);
        let decision = decide(&written, &view.scope(&placed.namespace));
        let changes = if decision.denied.is_none() {
            &decision.changes[..]
        } else {
            &[]
        };
        let after = stated(&written, changes).into_iter();
        Self {
            placed,
            rows: rows(placed, &seen.surroundings),
            after: after
                .map(|(_, profile)| profile.map(|profile| profile.clone().into_owned()))
                .collect(),
            reason: decision.reason,
            decided: decided(&decision),
        }
    }

    /// What the container would have.
    fn profile_after(&self, index: usize) -> Option<&Stated<'static>> {
        let of_pod = self.after.first().and_then(Option::as_ref);
        let own = self.after.get(index + 1).and_then(Option::as_ref);
        own.or(of_pod)
    }

    /// The SeccompProfiles that it uses, or would.
    fn names(&self, seen: &Seen) -> BTreeSet<String> {
        let now = self.rows.iter().map(|row| row.profile.as_ref());
        let after = self.after.iter().map(Option::as_ref);
        let all = now.chain(after).flatten();
        all.filter_map(|profile| name(profile, seen)).collect()
    }

    fn fates(&self, profiles: &BTreeMap<String, Change<SeccompProfile>>, seen: &Seen) -> Vec<Fate> {
        let rows = self.rows.iter().enumerate();
        let rows = rows.filter(|(_, row)| row.state != State::NotLinux);
        rows.map(|(index, row)| Fate {
            namespace: row.namespace.clone(),
            pod: row.pod.clone(),
            container: row.container.clone(),
            is_main: row.kind == Kind::Container,
            standing: self.standing(index, row, profiles, seen),
        })
        .collect()
    }

    fn standing(
        &self,
        index: usize,
        row: &Row,
        profiles: &BTreeMap<String, Change<SeccompProfile>>,
        seen: &Seen,
    ) -> Standing {
        if let Some(why) = &row.reason
            && matches!(row.state, State::Sandboxed | State::Privileged)
        {
            return Standing::Open(why.clone());
        }
        let named = |profile: Option<&Stated<'_>>| name(profile?, seen);
        if row.foreign
            && let Some(why) = &row.warning
        {
            return Standing::Open(why.clone());
        }
        let place = (row.namespace.clone(), row.pod.clone());
        if let Some(name) = named(row.profile.as_ref()) {
            match profiles.get(&name) {
                Some(Change::Stands) if !seen.outdated.contains(&place) => {
                    // What its node has is not, or not for certain, what the profile says.
                    return match &row.warning {
                        Some(why) => Standing::Open(why.clone()),
                        None => Standing::Covered(name),
                    };
                }
                Some(Change::Impossible(why)) => {
                    return Standing::Open(format!(
                        "SeccompProfile {name:?} cannot be changed: {why}"
                    ));
                }
                Some(_) => return Standing::Restart(name),
                None => {}
            }
        }
        let after = self.profile_after(index);
        let has_block = |name: &String| {
            let change = profiles.get(name);
            change.is_some_and(|change| !matches!(change, Change::Impossible(_)))
        };
        match named(after).filter(has_block) {
            Some(name) => Standing::Restart(name),
            None => Standing::Open(self.why_open(after)),
        }
    }

    fn why_open(&self, after: Option<&Stated<'_>>) -> String {
        let stated = after.map_or_else(|| "no profile".to_owned(), Stated::describe);
        if after.is_some_and(|profile| profile.path().is_some()) {
            return format!("has {stated}, which is no SeccompProfile");
        }
        let decided = self.decided.as_deref().unwrap_or_default();
        match self.reason {
            Reason::NamespaceExcluded => {
                "policies leave its namespace alone (kube-system, the operator's, excluded or opted out)".to_owned()
            }
            Reason::MirrorPod => {
                "static: kubelet makes it from a file of its node; put a profile there".to_owned()
            }
            Reason::Conflict => decided.to_owned(),
            _ if decided.is_empty() => format!("has {stated}, and no policy gives it another"),
            _ => format!(
                "has {stated}, and SeccompPolicy {decided:?}, which comes first, leaves it so; give that policy overrides or another profile"
            ),
        }
    }
}

/// The policy that decided last, or why the pod is refused.
fn decided(decision: &Decision<'_>) -> Option<String> {
    let mut policies = decision.policies.iter().rev();
    let enforced = policies.find(|(policy, _)| policy.spec.mode == Mode::Enforce);
    let name = enforced.map(|(policy, _)| policy.name.clone());
    decision.denied.clone().or(name)
}

/// The SeccompProfile that a pod names, if it is one, also one that is to be made.
fn name(profile: &Stated<'_>, seen: &Seen) -> Option<String> {
    let name = LocalhostProfile::parse(profile.path()?, &seen.known.profiles_dir).into_name()?;
    Some(name.as_str().to_owned())
}

#[cfg(test)]
mod tests;
