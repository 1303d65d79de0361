// Sending, exactly once.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { TRANSPORTS } from './harness/client.mjs';
import { deploy } from './harness/deployment.mjs';
import { conversation, key, user } from './harness/names.mjs';
import * as shapes from './harness/shapes.mjs';
import { until } from './harness/until.mjs';

const deployment = deploy();

async function pair() {
  const names = { alice: user('alice'), bob: user('bob'), id: conversation() };
  return { ...names, a: await deployment.connect(names.alice), b: await deployment.connect(names.bob) };
}

/** After this message came, whatever was sent before it has come too. */
async function fence(from, to, conversationId) {
  const content = `fence ${key()}`;
  await from.send({ conversationId, content });
  for (const client of to) await client.message(content);
}

describe('order', () => {
  for (const [transport, transports] of Object.entries(TRANSPORTS)) {
    test(`200 messages pipelined on one socket over ${transport} keep their order`, async () => {
      const [alice, bob, id] = [user('alice'), user('bob'), conversation()];
      const a = await deployment.connect(alice, { transports });
      const b = await deployment.connect(bob, { transports });
      const contents = Array.from({ length: 200 }, (_, n) => `message ${n}`);
      const answers = await Promise.all(
        contents.map((content) => a.ask('message:send', { conversationId: id, targetUserId: bob, content })),
      );
      assert.deepEqual(answers.map((answer) => shapes.success(answer).sequence), contents.map((_, n) => n + 1));
      for (const client of [a, b]) {
        await client.message('message 199');
        assert.deepEqual(client.messages.map((message) => message.content), contents);
        assert.deepEqual(client.messages.map((message) => message.sequence), contents.map((_, n) => n + 1));
      }
      const stored = await (await deployment.rest(bob)).history(id);
      assert.deepEqual(stored.map((message) => message.content), contents);
    });
  }

  test('200 messages without acks keep their order, across two conversations', async () => {
    const { a, b, alice, bob, id } = await pair();
    const other = conversation();
    for (let n = 0; n < 200; n += 1) {
      a.emit('message:send', { conversationId: n % 2 ? other : id, targetUserId: bob, content: `${n}` });
    }
    for (const client of [a, b]) {
      // Each conversation has its own order, and the last of one may come before the last of the other.
      for (const last of ['198', '199']) await client.message(last);
      for (const conversationId of [id, other]) {
        const mine = client.messages.filter((message) => message.conversationId === conversationId);
        assert.deepEqual(mine.map((message) => message.sequence), Array.from({ length: 100 }, (_, n) => n + 1));
        const numbers = mine.map((message) => Number(message.content));
        assert.deepEqual(numbers, [...numbers].sort((x, y) => x - y));
      }
    }
    assert.equal(a.messages.every((message) => message.senderId === alice), true);
  });

  test('what a newcomer asks for next stands behind what they said first', async () => {
    for (let n = 0; n < 20; n += 1) {
      // Whoever has said nothing yet has no key for it.
      const [alice, id] = [user('alice'), conversation()];
      const a = await deployment.connect(alice);
      const [sent, read] = await Promise.all([
        a.ask('message:send', { conversationId: id, targetUserId: user('bob'), content: 'first' }),
        a.ask('conversation:read', { conversationId: id, sequence: 1 }),
      ]);
      assert.equal(shapes.success(sent).sequence, 1);
      assert.deepEqual(shapes.success(read), { unreadCount: 0 });
      a.close();
    }
  });

  test('both members see one order when both write at once', async () => {
    const { a, b, bob, id } = await pair();
    await a.send({ conversationId: id, targetUserId: bob, content: 'start' });
    await Promise.all(
      [a, b].flatMap((client, who) =>
        Array.from({ length: 100 }, (_, n) => client.send({ conversationId: id, content: `${who} ${n}` })),
      ),
    );
    await until(() => a.messages.length === 201 && b.messages.length === 201, { what: 'all messages' });
    assert.deepEqual(a.messages, b.messages);
    assert.deepEqual(a.messages.map((message) => message.sequence), Array.from({ length: 201 }, (_, n) => n + 1));
    for (const who of ['0', '1']) {
      const numbers = a.messages.filter((message) => message.content.startsWith(`${who} `)).map((message) => Number(message.content.slice(2)));
      assert.deepEqual(numbers, Array.from({ length: 100 }, (_, n) => n));
    }
  });
});

