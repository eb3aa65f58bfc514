//! Docker's `includes` and `excludes`.

use serde_json::{Map, Value};

use super::Reader;
use super::messages::{not_a, quoted};
use crate::arch::Arch;
use crate::capability::{self, Capability};
use crate::document::Filter;
use crate::problem::Path;
use crate::target::KernelVersion;

const FILTER: &[&str] = &["caps", "arches", "minKernel"];

impl Reader {
    pub(super) fn filter(
        &mut self,
        map: &Map<String, Value>,
        path: &Path<'_>,
        key: &str,
    ) -> Filter {
        let here = path.key(key);
        let Some(value) = map.get(key).filter(|value| !value.is_null()) else {
            return Filter::NONE;
        };
        let Some(map) = self.object(value, &here, "caps, arches and minKernel") else {
            return Filter::NONE;
        };
        self.fields(map, &here, FILTER);
        let mut filter = Filter::NONE;
        let caps = here.key("caps");
        for (i, value) in self.list(map, &here, "caps").iter().enumerate() {
            let here = caps.index(i);
            let Some(text) = self.string(value, &here, "a capability, such as \"CAP_SYS_ADMIN\"")
            else {
                continue;
            };
            match Capability::named(text).filter(|_| text.starts_with("CAP_")) {
                Some(capability) => filter.capabilities = filter.capabilities.with(capability),
                None => self.problems.add(&here, || {
                    not_a(text, "a capability", capability::NAMES, "CAP_")
                }),
            }
        }
        let arches = here.key("arches");
        for (i, value) in self.list(map, &here, "arches").iter().enumerate() {
            let here = arches.index(i);
            let Some(text) = self.string(value, &here, "an architecture, such as \"amd64\"") else {
                continue;
            };
            match Arch::from_native_name(text) {
                Some(arch) => filter.arches = filter.arches.with(arch),
                None => self.problems.add(&here, || {
                    let names = Arch::ALL
                        .iter()
                        .map(|arch| arch.native_name())
                        .collect::<Vec<_>>();
                    let meant = Arch::named(text).or_else(|| {
                        Arch::named(&format!("SCMP_ARCH_{}", text.to_ascii_uppercase()))
                    });
                    match meant.or_else(|| Arch::from_node(text)) {
                        Some(arch) => (
                            format!(
                                "{} is not how this field names an architecture",
                                quoted(text)
                            ),
                            format!("write {:?}", arch.native_name()),
                        ),
                        None => not_a(text, "an architecture", &names, ""),
                    }
                }),
            }
        }
        let min_kernel = here.key("minKernel");
        if let Some(value) = map.get("minKernel").filter(|value| !value.is_null())
            && let Some(text) = self
                .string(value, &min_kernel, "a kernel version, such as \"4.8\"")
                .filter(|text| !text.is_empty())
        {
            filter.min_kernel = KernelVersion::from_min_kernel(text);
            if filter.min_kernel.is_none() {
                self.problems.add(&min_kernel, || {
                    (
                        format!("{} is not a kernel version", quoted(text)),
                        "write two numbers up to 255, such as \"4.8\"".into(),
                    )
                });
            }
        }
        if filter != Filter::NONE {
            self.docker_only(&here);
        }
        filter
    }
}
