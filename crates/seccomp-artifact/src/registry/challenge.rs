//! What a registry answers to somebody unknown: how to become known (RFC 9110, section 11.6.1).

use std::collections::BTreeMap;

/// How a registry wants to know who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    /// With each request.
    Basic,
    /// By a token that another server gives.
    Bearer {
        /// Where.
        realm: String,
        /// Whom the token is for.
        service: Option<String>,
        /// What it is for.
        scope: Option<String>,
    },
}

impl Challenge {
    /// The first challenge of a header's value that is understood.
    pub(super) fn read(header: &str) -> Option<Self> {
        let (scheme, rest) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return Some(Self::Basic);
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let mut parameters = parameters(rest);
        Some(Self::Bearer {
            realm: parameters.remove("realm")?,
            service: parameters.remove("service"),
            scope: parameters.remove("scope"),
        })
    }
}

/// `name="value, with commas", name=value`
fn parameters(text: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut rest = text;
    while let Some((name, after)) = rest.split_once('=') {
        let name = name.trim_start_matches([',', ' ']).trim();
        let after = after.trim_start();
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => unquoted(quoted),
            None => {
                let end = after.find([',', ' ']).unwrap_or(after.len());
                (after[..end].to_owned(), &after[end..])
            }
        };
        found.insert(name.to_ascii_lowercase(), value);
        rest = after;
    }
    found
}

/// What stands before the closing quote, and what behind it.
fn unquoted(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return (value, &text[at + 1..]),
            '\\' => value.extend(chars.next().map(|(_, escaped)| escaped)),
            other => value.push(other),
        }
    }
    (value, "")
}

/// A text as it stands in a query.
pub(super) fn encoded(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::new(), |mut all, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            all.push(char::from(byte));
        } else {
            let _ = write!(all, "%{byte:02X}");
        }
        all
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read_as_registries_write_them() {
        let bearer = |realm: &str, service: Option<&str>, scope: Option<&str>| {
            Some(Challenge::Bearer {
                realm: realm.into(),
                service: service.map(Into::into),
                scope: scope.map(Into::into),
            })
        };
        for (header, challenge) in [
            ("Basic realm=\"Registry\"", Some(Challenge::Basic)),
            ("basic", Some(Challenge::Basic)),
            (
                "Bearer realm=\"https://auth.docker.io/token\",service=\"registry.docker.io\",scope=\"repository:a/b:pull,push\"",
                bearer(
                    "https://auth.docker.io/token",
                    Some("registry.docker.io"),
                    Some("repository:a/b:pull,push"),
                ),
            ),
            (
                "bearer  Realm = \"https://x/\\\"t\" , error=invalid_token, service=x",
                bearer("https://x/\"t", Some("x"), None),
            ),
            ("Bearer service=\"x\"", None),
            (
                "Bearer realm=\"unterminated",
                bearer("unterminated", None, None),
            ),
            ("Negotiate", None),
            ("", None),
        ] {
            assert_eq!(Challenge::read(header), challenge, "{header}");
        }
    }

    #[test]
    fn a_query_has_no_characters_of_its_own_meaning() {
        assert_eq!(
            encoded("repository:a/b:pull push&x=ä"),
            "repository%3Aa%2Fb%3Apull%20push%26x%3D%C3%A4"
        );
    }
}
