// Running it: start, settings, tokens, backup, restore, rebuild, metrics, health, and the end.

import assert from 'node:assert/strict';
import { createServer } from 'node:net';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';

import { decodeJwt } from 'jose';

import { TRANSPORTS } from './harness/client.mjs';
import { Deployment, deploy } from './harness/deployment.mjs';
import { run } from './harness/executable.mjs';
import { conversation, key, user } from './harness/names.mjs';
import { Wire } from './harness/raw.mjs';
import { Rest } from './harness/rest.mjs';
import * as shapes from './harness/shapes.mjs';
import { MASTER_KEY, now, SECRET, sign, token } from './harness/tokens.mjs';
import { until } from './harness/until.mjs';

const SETTINGS = [
  'VERBATIM_LISTEN', 'PORT', 'VERBATIM_DATA_DIR', 'DATABASE_URL', 'NATS_URL', 'JWT_SECRET', 'JWT_PUBLIC_KEY_FILE', 'JWT_ISSUER',
  'JWT_AUDIENCE', 'MASTER_KEY', 'MASTER_KEY_FILE', 'SEAL_KEY_FILE', 'SEAL_ORIGIN', 'SEAL_OLD_KEYS', 'SEAL_EVERY_EVENTS', 'SEAL_EVERY_SECONDS',
  'SEAL_CHECKPOINTS_TO', 'PUBLIC_URL', 'CORS_ORIGINS', 'TRUSTED_PROXIES', 'LOG_FORMAT', 'LOG_LEVEL', 'CONNECTION_LIST',
  'RATE_LIMIT_MESSAGES_PER_SECOND', 'RATE_LIMIT_BURST', 'RATE_LIMIT_REQUESTS_PER_SECOND', 'MAX_PACKET_BYTES', 'MAX_CONTENT_BYTES',
  'MAX_ATTACHMENTS', 'MAX_IN_FLIGHT_PER_SOCKET', 'MAX_WAITING_PER_SOCKET', 'MAX_SOCKETS_PER_USER', 'AUTH_TIMEOUT_SECONDS',
  'MAX_UNREAD_PACKETS', 'MAX_UNREAD_BYTES', 'WRITE_TIMEOUT_SECONDS', 'PING_INTERVAL_MS', 'PING_TIMEOUT_MS',
  'CONNECTIONS_SAMPLE_SECONDS',
];

const folders = [];
function folder() {
  const made = mkdtempSync(join(tmpdir(), 'verbatim-'));
  folders.push(made);
  return made;
}
after(() => folders.forEach((made) => rmSync(made, { recursive: true, force: true })));

const freePort = () =>
  new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });

/** A deployment for one test only. */
async function started(t, settings, options) {
  const deployment = new Deployment(settings, options);
  t.after(() => deployment.end());
  await deployment.start();
  return deployment;
}

describe('the start', () => {
  test('tells in five lines where it listens, where its data lies, how to get a token, where the docs are', async (t) => {
    const deployment = await started(t, {});
    await deployment.connect(user());
    const banner = deployment.log.lines.slice(0, 5);
    const { version } = /version = "(?<version>[^"]+)"/.exec(readFileSync(new URL('../Cargo.toml', import.meta.url), 'utf8')).groups;
    assert.equal(banner[0], `Verbatim ${version} listens on ${deployment.url()}`);
    assert.ok(banner[1].includes(deployment.dataDir));
    assert.match(banner[2], /token --user /);
    assert.ok(banner.some((line) => line.includes(`${deployment.url()}/docs`)));
    assert.equal((await deployment.anonymous.get('/docs')).status, 200);
  });

  test('without a command means serve', async (t) => {
    const deployment = new Deployment({});
    t.after(() => deployment.end());
    await deployment.start([]);
    assert.equal((await deployment.anonymous.get('/healthz')).status, 200);
  });

  test('takes flags in place of the environment', async (t) => {
    const [data, port] = [folder(), await freePort()];
    const deployment = new Deployment({ VERBATIM_LISTEN: undefined, VERBATIM_DATA_DIR: undefined, JWT_SECRET: undefined });
    t.after(() => deployment.end());
    await deployment.start(['serve', '--listen', `127.0.0.1:${port}`, '--data-dir', data, '--jwt-secret', SECRET]);
    assert.equal(deployment.url(), `http://127.0.0.1:${port}`);
    assert.ok(existsSync(join(data, 'journal.sqlite')));
    await deployment.connect(user());
  });

  test('makes data in ./data unless told otherwise, and listens on PORT of 127.0.0.1', async (t) => {
    const port = await freePort();
    const deployment = await started(t, { VERBATIM_LISTEN: undefined, VERBATIM_DATA_DIR: undefined, PORT: String(port) });
    assert.equal(deployment.url(), `http://127.0.0.1:${port}`);
    assert.ok(existsSync(join(deployment.dataDir, 'data', 'journal.sqlite')));
  });

  test('says so when the port is taken', async () => {
    const server = createServer();
    await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
    const address = `127.0.0.1:${server.address().port}`;
    const { code, stderr } = await run(['serve'], { VERBATIM_LISTEN: address, VERBATIM_DATA_DIR: folder() });
    server.close();
    assert.notEqual(code, 0);
    assert.match(stderr, /VERBATIM_LISTEN/);
    assert.ok(stderr.includes(address));
  });
});

