//! What every adapter of the key store must show.
//!
//! An adapter says in a [`Place`] how its store is made and opened, and calls
//! [`conformance_tests!`](crate::conformance_tests) with it, which makes a test of each behaviour.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use uuid::Uuid;
use verbatim_domain::conversation::PersonalMessage;
use verbatim_domain::{KeyId, MessageId, UserId};
use verbatim_protocol::Timestamp;
use verbatim_protocol::client::{Message, SenderInfo, SenderKind, Unreadable};

use crate::memory::MemoryKeys;
use crate::{Context, Error, KeyStore, MasterKey, Stored, Vault, copy, to_erase};

/// Where one key store lives.
pub trait Place: Sized + Send + Sync + 'static {
    type Store: KeyStore;

    /// A place with no keys yet.
    fn new() -> impl Future<Output = Self> + Send;

    /// Opens the store, or makes it.
    fn open(&self) -> impl Future<Output = Self::Store> + Send;

    /// Closes it, so that it can be opened again.
    fn close(&self, store: Self::Store) -> impl Future<Output = ()> + Send;
}

/// Makes a test of each behaviour, for the given [`Place`](crate::conformance::Place).
#[macro_export]
macro_rules! conformance_tests {
    ($place:ty) => {
        $crate::conformance_tests! { $place:
            the_first_key_that_is_offered_is_the_one
            of_racing_offers_one_wins
            keys_survive
            a_destroyed_key_stays_so_and_another_can_follow
            what_is_destroyed_anywhere_is_destroyed_in_the_copy
            keys_that_come_late_stand_beside_those_in_use
            a_store_belongs_to_its_master_key
            what_is_sealed_is_opened_in_its_place_alone
            many_who_wait_for_keys_each_get_their_own
        }
    };
    ($place:ty: $($behaviour:ident)+) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $behaviour() {
            $crate::conformance::$behaviour::<$place>().await;
        })+
    };
}

fn user(name: &str) -> UserId {
    name.parse().expect("an id")
}

fn master(byte: u8) -> MasterKey {
    hex::encode([byte; 32]).parse().expect("a key")
}

fn offered(subject: &str, number: u128) -> Stored {
    let id = KeyId(Uuid::from_u128(number));
    Stored { id, subject: user(subject), wrapped: Some(number.to_be_bytes().to_vec()) }
}

fn destroyed(key: &Stored) -> Stored {
    Stored { wrapped: None, ..key.clone() }
}

fn by_subject(keys: Vec<Stored>) -> BTreeMap<UserId, Stored> {
    keys.into_iter().map(|key| (key.subject.clone(), key)).collect()
}

pub async fn the_first_key_that_is_offered_is_the_one<P: Place>() {
    let place = P::new().await;
    let store = place.open().await;
    let (ann, bob) = (offered("ann", 1), offered("bob", 2));
    let first = store.in_use(vec![ann.clone()]).await.expect("stored");
    assert_eq!(first, std::slice::from_ref(&ann));
    let second = store.in_use(vec![bob.clone(), offered("ann", 3)]).await.expect("stored");
    assert_eq!(by_subject(second), by_subject(vec![ann.clone(), bob.clone()]));
    let ids = [3, 2, 1].map(|number| KeyId(Uuid::from_u128(number)));
    let found = store.find(ids.to_vec()).await.expect("found");
    assert_eq!(by_subject(found), by_subject(vec![ann, bob]), "the third was never used");
    assert!(store.in_use(Vec::new()).await.expect("none").is_empty());
    assert!(store.find(Vec::new()).await.expect("none").is_empty());
}

pub async fn of_racing_offers_one_wins<P: Place>() {
    let place = P::new().await;
    let store = place.open().await;
    let race = (1..=20).map(|number| {
        let more = (0..10).map(move |n| offered(&format!("user_{n}"), number * 100 + n));
        store.in_use(more.collect())
    });
    let outcomes: Vec<_> =
        join_all(race).await.into_iter().map(|keys| by_subject(keys.expect("stored"))).collect();
    assert_eq!(outcomes[0].len(), 10);
    assert!(outcomes.iter().all(|keys| *keys == outcomes[0]));
}

pub async fn keys_survive<P: Place>() {
    let place = P::new().await;
    let store = place.open().await;
    let ann = offered("ann@example.com", 7);
    store.in_use(vec![ann.clone()]).await.expect("stored");
    place.close(store).await;
    let store = place.open().await;
    assert_eq!(store.find(vec![ann.id]).await.expect("found"), [ann]);
}

