//! Several workers that share a journal in `PostgreSQL` and a bus on NATS: each command is carried out
//! once and answered, whoever owns its lane, and whatever becomes of its owner.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::registry::Registry;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use verbatim_aggregate::{Aggregate, Settings};
use verbatim_bus::nats::{NatsOptions, Topics};
use verbatim_bus::{Bus, Nats, ReplyFuture};
use verbatim_domain::conversation::{Author, PersonalMessage, SendMessage};
use verbatim_domain::{ConversationCommand, ConversationEvent, Event, LANES, MessageId, UserId};
use verbatim_journal::{Journal, Lanes, Log, PostgresJournal};
use verbatim_postgres::Database;
use verbatim_postgres::testing::TestDatabase;
use verbatim_protocol::{Command, CommandEnvelope, CommandKey, Committed, Timestamp};

/// Nothing takes longer, unless it is broken.
const PATIENCE: Duration = Duration::from_secs(40);

struct Cluster {
    place: TestDatabase,
    options: NatsOptions,
    database: Database,
    journal: Arc<PostgresJournal>,
    /// What gives the commands.
    gateway: Nats,
}

struct Worker {
    end: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Worker {
    /// Ends it as a shutdown does.
    async fn stop(self) {
        self.end.cancel();
        soon(self.task).await.expect("no panic").expect("a clean end");
    }

    /// Ends it as a crash does: it gives nothing up.
    async fn crash(self) {
        self.task.abort();
        assert!(self.task.await.is_err_and(|error| error.is_cancelled()));
    }
}

impl Cluster {
    async fn new() -> Self {
        let place = TestDatabase::create().await;
        let database = place.connect().await;
        PostgresJournal::migrate(&database).await.expect("the schema is made");
        let journal = PostgresJournal::open(database.clone()).await.expect("it opens");
        let url = std::env::var("VERBATIM_TEST_NATS_URL");
        let mut options =
            NatsOptions::new(url.expect("NATS runs: eval \"$(scripts/services start)\""));
        options.prefix = format!("test_{}", Uuid::now_v7().simple());
        options.topics = Topics::AGGREGATE;
        let gateway = Nats::connect(options.clone()).await.expect("NATS answers");
        Self { place, options, database, journal: Arc::new(journal), gateway }
    }

    async fn worker(&self) -> Worker {
        let journal = PostgresJournal::open(self.place.connect().await).await.expect("it opens");
        let journal = Arc::new(journal);
        let bus = Nats::connect(self.options.clone()).await.expect("NATS answers");
        bus.ensure_stream().await.expect("the stream is there");
        let settings = Settings {
            lease: Duration::from_millis(1_500),
            renew_every: Duration::from_millis(200),
            ..Settings::default()
        };
        let aggregate =
            Aggregate::new(journal.clone(), Arc::new(bus), settings, &mut Registry::default())
                .sharing(journal);
        let end = CancellationToken::new();
        let task = tokio::spawn(aggregate.run(end.clone()));
        Worker { end, task }
    }

