// What the tables say of results, good and bad.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { growth, log, logGoals, rows } from './rows.mjs';
import { allWrongs, asked, cell, figures, median, memory, reached, verdicts, wrongs } from './table.mjs';

const result = (round, server, row, value) => ({ round, server, row, figures: { speed: value }, report: {} });

test('a median is the middle, whatever the order', () => {
  assert.equal(median([10, 9, 100]), 10);
  assert.equal(median([4, 1, 2, 3]), 2.5);
});

test('a cell shows the spread, and what was not measured as such', () => {
  assert.equal(cell([2, 1, 3]), '2 (1 to 3)');
  assert.equal(cell([12_345.6]), '12,346');
  assert.equal(cell([]), '–');
  assert.equal(cell([undefined, null, Number.NaN, Number.POSITIVE_INFINITY]), '–');
});

test('a server that a row is not for has a gap there', () => {
  const table = figures([result(0, 'a', 'x', 5)], [{ name: 'x', figures: { speed: () => 0 } }], ['a', 'b']);
  assert.equal(table.split('\n').at(-1), '| x | speed | 5 | – |');
});

test('a goal compares what was measured in the same round', () => {
  const results = [result(0, 'a', 'x', 10), result(0, 'b', 'x', 5), result(1, 'a', 'x', 30), result(1, 'b', 'x', 10), result(2, 'a', 'x', 99)];
  const goal = { row: 'x', figure: 'speed', of: 'a', beside: 'b' };
  const [two] = reached(results, [{ ...goal, least: 2.5 }]);
  assert.deepEqual([two.values, two.met], [[2, 3], true]);
  const [less] = reached(results, [{ ...goal, least: 2.6 }]);
  assert.equal(less.met, false);
  assert.match(verdicts([less]), /\| ≥ 2\.6 × b \| 2\.5 \(2 to 3\) \| \*\*no\*\* \|/);
});

test('a goal may be one of a figure alone, or beside another row', () => {
  const results = [result(0, 'a', 'x', 10), result(0, 'a', 'y', 40)];
  const met = (goal) => reached(results, asked([{ figure: 'speed', of: 'a', ...goal }], ['x', 'y'], ['a', 'one that has failed'])).map(({ met }) => met);
  assert.deepEqual(met({ row: 'x', most: 10 }), [true]);
  assert.deepEqual(met({ row: 'x', most: 9 }), [false]);
  assert.deepEqual(met({ row: 'y', besideRow: 'x', most: 3 }), [false]);
  assert.deepEqual(met({ row: 'not asked for', most: 3 }), []);
  assert.deepEqual(met({ row: 'x', besideRow: 'not asked for', most: 3 }), []);
  assert.deepEqual(met({ row: 'x', beside: 'one that has failed', least: 3 }), [false]);
  assert.deepEqual(met({ row: 'x', figure: 'none', most: 3 }), [false]);
  assert.deepEqual(met({ row: 'x', beside: 'one not asked for', most: 3 }), []);
});

test('a value may be enough, whatever the ratio', () => {
  const results = [result(0, 'a', 'x', 10), result(0, 'b', 'x', 100)];
  const goal = { row: 'x', figure: 'speed', of: 'a', beside: 'b', least: 0.5 };
  const met = (enough) => reached(results, [{ ...goal, enough }])[0].met;
  assert.deepEqual([met(undefined), met(11), met(10)], [false, false, true]);
});

test('what must not be is told', () => {
  assert.deepEqual(wrongs({ lost: 0, refused: 0 }), []);
  const all = { refused: 1, unanswered: 2, lost: 3, duplicated: 4, out_of_order: 5_000, disagreeing: 7, wrong: 6 };
  assert.deepEqual(wrongs(all), ['1 refused', '2 unanswered', '3 lost', '4 duplicated', '5,000 out of order', '7 disagreeing', '6 wrong']);
  const results = [{ server: 'peer', row: 'x', report: all }, { server: 'peer', row: 'x', report: all }, { server: 'relay', row: 'x', report: { lost: 0 } }];
  assert.match(allWrongs(results, ['peer', 'relay']), /\n\| peer: x \| 2 \| 4 \| 6 \| 8 \| 10,000 \| 14 \| 12 \|$/);
  assert.equal(allWrongs(results.slice(2), ['relay']), 'No message was lost, came twice or out of order: relay.');
});

test('memory is the most of all rows', () => {
  const report = (peak) => ({ processes: [{ name: 'node', peak_kib: peak }] });
  assert.match(memory([{ server: 'peer', report: report(2_048) }, { server: 'peer', report: report(1_024) }]), /\| peer: node \| 2 \|/);
});

test('all rows have names of their own, and all goals are of rows that there are', async () => {
  const { GOALS } = await import('./rows.mjs');
  const all = [...rows({ quick: false }), ...growth({ quick: false }).flatMap(({ sizes }) => sizes), ...log({ quick: false })];
  assert.equal(new Set(all.map(({ name }) => name)).size, all.length);
  const find = (name) => all.find((row) => row.name === name) ?? assert.fail(name);
  for (const goal of [...GOALS, ...logGoals({ quick: false })]) {
    const [row, beside] = [find(goal.row), find(goal.besideRow ?? goal.row)];
    assert.ok(row.servers.includes(goal.of) && beside.servers.includes(goal.beside ?? goal.of), JSON.stringify(goal));
    assert.ok(goal.figure in row.figures && (goal.besideFigure ?? goal.figure) in beside.figures, JSON.stringify(goal));
  }
});
