//! A store in memory, for tests.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};

use async_trait::async_trait;
use tokio::sync::mpsc;

use crate::store::{At, Differing, Key, Reading, Store, Value};
use crate::{Error, unavailable};

/// A [`Store`] that is gone with its process.
#[derive(Debug)]
pub struct Memory(Mutex<Generations>);

#[derive(Debug)]
struct Generations {
    live: u64,
    all: BTreeMap<u64, Generation>,
}

#[derive(Debug, Default, Clone)]
struct Generation {
    revision: u64,
    checkpoint: u64,
    rows: BTreeMap<Key, Value>,
}

impl Default for Memory {
    fn default() -> Self {
        let all = BTreeMap::from([(1, Generation::default())]);
        Self(Mutex::new(Generations { live: 1, all }))
    }
}

impl Memory {
    fn all(&self) -> MutexGuard<'_, Generations> {
        self.0.lock().expect("no panic holds it")
    }
}

impl Generations {
    fn get(&mut self, generation: u64) -> Result<&mut Generation, Error> {
        self.all.get_mut(&generation).ok_or(Error::GivenUp)
    }
}

#[async_trait]
impl Reading for Memory {
    async fn live(&self) -> Result<At, Error> {
        let live = self.all().live;
        self.at(live).await
    }

    async fn page(
        &self,
        generation: u64,
        low: &[u8],
        high: &[u8],
        limit: usize,
    ) -> Result<Vec<(Key, Value)>, Error> {
        self.scan(generation, vec![(low.to_vec(), high.to_vec())], limit, limit).await
    }
}

#[async_trait]
impl Store for Memory {
    async fn at(&self, generation: u64) -> Result<At, Error> {
        let mut all = self.all();
        let Generation { revision, checkpoint, .. } = *all.get(generation)?;
        Ok(At { generation, revision, checkpoint })
    }

    async fn get(&self, generation: u64, keys: Vec<Key>) -> Result<Vec<(Key, Value)>, Error> {
        let mut all = self.all();
        let rows = &all.get(generation)?.rows;
        let found = |key: Key| rows.get(&key).cloned().map(|value| (key, value));
        Ok(keys.into_iter().filter_map(found).collect())
    }

    async fn scan(
        &self,
        generation: u64,
        ranges: Vec<(Key, Key)>,
        each: usize,
        limit: usize,
    ) -> Result<Vec<(Key, Value)>, Error> {
        let mut all = self.all();
        let rows = &all.get(generation)?.rows;
        let found = ranges.into_iter().flat_map(|(low, high)| rows.range(low..high).take(each));
        Ok(found.take(limit).map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    async fn commit(
        &self,
        at: At,
        to: u64,
        rows: Vec<(Key, Option<Value>)>,
    ) -> Result<bool, Error> {
        let mut all = self.all();
        let Some(stored) = all.all.get_mut(&at.generation) else { return Ok(false) };
        if stored.revision != at.revision {
            return Ok(false);
        }
        stored.revision += 1;
        stored.checkpoint = to;
        for (key, value) in rows {
            match value {
                Some(value) => stored.rows.insert(key, value),
                None => stored.rows.remove(&key),
            };
        }
        Ok(true)
    }

    async fn begin(&self) -> Result<u64, Error> {
        let mut all = self.all();
        let (live, last) = (all.live, all.all.last_key_value().map_or(0, |(last, _)| *last));
        all.all.retain(|generation, _| *generation == live);
        all.all.insert(last + 1, Generation::default());
        Ok(last + 1)
    }

    async fn exchange(&self, generation: u64) -> Result<bool, Error> {
        let mut all = self.all();
        let live = all.live;
        if all.get(generation)?.checkpoint < all.get(live)?.checkpoint {
            return Ok(false);
        }
        all.live = generation;
        all.all.remove(&live);
        Ok(true)
    }

    async fn differences(
        &self,
        generation: u64,
        tell: mpsc::Sender<Differing>,
    ) -> Result<(), Error> {
        let (live, other) = {
            let mut all = self.all();
            let live = all.live;
            (all.get(live)?.clone(), all.get(generation)?.clone())
        };
        if live.checkpoint != other.checkpoint {
            return Err(Error::Behind);
        }
        let keys: BTreeSet<_> = live.rows.keys().chain(other.rows.keys()).collect();
        for key in keys {
            let [before, after] = [&live, &other].map(|of| of.rows.get(key).cloned());
            if before != after {
                tell.send((key.clone(), before, after)).await.map_err(unavailable)?;
            }
        }
        Ok(())
    }

    async fn give_up(&self, generation: u64) -> Result<(), Error> {
        let mut all = self.all();
        let live = all.live;
        all.all.retain(|known, _| *known == live || *known != generation);
        Ok(())
    }

    async fn sweep(&self) -> Result<bool, Error> {
        Ok(false)
    }
}
