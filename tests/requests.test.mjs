// Notifications, connections, conversations, messages: what clients ask for, over Socket.IO and REST.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { deploy } from './harness/deployment.mjs';
import { conversation, user } from './harness/names.mjs';
import * as shapes from './harness/shapes.mjs';
import { until, within } from './harness/until.mjs';

const deployment = deploy();

const UNKNOWN = '018f0000-0000-7000-8000-000000000000';
const numbers = (from, to) => Array.from({ length: to - from + 1 }, (_, n) => from + n);

/** Bad values of `limit`, wherever there is one. */
const BAD_LIMITS = [0, 201, -1, 1.5, '10', 'many', {}, [1], true];

/** Follows `nextCursor` over the socket to the end. */
async function pages(client, event, payload) {
  const pages = [];
  let cursor;
  do {
    const answer = await client.ask(event, { ...payload, ...(cursor === undefined ? {} : { cursor }) });
    pages.push(shapes.success(answer, 'nextCursor'));
    cursor = answer.nextCursor;
  } while (cursor !== null);
  return pages;
}

describe('notifications', () => {
  /** Somebody with `count` unread notifications, not yet connected. */
  async function absent(count) {
    const [alice, bob, id] = [user('alice'), user('bob'), conversation()];
    const a = await deployment.connect(alice);
    for (const n of numbers(1, count)) await a.send({ conversationId: id, targetUserId: bob, content: `${n}` });
    const rest = await deployment.rest(bob);
    await until(async () => (await rest.get('/app/notifications?limit=200')).body.data.length === count, { what: 'the notifications' });
    return { a, alice, bob, id, rest };
  }

  test('are made for each message to somebody away, newest first', async () => {
    const { bob, rest } = await absent(5);
    const b = await deployment.connect(bob);
    const answer = await b.ask('notification:get', {});
    assert.deepEqual(shapes.success(answer, 'nextCursor').map((entry) => shapes.notification(entry).content), ['5', '4', '3', '2', '1']);
    assert.equal(answer.nextCursor, null);
    assert.deepEqual((await rest.get('/app/notifications')).body.data, answer.data);
    assert.deepEqual(b.all('notification:receive'), [], 'they are not pushed unasked');
  });

  test('are not made for somebody who is there, nor for the sender', async () => {
    const [alice, bob, id] = [user('alice'), user('bob'), conversation()];
    const a = await deployment.connect(alice);
    const b = await deployment.connect(bob);
    await a.send({ conversationId: id, targetUserId: bob, content: 'live' });
    await b.message('live');
    b.close();
    await deployment.log.until(`Disconnected { userId: "${bob}"`);
    await a.send({ conversationId: id, targetUserId: bob, content: 'away' });
    const rest = await deployment.rest(bob);
    await until(async () => (await rest.get('/app/notifications')).body.data.length > 0, { what: 'the notification' });
    assert.deepEqual((await rest.get('/app/notifications')).body.data.map((entry) => entry.content), ['away']);
    assert.deepEqual((await (await deployment.rest(alice)).get('/app/notifications')).body.data, []);
  });

  test('are made for what went out over a connection that broke', async () => {
    const [alice, bob, id] = [user('alice'), user('bob'), conversation()];
    const a = await deployment.connect(alice);
    const b = await deployment.connect(bob);
    await a.send({ conversationId: id, targetUserId: bob, content: 'into the void?' });
    await b.message('into the void?');
    b.breakOff();
    const rest = await deployment.rest(bob);
    await until(async () => (await rest.get('/app/notifications')).body.data.length > 0, { what: 'the notification' });
    assert.deepEqual((await rest.get('/app/notifications')).body.data.map((entry) => entry.content), ['into the void?']);
  });

  test('come in pages', async () => {
    const { bob, rest } = await absent(25);
    const b = await deployment.connect(bob);
    const found = await pages(b, 'notification:get', { limit: 10 });
    assert.deepEqual(found.map((page) => page.length), [10, 10, 5]);
    assert.deepEqual(found.flat().map((entry) => Number(entry.content)), numbers(1, 25).reverse());
    assert.deepEqual(await rest.pages('/app/notifications', 10), found);
  });

  test('are read one by one, which all sockets of the user are told', async () => {
    const { bob } = await absent(3);
    const [b, other] = [await deployment.connect(bob), await deployment.connect(bob)];
    const list = (await b.ask('notification:get', {})).data;
    const answer = await b.ask('notification:read', { ids: [list[1]._id] });
    assert.deepEqual(shapes.success(answer), { unreadCount: 2 });
    for (const client of [b, other]) {
      const pushed = shapes.success(await client.next('notification:receive'), 'nextCursor');
      assert.deepEqual(pushed.map((entry) => shapes.notification(entry).isRead), [false, true, false]);
    }
    const unread = await b.ask('notification:get', { unreadOnly: true });
    assert.deepEqual(unread.data.map((entry) => entry.content), ['3', '1']);
    assert.deepEqual(shapes.success(await b.ask('notification:read', { ids: [list[1]._id] })), { unreadCount: 2 });
  });

  test('are read all at once', async () => {
    const { bob, rest } = await absent(3);
    const b = await deployment.connect(bob);
    assert.deepEqual(shapes.success(await b.ask('notification:read', { all: true })), { unreadCount: 0 });
    const list = (await rest.get('/app/notifications')).body.data;
    assert.ok(list.every((entry) => shapes.notification(entry).isRead));
    assert.deepEqual((await rest.get('/app/notifications?unreadOnly=true')).body.data, []);
  });

  test('are read over REST', async () => {
    const { bob, rest } = await absent(2);
    const b = await deployment.connect(bob);
    const [newest] = (await rest.get('/app/notifications')).body.data;
    const one = await rest.post('/app/notifications/read', { ids: [newest._id] });
    assert.equal(one.status, 200);
    assert.deepEqual(shapes.success(one.body), { unreadCount: 1 });
    await b.next('notification:receive');
    const all = await rest.post('/app/notifications/read', { all: true });
    assert.deepEqual(shapes.success(all.body), { unreadCount: 0 });
  });

  test('of somebody else are out of reach', async () => {
    const { rest } = await absent(1);
    const [theirs] = (await rest.get('/app/notifications')).body.data;
    const eve = await deployment.connect(user('eve'));
    shapes.failure(await eve.ask('notification:read', { ids: [theirs._id] }), 'not_found');
    shapes.failure(await eve.ask('notification:read', { ids: [UNKNOWN] }), 'not_found');
    assert.equal((await rest.get('/app/notifications')).body.data[0].isRead, false);
  });

  test('take no bad request', async () => {
    const b = await deployment.connect(user());
    for (const payload of [{}, { ids: [] }, { ids: 'x' }, { ids: ['x'] }, { ids: [7] }, { all: false }, { all: 'yes' }, { all: true, ids: [UNKNOWN] }]) {
      shapes.failure(await b.ask('notification:read', payload), 'bad_request');
    }
    for (const limit of BAD_LIMITS) shapes.failure(await b.ask('notification:get', { limit }), 'bad_request');
    for (const payload of [{ cursor: 'nonsense' }, { cursor: 7 }, { unreadOnly: 'yes' }]) {
      shapes.failure(await b.ask('notification:get', payload), 'bad_request');
    }
    const rest = await deployment.rest(user());
    for (const query of ['limit=0', 'limit=201', 'limit=x', 'cursor=nonsense', 'unreadOnly=perhaps']) {
      shapes.refused(await rest.get(`/app/notifications?${query}`), 'bad_request');
    }
  });
});

