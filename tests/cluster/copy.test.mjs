// A log moves from a data folder to PostgreSQL and back; no client notices.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import { Client } from '../harness/client.mjs';
import { run } from '../harness/executable.mjs';
import { Log } from '../harness/log.mjs';
import { conversation, key, user } from '../harness/names.mjs';
import { Process } from '../harness/process.mjs';
import { Rest } from '../harness/rest.mjs';
import { MASTER_KEY, SECRET, token } from '../harness/tokens.mjs';

describe('a log that is copied', () => {
  const [alice, bob, id] = [user('alice'), user('bob'), conversation()];
  const first = { conversationId: id, targetUserId: bob, content: 'first', clientMessageId: key() };
  const folder = mkdtempSync(join(tmpdir(), 'verbatim-copy-'));
  const name = `copy_${randomUUID().replaceAll('-', '')}`;
  const url = process.env.VERBATIM_TEST_DATABASE_URL.replace(/\/[^/]*$/, `/${name}`);
  const cluster = { DATABASE_URL: url, NATS_URL: process.env.VERBATIM_TEST_NATS_URL, NATS_PREFIX: name, MASTER_KEY };
  const embedded = (data) => ({ VERBATIM_DATA_DIR: join(folder, data), MASTER_KEY });
  const copy = (from, to) => run(['copy', '--from', from, '--to', to], {}, { cwd: folder, timeout: 60_000 });
  let cursor;

  before(() => execFileSync('psql', [process.env.VERBATIM_TEST_DATABASE_URL, '-q', '-c', `create database ${name} strategy wal_log`]));
  after(() => rmSync(folder, { recursive: true, force: true }));

  /** A server with these settings, ready. */
  async function serve(settings) {
    const server = new Process();
    await server.start(['serve'], { VERBATIM_LISTEN: '127.0.0.1:0', RATE_LIMIT_MESSAGES_PER_SECOND: '0', JWT_SECRET: SECRET, ...settings }, folder, new Log());
    await server.ready();
    return server;
  }

  /** What alice sees, and where bob's client has come. */
  async function history(url) {
    const rest = new Rest(url, await token(alice));
    return { messages: await rest.history(id), stream: await rest.stream() };
  }

  test('keeps messages, keys and cursors, on both ways', { timeout: 120_000 }, async () => {
    const origin = await serve(embedded('one'));
    const a = await Client.connect(origin.url, { token: await token(alice) });
    const b = await Client.connect(origin.url, { token: await token(bob) });
    await a.send(first);
    for (let n = 0; n < 300; n += 1) await a.send({ conversationId: id, content: `${n}` });
    cursor = (await b.message('149')).cursor;
    a.close();
    b.close();
    const before = await history(origin.url);
    const inUse = await copy('sqlite:one', url);
    assert.equal(inUse.code, 3);
    assert.match(inUse.stderr, /--from: .*in use/);
    assert.equal(await origin.stop(), 0);

    const copied = await copy('sqlite:one', url);
    assert.equal(copied.code, 0, copied.stderr);
    assert.match(copied.stdout, /^copied \d+ events, 0 were there; all \d+ are the same$/m);
    const again = await copy('sqlite:one/journal.sqlite', url);
    assert.match(again.stdout, /^copied 0 events, \d+ were there; all \d+ are the same$/m);

    // Its read models can be made before any server uses it.
    const rebuilt = await run(['rebuild'], { DATABASE_URL: url });
    assert.match(rebuilt.stdout, /^views and analytics were made anew from \d+ events$/m, rebuilt.stderr);

    const moved = await serve(cluster);
    assert.deepEqual(await history(moved.url), before);
    const resumed = await Client.connect(moved.url, { token: await token(bob), cursor });
    assert.deepEqual(resumed.all('message:receive').map(({ data }) => data.content), Array.from({ length: 150 }, (_, n) => `${n + 150}`));
    assert.equal(resumed.all('stream:reset').length, 0);
    resumed.close();
    const writer = await Client.connect(moved.url, { token: await token(alice) });
    assert.equal((await writer.ask('message:send', first)).duplicate, true);
    await writer.send({ conversationId: id, content: 'in the cluster' });
    writer.close();
    const later = await history(moved.url);
    const written = await copy('sqlite:one', url);
    assert.equal(written.code, 3);
    assert.match(written.stderr, /--to: aggregate workers write to it/);
    assert.equal(await moved.stop(), 0);

    const back = await copy(url, 'sqlite:two');
    assert.equal(back.code, 0, back.stderr);
    const home = await serve(embedded('two'));
    assert.deepEqual(await history(home.url), later);
    assert.equal(await home.stop(), 0);
  });

  test('is refused where it is no copy of the other', async () => {
    const other = await serve(embedded('three'));
    await new Rest(other.url, await token(alice)).post(`/app/conversations/${conversation()}/messages`, { targetUserId: bob, content: 'another log' });
    assert.equal(await other.stop(), 0);
    const refused = await copy('sqlite:three', url);
    assert.equal(refused.code, 3);
    assert.match(refused.stderr, /--to: .*another journal/);
    for (const [from, to, exit, names] of [
      ['nowhere', url, 2, /--from: must be sqlite:FOLDER or postgres/],
      ['sqlite:', url, 2, /--from: names no folder/],
      ['sqlite:missing', url, 3, /--from: .*no such folder/],
      ['sqlite:three', 'mysql://x', 2, /--to: must be/],
    ]) {
      const { code, stderr } = await copy(from, to);
      assert.equal(code, exit);
      assert.match(stderr, names);
    }
  });

  test('takes nothing of a log that has gone on by itself', { timeout: 60_000 }, async () => {
    const head = () => Number(execFileSync('psql', [url, '-Atc', 'select position from journal.journal_head'], { encoding: 'utf8' }));
    for (const [settings, messages] of [[embedded('two'), 4], [cluster, 1]]) {
      const server = await serve(settings);
      const rest = new Rest(server.url, await token(alice));
      for (let n = 0; n < messages; n += 1) assert.equal((await rest.post(`/app/conversations/${id}/messages`, { content: `${n} here alone` })).status, 201);
      assert.equal(await server.stop(), 0);
    }
    const before = head();
    const apart = await copy('sqlite:two', url);
    assert.equal(apart.code, 2);
    assert.match(apart.stderr, /--to: position \d+ of the copy is another event: it is no copy of this log/);
    assert.equal(head(), before);
  });

  test('takes an erasure while no server runs', { timeout: 60_000 }, async () => {
    const database = { DATABASE_URL: url, MASTER_KEY };
    const erase = (...args) => run(['erase', '--user', alice, ...args], database);
    const said = async () => (await run(['replay', '--type', 'MessageSent'], database)).stdout;
    assert.match(await said(), /"content":"first"/);
    const server = await serve(cluster);
    const inUse = await erase();
    assert.equal(inUse.code, 3);
    assert.match(inUse.stderr, /aggregate workers write to it/);
    assert.equal(await server.stop(), 0);
    const erased = await erase();
    assert.equal(erased.code, 0, erased.stderr);
    assert.match(erased.stdout, /had said is erased/);
    assert.doesNotMatch(await said(), /"content"/);
    assert.match((await erase()).stdout, /was erased before/);
    assert.match((await run(['replay', '--type', 'SubjectErased'], database)).stdout, new RegExp(`"subjectId":"${alice}"`));
  });
});
