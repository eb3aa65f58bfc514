//! What is known of the cluster, all of it in memory: watches feed it in the controller, files and lists in the plugin.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, OnceLock};

use crate::pod::{Pairs, SeccompProfile};

use crate::ceiling::WatchedCeilings;
use crate::constraints::Constraints;
use crate::counters::{Counters, Counts};
use crate::image::ImagePattern;
use crate::index::{LabelIndex, PolicyIndex};
use crate::localhost::LocalhostProfile;
use crate::profile_state::ProfileState;
use crate::selector::{self, Labels};
use crate::trial::PolicyTrial;
use crate::validation::problems;
use kube_support::Listing;
use seccomp_operator_api::{
    Mode, ProfileType, SeccompPolicySpec, SeccompRecordingSpec, recording_profile_name,
};
use seccomp_profile::{Defined, Library};

/// A namespace with this label set to `disabled` is left alone.
pub const OPT_OUT_LABEL: &str = "seccomp-operator.io/inject";
/// The label with a namespace's own name. Kubernetes sets it since 1.21; here it is always there.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// A policy with its name.
#[derive(Clone, Debug)]
pub struct Policy {
    /// The object's name.
    pub name: String,
    /// What it says.
    pub spec: SeccompPolicySpec,
    /// Its `images`.
    pub images: Vec<ImagePattern>,
    /// What it writes into a pod's `seccompProfile`.
    pub profile: SeccompProfile<'static>,
    /// Its `namespaceSelector`, to be compared with others.
    pub namespaces: Constraints,
    /// Its `podSelector`, to be compared with others.
    pub pods: Constraints,
    /// What pods get instead of its profile, if it is on trial.
    pub trial: Option<PolicyTrial>,
    /// The pods that it selected and changed.
    pub counters: Arc<Counters>,
}

impl Policy {
    /// The order in which policies are asked: highest priority first, then by name.
    #[must_use]
    pub fn order(&self, other: &Self) -> Ordering {
        let by_priority = other.spec.priority.cmp(&self.spec.priority);
        by_priority.then_with(|| self.name.cmp(&other.name))
    }

    /// Whether a profile of this type that a pod or container states is replaced by the policy's. What it gives is never less: a
    /// policy without a filter replaces nothing.
    #[must_use]
    pub fn replaces(&self, stated: &str) -> bool {
        let mut overrides = self.spec.overrides.iter();
        !self.profile.is_unconfined()
            && self.profile.type_ != stated
            && overrides.any(|overridden| overridden.word() == stated)
    }
}

/// What gives pods their profiles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Engine {
    /// This webhook, by all policies.
    #[default]
    Webhook,
    /// The installation's MutatingAdmissionPolicy.
    Policy,
    /// Nothing.
    None,
}

impl Labels for Pairs<'_> {
    fn value(&self, key: &str) -> Option<&str> {
        self.get(key)
    }
}

/// The kinds that a view is fed with.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// SeccompPolicies.
    Policy,
    /// Namespaces.
    Namespace,
    /// SeccompProfiles.
    Profile,
    /// SeccompRecordings, by [`recording_key`].
    Recording,
}

/// What a recording is called among those of all namespaces.
#[must_use]
pub fn recording_key(namespace: &str, name: &str) -> String {
    format!("{namespace}/{name}")
}

/// A recording that is going on.
#[derive(Clone, Debug)]
pub struct Recording {
    /// The object's name.
    pub name: String,
    /// What it says.
    pub spec: SeccompRecordingSpec,
    /// What it writes into a pod's `seccompProfile`.
    pub profile: SeccompProfile<'static>,
}

/// What is known of a namespace.
#[derive(Debug, Default)]
struct Namespace {
    labels: BTreeMap<String, String>,
    /// Pods in it are left alone, by its name or its label.
    excluded: bool,
    /// The policies that select it, once somebody has asked: they and its labels hardly ever change.
    selecting: OnceLock<PolicyIndex>,
}

/// The policies, namespaces and profiles of a cluster, as far as decisions depend on them.
#[derive(Debug, Default)]
pub struct View {
    profiles_dir: String,
    excluded: BTreeSet<String>,
    /// In the order in which they are asked: highest priority first, then by name.
    policies: Vec<Policy>,
    /// What they demand of pods, once somebody has asked.
    labels_index: OnceLock<LabelIndex>,
    namespaces: HashMap<String, Namespace>,
    /// How each profile stands.
    profiles: BTreeMap<String, ProfileState>,
    engine: Engine,
    /// The recordings that are going on, by [`recording_key`].
    recordings: BTreeMap<String, Recording>,
    /// What the profiles say. Lent to reviews that take their time.
    library: Arc<Library>,
    listings: [Listing; 4],
    /// What profiles are held to; decides nothing about pods.
    pub ceilings: WatchedCeilings,
}

