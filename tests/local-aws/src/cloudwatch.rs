//! CloudWatch: keeps what PutMetricData sends.
//!
//! Understands the protocols in use: RPC v2 CBOR (the Rust SDK), JSON 1.0 and query (Java's). Promises the service's bound of 1,000 datums a call. Never
//! aggregates: datums are kept as they came, for assertions.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Most datums of a call.
const MOST_DATUMS: usize = 1000;

/// A call of PutMetricData.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct PutMetricData {
    namespace: String,
    metric_data: Vec<SentDatum>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct SentDatum {
    metric_name: String,
    dimensions: Vec<SentDimension>,
    timestamp: Option<serde_json::Value>,
    value: Option<f64>,
    statistic_values: Option<Statistics>,
    values: Option<Vec<f64>>,
    counts: Option<Vec<f64>>,
    unit: Option<String>,
    storage_resolution: Option<i32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct SentDimension {
    name: String,
    value: String,
}

/// A set of statistics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Statistics {
    /// How many values.
    #[serde(rename(deserialize = "SampleCount", serialize = "sampleCount"))]
    pub sample_count: f64,
    /// Their sum.
    #[serde(rename(deserialize = "Sum", serialize = "sum"))]
    pub sum: f64,
    /// The smallest.
    #[serde(rename(deserialize = "Minimum", serialize = "minimum"))]
    pub minimum: f64,
    /// The largest.
    #[serde(rename(deserialize = "Maximum", serialize = "maximum"))]
    pub maximum: f64,
}

/// A datum as it came.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Datum {
    /// Namespace of the call.
    pub namespace: String,
    /// The metric.
    pub name: String,
    /// Dimensions by name.
    pub dimensions: BTreeMap<String, String>,
    /// Seconds since the epoch, or the text that was sent.
    pub timestamp: Option<serde_json::Value>,
    /// A single value.
    pub value: Option<f64>,
    /// Statistics in the place of a value.
    pub statistics: Option<Statistics>,
    /// Many values.
    pub values: Option<Vec<f64>>,
    /// How often each of `values`.
    pub counts: Option<Vec<f64>>,
    /// The unit.
    pub unit: Option<String>,
    /// 1 for high resolution.
    pub storage_resolution: Option<i32>,
    /// The caller's key id.
    pub access_key_id: String,
}

/// The datums of a call, or the code and message it is refused with.
pub(crate) fn datums(call: PutMetricData, access_key_id: &str) -> Result<Vec<Datum>, (&'static str, String)> {
    if call.namespace.is_empty() {
        return Err(("MissingParameter", "The parameter Namespace is required.".to_owned()));
    }
    if call.metric_data.len() > MOST_DATUMS {
        return Err(("InvalidParameterValue", format!("The collection MetricData must not have a size greater than {MOST_DATUMS}.")));
    }
    let namespace = call.namespace;
    Ok(call
        .metric_data
        .into_iter()
        .map(|datum| Datum {
            namespace: namespace.clone(),
            name: datum.metric_name,
            dimensions: datum.dimensions.into_iter().map(|dimension| (dimension.name, dimension.value)).collect(),
            timestamp: datum.timestamp,
            value: datum.value,
            statistics: datum.statistic_values,
            values: datum.values,
            counts: datum.counts,
            unit: datum.unit,
            storage_resolution: datum.storage_resolution,
            access_key_id: access_key_id.to_owned(),
        })
        .collect())
}

/// Builds the call from a query form: `MetricData.member.1.Dimensions.member.1.Name=..`.
pub(crate) fn from_form<'a>(form: impl IntoIterator<Item = (&'a String, &'a String)>) -> PutMetricData {
    let mut call = PutMetricData::default();
    for (key, value) in form {
        let path: Vec<&str> = key.split('.').filter(|part| *part != "member").collect();
        match path.as_slice() {
            ["Namespace"] => call.namespace.clone_from(value),
            ["MetricData", index, rest @ ..] => {
                if let Some(datum) = slot(&mut call.metric_data, index) {
                    datum.set(rest, value);
                }
            }
            _ => {}
        }
    }
    call
}

impl SentDatum {
    fn set(&mut self, path: &[&str], value: &str) {
        let number = || value.parse::<f64>().unwrap_or_default();
        match path {
            ["MetricName"] => value.clone_into(&mut self.metric_name),
            ["Value"] => self.value = Some(number()),
            ["Unit"] => self.unit = Some(value.to_owned()),
            ["Timestamp"] => self.timestamp = Some(value.into()),
            ["StorageResolution"] => self.storage_resolution = value.parse().ok(),
            ["StatisticValues", statistic] => {
                let statistics = self.statistic_values.get_or_insert_default();
                match *statistic {
                    "SampleCount" => statistics.sample_count = number(),
                    "Sum" => statistics.sum = number(),
                    "Minimum" => statistics.minimum = number(),
                    "Maximum" => statistics.maximum = number(),
                    _ => {}
                }
            }
            ["Values", index] => set_number(self.values.get_or_insert_default(), index, number()),
            ["Counts", index] => set_number(self.counts.get_or_insert_default(), index, number()),
            ["Dimensions", index, field] => {
                if let Some(dimension) = slot(&mut self.dimensions, index) {
                    match *field {
                        "Name" => value.clone_into(&mut dimension.name),
                        "Value" => value.clone_into(&mut dimension.value),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
}

fn set_number(numbers: &mut Vec<f64>, index: &str, number: f64) {
    if let Some(place) = slot(numbers, index) {
        *place = number;
    }
}

/// The place of a one-based index, made if need be; nothing beyond what a call could hold.
fn slot<'a, T: Default>(items: &'a mut Vec<T>, index: &str) -> Option<&'a mut T> {
    let index = index.parse::<usize>().ok().filter(|index| (1..=MOST_DATUMS + 1).contains(index))?;
    if items.len() < index {
        items.resize_with(index, T::default);
    }
    items.get_mut(index - 1)
}
