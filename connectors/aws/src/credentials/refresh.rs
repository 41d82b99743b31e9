//! Credentials that are replaced before they expire, without making anybody wait.
//!
//! A call gets the credentials that are held. When they near their end, the first call to notice starts a refresh beside it and
//! goes on with the old ones; only when nothing usable is held does a call wait. A refresh that fails while the old credentials
//! are valid costs one warning. All times are relative to the lifetime, so that credentials of 20 s live as quietly as those of
//! 12 h. One refresh runs at a time; it has a deadline, and it ends with the provider that owns it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use aws_smithy_async::time::{SharedTimeSource, SystemTimeSource};
use connector_sdk::{Error, ErrorKind};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

use crate::error::of_credentials;

/// Credentials are refreshed this long before their end, if they live long enough.
const REFRESH_BEFORE: Duration = Duration::from_secs(300);
/// Calls stop using credentials this long before their end while a refresh is under way: a request takes time to arrive.
const SPARE: Duration = Duration::from_secs(2);
/// Credentials without an end are looked up again after this time, because files and processes may have new ones.
const LOOK_AGAIN: Duration = Duration::from_secs(15 * 60);
/// Longest wait between refreshes that fail; the first waits a second.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// Deadline of one refresh, and of a call that waits for one.
const PATIENCE: Duration = Duration::from_secs(30);

/// A provider in front of another one that is asked only when needed.
#[derive(Debug)]
pub(crate) struct Refreshing {
    shared: Arc<Shared>,
    /// Owns the refresh that is under way; dropping it ends the refresh.
    tasks: Mutex<JoinSet<()>>,
}

#[derive(Debug)]
struct Shared {
    source: SharedCredentialsProvider,
    /// What the source is, for messages.
    what: String,
    clock: SharedTimeSource,
    state: Mutex<State>,
    /// Changes whenever a refresh has ended.
    ended: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    held: Option<Held>,
    failed: Option<Failed>,
    under_way: bool,
}

/// The credentials in use, and their times on our clock.
#[derive(Debug, Clone)]
struct Held {
    credentials: Credentials,
    refresh_at: SystemTime,
    /// From here on a call would rather wait for new ones.
    spare_at: Option<SystemTime>,
    expires_at: Option<SystemTime>,
}

/// The last refresh, if it failed.
#[derive(Debug, Clone)]
struct Failed {
    error: Error,
    next_at: SystemTime,
    times: u32,
}

/// What a call does at this instant.
#[derive(Debug)]
enum Decision {
    /// Go on with these.
    Use(Credentials),
    /// Go on with these, and start a refresh.
    UseAndRefresh(Credentials),
    /// Start a refresh and wait for its end.
    RefreshAndWait,
    /// Wait for the end of the refresh that is under way.
    Wait,
    /// Nothing is held, and the last refresh failed a moment ago.
    Refuse(Error),
}

impl Refreshing {
    /// A provider that asks `source`; `what` names it in messages.
    pub(crate) fn new(source: SharedCredentialsProvider, what: String) -> Self {
        Self::with_clock(source, what, SharedTimeSource::new(SystemTimeSource::new()))
    }

    fn with_clock(source: SharedCredentialsProvider, what: String, clock: SharedTimeSource) -> Self {
        let shared = Shared { source, what, clock, state: Mutex::default(), ended: watch::Sender::new(0) };
        Self { shared: Arc::new(shared), tasks: Mutex::default() }
    }

    async fn provide(&self) -> Result<Credentials, CredentialsError> {
        let mut ended = self.shared.ended.subscribe();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let decision = self.shared.state().decide(self.shared.clock.now());
            match decision {
                Decision::Use(credentials) => return Ok(credentials),
                Decision::UseAndRefresh(credentials) => {
                    self.start();
                    return Ok(credentials);
                }
                Decision::Refuse(error) => return Err(CredentialsError::provider_error(error)),
                Decision::RefreshAndWait => self.start(),
                Decision::Wait => {}
            }
            if timeout_at(deadline, ended.changed()).await.is_err() {
                return Err(CredentialsError::provider_timed_out(PATIENCE));
            }
        }
    }

    /// Starts the refresh that `decide` has marked as under way.
    fn start(&self) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        // The one before has ended; taking its result keeps the set at one.
        while tasks.try_join_next().is_some() {}
        tasks.spawn(refresh(UnderWay(Arc::clone(&self.shared))));
    }
}

