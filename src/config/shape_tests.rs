#![allow(clippy::unwrap_used)]

use super::*;
use serde_json::json;

fn schema() -> Value {
    json!({
        "type": "object", "additionalProperties": false,
        "properties": {
            "name": { "type": ["string", "null"] },
            "count": { "type": "integer", "minimum": 1, "maximum": 10 },
            "share": { "type": "number", "exclusiveMinimum": 0 },
            "on": { "type": "boolean" },
            "mode": { "$ref": "#/$defs/Mode" },
            "perhaps": { "anyOf": [{ "$ref": "#/$defs/Mode" }, { "type": "null" }] },
            "level": { "enum": ["LOW", "HIGH"] },
            "inner": { "type": "object", "additionalProperties": false, "properties": { "deep": { "type": "integer" } } },
            "many": { "type": "array", "items": { "type": "integer" } },
            "free": { "type": "object", "additionalProperties": true }
        },
        "$defs": { "Mode": { "oneOf": [{ "const": "FAST", "description": "x" }, { "const": "SLOW" }] } }
    })
}

fn checked(value: Value) -> (Vec<Problem>, Value) {
    let Value::Object(mut object) = value else { panic!("an object is wanted") };
    let problems = check(&schema(), &mut object);
    (problems, Value::Object(object))
}

#[test]
fn what_fits_is_left_as_it_is() {
    let value = json!({
        "name": "x", "count": 3, "share": 0.5, "on": true, "mode": "FAST", "perhaps": "SLOW", "level": "LOW", "inner": { "deep": -1 },
        "many": [1, 2], "free": { "any": [null, "${X}"] }
    });
    assert_eq!(checked(value.clone()), (vec![], value));
}

#[test]
fn scalars_are_taken_as_java_takes_them() {
    let (problems, value) = checked(json!({
        "name": 7, "count": " 3 ", "share": "0.5", "on": "True", "inner": { "deep": "-4" }, "many": ["1", 2.0], "mode": null
    }));
    assert_eq!(problems, vec![]);
    assert_eq!(value, json!({ "name": "7", "count": 3, "share": 0.5, "on": true, "inner": { "deep": -4 }, "many": [1, 2] }));
}

#[test]
fn each_wrong_value_is_named_with_its_path_and_taken_out() {
    for (value, path, cause, hint) in [
        (json!({ "cuont": 3 }), "cuont", "not known", "`count`"),
        (json!({ "colour": 3 }), "colour", "not known", "the keys are `"),
        (json!({ "inner": { "depe": 3 } }), "inner.depe", "not known", "`deep`"),
        (json!({ "count": 11 }), "count", "11 is out of bounds", "from 1 to 10"),
        (json!({ "count": "0" }), "count", "0 is out of bounds", "from 1 to 10"),
        (json!({ "share": 0 }), "share", "out of bounds", "positive"),
        (json!({ "count": 1.5 }), "count", "must be a whole number, not a number", "without a fraction"),
        (json!({ "count": "many" }), "count", "must be a whole number, not a text", ""),
        (json!({ "name": { "a": 1 } }), "name", "must be a text, not an object", "as JSON text in quotes"),
        (json!({ "name": ["a"] }), "name", "must be a text, not a list", "with commas"),
        (json!({ "free": "{}" }), "free", "must be an object, not a text", "without quotes"),
        (json!({ "mode": "fast" }), "mode", "`fast` is not known here", "did you mean `FAST`? there are `FAST`, `SLOW`"),
        (json!({ "perhaps": "SLWO" }), "perhaps", "not known here", "`SLOW`"),
        (json!({ "level": "MIDDLING" }), "level", "not known here", "there are `LOW`, `HIGH`"),
        (json!({ "level": 1 }), "level", "must be one of `LOW`, `HIGH`, not a number", ""),
        (json!({ "many": [1, "x"] }), "many[1]", "must be a whole number", ""),
    ] {
        let (problems, left) = checked(value.clone());
        assert_eq!(problems.len(), 1, "{value}: {problems:?}");
        assert_eq!(checked(left.clone()), (vec![], left), "{value}");
        assert_eq!(problems[0].path, path, "{value}");
        assert!(problems[0].cause.contains(cause), "{value}: {}", problems[0].cause);
        assert!(problems[0].hint.as_deref().unwrap_or_default().contains(hint), "{value}: {:?}", problems[0].hint);
    }
}

#[test]
fn what_is_left_always_fits() {
    let (problems, left) =
        checked(json!({ "cuont": 3, "colour": 1, "share": "much", "inner": { "depe": 1, "deep": "x" }, "many": [1, "x"], "name": "x" }));
    assert_eq!(problems.len(), 6);
    // The misspelt key stands in its right place, so that it is not missed as well.
    assert_eq!(left, json!({ "name": "x", "count": 3, "inner": {} }));
    assert_eq!(checked(left.clone()), (vec![], left));
}

#[test]
fn a_misspelt_key_never_pushes_out_the_right_one() {
    let (problems, left) = checked(json!({ "count": 3, "cuont": 4 }));
    assert_eq!(problems.len(), 1);
    assert_eq!(left, json!({ "count": 3 }));
}
