//! What to change in a new pod: a pure function of the pod and of what admission knows.
//!
//! Policies are asked in the order of their precedence. The first enforced one without `images` decides about the pod level,
//! because ephemeral containers inherit from there, and ends the search. One with `images` decides about the containers that
//! have such an image, at container level, and leaves the rest to the policies after it. What a pod or a container says for
//! itself is left alone unless a policy overrides that. A `Localhost` profile that somebody has chosen is never replaced. One on trial
//! decides nothing, and has its profile tried where nobody else gives more than `RuntimeDefault`.

use std::borrow::Cow;
use std::collections::BTreeSet;

use crate::pod::{Container, SecurityContext};
pub use crate::pod::{Pod, SeccompProfile};

use crate::given::{self, Given};
use crate::image::Image;
use crate::patch;
pub use crate::patch::{Change, Place};
use crate::view::{Policy, Scope, View};
use seccomp_operator_api::Mode;

/// The annotations that meant what the fields mean now. The API server refuses a pod whose annotation and field differ, so one
/// that is left behind can make a pod impossible to create.
pub const POD_ANNOTATION: &str = "seccomp.security.alpha.kubernetes.io/pod";
/// See [`POD_ANNOTATION`]; the container's name follows.
pub const CONTAINER_ANNOTATION: &str = "container.seccomp.security.alpha.kubernetes.io/";
/// Kubelet's mark on the image of a static pod.
const MIRROR_ANNOTATION: &str = "kubernetes.io/config.mirror";
/// What the names of runtime classes hold whose runtimes keep containers in a kernel of their own: the host's filter is not applied
/// to what runs inside (gVisor without `oci-seccomp`, Kata with `disable_guest_seccomp`, which is its default).
const SANDBOXES: [&str; 3] = ["gvisor", "runsc", "kata"];

/// Why a pod was changed or left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The pod, or a container of it, got a profile.
    Injected,
    /// The pod, or a container of it, got the profile of a recording.
    Recorded,
    /// A policy refuses the pod: it would run under somebody else's file.
    Conflict,
    /// Only legacy annotations were turned into fields; what they say stands.
    Converted,
    /// All that an enforced policy selects states a profile already.
    AlreadySet,
    /// Only policies that observe select the pod, or may select one that is too much to read.
    Observed,
    /// No policy selects the pod.
    NoPolicy,
    /// The namespace is left alone.
    NamespaceExcluded,
    /// Seccomp is a matter of Linux; the API server refuses the field on a Windows pod.
    Windows,
    /// Kubelet runs a static pod whatever its mirror says.
    MirrorPod,
}

impl Reason {
    /// All reasons, for metrics that begin at zero.
    pub const ALL: [Self; 10] = [
        Self::Injected,
        Self::Recorded,
        Self::Conflict,
        Self::Converted,
        Self::AlreadySet,
        Self::Observed,
        Self::NoPolicy,
        Self::NamespaceExcluded,
        Self::Windows,
        Self::MirrorPod,
    ];

    /// One word for programs.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Injected => "injected",
            Self::Recorded => "recorded",
            Self::Conflict => "conflict",
            Self::Converted => "converted",
            Self::AlreadySet => "already_set",
            Self::Observed => "observed",
            Self::NoPolicy => "no_policy",
            Self::NamespaceExcluded => "namespace_excluded",
            Self::Windows => "windows",
            Self::MirrorPod => "mirror_pod",
        }
    }
}

/// What a policy does to a pod that it selects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Effect {
    /// Nothing: the pod states what it wants.
    Nothing,
    /// It gives a profile.
    Changes,
    /// It would, but only observes.
    WouldChange,
}

