//! The profile documents that a user hands over: as such, or in what they come in.
//!
//! `objects` finds the documents in Kubernetes objects and in what tools print of containers; `foreign` reads the SeccompProfiles of
//! other operators.

mod foreign;
mod objects;

use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use super::input::Input;
use super::{Failure, Findings};
use objects::Unwrapping;
use seccomp_profile::{
    self, BUILTINS, Definition, Document, Library, Problem, Problems, Spec, builtin,
};

pub use foreign::{Foreign, join};

/// The most that is read of one input: a list of all profiles of a large cluster.
const MAX_BYTES: u64 = 64 << 20;

/// A profile, and where it is from.
#[derive(Debug)]
pub struct Named {
    /// The input's name, with that of the object in it, if it is one of several.
    pub name: String,
    /// What it asks for.
    pub definition: Definition,
    /// In what form it came.
    pub origin: Origin,
}

/// Who makes a profile of it.
#[derive(Debug, PartialEq, Eq)]
pub enum Origin {
    /// The container runtime reads it as it is.
    File {
        /// Where the document stands in the file; may be empty.
        at: String,
    },
    /// The operator writes what it means; the name of the object.
    Object(String),
    /// It comes with this tool.
    BuiltIn,
    /// Another operator writes the file as it is.
    Foreign(Foreign),
}

impl Origin {
    /// Where the document stands, if the container runtime reads it as it is.
    pub fn as_is(&self) -> Option<&str> {
        match self {
            Self::File { at } => Some(at),
            Self::Foreign(foreign) => Some(&foreign.at),
            Self::Object(_) | Self::BuiltIn => None,
        }
    }
}

impl Named {
    /// The name of this operator's SeccompProfile, if it is one.
    pub fn object(&self) -> Option<&str> {
        match &self.origin {
            Origin::Object(name) => Some(name),
            _ => None,
        }
    }

    /// The name under which others have it as their base.
    pub fn base_name(&self) -> Option<&str> {
        match &self.origin {
            Origin::Object(name) => Some(name),
            Origin::Foreign(foreign) => Some(&foreign.name),
            Origin::File { .. } | Origin::BuiltIn => None,
        }
    }
}

/// What is wrong, and with which input.
#[derive(Debug)]
pub struct Faulty {
    /// As in [`Named`].
    pub name: String,
    pub problems: Problems,
}

/// Each line is `name: path: reason; remedy`.
impl std::fmt::Display for Faulty {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for problem in &self.problems {
            writeln!(f, "{}: {problem}", self.name)?;
        }
        let unlisted = self.problems.len() - self.problems.iter().len();
        if unlisted > 0 {
            writeln!(f, "{}: and {unlisted} more", self.name)?;
        }
        Ok(())
    }
}

impl From<Faulty> for Findings {
    fn from(faulty: Faulty) -> Self {
        Self::Some(faulty.to_string())
    }
}

/// What a list of arguments stands for.
pub struct Inputs {
    /// What was read.
    pub found: Vec<Result<Named, Faulty>>,
    /// What else was in the inputs, of each that has some.
    pub others: Vec<Others>,
    /// Why others were not.
    pub unread: Vec<Failure>,
}

/// The objects of an input that hold no profile.
pub struct Others {
    /// The input's name.
    pub name: String,
    pub objects: Vec<Value>,
    /// Whether there is no profile beside them.
    pub alone: bool,
}

impl Others {
    /// `holds no profile, only ConfigMap of v1`
    pub fn sentence(&self) -> String {
        let kind =
            |object: &Value| format!("{} of {}", text(object, "kind"), text(object, "apiVersion"));
        let mut kinds: Vec<_> = self.objects.iter().map(kind).collect();
        kinds.dedup();
        format!("holds no profile, only {}", kinds.join(", "))
    }
}

/// What is in an input.
struct Parsed {
    found: Vec<Result<Named, Faulty>>,
    others: Vec<Value>,
}

impl Parsed {
    fn of(found: Vec<Result<Named, Faulty>>) -> Self {
        let others = Vec::new();
        Self { found, others }
    }

    /// The profiles; it is a fault to have none.
    fn profiles(self, name: &str) -> Vec<Result<Named, Faulty>> {
        if !self.found.is_empty() {
            return self.found;
        }
        let others = Others {
            name: name.to_owned(),
            objects: self.others,
            alone: true,
        };
        vec![faulty(name, "", others.sentence(), FORMS)]
    }
}

