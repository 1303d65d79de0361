//! What one connection of a talk does.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Instant;

use anyhow::Context;
use tokio::sync::{mpsc, watch};

use super::order::Order;
use super::window::{Window, record};
use crate::cast::Cast;
use crate::client::{Connection, Message, Packet, Reader, Said, is_success, parse};

/// What is asked for beside the messages, in turn.
const READS: [&str; 2] = ["conversation:get", "notification:get"];

/// What all connections of a run share.
pub struct Run {
    /// Tells its messages from those of earlier runs.
    pub id: u32,
    /// How many send: a voice is that of the sender of its number, modulo these.
    senders: usize,
    pub begun: Instant,
    /// Whether nothing more is to be sent.
    pub stopped: Cell<bool>,
    pub sent: Cell<u64>,
    /// Answered, one way or the other.
    pub settled: Cell<u64>,
    pub refused: Cell<u64>,
    pub refused_reads: Cell<u64>,
    /// Copies that came, those to the sender included.
    pub copies: Cell<u64>,
    pub reads: Cell<u64>,
    pub windows: RefCell<Vec<Window>>,
}

fn add(cell: &Cell<u64>) {
    cell.set(cell.get() + 1);
}

impl Run {
    pub fn new(senders: usize) -> Self {
        Self {
            id: rand::random(),
            senders,
            begun: Instant::now(),
            stopped: Cell::default(),
            sent: Cell::default(),
            settled: Cell::default(),
            refused: Cell::default(),
            refused_reads: Cell::default(),
            copies: Cell::default(),
            reads: Cell::default(),
            windows: RefCell::default(),
        }
    }

    /// Nanoseconds since the beginning.
    pub fn now(&self) -> u64 {
        self.begun.elapsed().as_nanos() as u64
    }

    /// Counts in the open window, if one is.
    fn count(&self, count: impl FnOnce(&mut Window)) {
        if let Some(window) = self.windows.borrow_mut().last_mut().filter(|window| window.is_open())
        {
            count(window);
        }
    }

    /// Hands over the window in which something was due, and how long it has taken.
    fn took(&self, due: u64, record: impl FnOnce(&mut Window, u64)) {
        let now = self.now();
        let mut windows = self.windows.borrow_mut();
        if let Some(window) = windows.iter_mut().rev().find(|window| window.holds(due)) {
            record(window, now.saturating_sub(due));
        }
    }
}

pub enum Pace {
    /// So many messages under way.
    Closed(usize),
    /// When each is due, told once it is.
    Open(mpsc::UnboundedReceiver<u64>),
}

/// One sender in one conversation, and how much it has said.
pub struct Voice {
    pub number: u32,
    pub said: u64,
}

/// What a connection sends, and where.
pub struct Sending {
    /// Which of the cast's senders.
    sender: usize,
    /// It speaks in each of these in turn.
    pub voices: Vec<Voice>,
    pub conversation: String,
    /// Empty in a group.
    pub target: String,
    /// Where there are several conversations, who knows their names.
    pub cast: Option<Rc<Cast>>,
    pub bytes: usize,
    /// Requests that are made for each message.
    pub reads: f64,
    pub pace: Pace,
    messages: Asked,
    /// Of what is asked for beside the messages.
    answers: Asked,
    under_way: usize,
    /// Where packets are written.
    packet: Vec<u8>,
}

/// When each was begun, by its number; taken out by its answer.
#[derive(Default)]
struct Asked(Vec<Option<u64>>);

impl Asked {
    fn begin(&mut self, at: u64) -> u64 {
        self.0.push(Some(at));
        self.count()
    }

    fn end(&mut self, number: u64) -> anyhow::Result<u64> {
        let begun =
            (number as usize).checked_sub(1).and_then(|index| self.0.get_mut(index)?.take());
        begun.with_context(|| format!("an answer to {number}, which waits for none"))
    }

    fn count(&self) -> u64 {
        self.0.len() as u64
    }
}

impl Sending {
    /// In one conversation.
    pub fn new(sender: usize, conversation: String, target: String, pace: Pace) -> Self {
        Self {
            sender,
            voices: vec![Voice { number: sender as u32, said: 0 }],
            conversation,
            target,
            cast: None,
            bytes: 0,
            reads: 0.0,
            pace,
            messages: Asked::default(),
            answers: Asked::default(),
            under_way: 0,
            packet: Vec::new(),
        }
    }

    /// In all that the cast has for it, in turn.
    pub fn wander(&mut self, cast: Rc<Cast>) {
        let voice = |number| Voice { number: number as u32, said: 0 };
        self.voices = cast.own(self.sender).map(voice).collect();
        self.cast = Some(cast);
    }