/// What to answer.
#[derive(Clone, Debug)]
pub struct Decision<'a> {
    /// In the order in which they are to be made; empty to leave the pod as it is.
    pub changes: Vec<Change<'a>>,
    /// Sentences that kubectl prints.
    pub warnings: Vec<String>,
    /// Why the pod is refused, if it is.
    pub denied: Option<String>,
    /// Why.
    pub reason: Reason,
    /// The policies that select the pod, in the order of their precedence, and what each does.
    pub policies: Vec<(&'a Policy, Effect)>,
}

impl Decision<'_> {
    /// Counts the pod for the policies that select it.
    pub fn count(&self) {
        for (policy, effect) in &self.policies {
            policy.counters.count(*effect);
        }
    }

    /// The changes as the text of a JSON patch; none to change nothing.
    #[must_use]
    pub fn patch(&self) -> Option<Vec<u8>> {
        (!self.changes.is_empty()).then(|| patch::to_json(&self.changes))
    }

    fn leave(reason: Reason) -> Self {
        Self {
            changes: Vec::new(),
            warnings: Vec::new(),
            denied: None,
            reason,
            policies: Vec::new(),
        }
    }
}

/// Decides on a pod that is about to be created in a namespace. The object itself may lack a namespace, and a name too.
#[must_use]
pub fn decide<'a>(pod: &'a Pod<'_>, scope: &Scope<'a>) -> Decision<'a> {
    if scope.is_excluded() {
        return Decision::leave(Reason::NamespaceExcluded);
    }
    if pod.spec.is_windows() {
        return Decision::leave(Reason::Windows);
    }
    if pod.metadata.annotations.get(MIRROR_ANNOTATION).is_some() {
        return Decision::leave(Reason::MirrorPod);
    }
    let mut decision = Decision::leave(Reason::NoPolicy);
    let mut draft = Draft::new(pod);
    let (mut enforced, mut placed) = (false, false);
    // Before the policies: what is recorded has a profile, and they leave it alone.
    let recording = scope.recording(&pod.metadata.labels);
    let recorded = recording.filter(|recording| draft.record(recording));
    for policy in scope.policies(&pod.metadata.labels) {
        if !draft.applies_to(policy) {
            continue;
        }
        if policy.spec.mode == Mode::Observe {
            let mut observed = draft.clone();
            let effect = if observed.apply(policy) {
                decision.warnings.push(observed.would(policy, &draft));
                Effect::WouldChange
            } else {
                Effect::Nothing
            };
            decision.policies.push((policy, effect));
            continue;
        }
        if policy.spec.mode == Mode::Trial {
            draft.claim(policy);
            decision.policies.push((policy, Effect::Nothing));
            continue;
        }
        enforced = true;
        let applied = draft.apply(policy);
        placed |= applied;
        let effect = if applied {
            Effect::Changes
        } else {
            Effect::Nothing
        };
        decision.policies.push((policy, effect));
        if policy.images.is_empty() {
            break;
        }
    }
    let tried = draft.try_out(scope.view());
    (enforced, placed) = (enforced || tried, placed || tried);
    for (policy, effect) in &mut decision.policies {
        if draft.is_changed_by(policy) {
            *effect = Effect::Changes;
        }
    }
    if recorded.is_some() {
        decision.reason = Reason::Recorded;
    } else if enforced {
        decision.reason = match (placed, draft.dropped.is_empty()) {
            (true, _) => Reason::Injected,
            (false, false) => Reason::Converted,
            (false, true) => Reason::AlreadySet,
        };
    } else if !decision.policies.is_empty() {
        decision.reason = Reason::Observed;
    }
    let changes = enforced || recorded.is_some();
    if changes || recording.is_some() {
        decision.warnings.append(&mut draft.warnings);
    }
    let paths = paths(pod, changes.then_some(&draft));
    warn_about_files(&paths, scope.view(), &mut decision.warnings);
    let (denied, observed) = foreign::refusal(&decision.policies, &paths, scope.view());
    decision.warnings.extend(observed);
    if denied.is_some() {
        decision.denied = denied;
        decision.reason = Reason::Conflict;
        return decision;
    }
    if placed {
        warn_about_effect(pod, &mut decision.warnings);
    }
    if changes {
        decision.changes = draft.changes(pod);
    }
    if let Some(recording) = recorded {
        let says = recorded::annotation(pod, recording, &decision.changes);
        decision.changes.extend(says);
    }
    decision
}

