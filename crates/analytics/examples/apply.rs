//! Has analytics in a temporary folder take messages in, and prints how long it took.
//!
//! `cargo run --release -p verbatim-analytics --features conformance --example apply -- [messages] [batch] [conversations]`

use std::sync::Arc;
use std::time::{Duration, Instant};

use verbatim_analytics::conformance::JOURNAL;
use verbatim_analytics::conformance::history::History;
use verbatim_analytics::{Analytics, SqliteAnalytics};
use verbatim_domain::inbox::DeliveryOutcome;

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<usize>());
    let mut argument = |default| arguments.next().unwrap_or(Ok(default));
    let messages = argument(300_000)?.clamp(1, 10_000_000);
    let batch = argument(10_000)?.clamp(1, 10_000);
    let conversations = argument(1_000)?.clamp(1, 100_000);

    let folder = tempfile::tempdir()?;
    let path = folder.path().join("analytics.sqlite");
    let analytics = Analytics::new(Arc::new(SqliteAnalytics::open(&path, JOURNAL).await?));
    let mut history = History::at("2024-01-01T00:00:00Z");
    let talks: Vec<_> =
        (0..conversations).map(|n| (format!("conversation-{n}"), format!("user-{n}"))).collect();
    for (talk, user) in &talks {
        history.join(talk, "agent");
        history.join(talk, user);
    }
    let mut applying = Duration::ZERO;
    let mut events = 0;
    for sent in 0..messages {
        // Steps that spread over all conversations, the same in every run. Each is answered.
        let (talk, user) = &talks[(sent / 2).wrapping_mul(7_919) % conversations];
        let (sender, recipient, role) =
            if sent % 2 == 0 { (&**user, "agent", "user") } else { ("agent", &**user, "agent") };
        let position = history.wait(20).say(talk, sender, role);
        // Of what was said a while ago it becomes known that it has arrived.
        history.deliver(recipient, position.saturating_sub(2_000), DeliveryOutcome::Presumed);
        if history.events().len() >= batch || sent + 1 == messages {
            let (new, started) = (history.take(), Instant::now());
            analytics.apply(&new).await?;
            applying += started.elapsed();
            events += new.len();
        }
    }
    let rate = events as f64 / applying.as_secs_f64();
    let size = std::fs::metadata(&path)?.len() / 1_024;
    println!(
        "took in {events} events, {messages} messages of {conversations} conversations, in batches \
         of {batch}: {rate:.0}/s; the file has {size} KiB"
    );
    Ok(())
}
