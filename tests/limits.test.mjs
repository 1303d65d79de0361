// What bad input gets, and each limit: the connection lives unless the contract says otherwise, the process
// always, and the log tells what was refused without showing it.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { TRANSPORTS } from './harness/client.mjs';
import { deploy as deployed } from './harness/deployment.mjs';
import { conversation, key, user } from './harness/names.mjs';
import { http, Polling, Tcp, Wire } from './harness/raw.mjs';
import * as shapes from './harness/shapes.mjs';
import { now, token } from './harness/tokens.mjs';
import { until } from './harness/until.mjs';

/** In everything that is refused here, and so in no log line. */
const MARK = 'unmentionable';

/** On one gateway: each counts by itself. */
const deploy = (settings) => deployed(settings, { gateways: 1 });

describe('a bad payload', () => {
  const deployment = deploy();
  const good = { targetUserId: 'somebody', content: 'x' };
  const nested = (depth) => JSON.parse(`${'['.repeat(depth)}${']'.repeat(depth)}`);
  const file = { name: 'plan.pdf', url: 'https://files.example.com/plan.pdf' };

  const payloads = {
    'that is a number': 7,
    'that is a string': MARK,
    'that is true': true,
    'that is a list': [good],
    'that is an empty list': [],
    'without a conversation': { ...good },
    'with null for a conversation': { ...good, conversationId: null },
    'with a number for a conversation': { ...good, conversationId: 7 },
    'with an object for a conversation': { ...good, conversationId: { id: 'x' } },
    'with an empty conversation': { ...good, conversationId: '' },
    'with a blank in the conversation': { ...good, conversationId: `${MARK} x` },
    'with a tab in the conversation': { ...good, conversationId: 'a\tb' },
    'with a line break in the conversation': { ...good, conversationId: 'a\nb' },
    'with a NUL in the conversation': { ...good, conversationId: 'a\u0000b' },
    'with a wildcard for a conversation': { ...good, conversationId: '*' },
    'with the other wildcard in the conversation': { ...good, conversationId: 'a.>' },
    'with a slash in the conversation': { ...good, conversationId: '../x' },
    'with a percent sign in the conversation': { ...good, conversationId: 'a%20b' },
    'with letters beyond ASCII in the conversation': { ...good, conversationId: 'gespräch' },
    'with a conversation of 129 characters': { ...good, conversationId: 'c'.repeat(129) },
    'with a conversation of 30 kB': { ...good, conversationId: 'c'.repeat(30_000) },
    'with a number for a target': { content: 'x', targetUserId: 7 },
    'with an empty target': { content: 'x', targetUserId: '' },
    'with a blank in the target': { content: 'x', targetUserId: 'a b' },
    'with a wildcard for a target': { content: 'x', targetUserId: '>' },
    'with a target of 129 characters': { content: 'x', targetUserId: 'u'.repeat(129) },
    'without content': { targetUserId: 'x' },
    'with null for content': { ...good, content: null },
    'with empty content': { ...good, content: '' },
    'with a number for content': { ...good, content: 7 },
    'with an object for content': { ...good, content: { text: MARK } },
    'with a list for content': { ...good, content: [MARK] },
    'with a NUL in the content': { ...good, content: `${MARK}\u0000` },
    'with attachments that are no list': { ...good, attachments: file },
    'with an attachment that is no object': { ...good, attachments: ['https://example.com'] },
    'with an attachment without a name': { ...good, attachments: [{ url: file.url }] },
    'with an attachment with an empty name': { ...good, attachments: [{ ...file, name: '' }] },
    'with an attachment without a URL': { ...good, attachments: [{ name: 'x' }] },
    'with an attachment with a script for a URL': { ...good, attachments: [{ ...file, url: 'javascript:alert(1)' }] },
    'with an attachment with data for a URL': { ...good, attachments: [{ ...file, url: 'data:text/html,x' }] },
    'with an attachment with an ftp URL': { ...good, attachments: [{ ...file, url: 'ftp://example.com/x' }] },
    'with an attachment with half a URL': { ...good, attachments: [{ ...file, url: '/x' }] },
    'with an attachment with a number for a type': { ...good, attachments: [{ ...file, mimeType: 7 }] },
    'with an attachment of negative size': { ...good, attachments: [{ ...file, size: -1 }] },
    'with an attachment with a string for a size': { ...good, attachments: [{ ...file, size: '1' }] },
    'with eleven attachments': { ...good, attachments: Array(11).fill(file) },
    'nested 1,000 deep': { ...good, conversationId: nested(1_000) },
  };

  for (const [name, payload] of Object.entries(payloads)) {
    test(`${name} is refused, and nothing comes of it`, async () => {
      const client = await deployment.connect(user());
      const id = conversation();
      const isObject = typeof payload === 'object' && !Array.isArray(payload);
      const sent = isObject && !name.includes('conversation') && !name.includes('nested') ? { conversationId: id, ...payload } : payload;
      const error = shapes.failure(await client.ask('message:send', sent), 'bad_request');
      assert.ok(!JSON.stringify(error).includes(MARK), 'the error repeats what was sent');
      client.emit('message:send', sent);
      shapes.failure(await client.next('message:receive'), 'bad_request');
      shapes.failure(await client.ask('message:get', { conversationId: id }), 'not_found');
      // The connection goes on as if nothing had been.
      await client.send({ conversationId: id, targetUserId: user(), content: 'good' });
      assert.deepEqual(client.disconnects, []);
      client.close();
    });
  }

  test('in an unknown field is ignored, however deep', async () => {
    const client = await deployment.connect(user());
    const payload = { conversationId: conversation(), ...good, extra: nested(50) };
    assert.equal((await client.send(payload)).content, 'x');
  });

  test('is as bad over polling', async () => {
    const client = await deployment.connect(user(), { transports: TRANSPORTS.polling });
    for (const payload of Object.values(payloads)) {
      if (payload?.targetUserId && payload.conversationId === undefined) continue;
      shapes.failure(await client.ask('message:send', payload), 'bad_request');
    }
    assert.ok(client.socket.connected);
  });

  test('is as bad over REST', async () => {
    const rest = await deployment.rest(user());
    for (const [name, payload] of Object.entries(payloads)) {
      if (name.includes('conversation')) continue;
      const body = JSON.stringify(payload);
      const answer = await rest.post(`/app/conversations/${conversation()}/messages`, body, { headers: { 'content-type': 'application/json' } });
      shapes.refused(answer, 'bad_request');
    }
    for (const id of ['a b', '*', 'a.>', 'gespräch', 'a\nb', 'a\u0000b', 'c'.repeat(129)]) {
      shapes.refused(await rest.post(`/app/conversations/${encodeURIComponent(id)}/messages`, good), 'bad_request');
    }
  });

  const odd = {
    'that is not Unicode': '"\\ud800"',
    'nested 30,000 deep': `${'['.repeat(30_000)}${']'.repeat(30_000)}`,
    'nested 10,000 deep in objects': `${'{"x":'.repeat(10_000)}1${'}'.repeat(10_000)}`,
    'with a number beyond all bounds': '1e999999',
  };
  for (const [name, content] of Object.entries(odd)) {
    test(`${name} is refused`, async () => {
      const wire = await Wire.connect(deployment.url(), { token: await token(user()) });
      wire.send(`420["message:send",{"conversationId":"${conversation()}","targetUserId":"x","content":${content}}]`);
      const answer = await wire.frame((frame) => frame.startsWith('430'));
      shapes.failure(JSON.parse(answer.slice(3))[0], 'bad_request');
      wire.send('421["connection:get"]');
      await wire.frame((frame) => frame.startsWith('431'));
      wire.close();
    });
  }

  test('of the wrong kind is refused by every other event', async () => {
    const client = await deployment.connect(user());
    for (const event of ['notification:get', 'notification:read', 'connection:get', 'conversation:get', 'conversation:create', 'conversation:read', 'message:get', 'stream:get', 'stream:ack']) {
      for (const payload of [7, MARK, true, [], [[]]]) {
        shapes.failure(await client.ask(event, payload), 'bad_request');
      }
    }
    assert.ok(client.socket.connected);
  });

  test('behind a good one is ignored: the first argument counts', async () => {
    const client = await deployment.connect(user());
    const answer = await client.ask('message:send', { conversationId: conversation(), ...good }, 'second', { third: 3 });
    assert.equal(shapes.success(answer).content, 'x');
  });

  test('is told of by the log, which does not show it', async () => {
    assert.ok(deployment.log.matching('Error sending message: ').length > 0);
    // What was asked is told, with ids as they came; what was said is not.
    const lines = deployment.log.lines.filter((line) => !line.includes('message:send received'));
    assert.deepEqual(lines.filter((line) => line.includes(MARK)), []);
    assert.deepEqual(deployment.log.lines.filter((line) => line.length > 1_000), []);
    assert.equal((await deployment.anonymous.get('/healthz')).status, 200);
  });
});