impl View {
    /// An empty view. Pods in `excluded` namespaces are left alone; `profiles_dir` is the folder below kubelet's seccomp folder.
    #[must_use]
    pub fn new(profiles_dir: &str, excluded: impl IntoIterator<Item = String>) -> Self {
        Self {
            profiles_dir: profiles_dir.into(),
            excluded: excluded.into_iter().collect(),
            ..Self::default()
        }
    }

    /// The same view in an installation where something else may give pods their profiles.
    #[must_use]
    pub fn injected_by(mut self, engine: Engine) -> Self {
        self.engine = engine;
        self
    }

    /// A sentence, if policies have no effect in this installation.
    #[must_use]
    pub fn without_effect(&self) -> Option<&'static str> {
        match self.engine {
            Engine::Webhook => None,
            Engine::Policy => Some(
                "SeccompPolicies have no effect in this installation: injection.engine is policy, and does what defaultPolicy says",
            ),
            Engine::None => Some(
                "SeccompPolicies have no effect in this installation: injection.engine is none",
            ),
        }
    }

    /// A full list of a kind begins.
    pub fn list_begins(&mut self, kind: Kind) {
        self.listings[kind as usize].begins();
    }

    /// A full list of a kind has ended.
    pub fn list_ends(&mut self, kind: Kind) {
        let listing = &mut self.listings[kind as usize];
        let gone = match kind {
            Kind::Policy => listing.ends(self.policies.iter().map(|policy| policy.name.as_str())),
            Kind::Namespace => listing.ends(self.namespaces.keys().map(String::as_str)),
            Kind::Profile => listing.ends(self.profiles.keys().map(String::as_str)),
            Kind::Recording => listing.ends(self.recordings.keys().map(String::as_str)),
        };
        for name in gone {
            self.gone(kind, &name);
        }
    }

    /// An object is gone.
    pub fn gone(&mut self, kind: Kind, name: &str) {
        match kind {
            Kind::Policy => {
                self.policies.retain(|policy| policy.name != name);
                self.policies_have_changed();
            }
            Kind::Namespace => {
                self.namespaces.remove(name);
            }
            Kind::Profile => {
                self.profiles.remove(name);
                Arc::make_mut(&mut self.library).remove(name);
            }
            Kind::Recording => {
                self.recordings.remove(name);
            }
        }
    }

    /// A recording exists; `goes_on` when its profile is on the nodes and it has not ended. Only then does it select pods.
    pub fn recording(
        &mut self,
        namespace: &str,
        name: &str,
        spec: SeccompRecordingSpec,
        goes_on: bool,
    ) {
        let key = recording_key(namespace, name);
        self.listings[Kind::Recording as usize].saw(&key);
        if !goes_on {
            self.recordings.remove(&key);
            return;
        }
        let profile = recording_profile_name(namespace, name);
        let profile = SeccompProfile {
            type_: "Localhost".into(),
            localhost_profile: Some(format!("{}/{profile}.json", self.profiles_dir).into()),
        };
        let recording = Recording {
            name: name.to_owned(),
            spec,
            profile,
        };
        self.recordings.insert(key, recording);
    }

    /// A policy exists in this form. One whose spec is not valid selects nothing: admission refused it, or will when it changes.
    pub fn policy(&mut self, name: &str, spec: SeccompPolicySpec) {
        self.listings[Kind::Policy as usize].saw(name);
        let before = self.find(name);
        // A new status, most likely: there is one every minute or so.
        if before.is_some_and(|before| before.spec == spec) {
            return;
        }
        let counters = before.map(|before| before.counters.clone());
        self.policies.retain(|policy| policy.name != name);
        if problems(&spec).is_empty() {
            let mut policy = self.read(name, spec);
            policy.counters = counters.unwrap_or_default();
            self.policies.push(policy);
            self.policies.sort_by(Policy::order);
        }
        self.policies_have_changed();
    }

    /// A policy as this view would take it.
    #[must_use]
    pub fn read(&self, name: &str, spec: SeccompPolicySpec) -> Policy {
        let images = spec
            .images
            .iter()
            .flat_map(|image| ImagePattern::parse(image));
        let profile = self.profile_of(&spec);
        Policy {
            name: name.to_owned(),
            trial: PolicyTrial::new(name, &spec, &self.profiles_dir),
            images: images.collect(),
            profile,
            namespaces: Constraints::new(spec.namespace_selector.as_ref()),
            pods: Constraints::new(spec.pod_selector.as_ref()),
            counters: Arc::default(),
            spec,
        }
    }

    /// A namespace exists with these labels.
    pub fn namespace(&mut self, name: &str, mut labels: BTreeMap<String, String>) {
        self.listings[Kind::Namespace as usize].saw(name);
        labels.insert(NAME_LABEL.into(), name.into());
        let opted_out = labels
            .get(OPT_OUT_LABEL)
            .is_some_and(|value| value == "disabled");
        let namespace = Namespace {
            labels,
            excluded: opted_out || self.excluded.contains(name),
            selecting: OnceLock::new(),
        };
        self.namespaces.insert(name.to_owned(), namespace);
    }

    /// What was worked out of them is worked out again when somebody asks: at the start they come one by one.
    fn policies_have_changed(&mut self) {
        self.labels_index.take();
        for namespace in self.namespaces.values_mut() {
            namespace.selecting.take();
        }
    }

    /// A profile exists, and stands so. `defined` is what it says, when that is new.
    pub fn profile(
        &mut self,
        name: &str,
        state: impl Into<ProfileState>,
        defined: Option<Defined>,
    ) {
        self.listings[Kind::Profile as usize].saw(name);
        self.profiles.insert(name.to_owned(), state.into());
        if let Some(defined) = defined {
            Arc::make_mut(&mut self.library).define(name, defined);
        }
    }

    /// A profile of that name, or if there will be several one whose name goes on from it after a dot, that was not made of this recording.
    #[must_use]
    pub fn not_made_of(&self, recording: &str, name: &str, several: bool) -> Option<&str> {
        let is_one = |known: &str| match known.strip_prefix(name) {
            Some(rest) if several => rest.len() > 1 && rest.starts_with('.'),
            rest => rest == Some(""),
        };
        let from = self.profiles.range(name.to_owned()..);
        let mut near = from.take_while(|(known, _)| known.starts_with(name));
        let is_other = |state: &ProfileState| state.made_of.as_deref() != Some(recording);
        let found = near.find(|(known, state)| is_one(known) && is_other(state));
        found.map(|(known, _)| known.as_str())
    }

    /// What all profiles say, as of now.
    #[must_use]
    pub fn library(&self) -> Arc<Library> {
        self.library.clone()
    }

    /// The same, for as long as the view is there.
    pub(crate) fn library_now(&self) -> &Library {
        &self.library
    }

    /// Whether there is a policy of this name that can be used.
    #[must_use]
    pub fn has_policy(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// The policy of this name, if there is one that can be used.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Policy> {
        self.policies.iter().find(|policy| policy.name == name)
    }

    /// All policies that can be used, in the order in which they are asked.
    pub fn policies(&self) -> impl Iterator<Item = &Policy> {
        self.policies.iter()
    }

    /// What all policies have counted.
    #[must_use]
    pub fn counts(&self) -> Vec<(String, Counts)> {
        let policies = self.policies.iter();
        policies
            .map(|policy| (policy.name.clone(), policy.counters.counts()))
            .collect()
    }

    /// All namespaces with their labels.
    pub fn namespaces(&self) -> impl Iterator<Item = (&str, &BTreeMap<String, String>)> {
        let namespaces = self.namespaces.iter();
        namespaces.map(|(name, known)| (name.as_str(), &known.labels))
    }

    /// The folder of the operator's files below kubelet's seccomp folder.
    #[must_use]
    pub fn profiles_dir(&self) -> &str {
        &self.profiles_dir
    }

    /// How the SeccompProfile of this name stands, if there is one.
    #[must_use]
    pub fn profile_state(&self, name: &str) -> Option<&ProfileState> {
        self.profiles.get(name)
    }

    /// Whether pods in this namespace are left alone.
    #[must_use]
    pub fn is_excluded(&self, namespace: &str) -> bool {
        self.scope(namespace).is_excluded()
    }

    /// A namespace, whether the watch has told of it or not.
    #[must_use]
    pub fn scope<'a>(&'a self, namespace: &'a str) -> Scope<'a> {
        Scope {
            view: self,
            name: namespace,
            known: self.namespaces.get(namespace),
        }
    }

    /// The policies that select a namespace with these labels.
    fn selecting(&self, labels: &BTreeMap<String, String>) -> PolicyIndex {
        let all = (0..).zip(&self.policies);
        let selecting = all.filter(|(_, policy)| {
            let selector = policy.spec.namespace_selector.as_ref();
            selector.is_none_or(|selector| selector::matches(selector, labels))
        });
        PolicyIndex::new(
            selecting.map(|(position, policy)| (position, policy.spec.pod_selector.as_ref())),
        )
    }

    fn profile_of(&self, spec: &SeccompPolicySpec) -> SeccompProfile<'static> {
        let path = spec
            .profile
            .name
            .as_deref()
            .map(|name| format!("{}/{name}.json", self.profiles_dir));
        SeccompProfile {
            type_: format!("{:?}", spec.profile.type_).into(),
            localhost_profile: path
                .filter(|_| spec.profile.type_ == ProfileType::Localhost)
                .map(Cow::Owned),
        }
    }

    /// A sentence, if a pod with this `localhostProfile` would not start, or not everywhere.
    #[must_use]
    pub fn warning(&self, localhost_profile: &str) -> Option<String> {
        let dir = &self.profiles_dir;
        match LocalhostProfile::parse(localhost_profile, dir) {
            LocalhostProfile::Managed(name) => self.warning_by_name(name.as_str()),
            LocalhostProfile::Unmanageable => Some(format!(
                "localhostProfile {localhost_profile:?} is not the path of any SeccompProfile ({dir}/<name>.json){}",
                self.meant(localhost_profile).unwrap_or_default()
            )),
            LocalhostProfile::WithAnnotationPrefix(name) => Some(format!(
                "localhostProfile {localhost_profile:?}: the prefix localhost/ belongs to the legacy annotation; write {:?}",
                name.localhost_profile(dir)
            )),
            // What looks like a file in a folder of somebody else's probably is one.
            LocalhostProfile::Elsewhere
                if localhost_profile.contains('/') && LocalhostProfile::is_file(localhost_profile) =>
            {
                None
            }
            LocalhostProfile::Elsewhere => self.meant(localhost_profile).map(|meant| {
                format!("localhostProfile {localhost_profile:?} is not the path of a SeccompProfile{meant}")
            }),
        }
    }

    /// `; did you mean "profiles/web.json"?`, if there is such a profile.
    fn meant(&self, path: &str) -> Option<String> {
        let name = LocalhostProfile::meant(path)?;
        let path = name.localhost_profile(&self.profiles_dir);
        let is_there = self.profiles.contains_key(name.as_str());
        is_there.then(|| format!("; did you mean {path:?}?"))
    }

    /// A sentence, if pods that use this SeccompProfile would not start, or not everywhere.
    #[must_use]
    pub fn warning_by_name(&self, name: &str) -> Option<String> {
        match self.profiles.get(name) {
            Some(state) => state.warning(name),
            None => Some(format!(
                "there is no SeccompProfile {name:?}; a pod that uses it cannot start until there is (CreateContainerError)"
            )),
        }
    }
}