/// Reads the inputs that arguments stand for; without any, standard input. One that cannot be read does not keep the others from
/// being read.
pub fn read_each(files: &[PathBuf]) -> Inputs {
    let stdin = [None];
    let files: Vec<_> = files.iter().map(Some).collect();
    let files = if files.is_empty() {
        stdin.as_slice()
    } else {
        files.as_slice()
    };
    let mut inputs = Inputs {
        found: Vec::new(),
        others: Vec::new(),
        unread: Vec::new(),
    };
    for file in files {
        match read(*file) {
            Ok(parsed) => {
                if !parsed.others.is_empty() {
                    inputs.others.push(Others {
                        name: input(*file).name(),
                        objects: parsed.others,
                        alone: parsed.found.is_empty(),
                    });
                }
                inputs.found.extend(parsed.found);
            }
            Err(failure) => inputs.unread.push(failure),
        }
    }
    inputs
}

/// Reads the inputs that arguments stand for, all of them, or says why not.
pub fn read_all(files: &[PathBuf]) -> Result<Vec<Result<Named, Faulty>>, Failure> {
    let Inputs {
        mut found,
        others,
        unread,
    } = read_each(files);
    match Failure::all(unread) {
        None => {
            let without = others.iter().filter(|others| others.alone);
            found.extend(without.map(|others| faulty(&others.name, "", others.sentence(), FORMS)));
            Ok(found)
        }
        Some(failure) => Err(failure),
    }
}

/// Reads the input that an argument stands for; without one, standard input. The name of a built-in stands for that, unless
/// there is a file of that name.
fn read(file: Option<&PathBuf>) -> Result<Parsed, Failure> {
    let input = input(file);
    if let Some(built_in) = file.and_then(|file| built_in(file)) {
        return Ok(Parsed::of(vec![Ok(built_in)]));
    }
    let mut bytes = Vec::new();
    let from = match (input.open(), file.and_then(|file| plain_name(file))) {
        (Err(error), Some(name)) if error.is_missing() => {
            return Err(Failure::Usage(format!(
                "{name}: no such file, and no built-in of that name; for a profile of the cluster give - and pipe it in: kubectl get \
                 seccompprofile {name} -o yaml | kubectl seccomp ... -"
            )));
        }
        (opened, _) => opened?,
    };
    from.take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| input.unreadable(error))?;
    if bytes.len() as u64 > MAX_BYTES {
        let message = format!("{} has more than {} MiB", input.name(), MAX_BYTES >> 20);
        return Err(Failure::Usage(message));
    }
    Ok(unwrap(&input.name(), &bytes))
}

fn input(file: Option<&PathBuf>) -> Input {
    file.map_or(Input::Stdin, |file| Input::from_argument(file))
}

/// An argument that may as well be the name of an object.
fn plain_name(file: &Path) -> Option<&str> {
    let is_plain = |name: &&str| !name.contains(['/', '.', '\\']) && *name != "-";
    file.to_str().filter(is_plain)
}

fn built_in(file: &Path) -> Option<Named> {
    let name = file.to_str().filter(|name| BUILTINS.contains(name))?;
    // A folder of that name holds no profile.
    let document = builtin(name).filter(|_| !file.exists() || file.is_dir())?;
    Some(Named {
        name: name.to_owned(),
        definition: whole(document.clone()),
        origin: Origin::BuiltIn,
    })
}

/// The one profile among those of an input. Others are in it only as its bases.
pub fn one_of(
    mut found: Vec<Result<Named, Faulty>>,
    file: Option<&PathBuf>,
) -> Result<(Result<Named, Faulty>, Library), Failure> {
    let library = library(&found, std::iter::empty());
    let number = found.len();
    let bases = bases(&found);
    found.retain(|found| !is_base(found, &bases));
    let mut tops = found.into_iter();
    match (tops.next(), tops.next()) {
        (Some(one), None) => Ok((one, library)),
        _ => {
            let name = input(file).name();
            Err(Failure::Usage(format!(
                "{name} holds {number} profiles, and this command takes one"
            )))
        }
    }
}

/// All profiles of an input, those of other operators with the rules of their bases.
pub fn read_joined(
    file: Option<&PathBuf>,
    with: &[Named],
) -> Result<Vec<Result<Named, Faulty>>, Failure> {
    let mut found = read(file)?.profiles(&input(file).name());
    join(&mut found, with);
    Ok(found)
}

/// The profiles of an input, and the objects beside them that a caller takes.
pub type Beside = (Vec<Result<Named, Faulty>>, Vec<Value>);

/// The same, and the objects beside them that the caller takes as well: with such it is no fault to have no profile.
pub fn read_joined_beside(
    file: Option<&PathBuf>,
    with: &[Named],
    takes: impl Fn(&Value) -> bool,
) -> Result<Beside, Failure> {
    let mut parsed = read(file)?;
    let (taken, others): (Vec<_>, _) = parsed.others.into_iter().partition(takes);
    parsed.others = others;
    let mut found = if taken.is_empty() {
        parsed.profiles(&input(file).name())
    } else {
        parsed.found
    };
    join(&mut found, with);
    Ok((found, taken))
}

