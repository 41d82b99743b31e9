//! The shape of a JSON value against a JSON Schema: unknown keys, wrong types, values outside a list, numbers out of bounds; all of
//! them at once, each with its path and a hint.
//!
//! Reads the part of JSON Schema that the configuration structs generate. As Java's readers do, it takes numbers and booleans that
//! are written as strings, and scalars where a string belongs. What is wrong is taken out of the value (a misspelt key is put
//! right), so that later checks speak of other things only.

use super::nearest::nearest;
use connector_sdk::Problem;
use serde_json::{Map, Value};

/// Checks `value` against `schema` and makes it fit. Paths are relative to the value.
pub(super) fn check(schema: &Value, value: &mut Map<String, Value>) -> Vec<Problem> {
    let mut checker = Checker { root: schema, problems: Vec::new() };
    checker.object(schema, value, "");
    checker.problems
}

struct Checker<'a> {
    root: &'a Value,
    problems: Vec<Problem>,
}

impl<'a> Checker<'a> {
    fn object(&mut self, schema: &'a Value, value: &mut Map<String, Value>, path: &str) {
        let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return };
        if schema.get("additionalProperties") == Some(&Value::Bool(false)) {
            self.unknown_keys(properties, value, path);
        }
        for (key, schema) in properties {
            // Java's readers take null for absent.
            if value.get(key).is_some_and(Value::is_null) {
                value.remove(key);
            }
            let Some(item) = value.get_mut(key) else { continue };
            let (before, place) = (self.problems.len(), join(path, key));
            self.value(schema, item, &place);
            // What is wrong deeper inside an object was taken out there.
            let in_itself = |problem: &Problem| problem.path == place || problem.path.starts_with(&format!("{place}["));
            if self.problems[before..].iter().any(in_itself) {
                value.remove(key);
            }
        }
    }

    fn unknown_keys(&mut self, properties: &'a Map<String, Value>, value: &mut Map<String, Value>, path: &str) {
        let unknown: Vec<String> = value.keys().filter(|key| !properties.contains_key(key.as_str())).cloned().collect();
        for key in unknown {
            let meant = nearest(&key, properties.keys().map(String::as_str));
            let hint = match meant {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("the keys are {}", list(properties.keys().map(String::as_str))),
            };
            self.problems.push(Problem::new(join(path, &key), "this key is not known").hint(hint));
            let taken = value.remove(&key);
            if let (Some(meant), Some(taken)) = (meant, taken)
                && !value.contains_key(meant)
            {
                value.insert(meant.to_owned(), taken);
            }
        }
    }

    fn value(&mut self, schema: &'a Value, value: &mut Value, path: &str) {
        let schema = self.resolve(schema);
        if let Some(choices) = choices(schema) {
            return self.choice(&choices, value, path);
        }
        let types = types(schema);
        if types.is_empty() {
            return;
        }
        coerce(&types, value);
        let fits = types.iter().any(|kind| is_a(kind, value));
        if !fits {
            let expected: Vec<&str> = types.iter().filter(|kind| **kind != "null").map(|kind| article(kind)).collect();
            let mut problem = Problem::new(path, format!("must be {}, not {}", expected.join(" or "), article_of(value)));
            problem.hint = type_hint(&types, value);
            self.problems.push(problem);
            return;
        }
        match value {
            Value::Object(object) => self.object(schema, object, path),
            Value::Array(items) => {
                if let Some(schema) = schema.get("items") {
                    for (at, item) in items.iter_mut().enumerate() {
                        self.value(schema, item, &format!("{path}[{at}]"));
                    }
                }
            }
            Value::Number(_) => self.bounds(schema, value, path),
            _ => {}
        }
    }

    fn choice(&mut self, choices: &[&str], value: &Value, path: &str) {
        let Some(text) = value.as_str() else {
            let problem = Problem::new(path, format!("must be one of {}, not {}", list(choices.iter().copied()), article_of(value)));
            self.problems.push(problem);
            return;
        };
        if choices.contains(&text) {
            return;
        }
        let hint = match nearest(text, choices.iter().copied()) {
            Some(meant) => format!("did you mean `{meant}`? there are {}", list(choices.iter().copied())),
            None => format!("there are {}", list(choices.iter().copied())),
        };
        self.problems.push(Problem::new(path, format!("`{text}` is not known here")).hint(hint));
    }

    fn bounds(&mut self, schema: &Value, value: &Value, path: &str) {
        let bound = |name: &str| schema.get(name).filter(|bound| bound.is_number());
        let number = value.as_f64().unwrap_or_default();
        let breaks =
            |name: &str, breaks: fn(f64, f64) -> bool| bound(name).is_some_and(|bound| breaks(number, bound.as_f64().unwrap_or_default()));
        if breaks("minimum", |number, least| number < least) || breaks("maximum", |number, most| number > most) {
            let hint = match (bound("minimum"), bound("maximum")) {
                (Some(least), Some(most)) => format!("write a number from {least} to {most}"),
                (Some(least), None) => format!("write a number from {least} up"),
                (None, Some(most)) => format!("write a number up to {most}"),
                (None, None) => return,
            };
            self.problems.push(Problem::new(path, format!("{value} is out of bounds")).hint(hint));
        } else if breaks("exclusiveMinimum", |number, least| number <= least) {
            self.problems.push(Problem::new(path, format!("{value} is out of bounds")).hint("write a positive number"));
        }
    }

    /// Follows references, and takes the branch of an optional value that is not null.
    fn resolve(&self, mut schema: &'a Value) -> &'a Value {
        loop {
            let target = schema.get("$ref").and_then(Value::as_str).and_then(|reference| reference.strip_prefix('#'));
            let optional = schema.get("anyOf").and_then(Value::as_array);
            schema = match (target.and_then(|pointer| self.root.pointer(pointer)), optional) {
                (Some(target), _) => target,
                (None, Some(branches)) => match branches.iter().find(|branch| branch.get("type") != Some(&Value::from("null"))) {
                    Some(branch) => branch,
                    None => return schema,
                },
                (None, None) => return schema,
            };
        }
    }
}