/// The files that the pod names, or would after the changes.
fn paths<'p>(pod: &'p Pod<'_>, draft: Option<&'p Draft<'_>>) -> Vec<&'p str> {
    let mut paths: Vec<&str> = match draft {
        Some(draft) => {
            let after = draft.levels.iter().filter_map(|level| level.after.as_ref());
            after.filter_map(|profile| profile.path()).collect()
        }
        None => {
            let at_containers = pod.spec.all_containers().filter_map(Container::profile);
            (pod.spec.profile().into_iter())
                .chain(at_containers)
                .filter_map(SeccompProfile::path)
                .collect()
        }
    };
    paths.sort_unstable();
    paths.dedup();
    paths
}

/// Warns about files that are not there, not everywhere, or not ours.
fn warn_about_files(paths: &[&str], view: &View, warnings: &mut Vec<String>) {
    for sentence in paths.iter().filter_map(|path| view.warning(path)) {
        // Two paths may lead to one file.
        if !warnings.contains(&sentence) {
            warnings.push(sentence);
        }
    }
}

/// Warns about containers that the profile which the pod gets will not reach.
fn warn_about_effect(pod: &Pod<'_>, warnings: &mut Vec<String>) {
    let privileged = pod.spec.all_containers().filter(|c| c.is_privileged());
    warnings.extend(privileged.map(|container| {
        format!(
            "container {:?} is privileged: container runtimes apply no seccomp profile to it",
            container.name
        )
    }));
    if let Some(class) = &pod.spec.runtime_class_name
        && is_sandbox(class)
    {
        warnings.push(format!(
            "runtimeClassName {class:?} is a sandbox by its name: gVisor and Kata do not apply seccomp profiles to containers unless they are set up to"
        ));
    }
}

/// Whether a runtime class, or its handler, keeps containers in a kernel of their own, by its name.
#[must_use]
pub fn is_sandbox(class: &str) -> bool {
    let lower = class.to_lowercase();
    SANDBOXES.iter().any(|sandbox| lower.contains(sandbox))
}

/// One place in a pod that can state a profile.
#[derive(Clone)]
struct Level<'a> {
    /// None for the pod level.
    container: Option<&'a Container<'a>>,
    place: Place,
    context: Option<&'a SecurityContext<'a>>,
    /// What the pod states here, legacy annotations included.
    stated: Option<Cow<'a, SeccompProfile<'a>>>,
    after: Option<Cow<'a, SeccompProfile<'a>>>,
    /// The policy that `after` is from, if it is from one.
    by: Option<&'a Policy>,
    /// An enforced policy with `images` has decided about it, or a recording.
    decided: bool,
    /// That policy.
    asked: Option<&'a Policy>,
    /// A policy on trial that would decide about it, if no other has before.
    claimed: Option<&'a Policy>,
}

/// A pod as it is becoming.
#[derive(Clone)]
struct Draft<'a> {
    /// The pod level first, then the containers.
    levels: Vec<Level<'a>>,
    /// Annotations to drop.
    dropped: Vec<Cow<'a, str>>,
    runtime_class: Option<&'a str>,
    warnings: Vec<String>,
}