/// Whether it is in its input for others to derive from.
pub fn is_base(found: &Result<Named, Faulty>, bases: &BTreeSet<String>) -> bool {
    let named = found.as_ref().ok();
    let name = named.and_then(Named::base_name);
    name.is_some_and(|name| bases.contains(name))
}

/// The names that profiles give as their bases.
pub fn bases(found: &[Result<Named, Faulty>]) -> BTreeSet<String> {
    let found = found.iter().flatten();
    let bases = found.filter_map(|named| match &named.origin {
        Origin::Foreign(foreign) => foreign.base.as_deref(),
        // The name of a built-in means the built-in, also where a profile has it as well.
        _ => {
            let base = named.definition.spec.base();
            base.filter(|base| !BUILTINS.contains(base))
        }
    });
    bases.map(str::to_owned).collect()
}

/// The SeccompProfiles by name, as bases of others. Of two with one name the later counts.
pub fn library<'n>(
    found: &'n [Result<Named, Faulty>],
    besides: impl Iterator<Item = &'n Named>,
) -> Library {
    let mut library = Library::default();
    for named in besides.chain(found.iter().flatten()) {
        if let Some(name) = named.object() {
            library.define(name, Ok(Arc::new(named.definition.clone())));
        }
    }
    library
}

/// The profiles in a text that is no file, those of other operators with the rules of their bases.
pub fn read_bytes(name: &str, bytes: &[u8], with: &[Named]) -> Vec<Result<Named, Faulty>> {
    let mut found = parse(name, bytes);
    join(&mut found, with);
    found
}

/// The profiles in a text.
fn parse(name: &str, bytes: &[u8]) -> Vec<Result<Named, Faulty>> {
    unwrap(name, bytes).profiles(name)
}

fn unwrap(name: &str, bytes: &[u8]) -> Parsed {
    let is_json = bytes.trim_ascii_start().starts_with(b"{");
    if is_json {
        return Parsed::of(match serde_json::from_slice::<Value>(bytes) {
            Ok(value) if objects::is_wrapped(&value) => {
                return Unwrapping::unwrap_all(name, vec![value]);
            }
            Err(error) if error.is_syntax() && bytes.windows(2).any(|pair| pair == b"{{") => {
                vec![unreadable(name, bytes, format!("is no JSON: {error}"))]
            }
            _ => vec![named(
                name.into(),
                "",
                seccomp_profile::parse_slice_as_is(bytes, ""),
            )],
        });
    }
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let fault = faulty(name, "", format!("is no text: {error}"), FORMS);
            return Parsed::of(vec![fault]);
        }
    };
    match serde_saphyr::from_multiple::<Value>(text) {
        Ok(values) => Unwrapping::unwrap_all(name, values),
        Err(error) => {
            let error = error.to_string();
            let first = error.lines().next().unwrap_or_default();
            let first = first.strip_prefix("error: ").unwrap_or(first);
            // What follows is for programmers.
            let first = first.split(", set ").next().unwrap_or(first);
            let fault = unreadable(name, bytes, format!("is no YAML: {first}"));
            Parsed::of(vec![fault])
        }
    }
}

/// What is wrong with text that is neither JSON nor YAML.
fn unreadable(name: &str, bytes: &[u8], reason: String) -> Result<Named, Faulty> {
    let has = |pair: &[u8]| bytes.windows(2).any(|window| window == pair);
    if has(b"{{") && has(b"}}") {
        let reason = "is a Helm template, and no profile before its values are filled in";
        return faulty(
            name,
            "",
            reason.into(),
            "give what `helm template` makes of it",
        );
    }
    faulty(name, "", reason, FORMS)
}

const FORMS: &str =
    "give a profile document, a SeccompProfile or an OCI config.json, as JSON or YAML";

fn whole(document: Document) -> Definition {
    Definition {
        spec: Arc::new(Spec::Document(document)),
        capabilities: None,
        next: None,
    }
}

/// A document that a container runtime reads; `at` is where it stands.
fn named(name: String, at: &str, parsed: Result<Document, Problems>) -> Result<Named, Faulty> {
    match parsed {
        Ok(document) => Ok(Named {
            name,
            definition: whole(document),
            origin: Origin::File { at: at.to_owned() },
        }),
        Err(problems) => Err(Faulty { name, problems }),
    }
}

fn faulty(name: &str, path: &str, reason: String, remedy: &str) -> Result<Named, Faulty> {
    Err(fault(name, path, reason, remedy))
}

