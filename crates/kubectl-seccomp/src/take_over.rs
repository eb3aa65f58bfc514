//! SeccompProfiles of other operators as this one's: the documents as they are, and in words what is left out. What they hold profiles to
//! becomes ceilings (`allow_list`).

use std::fmt::Write as _;

use serde_json::Value;

use super::convert;
use super::document::{Faulty, Foreign, Named, Origin};
use super::text::visible;
use super::{Failure, Findings, allow_list, output};
use seccomp_operator_api::ProfileName;
use seccomp_profile::parse_in_object;

/// Whether it is another operator's.
pub fn is_foreign(found: &Result<Named, Faulty>) -> bool {
    found
        .as_ref()
        .is_ok_and(|named| matches!(named.origin, Origin::Foreign(_)))
}

/// Prints a manifest for each of them, and of each list of allowed calls a ceiling; `name` is for the only one.
pub fn all(
    found: Vec<Result<Named, Faulty>>,
    lists: &[Value],
    name: Option<&str>,
) -> Result<Findings, Failure> {
    let number = found.len() + lists.len();
    if name.is_some() && number > 1 {
        return Err(Failure::Usage(format!(
            "--name is for one object, and there are {number}"
        )));
    }
    let (mut manifests, mut wrong) = (Vec::new(), String::new());
    for found in found {
        let made = found.and_then(|named| match &named.origin {
            Origin::Foreign(foreign) => one(&named.name, foreign, name).map(Some),
            _ => Ok(None),
        });
        match made {
            Ok(Some((name, document))) => {
                if !manifests.is_empty() {
                    manifests.extend_from_slice(b"---\n");
                }
                manifests.extend(convert::manifest_of(&name, document)?);
            }
            Ok(None) => {}
            Err(faulty) => wrong += &faulty.to_string(),
        }
    }
    for list in lists {
        match allow_list::ceiling(list, name) {
            Ok((name, spec)) => {
                if !manifests.is_empty() {
                    manifests.extend_from_slice(b"---\n");
                }
                manifests.extend(convert::object("SeccompCeiling", &name, &spec)?);
            }
            Err(faulty) => wrong += &faulty.to_string(),
        }
    }
    output::print(manifests)?;
    Ok(if wrong.is_empty() {
        Findings::None
    } else {
        Findings::Some(wrong)
    })
}

/// The name and the document of its manifest; says what is left out.
fn one(
    input: &str,
    foreign: &Foreign,
    name: Option<&str>,
) -> Result<(String, serde_json::Value), Faulty> {
    let faulty = |problems| Faulty {
        name: input.to_owned(),
        problems,
    };
    let name = name.unwrap_or(&foreign.name);
    if let Err(error) = ProfileName::parse(name) {
        let problem = seccomp_profile::Problem {
            path: "metadata.name".into(),
            reason: error.to_string(),
            remedy: "give another with --name".into(),
        };
        return Err(faulty(problem.into()));
    }
    let (document, lost) = foreign.carried();
    parse_in_object(&document, &foreign.at).map_err(faulty)?;
    let mut said = String::new();
    for lost in lost {
        let _ = writeln!(said, "note: {}: {}", visible(input), visible(&lost));
    }
    if let Some(base) = &foreign.base {
        let _ = writeln!(
            said,
            "note: {}: it has the rules of {} now, and does not follow it",
            visible(input),
            visible(base)
        );
    }
    let _ = writeln!(
        said,
        "note: {}: pods name it as profiles/{name}.json",
        visible(input)
    );
    eprint!("{said}");
    Ok((name.to_owned(), document))
}
