// Receiving, without gaps: replay by cursor and by delivered mark, joined with what comes live.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';

import { TRANSPORTS } from './harness/client.mjs';
import { deploy } from './harness/deployment.mjs';
import { conversation, key, user } from './harness/names.mjs';
import * as shapes from './harness/shapes.mjs';
import { until } from './harness/until.mjs';

const deployment = deploy();

const contents = (client) => client.messages.map((message) => message.content);
const range = (from, to) => Array.from({ length: to - from + 1 }, (_, n) => `${from + n}`);

/** Two users, of whom only the first is connected. */
async function pair() {
  const names = { alice: user('alice'), bob: user('bob'), id: conversation() };
  return { ...names, a: await deployment.connect(names.alice) };
}

async function say(client, { id, bob }, from, to) {
  await Promise.all(range(from, to).map((content) => client.send({ conversationId: id, targetUserId: bob, content })));
}

/** What is known to have become of a message for a recipient. */
async function status(messageId, userId) {
  const rest = await deployment.rest(userId);
  const { body } = await rest.get(`/app/messages/${messageId}/deliveries`);
  return body.data.find((entry) => entry.userId === userId)?.status;
}

describe('with a cursor', () => {
  for (const [transport, transports] of Object.entries(TRANSPORTS)) {
    test(`all that was missed since comes, in order and once, over ${transport}`, async () => {
      const names = await pair();
      const first = await deployment.connect(names.bob, { transports });
      await say(names.a, names, 1, 5);
      await first.message('5');
      const third = first.messages[2];
      first.close();
      await say(names.a, names, 6, 10);
      const second = await deployment.connect(names.bob, { transports, cursor: third.cursor });
      assert.deepEqual(contents(second), range(4, 10));
      for (const message of second.messages) shapes.message(message, { streamed: true });
      const ready = shapes.success(second.all('stream:ready')[0]);
      shapes.keys(ready, 'cursor', 'replayed');
      assert.equal(ready.replayed, 7);
      assert.equal(second.received.at(-1).event, 'stream:ready');
      await say(names.a, names, 11, 12);
      await second.message('12');
      assert.deepEqual(contents(second), range(4, 12));
    });
  }

  test('however much was missed, it comes', async () => {
    const names = await pair();
    const first = await deployment.connect(names.bob);
    await say(names.a, names, 1, 1);
    await first.message('1');
    first.breakOff();
    for (let from = 2; from < 1_002; from += 250) await say(names.a, names, from, from + 249);
    const second = await deployment.connect(names.bob, { cursor: first.cursor });
    assert.deepEqual(contents(second), range(2, 1_001));
    assert.equal(second.all('stream:ready')[0].data.replayed, 1_000);
  });

  test('own messages are part of it', async () => {
    const names = await pair();
    await say(names.a, names, 1, 3);
    await names.a.message('3');
    const again = await deployment.connect(names.alice, { cursor: names.a.messages[0].cursor });
    assert.deepEqual(contents(again), range(2, 3));
  });

  test('the cursor of stream:ready is as good as a message’s', async () => {
    const names = await pair();
    const first = await deployment.connect(names.bob);
    const { cursor, replayed } = shapes.success(first.all('stream:ready')[0]);
    assert.equal(replayed, 0);
    first.close();
    await say(names.a, names, 1, 3);
    const second = await deployment.connect(names.bob, { cursor });
    assert.deepEqual(contents(second), range(1, 3));
    second.close();
    const third = await deployment.connect(names.bob, { cursor: second.all('stream:ready')[0].data.cursor });
    assert.deepEqual(contents(third), []);
  });

  test('the delivered mark does not matter', async () => {
    const names = await pair();
    const first = await deployment.connect(names.bob);
    await say(names.a, names, 1, 4);
    await first.message('4');
    const answer = await first.ask('stream:ack', { cursor: first.messages[3].cursor });
    assert.equal(answer.success, true);
    const second = await deployment.connect(names.bob, { cursor: first.messages[0].cursor });
    assert.deepEqual(contents(second), range(2, 4));
  });

  test('a reconnecting client that keeps its cursor misses and repeats nothing', async () => {
    const names = await pair();
    const applied = [];
    let cursor;
    const { token } = await deployment.rest(names.bob);
    const client = deployment.client({
      auth: (give) => give({ token, cursor }),
      reconnection: true,
      reconnectionDelay: 1,
      reconnectionDelayMax: 5,
    });
    client.socket.on('message:receive', ({ data }) => {
      applied.push(data.content);
      cursor = data.cursor;
    });
    await client.next('stream:ready');
    for (let round = 0; round < 5; round += 1) {
      const before = client.all('stream:ready').length;
      const sending = say(names.a, names, round * 40 + 1, round * 40 + 40);
      client.socket.io.engine.close();
      await sending;
      await until(() => client.all('stream:ready').length > before, { what: 'the reconnect' });
    }
    await until(() => applied.length >= 200, { what: 'all messages' });
    assert.deepEqual(applied.map(Number).sort((x, y) => x - y).map(String), range(1, 200));
    assert.equal(new Set(applied).size, 200);
  });

  describe('that can’t be honoured', () => {
    const shifted = (cursor) => {
      const bytes = Buffer.from(cursor, 'base64url');
      bytes[17] += 1;
      return bytes.toString('base64url');
    };
    const foreign = (cursor) => {
      const bytes = Buffer.from(cursor, 'base64url');
      bytes[0] ^= 0xff;
      return bytes.toString('base64url');
    };
    const cursors = {
      'because it is none': () => 'nonsense',
      'because it is empty': () => '',
      'because it is no string': () => 7,
      'because it is of another log': foreign,
      'because it lies ahead of the log': shifted,
      'because it is 20 kB long': () => 'A'.repeat(20_000),
    };
    for (const [why, make] of Object.entries(cursors)) {
      test(`${why}: stream:reset comes first, and all above the mark follows`, async () => {
        const names = await pair();
        const first = await deployment.connect(names.bob);
        await say(names.a, names, 1, 2);
        await first.message('2');
        const good = first.cursor;
        first.breakOff();
        const second = await deployment.connect(names.bob, { cursor: make(good) });
        const reset = shapes.success(second.received[0].payload);
        assert.equal(second.received[0].event, 'stream:reset');
        assert.ok(typeof reset.reason === 'string' && reset.reason.length > 0);
        assert.deepEqual(contents(second), range(1, 2));
        assert.equal(second.all('stream:reset').length, 1);
      });
    }

    test('null counts as none given', async () => {
      const client = await deployment.connect(user(), { auth: undefined, cursor: null });
      assert.deepEqual(client.all('stream:reset'), []);
    });
  });
});

