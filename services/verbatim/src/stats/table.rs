//! Figures as a table, and on a terminal as sparklines above it.

use std::collections::BTreeMap;
use std::fmt::Write;

use verbatim_analytics::{Connections, Deliveries, Durations, Responses, Row};
use verbatim_protocol::Timestamp;

use super::{Range, Stats};

/// The figures of one line of the table.
#[derive(Default)]
struct Line {
    messages: u64,
    users: u64,
    deliveries: Option<Deliveries>,
    responses: Option<Responses>,
    connections: Option<Connections>,
}

/// A bucket, and the conversation or the role.
type Place = (Timestamp, String);

/// What is said of a line, from the left; `None` where there is nothing to say.
struct Column {
    name: &'static str,
    text: fn(&Line) -> Option<String>,
}

const COLUMNS: [Column; 14] = [
    Column { name: "messages", text: |line| Some(line.messages.to_string()) },
    Column { name: "users", text: |line| Some(line.users.to_string()) },
    Column { name: "recipients", text: |line| delivery(line, |of| of.recipients) },
    Column { name: "delivered", text: |line| delivery(line, |of| of.acknowledged + of.presumed) },
    Column { name: "offline", text: |line| delivery(line, |of| of.offline) },
    Column { name: "pending", text: |line| delivery(line, |of| of.pending) },
    Column { name: "delivery p50", text: |line| took(delivered(line), |took| took.p50_ms) },
    Column { name: "p99", text: |line| took(delivered(line), |took| took.p99_ms) },
    Column { name: "questions", text: |line| response(line, |of| of.questions) },
    Column { name: "answered", text: |line| response(line, |of| of.answered) },
    Column { name: "answer p50", text: |line| took(answered(line), |took| took.p50_ms) },
    Column { name: "p99", text: |line| took(answered(line), |took| took.p99_ms) },
    Column {
        name: "sockets",
        text: |line| line.connections.as_ref().map(|of| format!("{:.1}", of.mean_sockets)),
    },
    Column {
        name: "peak",
        text: |line| line.connections.as_ref().map(|of| of.peak_sockets.to_string()),
    },
];

/// Those of connections, at the end.
const OF_CONNECTIONS: usize = 2;

fn delivery(line: &Line, figure: fn(&Deliveries) -> u64) -> Option<String> {
    line.deliveries.as_ref().map(|of| figure(of).to_string())
}

fn response(line: &Line, figure: fn(&Responses) -> u64) -> Option<String> {
    line.responses.as_ref().map(|of| figure(of).to_string())
}

fn delivered(line: &Line) -> Option<Durations> {
    line.deliveries.as_ref()?.time_to_delivery
}

fn answered(line: &Line) -> Option<Durations> {
    line.responses.as_ref()?.response_time
}

fn took(durations: Option<Durations>, figure: fn(&Durations) -> u64) -> Option<String> {
    durations.map(|durations| duration(figure(&durations)))
}

/// A duration in the unit in which it reads best.
fn duration(ms: u64) -> String {
    let seconds = ms as f64 / 1_000.0;
    match seconds {
        _ if ms < 1_000 => format!("{ms}ms"),
        _ if seconds < 60.0 => format!("{seconds:.1}s"),
        _ if seconds < 3_600.0 => format!("{:.1}m", seconds / 60.0),
        _ if seconds < 48.0 * 3_600.0 => format!("{:.1}h", seconds / 3_600.0),
        _ => format!("{:.1}d", seconds / 86_400.0),
    }
}