impl ProvideCredentials for Refreshing {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.provide())
    }
}

/// Marks the end of a refresh, however it ends.
struct UnderWay(Arc<Shared>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.state().under_way = false;
        self.0.ended.send_modify(|count| *count += 1);
    }
}

async fn refresh(under_way: UnderWay) {
    let shared = &under_way.0;
    let answer = match timeout(PATIENCE, shared.source.provide_credentials()).await {
        Ok(Ok(credentials)) => Ok(credentials),
        Ok(Err(error)) => Err(of_credentials(&shared.what, &error)),
        Err(_) => Err(of_credentials(&shared.what, &CredentialsError::provider_timed_out(PATIENCE))),
    };
    shared.settle(answer);
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a refresh's answer into the state, and says what an operator must know.
    fn settle(&self, answer: Result<Credentials, Error>) {
        let now = self.clock.now();
        let mut state = self.state();
        match answer {
            Ok(credentials) => {
                state.held = Some(Held::new(credentials, now));
                let failed = state.failed.take();
                drop(state);
                if failed.is_some() {
                    tracing::info!(source = %self.what, "credentials are refreshed again");
                }
            }
            Err(error) => {
                let times = state.failed.as_ref().map_or(0, |failed| failed.times).saturating_add(1);
                let valid_for = state.held.as_ref().map(|held| held.left(now));
                state.failed = Some(Failed { error: error.clone(), next_at: now + wait_after(times), times });
                drop(state);
                if times == 1
                    && let Some(valid_for) = valid_for
                {
                    let valid_for_seconds = valid_for.map(|left| left.as_secs());
                    tracing::warn!(
                        source = %self.what,
                        %error,
                        valid_for_seconds,
                        "credentials could not be refreshed, the old ones stay in use while they are valid"
                    );
                }
            }
        }
    }
}

/// 1 s, 2 s, 4 s ... up to [`LONGEST_WAIT`].
fn wait_after(times: u32) -> Duration {
    Duration::from_secs(1 << times.saturating_sub(1).min(5)).min(LONGEST_WAIT)
}

impl Held {
    fn new(credentials: Credentials, now: SystemTime) -> Self {
        let Some(expires_at) = credentials.expiry() else {
            return Self { credentials, refresh_at: now + LOOK_AGAIN, spare_at: None, expires_at: None };
        };
        let lifetime = expires_at.duration_since(now).unwrap_or_default();
        let refresh_at = now + (lifetime - (lifetime * 2 / 5).min(REFRESH_BEFORE));
        let spare_at = now + (lifetime - (lifetime / 10).min(SPARE));
        Self { credentials, refresh_at, spare_at: Some(spare_at), expires_at: Some(expires_at) }
    }

    /// How long they are still valid; `None` for ever.
    fn left(&self, now: SystemTime) -> Option<Duration> {
        self.expires_at.map(|end| end.duration_since(now).unwrap_or_default())
    }

    fn is_valid(&self, now: SystemTime) -> bool {
        self.expires_at.is_none_or(|end| now < end)
    }
}

impl State {
    /// What a call does now. A decision to refresh marks the refresh as under way: the caller must start it.
    fn decide(&mut self, now: SystemTime) -> Decision {
        let waits = self.failed.as_ref().is_some_and(|failed| now < failed.next_at);
        let may_start = !self.under_way && !waits;
        let held = self.held.as_ref().filter(|held| held.is_valid(now));
        let decision = match held {
            Some(held) if now < held.refresh_at => Decision::Use(held.credentials.clone()),
            Some(held) if held.spare_at.is_none_or(|at| now < at) => {
                if may_start {
                    Decision::UseAndRefresh(held.credentials.clone())
                } else {
                    Decision::Use(held.credentials.clone())
                }
            }
            // The last moments: new ones are better, but the old ones are still good when no new ones can be had.
            Some(held) if waits && !self.under_way => Decision::Use(held.credentials.clone()),
            _ if self.under_way => Decision::Wait,
            _ if may_start => Decision::RefreshAndWait,
            _ => Decision::Refuse(
                self.failed
                    .as_ref()
                    .map_or_else(|| Error::new(ErrorKind::Transient, "no credentials are held"), |failed| failed.error.clone()),
            ),
        };
        if matches!(decision, Decision::UseAndRefresh(_) | Decision::RefreshAndWait) {
            self.under_way = true;
        }
        decision
    }
}

#[cfg(test)]
#[path = "refresh_tests.rs"]
mod tests;
