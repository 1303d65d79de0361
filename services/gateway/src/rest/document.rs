//! The `OpenAPI` document, and the page to try it on.

use std::sync::LazyLock;

use poem_openapi::OpenApiService;
use serde_json::{Map, Value};

use super::api::Api;
use super::site::DOCUMENTS;

pub(super) const TITLE: &str = "Verbatim";
pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");
const DESCRIPTION: &str = "\
Messages between people, stored before they are confirmed and delivered in order.

Every answer is `{\"success\": true, \"data\": …, \"timestamp\": …}`, every failure \
`{\"success\": false, \"error\": {\"code\", \"message\", \"retryable\", \"details\"}, \"timestamp\": …}`. \
Lists have `nextCursor` beside `data`: give it as `cursor` to read on; `null` is the end.

Calls under `/app` need a token: press **Authorize** and paste one. What Socket.IO clients can do \
is described at [/asyncapi.json](/asyncapi.json).";

fn service() -> OpenApiService<Api, ()> {
    OpenApiService::new(Api, TITLE, VERSION).description(DESCRIPTION)
}

static DOCUMENT: LazyLock<Value> = LazyLock::new(document);

/// The `OpenAPI` 3.0 document, as served at `/openapi.json`.
pub fn openapi() -> String {
    format!("{:#}\n", *DOCUMENT)
}

fn document() -> Value {
    let text = service().spec();
    let mut document: Value = serde_json::from_str(&text).expect("the framework writes JSON");
    let schemas = document["components"]["schemas"].take();
    document["components"]["schemas"] = Value::Object(unfolded(schemas));
    // Without a server the page's own is called.
    if document["servers"].as_array().is_some_and(Vec::is_empty)
        && let Some(document) = document.as_object_mut()
    {
        document.remove("servers");
    }
    document
}

/// Puts the schemas that each stand-in carries in the stand-ins' place.
fn unfolded(stand_ins: Value) -> Map<String, Value> {
    let mut schemas = Map::new();
    let Value::Object(stand_ins) = stand_ins else { return schemas };
    for mut stand_in in stand_ins.into_values() {
        let Value::Object(carried) = stand_in["example"].take() else { continue };
        for (name, schema) in carried {
            let known = schemas.entry(name.clone()).or_insert_with(|| schema.clone());
            assert_eq!(*known, schema, "two types go by the name {name}");
        }
    }
    schemas
}

/// A page on which each call can be tried. It needs nothing from elsewhere.
pub(super) fn swagger_ui(document: &str) -> String {
    let service = service();
    // The framework's page holds its own document; ours goes in its place.
    service.swagger_ui_html().replace(&service.spec(), document)
}

/// The methods that a path can be called with, for an `Allow` header.
pub(super) fn allowed_methods(path: &str) -> String {
    let segments: Vec<_> = path.split('/').collect();
    let fits = |template: &str| {
        let template: Vec<_> = template.split('/').collect();
        template.len() == segments.len()
            && template
                .iter()
                .zip(&segments)
                .all(|(expected, given)| expected.starts_with('{') || expected == given)
    };
    let paths = DOCUMENT["paths"].as_object();
    let mut methods: Vec<_> = paths
        .into_iter()
        .flatten()
        .filter(|(template, _)| fits(template))
        .flat_map(|(_, calls)| calls.as_object().into_iter().flatten())
        .map(|(method, _)| method.to_ascii_uppercase())
        .collect();
    if DOCUMENTS.contains(&path) {
        methods.push("GET".to_owned());
    }
    if methods.iter().any(|method| method == "GET") {
        methods.push("HEAD".to_owned());
    }
    methods.sort_unstable();
    methods.dedup();
    methods.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_methods_of_a_path_are_told() {
        assert_eq!(allowed_methods("/app/conversations"), "GET, HEAD, POST");
        assert_eq!(allowed_methods("/app/conversations/c1/read"), "POST");
        assert_eq!(allowed_methods("/docs"), "GET, HEAD");
    }

    #[test]
    fn the_page_holds_the_whole_document_and_nothing_from_elsewhere() {
        let document = openapi();
        let page = swagger_ui(&document);
        assert!(page.contains(&document));
        for elsewhere in ["src=\"http", "href=\"http", "src='http", "href='http"] {
            let found = page.find(elsewhere).map(|at| &page[at..(at + 80).min(page.len())]);
            assert_eq!(found, None);
        }
    }
}
