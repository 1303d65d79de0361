// Measures Verbatim beside its peers and the machine's limits, and prints a table in Markdown; raw results go to
// bench/results/. Every server has the machine, its data and its database to itself while it is measured; servers take
// turns, round after round, and a figure is the median of the rounds.
//
//   node bench/run.mjs [--quick] [--rounds N] [--only ROW,…] [--servers NAME,…]
//
// It wants the release build (cargo build --release -p verbatim -p verbatim-bench), `npm ci` in bench/peer and tests, and
// PostgreSQL and NATS as scripts/services sets them.

import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir, totalmem } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs, promisify } from 'node:util';

const root = fileURLToPath(new URL('..', import.meta.url));
process.env.VERBATIM_EXECUTABLE ??= join(root, 'target/release/verbatim');
const { Log } = await import('../tests/harness/log.mjs');
const { Process } = await import('../tests/harness/process.mjs');
const { Nats, Postgres } = await import('../tests/harness/servers.mjs');

const LOAD = process.env.VERBATIM_LOAD ?? join(root, 'target/release/verbatim-bench');
const SECRET = 'a secret for benchmarks, nothing else';

const { values: options } = parseArgs({
  options: { quick: { type: 'boolean', default: false }, rounds: { type: 'string' }, only: { type: 'string' }, servers: { type: 'string' } },
});
const ROUNDS = Number(options.rounds ?? (options.quick ? 1 : 5));

// --- The servers. Each `start` gives where to connect, the processes to watch, and how to end it.

/** Rate limits off and no log lines, as the peer has neither; nothing else is set. */
const SETTINGS = { JWT_SECRET: SECRET, LOG_LEVEL: 'warn', RATE_LIMIT_MESSAGES_PER_SECOND: '0', RATE_LIMIT_REQUESTS_PER_SECOND: '0', VERBATIM_LISTEN: '127.0.0.1:0' };

async function verbatim(settings = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'verbatim-bench-'));
  const server = new Process();
  const log = new Log();
  await server.start(['serve'], { ...SETTINGS, VERBATIM_DATA_DIR: folder, ...settings }, folder, log);
  await server.ready();
  return {
    servers: [server.listen],
    processes: { verbatim: server.child.pid },
    async stop() {
      const code = await server.stop();
      rmSync(folder, { recursive: true, force: true });
      if (code !== 0 || log.faults().length > 0) throw new Error(`the server ended with ${code}:\n${log.lines.slice(-20).join('\n')}`);
    },
  };
}

async function cluster() {
  const [postgres, nats] = [new Postgres(), new Nats()];
  await Promise.all([postgres.start(), nats.start()]);
  const log = new Log();
  const roles = ['gateway', 'aggregate', 'projection'].map((role) => new Process(role));
  for (const role of roles) {
    await role.start(['serve'], { ...SETTINGS, DATABASE_URL: postgres.url, NATS_URL: nats.url, VERBATIM_ROLE: role.role }, '/', log);
  }
  await roles[0].ready();
  return {
    servers: [roles[0].listen],
    processes: { ...Object.fromEntries(roles.map(({ role, child }) => [role, child.pid])), postgres: postgres.child.pid, nats: nats.child.pid },
    async stop() {
      const codes = await Promise.all(roles.map((role) => role.stop()));
      await Promise.all([postgres.end(), nats.end()]);
      if (codes.some((code) => code !== 0) || log.faults().length > 0) throw new Error(`the cluster ended with ${codes}:\n${log.lines.slice(-20).join('\n')}`);
    },
  };
}

/** A program that prints where it listens. */
async function program(command, args, environment = {}) {
  const child = spawn(command, args, { env: { ...process.env, ...environment } });
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
    servers: [server.listen],
    processes: { node: server.pid, postgres: postgres.child.pid },
    async stop() {
      await server.stop();
      await postgres.end();
    },
  };
}

async function relay() {
  const server = await program(LOAD, ['relay', '--secret', SECRET]);
  return { servers: [server.listen], processes: { relay: server.pid }, stop: () => server.stop() };
}

const SERVERS = {
  relay,
  verbatim: () => verbatim(),
  cluster,
  peer: () => peer('0'),
  'peer batched': () => peer('1'),
};
const STORING = ['verbatim', 'cluster', 'peer', 'peer batched'];
const ALL = ['relay', ...STORING];

// --- The rows. `figures` are read from the load generator's report.

const seconds = options.quick ? ['--warm-up', '1', '--seconds', '3'] : ['--warm-up', '3', '--seconds', '10'];
const rate = { 'messages/s': (report) => report.messages_per_second, 'CPU µs a message': (report) => report.cpu_us_per_message };
const latency = { 'p50 µs': (report) => report.to_receipt.p50, 'p99 µs': (report) => report.to_receipt.p99 };

