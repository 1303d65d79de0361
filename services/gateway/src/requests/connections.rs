//! Who is connected.

use std::future::{Future, ready};
use std::sync::Arc;

use verbatim_protocol::client::TotalConnections;
use verbatim_protocol::{ErrorCode, Failure};

use super::payload::{ConnectionGet, parse};
use super::{Answer, Caller, Core};
use crate::settings::ConnectionList;

pub(super) fn get(
    core: &Arc<Core>,
    caller: &Arc<Caller>,
    payload: Option<&str>,
) -> Result<impl Future<Output = Result<Answer, Failure>> + Send + use<>, Failure> {
    let ConnectionGet {} = parse(payload)?;
    if core.settings.connection_list == ConnectionList::Admins && !caller.is_admin() {
        return Err(Failure::new(ErrorCode::Forbidden, "Only admins may see all connections"));
    }
    let connections = core.presence.connections();
    let extra = TotalConnections { total_connections: connections.len(), next_cursor: None };
    let count = connections.len();
    Ok(ready(Ok(Answer::new(connections, extra).counting(count))))
}
