// What is measured. Each `start` gives the flags by which the load generator finds it, and how to end it.

import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
process.env.VERBATIM_EXECUTABLE ??= join(root, 'target/release/verbatim');
const { environment, executable } = await import('../tests/harness/executable.mjs');
const { Log } = await import('../tests/harness/log.mjs');
const { Process } = await import('../tests/harness/process.mjs');
const { Nats, Postgres } = await import('../tests/harness/servers.mjs');
const { until } = await import('../tests/harness/until.mjs');

export const LOAD = process.env.VERBATIM_LOAD ?? join(root, 'target/release/verbatim-bench');
const SECRET = 'a secret for benchmarks, nothing else';

/** As the load generator's `fill` has it. */
export const MASTER_KEY = '5e'.repeat(32);

/** Rate limits off and no log lines, as the peer has neither; nothing else is set. */
const SETTINGS = { JWT_SECRET: SECRET, LOG_LEVEL: 'warn', RATE_LIMIT_MESSAGES_PER_SECOND: '0', RATE_LIMIT_REQUESTS_PER_SECOND: '0', VERBATIM_LISTEN: '127.0.0.1:0' };

const watch = (processes) => Object.entries(processes).flatMap(([name, pid]) => ['--process', `${name}=${pid}`]);

function chat(listen, processes) {
  return ['--server', listen, '--secret', SECRET, ...watch(processes)];
}

export const folder = () => mkdtempSync(join(tmpdir(), 'verbatim-bench-'));
export const remove = (path) => rmSync(path, { recursive: true, force: true });

/** Reads what a server prints and keeps none of it, as long as only its speed counts. */
function overhear({ child }) {
  child.stdout.removeAllListeners('data').resume();
}

/** The number that a server's metrics say, if they do. */
async function metric({ url }, name) {
  const metrics = await (await fetch(`${url}/metrics`)).text();
  const line = metrics.split('\n').find((line) => line.startsWith(`${name} `));
  return line === undefined ? undefined : Number(line.split(' ')[1]);
}

/** The log lines that a server could not write in time. */
const droppedLines = (server) => metric(server, 'verbatim_log_lines_dropped_total');

function complain(what, code, log) {
  if (code !== 0 || log.faults().length > 0) throw new Error(`${what} ended with ${code}:\n${log.lines.slice(-20).join('\n')}`);
}

/** The embedded form. `grown`, if given, is a data folder, which stays. */
async function verbatim({ settings = {}, grown } = {}) {
  const data = grown ?? folder();
  const server = new Process();
  const log = new Log();
  await server.start(['serve'], { ...SETTINGS, VERBATIM_DATA_DIR: data, ...settings }, data, log);
  await server.ready();
  if (settings.LOG_LEVEL) overhear(server);
  return {
    flags: chat(server.listen, { verbatim: server.child.pid }),
    dropped: () => droppedLines(server),
    async stop() {
      const code = await server.stop();
      if (!grown) remove(data);
      complain('the server', code, log);
    },
  };
}

async function cluster({ settings = {} } = {}) {
  const [postgres, nats] = [new Postgres(), new Nats()];
  await Promise.all([postgres.start(), nats.start()]);
  const log = new Log();
  const roles = ['gateway', 'aggregate', 'projection'].map((role) => new Process(role));
  for (const role of roles) {
    await role.start(['serve'], { ...SETTINGS, DATABASE_URL: postgres.url, NATS_URL: nats.url, MASTER_KEY, VERBATIM_ROLE: role.role, ...settings }, '/', log);
  }
  await roles[0].ready();
  if (settings.LOG_LEVEL) roles.forEach(overhear);
  const own = Object.fromEntries(roles.map(({ role, child }) => [role, child.pid]));
  return {
    flags: chat(roles[0].listen, { ...own, postgres: postgres.child.pid, nats: nats.child.pid }),
    dropped: () => droppedLines(roles[0]),
    async stop() {
      const codes = await Promise.all(roles.map((role) => role.stop()));
      await Promise.all([postgres.end(), nats.end()]);
      complain('the cluster', codes.find((code) => code !== 0) ?? 0, log);
    },
  };
}