describe('connections', () => {
  const strict = deploy({ CONNECTION_LIST: 'admins' });

  test('are listed over REST as over the socket', async () => {
    const alice = user('alice');
    const a = await deployment.connect(alice);
    const { status, body } = await (await deployment.rest(alice)).get('/app/connections');
    assert.equal(status, 200);
    assert.ok(body.totalConnections >= 1);
    assert.deepEqual(body.data.filter((entry) => entry.userId === alice), [{ userId: alice, socketId: a.socket.id }]);
  });

  test('are listed for admins only where that is set', async () => {
    const a = await strict.connect(user());
    shapes.failure(await a.ask('connection:get', {}), 'forbidden');
    shapes.refused(await (await strict.rest(user())).get('/app/connections'), 'forbidden');
    const admin = await strict.connect(user('admin'), { claims: { role: 'admin' } });
    assert.equal((await admin.ask('connection:get', {})).data.length, 2);
    assert.equal((await (await strict.rest(user(), { role: 'admin' })).get('/app/connections')).status, 200);
  });
});

describe('conversations', () => {
  test('are listed by latest activity, in pages', async () => {
    const alice = user('alice');
    const a = await deployment.connect(alice);
    const ids = numbers(1, 12).map(() => conversation());
    for (const id of ids) await a.send({ conversationId: id, targetUserId: user(), content: 'x' });
    await a.send({ conversationId: ids[3], content: 'latest' });
    const expected = [ids[3], ...ids.filter((id) => id !== ids[3]).reverse()];
    const found = await pages(a, 'conversation:get', { limit: 5 });
    assert.deepEqual(found.map((page) => page.length), [5, 5, 2]);
    assert.deepEqual(found.flat().map((entry) => shapes.conversation(entry)._id), expected);
    const rest = await deployment.rest(alice);
    assert.deepEqual(await rest.pages('/app/conversations', 5), found);
    assert.deepEqual((await a.ask('conversation:get', {})).data, found.flat());
  });

  test('show the last message and what is unread', async () => {
    const [alice, bob, id] = [user('alice'), user('bob'), conversation()];
    const a = await deployment.connect(alice);
    const b = await deployment.connect(bob);
    const one = async (client) => (await client.ask('conversation:get', {})).data[0];
    await a.send({ conversationId: id, targetUserId: bob, content: '1' });
    await a.send({ conversationId: id, content: '2' });
    const last = await b.send({ conversationId: id, content: '3' });
    assert.deepEqual((await one(a)).lastMessage, last);
    assert.equal((await one(a)).unreadCount, 1);
    assert.equal((await one(b)).unreadCount, 2);
    assert.equal((await one(b)).updatedAt, last.createdAt);
  });

  test('a group is its caller and its members, who are all told', async () => {
    const [alice, bob, carol] = [user('alice'), user('bob'), user('carol')];
    const a = await deployment.connect(alice);
    const clients = [a, await deployment.connect(alice), await deployment.connect(bob), await deployment.connect(carol)];
    const id = conversation('group');
    const answer = await a.ask('conversation:create', { conversationId: id, memberIds: [bob, carol], title: 'Three' });
    const created = shapes.conversation(shapes.success(answer));
    assert.deepEqual({ ...created, memberIds: created.memberIds.sort() }, {
      _id: id,
      type: 'group',
      title: 'Three',
      memberIds: [alice, bob, carol].sort(),
      createdBy: alice,
      lastMessage: null,
      unreadCount: 0,
      createdAt: created.createdAt,
      updatedAt: created.createdAt,
    });
    for (const client of clients) {
      const list = shapes.success(await client.next('conversation:receive'), 'nextCursor');
      assert.deepEqual(list.map((entry) => shapes.conversation(entry)._id), [id]);
    }
  });

  test('a group without an id is given one', async () => {
    const [alice, bob] = [user('alice'), user('bob')];
    const a = await deployment.connect(alice);
    const [first, second] = [await a.ask('conversation:create', { memberIds: [bob] }), await a.ask('conversation:create', { memberIds: [bob] })];
    assert.notEqual(first.data._id, second.data._id);
    assert.equal(first.data.title, null);
    await a.send({ conversationId: first.data._id, content: 'x' });
  });

  test('a group made again alike is a duplicate, else a conflict', async () => {
    const [alice, bob, carol, id] = [user('alice'), user('bob'), user('carol'), conversation('group')];
    const a = await deployment.connect(alice);
    const payload = { conversationId: id, memberIds: [bob, carol], title: 'Three' };
    const first = shapes.success(await a.ask('conversation:create', payload));
    const again = await a.ask('conversation:create', payload);
    assert.equal(again.duplicate, true);
    assert.deepEqual(shapes.success(again, 'duplicate'), first);
    for (const changed of [{ title: 'Four' }, { title: undefined }, { memberIds: [bob] }, { memberIds: [bob, carol, user()] }]) {
      shapes.failure(await a.ask('conversation:create', { ...payload, ...changed }), 'idempotency_conflict');
    }
    const eve = await deployment.connect(user('eve'));
    shapes.failure(await eve.ask('conversation:create', payload), 'idempotency_conflict');
  });

  test('over REST a group is made with 201, a duplicate with 200', async () => {
    const [alice, bob, id] = [user('alice'), user('bob'), conversation('group')];
    const rest = await deployment.rest(alice);
    const payload = { conversationId: id, memberIds: [bob] };
    assert.equal((await rest.post('/app/conversations', payload)).status, 201);
    const again = await rest.post('/app/conversations', payload);
    assert.equal(again.status, 200);
    assert.equal(again.body.duplicate, true);
    shapes.refused(await rest.post('/app/conversations', { ...payload, title: 'x' }), 'idempotency_conflict');
  });

  test('the id of a direct conversation is taken', async () => {
    const [alice, bob, id] = [user('alice'), user('bob'), conversation()];
    const a = await deployment.connect(alice);
    await a.send({ conversationId: id, targetUserId: bob, content: 'x' });
    shapes.failure(await a.ask('conversation:create', { conversationId: id, memberIds: [bob] }), 'idempotency_conflict');
  });

  test('a group has up to 1,000 members beside its caller', async () => {
    const [alice, ...members] = numbers(0, 1_001).map((n) => user(`m${n}`));
    const rest = await deployment.rest(alice);
    const most = await rest.post('/app/conversations', { memberIds: members.slice(0, 1_000) });
    assert.equal(most.status, 201, most.text);
    assert.equal(most.body.data.memberIds.length, 1_001);
    shapes.refused(await rest.post('/app/conversations', { memberIds: members }), 'bad_request');
  });

  test('take no bad request', async () => {
    const a = await deployment.connect(user());
    for (const payload of [
      {},
      { memberIds: [] },
      { memberIds: 'bob' },
      { memberIds: [7] },
      { memberIds: ['a b'] },
      { memberIds: ['x'.repeat(129)] },
      { memberIds: [user()], conversationId: 'a b' },
      { memberIds: [user()], conversationId: '' },
      { memberIds: [user()], conversationId: 'c*' },
      { memberIds: [user()], title: 7 },
      { memberIds: [user()], title: '' },
      { memberIds: [user()], title: 'x\u0000y' },
      { memberIds: [user()], title: 'x'.repeat(10_000) },
    ]) {
      shapes.failure(await a.ask('conversation:create', payload), 'bad_request');
    }
    for (const limit of BAD_LIMITS) shapes.failure(await a.ask('conversation:get', { limit }), 'bad_request');
    for (const cursor of ['nonsense', 7]) shapes.failure(await a.ask('conversation:get', { cursor }), 'bad_request');
  });
});

