//! One value of a JSON text, at a pointer (RFC 6901).
//!
//! The text is walked, not built: as a tree it would take a hundred times its size in memory.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// The value at `pointer`, if there is one: the text of a string, anything else as it is written.
pub fn find(json: &[u8], pointer: &str) -> Result<Option<String>, serde_json::Error> {
    let path: Vec<String> = pointer
        .split('/')
        .skip(1)
        .map(|part| part.replace("~1", "/").replace("~0", "~"))
        .collect();
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let found = At(&path).deserialize(&mut deserializer)?;
    deserializer.end()?;
    found.map(|raw| text(&raw)).transpose()
}

fn text(raw: &RawValue) -> Result<String, serde_json::Error> {
    if raw.get().starts_with('"') {
        return serde_json::from_str(raw.get());
    }
    Ok(raw.get().to_owned())
}

/// The rest of the way.
struct At<'a>(&'a [String]);

impl<'de> DeserializeSeed<'de> for At<'_> {
    type Value = Option<Box<RawValue>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        match self.0.split_first() {
            None => serde::Deserialize::deserialize(deserializer).map(Some),
            Some((next, rest)) => deserializer.deserialize_any(Level { next, rest }),
        }
    }
}

/// One step of the way: into an object or an array; anything else ends it.
struct Level<'a> {
    next: &'a str,
    rest: &'a [String],
}

impl<'de> Visitor<'de> for Level<'_> {
    type Value = Option<Box<RawValue>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(key) = map.next_key::<String>()? {
            // Of two equal keys the last one counts, as for every parser.
            if key == self.next {
                found = map.next_value_seed(At(self.rest))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let wanted: Option<usize> = self.next.parse().ok();
        let mut found = None;
        for i in 0.. {
            let more = if Some(i) == wanted {
                let value = seq.next_element_seed(At(self.rest))?;
                let more = value.is_some();
                found = value.flatten();
                more
            } else {
                seq.next_element::<IgnoredAny>()?.is_some()
            };
            if !more {
                break;
            }
        }
        Ok(found)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn what_is_found_is_what_a_tree_has_there(json in "[\\[\\]{}:,\"ab0-2 ]{0,24}", pointer in "(/[ab012]){0,3}") {
            let tree = serde_json::from_str::<serde_json::Value>(&json);
            let found = find(json.as_bytes(), &pointer);
            proptest::prop_assert_eq!(tree.is_ok(), found.is_ok());
            if let (Ok(tree), Ok(found)) = (tree, found) {
                let value = tree.pointer(&pointer);
                proptest::prop_assert_eq!(value.is_some(), found.is_some(), "{}", json);
                if let (Some(serde_json::Value::String(text)), Some(found)) = (value, found) {
                    proptest::prop_assert_eq!(text, &found);
                }
            }
        }
    }

    #[test]
    fn values_are_found_wherever_they_are() {
        let json = br#"{"a":[1,{"b/c":"x","~":null}],"a":[0,{"b/c":"y","n":{"d": 1.50}}]}"#;
        let found = |pointer| find(json, pointer).unwrap();
        assert_eq!(found("/a/1/b~1c").as_deref(), Some("y"));
        assert_eq!(found("/a/0").as_deref(), Some("0"));
        assert_eq!(found("/a/1/n").as_deref(), Some("{\"d\": 1.50}"));
        assert_eq!(found("/a/2"), None);
        assert_eq!(found("/a/0/x"), None);
        assert_eq!(found("/a/1/~0"), None);
        assert!(find(b"{} x", "/a").is_err());
        assert!(find(b"", "").is_err());
    }
}
