// Engine.IO and HTTP spoken by hand, for what no client library would send.

import { request } from 'node:http';
import { connect } from 'node:net';

import WebSocket from 'ws';

import { until, within } from './until.mjs';

const SEPARATOR = '\x1e';

/** A polling session without a client library. */
export class Polling {
  constructor(url, headers = {}) {
    this.base = `${url}/socket.io/?EIO=4&transport=polling`;
    this.headers = headers;
  }

  static async open(url, headers) {
    const session = new Polling(url, headers);
    const { status, text } = await session.get();
    if (status !== 200) throw new Error(`${status}: ${text}`);
    session.sid = JSON.parse(text.slice(1)).sid;
    return session;
  }

  /** Opens a session and connects to the default namespace. */
  static async connect(url, token) {
    const session = await Polling.open(url);
    await session.post(`40${JSON.stringify({ token })}`);
    await until(async () => (await session.packets()).some((packet) => packet.startsWith('40')), { what: 'the connect packet' });
    return session;
  }

  get url() {
    return this.sid ? `${this.base}&sid=${this.sid}` : this.base;
  }

  async get() {
    const response = await fetch(this.url, { headers: this.headers });
    return { status: response.status, text: await response.text(), headers: response.headers };
  }

  /** The packets of one poll. */
  async packets() {
    const { status, text } = await this.get();
    if (status !== 200) throw new Error(`${status}: ${text}`);
    const packets = text.split(SEPARATOR);
    if (packets.includes('2')) await this.post('3');
    return packets;
  }

  async post(body, headers = {}) {
    const response = await fetch(this.url, { method: 'POST', body, headers: { 'content-type': 'text/plain;charset=UTF-8', ...this.headers, ...headers } });
    return { status: response.status, text: await response.text() };
  }

  postAll(packets) {
    return this.post(packets.join(SEPARATOR));
  }
}

/** A WebSocket without a client library. */
export class Wire {
  frames = [];
  closed = undefined;

  constructor(url, { headers } = {}) {
    this.socket = new WebSocket(`${url.replace(/^http/, 'ws')}/socket.io/?EIO=4&transport=websocket`, { headers });
    this.socket.on('message', (data, binary) => {
      const frame = binary ? data : data.toString();
      this.frames.push(frame);
      if (frame === '2' && this.socket.readyState === WebSocket.OPEN) this.socket.send('3');
    });
    this.socket.on('close', (code) => (this.closed = code));
    this.socket.on('error', (error) => (this.error = error));
    this.socket.on('unexpected-response', (_, response) => {
      this.status = response.statusCode;
      response.resume();
    });
  }

  /** Opened, with the server's first packet. */
  static async open(url, options) {
    const wire = new Wire(url, options);
    await until(() => wire.frames.length > 0 || wire.error || wire.status, { what: 'the open packet' });
    if (wire.frames.length === 0) throw new Error(`refused: ${wire.status ?? wire.error}`);
    return wire;
  }

  /** Opened and connected to the default namespace. */
  static async connect(url, auth, options) {
    const wire = await Wire.open(url, options);
    wire.send(`40${JSON.stringify(auth)}`);
    await wire.frame((frame) => frame.startsWith('40'));
    return wire;
  }

  send(data) {
    this.socket.send(data);
  }

  frame(matches) {
    return until(() => this.frames.find((frame) => typeof frame === 'string' && matches(frame)), {
      what: () => `a frame like ${matches}; came: ${JSON.stringify(this.frames).slice(0, 1_000)}`,
    });
  }

  ended() {
    return until(() => this.closed !== undefined || this.error, { what: 'the end of the WebSocket' });
  }

  close() {
    this.socket.terminate();
  }
}

/** An HTTP request with any header, `Host` included, and any method. */
export function http(url, { method = 'GET', headers = {}, body } = {}) {
  return within(
    new Promise((resolve, reject) => {
      const sent = request(url, { method, headers, agent: false }, (response) => {
        let text = '';
        response.setEncoding('utf8').on('data', (chunk) => (text += chunk));
        response.on('error', reject);
        response.on('end', () => {
          let parsed;
          try {
            parsed = JSON.parse(text);
          } catch {
            parsed = undefined;
          }
          resolve({ status: response.statusCode, headers: new Headers(Object.entries(response.headers).flatMap(([name, value]) => [value].flat().map((one) => [name, one]))), body: parsed, text });
        });
      });
      sent.on('error', reject);
      sent.end(body);
    }),
    `${method} ${url}`,
  );
}

/** A TCP connection on which anything can be said. */
export class Tcp {
  text = '';
  closed = false;

  constructor(url, say = '') {
    const { hostname, port } = new URL(url);
    this.socket = connect(Number(port), hostname, () => this.socket.write(say));
    this.socket.setEncoding('latin1').on('data', (text) => (this.text += text));
    this.socket.on('close', () => (this.closed = true));
    this.socket.on('error', () => {});
  }

  ended(timeout) {
    return until(() => this.closed, { what: 'the end of the TCP connection', timeout });
  }
}