describe('read marks', () => {
  test('move to a sequence, or to the end, and the user’s sockets are told', async () => {
    const [alice, bob, id] = [user('alice'), user('bob'), conversation()];
    const a = await deployment.connect(alice);
    const [b, other] = [await deployment.connect(bob), await deployment.connect(bob)];
    for (const n of numbers(1, 5)) await a.send({ conversationId: id, targetUserId: bob, content: `${n}` });
    assert.deepEqual(shapes.success(await b.ask('conversation:read', { conversationId: id, sequence: 2 })), { unreadCount: 3 });
    for (const client of [b, other]) {
      const [entry] = shapes.success(await client.next('conversation:receive'), 'nextCursor');
      assert.equal(entry.unreadCount, 3);
    }
    assert.deepEqual(shapes.success(await b.ask('conversation:read', { conversationId: id, sequence: 1 })), { unreadCount: 3 });
    assert.deepEqual(shapes.success(await b.ask('conversation:read', { conversationId: id })), { unreadCount: 0 });
    await a.send({ conversationId: id, content: '6' });
    const rest = await deployment.rest(bob);
    assert.equal((await rest.get('/app/conversations')).body.data[0].unreadCount, 1);
    const answer = await rest.post(`/app/conversations/${id}/read`, { sequence: 6 });
    assert.equal(answer.status, 200);
    assert.deepEqual(shapes.success(answer.body), { unreadCount: 0 });
    assert.deepEqual(a.all('conversation:receive'), [], 'nobody else is told');
  });

  test('do not move beyond what was said', async () => {
    const [alice, bob, id] = [user('alice'), user('bob'), conversation()];
    const a = await deployment.connect(alice);
    const b = await deployment.connect(bob);
    await a.send({ conversationId: id, targetUserId: bob, content: '1' });
    shapes.failure(await b.ask('conversation:read', { conversationId: id, sequence: 2 }));
    await a.send({ conversationId: id, content: '2' });
    assert.equal((await b.ask('conversation:get', {})).data[0].unreadCount, 2);
  });

  test('are their members’ own', async () => {
    const [alice, bob, id] = [user('alice'), user('bob'), conversation()];
    const a = await deployment.connect(alice);
    await a.send({ conversationId: id, targetUserId: bob, content: 'x' });
    const eve = await deployment.connect(user('eve'));
    const rest = await deployment.rest(user('eve'));
    shapes.failure(await eve.ask('conversation:read', { conversationId: id }), 'forbidden');
    shapes.refused(await rest.post(`/app/conversations/${id}/read`, {}), 'forbidden');
    shapes.failure(await a.ask('conversation:read', { conversationId: conversation() }), 'not_found');
    for (const payload of [{}, { conversationId: 7 }, { conversationId: id, sequence: -1 }, { conversationId: id, sequence: '1' }]) {
      shapes.failure(await a.ask('conversation:read', payload), 'bad_request');
    }
  });
});

