//! What an export holds, for whoever gets it.

use serde::Serialize;
use verbatim_audit::Range;
use verbatim_protocol::JournalId;

use crate::cli::{ExportArgs, Format};

/// The same events exported alike give the same manifest.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    pub journal: JournalId,
    pub format: Format,
    /// The first position, whether or not its event was chosen.
    pub from: u64,
    /// The last position; below `from` if there are none.
    pub to: u64,
    pub selection: Chosen,
    /// How many events were chosen.
    pub events: u64,
    pub files: Vec<FileEntry>,
}

/// What events had to be; an empty list asks for nothing in particular.
#[derive(Debug, Serialize)]
pub struct Chosen {
    types: Vec<&'static str>,
    conversations: Vec<String>,
    users: Vec<String>,
}

#[derive(Debug, Serialize)]
pub struct FileEntry {
    pub name: String,
    pub from: u64,
    pub to: u64,
    pub events: u64,
    pub bytes: u64,
    /// Of the whole file, in hex.
    pub sha256: String,
}

impl Manifest {
    /// One without files so far.
    pub fn new(journal: JournalId, args: &ExportArgs, range: Range) -> Self {
        let select = &args.select;
        Self {
            journal,
            format: args.format,
            from: range.first,
            to: range.last,
            selection: Chosen {
                types: select.types.iter().map(|kind| kind.as_str()).collect(),
                conversations: select.conversations.iter().map(ToString::to_string).collect(),
                users: select.users.iter().map(ToString::to_string).collect(),
            },
            events: 0,
            files: Vec::new(),
        }
    }
}
