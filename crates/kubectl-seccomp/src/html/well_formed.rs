//! Whether a page is well-formed: for tests.

use std::collections::{BTreeMap, BTreeSet};

/// What is on a page.
#[derive(Debug, Default)]
pub struct Seen {
    /// The elements, and how often each is there.
    pub tags: BTreeMap<String, usize>,
    ids: BTreeSet<String>,
    referred: Vec<String>,
}

/// Elements that have no end.
const VOID: [&str; 3] = ["meta", "br", "input"];

/// Reads a page: tags are balanced, attributes quoted and of known names, ids unique, and what refers to one finds it; headings follow each
/// other without a gap.
pub fn check(html: &str) -> Result<Seen, String> {
    let mut rest = html.strip_prefix("<!doctype html>\n").ok_or("no doctype")?;
    let mut open = Vec::<String>::new();
    let mut seen = Seen::default();
    let mut level = 0;
    while let Some(start) = rest.find('<') {
        if rest[..start].contains('>') {
            return Err(format!("a bare > in {:?}", &rest[..start]));
        }
        let end = rest[start..].find('>').ok_or("a tag without an end")? + start;
        let tag = &rest[start + 1..end];
        rest = &rest[end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            let last = open.pop();
            if last.as_deref() != Some(name) {
                return Err(format!("</{name}> ends {last:?}"));
            }
            continue;
        }
        let (name, attributes) = tag.split_once(' ').unwrap_or((tag, ""));
        if !name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        {
            return Err(format!("<{tag}> is no tag of ours"));
        }
        read_attributes(attributes, &mut seen).map_err(|error| format!("<{tag}>: {error}"))?;
        *seen.tags.entry(name.to_owned()).or_default() += 1;
        if let Some(heading) = name.strip_prefix('h').and_then(|n| n.parse::<u8>().ok()) {
            if heading > level + 1 {
                return Err(format!("h{heading} after h{level}"));
            }
            level = heading;
        }
        // Text of these is not markup.
        if matches!(name, "style" | "script") {
            let close = format!("</{name}>");
            let end = rest.find(&close).ok_or("text without an end")?;
            rest = &rest[end + close.len()..];
        } else if !VOID.contains(&name) {
            open.push(name.to_owned());
        }
    }
    if !open.is_empty() {
        return Err(format!("never ended: {open:?}"));
    }
    match seen.referred.iter().find(|id| !seen.ids.contains(*id)) {
        Some(id) => Err(format!("there is no {id:?}")),
        None => Ok(seen),
    }
}

fn read_attributes(attributes: &str, seen: &mut Seen) -> Result<(), String> {
    const KNOWN: [&str; 20] = [
        "lang",
        "charset",
        "http-equiv",
        "content",
        "name",
        "class",
        "id",
        "href",
        "scope",
        "role",
        "tabindex",
        "aria-label",
        "aria-labelledby",
        "aria-hidden",
        "data-key",
        "x",
        "width",
        "height",
        "title",
        "type",
    ];
    let mut rest = attributes.trim();
    while !rest.is_empty() {
        let (name, value) = rest.split_once("=\"").ok_or("no quoted value")?;
        let (value, more) = value.split_once('"').ok_or("an open quote")?;
        if !KNOWN.contains(&name) {
            return Err(format!("the attribute {name:?} is none of ours"));
        }
        match name {
            "id" if !seen.ids.insert(value.to_owned()) => return Err("an id twice".into()),
            "aria-labelledby" => seen.referred.push(value.to_owned()),
            "href" => {
                let id = value.strip_prefix('#').ok_or("a link to elsewhere")?;
                seen.referred.push(id.to_owned());
            }
            _ => {}
        }
        rest = more.trim();
    }
    Ok(())
}

#[test]
fn what_is_not_well_formed_is_found() {
    let page = |body: &str| check(&format!("<!doctype html>\n<html>{body}</html>"));
    assert!(page("<h1 id=\"a\">x</h1><a href=\"#a\">y</a><meta charset=\"utf-8\">").is_ok());
    for wrong in [
        "<p>",
        "</p>",
        "<p></b>",
        "a > b",
        "<p id=x></p>",
        "<p onclick=\"x\"></p>",
        "<a href=\"#a\"></a>",
        "<a href=\"http:x\"></a>",
        "<p id=\"a\"></p><p id=\"a\"></p>",
        "<h2>x</h2>",
        "<B></B>",
    ] {
        assert!(page(wrong).is_err(), "{wrong}");
    }
}
