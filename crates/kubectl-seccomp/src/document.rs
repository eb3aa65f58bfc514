//! The profile documents that a user hands over: as such, or in what they come in.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value};

use super::lines::Input;
use super::{Failure, Findings};
use seccomp_operator_api::SeccompProfileSpec;
use seccomp_profile::{
    self, BUILTINS, Definition, Document, Library, Problem, Problems, Spec, builtin,
};

/// The most that is read of one input: a list of all profiles of a large cluster.
const MAX_BYTES: u64 = 64 << 20;

/// The group of this project's API.
const GROUP: &str = "seccomp-operator.io/";

/// The group of the Security Profiles Operator, whose objects hold the document's fields in their spec itself.
const SPO_GROUP: &str = "security-profiles-operator.x-k8s.io/";

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
}

impl Named {
    /// The name of the SeccompProfile, if it is one.
    pub fn object(&self) -> Option<&str> {
        match &self.origin {
            Origin::Object(name) => Some(name),
            _ => None,
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

/// Reads the inputs that arguments stand for; without any, standard input.
pub fn read_all(files: &[PathBuf]) -> Result<Vec<Result<Named, Faulty>>, Failure> {
    if files.is_empty() {
        return read(None);
    }
    let mut found = Vec::new();
    for file in files {
        found.extend(read(Some(file))?);
    }
    Ok(found)
}

/// Reads the input that an argument stands for; without one, standard input. The name of a built-in stands for that, unless
/// there is a file of that name.
fn read(file: Option<&PathBuf>) -> Result<Vec<Result<Named, Faulty>>, Failure> {
    let input = file.map_or(Input::Stdin, |file| Input::from_argument(file));
    if let Some(built_in) = file.and_then(|file| built_in(file)) {
        return Ok(vec![Ok(built_in)]);
    }
    let mut bytes = Vec::new();
    let from = input.open()?;
    from.take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| input.unreadable(error))?;
    if bytes.len() as u64 > MAX_BYTES {
        let message = format!("{} has more than {} MiB", input.name(), MAX_BYTES >> 20);
        return Err(Failure::Usage(message));
    }
    Ok(parse(&input.name(), &bytes))
}

fn built_in(file: &Path) -> Option<Named> {
    let name = file.to_str().filter(|name| BUILTINS.contains(name))?;
    let document = builtin(name).filter(|_| !file.exists())?;
    Some(Named {
        name: name.to_owned(),
        definition: whole(document.clone()),
        origin: Origin::BuiltIn,
    })
}

/// The one profile of an input. Others are in it only as its bases.
pub fn read_one(file: Option<&PathBuf>) -> Result<(Result<Named, Faulty>, Library), Failure> {
    let found = read(file)?;
    let library = library(&found, std::iter::empty());
    let bases = bases(&found);
    let number = found.len();
    let is_base = |named: &Named| named.object().is_some_and(|name| bases.contains(name));
    let mut tops = found
        .into_iter()
        .filter(|found| !found.as_ref().is_ok_and(is_base));
    match (tops.next(), tops.next()) {
        (Some(one), None) => Ok((one, library)),
        _ => {
            let name = file
                .map_or(Input::Stdin, |file| Input::from_argument(file))
                .name();
            Err(Failure::Usage(format!(
                "{name} holds {number} profiles, and this command takes one"
            )))
        }
    }
}

/// The names that profiles give as their bases.
pub fn bases(found: &[Result<Named, Faulty>]) -> BTreeSet<String> {
    let found = found.iter().flatten();
    let bases = found.filter_map(|named| named.definition.spec.base());
    // The name of a built-in means the built-in, also where a profile has it as well.
    let bases = bases.filter(|base| !BUILTINS.contains(base));
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

fn parse(name: &str, bytes: &[u8]) -> Vec<Result<Named, Faulty>> {
    let is_json = bytes.trim_ascii_start().starts_with(b"{");
    if is_json {
        let value = serde_json::from_slice::<Value>(bytes).ok();
        let Some(wrapped) = value.filter(is_wrapped) else {
            return vec![named(
                name.into(),
                "",
                seccomp_profile::parse_slice_as_is(bytes, ""),
            )];
        };
        return Unwrapping::unwrap_all(name, vec![wrapped]);
    }
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => return vec![faulty(name, "", format!("is no text: {error}"), FORMS)],
    };
    match serde_saphyr::from_multiple::<Value>(text) {
        Ok(values) => Unwrapping::unwrap_all(name, values),
        Err(error) => {
            let error = error.to_string();
            let first = error.lines().next().unwrap_or_default();
            let first = first.strip_prefix("error: ").unwrap_or(first);
            // What follows is for programmers.
            let first = first.split(", set ").next().unwrap_or(first);
            vec![faulty(name, "", format!("is no YAML: {first}"), FORMS)]
        }
    }
}

const FORMS: &str =
    "give a profile document, a SeccompProfile or an OCI config.json, as JSON or YAML";

fn whole(document: Document) -> Definition {
    Definition {
        spec: Arc::new(Spec::Document(document)),
        capabilities: None,
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
    let problem = Problem {
        path: path.into(),
        reason,
        remedy: remedy.into(),
    };
    Err(Faulty {
        name: name.to_owned(),
        problems: problem.into(),
    })
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// Whether it is an object that holds a document, not a document.
fn is_wrapped(value: &Value) -> bool {
    value.get("kind").is_some() || value.get("ociVersion").is_some()
}

/// The documents in objects.
struct Unwrapping<'n> {
    name: &'n str,
    found: Vec<Result<Named, Faulty>>,
    /// What else was there.
    others: Vec<String>,
}

impl<'n> Unwrapping<'n> {
    fn unwrap_all(name: &'n str, values: Vec<Value>) -> Vec<Result<Named, Faulty>> {
        let mut this = Self {
            name,
            found: vec![],
            others: vec![],
        };
        let lists = values.iter().any(|v| text(v, "kind").ends_with("List"));
        let alone = values.len() == 1 && !lists;
        for value in values {
            this.add(value, alone);
        }
        if this.found.is_empty() {
            let reason = if this.others.is_empty() {
                "is empty".to_owned()
            } else {
                this.others.dedup();
                format!("holds no profile, only {}", this.others.join(", "))
            };
            this.found.push(faulty(name, "", reason, FORMS));
        }
        this.found
    }

    fn add(&mut self, mut value: Value, alone: bool) {
        if !is_wrapped(&value) {
            let name = if alone {
                self.name.to_owned()
            } else {
                format!("{} ({})", self.name, self.found.len() + 1)
            };
            self.found.push(if value.is_object() {
                named(name, "", seccomp_profile::parse_as_is(&value, ""))
            } else {
                // Any text is YAML.
                faulty(&name, "", "holds no profile".into(), FORMS)
            });
            return;
        }
        let (kind, version) = (text(&value, "kind"), text(&value, "apiVersion"));
        if kind.ends_with("List") {
            if let Some(Value::Array(items)) = value.get_mut("items").map(Value::take) {
                for mut item in items {
                    // Items of a list that the API server writes have neither.
                    if item.get("kind").is_none()
                        && let Some(object) = item.as_object_mut()
                    {
                        object.insert("kind".into(), kind_of_item(&value));
                        object.insert("apiVersion".into(), version_of(&value));
                    }
                    self.add(item, false);
                }
            }
            return;
        }
        let object = value.get("metadata").map_or("", |m| text(m, "name"));
        let name = if alone || object.is_empty() {
            self.name.to_owned()
        } else {
            format!("{} ({object})", self.name)
        };
        let found = if value.get("ociVersion").is_some() {
            match value.pointer("/linux/seccomp") {
                Some(document) => {
                    const AT: &str = "linux.seccomp";
                    named(name, AT, seccomp_profile::parse_as_is(document, AT))
                }
                None => faulty(
                    &name,
                    "linux.seccomp",
                    "is missing: the container runs unconfined".into(),
                    "give a container that has a profile",
                ),
            }
        } else if kind == "SeccompProfile" && version.starts_with(GROUP) {
            from_manifest(&name, &value)
        } else if kind == "SeccompProfile" && version.starts_with(SPO_GROUP) {
            from_spo_manifest(&name, &value)
        } else {
            self.others.push(format!("{kind} of {version}"));
            return;
        };
        self.found.push(found);
    }
}

fn kind_of_item(list: &Value) -> Value {
    let kind = text(list, "kind");
    kind.strip_suffix("List").unwrap_or(kind).into()
}

fn version_of(value: &Value) -> Value {
    text(value, "apiVersion").into()
}

/// The fields of a SeccompProfile's spec. Others the API server drops without a word.
const SPEC: [&str; 7] = [
    "allow",
    "base",
    "capabilities",
    "deny",
    "log",
    "nodeSelector",
    "profile",
];

fn from_manifest(name: &str, value: &Value) -> Result<Named, Faulty> {
    let spec = value.get("spec").cloned().unwrap_or_default();
    let spec = if spec.is_null() {
        Value::Object(Map::new())
    } else {
        spec
    };
    let mut fields = spec.as_object().into_iter().flat_map(Map::keys);
    if let Some(other) = fields.find(|field| !SPEC.contains(&field.as_str())) {
        return faulty(
            name,
            &format!("spec.{other}"),
            "is no field of a SeccompProfile".into(),
            &format!("remove it; the fields are {}", SPEC.join(", ")),
        );
    }
    let spec: SeccompProfileSpec = match serde_json::from_value(spec) {
        Ok(spec) => spec,
        Err(error) => {
            let remedy = "see `kubectl explain seccompprofile.spec`";
            return faulty(name, "spec", error.to_string(), remedy);
        }
    };
    match spec.define() {
        Ok(definition) => Ok(Named {
            name: name.to_owned(),
            definition,
            origin: Origin::Object(value.get("metadata").map_or("", |m| text(m, "name")).into()),
        }),
        Err(problems) => Err(Faulty {
            name: name.to_owned(),
            problems,
        }),
    }
}

fn from_spo_manifest(name: &str, value: &Value) -> Result<Named, Faulty> {
    let spec = value.get("spec").and_then(Value::as_object);
    let mut spec: Map<String, Value> = spec.cloned().unwrap_or_default();
    spec.remove("disabled");
    if let Some(base) = spec.remove("baseProfileName") {
        return faulty(
            name,
            "spec.baseProfileName",
            format!("names another profile, {base}, and this command does not know that one"),
            "put the rules of both into one",
        );
    }
    named(
        name.into(),
        "spec",
        seccomp_profile::parse_in_object_as_is(&Value::Object(spec), "spec"),
    )
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
                manifest(
                    "security-profiles-operator.x-k8s.io/v1beta1",
                    "a",
                    &json!({"defaultAction": "SCMP_ACT_LOG", "baseProfileName": "runc-v1.2"}),
                )
                .to_string(),
                "f: spec.baseProfileName: names another profile, \"runc-v1.2\",",
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
