#![allow(clippy::unwrap_used)]
//! The clock of the credentials and tokio's paused clock are moved together by [`Bench::pass`].

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::UNIX_EPOCH;

use aws_smithy_async::time::TimeSource;

use super::*;

/// A wall clock that stands still until the test moves it.
#[derive(Debug, Clone)]
struct Clock(Arc<Mutex<SystemTime>>);

impl TimeSource for Clock {
    fn now(&self) -> SystemTime {
        *self.0.lock().unwrap()
    }
}

/// Issues credentials named after the count of asks, each living `lifetime` from its own asking, or fails, or hangs.
#[derive(Debug)]
struct Issuer {
    clock: Clock,
    lifetime: Option<Duration>,
    asked: AtomicU32,
    behaviour: Mutex<Behaviour>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Behaviour {
    Issue,
    Fail,
    Hang,
    /// Takes three seconds.
    Slow,
}

#[derive(Debug, Clone)]
struct IssuerHandle(Arc<Issuer>);

impl ProvideCredentials for IssuerHandle {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async {
            let count = self.0.asked.fetch_add(1, Ordering::SeqCst) + 1;
            let behaviour = *self.0.behaviour.lock().unwrap();
            if behaviour == Behaviour::Slow {
                tokio::time::sleep(3 * SECOND).await;
            }
            match behaviour {
                Behaviour::Hang => std::future::pending().await,
                Behaviour::Fail => Err(CredentialsError::provider_error(Error::transient("the issuer is away"))),
                Behaviour::Issue | Behaviour::Slow => {
                    let end = self.0.lifetime.map(|lifetime| self.0.clock.now() + lifetime);
                    Ok(Credentials::new(format!("KEY{count}"), "secret", None, end, "test"))
                }
            }
        })
    }
}

struct Bench {
    clock: Clock,
    issuer: IssuerHandle,
    provider: Refreshing,
}

impl Bench {
    fn new(lifetime: Option<Duration>) -> Self {
        let clock = Clock(Arc::new(Mutex::new(UNIX_EPOCH + Duration::from_secs(1_800_000_000))));
        let issuer = IssuerHandle(Arc::new(Issuer {
            clock: clock.clone(),
            lifetime,
            asked: AtomicU32::new(0),
            behaviour: Mutex::new(Behaviour::Issue),
        }));
        let source = SharedCredentialsProvider::new(issuer.clone());
        let provider = Refreshing::with_clock(source, "the test".to_owned(), SharedTimeSource::new(clock.clone()));
        Self { clock, issuer, provider }
    }

    fn behave(&self, behaviour: Behaviour) {
        *self.issuer.0.behaviour.lock().unwrap() = behaviour;
    }

    fn asked(&self) -> u32 {
        self.issuer.0.asked.load(Ordering::SeqCst)
    }

    /// Lets time pass on both clocks, and whatever is ready run.
    async fn pass(&self, time: Duration) {
        *self.clock.0.lock().unwrap() += time;
        tokio::time::sleep(time).await;
    }