/// The values of an enumeration: a plain list, or one documented constant each.
fn choices(schema: &Value) -> Option<Vec<&str>> {
    let (values, documented) = match (schema.get("enum"), schema.get("oneOf")) {
        (Some(values), _) => (values, false),
        (None, Some(values)) => (values, true),
        (None, None) => return None,
    };
    let mut choices = Vec::new();
    for value in values.as_array()? {
        match (documented, value.get("const"), value.get("enum")) {
            (true, Some(constant), _) => choices.extend(constant.as_str()),
            (true, None, Some(constants)) => choices.extend(constants.as_array()?.iter().filter_map(Value::as_str)),
            _ => choices.extend(value.as_str()),
        }
    }
    (!choices.is_empty()).then_some(choices)
}

fn types(schema: &Value) -> Vec<&str> {
    match schema.get("type") {
        Some(Value::String(kind)) => vec![kind],
        Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

fn is_a(kind: &str, value: &Value) -> bool {
    match kind {
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "object" => value.is_object(),
        "array" => value.is_array(),
        "null" => value.is_null(),
        _ => true,
    }
}

/// Makes a scalar fit where nothing is lost by it.
fn coerce(types: &[&str], value: &mut Value) {
    if types.iter().any(|kind| is_a(kind, value)) {
        return;
    }
    let wanted = |kind| types.contains(&kind);
    let better = match &*value {
        Value::String(text) => {
            let text = text.trim();
            let integer = || text.parse::<u64>().map(Value::from).or_else(|_| text.parse::<i64>().map(Value::from)).ok();
            let number = || text.parse::<f64>().ok().and_then(serde_json::Number::from_f64).map(Value::Number);
            let boolean = || text.to_ascii_lowercase().parse::<bool>().ok().map(Value::Bool);
            let or = |wants: bool, found: &dyn Fn() -> Option<Value>| if wants { found() } else { None };
            or(wanted("integer") || wanted("number"), &integer)
                .or_else(|| or(wanted("number"), &number))
                .or_else(|| or(wanted("boolean"), &boolean))
        }
        Value::Number(number) if wanted("integer") => {
            // 5.0 is 5, as YAML and some tools write it; 5.5 is not.
            let whole = number.as_f64().filter(|float| float.fract() == 0.0 && float.abs() < 9e15);
            whole.and_then(|float| format!("{float:.0}").parse::<i64>().ok()).map(Value::from)
        }
        Value::Number(number) if wanted("string") => Some(Value::String(number.to_string())),
        Value::Bool(on) if wanted("string") => Some(Value::String(on.to_string())),
        _ => None,
    };
    if let Some(better) = better {
        *value = better;
    }
}

fn type_hint(types: &[&str], value: &Value) -> Option<String> {
    match value {
        Value::Object(_) if types.contains(&"string") => {
            Some("write it as JSON text in quotes: `\"{\\\"key\\\":\\\"value\\\"}\"`".to_owned())
        }
        Value::Array(_) if types.contains(&"string") => Some("write the items in one text, with commas".to_owned()),
        Value::String(_) if types.contains(&"object") => Some("write an object in braces, without quotes around it".to_owned()),
        Value::Number(_) if types.contains(&"integer") => Some("write it without a fraction".to_owned()),
        _ => None,
    }
}

fn article(kind: &str) -> &'static str {
    match kind {
        "string" => "a text",
        "integer" => "a whole number",
        "number" => "a number",
        "boolean" => "true or false",
        "object" => "an object",
        "array" => "a list",
        _ => "null",
    }
}

fn article_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

#[cfg(test)]
#[path = "shape_tests.rs"]
mod tests;