describe('settings', () => {
  test('are all listed by --help, with their environment twins', async () => {
    for (const args of [['--help'], ['serve', '--help']]) {
      const { code, stdout } = await run(args);
      assert.equal(code, 0);
      for (const name of SETTINGS) assert.ok(new RegExp(`\\[env: ${name}[=\\]]`).test(stdout), `${name} in verbatim ${args.join(' ')}`);
    }
    const { stdout } = await run(['--help']);
    for (const command of ['serve', 'token', 'backup', 'restore', 'rebuild', 'export', 'replay', 'as-of', 'erase', 'keys', 'import', 'verify', 'verify-proof', 'seal-key', 'stats']) assert.match(stdout, new RegExp(`^ +${command} `, 'm'));
  });

  test('and what they end with, of each command that has work to do', async () => {
    for (const args of [['backup'], ['restore'], ['rebuild'], ['copy'], ['export'], ['replay'], ['import'], ['as-of'], ['erase'], ['keys', 'backup'], ['keys', 'restore'], ['verify'], ['verify-proof'], ['stats']]) {
      const { stdout } = await run([...args, '--help']);
      assert.match(stdout, /^Exit codes:\n {2}0 {2}\w/m, args.join(' '));
    }
    const [missing, file] = [join(folder(), 'missing'), join(folder(), 'there')];
    writeFileSync(file, '');
    for (const [args, code] of [
      [['rebuild', '--data-dir', missing], 3], [['rebuild', '--database-url', 'mysql://x'], 2], [['rebuild', '--database-url', 'postgres://x@127.0.0.1:1/x'], 3],
      [['rebuild', '--data-dir', folder()], 3], [['backup', '--data-dir', missing, '--out', 'x'], 3], [['backup', '--data-dir', folder(), '--out', file], 2],
      [['restore', '--from', missing, '--data-dir', folder()], 2], [['keys', 'restore', '--from', file, '--data-dir', folder()], 2], [['keys', 'backup', '--data-dir', missing, '--out', 'x'], 3],
      [['erase', '--user', 'ann', '--data-dir', missing], 3], [['erase', '--user', 'ann', '--database-url', 'mysql://x'], 2], [['erase', '--user', 'ann', '--nats-url', 'nats://x'], 2],
      [['erase', '--user', 'ann', '--database-url', 'postgres://x@127.0.0.1:1/x'], 3],
    ]) {
      const done = await run(args);
      assert.equal(done.code, code, `${args.join(' ')}: ${done.stderr}`);
    }
  });

  test('of the environment are not shown by --help where they are secret', async () => {
    const { stdout } = await run(['serve', '--help'], { JWT_SECRET: 'hush', DATABASE_URL: 'postgres://u:hush@x', NATS_URL: 'nats://u:hush@x', MASTER_KEY: 'hush', SEAL_CHECKPOINTS_TO: 'https://u:hush@x' });
    assert.ok(!stdout.includes('hush'));
  });

  const bad = {
    VERBATIM_LISTEN: ['nonsense', 'localhost', '127.0.0.1', '127.0.0.1:99999'],
    PORT: ['x', '-1', '70000', ''],
    VERBATIM_DATA_DIR: ['/dev/null/x', '/proc/nothing'],
    JWT_SECRET: [''],
    JWT_PUBLIC_KEY_FILE: ['/nonexistent.pem', '/dev/null'],
    MASTER_KEY: ['', 'short', '0'.repeat(63), 'é'],
    MASTER_KEY_FILE: ['/nonexistent', '/dev/null'],
    SEAL_KEY_FILE: ['/nonexistent.pem', '/dev/null'],
    SEAL_ORIGIN: ['', 'two words', 'a+b'],
    SEAL_OLD_KEYS: ['nonsense'],
    SEAL_EVERY_EVENTS: ['0', '100001'],
    SEAL_EVERY_SECONDS: ['0', 'soon'],
    JWT_ISSUER: [''],
    JWT_AUDIENCE: [''],
    PUBLIC_URL: ['nonsense', 'ftp://x', 'http://', 'https://x/path', 'https://user@x', 'https://x:port'],
    CORS_ORIGINS: ['nonsense', 'https://x/path', 'https://*.x', ','],
    TRUSTED_PROXIES: ['nonsense', '10.0.0.0/99'],
    LOG_FORMAT: ['xml'],
    LOG_LEVEL: ['shouting=louder=loudest', 'verbose', 'warning', '42', '', 'warn,verbatim'],
    CONNECTION_LIST: ['nobody'],
    RATE_LIMIT_MESSAGES_PER_SECOND: ['-1', 'x', '1.5', ''],
    RATE_LIMIT_BURST: ['0', 'x'],
    RATE_LIMIT_REQUESTS_PER_SECOND: ['x'],
    MAX_PACKET_BYTES: ['0', 'x', '99999999999999999999999'],
    MAX_CONTENT_BYTES: ['0', 'x'],
    MAX_ATTACHMENTS: ['x', '-1'],
    MAX_IN_FLIGHT_PER_SOCKET: ['0'],
    MAX_WAITING_PER_SOCKET: ['x'],
    MAX_SOCKETS_PER_USER: ['0'],
    AUTH_TIMEOUT_SECONDS: ['0', 'x', '18446744073709551615'],
    MAX_UNREAD_PACKETS: ['0'],
    MAX_UNREAD_BYTES: ['x'],
    WRITE_TIMEOUT_SECONDS: ['0', '18446744073709551615'],
    PING_INTERVAL_MS: ['0', 'x', '18446744073709551615'],
    PING_TIMEOUT_MS: ['x', '18446744073709551615'],
    CONNECTIONS_SAMPLE_SECONDS: ['0', 'x', '-60', '7', '7200', '18446744073709551616'],
  };
  for (const [name, values] of Object.entries(bad)) {
    test(`a bad ${name} is refused by name`, async () => {
      for (const value of values) {
        const { code, stdout, stderr } = await run(['serve'], { VERBATIM_DATA_DIR: folder(), ...(name === 'PORT' ? {} : { VERBATIM_LISTEN: '127.0.0.1:0' }), [name]: value });
        assert.notEqual(code, 0, `${name}=${value}`);
        assert.ok(stderr.includes(name), `${name}=${value}: ${stderr}`);
        assert.ok(!stdout.includes('listens on'), `${name}=${value}`);
      }
    });
  }

  test('of the cluster go together, and never show a password', async () => {
    const base = { VERBATIM_DATA_DIR: folder(), VERBATIM_LISTEN: '127.0.0.1:0' };
    const database = { DATABASE_URL: 'postgres://u:hush@127.0.0.1:1/x' };
    const nats = { NATS_URL: 'nats://u:hush@127.0.0.1:1' };
    for (const [settings, named] of [
      [database, /DATABASE_URL needs NATS_URL/],
      [nats, /NATS_URL needs DATABASE_URL/],
      [{ ...database, ...nats }, /JWT_SECRET/],
      [{ ...database, ...nats, JWT_SECRET: SECRET }, /MASTER_KEY: the processes of a cluster must share one/],
      [{ ...database, ...nats, JWT_SECRET: SECRET, MASTER_KEY }, /DATABASE_URL: PostgreSQL can't be reached/],
      [{ ...database, ...nats, VERBATIM_ROLE: 'aggregate' }, /DATABASE_URL: PostgreSQL can't be reached/],
      [{ VERBATIM_ROLE: 'aggregate' }, /VERBATIM_ROLE/],
    ]) {
      const { code, stderr } = await run(['serve'], { ...base, ...settings });
      assert.notEqual(code, 0);
      assert.match(stderr, named);
      assert.ok(!stderr.includes('hush'));
    }
  });

  test('a secret and a public key at once are refused', async () => {
    const { code, stderr } = await run(['serve'], { VERBATIM_DATA_DIR: folder(), JWT_SECRET: 'x', JWT_PUBLIC_KEY_FILE: '/dev/null' });
    assert.notEqual(code, 0);
    assert.match(stderr, /JWT_SECRET.*JWT_PUBLIC_KEY_FILE/);
  });

  test('a flag that there isn’t is refused', async () => {
    const { code } = await run(['serve', '--nonsense']);
    assert.notEqual(code, 0);
  });
});

describe('the secret', () => {
  test('of any length is accepted, a short one with a warning', async (t) => {
    const short = await started(t, { JWT_SECRET: 'x' });
    await short.log.until(/WARN.*JWT_SECRET/);
    const client = short.client({ token: await sign({ userId: user(), exp: now() + 60 }, { key: 'x' }) });
    await client.connected();
    const long = await started(t, { JWT_SECRET: SECRET });
    await long.connect(user());
    assert.deepEqual(long.log.matching('JWT_SECRET has'), []);
    assert.ok(!long.log.text.includes(SECRET));
  });

  test('is made once in the data folder where none is set, for its owner alone', async (t) => {
    const deployment = await started(t, { JWT_SECRET: undefined });
    const file = join(deployment.dataDir, 'jwt_secret');
    assert.equal(statSync(file).mode & 0o777, 0o600);
    const made = readFileSync(file, 'utf8').trim();
    assert.ok(made.length >= 32);
    assert.ok(!deployment.log.text.includes(made));
    const { stdout } = await run(['token', '--user', 'alice'], { VERBATIM_DATA_DIR: deployment.dataDir });
    const client = deployment.client({ token: stdout.trim() });
    await client.connected();
    await deployment.stop();
    await deployment.start();
    assert.equal(readFileSync(file, 'utf8').trim(), made);
    const again = deployment.client({ token: stdout.trim() });
    await again.connected();
  });
});

describe('verbatim token', () => {
  test('prints a token and nothing else', async () => {
    const { code, stdout, stderr } = await run(['token', '--user', 'alice', '--email', 'a@example.com', '--role', 'admin', '--ttl', '1h'], { JWT_SECRET: SECRET });
    assert.equal(code, 0);
    assert.equal(stderr, '');
    assert.match(stdout, /^[\w-]+\.[\w-]+\.[\w-]+\n$/);
    const claims = decodeJwt(stdout.trim());
    assert.equal(claims.userId ?? claims.sub, 'alice');
    assert.equal(claims.email, 'a@example.com');
    assert.equal(claims.role, 'admin');
    assert.ok(Math.abs(claims.exp - now() - 3_600) < 60);
  });

  test('makes one that the server lets in, with what it says', async (t) => {
    const deployment = await started(t, {});
    const { stdout } = await run(['token', '--user', 'alice@example.com', '--email', 'a@example.com', '--role', 'agent'], deployment.settings);
    const client = deployment.client({ token: stdout.trim() });
    await client.connected();
    const sent = await client.send({ conversationId: conversation(), targetUserId: user(), content: 'x' });
    assert.equal(sent.sender, 'agent');
    assert.deepEqual(sent.senderInfo, { userId: 'alice@example.com', email: 'a@example.com', role: 'agent' });
  });

  test('refuses what is no user and no duration', async () => {
    for (const args of [['--user', 'a b'], ['--user', ''], ['--user', 'x', '--ttl', 'soon'], ['--user', 'x', '--ttl', '-1h'], ['--user', 'x', '--ttl', '1mo'], ['--user', 'x', '--role', 'r'.repeat(65)], ['--user', 'x', '--email', ''], []]) {
      const { code, stdout } = await run(['token', ...args], { JWT_SECRET: SECRET });
      assert.notEqual(code, 0, args.join(' '));
      assert.equal(stdout, '');
    }
  });
});

describe('the data folder', () => {
  test('in use by another process is refused', async (t) => {
    const deployment = await started(t, {});
    const { code, stderr } = await run(['serve'], { VERBATIM_LISTEN: '127.0.0.1:0', VERBATIM_DATA_DIR: deployment.dataDir });
    assert.notEqual(code, 0);
    assert.match(stderr, /in use/);
    const restored = await run(['restore', '--from', join(deployment.dataDir, 'journal.sqlite')], { VERBATIM_DATA_DIR: deployment.dataDir });
    assert.notEqual(restored.code, 0);
    await deployment.connect(user());
  });

  test('of a killed process is free', async (t) => {
    const deployment = await started(t, {});
    await deployment.kill();
    await deployment.start();
    await deployment.connect(user());
  });
});

describe('health', () => {
  const deployment = deploy();

  test('says that it lives and that a send would be committed', async () => {
    assert.equal((await deployment.anonymous.get('/healthz')).status, 200);
    await until(async () => (await deployment.anonymous.get('/readyz')).status === 200, { what: 'ready' });
  });

  test('metrics can be read by Prometheus, and name what operators ask for', async () => {
    const [alice, bob, id] = [user('alice'), user('bob'), conversation()];
    const a = await deployment.connect(alice);
    const b = await deployment.connect(bob);
    for (let n = 0; n < 5; n += 1) await a.send({ conversationId: id, targetUserId: bob, content: `${n}` });
    await b.message('4');
    await a.ask('message:send', { conversationId: conversation(), content: 'x' });
    const { text, headers } = await deployment.anonymous.get('/metrics');
    assert.match(headers.get('content-type'), /^(application\/openmetrics-text|text\/plain)/);
    const samples = new Map();
    for (const line of text.trimEnd().split('\n')) {
      if (line.startsWith('#')) {
        assert.match(line, /^# (HELP|TYPE|UNIT) [a-zA-Z_:][\w:]* .+|^# EOF$/);
        continue;
      }
      const [, name, value] = /^([a-zA-Z_:][\w:]*(?:\{.*\})?) (\S+)/.exec(line) ?? assert.fail(line);
      assert.ok(!Number.isNaN(Number(value.replace('+Inf', 'Infinity'))), line);
      samples.set(name, Number(value));
    }
    const has = (pattern) => [...samples].filter(([name]) => pattern.test(name));
    assert.ok(has(/^verbatim_sockets/).some(([, value]) => value === 2), 'sockets');
    for (const [what, pattern] of Object.entries({
      messages: /^verbatim_messages/,
      'requests by kind and outcome': /^verbatim_requests_total\{.*message:send.*\}/,
      'latency from receipt to answer': /^verbatim_send_seconds_bucket/,
      'latency from commit to push': /^verbatim_push_seconds_bucket/,
      'batch sizes': /^verbatim_.*batch.*_bucket/,
      'projection lag in events': /^verbatim_.*lag.*events/,
      'projection lag in seconds': /^verbatim_.*lag.*seconds/,
      'queue depths': /^verbatim_.*queue/,
      drops: /^verbatim_.*(drop|slow_readers)/,
      refusals: /^verbatim_(refusals|requests_total\{.*not_found)/,
    })) {
      assert.ok(has(pattern).length > 0, `${what}: none of ${[...samples.keys()].filter((name) => !name.includes('bucket')).join(', ')}`);
    }
    assert.ok(has(/^verbatim_send_seconds_count/)[0][1] >= 5);
  });
});

describe('backup, restore and rebuild', () => {
  async function talk(deployment) {
    const [alice, bob, id] = [user('alice'), user('bob'), conversation()];
    const a = await deployment.connect(alice);
    for (let n = 1; n <= 50; n += 1) await a.send({ conversationId: id, targetUserId: bob, content: `${n}`, clientMessageId: `n ${n}` });
    await a.message('50');
    return { a, alice, bob, id };
  }

  /** All that a user can read. */
  async function readings(deployment, userId) {
    const rest = await deployment.rest(userId);
    const conversations = (await rest.pages('/app/conversations')).flat();
    return {
      conversations,
      notifications: (await rest.pages('/app/notifications')).flat(),
      messages: await Promise.all(conversations.map(({ _id }) => rest.history(_id))),
      deliveries: await Promise.all(conversations.map(async ({ lastMessage }) => (await rest.get(`/app/messages/${lastMessage._id}/deliveries`)).body.data)),
    };
  }

  test('a backup of a running server holds all that was acknowledged before it', async (t) => {
    const deployment = await started(t, {});
    const { a, alice, bob, id } = await talk(deployment);
    const out = join(folder(), 'journal.backup');
    // Traffic goes on meanwhile.
    const during = Array.from({ length: 200 }, (_, n) => a.send({ conversationId: id, content: `during ${n}` }));
    const backup = await run(['backup', '--out', out], deployment.settings);
    assert.equal(backup.code, 0, backup.stderr);
    await Promise.all(during);
    assert.ok(statSync(out).size > 0);
    const again = await run(['backup', '--out', out], deployment.settings);
    assert.notEqual(again.code, 0, 'a file that is there is not overwritten');

    const [data, keys] = [folder(), join(folder(), 'keys.backup')];
    const kept = await run(['keys', 'backup', '--out', keys], deployment.settings);
    assert.equal(kept.code, 0, kept.stderr);
    const restored = await run(['restore', '--from', out], { VERBATIM_DATA_DIR: data });
    assert.equal(restored.code, 0, restored.stderr);
    assert.equal((await run(['keys', 'restore', '--from', keys], { VERBATIM_DATA_DIR: data })).code, 0);
    const copy = await started(t, { VERBATIM_DATA_DIR: data, MASTER_KEY_FILE: join(deployment.dataDir, 'master_key') });
    const theirs = await (await copy.rest(bob)).history(id);
    const ours = await (await deployment.rest(bob)).history(id);
    assert.ok(theirs.length >= 50);
    assert.deepEqual(theirs, ours.slice(0, theirs.length));

    // Cursors of the old log are not misread, and keys are still taken.
    const client = await copy.connect(alice, { cursor: a.cursor });
    assert.equal(client.received[0].event, 'stream:reset');
    const answer = await client.ask('message:send', { conversationId: id, content: '7', clientMessageId: 'n 7' });
    assert.equal(answer.duplicate, true);
    const next = await client.send({ conversationId: id, content: 'on' });
    assert.equal(next.sequence, theirs.length + 1);
  });

  test('a stopped server can be backed up, and a folder with a journal is not overwritten', async (t) => {
    const deployment = await started(t, {});
    const { bob, id } = await talk(deployment);
    await deployment.stop();
    const out = join(folder(), 'journal.backup');
    assert.equal((await run(['backup', '--out', out], deployment.settings)).code, 0);
    const onto = await run(['restore', '--from', out], deployment.settings);
    assert.notEqual(onto.code, 0);
    await deployment.start();
    assert.equal((await (await deployment.rest(bob)).history(id)).length, 50);
  });

  test('what is no backup is not restored', async () => {
    const data = folder();
    const file = join(folder(), 'x');
    writeFileSync(file, 'nonsense');
    for (const from of [file, '/nonexistent']) {
      const { code } = await run(['restore', '--from', from], { VERBATIM_DATA_DIR: data });
      assert.notEqual(code, 0);
    }
    assert.ok(!existsSync(join(data, 'journal.sqlite')), 'half a journal was left');
  });

  for (const running of [true, false]) {
    test(`a rebuild of a ${running ? 'running' : 'stopped'} server changes nothing that can be read`, async (t) => {
      const deployment = await started(t, {});
      const { a, alice, bob, id } = await talk(deployment);
      const theirs = await deployment.rest(bob);
      await until(async () => (await theirs.get('/app/notifications')).body.data.length === 50, { what: 'the notifications' });
      await theirs.post('/app/notifications/read', { ids: [(await theirs.get('/app/notifications')).body.data[3]._id] });
      await theirs.post(`/app/conversations/${id}/read`, { sequence: 20 });
      const before = [await readings(deployment, alice), await readings(deployment, bob)];
      if (!running) await deployment.stop();
      const { code, stderr } = await run(['rebuild'], deployment.settings);
      assert.equal(code, 0, stderr);
      if (!running) await deployment.start();
      assert.deepEqual([await readings(deployment, alice), await readings(deployment, bob)], before);
      const client = running ? a : await deployment.connect(alice);
      assert.equal((await client.send({ conversationId: id, content: 'on' })).sequence, 51);
      const b = await deployment.connect(bob);
      assert.equal(b.messages.at(-1).sequence, 51);
    });
  }

  test('a rebuild under load loses nothing', async (t) => {
    const deployment = await started(t, {});
    const { a, bob, id } = await talk(deployment);
    const b = await deployment.connect(bob);
    let going = true;
    const sending = (async () => {
      while (going) await Promise.all(Array.from({ length: 10 }, () => a.send({ conversationId: id, content: key() })));
    })();
    for (let n = 0; n < 3; n += 1) assert.equal((await run(['rebuild'], deployment.settings)).code, 0);
    going = false;
    await sending;
    const stored = await (await deployment.rest(bob)).history(id);
    await until(() => b.messages.length === stored.length, { what: 'all messages' });
    assert.deepEqual(b.messages.map((message) => message.sequence), stored.map((_, n) => n + 1));
    assert.deepEqual(stored.map((message) => message.sequence), stored.map((_, n) => n + 1));
  });

  test('views that were lost are made anew at the start', async (t) => {
    const deployment = await started(t, {});
    const { alice, bob } = await talk(deployment);
    const theirs = await deployment.rest(bob);
    await until(async () => (await theirs.get('/app/notifications')).body.data.length === 50, { what: 'the notifications' });
    const before = [await readings(deployment, alice), await readings(deployment, bob)];
    await deployment.stop();
    for (const name of ['views.sqlite', 'views.sqlite-wal', 'views.sqlite-shm']) rmSync(join(deployment.dataDir, name), { force: true });
    await deployment.start();
    assert.deepEqual([await readings(deployment, alice), await readings(deployment, bob)], before);
  });
});

describe('work that nobody waits for', () => {
  test('leaves the processors to others', async (t) => {
    const deployment = await started(t, {});
    const threads = readdirSync(`/proc/${deployment.pid}/task`).flatMap((id) => {
      try {
        const [, name, fields] = /^\d+ \((.*)\) (.*)$/s.exec(readFileSync(`/proc/${deployment.pid}/task/${id}/stat`, 'utf8'));
        return [{ name, nice: Number(fields.split(' ')[16]) }];
      } catch (error) {
        // It has ended meanwhile.
        assert.ok(['ENOENT', 'ESRCH'].includes(error.code), error);
        return [];
      }
    });
    const priorities = (name) => threads.filter((thread) => thread.name === name).map((thread) => thread.nice).sort((a, b) => a - b);
    assert.ok(priorities('background').length > 0 && priorities('background').every((nice) => nice === 19));
    // Of journal, views, state and keys, and of seal and analytics.
    assert.deepEqual(priorities('sqlite-writer'), [0, 0, 0, 0, 19, 19]);
    assert.ok(priorities('tokio-rt-worker').length > 0 && priorities('tokio-rt-worker').every((nice) => nice === 0));
  });
});

describe('a server that slept', () => {
  test('closes its transports when it wakes, because others may have given it up', { timeout: 90_000 }, async (t) => {
    const deployment = await started(t, {});
    const client = await deployment.connect(user());
    deployment.signal('SIGSTOP');
    // Ten seconds without a sign of life are what makes a gateway gone; there is nothing to see meanwhile.
    const wakes = performance.now() + 11_500;
    await until(() => performance.now() > wakes);
    deployment.signal('SIGCONT');
    assert.match(await client.disconnected(), /^transport (close|error)$/);
    const again = await deployment.connect(user());
    await until(async () => (await deployment.anonymous.get('/readyz')).status === 200, { what: 'ready' });
    await again.send({ conversationId: conversation(), targetUserId: user(), content: 'x' });
  });
});

describe('the end', () => {
  for (const signal of ['SIGTERM', 'SIGINT']) {
    test(`by ${signal} finishes what was taken, tells the clients and closes their transports`, async (t) => {
      const deployment = await started(t, {});
      const [alice, bob, id] = [user('alice'), user('bob'), conversation()];
      const a = await deployment.connect(alice);
      const clients = [a, await deployment.connect(bob)];
      await a.send({ conversationId: id, targetUserId: bob, content: 'first' });
      const acks = [];
      for (let n = 0; n < 100; n += 1) {
        a.socket.emit('message:send', { conversationId: id, content: `${n}` }, (answer) => acks.push(answer));
      }
      await until(() => acks.length > 0, { what: 'the first ack' });
      const asked = performance.now();
      assert.equal(await deployment.stop(signal), 0);
      assert.ok(performance.now() - asked < 10_000);
      for (const client of clients) {
        assert.match(await client.disconnected(), /^transport (close|error)$/);
        const error = shapes.failure(client.all('connection:closing')[0], 'unavailable');
        assert.ok(error.retryAfterMs > 0 && error.retryAfterMs <= 10_000);
      }
      await deployment.start();
      const stored = await (await deployment.rest(bob)).history(id);
      for (const answer of acks.filter((answer) => answer.success)) {
        assert.deepEqual(stored[answer.data.sequence - 1], answer.data);
      }
      for (const answer of acks.filter((answer) => !answer.success)) shapes.failure(answer, 'unavailable');
    });
  }

  test('is heeded from the moment that the first line is out', async (t) => {
    const deployment = await started(t, {});
    for (let round = 0; round < 10; round += 1) {
      assert.equal(await deployment.stop(), 0);
      await deployment.start();
    }
  });

  test('is told to clients of every transport', async (t) => {
    const deployment = await started(t, {});
    const clients = await Promise.all(Object.values(TRANSPORTS).map((transports) => deployment.connect(user(), { transports })));
    assert.equal(await deployment.stop(), 0);
    for (const client of clients) {
      assert.match(await client.disconnected(), /^transport (close|error)$/);
      assert.ok(shapes.failure(client.all('connection:closing')[0], 'unavailable').retryAfterMs > 0);
    }
  });

  test('clients come back by themselves', async (t) => {
    const deployment = await started(t, {});
    const alice = user('alice');
    const client = deployment.client({ token: await token(alice), reconnection: true, reconnectionDelay: 10, reconnectionDelayMax: 50 });
    await client.next('stream:ready');
    await deployment.stop();
    await client.disconnected();
    await deployment.start();
    await until(() => client.all('stream:ready').length === 2, { what: 'the reconnect' });
    await client.send({ conversationId: conversation(), targetUserId: user(), content: 'x' });
  });

  test('does not wait for a client that does not listen', async (t) => {
    const deployment = await started(t, {});
    const wires = await Promise.all(Array.from({ length: 5 }, async () => Wire.connect(deployment.url(), { token: await token(user()) })));
    for (const wire of wires) wire.socket._socket.pause();
    assert.equal(await deployment.stop(), 0);
    for (const wire of wires) wire.close();
  });

  test('leaves nothing half done: what was acknowledged is there after each of five stops', async (t) => {
    const deployment = await started(t, {});
    const [alice, bob, id] = [user('alice'), user('bob'), conversation()];
    for (let round = 1; round <= 5; round += 1) {
      const a = await deployment.connect(alice);
      await a.send({ conversationId: id, targetUserId: bob, content: `${round}` });
      await deployment.stop();
      await deployment.start();
      const stored = await new Rest(deployment.url(), await token(bob)).history(id);
      assert.deepEqual(stored.map((message) => message.content), Array.from({ length: round }, (_, n) => `${n + 1}`));
    }
  });
});
