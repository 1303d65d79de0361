// Processes and servers are killed, frozen and started again under load, one after the other: what was acknowledged is
// there once, in order, densely numbered, clients resume without gap or repetition, and the views are those that a
// rebuild makes. FAULTS and MESSAGES make it longer.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';

import { TRANSPORTS } from '../harness/client.mjs';
import { deployOnOwnServers } from '../harness/deployment.mjs';
import { run } from '../harness/executable.mjs';
import { faults } from '../harness/history.mjs';
import { caughtUp, Reader, record, Writer } from '../harness/load.mjs';
import { conversation, user } from '../harness/names.mjs';
import { token } from '../harness/tokens.mjs';
import { until } from '../harness/until.mjs';

const FAULTS = Number(process.env.FAULTS ?? 10);
const MESSAGES = Number(process.env.MESSAGES ?? 2_000);

/** What is done to each kind of process, in turn. */
const DEEDS = ['kill', 'freeze 5', 'restart', 'freeze 30'];
const VICTIMS = ['gateway', 'aggregate', 'projection', 'nats', 'postgres'];

describe(`${FAULTS} faults under load`, () => {
  // That servers are away is said, loudly.
  const { postgres, nats, deployment } = deployOnOwnServers({ LOG_LEVEL: 'warn' }, [/^\S+ ERROR /]);

  async function strike(victim, deed, number) {
    if (victim === 'nats' || victim === 'postgres') {
      const server = victim === 'nats' ? nats : postgres;
      if (deed.startsWith('freeze')) {
        server.signal('SIGSTOP');
        await pause(Number(deed.split(' ')[1]) * 1_000);
        server.signal('SIGCONT');
      } else {
        await server.kill();
        if (deed === 'kill') await pause(3_000);
        await server.start();
      }
      return;
    }
    const process = deployment.processes.filter(({ role }) => role === victim)[number % 2];
    if (deed.startsWith('freeze')) {
      process.child.kill('SIGSTOP');
      await pause(Number(deed.split(' ')[1]) * 1_000);
      process.child.kill('SIGCONT');
    } else {
      process.child.kill(deed === 'kill' ? 'SIGKILL' : 'SIGTERM');
      await process.ended(15_000);
      await deployment.restart(process);
    }
  }

  test('lose and repeat nothing', { timeout: 3_600_000 }, async (t) => {
    const [alice, bob, carol, dave, erin] = ['alice', 'bob', 'carol', 'dave', 'erin'].map((name) => user(name));
    const group = conversation('group');
    const members = new Map([[group, [alice, bob, carol, dave, erin]]]);
    // Spread over the lanes, so that each fault meets some.
    const pairs = Array.from({ length: 12 }, (_, n) => conversation(`pair${n}`));
    const setUp = await deployment.connect(alice);
    const attempts = [];
    for (const [n, id] of pairs.entries()) {
      const other = [bob, carol][n % 2];
      members.set(id, [alice, other]);
      const payload = { conversationId: id, targetUserId: other, content: 'begin', clientMessageId: id };
      attempts.push({ senderId: alice, connection: 'set-up', order: -1, payload, acked: await setUp.send(payload) });
    }
    const { success } = await setUp.ask('conversation:create', { conversationId: group, memberIds: [bob, carol, dave, erin] });
    assert.ok(success);
    setUp.close();

    const reader = async (name, options) => {
      const made = new Reader(deployment, name, await token(name), options);
      await made.ready();
      return made;
    };
    const own = await reader(alice, { resumes: 'cursor' });
    // Polling would have to stay on one gateway; here each connection goes where it went first.
    const readers = [
      await reader(bob, { resumes: 'cursor' }),
      await reader(carol, { resumes: 'cursor', transports: TRANSPORTS.upgrade }),
      await reader(dave, { resumes: 'mark', transports: TRANSPORTS.polling }),
      await reader(erin, { resumes: 'mark' }),
    ];
    const mine = (name) => [...members].filter(([, users]) => users.includes(name)).map(([id]) => id);
    const writers = [own, readers[0], readers[1]].map((writes) => new Writer(writes, mine(writes.userId)));
    const acknowledged = () => writers.reduce((sum, writer) => sum + writer.acknowledged, 0);

    for (let fault = 0; fault < FAULTS; fault += 1) {
      const enough = Math.max(acknowledged() + 20 + Math.floor(Math.random() * 100), Math.floor((MESSAGES * fault) / FAULTS));
      await until(() => acknowledged() >= enough, { timeout: 120_000, what: `acks before fault ${fault + 1}` });
      const victim = VICTIMS[fault % VICTIMS.length];
      // Short runs freeze for five seconds only.
      const deed = DEEDS[Math.floor(fault / VICTIMS.length) % (FAULTS < 20 ? 3 : 4)];
      const begun = Date.now();
      await strike(victim, deed, Math.floor(fault / VICTIMS.length));
      const before = acknowledged();
      await until(() => acknowledged() > before + 20, { timeout: 60_000, what: `acks after ${victim}: ${deed}` });
      t.diagnostic(`${victim}: ${deed}, acks again after ${Date.now() - begun} ms`);
      const ended = deployment.processes.filter(({ running }) => !running).map(({ role }) => role);
      assert.deepEqual(ended, [], `ended by itself:\n${deployment.log.matching(/ERROR|^verbatim: /).slice(-20).join('\n')}`);
    }
    await until(() => acknowledged() >= MESSAGES, { timeout: 1_200_000, what: 'enough messages' });
    await Promise.all(writers.map((writer) => writer.end()));

    const found = await record(deployment, members);
    // What the user wrote before this socket came is no part of what the socket gets.
    own.runs.unshift(found.streams.get(alice).slice(0, pairs.length));
    own.runs[0].forEach(({ _id }) => own.seen.add(_id));
    readers.unshift(own);
    await caughtUp(readers, found.streams);
    // Not by spreading: a long run has more than fit a call.
    for (const attempt of writers.flatMap((writer) => writer.attempts)) attempts.push(attempt);
    t.diagnostic(`${acknowledged()} messages, ${attempts.length} attempts`);
    assert.deepEqual(faults({ ...found, attempts, readers }).slice(0, 20), []);
    assert.ok(readers.every((each) => !each.reset), 'a cursor was not honoured');

    const rebuilt = await run(['rebuild'], { DATABASE_URL: postgres.url }, { timeout: 120_000 });
    assert.equal(rebuilt.code, 0, rebuilt.stderr);
    assert.deepEqual(await record(deployment, members), found, 'a rebuild shows the same');
  });
});
