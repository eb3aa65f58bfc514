//! Does what a remedy says to a document, as its reader would: from the sentence alone.

use serde_json::{Value, json};

/// The document with all steps of the remedy done. Panics if a step is not understood: then nobody could do it without
/// thinking.
pub fn apply(document: &Value, remedy: &str) -> Value {
    let mut document = document.clone();
    // Of two ways the first.
    let (remedy, _) = remedy.split_once(", or ").unwrap_or((remedy, ""));
    for step in remedy.split(", and ") {
        one(&mut document, step);
    }
    rules(&mut document).retain(|rule| rule["names"] != json!([]));
    document
}

fn rules(document: &mut Value) -> &mut Vec<Value> {
    document["syscalls"].as_array_mut().unwrap()
}

/// `a, b and c`
fn names(text: &str) -> Vec<&str> {
    let parts = text.split(", ").flat_map(|part| part.split(" and "));
    parts.map(str::trim).collect()
}

/// The `names` of `syscalls[3].names`.
fn names_at<'d>(document: &'d mut Value, place: &str) -> &'d mut Vec<Value> {
    let index = place
        .strip_prefix("syscalls[")
        .and_then(|rest| rest.split_once(']'));
    let (index, rest) = index.unwrap_or_else(|| panic!("{place}"));
    assert_eq!(rest, ".names", "{place}");
    let index: usize = index.parse().unwrap();
    rules(document)[index]["names"].as_array_mut().unwrap()
}

fn number(text: &str) -> u64 {
    u64::from_str_radix(text.trim_start_matches("0x"), 16).unwrap()
}

/// The condition of `value 0x1 and valueTwo 0x2`.
fn masked(argument: &str, operands: &str) -> Value {
    let mut words = operands.split_whitespace();
    let mut after = |word: &str| {
        words.find(|found| *found == word);
        number(words.next().unwrap())
    };
    let (value, two) = (after("value"), after("valueTwo"));
    json!({"index": argument.parse::<u8>().unwrap(), "op": "SCMP_CMP_MASKED_EQ", "value": value, "valueTwo": two})
}

/// Takes a call out of all rules that allow it.
fn no_longer_allow(document: &mut Value, call: &str) {
    for rule in rules(document).iter_mut() {
        if rule["action"] == "SCMP_ACT_ALLOW" {
            let names = rule["names"].as_array_mut().unwrap();
            names.retain(|name| name != call);
        }
    }
}

fn one(document: &mut Value, step: &str) {
    if let Some((calls, place)) = step
        .strip_prefix("add ")
        .and_then(|rest| rest.split_once(" to "))
    {
        let list = names_at(document, place);
        list.extend(names(calls).into_iter().map(Value::from));
    } else if let Some((calls, place)) = step
        .strip_prefix("remove ")
        .and_then(|rest| rest.split_once(" from "))
    {
        let calls = names(calls);
        // The reason stands in brackets.
        let (place, _) = place.split_once(" (").unwrap_or((place, ""));
        names_at(document, place).retain(|name| !calls.contains(&name.as_str().unwrap()));
    } else if let Some(calls) = step
        .strip_prefix("answer ")
        .and_then(|rest| rest.strip_suffix(" with ENOSYS (SCMP_ACT_ERRNO with errnoRet 38)"))
    {
        for call in names(calls) {
            no_longer_allow(document, call);
        }
        let rule = json!({"names": names(calls), "action": "SCMP_ACT_ERRNO", "errnoRet": 38});
        rules(document).push(rule);
    } else if let Some((call, rest)) = step
        .strip_prefix("deny ")
        .and_then(|rest| rest.split_once(" where SCMP_CMP_MASKED_EQ of argument "))
    {
        let (argument, operands) = rest.split_once(" holds with ").unwrap();
        for one in operands.split(')').filter(|one| one.contains("valueTwo")) {
            let args = [masked(argument, one)];
            rules(document)
                .push(json!({"names": [call], "action": "SCMP_ACT_ERRNO", "args": args}));
        }
    } else if let Some((call, rest)) = step
        .strip_prefix("allow ")
        .and_then(|rest| rest.split_once(" only where SCMP_CMP_MASKED_EQ of argument "))
    {
        let (argument, operands) = rest.split_once(" with ").unwrap();
        let operands = operands.strip_suffix(" holds").unwrap();
        no_longer_allow(document, call);
        let args = [masked(argument, operands)];
        rules(document).push(json!({"names": [call], "action": "SCMP_ACT_ALLOW", "args": args}));
    } else if let Some(calls) = step.strip_prefix("allow ") {
        let rule = json!({"names": names(calls), "action": "SCMP_ACT_ALLOW"});
        rules(document).push(rule);
    } else {
        panic!("nobody can do this: {step}");
    }
}
