//! Erasing what a user has said: the key that it is sealed with is destroyed, once that is journalled.

use std::future::Future;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;
use verbatim_domain::erasure::EraseSubject;
use verbatim_domain::{ErasureCommand, UserId};
use verbatim_keys::to_erase;
use verbatim_protocol::{Command, ErrorCode, Failure};

use super::payload::{SubjectErase, parse};
use super::reading::keys_failure;
use super::{Answer, Caller, Core};

/// What was erased.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Erasure {
    pub user_id: UserId,
}

pub(super) fn erase(
    core: &Arc<Core>,
    caller: &Arc<Caller>,
    payload: Option<&str>,
) -> Result<impl Future<Output = Result<Answer, Failure>> + Send + use<>, Failure> {
    if !caller.is_admin() {
        return Err(Failure::new(ErrorCode::Forbidden, "Only admins may erase content"));
    }
    let SubjectErase { user_id } = parse(payload)?;
    let (core, caller) = (Arc::clone(core), Arc::clone(caller));
    Ok(async move {
        let keys = to_erase(&**core.ports.keys.store(), &user_id).await;
        let Some(keys) = keys.map_err(|error| keys_failure(&error))? else {
            let failure = Failure::new(ErrorCode::NotFound, "This user has said nothing");
            return Err(failure.detail("userId", user_id.as_str()));
        };
        let duplicate = keys.is_empty();
        if !duplicate {
            let erase = EraseSubject {
                subject_id: user_id.clone(),
                keys: keys.clone(),
                erased_by: Some(caller.user_id.clone()),
            };
            let command = ErasureCommand::EraseSubject(erase);
            core.send(Command::Erasures { command }).await?;
            let destroyed = core.ports.keys.destroy(&user_id, &keys).await;
            destroyed.map_err(|error| keys_failure(&error))?;
        }
        Ok(Answer::made(Erasure { user_id }, duplicate))
    })
}
