//! Takes the body of an answer out of the SDK's hands, so that it is read where the budget is known.
//!
//! The SDK still signs, sends, times and judges the call. Of a success it then sees an empty answer; the body is read by whoever
//! made the call, never further than there is room for. Bodies of refusals stay with the SDK.

use crate::retrieval::ReadError;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::BeforeDeserializationInterceptorContextMut;
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::config_bag::ConfigBag;
use bytes::Bytes;
use connector_sdk::{Error, Reservation};
use http_body::Body;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

/// The largest body that is given its whole room at once because a header says so.
const LARGEST_CLAIM: u64 = 64 << 20;

/// Takes the body of one call's success.
#[derive(Debug, Clone)]
pub(super) struct BodyTap {
    taken: Arc<Mutex<Option<TakenBody>>>,
    /// What the SDK is given to decode in its place.
    stand_in: &'static str,
}

/// A body and what its head says about it.
#[derive(Debug)]
pub(super) struct TakenBody {
    body: SdkBody,
    length: Option<u64>,
}

impl BodyTap {
    /// `stand_in` is the smallest body that the SDK decodes without an error.
    pub(super) fn new(stand_in: &'static str) -> Self {
        Self { taken: Arc::default(), stand_in }
    }

    /// The body of the success that the call has just reported.
    pub(super) fn take(&self) -> Option<TakenBody> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[dyn_dispatch_hint]
impl Intercept for BodyTap {
    fn name(&self) -> &'static str {
        "BodyTap"
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        _bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let response = context.response_mut();
        if response.status().is_success() {
            let length = response.headers().get("content-length").and_then(|text| text.trim().parse().ok());
            let body = std::mem::replace(response.body_mut(), SdkBody::from(self.stand_in));
            *self.taken.lock().unwrap_or_else(PoisonError::into_inner) = Some(TakenBody { body, length });
        }
        Ok(())
    }
}

impl TakenBody {
    /// The next piece of it; none at its end. Cancel-safe.
    pub(super) async fn piece(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            let frame = poll_fn(|context| Pin::new(&mut self.body).poll_frame(context)).await;
            return match frame {
                None => Ok(None),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if data.is_empty() => continue,
                    Ok(data) => Ok(Some(data)),
                    // Trailers say nothing about records.
                    Err(_) => continue,
                },
                Some(Err(error)) => Err(Error::transient(format!("the connection broke while the answer was read: {error}"))),
            };
        }
    }

    /// Reads all of it, as long as `cost_of` its length is held or can be held at once; its length.
    ///
    /// # Errors
    /// [`ReadError::TooLarge`] with what it would cost, before more of it is read than there is room for.
    pub(super) async fn read(
        mut self,
        reservation: &mut Reservation,
        cost_of: impl Fn(u64) -> u64,
        mut take: impl FnMut(&[u8]),
    ) -> Result<u64, ReadError> {
        let length = self.claimed();
        if let Some(length) = length {
            make_room(reservation, cost_of(length))?;
        }
        let mut so_far = 0;
        while let Some(piece) = self.piece().await.map_err(ReadError::Failed)? {
            so_far += piece.len() as u64;
            if length.is_none_or(|length| so_far > length) {
                make_room(reservation, cost_of(so_far))?;
            }
            take(&piece);
        }
        if length.is_some_and(|length| length != so_far) {
            return Err(ReadError::Failed(Error::transient("the connection ended before the answer did")));
        }
        Ok(so_far)
    }

    /// Its length by its head, where that can be believed.
    pub(super) fn claimed(&self) -> Option<u64> {
        self.length.filter(|length| *length <= LARGEST_CLAIM)
    }
}

fn make_room(reservation: &mut Reservation, cost: u64) -> Result<(), ReadError> {
    let missing = cost.saturating_sub(reservation.bytes());
    if missing == 0 || reservation.try_grow_by(missing) { Ok(()) } else { Err(ReadError::TooLarge(cost)) }
}

/// A body that arrives in these pieces.
#[cfg(test)]
pub(super) fn pieces(pieces: Vec<Bytes>) -> TakenBody {
    use http_body::Frame;
    use std::task::{Context, Poll};

    struct Pieces(std::vec::IntoIter<Bytes>);
    impl Body for Pieces {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            Poll::Ready(self.0.next().map(|piece| Ok(Frame::data(piece))))
        }
    }
    TakenBody { body: SdkBody::from_body_1_x(Pieces(pieces.into_iter())), length: None }
}

#[cfg(test)]
#[path = "body_tests.rs"]
mod tests;