    /// Waits until each lane has an owner who lives.
    async fn owned(&self) {
        let end = Instant::now() + PATIENCE;
        while let Err(error) = self.journal.check_writable().await {
            assert!(Instant::now() < end, "{error}");
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// How many lanes each worker has.
    async fn shares(&self) -> Vec<i64> {
        let sql = "select count(*) from journal.lanes where owner is not null
                   group by owner order by 1";
        self.database
            .run(|c| Box::pin(sqlx::query_scalar(sql).fetch_all(c)))
            .await
            .expect("an answer")
    }

    async fn until_shared_as(&self, shares: &[i64]) {
        let end = Instant::now() + PATIENCE;
        while self.shares().await != shares {
            assert!(Instant::now() < end, "{:?}", self.shares().await);
            sleep(Duration::from_millis(50)).await;
        }
    }

    fn say(&self, conversation: usize, number: usize) -> ReplyFuture {
        self.gateway.send(said(conversation, number, Uuid::now_v7()))
    }

    /// Says it again and again, with the same key, until it is carried out.
    async fn insist(&self, conversation: usize, number: usize) -> Committed {
        let end = Instant::now() + PATIENCE;
        loop {
            match self.say(conversation, number).await {
                Ok(committed) => return committed,
                Err(failure) => assert!(failure.retryable && Instant::now() < end, "{failure}"),
            }
        }
    }

    /// Every message is there once, and numbered without gaps in the order in which it was said.
    async fn assert_told(&self, conversations: usize, messages: usize) {
        let mut told: HashMap<Arc<str>, Vec<(u64, String)>> = HashMap::new();
        let mut after = 0;
        loop {
            let page = self.journal.read_after(after, 1_000).await.expect("events");
            let Some(last) = page.last() else { break };
            after = last.position;
            for recorded in page {
                if let Event::Conversation(ConversationEvent::MessageSent(sent)) = &recorded.event {
                    let said = sent.personal.plain().expect("it was plain");
                    let content = said.content.clone();
                    let id = recorded.stream.aggregate_id.clone();
                    told.entry(id).or_default().push((sent.sequence, content));
                }
            }
        }
        assert_eq!(told.len(), conversations);
        for (id, said) in told {
            let expected: Vec<_> = (0..messages).map(|n| (n as u64 + 1, n.to_string())).collect();
            assert_eq!(said, expected, "{id}");
        }
    }
}

fn said(conversation: usize, number: usize, command_id: Uuid) -> CommandEnvelope {
    let user = |id: &str| id.parse::<UserId>().expect("a user id");
    let send = SendMessage {
        message_id: MessageId(command_id),
        author: Author { user_id: user("ann"), role: "user".to_owned() },
        target: Some(user("bob")),
        client_message_id: None,
        personal: PersonalMessage::text(&number.to_string()).into(),
    };
    CommandEnvelope {
        command_id,
        key: CommandKey { issuer: "ann".into(), key: format!("{conversation}/{number}").into() },
        deadline: Timestamp(Timestamp::now().0 + 5_000),
        traceparent: None,
        command: Command::Conversation {
            id: format!("conv_{conversation}").parse().expect("an id"),
            command: ConversationCommand::SendMessage(send),
        },
    }
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(PATIENCE, what).await.expect("it should have happened by now")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_ends_leaves_no_lane_behind_whenever_that_is() {
    let cluster = Cluster::new().await;
    for round in 0..12 {
        let worker = cluster.worker().await;
        // In the middle of a renewal, and between two.
        sleep(Duration::from_millis(17 * round)).await;
        worker.stop().await;
        assert_eq!(cluster.shares().await, [0i64; 0], "in round {round}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_share_the_lanes_and_answer_every_command_once_and_in_order() {
    const CONVERSATIONS: usize = 100;
    let cluster = Cluster::new().await;
    let workers = [cluster.worker().await, cluster.worker().await];
    cluster.until_shared_as(&[32, 32]).await;
    let mut replies = Vec::new();
    for number in 0..20 {
        replies.extend((0..CONVERSATIONS).map(|conversation| cluster.say(conversation, number)));
    }
    for reply in soon(futures::future::join_all(replies)).await {
        assert!(!reply.expect("carried out").duplicate);
    }
    assert!(soon(cluster.insist(3, 7)).await.duplicate, "the key is remembered");
    cluster.assert_told(CONVERSATIONS, 20).await;
    for worker in workers {
        worker.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lanes_are_handed_over_without_a_command_lost_as_workers_come_and_go() {
    const CONVERSATIONS: usize = 80;
    let cluster = Arc::new(Cluster::new().await);
    let first = cluster.worker().await;
    cluster.until_shared_as(&[64]).await;
    let saying = tokio::spawn({
        let cluster = Arc::clone(&cluster);
        async move {
            for number in 0..60 {
                let replies =
                    (0..CONVERSATIONS).map(|conversation| cluster.say(conversation, number));
                for reply in futures::future::join_all(replies).await {
                    // A clean change of hands costs nobody an answer.
                    reply.expect("carried out");
                }
                sleep(Duration::from_millis(30)).await;
            }
        }
    });
    let second = cluster.worker().await;
    cluster.until_shared_as(&[32, 32]).await;
    first.stop().await;
    cluster.until_shared_as(&[64]).await;
    soon(saying).await.expect("every reply came");
    cluster.assert_told(CONVERSATIONS, 60).await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crashed_workers_lanes_are_taken_over_and_nothing_is_lost_or_repeated() {
    const CONVERSATIONS: usize = 64;
    let cluster = Arc::new(Cluster::new().await);
    let (first, second) = (cluster.worker().await, cluster.worker().await);
    cluster.until_shared_as(&[32, 32]).await;
    let saying = (0..CONVERSATIONS).map(|conversation| {
        let cluster = Arc::clone(&cluster);
        tokio::spawn(async move {
            for number in 0..40 {
                cluster.insist(conversation, number).await;
            }
        })
    });
    let saying: Vec<_> = saying.collect();
    sleep(Duration::from_millis(200)).await;
    first.crash().await;
    for said in saying {
        soon(said).await.expect("all was carried out");
    }
    cluster.assert_told(CONVERSATIONS, 40).await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lane_that_is_stolen_in_the_middle_of_a_batch_is_left_to_its_new_owner() {
    let cluster = Cluster::new().await;
    let worker = cluster.worker().await;
    cluster.owned().await;
    soon(cluster.insist(0, 0)).await;
    soon(cluster.insist(1, 0)).await;

    // The batch waits for the head, and meanwhile the lane of one of its commands changes hands.
    let mut holder = cluster.database.pool().acquire().await.expect("a connection");
    sqlx::raw_sql("begin; select 1 from journal.journal_head for update")
        .execute(&mut *holder)
        .await
        .expect("the head is locked");
    let (stolen, kept) = (said(0, 1, Uuid::now_v7()), said(1, 1, Uuid::now_v7()));
    let lane = i32::from(stolen.command.stream().lane());
    assert_ne!(lane, i32::from(kept.command.stream().lane()));
    let (stolen, kept) = (cluster.gateway.send(stolen), cluster.gateway.send(kept));
    sleep(Duration::from_millis(300)).await;
    sqlx::query(
        "update journal.lanes set owner = gen_random_uuid(), epoch = epoch + 1,
         expires_at = clock_timestamp() + interval '1 second' where lane = $1",
    )
    .bind(lane)
    .execute(&mut *holder)
    .await
    .expect("the lane is stolen");
    sqlx::raw_sql("commit").execute(&mut *holder).await.expect("the head is free");

    assert!(soon(kept).await.is_ok(), "the other lane's command goes through");
    // The thief never reads it; once its lease is over the worker has the lane again, reads the
    // command, and carries it out if its time isn't up.
    if let Err(failure) = soon(stolen).await {
        assert!(failure.retryable, "{failure}");
    }
    soon(cluster.insist(0, 1)).await;
    cluster.assert_told(2, 2).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_read_is_set_aside_and_its_lane_goes_on() {
    let cluster = Cluster::new().await;
    let worker = cluster.worker().await;
    cluster.owned().await;
    let client = async_nats::connect(&cluster.options.urls[0]).await.expect("NATS answers");
    for lane in 0..LANES {
        let subject = format!("{}.commands.{lane}", cluster.options.prefix);
        client.publish(subject, "no command".into()).await.expect("published");
    }
    client.flush().await.expect("written");
    for conversation in 0..20 {
        soon(cluster.insist(conversation, 0)).await;
    }
    let end = Instant::now() + PATIENCE;
    while cluster.journal.count_dead_letters().await.expect("a count") < u64::from(LANES) {
        assert!(Instant::now() < end, "not all were set aside");
        sleep(Duration::from_millis(50)).await;
    }
    let letters = cluster.journal.dead_letters(0, 100).await.expect("letters");
    assert_eq!(letters.len(), usize::from(LANES), "each once");
    assert!(letters.iter().all(|letter| letter.letter.command == b"no command"));
    worker.stop().await;

    // The cursor went along: the next owner finds none of them again.
    let worker = cluster.worker().await;
    cluster.owned().await;
    soon(cluster.insist(0, 1)).await;
    assert_eq!(cluster.journal.count_dead_letters().await.expect("a count"), u64::from(LANES));
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_was_deleted_loses_no_answered_command_and_repeats_none() {
    let cluster = Cluster::new().await;
    let worker = cluster.worker().await;
    cluster.owned().await;
    for conversation in 0..30 {
        soon(cluster.insist(conversation, 0)).await;
    }
    let client = async_nats::connect(&cluster.options.urls[0]).await.expect("NATS answers");
    let name = format!("{}_COMMANDS", cluster.options.prefix.to_uppercase());
    async_nats::jetstream::new(client).delete_stream(name).await.expect("it is deleted");
    for conversation in 0..30 {
        soon(cluster.insist(conversation, 1)).await;
    }
    assert!(soon(cluster.insist(5, 0)).await.duplicate);
    cluster.assert_told(30, 2).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_whose_lanes_were_all_taken_lets_go_and_takes_them_back() {
    let cluster = Cluster::new().await;
    let worker = cluster.worker().await;
    cluster.owned().await;
    soon(cluster.insist(0, 0)).await;
    // As if it had been frozen for longer than its lease.
    let expire = "with forgotten as (delete from journal.workers)
                  update journal.lanes set expires_at = clock_timestamp() - interval '1 second'";
    let (thief, lease) = (Uuid::now_v7(), Duration::from_millis(500));
    loop {
        cluster.database.run(|c| Box::pin(sqlx::query(expire).execute(c))).await.expect("expired");
        // The worker may be quicker, as it is not frozen.
        if !cluster.journal.renew(thief, lease).await.expect("an answer").owned.is_empty() {
            break;
        }
    }
    soon(cluster.insist(0, 1)).await;
    cluster.assert_told(1, 2).await;
    worker.stop().await;
}
