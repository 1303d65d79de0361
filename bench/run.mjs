// Measures Verbatim beside its peers and the machine's limits, and prints tables in Markdown; raw results go to
// bench/results/. Every server has the machine, its data and its database to itself while it is measured; servers take
// turns, round after round, and a figure is the median of the rounds.
//
// It wants the release build (cargo build --release -p verbatim -p verbatim-bench), `npm ci` in bench/peer and tests, and
// PostgreSQL and NATS as scripts/services sets them.

import { execFile, execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { cpus, release, totalmem } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import { chosen } from './options.mjs';
import { LOGS, end } from './logs.mjs';
import { VERBATIM, goalsOf, growthGoals, logGoals } from './rows.mjs';
import { Grown, LOAD, SERVERS } from './servers.mjs';
import { allWrongs, asked, figures, memory, reached, verdicts, wrongs } from './table.mjs';

/** What one row may take. */
const PATIENCE = 600_000;

const { rows, names, rounds, grown, options } = chosen(process.argv.slice(2), Object.keys(SERVERS), Object.keys(LOGS));

async function load(server, row) {
  if (server.load) return server.load(row);
  const { flags, dropped } = server;
  const [command, ...args] = row.load;
  const { stdout } = await promisify(execFile)(LOAD, [command, ...flags, ...args], { timeout: PATIENCE });
  const report = JSON.parse(stdout);
  return dropped ? { ...report, dropped_lines: await dropped() } : report;
}

/** Rows that a server is started for: those that need nothing of their own share a start. */
function starts(own) {
  const shared = own.filter((row) => !row.fresh && !row.settings && !row.grown);
  return [shared, ...own.filter((row) => !shared.includes(row)).map((row) => [row])].filter((rows) => rows.length > 0);
}

const results = [];
const faults = [];
const folders = new Grown();

async function measure(round, name, row, server) {
  let report;
  try {
    report = await load(server, row);
  } catch (error) {
    // Servers do end connections. Those who are measured must not; none has a figure here.
    const why = error.message.split('\n')[1] || error.message;
    if (VERBATIM.includes(name)) faults.push(`${name}, ${row.name}: ${why}`);
    console.error(`${round + 1}/${rounds} ${name}, ${row.name}: no figure: ${why}`);
    return;
  }
  const told = Object.fromEntries(Object.entries(row.figures).map(([figure, of]) => [figure, of(report) ?? undefined]));
  results.push({ round, server: name, row: row.name, figures: told, report });
  const wrong = wrongs(report);
  if (wrong.length > 0 && VERBATIM.includes(name)) faults.push(`${name}, ${row.name}: ${wrong.join(', ')}`);
  const words = Object.entries(told).filter(([, value]) => value !== undefined).map(([figure, value]) => `${Number(value.toPrecision(4))} ${figure}`);
  console.error(`${round + 1}/${rounds} ${name}, ${row.name}: ${[...words, ...wrong].join(', ')}`);
}

async function measureAll(round, name, own) {
  const folder = own[0].grown && (await folders.take(own[0].grown));
  try {
    const start = (options.log ? LOGS : SERVERS)[name];
    const server = await start({ settings: own[0].settings, grown: folder?.grown, events: folder?.events });
    try {
      for (const row of own) await measure(round, name, row, server);
    } finally {
      await server.stop();
    }
  } finally {
    folder?.end();
  }
}

/** What a program says of its version; nothing where there is none. */
function version(command, ...args) {
  try {
    return execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
  } catch {
    return undefined;
  }
}

const here = fileURLToPath(new URL('.', import.meta.url));
const machine = {
  cpu: cpus()[0].model, cores: cpus().length, memory: totalmem(), kernel: release(), node: process.version,
  commit: version('git', '-C', here, 'describe', '--always', '--dirty', '--abbrev=12'),
  postgres: version(join(process.env.VERBATIM_TEST_POSTGRES_BIN ?? '', 'postgres'), '--version'),
  nats: version(process.env.VERBATIM_TEST_NATS_SERVER ?? 'nats-server', '--version'),
};
const folder = join(here, 'results');
mkdirSync(folder, { recursive: true });
const file = join(folder, `${new Date().toISOString().replaceAll(/[:.]/g, '-')}.json`);
const keep = (more) => writeFileSync(file, JSON.stringify({ options, rounds, machine, ...more, faults, results }, null, 1));

const begun = performance.now();
try {
  for (let round = 0; round < rounds; round += 1) {
    // Those that are compared follow each other. Whoever comes first finds another machine than whoever comes last:
    // each in turn.
    const order = names.map((_, n) => names[(n + round) % names.length]);
    for (const some of starts(rows)) {
      for (const name of order) {
        const own = some.filter((row) => row.servers.includes(name));
        if (own.length === 0) continue;
        try {
          await measureAll(round, name, own);
        } catch (error) {
          // A server that doesn't start, or complains at its end. The others' figures stand.
          console.error(`${round + 1}/${rounds} ${name}: ${error.message}`);
          if (VERBATIM.includes(name)) faults.push(`${name}, ${own.map((row) => row.name).join('; ')}: ${error.message}`);
        }
        keep({});
      }
    }
  }
} finally {
  folders.end();
  await end();
}

// --- Telling.

const wanted = options.log ? logGoals(options) : [...goalsOf(options), ...growthGoals(grown)];
const goals = reached(results, asked(wanted, rows.map((row) => row.name), names));
const measured = (row) => names.filter((name) => row.servers.includes(name));
const isLimit = (row) => row.load?.[0] === 'limit';
const of = (some) => [...new Set(some.flatMap(measured))].toSorted((a, b) => names.indexOf(a) - names.indexOf(b));
const tables = [rows.filter((row) => !isLimit(row)), rows.filter(isLimit)].filter((some) => of(some).length > 0);

console.log(`Medians of ${rounds} ${rounds > 1 ? 'rounds (least to most)' : 'round'}; ${cpus().length} cores of ${cpus()[0].model}, ${Math.round(totalmem() / 2 ** 30)} GiB, the load generator beside the server.`);
for (const some of tables) console.log(`\n${figures(results, some, of(some))}`);
if (!options.log) console.log(`\n${allWrongs(results, names)}`);
if (!options.log) console.log(`\n${memory(results)}`);
if (goals.length > 0) console.log(`\n${verdicts(goals)}`);

keep({ goals });
console.error(`\nafter ${Math.round((performance.now() - begun) / 1_000)} s; raw results: ${file}`);
if (faults.length > 0) {
  console.error(`\nA failed run:\n${faults.join('\n')}`);
  process.exitCode = 1;
}
