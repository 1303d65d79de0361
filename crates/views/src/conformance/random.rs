//! Random histories, the same in every run.

use verbatim_domain::conversation::ConversationKind;
use verbatim_domain::inbox::ReadScope;
use verbatim_domain::{MessageId, NotificationId};

use super::compare::assert_shows;
use super::history::{History, conversation, user};
use super::{Adapter, JOURNAL};
use crate::Views;

const USERS: [&str; 5] = ["ann", "bob", "cy", "dee", "eve"];

/// `SplitMix64` (Steele, Lea and Flood, 2014): small, and good enough to draw tests with.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// 0 to `n` − 1.
    fn below(&mut self, n: usize) -> usize {
        (self.roll() % n as u64) as usize
    }

    fn of<T: Copy>(&mut self, items: &[T]) -> Option<T> {
        (!items.is_empty()).then(|| items[self.below(items.len())])
    }
}

/// A history that grows by events that could have happened.
struct World {
    dice: Dice,
    history: History,
    talks: Vec<Talk>,
    messages: Vec<MessageId>,
    notified: Vec<(usize, NotificationId)>,
    marks: [u64; USERS.len()],
}

struct Talk {
    id: String,
    members: Vec<usize>,
    marks: [u64; USERS.len()],
    /// Whether what is brought in from another system counts as unread; `None` once something was said
    /// here.
    history: Option<bool>,
}

impl World {
    fn new(seed: u64) -> Self {
        Self {
            dice: Dice(seed),
            history: History::new(),
            talks: Vec::new(),
            messages: Vec::new(),
            notified: Vec::new(),
            marks: [0; USERS.len()],
        }
    }

    fn step(&mut self) {
        match self.dice.below(22) {
            20 | 21 => self.import(),
            0 => self.start(),
            1 => self.join(),
            2..=10 => self.say(),
            11..=14 => self.read(),
            15 | 16 => self.notify(),
            17 => self.read_notifications(),
            _ => self.advance(),
        }
    }

    fn start(&mut self) {
        let id = format!("c{}", self.talks.len());
        let group = self.dice.below(2) == 0;
        let size = if group { 1 + self.dice.below(USERS.len()) } else { 2 };
        let first = self.dice.below(USERS.len());
        let members: Vec<_> = (0..size).map(|n| (first + n) % USERS.len()).collect();
        let kind = if group { ConversationKind::Group } else { ConversationKind::Direct };
        self.history.start(&id, kind, group.then_some("Title"), USERS[first]);
        for member in &members {
            self.history.join(&id, USERS[*member]);
        }
        self.talks.push(Talk { id, members, marks: [0; USERS.len()], history: None });
    }

    /// Goes on with the newest conversation, if that is still history, or begins another.
    fn import(&mut self) {
        if self.talks.last().is_none_or(|talk| talk.history.is_none()) {
            let id = format!("c{}", self.talks.len());
            let members = vec![0, 1, 2 + self.dice.below(3)];
            let unread = self.dice.below(2) == 0;
            let names: Vec<_> = members.iter().map(|member| USERS[*member]).collect();
            self.history.import(&id, self.dice.below(1_000) as i64, unread, &names);
            self.talks.push(Talk { id, members, marks: [0; USERS.len()], history: Some(unread) });
        }
        let talk = self.talks.last_mut().expect("one");
        let unread = talk.history.expect("it is history");
        for _ in 0..=self.dice.below(3) {
            let sender = self.dice.of(&talk.members).expect("a member");
            let at = self.dice.below(1_000_000) as i64;
            self.messages.push(self.history.import_message(&talk.id, USERS[sender], at, unread));
        }
        if !unread {
            talk.marks = [self.history.count(&talk.id); USERS.len()];
        }
    }

    fn join(&mut self) {
        if self.talks.is_empty() {
            return;
        }
        let index = self.dice.below(self.talks.len());
        let talk = &mut self.talks[index];
        let user = self.dice.below(USERS.len());
        if !talk.members.contains(&user) {
            talk.members.push(user);
            self.history.join(&talk.id, USERS[user]);
        }
    }