describe('without a cursor', () => {
  test('one who was never there gets everything, before anything live', async () => {
    const names = await pair();
    await say(names.a, names, 1, 300);
    const bob = await deployment.connect(names.bob);
    assert.deepEqual(contents(bob), range(1, 300));
    assert.equal(bob.all('stream:ready')[0].data.replayed, 300);
  });

  test('what a client took before it said goodbye does not come again', async () => {
    const names = await pair();
    const first = await deployment.connect(names.bob);
    await say(names.a, names, 1, 3);
    await first.message('3');
    const last = first.messages.at(-1);
    // What is younger than two seconds may have crossed the goodbye.
    await pause(4_000);
    first.close();
    await until(async () => (await status(last._id, names.bob)) === 'delivered', { what: 'the delivered mark' });
    const second = await deployment.connect(names.bob);
    assert.deepEqual(contents(second), []);
    await say(names.a, names, 4, 4);
    await second.message('4');
    assert.deepEqual(contents(second), ['4']);
  });

  const leaves = {
    'what came just before a goodbye, which may have crossed it,': (client) => client.close(),
    'what went out over a connection that broke': (client) => client.breakOff(),
  };
  for (const [what, leave] of Object.entries(leaves)) {
    test(`${what} comes again`, async () => {
      const names = await pair();
      const first = await deployment.connect(names.bob);
      await say(names.a, names, 1, 3);
      await first.message('3');
      leave(first);
      await deployment.log.until(`Disconnected { userId: "${names.bob}"`);
      const second = await deployment.connect(names.bob);
      assert.deepEqual(contents(second), range(1, 3));
    });
  }

  test('own messages count as delivered', async () => {
    const names = await pair();
    await say(names.a, names, 1, 3);
    await names.a.message('3');
    names.a.breakOff();
    const b = await deployment.connect(names.bob);
    await b.send({ conversationId: names.id, content: 'answer' });
    const again = await deployment.connect(names.alice);
    assert.deepEqual(contents(again), ['answer']);
  });
});