/// A namespace as a view knows it.
#[derive(Debug)]
pub struct Scope<'a> {
    view: &'a View,
    name: &'a str,
    known: Option<&'a Namespace>,
}

impl<'a> Scope<'a> {
    /// Who knows it.
    #[must_use]
    pub fn view(&self) -> &'a View {
        self.view
    }

    /// Whether the watch has told of it yet.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.known.is_some()
    }

    /// Whether pods in it are left alone.
    #[must_use]
    pub fn is_excluded(&self) -> bool {
        match self.known {
            Some(known) => known.excluded,
            None => self.view.excluded.contains(self.name),
        }
    }

    /// What may happen to a pod in it: [`Mode::Enforce`] if a policy that selects the namespace enforces. Until the watch has told of
    /// it, all policies count.
    #[must_use]
    pub fn mode(&self) -> Option<Mode> {
        let selects = |policy: &&Policy| match (self.known, &policy.spec.namespace_selector) {
            (Some(known), Some(selector)) => selector::matches(selector, &known.labels),
            _ => true,
        };
        let selecting = self.view.policies.iter().filter(selects);
        let modes = selecting.map(|policy| policy.spec.mode);
        modes.reduce(|one, other| match (one, other) {
            (Mode::Enforce, _) | (_, Mode::Enforce) => Mode::Enforce,
            // What is only tried refuses nothing either.
            _ => Mode::Observe,
        })
    }

    /// The recording that selects a pod in it by these labels; of several the first by name.
    pub fn recording(&self, labels: &impl Labels) -> Option<&'a Recording> {
        let prefix = recording_key(self.name, "");
        let after = self.view.recordings.range(prefix.clone()..);
        let mut own = after.take_while(|(key, _)| key.starts_with(&prefix));
        let (_, recording) =
            own.find(|(_, recording)| selector::matches(&recording.spec.pod_selector, labels))?;
        Some(recording)
    }

    /// The policies that select a pod in it by these labels, in the order of their precedence.
    pub fn policies<L: Labels>(
        &self,
        labels: &'a L,
    ) -> impl Iterator<Item = &'a Policy> + use<'a, L> {
        let view = self.view;
        let labels_index = view.labels_index.get_or_init(|| {
            let policies = view.policies.iter();
            LabelIndex::new(policies.map(|policy| policy.spec.pod_selector.as_ref()))
        });
        let asked = match self.known {
            Some(known) => {
                let selecting = known
                    .selecting
                    .get_or_init(|| view.selecting(&known.labels));
                selecting.for_pod(labels_index, labels)
            }
            None => {
                let labels_of_it = [(NAME_LABEL.to_owned(), self.name.to_owned())];
                let selecting = view.selecting(&labels_of_it.into());
                selecting.for_pod(labels_index, labels).into_owned().into()
            }
        };
        let policies =
            (0..asked.len()).filter_map(move |n| view.policies.get(*asked.get(n)? as usize));
        policies.filter(|policy| {
            let selector = policy.spec.pod_selector.as_ref();
            selector.is_none_or(|selector| selector::matches(selector, labels))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_path_is_warned_of_by_what_it_means_and_in_words_of_this_installation() {
        let mut view = View::new("team/profiles", []);
        view.profile("web", true, None);
        let old = ProfileState {
            ready: true,
            deleted: true,
            ..ProfileState::default()
        };
        view.profile("old", old, None);
        for (path, part) in [
            ("team/profiles/web.json", None),
            ("./team//profiles/web.json", None),
            (
                "team//./profiles/old.json",
                Some("SeccompProfile \"old\" was deleted and goes when"),
            ),
            (
                "./team/profiles/absent.json",
                Some("there is no SeccompProfile \"absent\""),
            ),
            ("team/profiles/web", Some("(team/profiles/<name>.json)")),
            (
                "localhost/team/profiles/web.json",
                Some("write \"team/profiles/web.json\""),
            ),
            ("other/web.json", None),
        ] {
            let warning = view.warning(path);
            let told = |part| {
                warning
                    .as_ref()
                    .is_some_and(|warning| warning.contains(part))
            };
            assert!(part.map_or(warning.is_none(), told), "{path}: {warning:?}");
        }
    }

    #[test]
    fn the_policies_of_a_namespace_are_those_of_its_labels_and_of_the_policies_as_they_are_now() {
        let mut view = View::new("profiles", []);
        let spec = |team: &str| {
            let selector = json!({"matchLabels": {"team": team}});
            let spec =
                json!({"namespaceSelector": selector, "profile": {"type": "RuntimeDefault"}});
            serde_json::from_value::<SeccompPolicySpec>(spec).unwrap()
        };
        let team = |name: &str| BTreeMap::from([("team".to_owned(), name.to_owned())]);
        let none = BTreeMap::new();
        let asked = |view: &View| -> Vec<String> {
            let policies = view.scope("shop").policies(&none);
            policies.map(|policy| policy.name.clone()).collect()
        };
        view.policy("web", spec("web"));
        assert!(asked(&view).is_empty(), "the namespace is not known yet");
        view.namespace("shop", team("web"));
        assert_eq!(asked(&view), ["web"]);
        view.policy("all", SeccompPolicySpec::default());
        assert_eq!(asked(&view), ["all", "web"]);
        view.namespace("shop", team("db"));
        assert_eq!(asked(&view), ["all"]);
        view.policy("web", spec("db"));
        assert_eq!(asked(&view), ["all", "web"]);
        view.gone(Kind::Policy, "all");
        assert_eq!(asked(&view), ["web"]);
        // What is demanded of pods, too: this one comes first, so that all others move on in the list.
        let backend = BTreeMap::from([("tier".to_owned(), "backend".to_owned())]);
        let demanding = json!({
            "priority": 5, "podSelector": {"matchLabels": backend}, "profile": {"type": "RuntimeDefault"},
        });
        view.policy("backend", serde_json::from_value(demanding).unwrap());
        let policies = view.scope("shop").policies(&backend);
        let names: Vec<_> = policies.map(|policy| policy.name.as_str()).collect();
        assert_eq!(names, ["backend", "web"]);
        assert_eq!(asked(&view), ["web"]);
        view.gone(Kind::Namespace, "shop");
        assert!(asked(&view).is_empty());
    }
}