    fn say(&mut self) {
        // One conversation of a few, so that batches hold several of its messages.
        let last = self.talks.len().min(3);
        if last == 0 {
            return self.start();
        }
        let index = self.talks.len() - 1 - self.dice.below(last);
        let talk = &mut self.talks[index];
        talk.history = None;
        for _ in 0..=self.dice.below(3) {
            let sender = self.dice.of(&talk.members).expect("a member");
            let text = format!("{} says {}", USERS[sender], self.history.head());
            let message = if self.dice.below(3) == 0 {
                self.history.seal(&talk.id, USERS[sender], text.as_bytes())
            } else {
                self.history.say(&talk.id, USERS[sender], &text)
            };
            self.messages.push(message);
        }
    }

    fn read(&mut self) {
        if self.talks.is_empty() {
            return;
        }
        let index = self.dice.below(self.talks.len());
        let talk = &mut self.talks[index];
        let reader = self.dice.of(&talk.members).expect("a member");
        let unread = self.history.count(&talk.id) - talk.marks[reader];
        if unread > 0 {
            talk.marks[reader] += 1 + self.dice.below(unread as usize) as u64;
            self.history.read(&talk.id, USERS[reader], talk.marks[reader]);
        }
    }

    fn notify(&mut self) {
        if let Some(message) = self.dice.of(&self.messages) {
            let user = self.dice.below(USERS.len());
            self.notified.push((user, self.history.notify(USERS[user], message)));
        }
    }

    fn read_notifications(&mut self) {
        let reader = self.dice.below(USERS.len());
        let own = |(user, id): &(usize, NotificationId)| (*user == reader).then_some(*id);
        let ids: Vec<_> = self.notified.iter().filter_map(own).collect();
        let scope = match self.dice.of(&ids) {
            Some(id) if self.dice.below(3) > 0 => ReadScope::Ids(vec![id, ids[0]]),
            _ => ReadScope::All,
        };
        self.history.read_notifications(USERS[reader], scope);
    }

    fn advance(&mut self) {
        let user = self.dice.below(USERS.len());
        let above = self.history.head() - self.marks[user];
        if above > 0 {
            self.marks[user] += 1 + self.dice.below(above as usize) as u64;
            self.history.advance(USERS[user], self.marks[user]);
        }
    }
}

pub async fn views_show_what_a_naive_model_shows<A: Adapter>() {
    for seed in 1..=4 {
        let adapter = A::start().await;
        let views = adapter.open(JOURNAL).await;
        let mut world = World::new(seed);
        for _ in 0..3 {
            for _ in 0..60 {
                world.step();
            }
            let mut rest = world.history.after(views.checkpoint());
            while !rest.is_empty() {
                let size = 1 + world.dice.below(40).min(rest.len() - 1);
                let (batch, others) = rest.split_at(size);
                views.apply(batch).await.expect("they follow");
                rest = others;
            }
            assert_shows(&views, world.history.events(), &USERS).await;
        }
    }
}

pub async fn unread_counts_hold_however_marks_and_messages_interleave<A: Adapter>() {
    let members = &USERS[..3];
    for seed in 1..=6 {
        let adapter = A::start().await;
        let views = adapter.open(JOURNAL).await;
        let mut dice = Dice(seed << 32);
        let mut history = History::new();
        history.group("team", None, members);
        // Of each message its sender, and each member's mark.
        let mut senders: Vec<&str> = Vec::new();
        let mut marks = [0; 3];
        for _ in 0..60 {
            for _ in 0..dice.below(8) {
                let member = dice.below(3);
                let unread = senders.len() - marks[member];
                if unread > 0 && dice.below(3) == 0 {
                    marks[member] += 1 + dice.below(unread);
                    history.read("team", members[member], marks[member] as u64);
                } else {
                    senders.push(members[member]);
                    history.say("team", members[member], "…");
                }
            }
            views.apply(history.after(views.checkpoint())).await.expect("they follow");
            for (member, mark) in members.iter().zip(marks) {
                let expected = senders[mark..].iter().filter(|sender| *sender != member).count();
                let shown = views.conversation(&user(member), &conversation("team")).await;
                let shown = shown.expect("an answer").expect("a conversation");
                assert_eq!(shown.unread_count, expected as u64, "seed {seed}, {member}");
            }
        }
    }
}