describe('the delivered mark', () => {
  test('moves by stream:ack, and only forward', async () => {
    const names = await pair();
    const first = await deployment.connect(names.bob);
    await say(names.a, names, 1, 5);
    await first.message('5');
    const cursors = first.messages.map((message) => message.cursor);
    const from = first.received.length;
    shapes.success(await first.ask('stream:ack', { cursor: cursors[2] }));
    shapes.success(await first.ask('stream:ack', { cursor: cursors[0] }));
    first.emit('stream:ack', { cursor: cursors[1] });
    await first.ask('connection:get', {});
    assert.deepEqual(first.received.slice(from), [], 'only acks answer a stream:ack');
    first.breakOff();
    const second = await deployment.connect(names.bob);
    assert.deepEqual(contents(second), range(4, 5));
  });

  test('of a client that acks is not presumed, even after a goodbye', async () => {
    const names = await pair();
    const first = await deployment.connect(names.bob);
    await say(names.a, names, 1, 5);
    await first.message('5');
    shapes.success(await first.ask('stream:ack', { cursor: first.messages[1].cursor }));
    first.close();
    await deployment.log.until(`Disconnected { userId: "${names.bob}"`);
    const second = await deployment.connect(names.bob);
    assert.deepEqual(contents(second), range(3, 5));
  });

  test('moves over REST', async () => {
    const names = await pair();
    await say(names.a, names, 1, 3);
    const rest = await deployment.rest(names.bob);
    const { body } = await rest.get('/app/stream?limit=2');
    const answer = await rest.post('/app/stream/ack', { cursor: body.data[1].cursor });
    assert.equal(answer.status, 200);
    shapes.success(answer.body);
    const bob = await deployment.connect(names.bob);
    assert.deepEqual(contents(bob), ['3']);
  });

  test('does not move to a cursor that is none', async () => {
    const names = await pair();
    await say(names.a, names, 1, 3);
    const bob = await deployment.connect(names.bob);
    const ahead = Buffer.from(bob.cursor, 'base64url');
    ahead[17] += 1;
    for (const payload of [{}, null, { cursor: 'nonsense' }, { cursor: 7 }, { cursor: '' }, { cursor: ahead.toString('base64url') }]) {
      const error = shapes.failure(await bob.ask('stream:ack', payload));
      assert.ok(['bad_request', 'cursor_expired'].includes(error.code), JSON.stringify(payload));
    }
    bob.breakOff();
    const again = await deployment.connect(names.bob);
    assert.deepEqual(contents(again), range(1, 3));
  });

  describe('with a short heartbeat', () => {
    const quick = deploy({ PING_INTERVAL_MS: '400', PING_TIMEOUT_MS: '1000' });

    test('moves when the socket has outlived a heartbeat', async () => {
      const [alice, bob, id] = [user('alice'), user('bob'), conversation()];
      const a = await quick.connect(alice);
      const b = await quick.connect(bob);
      const sent = await a.send({ conversationId: id, targetUserId: bob, content: 'x' });
      await b.message('x');
      const rest = await quick.rest(alice);
      await until(async () => {
        const { body } = await rest.get(`/app/messages/${sent._id}/deliveries`);
        return body.data[0].status === 'delivered';
      }, { what: 'the delivered mark' });
      b.breakOff();
      const again = await quick.connect(bob);
      assert.deepEqual(contents(again), []);
    });
  });
});

