//! What an event's packet says.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer as _, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// An event packet's JSON array: the event's name, and its first argument's text.
#[derive(Default)]
pub(super) struct Arguments<'a> {
    pub event: Option<Cow<'a, str>>,
    pub first: Option<&'a str>,
    /// The rest of the array is JSON, too.
    pub whole: bool,
}

impl<'a> Arguments<'a> {
    pub fn parse(text: &'a str) -> Self {
        #[derive(Deserialize)]
        struct Name<'a>(#[serde(borrow)] Cow<'a, str>);
        struct Array<'a, 'o>(&'o mut Arguments<'a>);

        impl<'a> Visitor<'a> for Array<'a, '_> {
            type Value = ();

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an event and its arguments")
            }

            fn visit_seq<A: SeqAccess<'a>>(self, mut array: A) -> Result<(), A::Error> {
                self.0.event = array.next_element()?.map(|Name(name)| name);
                let first: Option<&'a RawValue> = array.next_element()?;
                self.0.first = first.map(RawValue::get);
                while array.next_element::<IgnoredAny>()?.is_some() {}
                Ok(())
            }
        }

        let mut arguments = Self::default();
        let mut json = serde_json::Deserializer::from_str(text);
        let read = json.deserialize_seq(Array(&mut arguments));
        arguments.whole = read.and_then(|()| json.end()).is_ok();
        arguments
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> (Option<String>, Option<&str>, bool) {
        let arguments = Arguments::parse(text);
        (arguments.event.map(Cow::into_owned), arguments.first, arguments.whole)
    }

    #[test]
    fn the_first_argument_counts() {
        let event = || Some("a".to_owned());
        assert_eq!(parse(r#"["a"]"#), (event(), None, true));
        assert_eq!(parse(r#"["a",null]"#), (event(), Some("null"), true));
        assert_eq!(parse(r#"["a",{"b":1},2,[]]"#), (event(), Some(r#"{"b":1}"#), true));
        assert_eq!(parse(r#"["\u0061" , 7 ]"#), (event(), Some("7"), true));
    }

    #[test]
    fn what_is_no_json_is_noticed() {
        let event = || Some("a".to_owned());
        assert_eq!(parse(r#"["a",{b}]"#), (event(), None, false));
        assert_eq!(parse(r#"["a",1"#), (event(), Some("1"), false));
        assert_eq!(parse(r#"["a",1] x"#), (event(), Some("1"), false));
        assert_eq!(parse("[1]"), (None, None, false));
        assert_eq!(parse(r#"{"a":1}"#), (None, None, false));
        assert_eq!(parse(""), (None, None, false));
    }

    #[test]
    fn depth_is_no_danger() {
        let deep = format!(r#"["a",{}{}]"#, "[".repeat(30_000), "]".repeat(30_000));
        assert!(parse(&deep).2);
    }
}
