//! This gateway's sockets: by user, and by socket.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use verbatim_domain::UserId;

use super::session::Session;

/// The two look-ups.
#[derive(Default)]
pub(crate) struct Registry {
    tables: RwLock<Tables>,
}

#[derive(Default)]
struct Tables {
    users: HashMap<UserId, User>,
    sockets: HashMap<Arc<str>, Arc<Session>>,
}

#[derive(Default)]
struct User {
    /// Places taken, by sockets and by handshakes that are not over.
    places: usize,
    sessions: Vec<Arc<Session>>,
}

/// A place among a user's sockets, until it is dropped.
pub(crate) struct Place {
    user: UserId,
    registry: Arc<Registry>,
}

impl Registry {
    /// Takes a place for one more socket of the user's, if `most` aren't taken.
    pub fn reserve(self: &Arc<Self>, user: &UserId, most: usize) -> Option<Place> {
        let mut tables = self.write();
        let entry = tables.users.entry(user.clone()).or_default();
        if entry.places >= most {
            return None;
        }
        entry.places += 1;
        Some(Place { user: user.clone(), registry: Arc::clone(self) })
    }

    pub fn insert(&self, session: Arc<Session>) {
        let mut tables = self.write();
        let user = tables.users.entry(session.user().clone()).or_default();
        user.sessions.push(Arc::clone(&session));
        tables.sockets.insert(Arc::clone(&session.id), session);
    }

    pub fn remove(&self, session: &Session) {
        let mut tables = self.write();
        tables.sockets.remove(&session.id);
        if let Some(user) = tables.users.get_mut(session.user()) {
            user.sessions.retain(|other| other.id != session.id);
            user.sessions.shrink_to_fit();
        }
    }

    /// Calls `each` with every socket of the user's.
    pub fn of_user(&self, user: &UserId, each: impl FnMut(&Arc<Session>)) {
        if let Some(user) = self.read().users.get(user) {
            user.sessions.iter().for_each(each);
        }
    }

    pub fn has_user(&self, user: &UserId) -> bool {
        self.read().users.get(user).is_some_and(|user| !user.sessions.is_empty())
    }

    pub fn get(&self, socket: &str) -> Option<Arc<Session>> {
        self.read().sockets.get(socket).cloned()
    }

    pub fn all(&self) -> Vec<Arc<Session>> {
        self.read().sockets.values().cloned().collect()
    }

    fn read(&self) -> RwLockReadGuard<'_, Tables> {
        self.tables.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Tables> {
        self.tables.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut tables = self.registry.write();
        if let Some(user) = tables.users.get_mut(&self.user) {
            user.places -= 1;
            if user.places == 0 {
                tables.users.remove(&self.user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_so_many_places_and_no_more() {
        let registry = Arc::new(Registry::default());
        let user: UserId = "ann".parse().expect("a user id");
        let first = registry.reserve(&user, 2).expect("a place");
        let _second = registry.reserve(&user, 2).expect("a place");
        assert!(registry.reserve(&user, 2).is_none());
        drop(first);
        assert!(registry.reserve(&user, 2).is_some());
        assert!(!registry.has_user(&user), "a place is no socket");
    }
}
