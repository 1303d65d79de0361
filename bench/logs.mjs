// Logs that are worked through by commands, in the form of bench/servers.mjs: the embedded form's data folder, the same log in
// PostgreSQL, and each database alone. Nothing else uses them meanwhile.

import { execFile, execFileSync } from 'node:child_process';
import { promisify } from 'node:util';

import { LOAD, MASTER_KEY, folder, remove } from './servers.mjs';

const { environment, executable } = await import('../tests/harness/executable.mjs');
const { Postgres } = await import('../tests/harness/servers.mjs');

/** What one command may take. */
const PATIENCE = 1_200_000;

const SETTINGS = environment({ MASTER_KEY });

async function report(args) {
  const { stdout } = await promisify(execFile)(LOAD, args, { timeout: PATIENCE, env: SETTINGS });
  return JSON.parse(stdout);
}

/** Runs what a row is of: one of Verbatim's commands, or the reading that it is compared with. */
const log = ({ place, flags, events }) => ({
  async load({ command, read }) {
    if (read) return report(['read', ...flags, '--to', read]);
    const out = folder();
    try {
      return await report(['run', '--events', String(events), '--', executable, ...command(`${out}/out`), ...place]);
    } finally {
      remove(out);
    }
  },
  stop() {},
});

const inFolder = ({ grown, events }) => log({ place: ['--data-dir', grown], flags: ['--data-dir', grown], events });

/** Copies of folders in PostgreSQL, made when first asked for. */
const copies = new Map();

async function inDatabase({ grown, events }) {
  if (!copies.has(grown)) {
    const postgres = await new Postgres().start();
    copies.set(grown, postgres);
    execFileSync(executable, ['copy', '--from', `sqlite:${grown}`, '--to', postgres.url], { env: SETTINGS, stdio: ['ignore', 'ignore', 'ignore'] });
  }
  const { url } = copies.get(grown);
  return log({ place: ['--database-url', url], flags: ['--database', url], events });
}

export const LOGS = { SQLite: inFolder, verbatim: inFolder, PostgreSQL: inDatabase, cluster: inDatabase };

export async function end() {
  for (const postgres of copies.values()) await postgres.end();
}
