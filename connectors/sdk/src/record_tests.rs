//! Properties come out as they went in.

use super::Properties;
use proptest::prelude::*;

proptest! {
    #[test]
    fn properties_come_out_as_they_went_in(pairs in prop::collection::vec((".{0,9}", prop_oneof![".{0,70}", ".{4000,4200}"]), 0..9)) {
        let properties: Properties = pairs.iter().map(|(name, value)| (name, value)).collect();
        let size: usize = pairs.iter().map(|(name, value)| Properties::size_of(name, value)).sum();
        prop_assert_eq!(properties.size(), size);
        let out: Vec<(String, String)> = properties.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        prop_assert_eq!(properties.is_empty(), pairs.is_empty());
        prop_assert_eq!(out, pairs);
    }
}

#[test]
fn properties_are_told_by_name_and_value() {
    let properties: Properties = [("a", "1"), ("b", "")].into_iter().collect();
    assert_eq!(format!("{properties:?}"), r#"{"a": "1", "b": ""}"#);
}