describe('idempotency', () => {
  test('the same key with the same payload gives the original message', async () => {
    const { a, b, bob, id } = await pair();
    const payload = { conversationId: id, targetUserId: bob, content: 'once', clientMessageId: key() };
    const first = shapes.success(await a.ask('message:send', payload));
    for (const again of [payload, { ...payload, targetUserId: undefined }]) {
      const answer = await a.ask('message:send', again);
      assert.deepEqual(shapes.success(answer, 'duplicate'), first);
      assert.equal(answer.duplicate, true);
    }
    await fence(a, [a, b], id);
    for (const client of [a, b]) {
      assert.equal(client.messages.filter((message) => message.content === 'once').length, 1);
    }
    assert.equal((await (await deployment.rest(bob)).history(id)).length, 2);
  });

  test('a duplicate without an ack is answered on that socket only', async () => {
    const { a, b, alice, bob, id } = await pair();
    const other = await deployment.connect(alice);
    const payload = { conversationId: id, targetUserId: bob, content: 'once', clientMessageId: key() };
    const first = await a.send(payload);
    await Promise.all([a, b, other].map((client) => client.message('once')));
    a.emit('message:send', payload);
    const answer = await a.next('message:receive', (payload) => payload.duplicate);
    assert.deepEqual(shapes.success(answer, 'duplicate'), first);
    await fence(a, [a, b, other], id);
    for (const client of [b, other]) {
      assert.equal(client.all('message:receive').filter((payload) => payload.data.content === 'once').length, 1);
    }
  });

  test('ten tries at once make one message', async () => {
    const { a, b, alice, bob, id } = await pair();
    const others = await Promise.all([deployment.connect(alice), deployment.connect(alice)]);
    const rest = await deployment.rest(alice);
    const clientMessageId = key();
    const answers = await Promise.all([
      ...[a, ...others].flatMap((client) =>
        Array.from({ length: 3 }, () => client.ask('message:send', { conversationId: id, targetUserId: bob, content: 'once', clientMessageId })),
      ),
      rest.post(`/app/conversations/${id}/messages`, { targetUserId: bob, content: 'once', clientMessageId }).then(({ body }) => body),
    ]);
    assert.equal(answers.length, 10);
    assert.ok(answers.every((answer) => answer.success), JSON.stringify(answers));
    assert.equal(new Set(answers.map((answer) => answer.data._id)).size, 1);
    assert.equal(answers.filter((answer) => !answer.duplicate).length, 1);
    await fence(a, [b], id);
    assert.equal(b.messages.filter((message) => message.content === 'once').length, 1);
  });

  test('the same key with another payload is a conflict', async () => {
    const { a, bob, id } = await pair();
    const clientMessageId = key();
    await a.send({ conversationId: id, targetUserId: bob, content: 'once', clientMessageId });
    await a.send({ conversationId: id, content: 'other' });
    for (const payload of [
      { conversationId: id, content: 'changed' },
      { conversationId: conversation(), targetUserId: bob, content: 'once' },
      { conversationId: id, content: 'once', attachments: [{ name: 'x', url: 'https://example.com' }] },
    ]) {
      const error = shapes.failure(await a.ask('message:send', { ...payload, clientMessageId }), 'idempotency_conflict');
      assert.equal(error.retryable, false);
    }
    assert.equal((await (await deployment.rest(bob)).history(id)).length, 2);
  });

  test('keys of different senders have nothing to do with each other', async () => {
    const { a, b, bob, id } = await pair();
    const clientMessageId = key();
    const first = await a.send({ conversationId: id, targetUserId: bob, content: 'same', clientMessageId });
    const second = await b.send({ conversationId: id, content: 'same', clientMessageId });
    assert.notEqual(first._id, second._id);
    assert.equal(second.sequence, 2);
  });

  test('a key is any string to 128 characters', async () => {
    const { a, bob, id } = await pair();
    for (const clientMessageId of ['x', ' ', '🦀'.repeat(128), 'line\nbreak', "'; drop table events; --", 'ä'.repeat(128)]) {
      const sent = await a.send({ conversationId: id, targetUserId: bob, content: 'x', clientMessageId });
      assert.equal(sent.clientMessageId, clientMessageId);
      const again = await a.ask('message:send', { conversationId: id, content: 'x', clientMessageId });
      assert.equal(again.data._id, sent._id);
    }
    for (const clientMessageId of ['', 'x'.repeat(129), 7, {}, []]) {
      shapes.failure(await a.ask('message:send', { conversationId: id, content: 'x', clientMessageId }), 'bad_request');
    }
  });

  test('without a key the same text twice is two messages', async () => {
    const { a, bob, id } = await pair();
    const first = await a.send({ conversationId: id, targetUserId: bob, content: 'twice' });
    const second = await a.send({ conversationId: id, targetUserId: bob, content: 'twice' });
    assert.notEqual(first._id, second._id);
  });
});

