//! Architectures, as a list or as Docker's map.

use serde_json::{Map, Value};

use super::Reader;
use super::messages::{not_a, quoted};
use crate::arch::Arch;
use crate::document::Architectures;
use crate::oci::ArchSet;
use crate::problem::Path;

const ARCH_MAP: &[&str] = &["architecture", "subArchitectures"];

impl Reader {
    pub(super) fn architectures(
        &mut self,
        map: &Map<String, Value>,
        path: &Path<'_>,
    ) -> Architectures {
        let (listed_path, mapped_path) = (path.key("architectures"), path.key("archMap"));
        let listed = self.arches(self.list_ref(map, "architectures"), &listed_path);
        self.check_list(map, path, "architectures");
        let mapped = self.list(map, path, "archMap");
        if !mapped.is_empty() {
            self.docker_only(&mapped_path);
            if !listed.is_empty() {
                self.problems.add(&mapped_path, || {
                    (
                        "stands beside architectures, and Docker takes only one".into(),
                        "remove one of the two".into(),
                    )
                });
            }
        }
        let mut map_of = Vec::new();
        for (i, value) in mapped.iter().enumerate() {
            let here = mapped_path.index(i);
            let Some(entry) =
                self.object(value, &here, "an architecture with its subArchitectures")
            else {
                continue;
            };
            self.fields(entry, &here, ARCH_MAP);
            let native = entry.get("architecture").unwrap_or(&Value::Null);
            let native = self.arch(native, &here.key("architecture"));
            self.check_list(entry, &here, "subArchitectures");
            let others = self.arches(
                self.list_ref(entry, "subArchitectures"),
                &here.key("subArchitectures"),
            );
            if let Some(native) = native {
                map_of.push((native, others.with(native)));
            }
        }
        if mapped.is_empty() {
            Architectures::Listed(listed)
        } else {
            Architectures::Mapped(map_of)
        }
    }

    pub(super) fn arches(&mut self, list: &[Value], path: &Path<'_>) -> ArchSet {
        list.iter()
            .enumerate()
            .filter_map(|(i, value)| self.arch(value, &path.index(i)))
            .collect()
    }

    pub(super) fn arch(&mut self, value: &Value, path: &Path<'_>) -> Option<Arch> {
        let text = self.string(
            value,
            path,
            "the name of an architecture, such as \"SCMP_ARCH_X86_64\"",
        )?;
        let arch = Arch::named(text);
        if arch.is_none() {
            self.problems.add(path, || {
                let bare = text.trim_start_matches("SCMP_ARCH_");
                if bare == "NATIVE" {
                    let reason = format!("{} is not an architecture to runc", quoted(text));
                    return (
                        reason,
                        "remove it: the node's own architecture is always included".into(),
                    );
                }
                let lower = bare.to_ascii_lowercase();
                if let Some(arch) =
                    Arch::from_native_name(&lower).or_else(|| Arch::from_node(&lower))
                {
                    return (
                        format!("{} is not the name of an architecture here", quoted(text)),
                        format!("write \"{arch}\""),
                    );
                }
                let names = Arch::ALL
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>();
                let names: Vec<_> = names.iter().map(String::as_str).collect();
                not_a(
                    text,
                    "an architecture that container runtimes know",
                    &names,
                    "SCMP_ARCH_",
                )
            });
        }
        arch
    }
}