describe('a binary packet', () => {
  const deployment = deploy();

  for (const [transport, transports] of Object.entries(TRANSPORTS)) {
    test(`is refused over ${transport}, and the connection lives`, async () => {
      const client = await deployment.connect(user(), { transports });
      if (transport === 'upgrade') await until(() => client.socket.io.engine.transport.name === 'websocket');
      for (const payload of [Buffer.from('x'), { conversationId: conversation(), targetUserId: 'x', content: Buffer.from('x') }]) {
        shapes.failure(await client.ask('message:send', payload), 'bad_request');
        const from = client.received.length;
        client.emit('message:send', payload);
        shapes.failure(await client.next('message:receive', undefined, { from }), 'bad_request');
      }
      client.emit('no such event', Buffer.from('x'));
      await client.send({ conversationId: conversation(), targetUserId: user(), content: 'good' });
      assert.ok(client.socket.connected);
    });
  }
});

describe('a message’s text', () => {
  const deployment = deploy();

  test('has 1 to 32,768 bytes, in whatever script', async () => {
    const client = await deployment.connect(user());
    const id = conversation();
    for (const content of ['x', ' ', 'x'.repeat(32_768), '🦀'.repeat(8_192), 'ä'.repeat(16_384), '\u0001\u007f\u202e"\\\n']) {
      const sent = await client.send({ conversationId: id, targetUserId: 'somebody', content });
      assert.equal(sent.content, content);
    }
    for (const content of ['x'.repeat(32_769), '🦀'.repeat(8_193), `x${'ä'.repeat(16_384)}`]) {
      const error = shapes.failure(await client.ask('message:send', { conversationId: id, content }));
      assert.ok(['bad_request', 'payload_too_large'].includes(error.code));
    }
    const stored = await (await deployment.rest('somebody')).history(id);
    assert.equal(stored.length, 6);
  });

  test('comes with up to ten attachments', async () => {
    const client = await deployment.connect(user());
    const attachments = Array.from({ length: 10 }, (_, n) => ({ name: `${n}`, url: `https://example.com/${n}`, size: n }));
    const sent = await client.send({ conversationId: conversation(), targetUserId: user(), content: 'x', attachments });
    assert.deepEqual(sent.attachments, attachments);
  });
});

