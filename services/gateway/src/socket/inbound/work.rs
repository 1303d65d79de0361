//! A socket's requests under way.
//!
//! All that a socket has under way is one task's, while there is anything. Making a task for each request
//! costs more than what most of them do there.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, MutexGuard};
use std::task::{Context, Poll, Waker, ready};

use futures::FutureExt;
use futures::future::CatchUnwind;
use tokio::sync::oneshot;
use verbatim_protocol::Failure;

use super::answers::settle;
use super::arguments::Arguments;
use super::{Asked, Asker, State, start};
use crate::requests::AnswerFuture;
use crate::socket::Session;

/// Requests of one socket that are answered before others have their turn.
const IN_ONE_GO: usize = 16;

/// A place among the requests under way: waits for an answer, then goes on with those that wait. A client
/// that doesn't take its answers gets no more of them worked on.
pub(super) enum Work {
    /// Whatever goes wrong in one request, the next has its turn.
    Answering(Asker, CatchUnwind<AssertUnwindSafe<AnswerFuture>>),
    /// The answer leaves, or the socket goes.
    Leaving(oneshot::Receiver<()>),
}

impl Work {
    pub fn answering(asker: Asker, answer: AnswerFuture) -> Self {
        Self::Answering(asker, AssertUnwindSafe(answer).catch_unwind())
    }

    fn poll(&mut self, session: &Arc<Session>, context: &mut Context<'_>) -> Poll<()> {
        loop {
            let left = match self {
                Self::Answering(asker, answer) => {
                    let outcome = ready!(answer.poll_unpin(context));
                    settle(session, *asker, outcome.unwrap_or_else(|_| Err(Failure::internal())))
                }
                Self::Leaving(left) => {
                    let _ = ready!(left.poll_unpin(context));
                    None
                }
            };
            *self = match left {
                Some(left) => Self::Leaving(left),
                None => match next(session) {
                    Some((asker, answer)) => Self::answering(asker, answer),
                    None => return Poll::Ready(()),
                },
            };
        }
    }
}

/// Takes a place, and has the socket's task go on with it.
pub(super) fn go_on(session: &Arc<Session>, mut state: MutexGuard<'_, State>, work: Work) {
    state.at_work += 1;
    state.begun.push(work);
    if let Some(task) = state.task.clone() {
        drop(state);
        task.wake();
    } else {
        state.task = Some(Waker::noop().clone());
        drop(state);
        session.sockets.at_work.spawn(work_on(Arc::clone(session)));
    }
}

/// Does what has begun until nothing is left of it. All of it is looked at whenever something has happened:
/// mostly that is one batch of the journal's, which answers most of a socket's requests at once.
async fn work_on(session: Arc<Session>) {
    let mut working: Vec<Work> = Vec::new();
    poll_fn(|context| {
        let (mut done, mut index) = (0, 0);
        loop {
            if index == working.len() {
                let mut state = session.inbound.state();
                if state.begun.is_empty() {
                    if working.is_empty() {
                        state.task = None;
                        return Poll::Ready(());
                    }
                    state.task = Some(context.waker().clone());
                    return Poll::Pending;
                }
                working.append(&mut state.begun);
            }
            let Some(work) = working.get_mut(index) else { continue };
            match catch_unwind(AssertUnwindSafe(|| work.poll(&session, context))) {
                Ok(Poll::Pending) => index += 1,
                // One that panics keeps its place for ever, and the others go on.
                Ok(Poll::Ready(())) | Err(_) => {
                    working.remove(index);
                    done += 1;
                }
            }
            if done == IN_ONE_GO {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
    })
    .await;
}

/// Starts the next request that waits, or gives the place back.
fn next(session: &Session) -> Option<(Asker, AnswerFuture)> {
    let mut state = session.inbound.state();
    let Some(Asked { packet, asker }) = state.waiting.pop_front() else {
        state.at_work -= 1;
        return None;
    };
    session.sockets.metrics.queued_requests.dec();
    let text = packet.as_str().map_or("", |text| text.as_str());
    state.waiting_bytes -= text.len();
    // Started under the lock: nobody else may start a later one first.
    Some((asker, start(session, asker.kind, Arguments::parse(text).first)))
}
