// The command line of run.mjs.

import { parseArgs } from 'node:util';

import { growth, log, rows } from './rows.mjs';

export const USAGE = `node bench/run.mjs [--quick] [--growth | --log] [--rounds N] [--only ROW;…] [--servers NAME,…]

  --quick     the rows that matter most, short, once: two to three minutes
  --growth    in place of all other rows: what a message costs as work grows; with --quick in small sizes
  --log       in place of all other rows: how fast a log is read, replayed, verified and made anew; with --quick a small one
  --rounds    how often each is measured: 5 unless given, 3 with --growth or --log, 1 with --quick
  --only      these rows alone, by their names
  --servers   these servers alone, by their names`;

function named(all, text, what) {
  if (text === undefined) return undefined;
  const wanted = text.split(what === 'row' ? ';' : ',');
  for (const name of wanted) {
    if (!all.includes(name)) throw new Error(`no ${what} is called ${JSON.stringify(name)}; there are: ${all.join(what === 'row' ? '; ' : ', ')}`);
  }
  return wanted;
}

function whole(text) {
  if (!/^[1-9]\d{0,2}$/.test(text)) throw new Error(`--rounds: ${JSON.stringify(text)} is no number from 1 to 999`);
  return Number(text);
}

/** What is to be measured. */
export function choose(args, chat, logs) {
  const { values: options } = parseArgs({
    args,
    options: { quick: { type: 'boolean', default: false }, growth: { type: 'boolean', default: false }, log: { type: 'boolean', default: false }, rounds: { type: 'string' }, only: { type: 'string' }, servers: { type: 'string' } },
  });
  const grown = options.growth ? growth(options) : [];
  if (options.growth && options.log) throw new Error('--growth and --log are measured by themselves');
  const isSpecial = options.growth || options.log;
  const all = options.growth ? grown.flatMap(({ sizes }) => sizes) : options.log ? log(options) : rows(options);
  const servers = options.log ? logs : chat;
  const only = named(all.map((row) => row.name), options.only, 'row');
  const isWanted = (row) => (only ? only.includes(row.name) : !options.quick || isSpecial || row.quick);
  return {
    options,
    grown,
    rows: all.filter(isWanted),
    names: named(servers, options.servers, 'server') ?? servers,
    rounds: options.rounds === undefined ? (options.quick ? 1 : isSpecial ? 3 : 5) : whole(options.rounds),
  };
}

/** As `choose`, for whoever sits before it. */
export function chosen(args, chat, logs) {
  try {
    return choose(args, chat, logs);
  } catch (error) {
    console.error(`${error.message}\n\n${USAGE}`);
    process.exit(2);
  }
}
