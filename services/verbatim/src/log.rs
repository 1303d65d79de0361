//! The log: lines for people, in which the socket lines read as operators grep for them, or JSON.
//!
//! Lines are handed to a writer thread of their own; what it can't take is dropped and counted, so
//! that a slow terminal never holds up a message.

use std::fmt::{self, Write};

use anyhow::Context;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::registry::Registry;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::{EnvFilter, filter_fn};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use verbatim_protocol::Timestamp;

use crate::settings::LogSettings;

/// The target of the lines that begin with `[SOCKET]`.
const SOCKET_TARGET: &str = "verbatim::socket";

/// Lines that may wait for the writer thread.
const WAITING_LINES: usize = 65_536;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Pretty,
    Json,
}

/// Keeps the writer thread; what waits is written when it is dropped.
pub struct Log {
    _guard: WorkerGuard,
    pub dropped: ErrorCounter,
}

/// Sends the log to standard output.
pub fn start(settings: &LogSettings) -> anyhow::Result<Log> {
    let filter = EnvFilter::try_new(&settings.level).context("LOG_LEVEL")?;
    let (writer, guard) = NonBlockingBuilder::default()
        .buffered_lines_limit(WAITING_LINES)
        .lossy(true)
        .thread_name("log")
        .finish(std::io::stdout());
    let dropped = writer.error_counter();
    let registry = tracing_subscriber::registry().with(filter).with(filter_fn(is_discreet));
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    match settings.format {
        Format::Pretty => registry.with(lines.event_format(Pretty)).init(),
        Format::Json => registry.with(lines.json().flatten_event(true)).init(),
    }
    Ok(Log { _guard: guard, dropped })
}

/// Whether lines of this kind never show a token or what was said. Below `info`, libraries print
/// whole packets and headers, whichever they are: only our own lines are known to be fit. And what
/// they tell of themselves at `info` is of no use to operators.
fn is_discreet(metadata: &Metadata<'_>) -> bool {
    *metadata.level() <= Level::WARN || is_ours(metadata.target())
}

fn is_ours(target: &str) -> bool {
    let rest = target.strip_prefix("verbatim");
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['_', ':']))
}

/// Counts the lines that were dropped.
pub fn metrics(log: &Log, registry: &mut Registry) {
    registry.register_collector(Box::new(DroppedLines(log.dropped.clone())));
}

struct DroppedLines(ErrorCounter);

impl fmt::Debug for DroppedLines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DroppedLines")
    }
}

impl Collector for DroppedLines {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let dropped = ConstCounter::new(self.0.dropped_lines() as u64);
        let encoder = encoder.encode_descriptor(
            "verbatim_log_lines_dropped",
            "Log lines that the writer could not take in time",
            None,
            dropped.metric_type(),
        )?;
        dropped.encode(encoder)
    }
}

struct Pretty;

impl<S, N> FormatEvent<S, N> for Pretty
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = Line::default();
        event.record(&mut line);
        let metadata = event.metadata();
        if metadata.target() == SOCKET_TARGET {
            write!(writer, "[SOCKET] [{}] {}", line.socket, line.message)?;
        } else {
            let (level, target) = (metadata.level(), metadata.target());
            write!(writer, "{} {level:>5} {target}: {}", Timestamp::now(), line.message)?;
        }
        if !line.fields.is_empty() {
            write!(writer, " {{ {} }}", line.fields)?;
        }
        writeln!(writer)
    }
}

/// An event's fields, written out. Whatever a client sent is escaped, so that it can't begin a line
/// of its own.
#[derive(Default)]
struct Line {
    socket: String,
    message: String,
    fields: String,
}

impl Line {
    fn field(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        let separator = if self.fields.is_empty() { "" } else { ", " };
        // Writing to a string can't fail.
        let _ = write!(self.fields, "{separator}{}: {value}", field.name());
    }

    fn text(&mut self, field: &Field, value: &str) {
        match field.name() {
            "socket" => self.socket = unbroken(value),
            "message" => self.message = unbroken(value),
            _ => self.field(field, format_args!("{value:?}")),
        }
    }
}

fn unbroken(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() || matches!(character, '\u{2028}' | '\u{2029}') {
            line.extend(character.escape_default());
        } else {
            line.push(character);
        }
    }
    line
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.field(field, format_args!("{value}"));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.field(field, format_args!("{value}"));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.field(field, format_args!("{value}"));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.field(field, format_args!("{value}"));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.text(field, &value.to_string());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.text(field, &format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("not poisoned").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn lines(log: impl FnOnce()) -> String {
        let captured = Captured::default();
        let writer = captured.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .event_format(Pretty)
            .finish();
        tracing::subscriber::with_default(subscriber, log);
        let bytes = captured.0.lock().expect("not poisoned").clone();
        String::from_utf8(bytes).expect("text")
    }

    #[test]
    fn socket_lines_read_as_operators_grep_for_them() {
        let line = lines(|| {
            tracing::info!(
                target: "verbatim::socket",
                socket = "AbC",
                userId = "user_1",
                totalConnections = 5_u64,
                "User connected"
            );
        });
        assert_eq!(
            line,
            "[SOCKET] [AbC] User connected { userId: \"user_1\", totalConnections: 5 }\n"
        );
    }

    #[test]
    fn below_info_only_our_own_lines_are_let_through() {
        let captured = Captured::default();
        let writer = captured.clone();
        let lines = tracing_subscriber::fmt::layer().with_writer(move || writer.clone());
        let subscriber = tracing_subscriber::registry()
            .with(EnvFilter::new("trace,tungstenite=trace"))
            .with(filter_fn(is_discreet))
            .with(lines);
        tracing::subscriber::with_default(subscriber, || {
            tracing::trace!(target: "log", "secret");
            tracing::debug!(target: "tungstenite::protocol", "secret");
            tracing::debug!(target: "hyper::proto", "secret");
            tracing::trace!(target: "verbatimly", "secret");
            tracing::info!(target: "hyper", "secret");
            tracing::warn!(target: "hyper", "a library's");
            tracing::trace!(target: "verbatim", "one");
            tracing::trace!(target: "verbatim::socket", "two");
            tracing::debug!(target: "verbatim_gateway::delivery", "three");
        });
        let bytes = captured.0.lock().expect("not poisoned").clone();
        let text = String::from_utf8(bytes).expect("text");
        assert!(!text.contains("secret"), "{text}");
        assert_eq!(text.lines().count(), 4, "{text}");
    }

    #[test]
    fn nothing_that_a_client_sent_begins_a_line() {
        let forged = "x\n[SOCKET] [y] User connected\u{2028}\u{85}\r\" }";
        let line = lines(|| {
            tracing::info!(target: "verbatim::socket", socket = "s", userId = forged, "a {forged}");
            tracing::warn!(error = %forged, "b {forged}");
        });
        assert_eq!(line.lines().count(), 2, "{line}");
        assert!(!line.contains(['\r', '\u{85}', '\u{2028}']), "{line}");
    }
}
