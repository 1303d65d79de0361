//! The same with the real journal.

use std::path::Path;

use verbatim_journal::sqlite::SqliteJournal;

use super::*;

async fn open(folder: &Path) -> Arc<SqliteJournal> {
    let path = folder.join("journal.sqlite");
    Arc::new(SqliteJournal::open(&path).await.expect("the journal opens"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_conversations_are_dense_in_a_real_journal_and_after_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = Settings { hot_members: 60, snapshot_every: 50, ..Settings::default() };
    let service = Service::start(open(folder.path()).await, settings);
    let send = |service: &Service<SqliteJournal>, n: usize| {
        let id = if n.is_multiple_of(2) { "hot".to_owned() } else { format!("c{}", n % 101) };
        service.give(to_target(named("ann", &id, &n.to_string(), &format!("k{n}")), "bob"))
    };
    let replies = all((0..4_000).map(|n| send(&service, n)).collect::<Vec<_>>()).await;
    let originals: Vec<_> = replies.into_iter().map(accepted).collect();
    service.stop().await.close().await.expect("a clean end");

    let service = Service::start(open(folder.path()).await, settings);
    let repeated = all((0..4_000).map(|n| send(&service, n)).collect::<Vec<_>>()).await;
    for (original, repeated) in originals.into_iter().zip(repeated) {
        assert_eq!(accepted(repeated), Committed { duplicate: true, ..original });
    }
    assert_eq!(sequence(soon(service.say("ann", "hot", "fresh")).await), 2_001);
    let journal = service.stop().await;
    assert_eq!(said(&*journal, "hot").await.len(), 2_001);
    let mut total = 2_001;
    for n in 0..101 {
        total += said(&*journal, &format!("c{n}")).await.len();
    }
    assert_eq!(total, 4_001);
    journal.close().await.expect("a clean end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_group_in_a_real_journal() {
    let folder = tempfile::tempdir().expect("a folder");
    let service = Service::start(open(folder.path()).await, Settings::default());
    let members: Vec<_> = (0..1_000).map(|n| format!("member_{n}")).collect();
    let created = accepted(soon(service.give(group("g", "ann", &members))).await);
    assert_eq!(created.position, 1_002);
    let replies = members.iter().map(|member| service.say(member, "g", "Hello!"));
    let replies = all(replies.collect::<Vec<_>>()).await;
    assert!(replies.into_iter().map(sequence).eq(1..=1_000));
    let journal = service.stop().await;
    let service = Service::start(journal, Settings::default());
    assert_eq!(sequence(soon(service.say("ann", "g", "Hello!")).await), 1_001);
}