/// The table, with sparklines above it where `lively`.
pub fn show(stats: &Stats, range: Range, lively: bool) -> String {
    let lines = lines(stats);
    let mut text = String::new();
    if lines.is_empty() {
        return format!("nothing happened from {} on to {}\n", range.first, range.last);
    }
    if lively && range.by.is_time_alone() {
        sparklines(&lines, range, &mut text);
    }
    let columns = if stats.connections.is_some() {
        &COLUMNS[..]
    } else {
        &COLUMNS[..COLUMNS.len() - OF_CONNECTIONS]
    };
    let named = !range.by.is_time_alone();
    let mut heads = vec!["start"];
    heads.extend(named.then_some("of"));
    heads.extend(columns.iter().map(|column| column.name));
    let mut table: Vec<Vec<String>> = vec![heads.into_iter().map(str::to_owned).collect()];
    for ((start, name), line) in &lines {
        let mut row = vec![short(*start, range)];
        row.extend(named.then(|| printable(name)));
        let figures = columns.iter().map(|column| (column.text)(line).unwrap_or("-".to_owned()));
        row.extend(figures);
        table.push(row);
    }
    let left = if named { 2 } else { 1 };
    write_table(&table, left, &mut text);
    text
}

fn lines(stats: &Stats) -> BTreeMap<Place, Line> {
    fn place<R>(row: &Row<R>) -> Place {
        let id = row.conversation_id.as_ref().map(ToString::to_string);
        (row.start, id.or(row.role.clone()).unwrap_or_default())
    }
    let mut lines = BTreeMap::<Place, Line>::new();
    for row in &stats.messages {
        lines.entry(place(row)).or_default().messages = row.figures.messages;
    }
    for row in &stats.users {
        lines.entry(place(row)).or_default().users = row.figures.users;
    }
    for row in &stats.deliveries {
        lines.entry(place(row)).or_default().deliveries = Some(row.figures.clone());
    }
    for row in &stats.responses {
        lines.entry(place(row)).or_default().responses = Some(row.figures.clone());
    }
    for row in stats.connections.iter().flatten() {
        lines.entry(place(row)).or_default().connections = Some(row.figures.clone());
    }
    lines
}

/// The day, or the day and the hour.
fn short(start: Timestamp, range: Range) -> String {
    let text = start.to_string();
    let length = if range.by.length().as_secs() < 86_400 {
        "2024-01-01T10:00".len()
    } else {
        "2024-01-01".len()
    };
    text.get(..length).unwrap_or(&text).replace('T', " ")
}