describe('a conversation’s messages', () => {
  async function talk(count) {
    const [alice, bob, id] = [user('alice'), user('bob'), conversation()];
    const a = await deployment.connect(alice);
    const rest = await deployment.rest(bob);
    await Promise.all(numbers(1, count).map((n) => a.send({ conversationId: id, targetUserId: bob, content: `${n}` })));
    return { a, alice, bob, id, rest };
  }
  const sequences = (list) => list.map((message) => message.sequence);

  test('come ascending, the newest 50 unless asked otherwise', async () => {
    const { a, id } = await talk(60);
    const page = async (payload) => sequences((await a.ask('message:get', { conversationId: id, ...payload })).data);
    assert.deepEqual(await page({}), numbers(11, 60));
    assert.deepEqual(await page({ limit: 5 }), numbers(56, 60));
    assert.deepEqual(await page({ limit: 200 }), numbers(1, 60));
    assert.deepEqual(await page({ before: 11, limit: 5 }), numbers(6, 10));
    assert.deepEqual(await page({ before: 1 }), []);
    assert.deepEqual(await page({ after: 10, limit: 5 }), numbers(11, 15));
    assert.deepEqual(await page({ after: 60 }), []);
    assert.deepEqual(await page({ after: 1_000 }), []);
    assert.deepEqual(await page({ before: 1_000, limit: 3 }), numbers(58, 60));
    const around = await page({ around: 30, limit: 9 });
    assert.equal(around.length, 9);
    assert.ok(around.includes(30));
    assert.deepEqual(around, numbers(around[0], around.at(-1)));
    const first = await page({ around: 1, limit: 9 });
    assert.equal(first[0], 1);
    const last = await page({ around: 60, limit: 9 });
    assert.equal(last.at(-1), 60);
  });

  test('are answered on message:page without an ack', async () => {
    const { a, id } = await talk(2);
    a.emit('message:get', { conversationId: id });
    const list = shapes.success(await a.next('message:page'), 'nextCursor');
    assert.deepEqual(list.map((entry) => shapes.message(entry).sequence), [1, 2]);
  });

  test('nextCursor leads to older ones, with after to newer ones', async () => {
    const { a, id, rest } = await talk(25);
    const older = await pages(a, 'message:get', { conversationId: id, limit: 10 });
    assert.deepEqual(older.map(sequences), [numbers(16, 25), numbers(6, 15), numbers(1, 5)]);
    const first = await a.ask('message:get', { conversationId: id, limit: 10, after: 3 });
    const second = await a.ask('message:get', { conversationId: id, limit: 10, cursor: first.nextCursor });
    const third = await a.ask('message:get', { conversationId: id, limit: 10, cursor: second.nextCursor });
    assert.deepEqual([first, second, third].map((answer) => sequences(answer.data)), [numbers(4, 13), numbers(14, 23), numbers(24, 25)]);
    assert.equal(third.nextCursor, null);
    const before = await a.ask('message:get', { conversationId: id, limit: 10, before: 15 });
    const rest2 = await a.ask('message:get', { conversationId: id, limit: 10, cursor: before.nextCursor });
    assert.deepEqual([before, rest2].map((answer) => sequences(answer.data)), [numbers(5, 14), numbers(1, 4)]);
    assert.equal(rest2.nextCursor, null);
    assert.deepEqual((await rest.pages(`/app/conversations/${id}/messages`, 10)).map(sequences), older.map(sequences));
    assert.deepEqual(await rest.history(id), older.reverse().flat());
  });

  test('are pages of messages without cursors of the stream', async () => {
    const { id, rest } = await talk(3);
    for (const message of await rest.history(id)) shapes.message(message);
  });

  test('are their members’ own', async () => {
    const { a, id } = await talk(1);
    const eve = await deployment.connect(user('eve'));
    const rest = await deployment.rest(user('eve'));
    shapes.failure(await eve.ask('message:get', { conversationId: id }), 'forbidden');
    shapes.refused(await rest.get(`/app/conversations/${id}/messages`), 'forbidden');
    shapes.failure(await a.ask('message:get', { conversationId: conversation() }), 'not_found');
    shapes.refused(await rest.get(`/app/conversations/${conversation()}/messages`), 'not_found');
  });

  test('take no bad request', async () => {
    const { a, id, rest } = await talk(1);
    for (const limit of BAD_LIMITS) shapes.failure(await a.ask('message:get', { conversationId: id, limit }), 'bad_request');
    for (const payload of [{}, { conversationId: 7 }, { conversationId: 'a b' }, { conversationId: id, cursor: 'nonsense' }, { conversationId: id, before: 'x' }, { conversationId: id, after: -1 }, { conversationId: id, around: 1.5 }]) {
      shapes.failure(await a.ask('message:get', payload), 'bad_request');
    }
    for (const query of ['limit=0', 'limit=201', 'before=x', 'after=-1', 'around=1.5', 'cursor=nonsense']) {
      shapes.refused(await rest.get(`/app/conversations/${id}/messages?${query}`), 'bad_request');
    }
    shapes.refused(await rest.get('/app/conversations/a%20b/messages'), 'bad_request');
  });

  test('a cursor of another conversation is refused', async () => {
    const [one, other] = [await talk(12), await talk(12)];
    const { nextCursor } = (await one.a.ask('message:get', { conversationId: one.id, limit: 5 }));
    shapes.failure(await other.a.ask('message:get', { conversationId: other.id, cursor: nextCursor }), 'bad_request');
  });
});

