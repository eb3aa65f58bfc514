//! A test file: which profile, on which nodes, and what is expected of calls. Its schema is what `kubectl seccomp schema test` prints.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{IntoDeserializer as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::call::Calls;
use super::expect::Expected;
use crate::machine;
use crate::target;
use seccomp_profile::{Arch, CapabilitySet, KernelVersion, Loader};

/// What is expected of one profile. A file may hold several of these, as YAML documents.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Suite {
    /// The profile: a file, from the folder of this one, or the name of a built-in. A profile document, a SeccompProfile manifest, or
    /// whatever else `kubectl seccomp explain` reads.
    pub profile: String,
    /// The name of the SeccompProfile, where the file holds several.
    pub name: Option<String>,
    /// Files with SeccompProfiles that it has as its base.
    #[serde(default)]
    pub with: Vec<String>,
    /// The nodes and containers of all cases that say nothing else.
    #[serde(default)]
    pub target: TestTarget,
    /// What is expected.
    #[schemars(length(min = 1))]
    pub cases: Vec<Case>,
}

/// Calls, and what happens to each of them.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Case {
    /// What the case is about, for reports.
    pub name: Option<String>,
    /// The calls.
    pub call: OneOrMany<Calls>,
    /// What happens to each of them, for all arguments that are not stated.
    pub expect: Word<Expected>,
    /// The nodes and containers.
    #[serde(default)]
    pub target: TestTarget,
}

/// A kind of node and of container. What is not stated does not depend on the machine that runs the test.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct TestTarget {
    /// The node's architectures, e.g. amd64 or [amd64, arm64]; the case must hold on each [default: amd64].
    pub arch: Option<OneOrMany<Word<ArchWord>>>,
    /// Through which of the node's entries into the kernel programs make the call: `native`, `all` that the profile names, or architectures
    /// such as x86 and x32 [default: native].
    pub abi: Option<OneOrMany<Word<Abi>>>,
    /// The node's kernel, in quotes, e.g. "5.15" [default: "6.12"].
    pub kernel: Option<Word<KernelWord>>,
    /// The container's capabilities, e.g. `[default, SYS_ADMIN]`: names, `default` for those that runtimes give, `all`, `none` [default:
    /// what the SeccompProfile says, or `default`].
    pub capabilities: Option<OneOrMany<Word<CapabilityWord>>>,
    /// The container runtime that loads the filter: runc, crun or youki, and its version if that matters, e.g. runc=1.1.5 [default: runc].
    pub runtime: Option<Word<RuntimeWord>>,
}

impl TestTarget {
    /// What a case says, and for the rest what its suite says.
    pub fn or(&self, suite: &Self) -> Self {
        Self {
            arch: self.arch.clone().or_else(|| suite.arch.clone()),
            abi: self.abi.clone().or_else(|| suite.abi.clone()),
            kernel: self.kernel.or(suite.kernel),
            capabilities: self
                .capabilities
                .clone()
                .or_else(|| suite.capabilities.clone()),
            runtime: self.runtime.or(suite.runtime),
        }
    }

    /// The node's architectures.
    pub fn arches(&self) -> Vec<Arch> {
        match &self.arch {
            Some(arches) => arches.iter().map(|arch| arch.0.0).collect(),
            None => vec![Arch::X86_64],
        }
    }

    /// The node's kernel.
    pub fn kernel(&self) -> KernelVersion {
        self.kernel
            .map_or(KernelVersion::CURRENT, |kernel| kernel.0.0)
    }

    /// The container's capabilities, if they are stated.
    pub fn capabilities(&self) -> Option<CapabilitySet> {
        let words = self.capabilities.as_ref()?;
        Some(words.iter().flat_map(|word| word.0.0.iter()).collect())
    }

    /// The runtime, if it is stated.
    pub fn runtime(&self) -> Option<Loader> {
        self.runtime.map(|runtime| runtime.0.0)
    }
}

/// One text that stands for something, or a list.
#[derive(Clone, Debug)]
pub struct OneOrMany<T>(Vec<T>);

impl<T> OneOrMany<T> {
    /// All of them.
    pub fn iter(&self) -> std::slice::Iter<'_, T> {
        self.0.iter()
    }
}

/// By hand: an untagged enum says nothing of what is wrong with a text.
impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Texts<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Texts<T> {
            type Value = OneOrMany<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a list of texts")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
                T::deserialize(text.into_deserializer()).map(|one| OneOrMany(vec![one]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut texts: A) -> Result<Self::Value, A::Error> {
                let mut all = Vec::new();
                while let Some(one) = texts.next_element()? {
                    all.push(one);
                }
                if all.is_empty() {
                    return Err(serde::de::Error::invalid_length(0, &"at least one"));
                }
                Ok(OneOrMany(all))
            }
        }

        deserializer.deserialize_any(Texts(PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for OneOrMany<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("OneOrMany{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<T>();
        json_schema!({"anyOf": [one, {"type": "array", "minItems": 1, "items": one}]})
    }
}

/// A text that stands for something, and is read when the file is.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String", bound = "T: Words")]
pub struct Word<T>(pub T);

/// What can be written as a text.
pub trait Words: Sized {
    /// The name of its schema.
    const NAME: &'static str;

    /// What the text stands for, or why for nothing.
    fn read(text: &str) -> Result<Self, String>;

    /// What may be written.
    fn schema() -> Schema;
}

impl<T: Words> TryFrom<String> for Word<T> {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        T::read(&text).map(Self)
    }
}

impl<T: Words> JsonSchema for Word<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        T::NAME.into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        T::schema()
    }
}

/// A node's architecture.
#[derive(Clone, Copy, Debug)]
pub struct ArchWord(pub Arch);

