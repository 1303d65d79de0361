// What was recorded, once more: to a pipe, to NATS, to a Socket.IO server, into another store.

import assert from 'node:assert/strict';
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

import { WebSocketServer } from 'ws';

import { Deployment, deploy, isCluster } from './harness/deployment.mjs';
import { lines } from './harness/events.mjs';
import { environment, executable, run } from './harness/executable.mjs';
import { conversation, key, user } from './harness/names.mjs';
import { until } from './harness/until.mjs';

const folder = mkdtempSync(join(tmpdir(), 'verbatim-replay-'));
after(() => rmSync(folder, { recursive: true, force: true }));

describe('a replay', () => {
  const deployment = deploy();
  const [alice, bob, id] = [user('alice'), user('bob'), conversation()];
  /** The whole log as text, as of the end of `before`. */
  let log;
  /** The same as it is stored. */
  let sealed;
  let head;

  const replay = (args, settings = {}) => run(['replay', ...args], { ...deployment.settings, ...settings }, { timeout: 60_000, cwd: folder });

  before(async () => {
    const client = await deployment.connect(alice);
    for (let n = 0; n < 50; n += 1) await client.send({ conversationId: id, targetUserId: bob, content: `${n} 🦀`, clientMessageId: key() });
    // Bob is offline: until his notifications are there, more events come by themselves.
    await until(async () => {
      const { stdout } = await replay(['--type', 'NotificationCreated']);
      return lines(stdout).length === 50;
    });
    client.close();
    await until(async () => {
      const before = log;
      ({ stdout: log } = await replay([]));
      return log === before;
    });
    head = lines(log).length;
    ({ stdout: sealed } = await replay(['--sealed', '--to', `${head}`]));
  });

  test('hands out every event in order and says where to go on', async () => {
    const { code, stdout, stderr } = await replay(['--to', `${head}`]);
    assert.equal(code, 0, stderr);
    assert.deepEqual(lines(stdout).map(({ position }) => position), Array.from({ length: head }, (_, n) => n + 1));
    assert.equal(stderr, `replayed ${head} events of positions 1 to ${head}; --from ${head + 1} goes on after them\n`);
    const none = await replay(['--from', `${head + 1}`, '--to', `${head}`]);
    assert.equal(none.code, 2);
    const parts = await Promise.all([['--to', '7'], ['--from', '8', '--to', `${head}`]].map((args) => replay(args)));
    assert.equal(parts.map((part) => part.stdout).join(''), stdout);
  });

  test('chooses as an export does', async () => {
    const { stdout } = await replay(['--type', 'MessageSent', '--conversation', id, '--user', alice]);
    assert.equal(lines(stdout).length, 50);
    assert.match((await replay(['--conversation', id, '--from', '2', '--to', '4'])).stderr, /^replayed 3 events of positions 2 to 4; /);
  });

  test('ends quietly when its reader does', async () => {
    const child = spawn(executable, ['replay'], { env: environment(deployment.settings), stdio: ['ignore', 'pipe', 'pipe'] });
    let stderr = '';
    child.stderr.setEncoding('utf8').on('data', (text) => (stderr += text));
    child.stdout.destroy();
    const [code, signal] = await once(child, 'close');
    assert.deepEqual({ code, signal, stderr }, { code: 0, signal: null, stderr: '' });
  });

  test('keeps the recorded distances in time', async () => {
    const [first, ...rest] = lines(log).filter(({ eventType }) => eventType === 'MessageSent');
    const length = Date.parse(rest.at(-1).recordedAt) - Date.parse(first.recordedAt);
    const factor = length / 1_000;
    const begun = performance.now();
    const { code, stderr } = await replay(['--type', 'MessageSent', '--speed', `${factor}x`]);
    assert.equal(code, 0, stderr);
    const took = performance.now() - begun;
    assert.ok(took >= 1_000, `${took} ms for a second`);
  });

  for (const [where, redirect] of [['', '>/dev/null'], [' and gives way to lines there', '']]) {
    test(`shows on a terminal how far it has come${where}`, () => {
      const command = `stty cols 120; timeout -s INT 2 '${executable}' replay --speed 0.000001x ${redirect}`;
      const options = { env: { ...environment(deployment.settings), TERM: 'xterm' }, encoding: 'utf8' };
      const { stdout } = spawnSync('script', ['-qec', command, '/dev/null'], options);
      const shown = stdout.replace(/\u001b\[[\d;?]*[A-Za-z]/g, '').split(/[\r\n]+/);
      assert.ok(shown.some((line) => /^[█░ ]+ \d+ of \d+ events, [\d.]+\/s, \S+ left$/.test(line.trimEnd())), stdout);
      const handedOut = shown.filter((line) => line.includes('"position"')).map((line) => JSON.parse(line).position);
      assert.deepEqual(handedOut, redirect ? [] : Array.from(handedOut, (_, n) => n + 1));
      assert.equal(handedOut.length > 0, !redirect);
    });
  }

  for (const how of ['SIGINT', 'SIGTERM']) test(`can be interrupted by ${how} and says where to go on`, async () => {
    const child = spawn(executable, ['replay', '--speed', '0.000001x'], { env: environment(deployment.settings), stdio: ['ignore', 'pipe', 'pipe'] });
    let [stdout, stderr] = ['', ''];
    child.stdout.setEncoding('utf8').on('data', (text) => (stdout += text));
    child.stderr.setEncoding('utf8').on('data', (text) => (stderr += text));
    await until(() => stdout.endsWith('\n'));
    child.kill(how);
    const [code] = await once(child, 'close');
    assert.equal(code, 1);
    const done = lines(stdout).length;
    assert.match(stderr, new RegExp(`--from ${done + 1} goes on where it ended: interrupted`));
    const { stdout: rest } = await replay(['--from', `${done + 1}`, '--to', `${head}`]);
    assert.equal(stdout + rest, log);
  });

  test('reaches a Socket.IO server, event by event', async (t) => {
    const server = new WebSocketServer({ host: '127.0.0.1', port: 0, path: '/socket.io/' });
    t.after(() => server.close());
    await once(server, 'listening');
    const packets = [];
    let left = false;
    server.on('connection', (socket, request) => {
      assert.match(request.url, /EIO=4&transport=websocket/);
      socket.send('0{"sid":"x","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}');
      socket.send('2');
      socket.on('message', (data) => {
        const packet = data.toString();
        packets.push(packet);
        if (packet.startsWith('40')) socket.send(packet === '40{"token":"let me in"}' ? '40{"sid":"y"}' : '44{"message":"Invalid token"}');
      });
      socket.on('close', () => (left = true));
    });
    const into = `socket.io:http://127.0.0.1:${server.address().port}`;
    const { code, stderr } = await replay(['--into', into, '--to', `${head}`], { REPLAY_TOKEN: 'let me in' });
    assert.equal(code, 0, stderr);
    await until(() => left);
    assert.ok(packets.includes('3'), 'the heartbeat is answered');
    const events = packets.filter((packet) => packet.startsWith('42')).map((packet) => JSON.parse(packet.slice(2)));
    assert.ok(events.every(([name]) => name === 'replay:event'));
    assert.equal(events.map(([, event]) => `${JSON.stringify(event)}\n`).join(''), log);
    assert.equal(packets.at(-1), '41');
    const refused = await replay(['--into', into]);
    assert.equal(refused.code, 1);
    assert.match(refused.stderr, /Invalid token/);
  });

  test('keeps a Socket.IO connection over a long pause between two events', async (t) => {
    const [said, far] = [conversation(), user('far')];
    const writer = await deployment.connect(user('near'));
    await writer.send({ conversationId: said, targetUserId: far, content: 'before the pause' });
    await sleep(1_500);
    await writer.send({ conversationId: said, targetUserId: far, content: 'after the pause' });
    writer.close();
    const server = new WebSocketServer({ host: '127.0.0.1', port: 0, path: '/socket.io/' });
    t.after(() => server.close());
    await once(server, 'listening');
    let [answered, events] = [0, 0];
    server.on('connection', (socket) => {
      socket.send('0{"sid":"x","upgrades":[],"pingInterval":100,"pingTimeout":300,"maxPayload":1000000}');
      let waiting = 0;
      const beat = setInterval(() => (waiting++ > 3 ? socket.terminate() : socket.send('2')), 100);
      socket.on('close', () => clearInterval(beat));
      socket.on('message', (data) => {
        const packet = data.toString();
        if (packet.startsWith('40')) socket.send('40{"sid":"y"}');
        if (packet.startsWith('42')) events += 1;
        if (packet === '3') [waiting, answered] = [0, answered + 1];
      });
    });
    const into = `socket.io:http://127.0.0.1:${server.address().port}`;
    const { code, stderr } = await replay(['--into', into, '--conversation', said, '--type', 'MessageSent', '--speed', '1x']);
    assert.equal(code, 0, stderr);
    assert.equal(events, 2);
    assert.ok(answered > 5, `${answered} heartbeats were answered`);
  });

  test('reaches a subject of NATS, message by message', { skip: !isCluster }, async () => {
    const url = new URL(deployment.settings.NATS_URL);
    const subject = `replay.${randomUUID()}`;
    const subscriber = connect(Number(url.port), url.hostname);
    let received = '';
    subscriber.setEncoding('utf8').on('data', (text) => (received += text));
    subscriber.write(`CONNECT {"verbose":false,"headers":true}\r\nSUB ${subject} 1\r\nPING\r\n`);
    await until(() => received.includes('PONG'));
    const { code, stderr } = await replay(['--into', `nats:${subject}`, '--to', `${head}`]);
    assert.equal(code, 0, stderr);
    subscriber.write('PING\r\n');
    await until(() => received.split('PONG').length === 3);
    subscriber.destroy();
    const messages = received.split('\r\n').filter((line) => line.startsWith('{"position"'));
    assert.equal(messages.map((message) => `${message}\n`).join(''), log);
    const ids = received.split('\r\n').filter((line) => line.startsWith('Nats-Msg-Id: ')).map((line) => line.split(':').at(-1));
    assert.deepEqual(ids, messages.map((_, n) => `${n + 1}`));
  });

  test('into an empty store makes the same log, byte for byte, and nothing else happens', { timeout: 60_000 }, async (t) => {
    const half = await replay(['--into', 'sqlite:copy', '--to', '20']);
    assert.equal(half.code, 0, half.stderr);
    const gap = await replay(['--into', 'sqlite:copy', '--from', '22', '--to', `${head}`]);
    assert.equal(gap.code, 2);
    assert.match(gap.stderr, /ends at position 20/);
    const rest = await replay(['--into', 'sqlite:copy', '--from', '21', '--to', `${head}`]);
    assert.equal(rest.code, 0, rest.stderr);
    assert.match(rest.stderr, new RegExp(`^replayed ${head - 20} events, 20 were there; all up to position ${head} are the same`));
    const copied = (to) => run(['replay', '--sealed', ...to], { VERBATIM_DATA_DIR: join(folder, 'copy') });
    assert.equal((await copied([])).stdout, sealed);

    // A server on the copy: the log is the same still, as nobody is notified once more.
    if (isCluster) return;
    const copy = new Deployment({}, { dataDir: join(folder, 'copy') });
    // They aren't part of the log.
    copy.allowed = [/the key store lacks keys/];
    t.after(() => copy.end());
    await copy.start();
    const busy = await replay(['--into', 'sqlite:copy']);
    assert.equal(busy.code, 3);
    assert.match(busy.stderr, /--into: .*in use by another process/);
    const reader = await copy.rest(bob);
    assert.equal((await reader.get('/app/notifications?limit=200')).body.data.length, 50);
    assert.equal((await reader.get(`/app/conversations/${id}/messages?limit=200`)).body.data.length, 50);
    assert.equal((await copied(['--to', `${head}`])).stdout, sealed);
    assert.equal(lines((await copied([])).stdout).filter(({ eventType }) => eventType === 'NotificationCreated').length, 50);
  });

  test('into PostgreSQL makes the same log', { skip: !isCluster }, async () => {
    const server = process.env.VERBATIM_TEST_DATABASE_URL;
    const name = `replay_${randomUUID().replaceAll('-', '')}`;
    execFileSync('psql', [server, '-q', '-c', `create database ${name} strategy wal_log`]);
    const url = server.replace(/\/[^/]*$/, `/${name}`);
    const { code, stderr } = await replay(['--into', url, '--to', `${head}`]);
    assert.equal(code, 0, stderr);
    assert.equal((await run(['replay', '--sealed'], { DATABASE_URL: url })).stdout, sealed);
    // Where workers write, nothing is put in.
    const busy = await replay(['--into', deployment.settings.DATABASE_URL]);
    assert.equal(busy.code, 3);
    assert.match(busy.stderr, /--into: aggregate workers write to it/);
  });

  describe('is refused', () => {
    for (const [what, args, code, message] of [
      ['an unknown destination', ['--into', 'nowhere'], 2, /--into: must be sqlite:FOLDER or postgres/],
      ['no subject', ['--into', 'nats:'], 2, /must name a subject/],
      ['a subject of many', ['--into', 'nats:a.*'], 2, /must name a subject/],
      ['no Socket.IO server', ['--into', 'socket.io:ftp://x:1'], 2, /must name a server/],
      ['a Socket.IO server that is not there', ['--into', 'socket.io:http://127.0.0.1:1'], 1, /127\.0\.0\.1:1/],
      ['a choice for a store', ['--into', 'sqlite:never', '--type', 'MessageSent'], 2, /takes every event/],
      ['a pace for a store', ['--into', 'sqlite:never', '--speed', '1x'], 2, /takes every event/],
      ['an unknown speed', ['--speed', 'fast'], 2, /neither max nor a multiple/],
      ['a speed of nothing', ['--speed', '0x'], 2, /neither max nor a multiple/],
      ['a reversed range', ['--from', '9', '--to', '8'], 2, /ends before it begins/],
      ['a range beyond the end', ['--from', '999999999'], 2, /beyond the end/],
    ]) {
      test(`with ${what}`, async () => {
        const outcome = await replay(args);
        assert.equal(outcome.code, code, outcome.stderr);
        assert.match(outcome.stderr, message);
        assert.equal(outcome.stdout, '');
        assert.ok(!existsSync(join(folder, 'never')));
      });
    }

    test('without NATS servers', async () => {
      const { code, stderr } = await replay(['--into', 'nats:x'], { NATS_URL: undefined });
      assert.equal(code, 2);
      assert.match(stderr, /NATS_URL/);
    });

    test('into the store of another log', { skip: isCluster }, async () => {
      const other = new Deployment();
      await other.start();
      const client = await other.connect(user('eve'));
      await client.send({ conversationId: conversation(), targetUserId: user('mallory'), content: 'another log' });
      assert.equal(await other.stop(), 0);
      const { code, stderr } = await replay(['--into', `sqlite:${other.dataDir}`]);
      await other.end();
      assert.equal(code, 3);
      assert.match(stderr, /log of another journal/);
    });
  });
});