fn fault(name: &str, path: &str, reason: String, remedy: &str) -> Faulty {
    let problem = Problem {
        path: path.into(),
        reason,
        remedy: remedy.into(),
    };
    Faulty {
        name: name.to_owned(),
        problems: problem.into(),
    }
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const DOCUMENT: &str = "defaultAction: SCMP_ACT_LOG";

    /// `name` or the problems, of each document.
    fn say(text: &str) -> Vec<String> {
        let say = |found: Result<Named, Faulty>| match found {
            Ok(named) => match named.definition.spec.as_ref() {
                Spec::Document(document) => format!("{} {}", named.name, document.default_action()),
                Spec::Changed { .. } => format!("{} changed", named.name),
                Spec::Derived { base, .. } => format!("{} on {base}", named.name),
            },
            Err(faulty @ Faulty { .. }) => faulty.to_string().trim_end().to_owned(),
        };
        parse("f", text.as_bytes()).into_iter().map(say).collect()
    }

    fn manifest(version: &str, name: &str, spec: &Value) -> Value {
        json!({"apiVersion": version, "kind": "SeccompProfile", "metadata": {"name": name}, "spec": spec})
    }

    #[test]
    fn a_document_may_come_as_it_is_or_in_an_object() {
        let document = json!({"defaultAction": "SCMP_ACT_LOG"});
        let own = manifest(
            "seccomp-operator.io/v1alpha1",
            "a",
            &json!({"profile": document}),
        );
        let spo = manifest(
            "security-profiles-operator.x-k8s.io/v1beta1",
            "a",
            &json!({"defaultAction": "SCMP_ACT_LOG", "disabled": false}),
        );
        let container = json!({"ociVersion": "1.0.2", "linux": {"seccomp": document}});
        for value in [document, own, spo, container] {
            let json = value.to_string();
            let yaml = serde_saphyr::to_string(&value).unwrap();
            for text in [
                &json,
                &format!("\n  {json}\n"),
                &yaml,
                &format!("# x\n---\n{yaml}"),
            ] {
                assert_eq!(say(text), ["f SCMP_ACT_LOG"], "{text}");
            }
        }
    }

    #[test]
    fn several_documents_have_names() {
        let one = |name| {
            manifest(
                "seccomp-operator.io/v1alpha1",
                name,
                &json!({"profile": {"defaultAction": "SCMP_ACT_LOG"}}),
            )
        };
        let list = json!({"apiVersion": "v1", "kind": "List", "items": [one("a"), one("b")]});
        assert_eq!(
            say(&list.to_string()),
            ["f (a) SCMP_ACT_LOG", "f (b) SCMP_ACT_LOG"]
        );
        let mut bare = one("a");
        bare.as_object_mut()
            .unwrap()
            .retain(|key, _| key == "metadata" || key == "spec");
        let list = json!({"apiVersion": "seccomp-operator.io/v1alpha1", "kind": "SeccompProfileList", "items": [bare]});
        assert_eq!(say(&list.to_string()), ["f (a) SCMP_ACT_LOG"]);
        let text = format!(
            "{DOCUMENT}\n---\n{}\n---\nkind: Service\napiVersion: v1",
            one("b")
        );
        assert_eq!(say(&text), ["f (1) SCMP_ACT_LOG", "f (b) SCMP_ACT_LOG"]);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let own = |spec: Value| manifest("seccomp-operator.io/v1alpha1", "a", &spec).to_string();
        for (text, start) in [
            (String::new(), "f: is empty; give a profile document"),
            ("{".into(), "f: "),
            ("hello".into(), "f: holds no profile; give"),
            (
                "a: 1\na: 2".into(),
                "f: is no YAML: line 2 column 1: duplicate mapping key: a; give",
            ),
            (
                r#"{"defaultAction": "SCMP_ACT_LOG", "defaultAction": "SCMP_ACT_ALLOW"}"#.into(),
                "f: ",
            ),
            (
                "kind: Pod\napiVersion: v1".into(),
                "f: holds no profile, only Pod of v1; give",
            ),
            (own(json!({})), "f: spec: has neither profile nor base; "),
            (
                own(json!({"base": "audit", "profile": {}})),
                "f: spec.base: stands beside profile; ",
            ),
            (
                own(json!({"base": "audit", "denny": ["bpf"]})),
                "f: spec.denny: is no field of a SeccompProfile; ",
            ),
            (own(json!({"base": 7})), "f: spec: invalid type: "),
            (
                own(json!({"profile": {"defaultAction": "LOG"}})),
                "f: spec.profile.defaultAction: ",
            ),
            (
                json!({"ociVersion": "1.0.2", "linux": {}}).to_string(),
                "f: linux.seccomp: is missing: the container runs unconfined;",
            ),
        ] {
            let said = say(&text);
            assert!(
                said.len() == 1 && said[0].starts_with(start),
                "{text}: {said:?}"
            );
        }
        let faulty = parse("f", b"\xff\xfe");
        assert!(faulty[0].is_err());
    }
}
