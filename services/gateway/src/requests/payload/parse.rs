//! From text to a payload, and words for what is wrong with it.

use serde::de::DeserializeOwned;
use verbatim_protocol::Failure;

/// Reads a payload; a missing or null one counts as `{}`.
///
/// # Errors
/// `bad_request`, naming the field where one is to blame.
pub fn parse<T: DeserializeOwned>(text: Option<&str>) -> Result<T, Failure> {
    let text = match text.map(str::trim) {
        None | Some("" | "null") => "{}",
        Some(text) => text,
    };
    // Serde would take an array for a struct, its entries for the fields.
    if !text.starts_with('{') {
        return Err(Failure::bad_request("The payload must be a JSON object"));
    }
    serde_json::from_str(text).map_err(|_| explain::<T>(text))
}

/// Reads once more, slower, to tell what was wrong.
fn explain<T: DeserializeOwned>(text: &str) -> Failure {
    let reader = &mut serde_json::Deserializer::from_str(text);
    let Err(error) = serde_path_to_error::deserialize::<_, T>(reader) else {
        return Failure::bad_request("The payload must be one JSON object and nothing after it");
    };
    if !error.inner().is_data() {
        return Failure::bad_request("The payload is not valid JSON");
    }
    let field = error.path().to_string();
    let message = error.inner().to_string();
    let message = message.split(" at line ").next().unwrap_or_default();
    if let Some(missing) = quoted(message, "missing field `") {
        let field = if field == "." { missing.to_owned() } else { format!("{field}.{missing}") };
        return refused(&field, "is missing");
    }
    if let Some(unknown) = quoted(message, "unknown field `") {
        return refused(unknown, "is not known");
    }
    if let Some(twice) = quoted(message, "duplicate field `") {
        return refused(twice, "is given twice");
    }
    // Only what was expected is repeated; what stands before it may be the client's text.
    match message.split_once(", expected ") {
        Some((_, expected)) => refused(&field, &format!("must be {}", plain(expected))),
        None if message.starts_with("must ") || message.starts_with("may ") => {
            refused(&field, message)
        }
        None => refused(&field, "is not valid"),
    }
}

fn quoted<'a>(message: &'a str, before: &str) -> Option<&'a str> {
    message.strip_prefix(before)?.split('`').next()
}

/// Serde's word for a type, as a client's developer would call it.
fn plain(expected: &str) -> &str {
    match expected {
        "u64" | "u32" => "a whole number, 0 or more",
        "a sequence" => "an array",
        "a map" => "an object",
        "a string" | "a borrowed string" => "a string",
        "a boolean" => "true or false",
        "a UUID string" | "a formatted UUID string" => "a UUID",
        _ if expected.starts_with("struct ") => "an object",
        // One of ours.
        _ if expected.contains('`') => expected,
        _ => "of another type",
    }
}

/// A field breaks a rule.
pub(in crate::requests) fn refused(field: &str, rule: &str) -> Failure {
    Failure::bad_request(format!("{field} {rule}")).detail("field", field)
}
