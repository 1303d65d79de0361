use super::*;
use crate::conformance::{Limits, Subject};
use crate::in_process::Capacity;

mod conformance {
    use super::*;

    async fn make(limits: Limits) -> Subject {
        let mut options = options();
        options.capacity = Capacity {
            commands: limits.commands,
            events: limits.subscription,
            frames: limits.subscription,
            presence: limits.subscription,
        };
        let bus = Arc::new(open(options).await);
        let closing = Arc::clone(&bus);
        Subject { bus, close: Box::new(move || closing.close()) }
    }

    crate::conformance_tests!(make);
}

/// The test server, with subjects and a stream that no other test uses.
fn options() -> NatsOptions {
    let url = std::env::var("VERBATIM_TEST_NATS_URL").expect(
        "VERBATIM_TEST_NATS_URL is not set: `eval \"$(scripts/services start)\"` starts a server",
    );
    NatsOptions {
        prefix: format!("test-{:032x}", rand::random::<u128>()),
        stream: StreamOptions { max_bytes: 4 << 20, ..StreamOptions::default() },
        ..NatsOptions::new(url)
    }
}

async fn open(options: NatsOptions) -> Nats {
    let nats = Nats::connect(options).await.expect("a connection");
    nats.ensure_stream().await.expect("a stream");
    nats
}