/** A program that prints where it listens. */
async function program(command, args, settings = {}) {
  const child = spawn(command, args, { env: { ...process.env, ...settings } });
  const log = new Log();
  log.follow(child);
  const line = await log.until(/^listens on (\S+)$/);
  return {
    listen: line.split(' ')[2],
    pid: child.pid,
    async stop() {
      const ended = once(child, 'exit');
      child.kill('SIGTERM');
      await ended;
    },
  };
}

async function peer(batch) {
  const postgres = await new Postgres().start();
  const server = await program('node', [join(root, 'bench/peer/server.mjs')], { DATABASE_URL: postgres.url, JWT_SECRET: SECRET, PORT: '0', BATCH: batch, NODE_ENV: 'production' });
  return {
    flags: chat(server.listen, { node: server.pid, postgres: postgres.child.pid }),
    async stop() {
      await server.stop();
      await postgres.end();
    },
  };
}

async function relay(...store) {
  const server = await program(LOAD, ['relay', '--secret', SECRET, ...store]);
  return { flags: chat(server.listen, { relay: server.pid }), stop: () => server.stop() };
}

async function storingRelay() {
  const data = folder();
  const server = await relay('--store', join(data, 'messages.sqlite'));
  return {
    ...server,
    async stop() {
      await server.stop();
      remove(data);
    },
  };
}

// The stores alone: which of the limits, and where it is.

async function postgres() {
  const server = await new Postgres().start();
  return { flags: ['postgres', '--database', server.url, ...watch({ postgres: server.child.pid })], stop: () => server.end() };
}

async function jetstream() {
  const server = await new Nats().start();
  return { flags: ['jetstream', '--url', server.url, ...watch({ nats: server.child.pid })], stop: () => server.end() };
}

const sqlite = async () => ({ flags: ['sqlite'], stop() {} });

export const SERVERS = {
  relay: () => relay(),
  'storing relay': storingRelay,
  verbatim,
  cluster,
  peer: () => peer('0'),
  'peer batched': () => peer('1'),
  PostgreSQL: postgres,
  SQLite: sqlite,
  JetStream: jetstream,
};

/** Data folders that hold so much before anything is measured; made when first asked for. */
export class Grown {
  #folders = new Map();

  /**
   * A folder in which this was said, and how many events that were: a copy, or with `once` always the same, which is left
   * as the last has made it. With `sealed` all of it is sealed.
   */
  async take({ once: stays, ...wanted }) {
    const key = JSON.stringify(wanted);
    if (!this.#folders.has(key)) this.#folders.set(key, await this.#make(wanted));
    const { data, events } = this.#folders.get(key);
    if (stays) return { grown: data, events, end() {} };
    const grown = folder();
    cpSync(data, grown, { recursive: true });
    return { grown, events, end: () => remove(grown) };
  }

  async #make({ sealed, ...fill }) {
    const data = folder();
    const begun = performance.now();
    const flags = Object.entries(fill).flatMap(([name, value]) => [`--${name}`, String(value)]);
    const { events } = JSON.parse(execFileSync(LOAD, ['fill', '--data-dir', data, ...flags], { stdio: ['ignore', 'pipe', 'inherit'] }));
    execFileSync(executable, ['rebuild', '--data-dir', data], { env: environment(), stdio: ['ignore', 'ignore', 'inherit'] });
    if (sealed) await seal(data);
    console.error(`${flags.join(' ')}: filled in ${Math.round((performance.now() - begun) / 1_000)} s`);
    return { data, events };
  }

  end() {
    for (const { data } of this.#folders.values()) remove(data);
  }
}

/** Has a server seal all that is in a folder. */
async function seal(data) {
  const server = new Process();
  await server.start(['serve'], { ...SETTINGS, VERBATIM_DATA_DIR: data }, data, new Log());
  await server.ready();
  await until(async () => (await metric(server, 'verbatim_seal_checkpoints_total')) > 0 && (await metric(server, 'verbatim_seal_lag_events')) === 0, {
    timeout: 600_000, what: 'everything is sealed',
  });
  await server.stop();
}
