//! Keys in memory, for tests of what uses them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures::FutureExt;
use verbatim_domain::{KeyId, UserId};

use crate::{Error, KeyStore, Stored, Vault};

#[derive(Debug, Default)]
pub struct MemoryKeys(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    keys: BTreeMap<KeyId, Stored>,
    proof: Option<Vec<u8>>,
    refuses: bool,
}

impl MemoryKeys {
    /// A vault of its own over an empty store.
    pub fn vault() -> Arc<Vault> {
        Arc::new(Arc::new(Self::default()).open())
    }

    /// A vault over this store.
    pub fn open(self: Arc<Self>) -> Vault {
        let master = "00".repeat(32).parse().expect("a key");
        let opening = Vault::open(self, master);
        opening.now_or_never().expect("nothing is waited for").expect("its own master key")
    }

    /// From now on the store is away, or is there again.
    pub fn refuse(&self, refuses: bool) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).refuses = refuses;
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> Result<T, Error> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.refuses {
            Err(Error::Unavailable("it is away".into()))
        } else {
            Ok(work(&mut state))
        }
    }
}

#[async_trait]
impl KeyStore for MemoryKeys {
    async fn in_use(&self, offered: Vec<Stored>) -> Result<Vec<Stored>, Error> {
        self.with(|state| {
            let in_use = offered.into_iter().map(|key| {
                let mut keys = state.keys.values();
                let found =
                    keys.find(|known| known.subject == key.subject && known.wrapped.is_some());
                found.cloned().unwrap_or_else(|| {
                    state.keys.insert(key.id, key.clone());
                    key
                })
            });
            in_use.collect()
        })
    }

    async fn find(&self, ids: Vec<KeyId>) -> Result<Vec<Stored>, Error> {
        self.with(|state| ids.iter().filter_map(|id| state.keys.get(id).cloned()).collect())
    }

    async fn of_subject(&self, subject: &UserId) -> Result<Vec<Stored>, Error> {
        self.with(|state| {
            state.keys.values().filter(|key| key.subject == *subject).cloned().collect()
        })
    }

    async fn destroy(&self, subject: &UserId, ids: Vec<KeyId>) -> Result<(), Error> {
        self.with(|state| {
            for id in ids {
                state.keys.insert(id, Stored { id, subject: subject.clone(), wrapped: None });
            }
        })
    }

    async fn destroyed(&self) -> Result<Vec<Stored>, Error> {
        self.with(|state| {
            state.keys.values().filter(|key| key.wrapped.is_none()).cloned().collect()
        })
    }

    async fn page(&self, after: Option<KeyId>, limit: u32) -> Result<Vec<Stored>, Error> {
        self.with(|state| {
            let above = state.keys.values().filter(|key| after.is_none_or(|after| key.id > after));
            above.take(limit as usize).cloned().collect()
        })
    }

    async fn take_in(&self, keys: Vec<Stored>) -> Result<(), Error> {
        self.with(|state| {
            for key in keys {
                let known = state.keys.entry(key.id).or_insert_with(|| key.clone());
                if key.wrapped.is_none() {
                    known.wrapped = None;
                }
            }
        })
    }

    async fn proof(&self, offered: Option<Vec<u8>>) -> Result<Option<Vec<u8>>, Error> {
        self.with(|state| {
            state.proof = state.proof.take().or(offered);
            state.proof.clone()
        })
    }
}
