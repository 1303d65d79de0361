// A deployment of the server: so far one embedded process with a data folder of its own. Tests ask it for
// clients, and don't know how many processes there are.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before } from 'node:test';

import { Client } from './client.mjs';
import { environment, executable } from './executable.mjs';
import { Log } from './log.mjs';
import { Rest } from './rest.mjs';
import { SECRET, token } from './tokens.mjs';
import { within } from './until.mjs';

const BANNER = /^Verbatim \S+ listens on (http:\/\/127\.0\.0\.1:\d+)$/;

/** Within which a server must have ended once it was asked to. */
const STOP_TIMEOUT = 10_000;

/** Most tests are about something else than the rates; those that are set their own. */
const UNLIMITED = { RATE_LIMIT_MESSAGES_PER_SECOND: '0', RATE_LIMIT_REQUESTS_PER_SECOND: '0' };

export class Deployment {
  log = new Log();
  /** Log lines that look like faults, and that this deployment is expected to have. */
  allowed = [];

  #settings;
  #process;
  #clients = [];
  #urls = [];
  #next = 0;
  #ownsFolder;

  constructor(settings = {}, { dataDir } = {}) {
    this.#ownsFolder = dataDir === undefined;
    this.dataDir = dataDir ?? mkdtempSync(join(tmpdir(), 'verbatim-'));
    this.#settings = {
      VERBATIM_LISTEN: '127.0.0.1:0',
      VERBATIM_DATA_DIR: this.dataDir,
      JWT_SECRET: SECRET,
      ...UNLIMITED,
      ...settings,
    };
    for (const [name, value] of Object.entries(this.#settings)) {
      if (value === undefined) delete this.#settings[name];
    }
  }

  /** The settings that commands such as `verbatim backup` need to find this deployment. */
  get settings() {
    return { VERBATIM_DATA_DIR: this.dataDir, ...(this.#settings.JWT_SECRET ? { JWT_SECRET: this.#settings.JWT_SECRET } : {}) };
  }

  async start(args = ['serve']) {
    const from = this.log.lines.length;
    const child = spawn(executable, args, { env: environment(this.#settings), cwd: this.dataDir });
    this.#process = child;
    this.log.follow(child);
    child.on('error', (error) => this.log.lines.push(`panicked at start: ${error}`));
    const started = this.log.until(BANNER, { from });
    const ended = once(child, 'close').then(([code]) => {
      throw new Error(`the server ended with ${code}:\n${this.log.lines.slice(from).join('\n')}`);
    });
    ended.catch(() => {});
    const line = await Promise.race([started, ended]);
    started.catch(() => {});
    const [, url] = BANNER.exec(line);
    this.#urls = [url];
    // After a restart clients must find it where it was.
    this.#settings.VERBATIM_LISTEN = new URL(url).host;
    return this;
  }

  get pid() {
    return this.#process.pid;
  }

  get running() {
    return this.#process !== undefined && this.#process.exitCode === null && this.#process.signalCode === null;
  }

  /** How many gateways clients can choose from. */
  get gateways() {
    return this.#urls.length;
  }

  url(gateway = 0) {
    return this.#urls[gateway % this.#urls.length];
  }

  /** Spreads clients over the gateways. */
  nextUrl() {
    return this.url(this.#next++);
  }

  /** A connected client that has had all that it missed. Options as in `Client`, and the token's `claims`. */
  async connect(userId, { claims, ...options } = {}) {
    const client = await Client.connect(this.nextUrl(), { token: await token(userId, claims), ...options });
    this.#clients.push(client);
    return client;
  }

  /** A client that may still be connecting, or be refused. */
  client(options) {
    const client = new Client(this.nextUrl(), options);
    this.#clients.push(client);
    return client;
  }

  async rest(userId, claims) {
    return new Rest(this.nextUrl(), await token(userId, claims));
  }

  /** REST without a token. */
  get anonymous() {
    return new Rest(this.nextUrl());
  }

  signal(name) {
    this.#process.kill(name);
  }

  async #ended(timeout = STOP_TIMEOUT) {
    if (this.running) await within(once(this.#process, 'exit'), 'the end of the server', timeout);
    if (!this.#process.stdout.closed) await within(once(this.#process.stdout, 'close'), 'the end of its output');
    return this.#process.exitCode;
  }

  /** Asks the server to end; gives its exit code. */
  async stop(signal = 'SIGTERM') {
    if (this.running) this.signal(signal);
    return this.#ended();
  }

  /** Ends the server as a crash or a power loss of the process would. */
  async kill() {
    this.signal('SIGKILL');
    await this.#ended();
  }

  /** Ends clients and server. A server that didn't end cleanly, or logged a fault, fails the suite. */
  async end() {
    for (const client of this.#clients) client.close();
    try {
      if (this.running) {
        assert.equal(await this.stop(), 0, `the server's exit code; its log ends with\n${this.log.lines.slice(-20).join('\n')}`);
      }
      assert.deepEqual(this.log.faults(this.allowed), [], "the server's log has faults");
    } finally {
      if (this.running) this.signal('SIGKILL');
      if (this.#ownsFolder) rmSync(this.dataDir, { recursive: true, force: true });
    }
  }
}

/** A deployment for the suite that asks, started before its tests and ended after them. */
export function deploy(settings, options) {
  const deployment = new Deployment(settings, options);
  before(() => deployment.start());
  after(() => deployment.end());
  return deployment;
}