describe('deliveries', () => {
  test('tell what became of a message for each recipient', async () => {
    const [alice, bob, carol, dave] = ['alice', 'bob', 'carol', 'dave'].map((name) => user(name));
    const a = await deployment.connect(alice);
    const b = await deployment.connect(bob);
    const c = await deployment.connect(carol);
    const { data: group } = await a.ask('conversation:create', { memberIds: [bob, carol, dave] });
    const sent = await a.send({ conversationId: group._id, content: 'x' });
    for (const client of [b, c]) await client.message('x');
    shapes.success(await b.ask('stream:ack', { cursor: b.cursor }));
    const rest = await deployment.rest(alice);
    const statuses = async () => {
      const { status, body } = await rest.get(`/app/messages/${sent._id}/deliveries`);
      assert.equal(status, 200);
      for (const entry of body.data) {
        shapes.keys(entry, 'userId', 'status', 'updatedAt');
        shapes.timestamp(entry.updatedAt);
      }
      return Object.fromEntries(body.data.map((entry) => [entry.userId, entry.status]));
    };
    await until(async () => (await statuses())[dave] === 'offline', { what: 'dave offline' });
    assert.deepEqual(await statuses(), { [bob]: 'delivered', [carol]: 'pending', [dave]: 'offline' });
    const d = await deployment.connect(dave);
    shapes.success(await d.ask('stream:ack', { cursor: d.cursor }));
    assert.equal((await statuses())[dave], 'delivered');
  });

  test('are their members’ to see', async () => {
    const a = await deployment.connect(user('alice'));
    const sent = await a.send({ conversationId: conversation(), targetUserId: user(), content: 'x' });
    const eve = await deployment.rest(user('eve'));
    shapes.refused(await eve.get(`/app/messages/${sent._id}/deliveries`), 'forbidden');
    shapes.refused(await eve.get(`/app/messages/${UNKNOWN}/deliveries`), 'not_found');
    shapes.refused(await eve.get('/app/messages/nonsense/deliveries'), 'bad_request');
  });
});