const ROWS = [
  { name: '100 pairs', load: ['talk', '--pairs', '100', ...seconds], servers: ALL, figures: rate, quick: true },
  { name: '2,000 pairs', load: ['talk', '--pairs', '2000', '--in-flight', '1', ...seconds], servers: ALL, figures: rate },
  { name: 'one conversation', load: ['talk', '--pairs', '1', '--in-flight', '64', ...seconds], servers: ALL, figures: rate },
  { name: '2,000 a second', load: ['talk', '--rate', '2000', ...seconds], servers: ALL, figures: latency, quick: true },
  { name: '5,000 a second', load: ['talk', '--rate', '5000', ...seconds], servers: ALL, figures: latency },
  { name: 'a group of 100', load: ['talk', '--group', '100', '--pairs', '4', '--in-flight', '4', ...seconds], servers: ALL, figures: { 'copies/s': (report) => report.copies_per_second } },
  { name: 'a group of 1,000', load: ['talk', '--group', '1000', '--pairs', '4', '--in-flight', '2', ...seconds], servers: ALL, figures: { 'copies/s': (report) => report.copies_per_second } },
  { name: 'conversation:get', load: ['ask', '--event', 'conversation:get'], servers: STORING, figures: { 'answers/s': (report) => report.answers_per_second } },
  { name: 'notification:get', load: ['ask', '--event', 'notification:get'], servers: STORING, figures: { 'answers/s': (report) => report.answers_per_second } },
  {
    name: 'idle connections', load: ['idle', '--connections', options.quick ? '2000' : '10000'], servers: ALL, quick: true,
    figures: { 'connects/s': (report) => report.connects_per_second, 'KiB a connection': (report) => report.kib_per_connection },
  },
  { name: 'reconnect storm', load: ['storm', '--clients', '10000'], servers: ['verbatim', 'cluster'], figures: { 'caught up / connected': (report) => report.caught_up_seconds / report.connect_seconds } },
];

// --- Measuring.

async function load({ servers, processes }, args) {
  const flags = [
    ...servers.flatMap((server) => ['--server', server]),
    ...Object.entries(processes).flatMap(([name, pid]) => ['--process', `${name}=${pid}`]),
    '--secret', SECRET,
  ];
  const { stdout } = await promisify(execFile)(LOAD, [args[0], ...flags, ...args.slice(1)], { timeout: 600_000 });
  return JSON.parse(stdout);
}

const chosen = (list, names) => (names === undefined ? list : list.filter((name) => names.split(',').includes(name)));
const rows = ROWS.filter((row) => (options.only === undefined ? !options.quick || row.quick : options.only.split(',').includes(row.name)));
const names = chosen(Object.keys(SERVERS), options.servers);
const results = [];
const wrongs = [];

for (let round = 0; round < ROUNDS; round += 1) {
  // Whoever comes first finds another machine than whoever comes last: each in turn.
  const order = names.map((_, n) => names[(n + round) % names.length]);
  for (const name of order) {
    const own = rows.filter((row) => row.servers.includes(name));
    if (own.length === 0) continue;
    const server = await SERVERS[name]();
    try {
      for (const row of own) {
        const report = await load(server, row.load);
        results.push({ round, server: name, row: row.name, report });
        const figures = Object.entries(row.figures).map(([figure, of]) => `${of(report).toPrecision(4)} ${figure}`);
        const wrong = ['refused', 'unanswered', 'lost', 'duplicated', 'out_of_order', 'wrong'].filter((kind) => report[kind] > 0).map((kind) => `${report[kind]} ${kind}`);
        if (wrong.length > 0 && ['verbatim', 'cluster'].includes(name)) wrongs.push(`${name}, ${row.name}: ${wrong.join(', ')}`);
        console.error(`${round + 1}/${ROUNDS} ${name}, ${row.name}: ${[...figures, ...wrong].join(', ')}`);
      }
    } finally {
      await server.stop();
    }
  }
}

// --- Telling.

function median(values) {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

const short = (value) => (value >= 1_000 ? Math.round(value).toLocaleString('en') : value.toPrecision(3));

function cell(values) {
  if (values.length === 0) return '–';
  const spread = values.length > 1 ? ` (${short(Math.min(...values))} to ${short(Math.max(...values))})` : '';
  return `${short(median(values))}${spread}`;
}

console.log(`Medians of ${ROUNDS} rounds${ROUNDS > 1 ? ' (least to most)' : ''}; ${cpus().length} cores of ${cpus()[0].model}, ${Math.round(totalmem() / 2 ** 30)} GiB, the load generator beside the server.\n`);
console.log(`| | | ${names.join(' | ')} |`);
console.log(`| --- | --- |${' ---: |'.repeat(names.length)}`);
for (const row of rows) {
  for (const [figure, of] of Object.entries(row.figures)) {
    const cells = names.map((name) => cell(results.filter((result) => result.server === name && result.row === row.name).map(({ report }) => of(report))));
    console.log(`| ${row.name} | ${figure} | ${cells.join(' | ')} |`);
  }
}
const disorder = names.map((name) => results.filter((result) => result.server === name).reduce((sum, { report }) => sum + (report.out_of_order ?? 0), 0));
console.log(`| all rows | out of order | ${disorder.map((count) => count.toLocaleString('en')).join(' | ')} |`);

const folder = join(root, 'bench/results');
mkdirSync(folder, { recursive: true });
const file = join(folder, `${new Date().toISOString().replaceAll(/[:.]/g, '-')}.json`);
writeFileSync(file, JSON.stringify({ rounds: ROUNDS, cpu: cpus()[0].model, cores: cpus().length, results }, null, 1));
console.error(`\nraw results: ${file}`);
if (wrongs.length > 0) {
  console.error(`wrong: \n${wrongs.join('\n')}`);
  process.exitCode = 1;
}
