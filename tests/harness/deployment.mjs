// A deployment of the server: one embedded process with a data folder of its own, or, with DEPLOYMENT=cluster, two
// gateways, two aggregate and two projection workers on a database and NATS subjects of their own. Tests ask it for
// clients, and don't know how many processes there are.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before } from 'node:test';

import { Client } from './client.mjs';
import { Log } from './log.mjs';
import { Process } from './process.mjs';
import { Rest } from './rest.mjs';
import { Nats, Postgres } from './servers.mjs';
import { MASTER_KEY, SECRET, token } from './tokens.mjs';
import { until } from './until.mjs';

/** Most tests are about something else than the rates; those that are set their own. */
const UNLIMITED = { RATE_LIMIT_MESSAGES_PER_SECOND: '0', RATE_LIMIT_REQUESTS_PER_SECOND: '0' };

export const isCluster = process.env.DEPLOYMENT === 'cluster';

/** What each process of a deployment does. */
function roles(gateways) {
  if (!isCluster) return ['all'];
  return [...Array.from({ length: gateways }, () => 'gateway'), 'aggregate', 'aggregate', 'projection', 'projection'];
}

/** The servers that a cluster keeps everything on, apart from those of all other deployments. */
function cluster() {
  const server = process.env.VERBATIM_TEST_DATABASE_URL;
  const nats = process.env.VERBATIM_TEST_NATS_URL;
  if (!server || !nats) throw new Error('no servers for a cluster: eval "$(scripts/services start)"');
  const name = `e2e_${randomUUID().replaceAll('-', '')}`;
  execFileSync('psql', [server, '-q', '-c', `create database ${name} strategy wal_log`]);
  return { DATABASE_URL: server.replace(/\/[^/]*$/, `/${name}`), NATS_URL: nats, NATS_PREFIX: name, MASTER_KEY };
}

export class Deployment {
  log = new Log();
  /** Log lines that look like faults, and that this deployment is expected to have. */
  allowed = [];
  /** All processes; those that clients talk to come first. */
  processes;

  #settings;
  #clients = [];
  #next = 0;
  #ownsFolder;

  /** `gateways`: how many a cluster has; each counts what a user may do by itself. */
  constructor(settings = {}, { dataDir, gateways = 2 } = {}) {
    this.processes = roles(gateways).map((role) => new Process(role));
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
    const { JWT_SECRET, DATABASE_URL, NATS_URL, NATS_PREFIX, MASTER_KEY } = this.#settings;
    const given = Object.entries({ JWT_SECRET, DATABASE_URL, NATS_URL, NATS_PREFIX, MASTER_KEY }).filter(([, value]) => value);
    return { VERBATIM_DATA_DIR: this.dataDir, ...Object.fromEntries(given) };
  }

  /** More settings, before it is started. */
  use(settings) {
    Object.assign(this.#settings, settings);
  }

  async start(args = ['serve']) {
    if (isCluster && !this.#settings.DATABASE_URL) Object.assign(this.#settings, cluster());
    const stopped = this.processes.filter((process) => !process.running);
    try {
      await Promise.all(stopped.map((process) => this.restart(process, args)));
      if (isCluster) await this.ready();
    } catch (error) {
      // A test ends only what it has got.
      for (const process of stopped) process.child?.kill('SIGKILL');
      throw error;
    }
    return this;
  }

  /** Starts one process again that has ended. */
  async restart(process, args = ['serve']) {
    const role = isCluster ? { VERBATIM_ROLE: process.role } : {};
    await process.start(args, { ...this.#settings, ...role }, this.dataDir, this.log);
  }

  /** Every lane has an owner, and messages are pushed. */
  async ready() {
    await Promise.all(this.#gateways.map((process) => process.ready()));
  }

  get pid() {
    return this.processes[0].child.pid;
  }

  get running() {
    return this.processes.some((process) => process.running);
  }

  get #gateways() {
    return this.processes.filter(({ role }) => role === 'all' || role === 'gateway');
  }

  /** How many gateways clients can choose from. */
  get gateways() {
    return this.#gateways.length;
  }

  url(gateway = 0) {
    return this.#gateways[gateway % this.gateways].url;
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
    for (const process of this.processes) process.child.kill(name);
  }

  /** Gives the first exit code that isn't 0. */
  async #ended() {
    const codes = await Promise.all(this.processes.map((process) => process.ended()));
    return codes.find((code) => code !== 0) ?? 0;
  }

  /** Asks the server to end; gives its exit code. */
  async stop(signal = 'SIGTERM') {
    for (const process of this.processes) if (process.running) process.child.kill(signal);
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

/** As `deploy`, on a PostgreSQL and a NATS server of the suite's own, which it may end and freeze. */
export function deployOnOwnServers(settings, allowed) {
  const [postgres, nats, deployment] = [new Postgres(), new Nats(), new Deployment(settings)];
  deployment.allowed = allowed;
  before(async () => {
    await Promise.all([postgres.start(), nats.start()]);
    deployment.use({ DATABASE_URL: postgres.url, NATS_URL: nats.url, MASTER_KEY });
    await deployment.start();
  });
  after(async () => {
    try {
      await deployment.end();
    } finally {
      await Promise.all([postgres.end(), nats.end()]);
    }
  });
  return { postgres, nats, deployment };
}
