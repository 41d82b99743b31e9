//! What the log says of a record that is not stored where it was to go: enough to find it again.

use super::*;
use std::fmt::Write;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record as Values};
use tracing::{Event, Metadata, Subscriber};

/// Keeps each line as `name=value` pairs.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        write!(self.0, "{field}={value:?};").unwrap();
    }
}

impl Subscriber for Lines {
    fn enabled(&self, _metadata: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _span: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _span: &Id, _values: &Values<'_>) {}

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        self.0.lock().unwrap().push(line.0);
    }

    fn enter(&self, _span: &Id) {}

    fn exit(&self, _span: &Id) {}
}

#[tokio::test(start_paused = true)]
async fn a_record_that_is_dropped_or_becomes_a_dead_letter_is_named_in_full() {
    let cases = [
        (OnRecordError::Drop, None, "record dropped"),
        (OnRecordError::DeadLetter, None, "record goes to the dead letter topic"),
        (OnRecordError::DeadLetter, Some(500), "the dead letter topic refuses the record"),
    ];
    for (on_record_error, topic_limit, said) in cases {
        let lines = Lines::default();
        let _logged = tracing::subscriber::set_default(lines.clone());
        let cluster = Cluster::new();
        cluster.state().topic_limit = topic_limit;
        let settings = PublisherSettings { on_record_error, dead_letter_topic: Some("dead".into()), ..settings() };
        let mut publisher = connect(&cluster, settings).await.unwrap();
        let seen = Arc::new(Seen::default());
        Sink::write(&mut publisher, batch(&seen, 0, vec![record(7, 200_000)])).await.unwrap();
        publisher.flush().await.unwrap();
        let lines = lines.0.lock().unwrap().clone();
        let line = lines.iter().find(|line| line.contains(said)).unwrap();
        let topic = if topic_limit.is_some() {
            "topic=\"persistent://public/default/dead\""
        } else {
            "topic=\"persistent://public/default/orders\""
        };
        for part in ["instance=\"acme/shop/orders/2\"", "partition=shard-1", "record=\"49597/0\"", "size=", topic] {
            assert!(line.contains(part), "{part} in {line}");
        }
    }
}