describe('who may send', () => {
  test('an unknown conversation with a target starts a direct one, the target never seen before', async () => {
    const [alice, bob, id] = [user('alice'), user('bob'), conversation()];
    const a = await deployment.connect(alice);
    await a.send({ conversationId: id, targetUserId: bob, content: 'Hello!' });
    const [started] = (await (await deployment.rest(bob)).get('/app/conversations')).body.data;
    assert.equal(started._id, id);
    assert.equal(started.type, 'direct');
    assert.deepEqual(started.memberIds.sort(), [alice, bob].sort());
  });

  test('an unknown conversation without a target is not found', async () => {
    const { a, id } = await pair();
    shapes.failure(await a.ask('message:send', { conversationId: id, content: 'x' }), 'not_found');
    shapes.failure(await a.ask('message:send', { conversationId: id, targetUserId: null, content: 'x' }), 'not_found');
  });

  test('nobody starts a conversation with themselves', async () => {
    const { a, alice, id } = await pair();
    shapes.failure(await a.ask('message:send', { conversationId: id, targetUserId: alice, content: 'x' }), 'bad_request');
    shapes.failure(await a.ask('message:send', { conversationId: id, content: 'x' }), 'not_found');
  });

  test('a stranger may not send, whatever target they name', async () => {
    const { a, b, alice, bob, id } = await pair();
    await a.send({ conversationId: id, targetUserId: bob, content: 'private' });
    const eve = user('eve');
    const e = await deployment.connect(eve);
    for (const targetUserId of [undefined, alice, bob, user()]) {
      shapes.failure(await e.ask('message:send', { conversationId: id, targetUserId, content: 'x' }), 'forbidden');
    }
    await fence(b, [a], id);
    assert.deepEqual(e.messages, []);
    assert.equal(a.messages.length, 2);
  });

  test('a member may not name a target that is no member', async () => {
    const { a, bob, id } = await pair();
    await a.send({ conversationId: id, targetUserId: bob, content: 'x' });
    shapes.failure(await a.ask('message:send', { conversationId: id, targetUserId: user('eve'), content: 'x' }), 'forbidden');
  });

  test('members may send without a target, and with one', async () => {
    const { a, b, alice, bob, id } = await pair();
    await a.send({ conversationId: id, targetUserId: bob, content: '1' });
    await b.send({ conversationId: id, content: '2' });
    await b.send({ conversationId: id, targetUserId: alice, content: '3' });
    await a.message('3');
    assert.deepEqual(a.messages.map((message) => message.content), ['1', '2', '3']);
  });

  test('in a group a target changes nothing about who receives', async () => {
    const [alice, bob, carol] = [user('alice'), user('bob'), user('carol')];
    const [a, b, c] = await Promise.all([alice, bob, carol].map((name) => deployment.connect(name)));
    const { data } = await a.ask('conversation:create', { memberIds: [bob, carol], title: 'Three' });
    await a.send({ conversationId: data._id, targetUserId: bob, content: 'to all' });
    for (const client of [a, b, c]) await client.message('to all');
    shapes.failure(await a.ask('message:send', { conversationId: data._id, targetUserId: user(), content: 'x' }), 'forbidden');
  });

  test('two who start the same conversation at once get one', async () => {
    const { a, b, alice, bob, id } = await pair();
    const answers = await Promise.all([
      a.ask('message:send', { conversationId: id, targetUserId: bob, content: 'from a' }),
      b.ask('message:send', { conversationId: id, targetUserId: alice, content: 'from b' }),
    ]);
    assert.deepEqual(answers.map((answer) => shapes.success(answer).sequence).sort(), [1, 2]);
    const eve = await deployment.connect(user('eve'));
    shapes.failure(await eve.ask('message:send', { conversationId: id, targetUserId: bob, content: 'x' }), 'forbidden');
  });
});