/// A role may be anything; nothing of it may act on the terminal.
fn printable(name: &str) -> String {
    name.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// Text columns are flush left, figures flush right.
fn write_table(table: &[Vec<String>], left: usize, text: &mut String) {
    let columns = table.first().map_or(0, Vec::len);
    let width = |column: usize| table.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<_> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    for row in table {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| {
            if column < left { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        let line = cells.collect::<Vec<_>>().join("  ");
        let _ = writeln!(text, "{}", line.trim_end());
    }
}

/// The most marks of a sparkline; where there are more buckets, several share one.
const MARKS: usize = 60;
const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// One line of a figure over time, and how high it goes.
struct Spark {
    name: &'static str,
    figure: fn(&Line) -> u64,
    height: fn(u64) -> String,
}

const SPARKS: [Spark; 5] = [
    Spark { name: "messages", figure: |line| line.messages, height: |n| n.to_string() },
    Spark { name: "users", figure: |line| line.users, height: |n| n.to_string() },
    Spark {
        name: "delivery p50",
        figure: |line| delivered(line).map_or(0, |took| took.p50_ms),
        height: duration,
    },
    Spark {
        name: "answer p50",
        figure: |line| answered(line).map_or(0, |took| took.p50_ms),
        height: duration,
    },
    Spark {
        name: "peak sockets",
        figure: |line| line.connections.as_ref().map_or(0, |of| of.peak_sockets),
        height: |n| n.to_string(),
    },
];

fn sparklines(lines: &BTreeMap<Place, Line>, range: Range, text: &mut String) {
    let (Some(((first, _), _)), Some(((last, _), _))) =
        (lines.first_key_value(), lines.last_key_value())
    else {
        return;
    };
    let length = range.by.length().as_millis() as i64;
    let buckets = ((last.0 - first.0) / length + 1) as usize;
    let share = buckets.div_ceil(MARKS);
    for spark in &SPARKS {
        let mut marks = vec![0; buckets.div_ceil(share)];
        for ((start, _), line) in lines {
            let mark = ((start.0 - first.0) / length) as usize / share;
            marks[mark] = (spark.figure)(line).max(marks[mark]);
        }
        let highest = marks.iter().copied().max().unwrap_or(0);
        let drawn: String = marks.iter().map(|n| mark(*n, highest)).collect();
        let _ = writeln!(text, "{:<13} {drawn}  up to {}", spark.name, (spark.height)(highest));
    }
    text.push('\n');
}

/// Nothing is a space.
fn mark(n: u64, highest: u64) -> char {
    match n {
        0 => ' ',
        _ => HEIGHTS[((n as f64 / highest as f64 * 8.0).ceil() as usize).clamp(1, 8) - 1],
    }
}

#[cfg(test)]
mod tests {
    use verbatim_analytics::{By, Messages, Users};

    use super::*;

    fn stats(by: By, counts: &[(&str, Option<&str>, u64)]) -> (Stats, Range) {
        let time = |text: &str| text.parse().expect("a time");
        let messages = counts.iter().map(|(start, role, messages)| Row {
            start: time(start),
            conversation_id: None,
            role: role.map(str::to_owned),
            figures: Messages { messages: *messages },
        });
        let messages: Vec<_> = messages.collect();
        let users = messages.iter().map(|row| Row {
            start: row.start,
            conversation_id: None,
            role: row.role.clone(),
            figures: Users { users: 1 },
        });
        let users = users.collect();
        let (first, last) = (time("2024-01-01T00:00:00Z"), time("2024-01-31T00:00:00Z"));
        let connections = by.is_time_alone().then(Vec::new);
        let stats =
            Stats { messages, users, deliveries: Vec::new(), responses: Vec::new(), connections };
        (stats, Range { by, first, last })
    }

    #[test]
    fn a_table_has_a_line_for_each_bucket_in_which_something_happened() {
        let counts = [("2024-01-01T00:00:00Z", None, 5), ("2024-01-03T00:00:00Z", None, 10_000)];
        let (stats, range) = stats(By::DAY, &counts);
        let table = show(&stats, range, false);
        let lines: Vec<Vec<_>> =
            table.lines().map(|line| line.split_whitespace().take(3).collect()).collect();
        assert_eq!(
            lines,
            [
                ["start", "messages", "users"],
                ["2024-01-01", "5", "1"],
                ["2024-01-03", "10000", "1"]
            ]
        );
        assert!(table.is_ascii(), "{table}");
    }

    #[test]
    fn a_terminal_shows_how_figures_went() {
        let counts = [
            ("2024-01-01T00:00:00Z", None, 1),
            ("2024-01-03T00:00:00Z", None, 4),
            ("2024-01-04T00:00:00Z", None, 8),
        ];
        let (stats, range) = stats(By::DAY, &counts);
        assert!(show(&stats, range, true).starts_with("messages      ▁ ▄█  up to 8\nusers"));
    }

    #[test]
    fn what_a_role_is_called_cannot_act_on_the_terminal() {
        let by = "hour,role".parse().expect("a way");
        let (stats, range) = stats(by, &[("2024-01-01T10:00:00Z", Some("a\u{1b}[2Jb"), 1)]);
        let table = show(&stats, range, true);
        assert!(table.contains("2024-01-01 10:00  a\u{fffd}[2Jb"), "{table}");
        assert!(!table.contains("sockets"));
    }

    #[test]
    fn durations_are_told_in_the_unit_in_which_they_read_best() {
        for (ms, told) in [
            (0, "0ms"),
            (999, "999ms"),
            (1_000, "1.0s"),
            (90_000, "1.5m"),
            (7_200_000, "2.0h"),
            (259_200_000, "3.0d"),
        ] {
            assert_eq!(duration(ms), told);
        }
    }
}