impl<'a> Draft<'a> {
    /// The pod with its legacy annotations turned into fields.
    fn new(pod: &'a Pod<'_>) -> Self {
        let spec = &pod.spec;
        let mut draft = Self {
            levels: Vec::with_capacity(1 + spec.init_containers.len() + spec.containers.len()),
            dropped: Vec::new(),
            runtime_class: spec.runtime_class_name.as_deref(),
            warnings: Vec::new(),
        };
        let annotated = pod
            .metadata
            .annotations
            .keys()
            .any(|key| key.starts_with(CONTAINER_ANNOTATION) || key == POD_ANNOTATION);
        let mut add = |container: Option<&'a Container<'a>>,
                       place,
                       context: Option<&'a SecurityContext<'a>>| {
            let mut stated = context
                .and_then(|context| context.seccomp_profile.as_ref())
                .map(Cow::Borrowed);
            if annotated {
                let key = container.map_or(Cow::Borrowed(POD_ANNOTATION), |container| {
                    Cow::Owned(format!("{CONTAINER_ANNOTATION}{}", container.name))
                });
                let value = pod.metadata.annotations.get(key.as_ref());
                if let Some(legacy) = value.and_then(SeccompProfile::from_annotation) {
                    if let Some(field) = stated.as_ref().filter(|field| ***field != legacy) {
                        draft.warnings.push(format!(
                            "annotation {key} says {} where the field says {}; the annotation was dropped",
                            legacy.describe(),
                            field.describe()
                        ));
                    }
                    stated = stated.or(Some(Cow::Owned(legacy)));
                    draft.dropped.push(key);
                }
            }
            draft.levels.push(Level {
                container,
                place,
                context,
                after: stated.clone(),
                stated,
                by: None,
                decided: false,
                asked: None,
                claimed: None,
            });
        };
        add(None, Place::Pod, spec.security_context.as_ref());
        let init = spec.init_containers.iter().enumerate();
        let init = init.map(|(n, container)| (Place::InitContainer(n), container));
        let others = spec.containers.iter().enumerate();
        let others = others.map(|(n, container)| (Place::Container(n), container));
        for (place, container) in init.chain(others) {
            add(Some(container), place, container.security_context.as_ref());
        }
        draft
    }

    /// Whether a policy that selects the pod selects a container of it that no policy before has decided about, too.
    fn applies_to(&self, policy: &Policy) -> bool {
        policy.images.is_empty() || self.levels.iter().any(|level| level.is_meant_by(policy))
    }

    /// Gives the policy's profile to what lacks one, and to what states one that the policy overrides. Whether anything got it.
    fn apply(&mut self, policy: &'a Policy) -> bool {
        if policy.images.is_empty() {
            self.apply_to_pod(policy)
        } else {
            self.apply_to_containers(policy)
        }
    }

    fn apply_to_pod(&mut self, policy: &'a Policy) -> bool {
        let mut placed = false;
        if let [pod, containers @ ..] = &mut self.levels[..]
            && pod.after.is_none()
            && containers
                .iter()
                .any(|container| container.stated.is_none())
        {
            pod.give(policy);
            placed = true;
        }
        for level in self.levels.iter_mut().filter(|level| !level.decided) {
            let after = level.after.as_deref();
            if let Some(replaced) = after.filter(|after| policy.replaces(&after.type_)) {
                self.warnings.push(level.overridden(policy, replaced));
                level.give(policy);
                placed = true;
            }
        }
        self.ask_again();
        placed
    }

    /// A policy with `images` that left a container alone for what the pod stated is asked once more for what the pod has got instead: it
    /// would be asked if admission saw the pod a second time.
    fn ask_again(&mut self) {
        let Some((pod, containers)) = self.levels.split_first_mut() else {
            return;
        };
        let Some(got) = pod.after.as_deref().filter(|_| pod.by.is_some()) else {
            return;
        };
        for level in containers.iter_mut().filter(|level| level.after.is_none()) {
            if let Some(asked) = level.asked.filter(|asked| asked.replaces(&got.type_)) {
                self.warnings.push(level.overridden(asked, got));
                level.give(asked);
            }
        }
    }

