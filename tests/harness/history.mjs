// The checker: what was sent, acknowledged, stored and received, held against what the contract promises.

import { isDeepStrictEqual } from 'node:util';

/**
 * @typedef {object} Attempt one try to send
 * @property {string} senderId
 * @property {string} connection which socket it went out on
 * @property {number} order its place among all attempts
 * @property {{ conversationId: string, content: string, clientMessageId: string }} payload
 * @property {object} [acked] the message of the ack, if there was one and it told success
 * @property {boolean} [duplicate] whether the ack said so
 */

/**
 * @typedef {object} Reader
 * @property {string} userId
 * @property {'cursor' | 'mark'} resumes with a cursor: exactly once; from the user's mark: at least once, and
 *   then the user must not write, because own messages count as delivered
 * @property {object[][]} runs the messages of each of its connections, as they came
 */

const unstreamed = ({ cursor: _, ...message }) => message;
const groupBy = (list, by) => {
  const groups = new Map();
  for (const entry of list) {
    const key = by(entry);
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push(entry);
  }
  return groups;
};

/**
 * Everything that is wrong with a history, in words; empty if all is well.
 *
 * @param {object} history
 * @param {Attempt[]} history.attempts
 * @param {Map<string, object[]>} history.stored each conversation's messages, as its pages gave them
 * @param {Map<string, object[]>} history.streams each user's stream, as its pages gave it
 * @param {Map<string, string[]>} history.members each conversation's members
 * @param {Reader[]} history.readers
 */
export function faults(history) {
  return [
    ...numbering(history),
    ...acknowledged(history),
    ...invented(history),
    ...ordered(history),
    ...streamed(history),
    ...history.readers.flatMap((reader) => [...received(reader, history.streams.get(reader.userId) ?? [])]),
  ];
}

function* numbering({ stored }) {
  const ids = new Set();
  const keys = new Set();
  for (const [conversation, messages] of stored) {
    for (const [index, message] of messages.entries()) {
      if (message.conversationId !== conversation) yield `${message._id} is of another conversation than ${conversation}`;
      if (message.sequence !== index + 1) yield `place ${index + 1} of ${conversation} has sequence ${message.sequence}`;
      if (index > 0 && message.createdAt < messages[index - 1].createdAt) yield `${message._id} is older than the one before it`;
      if (ids.has(message._id)) yield `${message._id} is stored twice`;
      const key = JSON.stringify([message.senderId, message.clientMessageId]);
      if (message.clientMessageId !== undefined && keys.has(key)) yield `the key ${key} made two messages`;
      ids.add(message._id);
      keys.add(key);
    }
  }
}

function* acknowledged({ attempts, stored }) {
  for (const { acked, payload, senderId } of attempts) {
    if (acked === undefined) continue;
    const message = stored.get(payload.conversationId)?.[acked.sequence - 1];
    if (message === undefined || message._id !== acked._id) yield `${acked._id} was acknowledged and is not stored at ${acked.sequence}`;
    else if (!isDeepStrictEqual(message, acked)) yield `${acked._id} is stored otherwise than it was acknowledged`;
    if (acked.content !== payload.content || acked.clientMessageId !== payload.clientMessageId || acked.senderId !== senderId) {
      yield `the ack of ${payload.clientMessageId} is of another message`;
    }
  }
}

function* invented({ attempts, stored }) {
  const sent = new Set(attempts.map(({ senderId, payload }) => JSON.stringify([senderId, payload.clientMessageId, payload.conversationId, payload.content])));
  for (const message of [...stored.values()].flat()) {
    const key = JSON.stringify([message.senderId, message.clientMessageId, message.conversationId, message.content]);
    if (!sent.has(key)) yield `${message._id} was never sent`;
  }
}

/** What one socket sent one after the other has its numbers in that order. */
function* ordered({ attempts }) {
  const made = attempts.filter((attempt) => attempt.acked !== undefined && !attempt.duplicate);
  for (const group of groupBy(made, ({ connection, payload }) => JSON.stringify([connection, payload.conversationId])).values()) {
    const inOrder = group.sort((one, other) => one.order - other.order);
    for (let index = 1; index < inOrder.length; index += 1) {
      const [before, after] = [inOrder[index - 1].acked, inOrder[index].acked];
      if (after.sequence <= before.sequence) yield `${after._id} was sent after ${before._id} and numbered before it`;
    }
  }
}

/** A user's stream has all messages of the user's conversations once, and all users see one order. */
function* streamed({ stored, streams, members }) {
  const places = new Map();
  for (const [user, messages] of streams) {
    const expected = new Map();
    for (const [conversation, list] of stored) {
      if (members.get(conversation).includes(user)) for (const message of list) expected.set(message._id, message);
    }
    const seen = new Set();
    for (const message of messages) {
      if (seen.has(message._id)) yield `${message._id} is twice in the stream of ${user}`;
      else if (!expected.has(message._id)) yield `${message._id} is in the stream of ${user}, and should not be`;
      else if (!isDeepStrictEqual(expected.get(message._id), unstreamed(message))) yield `${message._id} reads otherwise in the stream of ${user}`;
      seen.add(message._id);
      const cursor = places.get(message._id) ?? message.cursor;
      if (cursor !== message.cursor) yield `${message._id} has two cursors`;
      places.set(message._id, cursor);
    }
    for (const id of expected.keys()) if (!seen.has(id)) yield `${id} is missing in the stream of ${user}`;
  }
  const lists = [...streams];
  for (const [index, [user, messages]] of lists.entries()) {
    const place = new Map(messages.map((message, at) => [message._id, at]));
    for (const [other, theirs] of lists.slice(index + 1)) {
      const shared = theirs.map((message) => place.get(message._id)).filter((at) => at !== undefined);
      if (shared.some((at, n) => n > 0 && at < shared[n - 1])) yield `${user} and ${other} see two orders`;
    }
  }
}

function* received({ userId, resumes, runs }, stream) {
  const place = new Map(stream.map((message, at) => [message._id, at]));
  const who = `a reader of ${userId}`;
  const missing = new Set(place.keys());
  let next = 0;
  for (const run of runs) {
    let last;
    for (const message of run) {
      const at = place.get(message._id);
      if (at === undefined) {
        yield `${who} got ${message._id}, which is not in the stream`;
        continue;
      }
      if (!isDeepStrictEqual(stream[at], message)) yield `${who} got ${message._id} otherwise than the stream has it`;
      missing.delete(message._id);
      if (resumes === 'cursor') {
        if (at !== next) yield `${who} got number ${at} of the stream where ${next} was due`;
        next = at + 1;
      } else if (last !== undefined && at !== last + 1) {
        yield `${who} got number ${at} of the stream after ${last} on one connection`;
      }
      last = at;
    }
  }
  for (const id of missing) yield `${who} never got ${id}`;
}