    /// Queues what is due.
    fn send(&mut self, run: &Run, connection: &mut Connection, at: u64) {
        let turn = self.messages.count() as usize % self.voices.len();
        let number = self.messages.begin(at);
        let voice = &mut self.voices[turn];
        voice.said += 1;
        if let Some(cast) = &self.cast {
            self.conversation = cast.conversation(voice.number as usize);
        }
        let message = Message {
            run: run.id,
            said: Said { voice: voice.number, number: voice.said, at },
            conversation: &self.conversation,
            target: &self.target,
            bytes: self.bytes,
        };
        // Even numbers are messages', odd ones those of what is read.
        message.write(&mut self.packet, Some(number * 2));
        connection.feed(&self.packet);
        self.under_way += 1;
        add(&run.sent);
        while (self.answers.count() as f64) < (number as f64 * self.reads).floor() {
            let number = self.answers.begin(at);
            let event = READS[number as usize % READS.len()];
            connection.feed(format!("42{}[\"{event}\",{{}}]", number * 2 + 1).as_bytes());
            self.under_way += 1;
            add(&run.reads);
        }
    }

    fn fill(&mut self, run: &Run, connection: &mut Connection) {
        if let Pace::Closed(in_flight) = self.pace
            && !run.stopped.get()
        {
            while self.under_way < in_flight {
                self.send(run, connection, run.now());
            }
        }
    }

    fn answered(&mut self, run: &Run, id: u64, body: &[u8]) -> anyhow::Result<()> {
        let is_read = id % 2 == 1;
        let asked = if is_read { &mut self.answers } else { &mut self.messages };
        let begun = asked.end(id / 2)?;
        self.under_way -= 1;
        add(&run.settled);
        if !is_success(body) {
            add(if is_read { &run.refused_reads } else { &run.refused });
        } else if is_read {
            run.count(|window| window.answers += 1);
            run.took(begun, |window, took| record(&mut window.to_answer, took));
        } else {
            run.took(begun, |window, took| record(&mut window.to_ack, took));
        }
        Ok(())
    }

    /// Waits until a message is due, in an open loop.
    async fn due(sending: &mut Option<Self>) -> Option<u64> {
        match sending {
            Some(Self { pace: Pace::Open(due), .. }) => due.recv().await,
            _ => std::future::pending().await,
        }
    }
}

/// A connection's side of the talk: what it is to send, and what it has seen.
pub struct Session {
    pub sending: Option<Sending>,
    /// By voice.
    pub orders: HashMap<u32, Order>,
    /// A hash of all that came, in its order.
    pub seen: u64,
    reader: Reader,
}

impl Session {
    pub fn new(run: &Run, sending: Option<Sending>) -> Self {
        Self { sending, orders: HashMap::new(), seen: 0, reader: Reader::new(run.id) }
    }

    /// Sends and receives until `end` says so, and leaves.
    pub async fn run(
        mut self,
        run: Rc<Run>,
        mut connection: Connection,
        mut end: watch::Receiver<bool>,
    ) -> anyhow::Result<Self> {
        tokio::select! {
            biased;
            failed = self.talk(&run, &mut connection) => failed?,
            ended = end.wait_for(|end| *end) => drop(ended?),
        }
        // Not to be taken for a lost connection: what it received would count as missed.
        connection.close().await?;
        Ok(self)
    }

    async fn talk(&mut self, run: &Run, connection: &mut Connection) -> anyhow::Result<()> {
        loop {
            // What came together is taken together, and what it leads to goes out together.
            while let Some(text) = connection.here()? {
                self.came(run, text)?;
            }
            if let Some(sending) = &mut self.sending {
                sending.fill(run, connection);
            }
            tokio::select! {
                turned = connection.turn() => turned?,
                Some(at) = Sending::due(&mut self.sending) => {
                    if let Some(sending) = &mut self.sending {
                        sending.send(run, connection, at);
                    }
                }
            }
        }
    }

    fn came(&mut self, run: &Run, text: &[u8]) -> anyhow::Result<()> {
        match parse(text) {
            Packet::Ack { id, body } => {
                let sending = self.sending.as_mut().context("an ack that nobody asked for")?;
                sending.answered(run, id, body)?;
            }
            Packet::Event(event) => {
                if let Some(said) = self.reader.read(event) {
                    self.received(run, said);
                }
            }
            Packet::Other => {}
        }
        Ok(())
    }

    fn received(&mut self, run: &Run, said: Said) {
        self.orders.entry(said.voice).or_default().came(said.number);
        // In the manner of Fowler, Noll and Vo, of words in place of bytes.
        for word in [u64::from(said.voice), said.number] {
            self.seen = (self.seen ^ word).wrapping_mul(0x0100_0000_01b3).rotate_left(17);
        }
        add(&run.copies);
        let sender = said.voice as usize % run.senders;
        let is_own = self.sending.as_ref().is_some_and(|own| own.sender == sender);
        run.count(|window| {
            window.copies += 1;
            window.messages += u64::from(is_own);
        });
        if !is_own {
            run.took(said.at, |window, took| record(&mut window.to_receipt, took));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_nobody_waits_for_is_told_of() {
        let mut asked = Asked::default();
        assert_eq!((asked.begin(5), asked.begin(6)), (1, 2));
        assert_eq!(asked.end(2).expect("asked"), 6);
        for bad in [0, 2, 3] {
            assert!(asked.end(bad).is_err(), "{bad}");
        }
    }
}