    fn apply_to_containers(&mut self, policy: &'a Policy) -> bool {
        let mut placed = false;
        let Some((pod, containers)) = self.levels.split_first_mut() else {
            return placed;
        };
        for level in containers {
            if !level.is_meant_by(policy) {
                continue;
            }
            level.decided = true;
            level.asked = Some(policy);
            let effective = level.after.as_deref().or(pod.after.as_deref());
            let replaced = effective.filter(|effective| policy.replaces(&effective.type_));
            if let Some(replaced) = replaced {
                self.warnings.push(level.overridden(policy, replaced));
            }
            if replaced.is_some() || effective.is_none() {
                level.give(policy);
                placed = true;
            }
        }
        placed
    }

    fn is_changed_by(&self, policy: &Policy) -> bool {
        let mut by = self.levels.iter().filter_map(|level| level.by);
        by.any(|by| std::ptr::eq(by, policy))
    }

    /// What a policy that only observes would have done: `self` is `before` with the policy applied.
    fn would(&self, policy: &Policy, before: &Self) -> String {
        let changed = self.levels.iter().zip(&before.levels);
        let changed = changed.filter(|(after, before)| after.after != before.after);
        let places: Vec<_> = changed.map(|(after, _)| after.name()).collect();
        format!(
            "SeccompPolicy {:?} (Observe) would set {} on {}",
            policy.name,
            policy.profile.describe(),
            places.join(", ")
        )
    }

    /// What has become different in the pod.
    fn changes(self, pod: &Pod<'_>) -> Vec<Change<'a>> {
        let mut changes = Vec::new();
        let given: Vec<_> = self.levels.iter().filter_map(Level::given).collect();
        if !given.is_empty() {
            changes.push(Change::Annotate {
                key: given::ANNOTATION,
                has_annotations: pod.metadata.annotations.keys().next().is_some(),
                value: given::written(pod, given),
            });
        }
        for level in self.levels {
            let before = level
                .context
                .and_then(|context| context.seccomp_profile.as_ref());
            if before != level.after.as_deref()
                && let Some(profile) = level.after
            {
                changes.push(Change::Set {
                    place: level.place,
                    has_context: level.context.is_some(),
                    profile,
                });
            }
        }
        // Once, though two containers of one name have one: the API server says what is wrong with that only after admission, and
        // could not drop it twice.
        let mut dropped = BTreeSet::new();
        for key in self.dropped {
            if dropped.insert(key.clone()) {
                changes.push(Change::Drop(key));
            }
        }
        changes
    }
}

impl<'a> Level<'a> {
    fn give(&mut self, policy: &'a Policy) {
        self.after = Some(Cow::Borrowed(&policy.profile));
        self.by = Some(policy);
    }

    /// What a policy gave here, if one did.
    fn given(&self) -> Option<Given<'_>> {
        let replaced = self.stated.as_ref();
        Some(Given {
            container: self
                .container
                .map(|container| Cow::Borrowed(container.name.as_ref())),
            policy: Cow::Borrowed(self.by?.name.as_str()),
            replaced: replaced.map(|profile| Cow::Borrowed(profile.type_.as_ref())),
        })
    }

    /// For a sentence.
    fn name(&self) -> String {
        self.container.map_or_else(
            || "this pod".to_owned(),
            |container| format!("container {:?}", container.name),
        )
    }

    fn overridden(&self, policy: &Policy, replaced: &SeccompProfile<'_>) -> String {
        format!(
            "SeccompPolicy {:?} replaced the {} of {} with {}",
            policy.name,
            replaced.describe(),
            self.name(),
            policy.profile.describe()
        )
    }

    /// Whether a policy with `images` means this container, and none has before.
    fn is_meant_by(&self, policy: &Policy) -> bool {
        let Some(container) = self.container.filter(|_| !self.decided) else {
            return false;
        };
        let image = Image::parse(&container.image);
        image.is_some_and(|image| policy.images.iter().any(|pattern| pattern.matches(&image)))
    }
}

mod foreign;
mod recorded;
#[cfg(test)]
mod tests;
mod trial;
