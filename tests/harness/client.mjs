// A Socket.IO client that remembers, in order, all that it was sent.

import { io as latest } from 'socket.io-client';
import { io as older } from 'socket.io-client-4.5';

import { PATIENCE, until, within } from './until.mjs';

export const LIBRARIES = { '4.8': latest, '4.5': older };

export const TRANSPORTS = {
  polling: ['polling'],
  websocket: ['websocket'],
  upgrade: ['polling', 'websocket'],
};

export class Client {
  /** `{ event, payload }` of everything that came, acks aside. */
  received = [];
  /** Why the socket was disconnected, each time. */
  disconnects = [];
  /** Messages of `connect_error`, each time. */
  refusals = [];

  constructor(url, { token, cursor, auth, library = '4.8', transports = TRANSPORTS.websocket, ...options } = {}) {
    const credentials = auth ?? { ...(token === undefined ? {} : { token }), ...(cursor === undefined ? {} : { cursor }) };
    this.socket = LIBRARIES[library](url, {
      auth: credentials,
      transports,
      forceNew: true,
      reconnection: false,
      timeout: PATIENCE,
      ...options,
    });
    this.socket.onAny((event, payload) => this.received.push({ event, payload }));
    this.socket.on('disconnect', (reason) => this.disconnects.push(reason));
    this.socket.on('connect_error', (error) => this.refusals.push(error.message));
  }

  /** Connects, and waits until the server has sent all that was missed. */
  static async connect(url, options) {
    const client = new Client(url, options);
    try {
      await client.connected();
      await client.next('stream:ready');
    } catch (error) {
      client.close();
      throw error;
    }
    return client;
  }

  async connected() {
    await until(() => this.socket.connected || this.refusals.length > 0, { what: 'connect or connect_error' });
    if (!this.socket.connected) throw new Error(this.refusals.at(-1));
  }

  /** Payloads of an event, in the order in which they came. */
  all(event) {
    return this.received.filter((entry) => entry.event === event).map((entry) => entry.payload);
  }

  /** Messages of the stream, in the order in which they came. */
  get messages() {
    return this.all('message:receive').filter((payload) => payload.success).map((payload) => payload.data);
  }

  /** The last cursor that came: what the client has applied. */
  get cursor() {
    return this.messages.at(-1)?.cursor ?? this.all('stream:ready').at(-1)?.data.cursor;
  }

  /** The first payload of the event for which `matches` holds, once it is there. */
  async next(event, matches = () => true, { from = 0, timeout } = {}) {
    const find = () => this.received.slice(from).find((entry) => entry.event === event && matches(entry.payload));
    const entry = await until(find, {
      timeout,
      what: () => `${event} where ${matches}; came: ${JSON.stringify(this.received.slice(-5))?.slice(0, 2_000)}`,
    });
    return entry.payload;
  }

  /** The message with this content, once it came. */
  async message(content) {
    const payload = await this.next('message:receive', (answer) => answer.success && answer.data.content === content);
    return payload.data;
  }

  /** Emits and gives the ack's one object. */
  ask(event, ...args) {
    return within(
      new Promise((resolve) => this.socket.emit(event, ...args, (...answers) => resolve(answers.length === 1 ? answers[0] : answers))),
      `the ack of ${event}`,
    );
  }

  /** Sends a message, which must succeed, and gives it. */
  async send(payload) {
    const answer = await this.ask('message:send', payload);
    if (!answer.success) throw new Error(`not sent: ${JSON.stringify(answer.error)}`);
    return answer.data;
  }

  emit(event, ...args) {
    this.socket.emit(event, ...args);
  }

  async disconnected() {
    await until(() => this.disconnects.length > 0, { what: 'disconnect' });
    return this.disconnects.at(-1);
  }

  close() {
    this.socket.disconnect();
  }

  /** Breaks the connection without a word, as a lost network does. */
  breakOff() {
    this.socket.io.reconnection(false);
    this.socket.io.engine.close();
  }
}
