//! All of a text through the [`Reader`], to be compared with what another reader makes of it. For tests and fuzzing only: this
//! recurses.

use serde_json::{Map, Value};

use crate::json::{JsonError, Reader};

/// All of a text, with nothing but numbers passed over.
///
/// # Panics
///
/// If the two ways of reading an object differ.
pub fn whole(text: &[u8]) -> Result<Value, JsonError> {
    let read = |named| {
        let mut reader = Reader::new(text)?;
        let value = value(&mut reader, named)?;
        reader.end()?;
        Ok(value)
    };
    let value = read(true);
    let shown = String::from_utf8_lossy(text);
    assert_eq!(value, read(false), "{shown}");
    value
}

/// Of objects in objects every other is read with its keys as names, for that is another way.
fn value(reader: &mut Reader<'_>, named: bool) -> Result<Value, JsonError> {
    match reader.peek() {
        Some(b'{') => {
            let mut members = Map::new();
            if named {
                reader.object(|reader, key| {
                    let key = String::from_utf8_lossy(key).into_owned();
                    members.insert(key, value(reader, false)?);
                    Ok(())
                })?;
            } else {
                reader.pairs(|reader, key| {
                    members.insert(key.into_owned(), value(reader, true)?);
                    Ok(())
                })?;
            }
            Ok(members.into())
        }
        Some(b'[') => {
            let mut items = Vec::new();
            reader.array(|reader| {
                items.push(value(reader, named)?);
                Ok(())
            })?;
            Ok(items.into())
        }
        Some(b'"') => Ok(reader.string()?.into()),
        Some(b't' | b'f') => Ok(reader.boolean()?.into()),
        _ => Ok(serde_json::from_str(reader.text()?).unwrap_or_default()),
    }
}