describe('while messages stream in', () => {
  /** Writes without pause until told to end; gives how many it wrote. */
  function stream(client, { id, bob }) {
    let going = true;
    const done = (async () => {
      let written = 0;
      while (going) {
        const batch = Array.from({ length: 20 }, () => `${(written += 1)}`);
        await Promise.all(batch.map((content) => client.send({ conversationId: id, targetUserId: bob, content })));
      }
      return written;
    })();
    return () => {
      going = false;
      return done;
    };
  }

  test('a client that comes and goes with its cursor gets each message once, in order', async () => {
    const names = await pair();
    const applied = [];
    let { cursor } = shapes.success((await deployment.connect(names.bob)).all('stream:ready')[0]);
    const end = stream(names.a, names);
    const kinds = Object.values(TRANSPORTS);
    for (let round = 0; round < 12; round += 1) {
      const client = await deployment.connect(names.bob, { cursor, transports: kinds[round % kinds.length] });
      const enough = client.messages.length + 30;
      await until(() => client.messages.length >= enough, { what: 'live messages' });
      client.breakOff();
      applied.push(...client.messages);
      cursor = applied.at(-1).cursor;
    }
    const written = await end();
    const last = await deployment.connect(names.bob, { cursor });
    applied.push(...last.messages);
    assert.deepEqual(applied.map((message) => message.content), range(1, written));
  });

  test('a client that comes and goes without one misses none', async () => {
    const names = await pair();
    const end = stream(names.a, names);
    const seen = new Set();
    for (let round = 0; round < 8; round += 1) {
      const client = await deployment.connect(names.bob);
      const enough = client.messages.length + 30;
      await until(() => client.messages.length >= enough, { what: 'live messages' });
      client.breakOff();
      const numbers = client.messages.map((message) => message.sequence);
      assert.deepEqual(numbers, Array.from(numbers, (_, n) => numbers[0] + n), 'in order, without holes');
      for (const message of client.messages) seen.add(message.content);
    }
    const written = await end();
    const last = await deployment.connect(names.bob);
    for (const message of last.messages) seen.add(message.content);
    assert.deepEqual(range(1, written).filter((content) => !seen.has(content)), []);
  });
});

describe('what is sent at once, before the connection stands', () => {
  for (const [transport, transports] of Object.entries(TRANSPORTS)) {
    test(`is confirmed on the same socket, and received by the target, over ${transport}`, async () => {
      for (let round = 0; round < 10; round += 1) {
        const [alice, bob, id] = [user('alice'), user('bob'), conversation()];
        const tokens = [await deployment.rest(alice), await deployment.rest(bob)].map((rest) => rest.token);
        const [a, b] = tokens.map((token) => deployment.client({ token, transports }));
        a.emit('message:send', { conversationId: id, targetUserId: bob, content: 'at once' });
        const received = await Promise.all([a.message('at once'), b.message('at once')]);
        assert.deepEqual(received[0], received[1]);
        await a.send({ conversationId: id, content: 'fence' });
        for (const client of [a, b]) {
          await client.message('fence');
          await client.next('stream:ready');
          assert.deepEqual(contents(client), ['at once', 'fence']);
          client.close();
        }
      }
    });
  }

  test('to another socket of the user, too', async () => {
    for (let round = 0; round < 10; round += 1) {
      const [alice, bob, id] = [user('alice'), user('bob'), conversation()];
      const { token } = await deployment.rest(alice);
      const first = await deployment.connect(alice);
      const second = deployment.client({ token });
      const third = deployment.client({ token });
      third.socket.on('connect', () => first.emit('message:send', { conversationId: id, targetUserId: bob, content: 'now' }));
      await second.next('stream:ready');
      await third.next('stream:ready');
      await first.message('now');
      await first.send({ conversationId: id, content: 'fence' });
      await third.message('fence');
      assert.deepEqual(contents(third), ['now', 'fence'], 'sent after this socket had connected');
      for (const client of [first, second, third]) client.close();
    }
  });
});

describe('several sockets', () => {
  test('of one user get each message each', async () => {
    const names = await pair();
    const others = await Promise.all(Object.values(TRANSPORTS).map((transports) => deployment.connect(names.alice, { transports })));
    const theirs = await Promise.all(Object.values(TRANSPORTS).map((transports) => deployment.connect(names.bob, { transports })));
    await say(names.a, names, 1, 20);
    for (const client of [names.a, ...others, ...theirs]) {
      await client.message('20');
      assert.deepEqual(client.messages.map((message) => message.sequence), range(1, 20).map(Number));
    }
  });

  test('of a group get what any member writes, and nobody else does', async () => {
    const members = ['alice', 'bob', 'carol', 'dave'].map((name) => user(name));
    const clients = await Promise.all(members.flatMap((name) => [deployment.connect(name), deployment.connect(name)]));
    const eve = await deployment.connect(user('eve'));
    const { data } = await clients[0].ask('conversation:create', { memberIds: members.slice(1) });
    const writers = clients.filter((_, n) => n % 2 === 0);
    await Promise.all(writers.flatMap((client, who) => range(1, 10).map((n) => client.send({ conversationId: data._id, content: `${who} ${n}` }))));
    for (const client of clients) {
      await until(() => client.messages.length === 40, { what: 'the messages of all members' });
      assert.deepEqual(client.messages, clients[0].messages);
    }
    assert.deepEqual(eve.messages, []);
  });

  test('never get a message twice, nor one below the last', async () => {
    const names = await pair();
    const b = await deployment.connect(names.bob);
    const ids = [names.id, conversation(), conversation()];
    const clientMessageId = key();
    for (let n = 0; n < 60; n += 1) {
      names.a.emit('message:send', { conversationId: ids[n % 3], targetUserId: names.bob, content: `${n}` });
      if (n % 10 === 0) names.a.emit('message:send', { conversationId: names.id, targetUserId: names.bob, content: 'again', clientMessageId });
    }
    await until(() => b.messages.length >= 61, { what: 'the messages of all three conversations' });
    assert.equal(b.messages.length, 61);
    assert.equal(new Set(b.messages.map((message) => message.cursor)).size, 61);
    const stream = await (await deployment.rest(names.bob)).stream();
    assert.deepEqual(b.messages, stream);
  });
});