    async fn key(&self) -> String {
        self.provider.provide_credentials().await.unwrap().access_key_id().to_owned()
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn credentials_of_twenty_seconds_live_for_minutes_and_no_call_gets_expired_ones() {
    let bench = Bench::new(Some(20 * SECOND));
    for _ in 0..1_200 {
        let credentials = bench.provider.provide_credentials().await.unwrap();
        let left = credentials.expiry().unwrap().duration_since(bench.clock.now()).unwrap();
        assert!(left >= 2 * SECOND, "a call got credentials with {left:?} left");
        bench.pass(SECOND / 10).await;
    }
    assert!((9..=11).contains(&bench.asked()), "two minutes took {} refreshes", bench.asked());
}

#[tokio::test(start_paused = true)]
async fn long_lived_credentials_are_refreshed_five_minutes_before_their_end() {
    let bench = Bench::new(Some(3600 * SECOND));
    assert_eq!(bench.key().await, "KEY1");
    bench.pass(3_299 * SECOND).await;
    assert_eq!((bench.key().await.as_str(), bench.asked()), ("KEY1", 1));
    bench.pass(2 * SECOND).await;
    assert_eq!(bench.key().await, "KEY1", "the call that notices goes on with the old ones");
    bench.pass(SECOND).await;
    assert_eq!((bench.key().await.as_str(), bench.asked()), ("KEY2", 2));
}

#[tokio::test(start_paused = true)]
async fn a_failed_early_refresh_keeps_the_old_ones_and_is_tried_again() {
    let bench = Bench::new(Some(20 * SECOND));
    bench.key().await;
    bench.behave(Behaviour::Fail);
    for _ in 0..19 {
        bench.pass(SECOND).await;
        assert_eq!(bench.key().await, "KEY1", "valid credentials were refused");
    }
    let asked = bench.asked();
    assert!((3..=6).contains(&asked), "the issuer was asked {asked} times, which is no back-off or no retry");
    bench.behave(Behaviour::Issue);
    bench.pass(5 * SECOND).await;
    assert_ne!(bench.key().await, "KEY1", "expired credentials were handed out");
}

#[tokio::test(start_paused = true)]
async fn a_hanging_refresh_delays_no_call_while_the_old_ones_are_valid() {
    let bench = Bench::new(Some(20 * SECOND));
    bench.key().await;
    bench.behave(Behaviour::Hang);
    bench.pass(13 * SECOND).await;
    let before = Instant::now();
    assert_eq!(bench.key().await, "KEY1");
    bench.pass(SECOND).await;
    assert_eq!(bench.key().await, "KEY1");
    assert_eq!(Instant::now() - before, SECOND, "only the test itself let time pass");
}

#[tokio::test(start_paused = true)]
async fn nothing_held_and_nothing_to_be_had_is_said_with_the_cause_and_without_hammering() {
    let bench = Bench::new(Some(20 * SECOND));
    bench.behave(Behaviour::Fail);
    for _ in 0..50 {
        let error = bench.provider.provide_credentials().await.unwrap_err();
        assert_eq!(of_credentials("x", &error).message(), "the issuer is away");
    }
    assert_eq!(bench.asked(), 1);
    bench.behave(Behaviour::Issue);
    bench.pass(SECOND).await;
    assert_eq!(bench.key().await, "KEY2");
}

#[tokio::test(start_paused = true)]
async fn expired_credentials_are_never_used_however_long_the_issuer_is_away() {
    let bench = Bench::new(Some(20 * SECOND));
    bench.key().await;
    bench.behave(Behaviour::Fail);
    bench.pass(20 * SECOND).await;
    assert!(bench.provider.provide_credentials().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn many_calls_at_once_ask_once() {
    let bench = Bench::new(Some(20 * SECOND));
    let calls = futures_join_all((0..32).map(|_| bench.key()));
    assert!(calls.await.iter().all(|key| key == "KEY1"));
    assert_eq!(bench.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_gives_up_does_not_stop_the_refresh_for_the_others() {
    let bench = Bench::new(Some(20 * SECOND));
    bench.behave(Behaviour::Slow);
    assert!(timeout(SECOND, bench.provider.provide_credentials()).await.is_err(), "the first caller gave up");
    assert_eq!((bench.key().await.as_str(), bench.asked()), ("KEY1", 1));
}

#[tokio::test(start_paused = true)]
async fn credentials_without_an_end_are_looked_up_again_and_kept_if_that_fails() {
    let bench = Bench::new(None);
    assert_eq!(bench.key().await, "KEY1");
    bench.behave(Behaviour::Fail);
    bench.pass(3600 * SECOND).await;
    assert_eq!(bench.key().await, "KEY1");
    bench.behave(Behaviour::Issue);
    bench.pass(60 * SECOND).await;
    bench.key().await;
    bench.pass(SECOND).await;
    assert_ne!(bench.key().await, "KEY1");
}

#[tokio::test(start_paused = true)]
async fn dropping_the_provider_ends_the_refresh_under_way() {
    let bench = Bench::new(Some(20 * SECOND));
    bench.behave(Behaviour::Hang);
    assert!(timeout(SECOND, bench.provider.provide_credentials()).await.is_err());
    let shared = Arc::clone(&bench.provider.shared);
    let mut ended = shared.ended.subscribe();
    drop(bench);
    timeout(SECOND, ended.changed()).await.unwrap().unwrap();
    assert!(!shared.state().under_way);
}

/// Polls all to their end on this task.
async fn futures_join_all<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut pending: Vec<_> = futures.map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(|context| {
        for (future, output) in pending.iter_mut().filter(|(_, output)| output.is_none()) {
            if let std::task::Poll::Ready(value) = future.as_mut().poll(context) {
                *output = Some(value);
            }
        }
        if pending.iter().all(|(_, output)| output.is_some()) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    pending.into_iter().map(|(_, output)| output.unwrap()).collect()
}
