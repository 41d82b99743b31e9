//! The known name that somebody meant who wrote another one.

/// The nearest of `known` to `name`, when one is near enough to be meant. Case does not count.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    const NEAR_ENOUGH: f64 = 0.88;
    let wanted = folded(name);
    known
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(&wanted, &folded(candidate)), candidate))
        .filter(|(nearness, _)| *nearness >= NEAR_ENOUGH)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, candidate)| candidate)
}

/// Lower case, without what separates words: `source-config`, `source_config` and `sourceConfig` are the same name.
fn folded(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_understood_and_other_names_are_not() {
        let known = ["awsRegion", "awsEndpoint", "awsKinesisStreamName", "useEnhancedFanOut"];
        assert_eq!(nearest("awsregion", known), Some("awsRegion"));
        assert_eq!(nearest("awsRegoin", known), Some("awsRegion"));
        assert_eq!(nearest("use_enhanced_fan_out", known), Some("useEnhancedFanOut"));
        assert_eq!(nearest("awsKinesisStream", known), Some("awsKinesisStreamName"));
        assert_eq!(nearest("colour", known), None);
        assert_eq!(nearest("", known), None);
    }
}
