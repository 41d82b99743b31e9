//! The two general forms of a plugin's parameters: a JSON object, or `key:value` pairs by commas.

use std::collections::BTreeMap;

/// Reads either form; pairs are split at their first colon.
pub(super) fn parse(text: &str) -> Result<BTreeMap<String, String>, String> {
    let text = text.trim();
    if text.starts_with('{') {
        let values: BTreeMap<String, serde_json::Value> =
            serde_json::from_str(text).map_err(|error| format!("the parameters are not a JSON object of strings: {error}"))?;
        return Ok(values.into_iter().map(|(name, value)| (name, value_text(value))).collect());
    }
    let mut pairs = BTreeMap::new();
    for pair in text.split(',').filter(|pair| !pair.trim().is_empty()) {
        // The pair itself may be a secret and is not repeated.
        let (name, value) = pair.split_once(':').ok_or("the parameters are neither a JSON object nor `key:value` pairs")?;
        pairs.insert(name.trim().to_owned(), value.trim().to_owned());
    }
    Ok(pairs)
}

fn value_text(value: serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => text,
        serde_json::Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// A required parameter.
pub(super) fn required(params: &BTreeMap<String, String>, name: &str) -> Result<String, String> {
    params.get(name).filter(|value| !value.is_empty()).cloned().ok_or_else(|| format!("`{name}` is missing"))
}

/// The path of a `file:` URI in its usual spellings.
pub(super) fn file_path(uri: &str) -> Option<&str> {
    let rest = uri.strip_prefix("file:")?;
    Some(match rest.strip_prefix("//") {
        Some(with_host) => with_host.strip_prefix("localhost").unwrap_or(with_host),
        None => rest,
    })
}
