//! What people write, and how much of it: the same rules whichever way it comes.

use verbatim_domain::conversation;
use verbatim_protocol::Failure;

use super::{Attachment, refused};
use crate::settings::Limits;

/// The highest number that every JSON reader keeps exact.
const MAX_NUMBER: u64 = (1 << 53) - 1;
/// Of a conversation's title.
pub const MAX_TITLE_CHARACTERS: usize = 200;
const MAX_NAME_CHARACTERS: usize = 255;
const MAX_URL_CHARACTERS: usize = 2_048;

/// A message's text.
///
/// # Errors
/// `bad_request`, with the broken rule.
pub fn check_content(content: &str, limits: &Limits) -> Result<(), Failure> {
    if content.is_empty() {
        return Err(refused("content", "must not be empty"));
    }
    if content.len() > limits.content_bytes {
        let rule = format!("must not be longer than {} bytes", limits.content_bytes);
        return Err(refused("content", &rule));
    }
    if content.contains('\0') {
        return Err(refused("content", "must not hold NUL"));
    }
    Ok(())
}

/// A message's attachments.
///
/// # Errors
/// `bad_request`, with the field and the broken rule.
pub fn check_attachments<A: File>(attachments: &[A], limits: &Limits) -> Result<(), Failure> {
    if attachments.len() > limits.attachments {
        let rule = format!("must not hold more than {} entries", limits.attachments);
        return Err(refused("attachments", &rule));
    }
    attachments.iter().enumerate().try_for_each(|(n, attachment)| {
        let (name, url, mime_type, size) = attachment.parts();
        let field = |name: &str| format!("attachments[{n}].{name}");
        line(&field("name"), name, MAX_NAME_CHARACTERS)?;
        if !is_web_address(url) {
            let rule =
                format!("must be an http or https URL of up to {MAX_URL_CHARACTERS} characters");
            return Err(refused(&field("url"), &rule));
        }
        if let Some(mime_type) = mime_type {
            line(&field("mimeType"), mime_type, MAX_NAME_CHARACTERS)?;
        }
        number(&field("size"), size)
    })
}

/// A file that a message names.
pub trait File {
    /// Name, URL, type and size.
    fn parts(&self) -> (&str, &str, Option<&str>, Option<u64>);
}

impl File for Attachment {
    fn parts(&self) -> (&str, &str, Option<&str>, Option<u64>) {
        (&self.name, &self.url, self.mime_type.as_deref(), self.size)
    }
}

impl File for conversation::Attachment {
    fn parts(&self) -> (&str, &str, Option<&str>, Option<u64>) {
        (&self.name, &self.url, self.mime_type.as_deref(), self.size)
    }
}

/// One line of text of 1 to `most` characters.
///
/// # Errors
/// `bad_request`, with the field and the rule.
pub fn line(field: &str, text: &str, most: usize) -> Result<(), Failure> {
    let fits = (1..=most).contains(&text.chars().count()) && !text.chars().any(char::is_control);
    if fits {
        return Ok(());
    }
    Err(refused(
        field,
        &format!("must be 1 to {most} characters, none of them a control character"),
    ))
}

pub(super) fn number(field: &str, value: Option<u64>) -> Result<(), Failure> {
    match value {
        Some(value) if value > MAX_NUMBER => Err(refused(field, "must be at most 2^53 - 1")),
        _ => Ok(()),
    }
}

/// Whether a browser would fetch it from the web: this scheme, some host, and nothing invisible.
fn is_web_address(url: &str) -> bool {
    let Some((scheme, rest)) = url.split_once("://") else { return false };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.split_once('@').map_or(authority, |(_user, host)| host);
    let invisible = |c: char| c <= ' ' || ('\u{7f}'..='\u{a0}').contains(&c);
    ["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known))
        && !(host.is_empty() || host.starts_with(':') || host.contains('@'))
        && !url.chars().any(invisible)
        && url.chars().count() <= MAX_URL_CHARACTERS
}
