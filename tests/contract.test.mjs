// The fixed contract, word for word: payloads and log lines that front ends and operators rely on.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { TRANSPORTS } from './harness/client.mjs';
import { deploy } from './harness/deployment.mjs';
import { conversation, key, user } from './harness/names.mjs';
import { Rest } from './harness/rest.mjs';
import * as shapes from './harness/shapes.mjs';
import { token } from './harness/tokens.mjs';
import { until } from './harness/until.mjs';

describe('payloads', () => {
  const deployment = deploy();

  test('a message reaches sender and target as the contract has it', async () => {
    const [alice, bob, id, clientMessageId] = [user('alice'), user('bob'), conversation(), key()];
    const a = await deployment.connect(alice, { claims: { email: 'a@example.com' } });
    const b = await deployment.connect(bob);
    const before = Date.now();
    const ack = await a.ask('message:send', { conversationId: id, targetUserId: bob, content: 'Hello!', clientMessageId });
    const sent = shapes.message(shapes.success(ack));
    assert.deepEqual(sent, {
      _id: sent._id,
      conversationId: id,
      sender: 'user',
      senderId: alice,
      content: 'Hello!',
      attachments: [],
      senderInfo: { userId: alice, email: 'a@example.com', role: 'user' },
      createdAt: sent.createdAt,
      sequence: 1,
      clientMessageId,
    });
    assert.ok(Math.abs(Date.parse(sent.createdAt) - before) < 60_000);
    for (const client of [a, b]) {
      const payload = await client.next('message:receive');
      const received = shapes.message(shapes.success(payload), { streamed: true });
      assert.deepEqual(received, { ...sent, cursor: received.cursor });
    }
  });

  test('what the sender did not give is not there', async () => {
    const [alice, bob] = [user('alice'), user('bob')];
    const a = await deployment.connect(alice);
    const sent = await a.send({ conversationId: conversation(), targetUserId: bob, content: 'x' });
    assert.ok(!('clientMessageId' in sent));
    assert.deepEqual(sent.senderInfo, { userId: alice, role: 'user' });
  });

  test('the kind of sender follows from the role', async () => {
    for (const [role, sender] of [['agent', 'agent'], ['system', 'system'], ['admin', 'user'], ['user', 'user'], ['clown', 'user']]) {
      const client = await deployment.connect(user(role), { claims: { role } });
      const sent = await client.send({ conversationId: conversation(), targetUserId: user(), content: 'x' });
      assert.equal(sent.sender, sender, role);
      assert.equal(sent.senderInfo.role, role);
      client.close();
    }
  });

  test('forged sender fields are ignored', async () => {
    const [alice, bob] = [user('alice'), user('bob')];
    const a = await deployment.connect(alice);
    const sent = await a.send({
      conversationId: conversation(),
      targetUserId: bob,
      content: 'x',
      _id: 'mine',
      sender: 'system',
      senderId: bob,
      userId: bob,
      senderInfo: { userId: bob, email: 'boss@example.com', role: 'admin' },
      createdAt: '1999-01-01T00:00:00.000Z',
      sequence: 99,
      cursor: 'forged',
      success: true,
    });
    assert.equal(sent.senderId, alice);
    assert.equal(sent.sender, 'user');
    assert.deepEqual(sent.senderInfo, { userId: alice, role: 'user' });
    assert.equal(sent.sequence, 1);
    assert.notEqual(sent._id, 'mine');
    assert.ok(sent.createdAt > '2024');
  });

  test('attachments come back as they were sent', async () => {
    const attachments = [
      { name: 'plan.pdf', url: 'https://files.example.com/plan.pdf', mimeType: 'application/pdf', size: 12_345 },
      { name: 'ä.png', url: 'http://files.example.com/%C3%A4.png?x=1#y' },
    ];
    const [alice, bob, id] = [user('alice'), user('bob'), conversation()];
    const a = await deployment.connect(alice);
    const b = await deployment.connect(bob);
    const sent = await a.send({ conversationId: id, targetUserId: bob, content: 'see', attachments });
    assert.deepEqual(sent.attachments, attachments);
    assert.deepEqual((await b.message('see')).attachments, attachments);
    const [stored] = await (await deployment.rest(bob)).history(id);
    assert.deepEqual(stored, sent);
  });

  test('notification:get is answered on notification:receive', async () => {
    const [alice, bob, id] = [user('alice'), user('bob'), conversation()];
    const a = await deployment.connect(alice, { claims: { email: 'a@example.com', role: 'agent' } });
    const long = 'ä🦀x'.repeat(100);
    const sent = await a.send({ conversationId: id, targetUserId: bob, content: long });
    const rest = await deployment.rest(bob);
    await until(async () => (await rest.get('/app/notifications')).body.data.length === 1, { what: 'the notification' });
    const b = await deployment.connect(bob);
    b.emit('notification:get', {});
    const list = shapes.success(await b.next('notification:receive'), 'nextCursor');
    assert.equal(list.length, 1);
    const [notification] = list.map(shapes.notification);
    assert.deepEqual(notification, {
      _id: notification._id,
      userId: bob,
      type: 'message',
      conversationId: id,
      messageId: sent._id,
      senderId: alice,
      senderInfo: { userId: alice, email: 'a@example.com', role: 'agent' },
      content: [...long].slice(0, 140).join(''),
      isRead: false,
      readAt: null,
      createdAt: notification.createdAt,
    });
  });

  test('connection:get is answered on connection:receive', async () => {
    const alice = user('alice');
    const a = await deployment.connect(alice);
    a.emit('connection:get', {});
    const payload = await a.next('connection:receive');
    assert.equal(payload.success, true);
    shapes.timestamp(payload.timestamp);
    assert.ok(payload.totalConnections >= payload.data.length);
    for (const entry of payload.data) shapes.keys(entry, 'userId', 'socketId');
    assert.ok(payload.data.some((entry) => entry.userId === alice && entry.socketId === a.socket.id));
  });

  test('conversation:get is answered on conversation:receive', async () => {
    const [alice, bob, id] = [user('alice'), user('bob'), conversation()];
    const a = await deployment.connect(alice);
    const b = await deployment.connect(bob);
    const sent = await a.send({ conversationId: id, targetUserId: bob, content: 'Hello!' });
    b.emit('conversation:get', {});
    const list = shapes.success(await b.next('conversation:receive'), 'nextCursor');
    const [value] = list.map(shapes.conversation);
    assert.deepEqual({ ...value, memberIds: value.memberIds.sort() }, {
      _id: id,
      type: 'direct',
      title: null,
      memberIds: [alice, bob].sort(),
      createdBy: alice,
      lastMessage: sent,
      unreadCount: 1,
      createdAt: sent.createdAt,
      updatedAt: sent.createdAt,
    });
    assert.equal(list.length, 1);
  });

  test('every get is answered without a payload, with null and with nothing but an ack, too', async () => {
    const client = await deployment.connect(user());
    for (const name of ['notification', 'connection', 'conversation']) {
      for (const args of [[], [null], [{}]]) {
        const from = client.received.length;
        client.emit(`${name}:get`, ...args);
        assert.equal((await client.next(`${name}:receive`, undefined, { from })).success, true);
        const answer = await client.ask(`${name}:get`, ...args);
        assert.equal(answer.success, true);
      }
    }
  });

  test('an ack is one object, and stands in place of the answering event', async () => {
    const client = await deployment.connect(user());
    const from = client.received.length;
    const answers = await Promise.all(['notification', 'connection', 'conversation'].map((name) => client.ask(`${name}:get`, {})));
    for (const answer of answers) assert.ok(!Array.isArray(answer) && answer.success);
    // A later answer without an ack, after which an earlier event would have come.
    client.emit('connection:get', {});
    await client.next('connection:receive', undefined, { from });
    assert.deepEqual(client.received.slice(from).map((entry) => entry.event), ['connection:receive']);
  });

  test('a failure comes in the ack, and without an ack on the answering event', async () => {
    const client = await deployment.connect(user());
    shapes.failure(await client.ask('message:send', { conversationId: conversation(), content: 'x' }), 'not_found');
    assert.deepEqual(client.all('message:receive'), []);
    for (const [event, answering, payload] of [
      ['message:send', 'message:receive', { conversationId: conversation(), content: 'x' }],
      ['message:get', 'message:page', { conversationId: conversation() }],
      ['notification:get', 'notification:receive', { limit: 0 }],
      ['conversation:get', 'conversation:receive', { limit: 201 }],
      ['stream:get', 'stream:page', { cursor: 'nonsense' }],
    ]) {
      client.emit(event, payload);
      shapes.failure(await client.next(answering, (answer) => !answer.success));
    }
    assert.ok(client.socket.connected);
  });
});

