// The command line, good and bad.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { choose } from './options.mjs';

const SERVERS = ['relay', 'verbatim'];
const LOGS = ['SQLite', 'verbatim'];

test('arguments that make no sense are refused', () => {
  for (const bad of [
    ['--rounds', '0'], ['--rounds', '-1'], ['--rounds', 'x'], ['--rounds', '1.5'], ['--rounds', ''], ['--rounds', '1000'],
    ['--only', 'no such row'], ['--only', ''], ['--servers', 'relay,other'], ['--servers', ''], ['--fast'], ['row'],
    ['--growth', '--log'], ['--log', '--servers', 'relay'], ['--servers', 'SQLite'], ['--log', '--only', '100 pairs'],
  ]) {
    assert.throws(() => choose(bad, SERVERS, LOGS), undefined, bad.join(' '));
  }
});

test('the quick run has fewer rows, and one round', () => {
  const [all, quick] = [choose([], SERVERS, LOGS), choose(['--quick'], SERVERS, LOGS)];
  assert.ok(quick.rows.length > 0 && quick.rows.length < all.rows.length);
  assert.deepEqual([all.rounds, quick.rounds], [5, 1]);
  assert.deepEqual([all.names, all.grown], [SERVERS, []]);
});

test('rows and servers are chosen by name', () => {
  const { rows, names } = choose(['--only', '2,000 pairs;100 pairs', '--servers', 'verbatim', '--quick'], SERVERS, LOGS);
  assert.deepEqual([rows.map((row) => row.name), names], [['100 pairs', '2,000 pairs'], ['verbatim']]);
});

test('growth is measured by itself', () => {
  const { rows, grown } = choose(['--growth'], SERVERS, LOGS);
  assert.ok(rows.every((row) => grown.some(({ sizes }) => sizes.includes(row))));
  assert.equal(rows.filter((row) => row.grown === undefined).length, 1, 'only the empty journal is not filled');
});

test('a log is worked through by itself', () => {
  const { rows, names, rounds } = choose(['--log'], SERVERS, LOGS);
  assert.ok(rows.every((row) => row.grown && (row.command || row.read)));
  assert.deepEqual([names, rounds], [LOGS, 3]);
});
