//! Checkpoints to a URL.

use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Method, Request, Uri};
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(10);

pub(super) struct Webhook(Client<HttpsConnector<HttpConnector>, Full<Bytes>>);

impl Webhook {
    /// # Errors
    /// The system's certificates can't be read.
    pub fn new() -> anyhow::Result<Self> {
        let connector = HttpsConnectorBuilder::new()
            .with_native_roots()
            .context("the system's certificates")?
            .https_or_http()
            .enable_http1()
            .build();
        Ok(Self(Client::builder(TokioExecutor::new()).build(connector)))
    }

    /// Posts a checkpoint; any status but 200 to 299 is a failure.
    pub async fn post(&self, url: &Uri, note: &str) -> anyhow::Result<()> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(url)
            .header(CONTENT_TYPE, "text/plain; charset=utf-8")
            .body(Full::from(note.to_owned()))?;
        // Neither shows the URL's path.
        let host = url.host().unwrap_or_default().to_owned();
        let answered = tokio::time::timeout(TIMEOUT, self.0.request(request)).await;
        let status =
            answered.context("no answer in time").and_then(|answered| Ok(answered?.status()));
        let status = status.with_context(|| host.clone())?;
        ensure!(status.is_success(), "{host}: {status}");
        Ok(())
    }
}
