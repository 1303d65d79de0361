//! The two envelopes that everything goes out in.

use std::sync::Arc;

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use verbatim_protocol::Failure;
use verbatim_protocol::client::{NoExtra, Success};
use verbatim_protocol::error::Failed;

/// `{"success":true,"data":…,"timestamp":…}` of now.
pub fn envelope(data: &impl Serialize) -> Arc<RawValue> {
    raw(&Success::new(data, NoExtra {}))
}

/// `{"success":false,"error":…,"timestamp":…}` of now.
pub fn failure_envelope(failure: &Failure) -> Arc<RawValue> {
    raw(&Failed::new(failure.clone()))
}

pub(super) fn raw(value: &impl Serialize) -> Arc<RawValue> {
    let text = to_raw_value(value).expect("the contract's types have text keys and finite numbers");
    Arc::from(text)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use verbatim_protocol::ErrorCode;

    use super::*;

    fn without_timestamp(envelope: &RawValue) -> Value {
        let mut value: Value = serde_json::from_str(envelope.get()).expect("JSON");
        let timestamp = value.as_object_mut().expect("an object").remove("timestamp");
        let timestamp = timestamp.and_then(|time| time.as_str().map(str::to_owned));
        assert!(timestamp.is_some_and(|time| time.len() == 24 && time.ends_with('Z')));
        value
    }

    #[test]
    fn both_envelopes_have_the_contracts_shape() {
        let data = without_timestamp(&envelope(&json!({ "a": 1 })));
        assert_eq!(data, json!({ "success": true, "data": { "a": 1 } }));
        let failure = Failure::new(ErrorCode::RateLimited, "Slow down")
            .retry_after(250)
            .detail("limit", "messages");
        assert_eq!(
            without_timestamp(&failure_envelope(&failure)),
            json!({ "success": false, "error": {
                "code": "rate_limited", "message": "Slow down", "retryable": true,
                "retryAfterMs": 250, "details": { "limit": "messages" },
            } })
        );
    }
}
