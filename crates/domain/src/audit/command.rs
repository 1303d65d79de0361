//! What may be asked of the record.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Accessed;
use crate::UserId;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum AuditCommand {
    RecordAccess(RecordAccess),
}

/// Notes what is about to be shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecordAccess {
    pub accessor_id: UserId,
    pub accessed: Accessed,
}
