use serde_json::json;

use super::*;

/// An event as its third version has it.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Moved {
    /// In metres; the first version had feet.
    metres: f64,
    /// Since the third version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mover: Option<String>,
}

impl Moved {
    /// The second version says all of one without a mover.
    fn version(&self) -> &'static str {
        if self.mover.is_some() { "3" } else { "2" }
    }
}

fn metric(mut payload: Value) -> Result<Value, serde_json::Error> {
    let feet = payload["feet"].take();
    let feet = feet.as_f64().ok_or_else(|| serde_json::Error::custom("it says no feet"))?;
    Ok(json!({ "metres": feet * 0.3048 }))
}

const VERSIONS: Versions =
    Versions { older: &[("1", Step::Upcast(metric)), ("2", Step::Same)], newest: "3" };

fn read(version: &str, payload: &str) -> Result<Moved, String> {
    let rank = VERSIONS.rank(version).ok_or("no such version")?;
    VERSIONS.read(rank, payload, Moved::version).map_err(|error| error.to_string())
}

fn refusal(version: &str, payload: &str) -> String {
    read(version, payload).expect_err("it is refused")
}

#[test]
fn each_version_is_brought_up_to_todays_type_step_by_step() {
    let moved = |metres, mover: Option<&str>| Moved { metres, mover: mover.map(str::to_owned) };
    assert_eq!(read("1", r#"{"feet":10}"#), Ok(moved(3.048, None)));
    assert_eq!(read("2", r#"{"metres":2}"#), Ok(moved(2.0, None)));
    assert_eq!(read("3", r#"{"metres":2,"mover":"ann"}"#), Ok(moved(2.0, Some("ann"))));
    assert_eq!(read("3", r#"{"metres":2}"#), Ok(moved(2.0, None)));
}

#[test]
fn what_its_version_does_not_have_is_refused() {
    assert_eq!(refusal("4", "{}"), "no such version");
    assert_eq!(refusal("", "{}"), "no such version");
    assert!(refusal("1", r#"{"metres":2}"#).contains("it says no feet"));
    assert!(refusal("2", r#"{"feet":2}"#).contains("unknown field"));
    assert!(refusal("2", r#"{"metres":2,"mover":"ann"}"#).contains("only a later version has"));
    assert!(refusal("3", r#"{"metres":2,"colour":"red"}"#).contains("unknown field"));
    assert!(refusal("3", "").contains("EOF"));
}

#[test]
fn events_of_a_journal_with_fields_that_nobody_knows_are_refused() {
    for payload in [
        r#"{"memberId":"ann","by":"ben"}"#,
        r#"{"memberId":"no id"}"#,
        r#"{"memberId":"ann"} {}"#,
        "null",
    ] {
        let decoded = Event::decode(AggregateType::Conversation, "MemberJoined", "1", payload);
        assert!(matches!(decoded, Err(UnknownEvent::Payload { .. })), "{payload}");
    }
    let elsewhere = Event::decode(AggregateType::Inbox, "MemberJoined", "1", r#"{"memberId":"a"}"#);
    assert!(matches!(elsewhere, Err(UnknownEvent::Type { .. })));
}