describe('a packet', () => {
  const deployment = deploy();
  const MAX = 65_536;
  const send = (padding) => `427["message:send",{"conversationId":"${conversation()}","targetUserId":"x","content":"y","padding":"${padding}"}]`;
  const sized = (bytes) => send('p'.repeat(bytes - send('').length));

  test('of 64 KiB is taken over WebSocket, and one byte more closes the connection', async () => {
    const wire = await Wire.connect(deployment.url(), { token: await token(user()) });
    wire.send(sized(MAX - 1));
    const answer = await wire.frame((frame) => frame.startsWith('437'));
    shapes.success(JSON.parse(answer.slice(3))[0]);
    wire.send(sized(MAX + 100));
    await wire.ended();
  });

  test('far over the limit closes a client’s connection, which comes back by itself', async () => {
    const client = deployment.client({ token: await token(user()), reconnection: true, reconnectionDelay: 1 });
    await client.next('stream:ready');
    client.emit('message:send', { conversationId: conversation(), targetUserId: 'x', content: 'x'.repeat(1_000_000) });
    assert.match(await client.disconnected(), /^transport (close|error)$/);
    await until(() => client.all('stream:ready').length === 2, { what: 'the reconnect' });
  });

  test('in fragments is no larger', async () => {
    const wire = await Wire.connect(deployment.url(), { token: await token(user()) });
    for (let n = 0; n < 100 && wire.closed === undefined; n += 1) {
      wire.socket.send('x'.repeat(10_000), { fin: false }, () => {});
    }
    await wire.ended();
  });

  test('of 64 KiB is taken over polling, and a larger one answered 413', async () => {
    const session = await Polling.connect(deployment.url(), await token(user()));
    assert.equal((await session.post(sized(MAX - 1))).status, 200);
    const { status } = await session.post(sized(MAX + 1_000));
    assert.equal(status, 413);
    const large = await Polling.connect(deployment.url(), await token(user()));
    assert.equal((await large.post('4'.repeat(5_000_000)).catch(() => ({ status: 413 }))).status, 413);
    assert.equal((await deployment.anonymous.get('/healthz')).status, 200);
  });

  test('malformed closes a WebSocket', async () => {
    for (const packet of ['x', '9', '4', '49', '42', '42{', '42[', '42["message:send"', '42{"x":1}', '42[7]', '42[]', '4/', '451-', '45x-["y"]', '', '4294967296999999999999["x"]']) {
      const wire = await Wire.connect(deployment.url(), { token: await token(user()) });
      wire.send(packet);
      wire.send('42["connection:get",{}]');
      await until(() => wire.closed !== undefined || wire.frames.some((frame) => typeof frame === 'string' && frame.includes('connection:receive')), { what: `an answer to ${packet}` });
      wire.close();
    }
    for (const packet of ['x', '42{', '42["message:send"']) {
      const wire = await Wire.connect(deployment.url(), { token: await token(user()) });
      wire.send(packet);
      await wire.ended();
    }
    assert.equal((await deployment.anonymous.get('/healthz')).status, 200);
  });

  test('malformed is answered 400 over polling', async () => {
    const session = await Polling.connect(deployment.url(), await token(user()));
    assert.equal((await session.post('x')).status, 400);
    const bytes = await Polling.connect(deployment.url(), await token(user()));
    assert.equal((await bytes.post(Buffer.from([0x34, 0x32, 0xff, 0xfe, 0xfd]))).status, 400);
    assert.equal((await new Polling(deployment.url()).post('40')).status, 400);
    const unknown = new Polling(deployment.url());
    unknown.sid = 'nosuchsession';
    assert.equal((await unknown.get()).status, 400);
  });

  test('that belongs to no protocol does the server no harm', async () => {
    for (const say of ['\r\n\r\n', 'GET / HTTP/9.9\r\n\r\n', `GET /${'x'.repeat(100_000)} HTTP/1.1\r\nHost: x\r\n\r\n`, `GET / HTTP/1.1\r\n${'X: y\r\n'.repeat(1_000)}\r\n`, '\x16\x03\x01\x02\x00\x01\x00\x01\xfc', 'POST /app/conversations HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\nzz\r\n']) {
      const connection = new Tcp(deployment.url(), say);
      await until(() => connection.closed || connection.text.startsWith('HTTP/1.1 4'), { what: `the end after ${JSON.stringify(say.slice(0, 40))}` });
      connection.socket.destroy();
    }
    assert.equal((await deployment.anonymous.get('/healthz')).status, 200);
  });
});