describe('over REST', () => {
  test('a message is made, once', async () => {
    const { a, b, alice, bob, id } = await pair();
    const rest = await deployment.rest(alice);
    const payload = { targetUserId: bob, content: 'by post', clientMessageId: key() };
    const created = await rest.post(`/app/conversations/${id}/messages`, payload);
    assert.equal(created.status, 201);
    const sent = shapes.message(shapes.success(created.body));
    const again = await rest.post(`/app/conversations/${id}/messages`, payload);
    assert.equal(again.status, 200);
    assert.deepEqual(shapes.success(again.body, 'duplicate'), sent);
    assert.equal(again.body.duplicate, true);
    const overSocket = await a.ask('message:send', { conversationId: id, ...payload });
    assert.deepEqual(shapes.success(overSocket, 'duplicate'), sent);
    shapes.refused(await rest.post(`/app/conversations/${id}/messages`, { ...payload, content: 'changed' }), 'idempotency_conflict');
    for (const client of [a, b]) assert.equal((await client.message('by post'))._id, sent._id);
    await fence(a, [b], id);
    assert.equal(b.messages.length, 2);
  });

  test('the same refusals come with their statuses', async () => {
    const { alice, bob, id } = await pair();
    const rest = await deployment.rest(alice);
    const path = `/app/conversations/${id}/messages`;
    shapes.refused(await rest.post(path, { content: 'x' }), 'not_found');
    shapes.refused(await rest.post(path, { content: 'x', targetUserId: alice }), 'bad_request');
    assert.equal((await rest.post(path, { content: 'x', targetUserId: bob })).status, 201);
    const eve = await deployment.rest(user('eve'));
    shapes.refused(await eve.post(path, { content: 'x' }), 'forbidden');
    shapes.refused(await rest.post(path, { content: 'x', targetUserId: user() }), 'forbidden');
  });

  test('ids are encoded where they travel', async () => {
    const [alice, bob] = [`${user('alice')}+x@example.com`, `${user('bob')}=|~:`];
    const id = `${conversation()}|@+=~:.`;
    const a = await deployment.rest(alice);
    const { status, body } = await a.post(`/app/conversations/${encodeURIComponent(id)}/messages`, { targetUserId: bob, content: 'x' });
    assert.equal(status, 201, JSON.stringify(body));
    assert.equal(body.data.conversationId, id);
    assert.equal((await (await deployment.rest(bob)).history(id)).length, 1);
  });
});
