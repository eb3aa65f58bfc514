//! How the filter is loaded: flags, and the listener that answers for `SCMP_ACT_NOTIFY`.

use serde_json::{Map, Value};

use super::Reader;
use super::messages::{not_a, quoted};
use crate::oci::{Flag, Flags, Listener};
use crate::problem::Path;

impl Reader {
    pub(super) fn flags(&mut self, map: &Map<String, Value>, path: &Path<'_>) -> Flags {
        let here = path.key("flags");
        let mut flags = Flags::EMPTY;
        for (i, value) in self.list(map, path, "flags").iter().enumerate() {
            let here = here.index(i);
            let Some(text) =
                self.string(value, &here, "a flag, such as \"SECCOMP_FILTER_FLAG_LOG\"")
            else {
                continue;
            };
            match Flag::named(text) {
                Some(flag) => flags = flags.with(flag),
                None => self.problems.add(&here, || {
                    not_a(
                        text,
                        "a flag that runtimes know",
                        &Flag::ALL.iter().map(|flag| flag.name()).collect::<Vec<_>>(),
                        "SECCOMP_FILTER_FLAG_",
                    )
                }),
            }
        }
        flags
    }

    pub(super) fn listener(
        &mut self,
        map: &Map<String, Value>,
        path: &Path<'_>,
    ) -> Option<Listener> {
        let mut text = |key| {
            let value = map.get(key).filter(|value| !value.is_null())?;
            self.string(value, &path.key(key), "a string")
                .filter(|text| !text.is_empty())
                .map(str::to_owned)
        };
        let (socket, metadata) = (text("listenerPath"), text("listenerMetadata"));
        match socket {
            Some(path) if path.starts_with('/') => Some(Listener { path, metadata }),
            Some(socket) => {
                self.problems.add(&path.key("listenerPath"), || {
                    (
                        format!("{} is not an absolute path", quoted(&socket)),
                        "write the path of a socket on the node".into(),
                    )
                });
                None
            }
            None => {
                if metadata.is_some() {
                    self.problems.add(&path.key("listenerMetadata"), || {
                        (
                            "has nobody to go to: there is no listenerPath".into(),
                            "remove it, or state listenerPath".into(),
                        )
                    });
                }
                None
            }
        }
    }
}
