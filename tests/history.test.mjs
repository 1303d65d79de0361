// The checker is checked: it finds nothing wrong with a good history, and each seeded fault.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { faults } from './harness/history.mjs';

function message(n, conversationId, sequence) {
  return {
    _id: `id ${n}`,
    conversationId,
    senderId: 'alice',
    content: `${n}`,
    createdAt: `2024-01-01T10:00:00.${String(n).padStart(3, '0')}Z`,
    sequence,
    clientMessageId: `key ${n}`,
  };
}

/** Ten messages in two conversations, read by one with a cursor and one without, both cut off once. */
function good() {
  const messages = Array.from({ length: 10 }, (_, n) => message(n, n % 2 ? 'b' : 'a', Math.floor(n / 2) + 1));
  const stream = () => messages.map((entry) => ({ ...entry, cursor: `cursor ${entry._id}` }));
  return {
    attempts: messages.map(({ conversationId, content, clientMessageId, senderId, ...rest }, order) => ({
      senderId,
      connection: order < 5 ? 'first' : 'second',
      order,
      payload: { conversationId, content, clientMessageId },
      acked: { ...messages[order], ...rest },
    })),
    stored: new Map(['a', 'b'].map((id) => [id, messages.filter((entry) => entry.conversationId === id).map((entry) => ({ ...entry }))])),
    streams: new Map([['alice', stream()], ['bob', stream()]]),
    members: new Map([['a', ['alice', 'bob']], ['b', ['alice', 'bob']]]),
    readers: [
      { userId: 'bob', resumes: 'cursor', runs: [stream().slice(0, 4), [], stream().slice(4)] },
      { userId: 'bob', resumes: 'mark', runs: [stream().slice(0, 6), stream().slice(2)] },
    ],
  };
}

test('a good history has no fault', () => {
  assert.deepEqual(faults(good()), []);
});

test('a message that was not acknowledged may be stored or not', () => {
  const history = good();
  delete history.attempts[3].acked;
  assert.deepEqual(faults(history), []);
  history.attempts.push({ senderId: 'alice', connection: 'second', order: 99, payload: { conversationId: 'a', content: 'lost', clientMessageId: 'lost' } });
  assert.deepEqual(faults(history), []);
});

test('a retry that was a duplicate is no matter of order', () => {
  const history = good();
  history.attempts.push({ ...history.attempts[0], connection: 'second', order: 99, duplicate: true });
  assert.deepEqual(faults(history), []);
});

describe('is found', () => {
  const [CURSOR, MARK] = [0, 1];
  const seeded = {
    'an acknowledged message that is gone': [(history) => history.stored.get('b').pop(), /acknowledged and is not stored/],
    'a hole in the numbering': [(history) => history.stored.get('a').splice(1, 1), /has sequence/],
    'a message stored twice': [({ stored }) => stored.get('a').push({ ...stored.get('a')[0], sequence: 6 }), /stored twice/],
    'a key that made two messages': [({ stored }) => stored.get('a').push({ ...stored.get('a')[4], _id: 'other', sequence: 6 }), /made two messages/],
    'pages out of order': [({ stored }) => stored.get('a').reverse(), /has sequence/],
    'a clock that runs backwards': [({ stored }) => (stored.get('a')[3].createdAt = '2023-01-01T00:00:00.000Z'), /older than the one before/],
    'a text that was changed': [({ stored }) => (stored.get('a')[3].content = 'changed'), /stored otherwise/],
    'a message that nobody sent': [({ stored }) => stored.get('a').push(message(50, 'a', 6)), /never sent/],
    'an ack of another message': [({ attempts }) => (attempts[0].acked = attempts[2].acked), /of another message/],
    'two messages of a socket that changed places': [
      ({ attempts }) => ([attempts[0].order, attempts[2].order] = [attempts[2].order, attempts[0].order]),
      /numbered before it/,
    ],
    'a stream with a hole': [({ streams }) => streams.get('alice').splice(5, 1), /missing in the stream/],
    'a stream with a repetition': [({ streams }) => streams.get('alice').push(streams.get('alice')[0]), /twice in the stream/],
    'a stream with somebody else’s message': [({ members }) => (members.get('a').length = 1), /should not be/],
    'two orders': [
      ({ streams }) => {
        const stream = streams.get('alice');
        [stream[2], stream[3]] = [stream[3], stream[2]];
      },
      /see two orders/,
    ],
    'a reader with a gap at a reconnect': [({ readers }) => readers[CURSOR].runs[2].shift(), /was due/],
    'a reader with a gap at the end': [({ readers }) => readers[CURSOR].runs[2].pop(), /never got/],
    'a reader with a repetition at a reconnect': [({ readers }) => readers[CURSOR].runs[2].unshift(readers[CURSOR].runs[0][3]), /was due/],
    'a reader with a repetition within a connection': [({ readers }) => readers[CURSOR].runs[0].push(readers[CURSOR].runs[0][3]), /was due/],
    'a reader who got two in the wrong order': [({ readers }) => readers[CURSOR].runs[0].reverse(), /was due/],
    'a reader who got a stranger’s message': [({ readers }) => readers[CURSOR].runs[0].push(message(60, 'c', 1)), /not in the stream/],
    'a reader who got other words': [({ readers }) => (readers[CURSOR].runs[0][0].content = 'changed'), /otherwise than the stream/],
    'a reader without a cursor who missed one': [({ readers }) => readers[MARK].runs.forEach((run) => run.splice(run.findIndex(({ _id }) => _id === 'id 4'), 1)), /never got/],
    'a reader without a cursor with a hole within a connection': [({ readers }) => readers[MARK].runs[0].splice(2, 1), /on one connection/],
    'a reader without a cursor with a repetition within a connection': [({ readers }) => readers[MARK].runs[1].push(readers[MARK].runs[1][0]), /on one connection/],
  };
  for (const [name, [seed, pattern]] of Object.entries(seeded)) {
    test(name, () => {
      const history = good();
      seed(history);
      const found = faults(history);
      assert.ok(found.some((fault) => pattern.test(fault)), JSON.stringify(found));
    });
  }
});
