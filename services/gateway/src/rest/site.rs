//! What is served where.

use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use poem::endpoint::{BoxEndpoint, make_sync};
use poem::{Endpoint, EndpointExt, Request, Response, Route, get};

use super::api::Api;
use super::extract::shared;
use super::failure::{self, JSON};
use super::{asyncapi, document};
use poem_openapi::OpenApiService;
use verbatim_protocol::Failure;

/// The paths besides the API's own, all of them for GET.
pub(super) const DOCUMENTS: &[&str] = &["/openapi.json", "/asyncapi.json", "/docs", "/metrics"];

/// All that is served.
pub(super) fn routes() -> BoxEndpoint<'static> {
    let openapi = document::openapi();
    Route::new()
        .at("/openapi.json", get(fixed(JSON, openapi.clone())))
        .at("/asyncapi.json", get(fixed(JSON, asyncapi())))
        .at("/docs", get(fixed("text/html; charset=utf-8", document::swagger_ui(&openapi))))
        .at("/metrics", get(make_sync(|request| metrics(&request))))
        .nest_no_strip("/", OpenApiService::new(Api, document::TITLE, document::VERSION))
        .map_to_response()
        .boxed()
}

fn fixed(content_type: &'static str, text: String) -> impl Endpoint<Output = Response> {
    let text = Bytes::from(text);
    make_sync(move |_| Response::builder().header(CONTENT_TYPE, content_type).body(text.clone()))
}

fn metrics(request: &Request) -> Response {
    const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let mut text = String::new();
    let registry = Arc::clone(&shared(request).registry);
    match prometheus_client::encoding::text::encode(&mut text, &registry) {
        Ok(()) => Response::builder().content_type(OPEN_METRICS).body(text),
        Err(error) => {
            tracing::error!(%error, "the metrics can't be written");
            failure::response(&Failure::internal())
        }
    }
}
