//! Keys at hand: made where a user has none yet, and remembered for a while.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use aws_lc_rs::rand;
use hashlink::LruCache;
use tokio::sync::oneshot;
use uuid::Uuid;
use verbatim_domain::{KeyId, UserId};

use crate::{Content, Error, KeyStore, MasterKey, Opened, Stored, SubjectKey, master};

/// Keys that are remembered by their users, and as many by their names. Each takes about a kilobyte.
const REMEMBERED: usize = 8_192;

/// How long who only reads remembers: nobody tells them of erasures.
const A_MOMENT: Duration = Duration::from_secs(1);

/// How many keys one question to the store asks for.
const ASKED_AT_ONCE: usize = 1_000;

/// What is known of a key; `None` if it is destroyed.
type Known = Option<Arc<SubjectKey>>;

/// The keys of all users.
pub struct Vault {
    store: Arc<dyn KeyStore>,
    master: MasterKey,
    remembered: Mutex<Remembered>,
    /// Whether nothing is remembered for longer than a moment.
    only_reads: bool,
    wishes: Mutex<Vec<Wish>>,
    /// Held by whoever asks the store for keys to use: those who come meanwhile are served together.
    turn: tokio::sync::Mutex<()>,
}

struct Remembered {
    in_use: LruCache<UserId, Arc<SubjectKey>>,
    by_id: LruCache<KeyId, Known>,
    /// How often something was forgotten: what was asked for before that may be out of date.
    forgotten: u64,
    /// When all was forgotten last.
    since: Instant,
}

impl Remembered {
    fn nothing() -> Self {
        Self {
            in_use: LruCache::new(REMEMBERED),
            by_id: LruCache::new(REMEMBERED),
            forgotten: 0,
            since: Instant::now(),
        }
    }

    fn forget_all(&mut self) {
        *self = Self { forgotten: self.forgotten + 1, ..Self::nothing() };
    }

    /// Remembers what the store has said, unless something was forgotten since it was asked.
    fn insert(&mut self, asked_at: u64, id: KeyId, known: &Known) -> bool {
        let is_current = self.forgotten == asked_at;
        if is_current {
            self.by_id.insert(id, known.clone());
        }
        is_current
    }
}

/// Somebody waits for a user's key.
struct Wish {
    user: UserId,
    fulfil: oneshot::Sender<Arc<SubjectKey>>,
}

/// What is known of some keys.
#[derive(Debug, Default)]
pub struct Keys(HashMap<KeyId, Known>);

impl Vault {
    /// Opens the store with the master key; the first that a store is opened with is its own for ever.
    ///
    /// # Errors
    /// [`Error::OtherMaster`].
    pub async fn open(store: Arc<dyn KeyStore>, master: MasterKey) -> Result<Self, Error> {
        let proof = match store.proof(None).await? {
            Some(proof) => Some(proof),
            None => store.proof(Some(master.proof())).await?,
        };
        if !proof.is_some_and(|proof| master.has_made(&proof)) {
            return Err(Error::OtherMaster);
        }
        Ok(Self::new(store, master, false))
    }

    /// Opens the store with the master key, to read what was said alone: nothing is stored, and an erasure
    /// counts within a second.
    ///
    /// # Errors
    /// [`Error::OtherMaster`].
    pub async fn open_to_read(store: Arc<dyn KeyStore>, master: MasterKey) -> Result<Self, Error> {
        if store.proof(None).await?.is_some_and(|proof| !master.has_made(&proof)) {
            return Err(Error::OtherMaster);
        }
        Ok(Self::new(store, master, true))
    }

    fn new(store: Arc<dyn KeyStore>, master: MasterKey, only_reads: bool) -> Self {
        Self {
            store,
            master,
            remembered: Mutex::new(Remembered::nothing()),
            only_reads,
            wishes: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
        }
    }

    pub fn store(&self) -> &Arc<dyn KeyStore> {
        &self.store
    }

    /// The key that a user's content is sealed with, if it is at hand.
    pub fn at_hand(&self, user: &UserId) -> Option<Arc<SubjectKey>> {
        self.remembered().in_use.get(user).cloned()
    }