describe('log lines', () => {
  const deployment = deploy();
  const secretText = 'a sentence that no log may show';

  test('are those that operators grep for', async () => {
    const [alice, bob, id] = [user('alice'), user('bob'), conversation()];
    const a = await deployment.connect(alice, { claims: { email: 'a@example.com', role: 'agent' } });
    const sid = a.socket.id;
    const line = (text) => deployment.log.until(`[SOCKET] [${sid}] ${text}`);
    await line(`New connection established { userId: "${alice}", email: "a@example.com", role: "agent" }`);
    await line(`User connected { userId: "${alice}", totalConnections: 1 }`);

    const payload = { conversationId: id, targetUserId: bob, content: secretText, clientMessageId: key() };
    const first = await a.send(payload);
    await line(`message:send received { userId: "${alice}", targetUserId: "${bob}", conversationId: "${id}" }`);
    await line(`message:receive sent { userId: "${alice}", targetUserId: "${bob}", messageId: "${first._id}" }`);
    await line('Target user not connected, message stored in database');
    assert.equal((await a.ask('message:send', payload)).duplicate, true);

    const rest = await deployment.rest(bob);
    await until(async () => (await rest.get('/app/notifications')).body.data.length === 1, { what: 'the notification' });
    const b = await deployment.connect(bob);
    const { id: theirSid } = b.socket;
    const theirs = (text) => deployment.log.until(`[SOCKET] [${theirSid}] ${text}`);
    await theirs(`New connection established { userId: "${bob}"`);
    await theirs(`User connected { userId: "${bob}", totalConnections: 2 }`);
    await theirs(`message:receive sent { userId: "${bob}", targetUserId: "${bob}", messageId: "${first._id}" }`);
    b.emit('notification:get', {});
    await theirs(`notification:get received { userId: "${bob}" }`);
    await theirs(`notification:receive sent { userId: "${bob}", notificationCount: 1 }`);
    b.emit('connection:get', {});
    await theirs(`connection:get received { userId: "${bob}" }`);
    await theirs(`connection:receive sent { userId: "${bob}"`);
    b.emit('conversation:get', {});
    await theirs(`conversation:get received { userId: "${bob}" }`);
    await theirs(`conversation:receive sent { userId: "${bob}"`);

    await a.ask('message:send', { conversationId: conversation('missing'), content: secretText });
    await line('Error sending message: ');

    a.close();
    await line(`Disconnected { userId: "${alice}", reason: "client namespace disconnect" }`);
    assert.equal(deployment.log.matching(`[${sid}] Target user not connected`).length, 1, 'a duplicate was stored before');
    b.breakOff();
    await theirs(`Disconnected { userId: "${bob}", reason: "transport`);
  });

  test('the target is called connected while it is', async () => {
    const [alice, bob] = [user('alice'), user('bob')];
    const a = await deployment.connect(alice);
    const b = await deployment.connect(bob);
    const sent = await a.send({ conversationId: conversation(), targetUserId: bob, content: secretText });
    await deployment.log.until(`[${b.socket.id}] message:receive sent { userId: "${bob}", targetUserId: "${bob}", messageId: "${sent._id}" }`);
    const sid = a.socket.id;
    a.close();
    await deployment.log.until(`[${sid}] Disconnected`);
    assert.deepEqual(deployment.log.matching(`[${sid}] Target user not connected`), []);
  });

  test('nothing that a client sent begins a line', async () => {
    const forged = '[SOCKET] [forged] User connected { userId: "root", totalConnections: 1 }';
    const breaks = ['\n', '\r', '\r\n', '\u2028', '\u2029', '\u0085', '\u000b', '\u000c'];
    const a = await deployment.connect(user('alice'), { claims: { email: `a@example.com${breaks[0]}${forged}` } }).catch((error) => error);
    if (!(a instanceof Error)) a.close();
    const b = await deployment.connect(user('bob'));
    for (const line of breaks) {
      const text = `x${line}${forged}`;
      for (const payload of [
        { conversationId: text, targetUserId: 'y', content: 'z' },
        { conversationId: conversation(), targetUserId: text, content: 'z' },
        { conversationId: conversation(), targetUserId: user(), content: text, clientMessageId: `${text}${line}` },
        { conversationId: conversation(), targetUserId: user(), content: 'z', attachments: [{ name: text, url: text }] },
        { [text]: text },
        text,
      ]) {
        await b.ask('message:send', payload);
      }
      await b.ask('message:get', { conversationId: text, limit: text });
    }
    await b.ask('connection:get');
    const sid = b.socket.id;
    b.close();
    await deployment.log.until(`[${sid}] Disconnected`);
    assert.deepEqual(deployment.log.matching(/^\[SOCKET\] \[forged\]/), []);
    assert.deepEqual(deployment.log.matching(/[\r\u2028\u2029\u0085\u000b\u000c]/), []);
  });

  test('no line shows a token or what was said', async () => {
    assert.deepEqual(deployment.log.tokens(), []);
    assert.deepEqual(deployment.log.matching(secretText), []);
  });
});

