// Another system's history becomes events: whole or not at all, once, with its own times, and nobody is told.

import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import { deploy, isCluster } from './harness/deployment.mjs';
import { lines } from './harness/events.mjs';
import { environment, executable, run } from './harness/executable.mjs';
import { conversation, user } from './harness/names.mjs';
import { until } from './harness/until.mjs';

const folder = mkdtempSync(join(tmpdir(), 'verbatim-import-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const file = (entries, name = `${randomUUID()}.ndjson`) => {
  writeFileSync(join(folder, name), entries.map((entry) => (typeof entry === 'string' ? entry : JSON.stringify(entry)) + '\n').join(''));
  return name;
};
const begun = (conversationId, memberIds, fields = {}) => ({ type: 'conversation', conversationId, conversationType: 'direct', memberIds, createdBy: memberIds[0], createdAt: '2019-05-06T07:08:09.010Z', ...fields });
const said = (id, conversationId, senderId, content, createdAt, fields = {}) => ({ type: 'message', id, conversationId, senderId, content, createdAt, ...fields });

describe('a file', { skip: isCluster && 'it is the same in both forms' }, () => {
  const [ann, ben, cid, id] = [user('ann'), user('ben'), user('cid'), conversation()];
  const start = begun(id, [ann, ben]);
  const hello = said('m1', id, ann, 'Hello!', '2020-01-01T00:00:00Z');
  /** Into a data folder of its own, which is made. */
  const load = (entries, { args = [], data = randomUUID(), input } = {}) =>
    run(['import', '--format', 'ndjson', ...args, input ?? file(entries)], { VERBATIM_DATA_DIR: join(folder, data) }, { cwd: folder, timeout: 60_000 });

  for (const [what, entry, message] of [
    ['no JSON', '{"type":', /not valid JSON/],
    ['no object', '[]', /must be a JSON object/],
    ['an unknown type', { ...hello, type: 'reaction' }, /type must be `conversation` or `message`/],
    ['an unknown field', { ...hello, text: 'x' }, /text is not known/],
    ['no content', { ...hello, content: '' }, /content must not be empty/],
    ['NUL', { ...hello, content: 'a\0b' }, /content must not hold NUL/],
    ['too much content', { ...hello, content: 'x'.repeat(32_769) }, /longer than 32768 bytes/],
    ['a malformed user', { ...hello, senderId: 'no id' }, /senderId may only hold/],
    ['no time', { ...hello, createdAt: undefined }, /createdAt is missing/],
    ['a malformed time', { ...hello, createdAt: 'yesterday' }, /createdAt must be a time/],
    ['a time that is yet to come', { ...hello, createdAt: '2999-01-01T00:00:00Z' }, /not in the future/],
    ['an attachment that is no web address', { ...hello, attachments: [{ name: 'a', url: 'file:///etc/passwd' }] }, /attachments\[0\]\.url must be an http or https URL/],
    ['a sender who is no member', { ...hello, senderId: cid }, /the sender is no member/],
    ['an unknown conversation', { ...hello, conversationId: conversation() }, /there is no such conversation: its line must come before/],
    ['three in a direct conversation', begun(conversation(), [ann, ben, cid]), /memberIds must hold two users/],
    ['a creator who is no member', begun(conversation(), [ann, ben], { createdBy: cid }), /createdBy is none of memberIds/],
    ['another conversation of the same id', begun(id, [ann, cid]), /another conversation has this id/],
    ['a line without end', `"${'x'.repeat(2_000_000)}"`, /is too long/],
  ]) {
    test(`with ${what} is refused, and nothing of it is imported`, async () => {
      const data = randomUUID();
      for (const args of [['--check'], []]) {
        const { code, stdout, stderr } = await load([start, hello, '', entry, said('m2', id, ben, 'after it', '2020-01-01T00:00:01Z')], { args, data });
        assert.equal(code, 2, stderr);
        assert.match(stderr, /^line 4: /);
        assert.match(stderr, message);
        assert.match(stderr, /\nverbatim: 1 of 4 lines can't be imported; nothing was\n$/);
        assert.equal(stdout, '');
      }
      const { stdout } = await run(['replay'], { VERBATIM_DATA_DIR: join(folder, data) });
      assert.equal(stdout, '');
    });
  }

  test('with bytes that are no text is refused', async () => {
    writeFileSync(join(folder, 'latin1.ndjson'), Buffer.from(`${JSON.stringify(start)}\n${JSON.stringify({ ...hello, content: 'é' })}\n`, 'latin1'));
    const { code, stderr } = await load([], { input: 'latin1.ndjson' });
    assert.equal(code, 2);
    assert.match(stderr, /line 2: is not UTF-8/);
  });

  test('is told each bad line, and nothing that was written there', async () => {
    const { code, stderr } = await load([hello, start, { ...hello, attachments: 'a secret' }, hello, { ...hello, role: '' }], { args: ['--check'] });
    assert.equal(code, 2);
    assert.deepEqual(stderr.split('\n').map((line) => /^line (\d+):/.exec(line)?.[1]).filter(Boolean), ['1', '3', '5']);
    assert.doesNotMatch(stderr, /secret|Hello/);
  });

  test('is needed, in a format that there is', async () => {
    for (const [args, message] of [
      [[], /<FILE>/],
      [['missing.ndjson'], /missing\.ndjson: No such file/],
      [['.'], /\.: is a directory/],
      [['--format', 'csv', file([start])], /invalid value 'csv' for '--format/],
    ]) {
      const { code, stderr } = await run(['import', ...args], { VERBATIM_DATA_DIR: join(folder, 'unused') }, { cwd: folder });
      assert.equal(code, 2, stderr);
      assert.match(stderr, message);
    }
  });

  test('that is checked leaves no trace, and an empty one adds nothing', async () => {
    const { code, stdout } = await load([start, hello], { args: ['--check'], data: 'never' });
    assert.deepEqual([code, stdout], [0, 'all 2 lines can be imported\n']);
    assert.throws(() => rmSync(join(folder, 'never')), /ENOENT/);
    assert.match((await load([])).stdout, /^imported 0 conversations and 0 messages; 0 lines/);
  });

  test('may come by a pipe', async () => {
    const child = spawn(executable, ['import', '-'], { env: environment({ VERBATIM_DATA_DIR: join(folder, 'piped') }), stdio: ['pipe', 'pipe', 'inherit'] });
    let stdout = '';
    child.stdout.setEncoding('utf8').on('data', (text) => (stdout += text));
    child.stdin.end([start, hello].map((entry) => JSON.stringify(entry)).join('\r\n'));
    assert.deepEqual(await once(child, 'close'), [0, null]);
    assert.equal(stdout, 'imported 1 conversations and 1 messages; 0 lines were there already\n');
  });

  test('with a line that says something else than what is there is imported but for that', async () => {
    const data = randomUUID();
    const other = conversation();
    const entries = [start, begun(other, [ann, ben]), hello, said('m2', id, ben, 'two', '2020-01-01T00:00:01Z')];
    assert.equal((await load(entries, { data })).code, 0);
    const changes = [{ ...hello, content: 'edited' }, { ...hello, conversationId: other }, { ...hello, createdAt: '2020-01-01T00:00:01Z' }, { ...hello, senderId: ben }];
    const more = said('m3', id, ben, 'three', '2020-01-01T00:00:02Z');
    const { code, stdout, stderr } = await load([...entries, ...changes, more, more, { ...more, content: 'four' }], { data });
    assert.equal(code, 1);
    assert.equal(stdout, 'imported 0 conversations and 1 messages; 5 lines were there already\n');
    assert.deepEqual(stderr.split('\n').map((line) => /^line (\d+): another message of this id/.exec(line)?.[1]).filter(Boolean), ['5', '6', '7', '8', '11']);
    const messages = lines((await run(['replay', '--type', 'MessageSent'], { VERBATIM_DATA_DIR: join(folder, data) })).stdout);
    assert.deepEqual(messages.map(({ payload }) => [payload.sequence, payload.personal.content]), [[1, 'Hello!'], [2, 'two'], [3, 'three']]);
  });
});

describe('history', () => {
  const deployment = deploy();
  const [ann, ben, cid] = [user('ann'), user('ben'), user('cid')];
  const [direct, group, silent, live, unread] = ['direct', 'group', 'silent', 'live', 'unread'].map((kind) => conversation(kind));
  const uuid = '0b0e7c8e-5d1f-4b8e-9f54-2f1d6d3c1a77';
  const odd = 'Tabs\tlines\n "quotes" \\ </script> \u2028 \u0001 日本語 🙂';
  const entries = [
    begun(direct, [ann, ben]),
    begun(group, [ben, ann, cid], { conversationType: 'group', title: 'Support', createdAt: '2018-01-01T00:00:00+02:00' }),
    begun(silent, [ann, cid], { createdAt: undefined }),
    said('65b2f0c4e13a4d0012345678', direct, ann, 'first', '2020-01-01T10:00:00.123Z', { email: 'ann@example.com' }),
    said(uuid, group, cid, odd, '2020-01-01T10:00:01Z', { role: 'agent', attachments: [{ name: 'a.pdf', url: 'https://files.example.com/a.pdf', mimeType: 'application/pdf', size: 1_024 }, { name: 'b', url: 'http://b' }] }),
    said('018d2f6e-8a00-7c3a-9d5e-0123456789ab', direct, ben, 'second', '2020-01-01T09:00:00Z'),
    said('65b2f0c4e13a4d0012345679', group, ann, 'x'.repeat(32_768), '2021-01-01T00:00:00Z'),
  ];
  const writers = () => deployment.processes.filter(({ role }) => role === 'all' || role === 'aggregate');
  const load = (list, args = []) => run(['import', ...args, file(list)], deployment.settings, { cwd: folder, timeout: 60_000 });
  /** A worker that has no lanes yet when it ends counts as living until its lease has run out. */
  const shared = () => execFileSync('psql', [deployment.settings.DATABASE_URL, '-Atc', 'select count(distinct owner) from journal.lanes'], { encoding: 'utf8' }) === '2\n';
  /** Of a cluster the rest goes on meanwhile. */
  const stopped = async (work) => {
    if (isCluster) await until(shared);
    assert.deepEqual(new Set(await Promise.all(writers().map((process) => process.stop()))), new Set([0]));
    try {
      return await work();
    } finally {
      await deployment.start();
    }
  };
  let watcher;

  before(async () => {
    const a = await deployment.connect(ann);
    await a.send({ conversationId: live, targetUserId: ben, content: 'said here' });
    if (isCluster) watcher = await deployment.connect(ben);
    else a.close();
  });

  test('is not brought in beside those who write', async () => {
    const { code, stderr } = await load(entries);
    assert.equal(code, 3, stderr);
    assert.match(stderr, isCluster ? /aggregate workers write to it: stop them/ : /in use by another process/);
  });

  test('comes in once, with what it says', { timeout: 60_000 }, async () => {
    await stopped(async () => {
      const refused = await load([...entries, begun(live, [ann, ben]), said('m', live, ann, 'before', '2020-01-01T00:00:00Z')]);
      assert.equal(refused.code, 2);
      assert.match(refused.stderr, /line 8: another conversation has this id here\nline 9: something was said in the conversation here/);
      for (const expected of ['imported 3 conversations and 4 messages; 0 lines', 'imported 0 conversations and 0 messages; 7 lines']) {
        const { code, stdout, stderr } = await load(entries);
        assert.equal(code, 0, stderr);
        assert.equal(stdout, `${expected} were there already\n`);
      }
    });
    const rest = await deployment.rest(ann);
    for (const [id, kind] of [[direct, 'user'], [group, 'agent']]) {
      const expected = entries.filter((entry) => entry.type === 'message' && entry.conversationId === id);
      const shown = await rest.history(id);
      assert.equal(shown.length, expected.length);
      for (const [n, entry] of expected.entries()) {
        const message = shown[n];
        assert.deepEqual(
          { content: message.content, sender: message.sender, senderInfo: message.senderInfo, attachments: message.attachments, createdAt: message.createdAt, sequence: message.sequence },
          {
            content: entry.content,
            sender: entry.role === undefined ? 'user' : kind,
            senderInfo: { userId: entry.senderId, ...(entry.email && { email: entry.email }), role: entry.role ?? 'user' },
            attachments: entry.attachments ?? [],
            createdAt: new Date(entry.createdAt).toISOString(),
            sequence: n + 1,
          },
        );
        if (entry.id === uuid) assert.deepEqual([message._id, message.clientMessageId], [uuid, undefined]);
        else assert.deepEqual([message._id[14], message.clientMessageId], ['8', entry.id]);
      }
    }
  });

  test('has its own times, is read, delivered, and in nobody\'s stream', async () => {
    const rest = await deployment.rest(ann);
    const { data } = (await rest.get('/app/conversations')).body;
    assert.deepEqual(data.map(({ _id }) => _id), [group, direct, silent, live], 'as the log has them');
    const [g, d, s] = data;
    assert.deepEqual([g.type, g.title, g.createdBy, g.createdAt, g.updatedAt, g.unreadCount], ['group', 'Support', ben, '2017-12-31T22:00:00.000Z', '2021-01-01T00:00:00.000Z', 0]);
    assert.deepEqual([d.type, d.title, d.createdAt, d.updatedAt, d.unreadCount, d.lastMessage.content], ['direct', null, '2019-05-06T07:08:09.010Z', '2020-01-01T09:00:00.000Z', 0, 'second']);
    assert.ok(Math.abs(Date.parse(s.createdAt) - Date.now()) < 120_000, 'when it was brought in');
    const { body } = await rest.get(`/app/messages/${uuid}/deliveries`);
    assert.deepEqual(body.data.map(({ status, updatedAt }) => [status, updatedAt]), Array(2).fill(['delivered', '2020-01-01T10:00:01.000Z']));
    for (const who of [ann, ben, cid]) {
      const theirs = await deployment.rest(who);
      assert.deepEqual((await theirs.get('/app/notifications')).body.data.filter(({ conversationId }) => conversationId !== live), []);
      assert.deepEqual((await theirs.stream()).map(({ content }) => content), who === cid ? [] : ['said here']);
    }
    const client = await deployment.connect(cid);
    assert.deepEqual(client.messages, []);
    assert.equal(client.all('stream:ready')[0].data.replayed, 0);
    client.close();
    if (watcher) assert.deepEqual(watcher.messages.map(({ content }) => content), ['said here']);
  });

  test('is gone on with here, live', async () => {
    const [a, c] = [await deployment.connect(ann), await deployment.connect(cid)];
    const sent = await a.send({ conversationId: group, content: 'goes on' });
    assert.equal(sent.sequence, 3);
    assert.equal((await c.message('goes on'))._id, sent._id);
    assert.deepEqual(c.messages.map(({ content }) => content), ['goes on']);
    const rest = await deployment.rest(cid);
    const unreadCount = async () => (await rest.get('/app/conversations')).body.data.find(({ _id }) => _id === group).unreadCount;
    assert.equal(await unreadCount(), 1);
    assert.equal((await c.ask('conversation:read', { conversationId: group, sequence: 2 })).success, true);
    assert.equal(await unreadCount(), 1, 'its history was read before');
    await c.ask('conversation:read', { conversationId: group });
    assert.equal(await unreadCount(), 0);
    a.close();
    c.close();
  });

  test('can be told of as it stood, and is an event like any other', async () => {
    const head = lines((await run(['replay'], deployment.settings)).stdout).at(-1).position;
    const { stdout } = await run(['as-of', `${head}`, '--conversation', group], deployment.settings);
    const [{ conversation: stood, messages }] = lines(stdout);
    assert.deepEqual([stood.createdAt, messages.map(({ createdAt }) => createdAt.slice(0, 4))], ['2017-12-31T22:00:00.000Z', ['2020', '2021', String(new Date().getFullYear())]]);
    const events = lines((await run(['replay', '--conversation', group, '--type', 'MessageSent'], deployment.settings)).stdout);
    assert.deepEqual(events.map(({ eventVersion, payload, command }) => [eventVersion, payload.imported?.sentAt, command.issuer === '$import']), [
      ['2', '2020-01-01T10:00:01.000Z', true],
      ['2', '2021-01-01T00:00:00.000Z', true],
      ['1', undefined, false],
    ]);
    const admin = await deployment.rest(user('admin'), { role: 'admin' });
    const { body } = await admin.get(`/app/audit/conversations/${group}`);
    assert.deepEqual(body.data.messages, messages);
    const exported = async (format, out) => {
      assert.equal((await run(['export', '--format', format, '--type', 'MessageSent', '--conversation', group, '--out', out], deployment.settings, { cwd: folder })).code, 0);
      return readFileSync(join(folder, out), 'utf8');
    };
    const here = events[2].recordedAt;
    assert.deepEqual(lines(await exported('cloudevents', 'events.ndjson')).map(({ time }) => time), ['2020-01-01T10:00:01.000Z', '2021-01-01T00:00:00.000Z', here]);
    const [header, first] = (await exported('csv', 'events.csv')).split('\n').map((line) => line.split(','));
    assert.equal(first[header.findIndex((name) => name.includes('happened_at'))].replaceAll('"', ''), '2020-01-01T10:00:01.000Z');
    const checked = await run(['rebuild', '--check'], deployment.settings, { timeout: 60_000 });
    assert.equal(checked.code, 0, checked.stdout + checked.stderr);
  });

  test('may be imported again, but nothing comes before what was said here', { timeout: 60_000 }, async () => {
    await stopped(async () => {
      assert.equal((await load(entries)).stdout, 'imported 0 conversations and 0 messages; 7 lines were there already\n');
      const late = [...entries, said('late', group, ann, 'too late', '2021-01-02T00:00:00Z')];
      for (const args of [['--check'], []]) {
        const { code, stderr } = await load(late, args);
        assert.equal(code, 2);
        assert.match(stderr, /line 8: something was said in the conversation here: history can't be put before it/);
      }
      const more = [begun(direct, [ann, ben]), said('more', direct, ann, 'third', '2021-01-02T00:00:00Z')];
      assert.equal((await load(more)).stdout, 'imported 0 conversations and 1 messages; 1 lines were there already\n');
      const fresh = [begun(unread, [ann, ben]), said('u1', unread, ann, 'one', '2021-01-02T00:00:00Z'), said('u2', unread, ben, 'two', '2021-01-02T00:00:00Z')];
      assert.equal((await load(fresh, ['--unread'])).code, 0);
    });
    const rest = await deployment.rest(ben);
    assert.deepEqual((await rest.history(direct)).map(({ content }) => content), ['first', 'second', 'third']);
    const { data } = (await rest.get('/app/conversations')).body;
    assert.deepEqual(data.slice(0, 2).map(({ _id, unreadCount }) => [_id, unreadCount]), [[unread, 1], [direct, 0]]);
    assert.deepEqual((await rest.stream()).map(({ content }) => content), ['said here', 'goes on']);
  });

  test('that was broken off is completed, in its order', { timeout: 90_000 }, async () => {
    const ids = [conversation(), conversation(), conversation()];
    const many = [
      ...ids.map((id) => begun(id, [ann, ben])),
      ...Array.from({ length: 6_000 }, (_, n) => said(`many-${n}`, ids[n % 3], [ann, ben][n % 2], `${n}`, new Date(1_600_000_000_000 + n * 1_000).toISOString())),
    ];
    const input = file(many);
    const there = async () => {
      const { stdout } = await run(['replay', '--type', 'MessageSent', '--conversation', ids[0]], deployment.settings);
      return lines(stdout).length;
    };
    await stopped(async () => {
      const child = spawn(executable, ['import', input], { env: environment(deployment.settings), cwd: folder, stdio: 'ignore' });
      await until(there);
      child.kill('SIGKILL');
      await once(child, 'close');
      const some = await there();
      // A killed import's leases on the lanes must run out.
      const done = await until(async () => {
        const outcome = await run(['import', input], deployment.settings, { cwd: folder, timeout: 60_000 });
        return outcome.code === 3 ? undefined : outcome;
      });
      assert.equal(done.code, 0, done.stderr);
      const [, conversations, messages, present] = /^imported (\d+) conversations and (\d+) messages; (\d+) lines were there already\n$/.exec(done.stdout);
      assert.equal(Number(conversations), 0);
      assert.equal(Number(messages) + Number(present), many.length);
      assert.ok(Number(present) >= some, `${present} lines, of which ${some} were seen`);
    });
    const rest = await deployment.rest(ann);
    for (const [n, id] of ids.entries()) {
      const expected = Array.from({ length: 2_000 }, (_, at) => `${at * 3 + n}`);
      assert.deepEqual((await rest.history(id)).map(({ content }) => content), expected);
    }
  });

  test('of ours goes elsewhere, as the API gives it', { timeout: 60_000 }, async () => {
    const rest = await deployment.rest(ann);
    const { data } = (await rest.get('/app/conversations')).body;
    const moved = data.find(({ _id }) => _id === group);
    const messages = await rest.history(group);
    const list = [
      { type: 'conversation', conversationId: moved._id, conversationType: moved.type, memberIds: moved.memberIds, createdBy: moved.createdBy, title: moved.title, createdAt: moved.createdAt },
      ...messages.map((message) => ({
        type: 'message', id: message._id, conversationId: message.conversationId, senderId: message.senderId, role: message.senderInfo.role,
        email: message.senderInfo.email, content: message.content, attachments: message.attachments, createdAt: message.createdAt,
      })),
    ];
    const other = { VERBATIM_DATA_DIR: join(folder, 'elsewhere') };
    mkdirSync(other.VERBATIM_DATA_DIR);
    assert.equal((await run(['import', file(list)], other, { cwd: folder })).stdout, 'imported 1 conversations and 3 messages; 0 lines were there already\n');
    const [stood] = lines((await run(['as-of', '7'], other)).stdout);
    const bare = ({ _id, clientMessageId, ...message }) => message;
    assert.deepEqual(stood.messages.map(bare), messages.map(bare));
    assert.deepEqual(stood.conversation.members.map(({ userId }) => userId).toSorted(), moved.memberIds.toSorted());
  });
});