pub async fn a_destroyed_key_stays_so_and_another_can_follow<P: Place>() {
    let place = P::new().await;
    let store = place.open().await;
    let (first, second, never) = (offered("ann", 1), offered("ann", 2), offered("ann", 3));
    store.in_use(vec![first.clone(), offered("bob", 9)]).await.expect("stored");
    for _ in 0..2 {
        store.destroy(&user("ann"), vec![first.id, never.id]).await.expect("destroyed");
    }
    let found = store.find(vec![first.id]).await.expect("found");
    assert_eq!(found, [destroyed(&first)]);
    let next = store.in_use(vec![second.clone()]).await.expect("stored");
    assert_eq!(next, std::slice::from_ref(&second));
    // Even if somebody still has them.
    store.take_in(vec![first.clone(), never.clone()]).await.expect("taken");
    let mut keys = store.of_subject(&user("ann")).await.expect("keys");
    keys.sort_unstable_by_key(|key| key.id);
    assert_eq!(keys, [destroyed(&first), second, destroyed(&never)]);
    let mut all = store.destroyed().await.expect("keys");
    all.sort_unstable_by_key(|key| key.id);
    assert_eq!(all, [destroyed(&first), destroyed(&never)]);
    assert_eq!(store.of_subject(&user("bob")).await.expect("keys"), [offered("bob", 9)]);
}

pub async fn what_is_destroyed_anywhere_is_destroyed_in_the_copy<P: Place>() {
    let place = P::new().await;
    let store = place.open().await;
    let other = MemoryKeys::default();
    let keys: Vec<_> = (1..=2_500).map(|n| offered(&format!("user_{n}"), n)).collect();
    store.in_use(keys.clone()).await.expect("stored");
    store.proof(Some(b"proof".to_vec())).await.expect("stored");
    store.destroy(&keys[0].subject, vec![keys[0].id]).await.expect("destroyed");
    assert_eq!(copy(&store, &other).await.expect("copied"), 2_500);
    assert_eq!(other.find(vec![keys[0].id]).await.expect("found"), [destroyed(&keys[0])]);
    assert_eq!(other.find(vec![keys[9].id]).await.expect("found"), [keys[9].clone()]);
    // And back, after another was destroyed there.
    other.destroy(&keys[1].subject, vec![keys[1].id]).await.expect("destroyed");
    assert_eq!(copy(&other, &store).await.expect("copied"), 2_500);
    let mut gone = store.destroyed().await.expect("keys");
    gone.sort_unstable_by_key(|key| key.id);
    assert_eq!(gone, [destroyed(&keys[0]), destroyed(&keys[1])]);
    // A store with another master key is no copy.
    let third = MemoryKeys::default();
    third.proof(Some(b"other".to_vec())).await.expect("stored");
    assert!(matches!(copy(&store, &third).await, Err(Error::OtherMaster)));
    assert!(third.page(None, 10).await.expect("a page").is_empty());
}

pub async fn keys_that_come_late_stand_beside_those_in_use<P: Place>() {
    let place = P::new().await;
    let store: Arc<dyn KeyStore> = Arc::new(place.open().await);
    // What was said before the store was lost, and after it was begun anew.
    let old: Arc<dyn KeyStore> = Arc::new(MemoryKeys::default());
    let (ann, conversation) = (user("ann"), "conv_1".parse().expect("an id"));
    let context = Context { conversation: &conversation, sender: &ann };
    let mut messages = Vec::new();
    for keys in [&old, &store] {
        let vault = Vault::open(Arc::clone(keys), master(1)).await.expect("a vault");
        let key = vault.in_use(&ann).await.expect("a key");
        let sealed = key.seal(&said("Hello!"), context).expect("sealed");
        messages.push(Message { sealed: Some(sealed), ..message("conv_1", "ann") });
    }
    assert_eq!(copy(&*old, &*store).await.expect("copied"), 1, "the same master key");
    let vault = Vault::open(Arc::clone(&store), master(1)).await.expect("a vault");
    vault.open_all(&mut messages).await.expect("opened");
    assert!(messages.iter().all(|message| message.content == "Hello!"), "both are read");
    // One of them is used, and both are erased.
    let in_use = vault.in_use(&ann).await.expect("a key");
    let erased = to_erase(&*store, &ann).await.expect("keys").expect("ann has said something");
    assert!(erased.len() == 2 && erased.contains(&in_use.id));
    vault.destroy(&ann, &erased).await.expect("destroyed");
    assert_eq!(to_erase(&*store, &ann).await.expect("keys"), Some(Vec::new()));
    // Into an empty store, the one that is there is used.
    let third = P::new().await;
    let third: Arc<dyn KeyStore> = Arc::new(third.open().await);
    assert_eq!(copy(&*old, &*third).await.expect("copied"), 1);
    let vault = Vault::open(third, master(1)).await.expect("a vault");
    let of_old = old.of_subject(&ann).await.expect("keys")[0].id;
    assert_eq!(vault.in_use(&ann).await.expect("a key").id, of_old);
}

pub async fn a_store_belongs_to_its_master_key<P: Place>() {
    let place = P::new().await;
    let reader = Vault::open_to_read(Arc::new(place.open().await), master(2)).await;
    drop(reader.expect("there is nothing to read"));
    Vault::open(Arc::new(place.open().await), master(1)).await.expect("the first");
    let reader = Vault::open_to_read(Arc::new(place.open().await), master(2)).await;
    assert!(matches!(reader, Err(Error::OtherMaster)));
    let other = Vault::open(Arc::new(place.open().await), master(2)).await;
    assert!(matches!(other, Err(Error::OtherMaster)));
    Vault::open(Arc::new(place.open().await), master(1)).await.expect("the same");
}

