// Writers and readers that go on through crashes, and keep the record that the checker needs.

import { once } from 'node:events';

import { TRANSPORTS } from './client.mjs';
import { key } from './names.mjs';
import { until } from './until.mjs';

const RECONNECTING = { reconnection: true, reconnectionDelay: 5, reconnectionDelayMax: 50, randomizationFactor: 0.5 };

/** How long a try may take before it is repeated: longer than the server's own deadline. */
const TRY_TIMEOUT = 8_000;

/** Numbers all attempts of a run in the order in which they were made. */
let order = 0;

/** A socket that reads its user's stream, connection after connection. */
export class Reader {
  runs = [];

  constructor(deployment, userId, token, { resumes, transports = TRANSPORTS.websocket }) {
    this.userId = userId;
    this.resumes = resumes;
    this.seen = new Set();
    this.client = deployment.client({
      auth: (give) => give(resumes === 'cursor' && this.cursor !== undefined ? { token, cursor: this.cursor } : { token }),
      transports,
      ...RECONNECTING,
    });
    const { socket } = this.client;
    socket.on('connect', () => this.runs.push([]));
    socket.on('message:receive', ({ success, data, duplicate }) => {
      // The answer to one's own repeated send is no part of the stream.
      if (!success || duplicate) return;
      this.runs.at(-1).push(data);
      this.seen.add(data._id);
      this.cursor = data.cursor;
    });
    socket.on('stream:reset', () => (this.reset = true));
  }

  ready() {
    return this.client.next('stream:ready');
  }
}

/** Sends through a reader's socket, a few messages at once, each until it is acknowledged. */
export class Writer {
  attempts = [];
  acknowledged = 0;
  #going = true;
  #lanes;

  constructor(reader, conversationIds, { window = 8 } = {}) {
    this.reader = reader;
    this.#lanes = Array.from({ length: window }, (_, lane) => this.#write(conversationIds[lane % conversationIds.length]));
  }

  async #write(conversationId) {
    while (this.#going) {
      const clientMessageId = key();
      const payload = { conversationId, content: `says ${clientMessageId}`, clientMessageId };
      while (!(await this.#try(payload)));
      this.acknowledged += 1;
    }
  }

  async #try(payload) {
    const { socket } = this.reader.client;
    if (!socket.connected) await once(socket, 'connect');
    const attempt = { senderId: this.reader.userId, connection: socket.id, order: (order += 1), payload };
    this.attempts.push(attempt);
    const answer = await socket.timeout(TRY_TIMEOUT).emitWithAck('message:send', payload).catch(() => undefined);
    if (answer?.success) {
      attempt.acked = answer.data;
      attempt.duplicate = answer.duplicate === true;
      return true;
    }
    if (answer && !answer.error.retryable) throw new Error(`a send was refused: ${JSON.stringify(answer.error)}`);
    return false;
  }

  /** Ends when every message that was begun is acknowledged. */
  async end() {
    this.#going = false;
    await Promise.all(this.#lanes);
  }
}

/** What the server has stored, by REST: each conversation's messages and each user's stream. */
export async function record(deployment, members) {
  const stored = new Map();
  const streams = new Map();
  for (const [id, users] of members) {
    stored.set(id, await (await deployment.rest(users[0])).history(id));
    for (const user of users) {
      if (!streams.has(user)) streams.set(user, await (await deployment.rest(user)).stream());
    }
  }
  return { stored, streams, members };
}

/** Waits until each reader has had all of its stream. */
export async function caughtUp(readers, streams) {
  for (const reader of readers) {
    const stream = streams.get(reader.userId);
    await until(() => stream.every((message) => reader.seen.has(message._id)), {
      timeout: 60_000,
      what: () => `all ${stream.length} messages at a reader of ${reader.userId} (${reader.resumes}), who has ${reader.seen.size}`,
    });
  }
}
