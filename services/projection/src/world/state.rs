use std::collections::HashMap;
use std::sync::Mutex;

use async_trait::async_trait;
use tokio::sync::watch;
use verbatim_domain::UserId;
use verbatim_state::{Error, State, Watch};

use super::Faults;

/// A state store in memory.
pub(crate) struct MemoryState {
    stored: Mutex<Stored>,
    pub faults: Faults,
    changes: watch::Sender<()>,
}

#[derive(Default)]
struct Stored {
    checkpoint: Option<u64>,
    watches: HashMap<UserId, u64>,
    epoch: u64,
}

impl MemoryState {
    pub fn new(changes: watch::Sender<()>) -> Self {
        Self { stored: Mutex::default(), faults: Faults::default(), changes }
    }

    pub fn saved(&self) -> Option<u64> {
        self.stored.lock().expect("no panic holds it").checkpoint
    }

    pub fn watched(&self, user: &UserId) -> Option<u64> {
        self.stored.lock().expect("no panic holds it").watches.get(user).copied()
    }
}

#[async_trait]
impl State for MemoryState {
    async fn checkpoint(&self, _: &str) -> Result<Option<u64>, Error> {
        self.faults.check().map_err(Error::Unavailable)?;
        Ok(self.saved())
    }

    async fn watches(&self, _: &str) -> Result<Vec<(UserId, u64)>, Error> {
        self.faults.check().map_err(Error::Unavailable)?;
        let stored = self.stored.lock().expect("no panic holds it");
        Ok(stored.watches.iter().map(|(user, from)| (user.clone(), *from)).collect())
    }

    async fn save(&self, _: &str, checkpoint: u64, watches: &[Watch]) -> Result<(), Error> {
        self.faults.check().map_err(Error::Unavailable)?;
        {
            let mut stored = self.stored.lock().expect("no panic holds it");
            assert!(
                stored.checkpoint.is_none_or(|saved| saved <= checkpoint),
                "it never goes back"
            );
            stored.checkpoint = Some(checkpoint);
            for watch in watches {
                match watch.from {
                    Some(from) => stored.watches.insert(watch.user_id.clone(), from),
                    None => stored.watches.remove(&watch.user_id),
                };
            }
        }
        self.changes.send_replace(());
        Ok(())
    }

    async fn next_epoch(&self, _: &str) -> Result<u64, Error> {
        self.faults.check().map_err(Error::Unavailable)?;
        let mut stored = self.stored.lock().expect("no panic holds it");
        stored.epoch += 1;
        Ok(stored.epoch)
    }
}
