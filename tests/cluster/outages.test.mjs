// NATS or PostgreSQL away or frozen, workers frozen: what users and operators notice, and for how long.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';

import { deployOnOwnServers } from '../harness/deployment.mjs';
import { conversation, key, user } from '../harness/names.mjs';
import * as shapes from '../harness/shapes.mjs';
import { until } from '../harness/until.mjs';

/** Within which a send is answered, whatever is away; a little more, for a busy machine. */
const ANSWERED_WITHIN = 5_000 + 500;
const BACK_WITHIN = 15_000;
const TAKEN_OVER_WITHIN = 10_000;

/** How long it takes. */
async function timed(work) {
  const begun = performance.now();
  const result = await work();
  return { result, took: performance.now() - begun };
}

describe('outages', () => {
  // That servers are away is said, loudly.
  const { postgres, nats, deployment } = deployOnOwnServers({}, [/^\S+ ERROR /]);

  /** Two users, each on a gateway of their own, and so many conversations that there is one in each lane. */
  async function pair(conversations = 1) {
    const [alice, bob] = [user('alice'), user('bob')];
    const [a, b] = [await deployment.connect(alice), await deployment.connect(bob)];
    const ids = Array.from({ length: conversations }, () => conversation());
    await Promise.all(ids.map((conversationId) => a.send({ conversationId, targetUserId: bob, content: 'before' })));
    await until(() => b.messages.length === ids.length, { what: 'the first messages' });
    return { alice, bob, a, b, ids };
  }

  /** Sends until it is acknowledged; gives how long that took. */
  async function insist(client, payload, timeout) {
    const { took } = await timed(() => until(async () => (await client.ask('message:send', payload)).success, { timeout, what: 'an acknowledgement' }));
    return took;
  }

  const readiness = () => Promise.all(Array.from({ length: deployment.gateways }, async (_, n) => (await fetch(`${deployment.url(n)}/readyz`)).status));
  const allAre = (status) => async () => (await readiness()).every((each) => each === status);

  /** What every outage of one of the servers has in common. `reads`: whether they go on. */
  async function outage({ begin, end, reads }) {
    const { alice, a, b, ids: [id] } = await pair();
    await begin();
    // More than one, as a pile-up would come from many; in order, so that the last waits for the first.
    const payloads = Array.from({ length: 50 }, (_, n) => ({ conversationId: id, content: `${n}`, clientMessageId: key() }));
    const answers = await Promise.all(payloads.map((payload) => timed(() => a.ask('message:send', payload))));
    for (const { result, took } of answers) {
      shapes.failure(result, 'unavailable');
      assert.equal(result.error.retryable, true);
      assert.ok(took < ANSWERED_WITHIN, `answered after ${took} ms`);
    }
    const rest = await deployment.rest(alice);
    for (const path of [`/app/conversations/${id}/messages`, '/app/conversations', '/app/notifications', '/app/stream']) {
      const { result, took } = await timed(() => rest.get(path));
      assert.ok(took < ANSWERED_WITHIN, `${path}: answered after ${took} ms`);
      if (reads) assert.equal(result.status, 200);
      else shapes.refused(result, 'unavailable');
    }
    await until(allAre(503), { timeout: BACK_WITHIN, what: 'the gateways to notice' });
    assert.deepEqual([a.disconnects, b.disconnects], [[], []], 'sockets stay');

    await end();
    const back = performance.now();
    await insist(a, { conversationId: id, content: 'back', clientMessageId: key() }, BACK_WITHIN);
    assert.ok(performance.now() - back < BACK_WITHIN, `sends go on after ${performance.now() - back} ms`);
    await until(allAre(200), { timeout: BACK_WITHIN, what: 'the gateways to be ready' });
    // Each may have been stored or not; sent again it is there once.
    for (const payload of payloads) await insist(a, payload, BACK_WITHIN);
    await a.send({ conversationId: id, content: 'last' });
    await b.message('last');
    assert.deepEqual([...b.messages].map(({ sequence }) => sequence), Array.from({ length: 53 }, (_, n) => n + 1));
    assert.equal(new Set(b.messages.map(({ content }) => content)).size, 53);
    assert.deepEqual([a.disconnects, b.disconnects], [[], []], 'sockets stay');
  }

  test('NATS away: sends are refused in time, reads go on, sockets stay', { timeout: 120_000 }, () => outage({ begin: () => nats.kill(), end: () => nats.start(), reads: true }));

  test('PostgreSQL away: everything is refused in time, sockets stay', { timeout: 120_000 }, () => outage({ begin: () => postgres.kill(), end: () => postgres.start(), reads: false }));

  test('NATS frozen: noticed, and the same', { timeout: 120_000 }, () => outage({ begin: () => nats.signal('SIGSTOP'), end: () => nats.signal('SIGCONT'), reads: true }));

  test('PostgreSQL frozen: noticed, and the same', { timeout: 120_000 }, () => outage({ begin: () => postgres.signal('SIGSTOP'), end: () => postgres.signal('SIGCONT'), reads: false }));

  for (const victim of [0, 1]) {
    test(`aggregate worker ${victim + 1} frozen: its lanes are taken over, and it does no harm when it wakes`, { timeout: 120_000 }, async () => {
      const { a, b, ids } = await pair(200);
      const { child } = deployment.processes.filter(({ role }) => role === 'aggregate')[victim];
      child.kill('SIGSTOP');
      // While it sleeps commands of its lanes pile up before it.
      const payloads = ids.map((conversationId) => ({ conversationId, content: 'meanwhile', clientMessageId: key() }));
      const took = await Promise.all(payloads.map((payload) => insist(a, payload, 2 * TAKEN_OVER_WITHIN)));
      const last = Math.max(...took);
      // A send that is under way when the lanes change hands is answered by its deadline, and sent again.
      assert.ok(last < TAKEN_OVER_WITHIN + ANSWERED_WITHIN, `the last after ${last} ms`);
      child.kill('SIGCONT');
      await Promise.all(ids.map((conversationId) => a.send({ conversationId, content: 'after' })));
      await until(() => b.messages.length >= 3 * ids.length, { what: 'all messages' });
      for (const id of ids) {
        assert.deepEqual(b.messages.filter(({ conversationId }) => conversationId === id).map(({ content, sequence }) => [content, sequence]), [['before', 1], ['meanwhile', 2], ['after', 3]]);
      }
      await until(allAre(200), { timeout: BACK_WITHIN, what: 'the gateways to be ready' });
    });
  }

  test('projection workers frozen in turn: the other takes over', { timeout: 120_000 }, async () => {
    const { alice, bob, a, b, ids: [id] } = await pair();
    for (const [n, { child }] of deployment.processes.filter(({ role }) => role === 'projection').entries()) {
      child.kill('SIGSTOP');
      const content = `frozen ${n}`;
      await a.send({ conversationId: id, content });
      const { took } = await timed(() => b.message(content));
      assert.ok(took < TAKEN_OVER_WITHIN, `pushed after ${took} ms`);
      const absent = user('absent');
      await a.send({ conversationId: conversation(), targetUserId: absent, content: 'for later' });
      const rest = await deployment.rest(absent);
      await until(async () => (await rest.get('/app/notifications')).body.data.length === 1, { timeout: TAKEN_OVER_WITHIN, what: 'a notification' });
      child.kill('SIGCONT');
      await a.send({ conversationId: id, content: `awake ${n}` });
      await b.message(`awake ${n}`);
    }
    assert.deepEqual(b.messages, await (await deployment.rest(bob)).stream());
    assert.deepEqual([...a.messages].length, (await (await deployment.rest(alice)).stream()).length);
  });

  test('a gateway frozen: its sockets’ transports are closed when it wakes, and clients resume', { timeout: 120_000 }, async () => {
    const [alice, bob] = [user('alice'), user('bob')];
    const gateway = deployment.processes.find(({ role }) => role === 'gateway');
    const options = { reconnection: true, reconnectionDelay: 50, reconnectionDelayMax: 100 };
    const clients = [];
    for (const name of [alice, bob, bob, alice]) clients.push(await deployment.connect(name, options));
    const on = (client) => new URL(client.socket.io.uri).host === gateway.listen;
    const [theirs, others] = [clients.filter(on), clients.filter((client) => !on(client))];
    assert.equal(theirs.length, 2);
    const id = conversation();
    // Each gateway has one of either user.
    const sender = others.find((client) => client === clients[3]);
    await sender.send({ conversationId: id, targetUserId: bob, content: 'before' });
    gateway.child.kill('SIGSTOP');
    await pause(11_000);
    await sender.send({ conversationId: id, content: 'meanwhile' });
    gateway.child.kill('SIGCONT');
    for (const client of theirs) {
      assert.match(await client.disconnected(), /^transport (close|error)$/);
      await until(() => client.socket.connected, { what: 'the client to be back' });
    }
    // Bob's; without a cursor nobody is sent what they wrote themselves.
    await theirs.find((client) => client === clients[2]).message('meanwhile');
    assert.deepEqual(others.map(({ disconnects }) => disconnects), others.map(() => []));
  });

  test('a user who comes and goes while messages are marked offline misses none', { timeout: 120_000 }, async () => {
    const [alice, bob] = [user('alice'), user('bob')];
    const a = await deployment.connect(alice);
    const id = conversation();
    const got = [];
    let sending = true;
    const writing = (async () => {
      for (let n = 0; n < 300; n += 1) {
        await a.send({ conversationId: id, targetUserId: bob, content: `${n}` });
        await pause(Math.random() * 10);
      }
      sending = false;
    })();
    let connections = 0;
    while (sending) {
      const b = await deployment.connect(bob);
      connections += 1;
      await pause(Math.random() * 60);
      if (connections % 2) b.emit('stream:ack', { cursor: b.cursor });
      // Without a word, in the middle of whatever is under way.
      b.breakOff();
      got.push(b.messages.map(({ sequence }) => sequence));
    }
    await writing;
    assert.ok(connections > 5, `${connections} connections`);
    const b = await deployment.connect(bob);
    got.push(b.messages.map(({ sequence }) => sequence));
    for (const sequences of got) {
      assert.deepEqual(sequences, sequences.map((_, n) => sequences[0] + n), 'within a connection nothing is missing');
    }
    assert.deepEqual([...new Set(got.flat())].sort((x, y) => x - y), Array.from({ length: 300 }, (_, n) => n + 1));
    // What went to nobody, or to a socket that was gone, was marked; and what was received is delivered in the end.
    shapes.success(await b.ask('stream:ack', { cursor: b.cursor }));
    const rest = await deployment.rest(alice);
    const notified = (await (await deployment.rest(bob)).pages('/app/notifications')).flat();
    assert.equal(new Set(notified.map(({ messageId }) => messageId)).size, notified.length, 'one notification a message');
    for (const message of a.messages.slice(-20)) {
      await until(async () => (await rest.get(`/app/messages/${message._id}/deliveries`)).body.data[0].status === 'delivered', { what: 'delivered' });
    }
    b.close();
    // And who is away at the end is notified of each.
    const before = notified.length;
    for (let n = 0; n < 10; n += 1) await a.send({ conversationId: id, content: `away ${n}` });
    await until(async () => (await (await deployment.rest(bob)).pages('/app/notifications')).flat().length === before + 10, { what: 'ten notifications more' });
  });

  test('everything killed at once: without a cursor nobody is sent again what they wrote', { timeout: 120_000 }, async () => {
    const [alice, bob] = [user('alice'), user('bob')];
    const [a, b] = [await deployment.connect(alice), await deployment.connect(bob)];
    const id = conversation();
    await a.send({ conversationId: id, targetUserId: bob, content: 'from alice' });
    await a.message('from alice');
    await b.message('from alice');
    await b.send({ conversationId: id, content: 'from bob' });
    await a.message('from bob');
    await deployment.kill();
    await deployment.start();
    for (const name of [alice, alice, bob, bob]) {
      const again = await deployment.connect(name);
      assert.deepEqual(again.messages.map(({ content }) => content), [name === alice ? 'from bob' : 'from alice']);
    }
  });
});