test('a read sees what was acked before it, on any gateway', async () => {
  const [alice, bob, id] = [user('alice'), user('bob'), conversation()];
  const a = await deployment.connect(alice);
  for (const n of numbers(1, 100)) {
    const sent = await a.send({ conversationId: id, targetUserId: bob, content: `${n}` });
    const rest = await deployment.rest(bob);
    const { body } = await rest.get(`/app/conversations/${id}/messages?limit=1`);
    assert.deepEqual(body.data, [sent]);
  }
});

test('events that nobody knows are ignored, whatever they are called', async () => {
  const a = await deployment.connect(user());
  const from = a.received.length;
  for (const event of ['two words', 'ä\u2028🦀', '*', '$disconnect', 'message:edit', 'reaction:add', 'typing:start', 'presence:set', 'no such event', '__proto__', 'constructor', '']) {
    a.emit(event, { conversationId: conversation() });
    a.emit(event, { x: 1 }, () => assert.fail(`${event} was answered`));
  }
  await a.ask('connection:get', {});
  assert.equal(a.received.length, from);
  assert.ok(a.socket.connected);
});

// The Socket.IO library underneath takes an event name that JSON must escape for a malformed packet.
test('an event whose name needs escaping ends that connection alone', async () => {
  const bystander = await deployment.connect(user());
  for (const event of ['a "quoted" name', 'a line\nbreak', '\u0000', '\\']) {
    const a = await deployment.connect(user(), { transports: ['websocket'] });
    const gone = new Promise((resolve) => a.socket.once('disconnect', resolve));
    a.emit(event, {});
    assert.equal(await within(gone, `the end after ${JSON.stringify(event)}`), 'transport close');
  }
  await bystander.ask('connection:get', {});
  assert.ok(bystander.socket.connected);
});
