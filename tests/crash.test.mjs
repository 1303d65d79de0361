// kill -9 under load, ten times over: what was acknowledged is there once, in order, densely numbered, and
// clients resume without gap or repetition.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { TRANSPORTS } from './harness/client.mjs';
import { deploy } from './harness/deployment.mjs';
import { faults } from './harness/history.mjs';
import { caughtUp, Reader, record, Writer } from './harness/load.mjs';
import { conversation, user } from './harness/names.mjs';
import { token } from './harness/tokens.mjs';
import { until } from './harness/until.mjs';

const CRASHES = 10;

describe('ten crashes under load', () => {
  const deployment = deploy({ LOG_LEVEL: 'warn' });

  test('lose and repeat nothing', { timeout: 300_000 }, async (t) => {
    const [alice, bob, carol, dave, erin] = ['alice', 'bob', 'carol', 'dave', 'erin'].map((name) => user(name));
    const members = new Map([
      [conversation('ab'), [alice, bob]],
      [conversation('ac'), [alice, carol]],
      [conversation('group'), [alice, bob, carol, dave, erin]],
    ]);
    const [ab, ac, group] = members.keys();

    const setUp = await deployment.connect(alice);
    const first = [
      { conversationId: ab, targetUserId: bob, content: 'begin', clientMessageId: 'ab' },
      { conversationId: ac, targetUserId: carol, content: 'begin', clientMessageId: 'ac' },
    ];
    const attempts = [];
    const { success } = await setUp.ask('conversation:create', { conversationId: group, memberIds: [bob, carol, dave, erin] });
    assert.ok(success);
    for (const payload of first) {
      const acked = await setUp.send(payload);
      attempts.push({ senderId: alice, connection: 'set-up', order: -1, payload, acked });
    }
    setUp.close();

    const reader = async (name, options) => {
      const reader = new Reader(deployment, name, await token(name), options);
      await reader.ready();
      return reader;
    };
    const own = await reader(alice, { resumes: 'cursor', transports: TRANSPORTS.websocket });
    const readers = [
      await reader(bob, { resumes: 'cursor', transports: TRANSPORTS.websocket }),
      await reader(carol, { resumes: 'cursor', transports: TRANSPORTS.upgrade }),
      await reader(dave, { resumes: 'mark', transports: TRANSPORTS.polling }),
      await reader(erin, { resumes: 'mark', transports: TRANSPORTS.websocket }),
    ];
    const writers = [
      new Writer(own, [ab, ac, group]),
      new Writer(readers[0], [ab, group]),
      new Writer(readers[1], [ac, group]),
    ];
    const acknowledged = () => writers.reduce((sum, writer) => sum + writer.acknowledged, 0);

    for (let crash = 1; crash <= CRASHES; crash += 1) {
      // Somewhere between the first answers after a start and full swing.
      const enough = acknowledged() + 20 + Math.floor(Math.random() * 400);
      await until(() => acknowledged() >= enough, { timeout: 60_000, what: `acks before crash ${crash}` });
      await deployment.kill();
      await deployment.start();
    }
    const enough = acknowledged() + 100;
    await until(() => acknowledged() >= enough, { timeout: 60_000, what: 'acks after the last crash' });
    await Promise.all(writers.map((writer) => writer.end()));

    const found = await record(deployment, members);
    // What the user wrote before this socket came is no part of what the socket gets, unless it was pushed later.
    own.runs.unshift(found.streams.get(alice).slice(0, first.length).filter(({ _id }) => !own.seen.has(_id)));
    own.runs[0].forEach(({ _id }) => own.seen.add(_id));
    readers.unshift(own);
    await caughtUp(readers, found.streams);
    attempts.push(...writers.flatMap((writer) => writer.attempts));
    const history = { ...found, attempts, readers };
    t.diagnostic(`${acknowledged()} messages, ${attempts.length} attempts, ${readers[0].runs.length} connections of the first reader`);
    assert.deepEqual(faults(history).slice(0, 20), []);
    assert.ok(readers.every((reader) => !reader.reset), 'a cursor was not honoured');
    assert.ok(readers.every((reader) => reader.runs.length > CRASHES), 'the readers reconnected');
    assert.ok(attempts.some((attempt) => attempt.acked === undefined), 'no crash met a send under way');

    // And again, from the files alone.
    assert.equal(await deployment.stop(), 0);
    await deployment.start();
    assert.deepEqual(await record(deployment, members), found);
  });
});