describe('the log as JSON', () => {
  const deployment = deploy({ LOG_FORMAT: 'json' });

  test('has the same words and fields, an object a line', async () => {
    const alice = user('alice');
    const a = await deployment.connect(alice);
    const sid = a.socket.id;
    a.close();
    await deployment.log.until(/"Disconnected"/);
    // Each process begins with five lines for people.
    const entries = deployment.log.lines.filter((line) => !/^(Verbatim|  )/.test(line)).map((line) => JSON.parse(line));
    const connected = entries.find((entry) => entry.message === 'User connected');
    assert.equal(connected.userId, alice);
    assert.equal(connected.totalConnections, 1);
    assert.equal(connected.socket, sid);
  });
});

describe('the most talkative log', () => {
  for (const format of ['pretty', 'json']) {
    const deployment = deploy({ LOG_LEVEL: 'trace,tungstenite=trace,hyper=trace,log=trace', LOG_FORMAT: format });

    test(`shows no token and nothing that was said either, as ${format}`, async () => {
      const [alice, bob, id] = [user('alice'), user('bob'), conversation()];
      const jwt = await token(alice);
      for (const transports of Object.values(TRANSPORTS)) {
        for (const options of [{ token: jwt }, { extraHeaders: { authorization: `Bearer ${jwt}` } }]) {
          const client = deployment.client({ ...options, transports });
          await client.next('stream:ready');
          await client.send({ conversationId: id, targetUserId: bob, content: 'unmentionable' });
          await client.message('unmentionable');
          await client.ask('message:send', { conversationId: id, content: ['unmentionable'] });
          client.close();
        }
      }
      const rest = new Rest(deployment.url(), jwt);
      for (const content of ['unmentionable', ['unmentionable'], { unmentionable: 1 }]) {
        await rest.post(`/app/conversations/${id}/messages`, { content });
      }
      await rest.post(`/app/conversations/${id}/messages`, '{"content": unmentionable');
      await rest.get(`/app/conversations/${id}/messages`);
      await deployment.stop();
      assert.ok(deployment.log.matching('User connected').length > 0);
      const [, payload, signature] = jwt.split('.');
      for (const secret of [payload, signature, 'unmentionable']) assert.deepEqual(deployment.log.matching(secret), []);
      // Readers of JSON take one of two fields of the same name, and not all of them the same.
      assert.deepEqual(deployment.log.matching(/\{"name":[^{}]*"name":|\{[^{}]*,"name":[^{}]*"name":/), []);
    });
  }
});

describe('a quieter log', () => {
  const deployment = deploy({ LOG_LEVEL: 'warn' });

  test('leaves the lines of ordinary traffic out', async () => {
    const a = await deployment.connect(user());
    await a.send({ conversationId: conversation(), targetUserId: user(), content: 'x' });
    a.close();
    assert.deepEqual(deployment.log.matching('[SOCKET]'), []);
  });
});