describe('rates', () => {
  const deployment = deploy({ RATE_LIMIT_MESSAGES_PER_SECOND: undefined, RATE_LIMIT_REQUESTS_PER_SECOND: undefined });
  const flood = (client, count, id, target) =>
    Promise.all(Array.from({ length: count }, (_, n) => client.ask('message:send', { conversationId: id, targetUserId: target, content: `${n}` })));

  test('of sends: a burst of 60 and 20 a second, for all sockets of a user and REST together', async () => {
    const [alice, bob, id] = [user('alice'), user('bob'), conversation()];
    const [first, second] = [await deployment.connect(alice), await deployment.connect(alice)];
    const rest = await deployment.rest(alice);
    const started = performance.now();
    await first.send({ conversationId: id, targetUserId: bob, content: 'first' });
    const answers = [...(await flood(first, 60, id, bob)), ...(await flood(second, 60, id, bob))];
    const byPost = await rest.post(`/app/conversations/${id}/messages`, { content: 'x' });
    const seconds = (performance.now() - started) / 1_000;
    const good = answers.filter((answer) => answer.success).length + 1 + (byPost.status === 201 ? 1 : 0);
    assert.ok(good >= 60, `${good} of a burst of 60`);
    assert.ok(good <= 60 + Math.ceil(20 * seconds) + 1, `${good} in ${seconds} s`);
    for (const answer of answers.filter((answer) => !answer.success)) {
      const error = shapes.failure(answer, 'rate_limited');
      assert.ok(error.retryAfterMs >= 1 && error.retryAfterMs <= 10_000);
    }
    const stored = await (await deployment.rest(bob)).history(id);
    assert.equal(stored.length, good, 'what was refused was not stored, and all else was');
    // Who waits as told gets through.
    const refused = await until(async () => {
      const answer = await first.ask('message:send', { conversationId: id, content: 'again' });
      return answer.success ? false : answer.error;
    }, { what: 'a refusal' });
    const due = performance.now() + refused.retryAfterMs;
    await until(() => performance.now() > due);
    await until(async () => (await first.ask('message:send', { conversationId: id, content: 'later' })).success, { timeout: 2_000 });
    // Others are not concerned.
    const other = await deployment.connect(bob);
    await other.send({ conversationId: id, content: 'mine' });
  });

  test('of sends over REST: 429 with Retry-After', async () => {
    const [alice, bob, id] = [user('alice'), user('bob'), conversation()];
    const rest = await deployment.rest(alice);
    const answers = await Promise.all(Array.from({ length: 120 }, () => rest.post(`/app/conversations/${id}/messages`, { targetUserId: bob, content: 'x' })));
    const refused = answers.filter((answer) => answer.status === 429);
    assert.ok(refused.length > 0);
    for (const answer of refused) {
      shapes.refused(answer, 'rate_limited');
      assert.match(answer.headers.get('retry-after'), /^[1-9]\d*$/);
    }
  });

  test('of other requests: 100 a second', async () => {
    const client = await deployment.connect(user());
    const answers = await Promise.all(Array.from({ length: 400 }, () => client.ask('notification:get', {})));
    const refused = answers.filter((answer) => !answer.success);
    assert.ok(refused.length > 0);
    assert.ok(answers.length - refused.length >= 100);
    for (const answer of refused) assert.ok(shapes.failure(answer, 'rate_limited').retryAfterMs > 0);
    assert.ok(client.socket.connected);
  });

  test('a flood ends the socket, which is told why', async () => {
    const client = await deployment.connect(user());
    const id = conversation();
    for (let n = 0; n < 2_500; n += 1) client.emit('message:send', { conversationId: id, targetUserId: 'x', content: `${n}` });
    assert.equal(await client.disconnected(), 'io server disconnect');
    shapes.failure(client.all('connection:closing')[0], 'rate_limited');
    await deployment.log.until(/Disconnected \{ userId: "[^"]+", reason: "server namespace disconnect" \}/);
    const calm = await deployment.connect(user());
    await calm.send({ conversationId: conversation(), targetUserId: user(), content: 'x' });
  });
});

describe('requests of one socket', () => {
  const deployment = deploy({ MAX_IN_FLIGHT_PER_SOCKET: '2', MAX_WAITING_PER_SOCKET: '10' });

  test('wait in a bounded queue, past which they are refused, and keep their order', async () => {
    const [alice, bob, id] = [user('alice'), user('bob'), conversation()];
    const session = await Polling.connect(deployment.url(), await token(alice));
    // One body, so that all come at once.
    const packets = Array.from({ length: 200 }, (_, n) => `42${n}["message:send",{"conversationId":"${id}","targetUserId":"${bob}","content":"${n}"}]`);
    assert.equal((await session.postAll(packets)).status, 200);
    const answers = new Map();
    await until(async () => {
      for (const packet of await session.packets()) {
        const [, number, body] = /^43(\d+)(\[.*)$/s.exec(packet) ?? [];
        if (number !== undefined) answers.set(Number(number), JSON.parse(body)[0]);
      }
      return answers.size === packets.length;
    }, { what: 'all answers' });
    const good = [...answers].filter(([, answer]) => answer.success);
    const refused = [...answers].filter(([, answer]) => !answer.success);
    assert.ok(refused.length > 0, 'nothing was refused');
    for (const [, answer] of refused) shapes.failure(answer, 'rate_limited');
    assert.ok(good.length >= 12, `${good.length} were taken`);
    const stored = await (await deployment.rest(bob)).history(id);
    const numbers = stored.map((message) => Number(message.content));
    assert.deepEqual(numbers, good.map(([number]) => number).sort((x, y) => x - y));
    assert.deepEqual(stored.map((message) => message.sequence), numbers.map((_, n) => n + 1));
  });
});

describe('sockets of one user', () => {
  const deployment = deploy();

  test('are 20, and the next is refused until one goes', async () => {
    const alice = user('alice');
    const kinds = Object.values(TRANSPORTS);
    const clients = await Promise.all(Array.from({ length: 20 }, (_, n) => deployment.connect(alice, { transports: kinds[n % kinds.length] })));
    await assert.rejects(deployment.connect(alice), { message: 'Too many connections' });
    await assert.rejects(deployment.connect(alice, { transports: TRANSPORTS.polling }), { message: 'Too many connections' });
    await deployment.connect(user('bob'));
    clients[7].close();
    await until(() => deployment.connect(alice).then(() => true, () => false), { what: 'the place that became free' });
  });
});

describe('all who come back at once', () => {
  const deployment = deploy();

  test('are let in by the system, before the server has time for them', async () => {
    deployment.signal('SIGSTOP');
    const came = Array.from({ length: 1_000 }, () => new Tcp(deployment.url()));
    try {
      await until(() => came.every(({ socket }) => !socket.connecting), { what: 'a thousand connections' });
    } finally {
      deployment.signal('SIGCONT');
      for (const { socket } of came) socket.destroy();
    }
    await deployment.connect(user());
  });
});

describe('who does not authenticate', () => {
  const deployment = deploy({ AUTH_TIMEOUT_SECONDS: '1' });

  test('is disconnected, on every transport', async () => {
    const wire = await Wire.open(deployment.url());
    const session = await Polling.open(deployment.url());
    const silent = new Tcp(deployment.url());
    const slow = new Tcp(deployment.url(), 'GET / HTTP/1.1\r\nHost: x\r\n');
    await wire.ended();
    await until(async () => (await session.get()).status === 400, { what: 'the end of the polling session' });
    await silent.ended();
    await slow.ended();
  });

  test('does not disturb those who have', async () => {
    const client = await deployment.connect(user());
    const wire = await Wire.open(deployment.url());
    await wire.ended();
    assert.ok(client.socket.connected);
  });
});

describe('a token that expires', () => {
  const deployment = deploy();

  test('has its sockets disconnected, and they are told why', { timeout: 90_000 }, async () => {
    const alice = user('alice');
    const expires = now() + 2;
    const clients = [];
    for (const transports of Object.values(TRANSPORTS)) {
      clients.push(await deployment.connect(alice, { transports, claims: { exp: expires } }));
    }
    const other = await deployment.connect(alice);
    for (const client of clients) {
      await until(() => client.disconnects.length > 0, { timeout: 60_000, what: 'the end of the socket' });
      assert.ok(now() <= expires + 31, `after ${now() - expires} s`);
      assert.deepEqual(client.disconnects, ['io server disconnect']);
      shapes.failure(client.all('connection:closing')[0], 'token_expired');
    }
    assert.ok(other.socket.connected);
  });
});

describe('a slow reader', () => {
  const deployment = deploy({ MAX_UNREAD_PACKETS: '200', MAX_UNREAD_BYTES: '1000000', WRITE_TIMEOUT_SECONDS: '2' });
  const tight = deploy({ MAX_UNREAD_BYTES: '100000' });

  /** Sends without a socket, which would be sent all this too. */
  async function sender(deployment, bob) {
    const [rest, id] = [await deployment.rest(user('alice')), conversation()];
    return (content, count) =>
      Promise.all(
        Array.from({ length: count }, async () => {
          const { status, text } = await rest.post(`/app/conversations/${id}/messages`, { targetUserId: bob, content });
          assert.equal(status, 201, text);
        }),
      );
  }

  test('has its transport closed, and resumes by cursor; others are not concerned', { timeout: 120_000 }, async () => {
    const bob = user('bob');
    const send = await sender(deployment, bob);
    const slow = await Wire.connect(deployment.url(), { token: await token(bob) });
    const quick = await deployment.connect(bob);
    const { sid } = JSON.parse((await slow.frame((frame) => frame.startsWith('40'))).slice(2));
    const [, { data }] = JSON.parse((await slow.frame((frame) => frame.includes('stream:ready'))).slice(2));
    slow.socket._socket.pause();
    let sent = 0;
    const ended = () => deployment.log.matching(`[SOCKET] [${sid}] Disconnected`).length > 0;
    // What the system's own buffers hold comes on top of the bound.
    while (!ended() && sent < 3_000) {
      await send('x'.repeat(30_000), 10);
      sent += 10;
      await until(() => quick.messages.length === sent, { what: 'the messages of the quick reader' });
    }
    await until(ended, { what: 'the end of the slow reader' });
    slow.socket._socket.resume();
    await slow.ended();
    assert.deepEqual(quick.disconnects, []);
    const again = await deployment.connect(bob, { cursor: data.cursor });
    assert.deepEqual(again.messages.map((message) => message.sequence), Array.from({ length: sent }, (_, n) => n + 1));
    assert.match((await deployment.anonymous.get('/metrics')).text, /^verbatim_slow_readers_total 1$/m);
  });

  for (const [transport, transports] of Object.entries(TRANSPORTS)) {
    test(`who missed far more than may be left unread gets it all over ${transport}`, { timeout: 120_000 }, async () => {
      const bob = user('bob');
      const send = await sender(tight, bob);
      for (let n = 0; n < 1_000; n += 100) await send('x'.repeat(3_000), 100);
      const client = await tight.connect(bob, { transports });
      assert.deepEqual(client.messages.map((message) => message.sequence), Array.from({ length: 1_000 }, (_, n) => n + 1));
      assert.deepEqual(client.disconnects, []);
      client.close();
    });
  }
});

describe('limits are settings', () => {
  const deployment = deploy({
    MAX_CONTENT_BYTES: '10',
    MAX_PACKET_BYTES: '2000',
    MAX_ATTACHMENTS: '1',
    MAX_SOCKETS_PER_USER: '2',
    RATE_LIMIT_MESSAGES_PER_SECOND: '1',
    RATE_LIMIT_BURST: '3',
    MAX_REFUSALS: '5',
  });

  test('each of them', async () => {
    const alice = user('alice');
    const a = await deployment.connect(alice);
    const id = conversation();
    const send = (payload) => a.ask('message:send', { conversationId: id, targetUserId: 'x', ...payload });
    shapes.success(await send({ content: 'x'.repeat(10) }));
    shapes.failure(await send({ content: 'x'.repeat(11) }));
    shapes.failure(await send({ content: 'x', attachments: [1, 2].map((n) => ({ name: `${n}`, url: 'https://example.com' })) }), 'bad_request');
    await deployment.connect(alice);
    await assert.rejects(deployment.connect(alice), { message: 'Too many connections' });
    const rest = await deployment.rest(alice);
    shapes.refused(await rest.post('/app/conversations', { memberIds: ['x'], padding: 'x'.repeat(2_000) }), 'payload_too_large');
    await until(async () => (await send({ content: 'x' })).error?.code === 'rate_limited' || a.disconnects.length > 0, { what: 'rate_limited' });
    for (let n = 0; n < 20; n += 1) a.emit('message:send', { conversationId: id, content: key().slice(0, 9) });
    assert.equal(await a.disconnected(), 'io server disconnect');
    const wire = await Wire.connect(deployment.url(), { token: await token(user()) });
    wire.send(`42["connection:get",{"padding":"${'x'.repeat(2_100)}"}]`);
    await wire.ended();
  });

  test('the body of a REST call is bounded as a packet is', async () => {
    const { url } = await deployment.rest(user());
    const answer = await http(`${url}/app/conversations`, {
      method: 'POST',
      headers: { authorization: `Bearer ${await token(user())}`, 'content-type': 'application/json', 'transfer-encoding': 'chunked' },
      body: JSON.stringify({ memberIds: ['x'], padding: 'x'.repeat(3_000) }),
    });
    assert.equal(answer.status, 413);
    shapes.failure(answer.body, 'payload_too_large');
  });
});

describe('what is ignored is counted', () => {
  const deployment = deploy();

  test('in the metrics', async () => {
    const client = await deployment.connect(user());
    client.emit('no such event', {});
    client.emit('reaction:add', {});
    await client.ask('connection:get', {});
    await until(async () => /^verbatim_unknown_events\S* 2$/m.test((await deployment.anonymous.get('/metrics')).text), { what: 'two unknown events' });
  });
});
