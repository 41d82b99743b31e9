//! `kill -9` at ten random moments while records flow, then a last run: nothing is lost, and what is doubled is what was sent since the last stored progress.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::harness::broker;
use crate::harness::source::Setup;
use crate::harness::stream::Stream;
use crate::harness::topic::Topic;

const KILLS: usize = 10;
/// How often the source stores its progress.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(1);
/// For a store that is under way, and for a machine that is busy.
const SLACK: Duration = Duration::from_secs(1);

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis().try_into().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_nine_loses_nothing() {
    let random = &mut fastrand::Rng::new();
    let stream = Stream::start(3).await;
    let topic = Topic::partitioned(broker::shared().await, "kill-nine", 2).await;
    let mut setup = Setup::new(&stream, &topic).config("checkpointInterval", CHECKPOINT_INTERVAL.as_millis() as u64);
    let feed = stream.feed(1_000, 100);
    let follower = topic.follow().await;
    let mut kills = Vec::new();
    for kill in 0..KILLS {
        setup.set_config("useEnhancedFanOut", kill % 2 == 0);
        let source = setup.start().await;
        // Every third one dies at any moment of its start, the others while they publish.
        if kill % 3 != 2 {
            let before = follower.messages().len();
            follower.at_least(before + random.usize(1..4_000), Duration::from_secs(60)).await;
        }
        tokio::time::sleep(Duration::from_millis(random.u64(0..2_500))).await;
        kills.push(now());
        source.kill_nine().await;
    }
    let put = feed.stop().await;
    let source = setup.start().await;
    follower.different(put, Duration::from_secs(120)).await;
    source.stop().await;
    drop(follower);

    let arrived = topic.read_all().await;
    let comparison = stream.truth().compare(&arrived);
    comparison.assert_whole();
    // What a run sent in its last moments is what the next one may send again.
    let window = (CHECKPOINT_INTERVAL + SLACK).as_millis() as u64;
    let at_risk = |published: u64| kills.iter().any(|kill| (kill.saturating_sub(window)..=*kill).contains(&published));
    let bound = arrived.iter().filter(|message| at_risk(message.publish_time)).count();
    println!("{put} records, {KILLS} kills, {} messages doubled of {bound} that may be", comparison.doubled.len());
    assert!(
        comparison.doubled.len() <= bound,
        "{} messages are doubled, at most {bound} were sent since the last stored progress",
        comparison.doubled.len()
    );
}
