//! postgres-es over the events table.

use cqrs_es::persist::PersistedEventRepository;
use postgres_es::PostgresEventRepository;
use verbatim_domain::{Conversation, Event, StreamId};
use verbatim_postgres::testing::TestDatabase;

use crate::Log;
use crate::conformance::{Place, append_one, committed, conversation, message, messages};

#[tokio::test]
async fn postgres_es_reads_the_events_table() {
    let place = TestDatabase::new().await;
    let journal = place.open().await;
    let stream = conversation("a");
    committed(append_one(&journal, messages(&stream, 0, "1", 2)).await);
    committed(append_one(&journal, message(&conversation("b"), 0, "2")).await);
    committed(append_one(&journal, message(&stream, 2, "it's ä 🦀")).await);
    let repository = PostgresEventRepository::new(place.connect().await.pool().clone())
        .with_tables("journal.events", "journal.snapshots");
    let events = repository.get_events::<Conversation>("a").await.expect("events");
    let recorded = journal.read_stream(&stream, 0, 10).await.expect("events");
    assert_eq!(events.len(), 3);
    for (event, recorded) in events.iter().zip(&recorded) {
        assert_eq!(event.aggregate_type, recorded.stream.aggregate_type.as_str());
        assert_eq!(event.sequence as u64, recorded.sequence);
        assert_eq!(event.metadata.to_string(), *recorded.metadata);
        let payload = event.payload.to_string();
        let kind = recorded.stream.aggregate_type;
        let read = Event::decode(kind, &event.event_type, &event.event_version, &payload);
        assert_eq!(read.expect("an event"), recorded.event);
    }
}

#[tokio::test]
async fn a_whole_stream_is_replayed_past_all_pages() {
    let place = TestDatabase::new().await;
    let journal = place.open().await;
    let stream = conversation("group");
    committed(append_one(&journal, message(&conversation("before"), 0, "0")).await);
    committed(append_one(&journal, messages(&stream, 0, "1", 1_000)).await);
    committed(append_one(&journal, messages(&stream, 1_000, "2", 7)).await);
    let mut replayed = Vec::new();
    let sequence = journal.replay(&stream, |event| replayed.push(event)).await.expect("events");
    let recorded = journal.read_stream(&stream, 0, 2_000).await.expect("events");
    assert_eq!(sequence, 1_007);
    assert_eq!(replayed, recorded.iter().map(|event| event.event.clone()).collect::<Vec<_>>());
    let nobody = StreamId::inbox(&"group".parse().expect("an id"));
    assert_eq!(journal.replay(&nobody, drop).await.expect("no events"), 0);
}
