//! Everything at once: small bounds, a journal that keeps failing, clients that keep retrying.

use std::collections::HashMap;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::memory::Mishap;
use super::*;

const CONVERSATIONS: u32 = 7;
const WINDOWS: usize = 30;
const WINDOW: usize = 12;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_the_journal_does_each_key_is_there_once_in_order_and_densely_numbered() {
    for seed in 0..6 {
        let settings = Settings {
            max_batch: 16,
            hot_members: 12,
            max_loads: 2,
            snapshot_every: 10,
            load_page: 5,
            max_parked: 20,
            recent_keys: if seed % 2 == 0 { 0 } else { 32 },
            ..Settings::default()
        };
        let service = Arc::new(Service::with(settings));
        let everybody = ["ann", "bob", "cy", "dan"];
        for n in 0..CONVERSATIONS {
            let others = everybody.map(str::to_owned);
            accepted(soon(service.give(group(&format!("c{n}"), "ann", &others))).await);
        }
        let sockets: Vec<_> = (0..8)
            .map(|socket| {
                let user = everybody[socket % everybody.len()];
                let random = StdRng::seed_from_u64(seed * 100 + socket as u64);
                tokio::spawn(chat(Arc::clone(&service), user, socket, random))
            })
            .collect();
        let mut committed = HashMap::new();
        for socket in sockets {
            committed.extend(socket.await.expect("no panic"));
        }
        let service = Arc::into_inner(service).expect("the sockets are gone");
        let journal = service.stop().await;
        check(&journal, &committed).await;
    }
}

/// Sends windows of messages, each message until it is accepted; gives its sequence by its key.
async fn chat(
    service: Arc<Service>,
    user: &'static str,
    socket: usize,
    mut random: StdRng,
) -> HashMap<CommandKey, (String, u64)> {
    let mut committed = HashMap::new();
    for window in 0..WINDOWS {
        let mut open: Vec<_> = (0..WINDOW)
            .map(|n| {
                let id = format!("c{}", random.random_range(0..CONVERSATIONS));
                let key = format!("{socket}/{window}/{n}");
                (id.clone(), named(user, &id, &key, &key))
            })
            .collect();
        let mut attempt = 0;
        while !open.is_empty() {
            let mishap = match random.random_range(0..40) {
                0 => Some(Mishap::Fail),
                1 => Some(Mishap::LoseTheAnswer),
                2 => Some(Mishap::Conflict),
                _ => None,
            };
            if let Some(mishap) = mishap {
                service.journal.next_append(mishap);
            }
            // Now and then everything is sent twice.
            let twice = random.random_range(0..5) == 0;
            let replies: Vec<_> =
                open.iter().map(|(_, envelope)| service.give(envelope.clone())).collect();
            let again: Vec<_> = open
                .iter()
                .filter(|_| twice)
                .map(|(_, envelope)| {
                    let command_id = Uuid::now_v7();
                    service.give(CommandEnvelope { command_id, ..envelope.clone() })
                })
                .collect();
            let mut left = Vec::new();
            let mut last: HashMap<String, u64> = HashMap::new();
            for ((id, envelope), reply) in open.into_iter().zip(all(replies).await) {
                let reply = match reply {
                    Ok(reply) => reply,
                    Err(failure) => {
                        assert_eq!(failure.code, ErrorCode::Unavailable, "{failure}");
                        left.push((id, envelope));
                        continue;
                    }
                };
                let number = reply.message.expect("a message").sent.sequence;
                if attempt == 0 && !reply.duplicate {
                    let before = last.insert(id.clone(), number);
                    assert!(before.is_none_or(|before| before < number), "{before:?} {number}");
                }
                committed.insert(envelope.key, (id, number));
            }
            for reply in all(again).await {
                let is_unknown = reply.as_ref().is_err_and(|f| f.code == ErrorCode::Unavailable);
                assert!(is_unknown || reply.is_ok(), "{reply:?}");
            }
            open = left;
            attempt += 1;
        }
    }
    committed
}

async fn check(journal: &MemoryJournal, committed: &HashMap<CommandKey, (String, u64)>) {
    assert_eq!(committed.len(), 8 * WINDOWS * WINDOW);
    let mut total = 0;
    for n in 0..CONVERSATIONS {
        let id = format!("c{n}");
        total += said(journal, &id).await.len();
        for recorded in stream(journal, &id).await {
            if let Event::Conversation(ConversationEvent::MessageSent(sent)) = &recorded.event {
                let key = recorded.command.as_ref().expect("the last event has the key");
                assert_eq!(committed[key], (id.clone(), sent.sequence), "as it was answered");
            }
        }
    }
    assert_eq!(total, committed.len(), "each message is there once");
}