impl Words for ArchWord {
    const NAME: &'static str = "Architecture";

    fn read(text: &str) -> Result<Self, String> {
        machine::argument(text).map(Self)
    }

    fn schema() -> Schema {
        json_schema!({"type": "string", "examples": ["amd64", "arm64", "s390x"]})
    }
}

/// Entries into a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abi {
    /// The node's own.
    Native,
    /// All that the profile names.
    All,
    /// That one.
    One(Arch),
}

impl Words for Abi {
    const NAME: &'static str = "Abi";

    fn read(text: &str) -> Result<Self, String> {
        match text {
            "native" => Ok(Self::Native),
            "all" => Ok(Self::All),
            arch => machine::argument(arch)
                .map(Self::One)
                .map_err(|error| format!("{text:?}: write native or all; {error}")),
        }
    }

    fn schema() -> Schema {
        json_schema!({"type": "string", "examples": ["native", "all", "x86", "x32"]})
    }
}

/// A kernel.
#[derive(Clone, Copy, Debug)]
pub struct KernelWord(pub KernelVersion);

impl Words for KernelWord {
    const NAME: &'static str = "Kernel";

    fn read(text: &str) -> Result<Self, String> {
        target::kernel(text).map(Self)
    }

    fn schema() -> Schema {
        json_schema!({"type": "string", "examples": ["5.15", "6.12"]})
    }
}

/// Capabilities.
#[derive(Clone, Copy, Debug)]
pub struct CapabilityWord(pub CapabilitySet);

impl Words for CapabilityWord {
    const NAME: &'static str = "Capability";

    fn read(text: &str) -> Result<Self, String> {
        let set = target::capabilities(text);
        set.map(Self).map_err(|error| format!("{text:?}: {error}"))
    }

    fn schema() -> Schema {
        json_schema!({"type": "string", "examples": ["default", "none", "all", "SYS_ADMIN"]})
    }
}

/// A container runtime.
#[derive(Clone, Copy, Debug)]
pub struct RuntimeWord(pub Loader);

impl Words for RuntimeWord {
    const NAME: &'static str = "Runtime";

    fn read(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(loader) => Ok(Self(loader)),
            Err(error) => Err(format!("{text:?}: {error}")),
        }
    }

    fn schema() -> Schema {
        json_schema!({"type": "string", "examples": ["runc", "crun", "youki", "runc=1.1.5"]})
    }
}

impl Words for Expected {
    const NAME: &'static str = "Expected";

    fn read(text: &str) -> Result<Self, String> {
        text.parse()
    }

    fn schema() -> Schema {
        let words: Vec<_> = Self::words().collect();
        json_schema!({
            "description": "What happens to the calls: an action, or permitted (allow or log), kill (of the thread or the process), errno (any \
                error), stopped (errno, trap or kill).",
            "anyOf": [
                {"enum": words},
                {"type": "string", "pattern": r"^errno\((E[A-Z0-9]+|[0-9]{1,4})\)$"},
            ],
        })
    }
}

/// The suites of a file.
pub fn parse(text: &str) -> Result<Vec<Suite>, String> {
    let suites = serde_saphyr::from_multiple::<Suite>(text);
    let suites = suites.map_err(|error| {
        let error = error.to_string();
        let first = error.lines().next().unwrap_or_default();
        first.strip_prefix("error: ").unwrap_or(first).to_owned()
    })?;
    if suites.is_empty() {
        return Err("is empty; write the fields profile and cases".into());
    }
    if suites.iter().any(|suite| suite.cases.is_empty()) {
        return Err("cases: is empty, and would pass whatever the profile does; write some".into());
    }
    Ok(suites)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_says_what_and_where_and_a_case_may_say_otherwise() {
        let suites = parse(
            "profile: a.json\ntarget: {arch: [amd64, arm64], runtime: crun}\ncases:\n- {call: chmod, expect: stopped}\n- call: [bpf, '@mount']\n  \
             expect: errno(ENOSYS)\n  target: {kernel: '5.4', capabilities: [default, SYS_ADMIN], abi: [native, x86], arch: amd64}\n---\nprofile: b\ncases: [{call: bpf, expect: log}]",
        )
        .unwrap();
        let [first, second] = &suites[..] else {
            panic!("{suites:?}");
        };
        assert_eq!((first.cases.len(), second.profile.as_str()), (2, "b"));
        let plain = first.cases[0].target.or(&first.target);
        assert_eq!(plain.arches(), [Arch::X86_64, Arch::Aarch64]);
        assert_eq!(plain.kernel(), KernelVersion::CURRENT);
        assert_eq!(plain.capabilities(), None);
        let own = first.cases[1].target.or(&first.target);
        assert_eq!(own.arches(), [Arch::X86_64]);
        assert_eq!(own.kernel().to_string(), "5.4");
        assert_eq!(own.capabilities().map(|set| set.iter().count()), Some(15));
        assert_eq!(own.runtime(), plain.runtime());
        let abis: Vec<_> = own.abi.as_ref().unwrap().iter().map(|abi| abi.0).collect();
        assert_eq!(abis, [Abi::Native, Abi::One(Arch::X86)]);
        assert_eq!(first.cases[1].call.iter().count(), 2);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        for (text, reason) in [
            ("", "is empty"),
            ("profile: a\ncases: []", "cases: is empty"),
            ("profile: a\ncases: []\ncase: []", "case"),
            ("profile: a\ncases: [{call: chmod, expect: deny}]", "deny"),
            (
                "profile: a\ncases: [{call: chmodd, expect: allow}]",
                "chmod",
            ),
            (
                "profile: a\ntarget: {arch: vax}\ncases: [{call: chmod, expect: allow}]",
                "architectures",
            ),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
