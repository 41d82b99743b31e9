//! The service's own clock: the `Date` header of an answer.
//!
//! Where "now" must mean the same to every worker (the moment that LATEST stands for), the local clock must not be asked.

use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::BeforeDeserializationInterceptorContextRef;
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::DateTime;
use aws_smithy_types::config_bag::ConfigBag;
use aws_smithy_types::date_time::Format;

/// Hands out the `Date` of one call's answer, in whole seconds as HTTP gives it (the service rounds down).
///
/// ```no_run
/// # async fn ask(client: aws_sdk_sts::Client) -> Option<std::time::SystemTime> {
/// let answered = connector_aws::AnsweredAt::new();
/// client.get_caller_identity().customize().interceptor(answered.clone()).send().await.ok()?;
/// answered.get()
/// # }
/// ```
///
/// One value serves one call; of several attempts the first answer counts.
#[derive(Debug, Clone, Default)]
pub struct AnsweredAt(Arc<OnceLock<SystemTime>>);

impl AnsweredAt {
    /// Nothing answered yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// When the service answered, by its own clock; `None` before the answer or when it had no readable `Date`.
    pub fn get(&self) -> Option<SystemTime> {
        self.0.get().copied()
    }
}

#[dyn_dispatch_hint]
impl Intercept for AnsweredAt {
    fn name(&self) -> &'static str {
        "AnsweredAt"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(date) = context.response().headers().get("date").and_then(parse) {
            // A second attempt's answer finds the cell filled; the first one stands.
            self.0.get_or_init(|| date);
        }
        Ok(())
    }
}

fn parse(header: &str) -> Option<SystemTime> {
    SystemTime::try_from(DateTime::from_str(header.trim(), Format::HttpDate).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn a_date_header_is_read_to_the_second() {
        let date = parse("Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(date, Some(UNIX_EPOCH + Duration::from_secs(784_111_777)));
    }

    #[test]
    fn what_is_no_date_is_no_answer() {
        assert_eq!(parse("yesterday"), None);
    }
}