describe('stream:get', () => {
  test('reads the same sequence in pages', async () => {
    const names = await pair();
    const b = await deployment.connect(names.bob);
    await say(names.a, names, 1, 25);
    await b.message('25');
    b.emit('stream:get', { limit: 10 });
    const payload = await b.next('stream:page');
    const first = shapes.success(payload, 'nextCursor');
    assert.deepEqual(first, b.messages.slice(0, 10));
    const second = await b.ask('stream:get', { cursor: payload.nextCursor, limit: 10 });
    assert.deepEqual(shapes.success(second, 'nextCursor'), b.messages.slice(10, 20));
    const third = await b.ask('stream:get', { cursor: b.messages[19].cursor, limit: 10 });
    assert.deepEqual(shapes.success(third, 'nextCursor'), b.messages.slice(20));
    assert.equal(third.nextCursor, null);
    assert.deepEqual(await (await deployment.rest(names.bob)).stream(), b.messages);
    const own = await names.a.ask('stream:get', {});
    assert.equal(own.data.length, 25, 'own messages are part of the stream');
  });

  test('answers a bad cursor with cursor_expired', async () => {
    const names = await pair();
    await say(names.a, names, 1, 1);
    await names.a.message('1');
    const bytes = Buffer.from(names.a.cursor, 'base64url');
    const foreign = Buffer.from(bytes);
    foreign[0] ^= 0xff;
    const ahead = Buffer.from(bytes);
    ahead[17] += 1;
    const rest = await deployment.rest(names.alice);
    for (const cursor of ['nonsense', foreign.toString('base64url'), ahead.toString('base64url')]) {
      shapes.failure(await names.a.ask('stream:get', { cursor }), 'cursor_expired');
      shapes.refused(await rest.get(`/app/stream?${new URLSearchParams({ cursor })}`), 'cursor_expired');
    }
  });
});

describe('a restart', () => {
  const own = deploy();

  test('is followed by confirmations from the first message on', async () => {
    for (let round = 0; round < 5; round += 1) {
      await own.stop();
      await own.start();
      const [alice, bob, id] = [user('alice'), user('bob'), conversation()];
      const { token } = await own.rest(alice);
      const a = own.client({ token });
      a.emit('message:send', { conversationId: id, targetUserId: bob, content: 'at once' });
      await a.message('at once');
    }
  });

  test('loses nothing, with and without a cursor', async () => {
    const [alice, bob, id] = [user('alice'), user('bob'), conversation()];
    const a = await own.connect(alice);
    const b = await own.connect(bob);
    await say(a, { id, bob }, 1, 5);
    await b.message('5');
    await own.stop();
    assert.match(await b.disconnected(), /transport/);
    await own.start();
    const withCursor = await own.connect(bob, { cursor: b.messages[1].cursor });
    assert.deepEqual(contents(withCursor), range(3, 5));
    const without = await own.connect(bob);
    assert.deepEqual(contents(without), range(6 - without.messages.length, 5));
    const again = await own.connect(alice);
    await say(again, { id, bob }, 6, 6);
    assert.equal((await withCursor.message('6')).sequence, 6);
    assert.equal((await without.message('6')).sequence, 6);
  });
});
