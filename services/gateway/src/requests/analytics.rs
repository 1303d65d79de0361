//! What the log amounts to, for admins. Nobody's words are shown, so no record is kept of who asks.

use std::future::Future;
use std::sync::Arc;

use verbatim_analytics::{
    By, Connections, Deliveries, Error, Messages, Report, Request, Responses, Users,
};
use verbatim_protocol::client::{DEFAULT_PAGE, More};
use verbatim_protocol::{ErrorCode, Failure, Timestamp};

use super::payload::{AnalyticsGet, parse, refused};
use super::reading::{READ_WAIT, journal_failure};
use super::{Answer, Caller, Core, Kind};

pub(super) fn get(
    core: &Arc<Core>,
    caller: &Arc<Caller>,
    kind: Kind,
    payload: Option<&str>,
) -> Result<impl Future<Output = Result<Answer, Failure>> + Send + use<>, Failure> {
    if !caller.is_admin() {
        return Err(Failure::new(ErrorCode::Forbidden, "Only admins may see the analytics"));
    }
    let get: AnalyticsGet = parse(payload)?;
    get.check()?;
    let request = request(get)?;
    if kind == Kind::AnalyticsConnectionsGet && !request.by.is_time_alone() {
        return Err(refused("by", "must be hour or day: connections have no conversation or role"));
    }
    let core = Arc::clone(core);
    Ok(async move {
        let head = core.ports.journal.head().await.map_err(|error| journal_failure(&error))?;
        let reports = &core.ports.analytics;
        reports.reached(head, READ_WAIT).await.map_err(|error| failure(&error))?;
        match kind {
            Kind::AnalyticsUsersGet => page::<Users>(&core, &request).await,
            Kind::AnalyticsDeliveriesGet => page::<Deliveries>(&core, &request).await,
            Kind::AnalyticsResponsesGet => page::<Responses>(&core, &request).await,
            Kind::AnalyticsConnectionsGet => page::<Connections>(&core, &request).await,
            _ => page::<Messages>(&core, &request).await,
        }
    })
}

fn request(get: AnalyticsGet) -> Result<Request, Failure> {
    let (from, to) = (time("from", get.from.as_deref())?, time("to", get.to.as_deref())?);
    if from.zip(to).is_some_and(|(from, to)| from > to) {
        return Err(refused("from", "must not be later than to"));
    }
    let by = match get.by.as_deref().map(str::parse) {
        None => By::DAY,
        Some(by) => by.map_err(|error| refused("by", &format!("{error}")))?,
    };
    let limit = get.limit.unwrap_or(DEFAULT_PAGE);
    Ok(Request { from, to, by, cursor: get.cursor, limit })
}

fn time(field: &str, text: Option<&str>) -> Result<Option<Timestamp>, Failure> {
    let malformed = |_| refused(field, "must be a time such as 2024-01-01T10:00:00Z");
    text.map(str::parse).transpose().map_err(malformed)
}

async fn page<R: Report>(core: &Core, request: &Request) -> Result<Answer, Failure> {
    let page = core.ports.analytics.page::<R>(request).await.map_err(|error| failure(&error))?;
    let count = page.data.len();
    Ok(Answer::new(page.data, More { next_cursor: page.next_cursor }).counting(count))
}

fn failure(error: &Error) -> Failure {
    match error {
        Error::Unavailable(_) => {
            tracing::warn!(%error, "a read failed");
            Failure::unavailable("The analytics are unavailable")
        }
        Error::Behind => {
            tracing::warn!(%error, "a read failed");
            Failure::unavailable("The newest events are not counted yet")
        }
        Error::BadCursor => refused("cursor", "must be a nextCursor of this list"),
        Error::Corrupt(_) | Error::GivenUp => {
            tracing::error!(%error, "a read failed");
            Failure::internal()
        }
    }
}
