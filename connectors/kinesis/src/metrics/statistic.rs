//! A statistic set: how often, how much, least and most. What CloudWatch takes in place of single values.

use super::names::Metric;

/// Values of one metric, aggregated. Never empty.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Statistic {
    /// How many values.
    pub count: f64,
    /// Their sum.
    pub sum: f64,
    /// The least.
    pub minimum: f64,
    /// The greatest.
    pub maximum: f64,
}

impl Statistic {
    /// One value.
    pub fn of(value: f64) -> Self {
        Self { count: 1.0, sum: value, minimum: value, maximum: value }
    }

    /// Adds the values of another set.
    pub fn merge(&mut self, other: Self) {
        self.count += other.count;
        self.sum += other.sum;
        self.minimum = self.minimum.min(other.minimum);
        self.maximum = self.maximum.max(other.maximum);
    }
}

/// The statistic sets of one thing that is measured, a shard or the worker: one per metric that had a value since the last drain.
#[derive(Debug, Default)]
pub(super) struct Meter(Vec<(Metric, Statistic)>);

impl Meter {
    /// Adds one value. The list is as short as the metrics are few, so it is searched, not hashed.
    pub(super) fn add(&mut self, metric: Metric, value: f64) {
        match self.0.iter_mut().find(|(known, _)| *known == metric) {
            Some((_, statistic)) => statistic.merge(Statistic::of(value)),
            None => self.0.push((metric, Statistic::of(value))),
        }
    }

    /// Takes everything out, and keeps the room for the next time.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = (Metric, Statistic)> {
        self.0.drain(..)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_together_in_one_set_per_metric() {
        let mut meter = Meter::default();
        for value in [3.0, 1.0, 2.0] {
            meter.add(Metric::RecordsProcessed, value);
        }
        meter.add(Metric::ExpiredIterator, 1.0);
        let sets: Vec<_> = meter.drain().collect();
        let records = Statistic { count: 3.0, sum: 6.0, minimum: 1.0, maximum: 3.0 };
        assert_eq!(sets, [(Metric::RecordsProcessed, records), (Metric::ExpiredIterator, Statistic::of(1.0))]);
        assert_eq!(meter.drain().count(), 0);
    }
}