fn said(text: &str) -> PersonalMessage {
    PersonalMessage {
        content: text.to_owned(),
        attachments: Vec::new(),
        email: Some("ann@example.com".to_owned()),
    }
}

fn message(conversation: &str, sender: &str) -> Message {
    Message {
        id: MessageId(Uuid::nil()),
        conversation_id: conversation.parse().expect("an id"),
        sender: SenderKind::User,
        sender_id: user(sender),
        content: String::new(),
        attachments: Vec::new(),
        sender_info: SenderInfo { user_id: user(sender), email: None, role: "user".to_owned() },
        created_at: Timestamp(0),
        sequence: 1,
        cursor: None,
        client_message_id: None,
        unreadable: None,
        sealed: None,
    }
}

pub async fn what_is_sealed_is_opened_in_its_place_alone<P: Place>() {
    let place = P::new().await;
    let store: Arc<dyn KeyStore> = Arc::new(place.open().await);
    let vault = Vault::open(Arc::clone(&store), master(1)).await.expect("a vault");
    let ann = user("ann");
    assert!(vault.at_hand(&ann).is_none());
    let key = vault.in_use(&ann).await.expect("a key");
    let mut here = message("conv_1", "ann");
    let context = Context { conversation: &here.conversation_id, sender: &ann };
    let sealed = key.seal(&said("Hello!"), context).expect("sealed");
    let again = key.seal(&said("Hello!"), context).expect("sealed");
    assert_ne!(sealed, again, "nobody sees that the same was said twice");
    here.sealed = Some(sealed.clone());
    let there = Message { sealed: Some(sealed.clone()), ..message("conv_2", "ann") };
    let bobs = Message { sealed: Some(sealed.clone()), ..message("conv_1", "bob") };
    let mut changed = sealed.clone();
    *changed.sealed.0.last_mut().expect("bytes") ^= 1;
    let changed = Message { sealed: Some(changed), ..message("conv_1", "ann") };

    // With what is remembered, and by a process that has yet to ask for the key.
    let other = Vault::open(Arc::clone(&store), master(1)).await.expect("a vault");
    let reader = Vault::open_to_read(Arc::clone(&store), master(1)).await.expect("a vault");
    for vault in [&vault, &other, &reader] {
        let mut all = [here.clone(), there.clone(), bobs.clone(), changed.clone()];
        vault.open_all(&mut all).await.expect("opened");
        let [here, wrong @ ..] = all;
        assert_eq!((&*here.content, here.unreadable), ("Hello!", None));
        assert_eq!(here.sender_info.email.as_deref(), Some("ann@example.com"));
        for wrong in wrong {
            assert_eq!((&*wrong.content, wrong.unreadable), ("", Some(Unreadable::KeyMissing)));
        }
    }

    let ids: Vec<_> =
        store.of_subject(&ann).await.expect("keys").iter().map(|key| key.id).collect();
    vault.destroy(&ann, &ids).await.expect("destroyed");
    other.forget_all();
    // Nobody tells who only reads: it counts within a second.
    tokio::time::sleep(Duration::from_secs(1)).await;
    for vault in [&vault, &other, &reader] {
        assert!(vault.at_hand(&ann).is_none());
        let mut gone = [here.clone()];
        vault.open_all(&mut gone).await.expect("opened");
        assert_eq!((&*gone[0].content, gone[0].unreadable), ("", Some(Unreadable::Erased)));
        assert_eq!(gone[0].sender_info.email, None);
    }
    let next = vault.in_use(&ann).await.expect("another key");
    assert!(next.seal(&said("again"), context).is_ok_and(|sealed| !ids.contains(&sealed.key)));
}

pub async fn many_who_wait_for_keys_each_get_their_own<P: Place>() {
    let place = P::new().await;
    let store: Arc<dyn KeyStore> = Arc::new(place.open().await);
    let vault = Arc::new(Vault::open(Arc::clone(&store), master(1)).await.expect("a vault"));
    let conversation = "conv_1".parse().expect("an id");
    let waiting = (0..400).map(|n| {
        let (vault, conversation) = (Arc::clone(&vault), &conversation);
        async move {
            let sender = user(&format!("user_{}", n % 100));
            let key = vault.in_use(&sender).await.expect("a key");
            let place = Context { conversation, sender: &sender };
            let sealed = key.seal(&said(sender.as_str()), place).expect("sealed");
            Message { sealed: Some(sealed), ..message("conv_1", sender.as_str()) }
        }
    });
    let mut messages = join_all(waiting).await;
    assert_eq!(store.page(None, 1_000).await.expect("keys").len(), 100, "one for each");
    let other = Vault::open(Arc::clone(&store), master(1)).await.expect("a vault");
    other.open_all(&mut messages).await.expect("opened");
    assert!(messages.iter().all(|message| message.content == message.sender_id.as_str()));
}