    /// The key that a user's content is sealed with; it is made, if they have none.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn in_use(&self, user: &UserId) -> Result<Arc<SubjectKey>, Error> {
        let (fulfil, mut fulfilled) = oneshot::channel();
        self.wishes().push(Wish { user: user.clone(), fulfil });
        loop {
            let turn = self.turn.lock().await;
            match fulfilled.try_recv() {
                Ok(key) => return Ok(key),
                Err(oneshot::error::TryRecvError::Empty) => self.fulfil().await?,
                // Whoever had it fulfilled has failed, or went away.
                Err(oneshot::error::TryRecvError::Closed) => {
                    return Err(Error::Unavailable("the keys could not be had".into()));
                }
            }
            drop(turn);
        }
    }

    /// Fulfils all wishes at once. Those that can't be are dropped.
    async fn fulfil(&self) -> Result<(), Error> {
        let wishes = std::mem::take(&mut *self.wishes());
        let users: HashSet<_> = wishes.iter().map(|wish| &wish.user).collect();
        let offered = users.into_iter().map(|user| self.fresh(user)).collect::<Result<_, _>>()?;
        let asked_at = self.remembered().forgotten;
        let mut found = HashMap::new();
        for stored in self.store.in_use(offered).await? {
            match self.unwrap(&stored) {
                Ok(key) => found.extend(key.map(|key| (stored.subject, key))),
                // Only who has it waits in vain.
                Err(error) => tracing::error!(%error, "a key can't be used"),
            }
        }
        {
            let mut remembered = self.remembered();
            for (user, key) in &found {
                if remembered.insert(asked_at, key.id, &Some(Arc::clone(key))) {
                    remembered.in_use.insert(user.clone(), Arc::clone(key));
                }
            }
        }
        for wish in wishes {
            if let Some(key) = found.get(&wish.user) {
                // Nobody may wait for it any more.
                let _ = wish.fulfil.send(Arc::clone(key));
            }
        }
        Ok(())
    }

    /// A new key, to be offered to the store.
    fn fresh(&self, user: &UserId) -> Result<Stored, Error> {
        let id = KeyId(Uuid::now_v7());
        let mut key = [0; 32];
        rand::fill(&mut key).map_err(|_| Error::Unavailable("no random numbers".into()))?;
        let wrapped = Some(self.master.wrap(id, user, &key)?);
        Ok(Stored { id, subject: user.clone(), wrapped })
    }

    fn unwrap(&self, stored: &Stored) -> Result<Known, Error> {
        let Stored { id, subject, wrapped: Some(wrapped) } = stored else { return Ok(None) };
        let key = self.master.unwrap(*id, subject, wrapped);
        let key = key.and_then(|key| master::ready(&key));
        let key = key.ok_or_else(|| Error::Corrupt(format!("the key {id} can't be unwrapped")))?;
        Ok(Some(Arc::new(SubjectKey { id: *id, subject: subject.clone(), key })))
    }

    /// These keys, as far as the store knows them, and they can be used.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn find(&self, ids: impl IntoIterator<Item = KeyId>) -> Result<Keys, Error> {
        let mut keys = Keys::default();
        let mut unknown = HashSet::new();
        let asked_at = {
            let mut remembered = self.remembered();
            if self.only_reads && remembered.since.elapsed() >= A_MOMENT {
                remembered.forget_all();
            }
            for id in ids {
                match remembered.by_id.get(&id) {
                    Some(known) => drop(keys.0.insert(id, known.clone())),
                    None => drop(unknown.insert(id)),
                }
            }
            remembered.forgotten
        };
        let unknown: Vec<_> = unknown.into_iter().collect();
        for asked in unknown.chunks(ASKED_AT_ONCE) {
            let found = self.store.find(asked.to_vec()).await?;
            if found.len() < asked.len() {
                tracing::error!(keys = asked.len() - found.len(), "the key store lacks keys");
            }
            for stored in found {
                match self.unwrap(&stored) {
                    Ok(known) => {
                        self.remembered().insert(asked_at, stored.id, &known);
                        keys.0.insert(stored.id, known);
                    }
                    // One that is damaged holds up nobody else's content.
                    Err(error) => tracing::error!(%error, "a key can't be used"),
                }
            }
        }
        Ok(keys)
    }

    /// Forgets a user's keys; whoever needs one asks the store again.
    pub fn forget(&self, user: &UserId) {
        let mut remembered = self.remembered();
        remembered.forgotten += 1;
        remembered.in_use.remove(user);
        let theirs: Vec<KeyId> = remembered
            .by_id
            .iter()
            .filter(|(_, known)| known.as_ref().is_some_and(|key| key.subject == *user))
            .map(|(id, _)| *id)
            .collect();
        for id in theirs {
            remembered.by_id.remove(&id);
        }
    }

    /// Forgets all keys, as something may have been erased that this side has not heard of.
    pub fn forget_all(&self) {
        self.remembered().forget_all();
    }

    /// Destroys keys of a user's, in the store and here.
    ///
    /// # Errors
    /// [`Error`]; it can be done again.
    pub async fn destroy(&self, user: &UserId, ids: &[KeyId]) -> Result<(), Error> {
        self.store.destroy(user, ids.to_vec()).await?;
        self.forget(user);
        Ok(())
    }

    /// Shows what is sealed in these.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn open_all<'a, T: Content + 'a>(
        &self,
        contents: impl IntoIterator<Item = &'a mut T>,
    ) -> Result<(), Error> {
        let sealed: Vec<_> =
            contents.into_iter().filter(|content| content.sealed().is_some()).collect();
        if sealed.is_empty() {
            return Ok(());
        }
        let keys =
            self.find(sealed.iter().filter_map(|content| Some(content.sealed()?.key))).await?;
        for content in sealed {
            keys.open(content);
        }
        Ok(())
    }

    fn remembered(&self) -> MutexGuard<'_, Remembered> {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wishes(&self) -> MutexGuard<'_, Vec<Wish>> {
        self.wishes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Keys {
    /// Shows what is sealed in this, if anything.
    pub fn open(&self, content: &mut impl Content) {
        if let Some(sealed) = content.sealed() {
            let opened = match self.0.get(&sealed.key) {
                Some(Some(key)) => {
                    let opened = key.open(sealed, content.place());
                    if opened == Opened::Unreadable {
                        tracing::error!(key = %sealed.key, "content isn't what was sealed");
                    }
                    opened
                }
                Some(None) => Opened::Erased,
                None => Opened::Unreadable,
            };
            content.show(opened);
        }
    }
}
