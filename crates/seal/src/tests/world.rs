//! A journal and a seal that can be altered.

use std::future::Future;
use std::sync::Arc;

use uuid::Uuid;
use verbatim_domain::conversation::{MessageSent, PersonalMessage};
use verbatim_domain::{ConversationEvent, MessageId, StreamId};
use verbatim_journal::{Append, Appended, Import, Journal, Log, Rows};
use verbatim_proof::{Signer, Verifier};
use verbatim_protocol::{CommandKey, Timestamp};

use crate::{Error, Evidence, Outside, Prover, Sealer, Store, Trust, Verdict, verify};

/// Journal and seal on one of the databases.
pub trait Stage: Sized + Send + Sync + 'static {
    type Journal: Import + Rows;

    fn new() -> impl Future<Output = Self> + Send;

    fn journal(&self) -> Arc<Self::Journal>;

    fn store(&self) -> Arc<dyn Store>;

    /// Runs statements on the journal's tables, of which one is named `{events}`, with nothing in
    /// their way.
    fn alter_journal(&self, sql: &str) -> impl Future<Output = ()> + Send;

    /// The same, on the seal's, `{checkpoints}`, `{tiles}` and `{verifiers}`.
    fn alter_seal(&self, sql: &str) -> impl Future<Output = ()> + Send;
}

/// A stage, and who signs there.
pub struct World<S> {
    pub stage: S,
    pub signer: Arc<Signer>,
}

pub fn signer(name: &str) -> Arc<Signer> {
    let pem = Signer::generate().expect("a key");
    Arc::new(Signer::from_pem(name, &pem).expect("a key"))
}

impl<S: Stage> World<S> {
    pub async fn new() -> Self {
        Self { stage: S::new().await, signer: signer("log") }
    }

    /// A log of so many events in three streams, sealed in checkpoints of ten.
    pub async fn sealed(events: u64) -> Self {
        let world = Self::new().await;
        world.append(events).await;
        world.seal(10).await;
        world
    }

    /// Appends messages to three streams in turn.
    pub async fn append(&self, events: u64) {
        let journal = self.stage.journal();
        let head = journal.head().await.expect("a head");
        let message = |n: u64| Append {
            stream: StreamId::conversation(&format!("c{}", n % 3).parse().expect("an id")),
            expected: n / 3,
            events: vec![
                ConversationEvent::MessageSent(MessageSent {
                    message_id: MessageId(Uuid::now_v7()),
                    sequence: n / 3 + 1,
                    sender_id: "ann".parse().expect("an id"),
                    sender_role: "user".to_owned(),
                    client_message_id: None,
                    personal: PersonalMessage {
                        content: format!("message {n}, \"quoted\" 🦀\u{1}"),
                        attachments: Vec::new(),
                        email: None,
                    }
                    .into(),
                    imported: None,
                })
                .into(),
            ],
            key: CommandKey { issuer: "ann".into(), key: format!("{n} \u{0} ü").into() },
            metadata: format!("{{\"commandId\":\"{n}\"}}").into(),
        };
        let batch = (head..head + events).map(message).collect();
        let outcomes = journal.append(batch).await.expect("an outcome");
        let all = outcomes.iter().all(|outcome| matches!(outcome, Appended::Committed(_)));
        assert!(all, "{outcomes:?}");
    }

    pub async fn sealer(&self, signer: &Arc<Signer>) -> Result<Sealer, Error> {
        self.trusting(signer, &Trust::default()).await
    }

    pub async fn trusting(&self, signer: &Arc<Signer>, trust: &Trust) -> Result<Sealer, Error> {
        let (rows, store) = (self.stage.journal(), self.stage.store());
        Sealer::resume(rows, store, Arc::clone(signer), trust).await
    }

    /// Seals all that there is, `step` events a checkpoint.
    pub async fn seal(&self, step: usize) {
        let mut sealer = self.sealer(&self.signer).await.expect("it goes on");
        while sealer.take(step).await.expect("events") > 0 {
            sealer.seal(Timestamp::now()).await.expect("sealed");
        }
    }

    pub fn prover(&self) -> Prover {
        Prover { rows: self.stage.journal(), store: self.stage.store() }
    }

    pub fn keys(&self) -> Vec<Verifier> {
        vec![self.signer.verifier().clone()]
    }

    pub async fn verify(&self) -> Verdict {
        self.verify_by(Vec::new(), Vec::new()).await
    }

    pub async fn verify_by(&self, verifiers: Vec<Verifier>, outside: Vec<Outside>) -> Verdict {
        let (journal, store) = (self.stage.journal(), self.stage.store());
        let evidence = Evidence { store: Some(&*store), verifiers, outside };
        verify(&*journal, evidence, |_, _| {}).await.expect("a verdict")
    }

    /// What is found, which must be something.
    pub async fn found(&self) -> String {
        found(self.verify().await)
    }

    /// Every checkpoint that was signed, as one keeps them elsewhere.
    pub async fn kept(&self) -> Vec<Outside> {
        let log = self.stage.journal().id();
        let signed = self.stage.store().after(log, 0, 10_000).await.expect("checkpoints");
        let open = |note: &str| verbatim_proof::Checkpoint::open(&self.keys(), note);
        signed.iter().map(|signed| open(&signed.note).expect("ours").into()).collect()
    }
}

pub fn found(verdict: Verdict) -> String {
    match verdict {
        Verdict::Tampered(finding) => finding.to_string(),
        Verdict::Sound(sound) => panic!("nothing was found: {sound:?}"),
    }
}
