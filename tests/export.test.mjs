// Events as files: what is written, what is refused, and what a full disk leaves.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import { deploy, isCluster } from './harness/deployment.mjs';
import { run } from './harness/executable.mjs';
import { lines } from './harness/events.mjs';
import { conversation, key, user } from './harness/names.mjs';

const folder = mkdtempSync(join(tmpdir(), 'verbatim-export-'));
after(() => rmSync(folder, { recursive: true, force: true }));

let made = 0;
/** A name that nothing has yet. */
const fresh = (ending = '') => join(folder, `out-${(made += 1)}${ending}`);

describe('an export', () => {
  const deployment = deploy();
  const [alice, bob, id, other] = [user('alice'), user('bob'), conversation(), conversation()];
  const texts = Array.from({ length: 30 }, (_, n) => `${n} "quoted", 🦀\r\nand\u0001 more`);
  let head;

  const exported = (args, settings = {}) => run(['export', ...args], { ...deployment.settings, ...settings }, { timeout: 60_000 });

  /** The events of an NDJSON export. */
  async function events(...args) {
    const out = fresh('.ndjson');
    const { code, stderr } = await exported(['--format', 'ndjson', '--out', out, ...args]);
    assert.equal(code, 0, stderr);
    return lines(readFileSync(out, 'utf8'));
  }

  before(async () => {
    const client = await deployment.connect(alice);
    for (const content of texts) await client.send({ conversationId: id, targetUserId: bob, content, clientMessageId: key() });
    await client.send({ conversationId: other, targetUserId: user('carol'), content: 'elsewhere' });
    head = (await events()).length;
  });

  test('has every event once and in order, as an envelope a line, the same each time', async () => {
    const [one, two] = [fresh('.ndjson'), fresh('.ndjson')];
    for (const out of [one, two]) assert.equal((await exported(['--format', 'ndjson', '--out', out, '--to', `${head}`])).code, 0);
    assert.deepEqual(readFileSync(one), readFileSync(two));
    assert.deepEqual(readFileSync(`${one}.manifest.json`, 'utf8').replaceAll(/out-\d+/g, ''), readFileSync(`${two}.manifest.json`, 'utf8').replaceAll(/out-\d+/g, ''));
    const all = lines(readFileSync(one, 'utf8'));
    assert.deepEqual(all.map(({ position }) => position), Array.from({ length: head }, (_, n) => n + 1));
    const sent = all.filter(({ eventType, aggregateId }) => eventType === 'MessageSent' && aggregateId === id);
    assert.deepEqual(sent.map(({ payload }) => payload.personal.content), texts);
    assert.deepEqual(Object.keys(sent[0]), ['position', 'aggregateType', 'aggregateId', 'sequence', 'recordedAt', 'command', 'metadata', 'eventType', 'eventVersion', 'payload']);
    assert.equal(sent[0].command.issuer, alice);
    assert.match(sent[0].recordedAt, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
  });

  test('takes positions and times for its ends, both included', async () => {
    const all = await events('--to', `${head}`);
    const positions = (some) => some.map(({ position }) => position);
    assert.deepEqual(positions(await events('--from', '3', '--to', '5')), [3, 4, 5]);
    const [from, to] = [all[10].recordedAt, all[20].recordedAt];
    const within = all.filter(({ recordedAt }) => recordedAt >= from && recordedAt <= to);
    assert.deepEqual(positions(await events('--from', from, '--to', to)), positions(within));
    assert.deepEqual(await events('--to', '2000-01-01T00:00:00Z'), []);
  });

  test('chooses by conversation, user and type', async () => {
    const of = async (...args) => (await events('--to', `${head}`, ...args)).map(({ eventType, payload }) => payload.personal?.content ?? eventType);
    assert.deepEqual(await of('--conversation', other, '--type', 'MessageSent'), ['elsewhere']);
    assert.deepEqual(await of('--conversation', other, '--conversation', id, '--type', 'ConversationStarted'), ['ConversationStarted', 'ConversationStarted']);
    assert.deepEqual(await of('--user', bob, '--type', 'MemberJoined', '--type', 'MessageSent'), ['MemberJoined']);
    assert.deepEqual(await of('--user', user('nobody')), []);
  });

  test('is split into files with a manifest that is true', async () => {
    const out = fresh();
    const { code, stderr } = await exported(['--format', 'ndjson', '--out', out, '--events-per-file', '10', '--from', '2', '--to', `${head}`, '--type', 'MessageSent']);
    assert.equal(code, 0, stderr);
    assert.match(stderr, new RegExp(`^exported 31 events of positions 2 to ${head} .*--from ${head + 1} goes on after them$`, 'm'));
    const manifest = JSON.parse(readFileSync(join(out, 'manifest.json'), 'utf8'));
    assert.deepEqual({ ...manifest, journal: '', files: [] }, {
      journal: '', format: 'ndjson', from: 2, to: head, selection: { types: ['MessageSent'], conversations: [], users: [] }, events: 31, files: [],
    });
    assert.deepEqual(manifest.files.map(({ events }) => events), [10, 10, 10, 1]);
    assert.deepEqual(readdirSync(out).sort(), ['manifest.json', ...manifest.files.map(({ name }) => name)].sort());
    let next = 2;
    for (const { name, from, to, events, bytes, sha256 } of manifest.files) {
      const content = readFileSync(join(out, name));
      assert.equal(from, next);
      next = to + 1;
      assert.equal(content.length, bytes);
      assert.equal(createHash('sha256').update(content).digest('hex'), sha256);
      const read = lines(content.toString());
      assert.equal(read.length, events);
      assert.ok(read.every(({ position }) => position >= from && position <= to));
    }
    assert.equal(next, head + 1);
    assert.equal(statSync(out).mode & 0o777, 0o700);
    assert.equal(statSync(join(out, manifest.files[0].name)).mode & 0o777, 0o600);
  });

  test('of CloudEvents has what the specification asks for', async () => {
    const out = fresh('.ndjson');
    const { code, stderr } = await exported(['--format', 'cloudevents', '--out', out, '--to', `${head}`]);
    assert.equal(code, 0, stderr);
    const all = lines(readFileSync(out, 'utf8'));
    const originals = await events('--to', `${head}`);
    assert.equal(all.length, originals.length);
    for (const [n, event] of all.entries()) {
      assert.equal(event.specversion, '1.0');
      assert.match(event.source, /^urn:uuid:[0-9a-f-]{36}$/);
      const { position, eventType, aggregateType, aggregateId, recordedAt, payload } = originals[n];
      assert.deepEqual(
        [event.id, event.type, event.subject, event.time, event.data],
        [`${position}`, `verbatim.${eventType}.v1`, `${aggregateType}/${aggregateId}`, recordedAt, payload],
      );
      for (const [name, value] of Object.entries(event)) {
        assert.match(name, /^[a-z0-9]{1,20}$/);
        if (name !== 'data') assert.ok(typeof value === 'string' && value.length > 0, name);
      }
    }
    assert.deepEqual([...all].map(({ sequence }) => sequence).sort(), all.map(({ sequence }) => sequence));
  });

  test('of CSV is a table that is quoted where it must be', async () => {
    const out = fresh('.csv');
    const { code, stderr } = await exported(['--format', 'csv', '--out', out, '--to', `${head}`]);
    assert.equal(code, 0, stderr);
    const script = 'import csv, json, sys; print(json.dumps(list(csv.DictReader(open(sys.argv[1], newline="", encoding="utf-8")))))';
    const rows = JSON.parse(execFileSync('python3', ['-c', script, out], { encoding: 'utf8' }));
    const originals = await events('--to', `${head}`);
    assert.deepEqual(rows.map(({ position }) => Number(position)), originals.map(({ position }) => position));
    for (const [n, row] of rows.entries()) {
      assert.deepEqual(JSON.parse(row.payload), originals[n].payload);
      assert.deepEqual(JSON.parse(row.metadata), originals[n].metadata);
      assert.equal(row.content, originals[n].payload.personal?.content ?? '');
      assert.equal(row.issuer, originals[n].command?.issuer ?? '');
    }
  });

  test('goes on beside a server under load, each event once', { timeout: 60_000 }, async () => {
    const client = await deployment.connect(alice);
    let [sending, sent] = [true, 0];
    const load = (async () => {
      while (sending) {
        await Promise.all(Array.from({ length: 20 }, () => client.ask('message:send', { conversationId: id, content: 'load' })));
        sent += 20;
      }
    })();
    let from = head + 1;
    const read = [];
    try {
      for (let n = 0; n < 5; n += 1) {
        const part = await events('--from', `${from}`);
        read.push(...part);
        from += part.length;
      }
    } finally {
      sending = false;
      await load;
    }
    read.push(...(await events('--from', `${from}`)));
    assert.deepEqual(read.map(({ position }) => position), Array.from(read, (_, n) => head + 1 + n));
    assert.equal(read.filter(({ payload }) => payload.personal?.content === 'load').length, sent);
  });

  describe('is refused', () => {
    const refused = async (args, code, message, settings) => {
      const out = args.includes('--out') ? [] : ['--out', fresh('.ndjson')];
      const format = args.includes('--format') ? [] : ['--format', 'ndjson'];
      const outcome = await exported([...args, ...out, ...format], settings);
      assert.equal(outcome.code, code, outcome.stderr);
      assert.match(outcome.stderr, message);
      if (out.length > 0) for (const suffix of ['', '.partial', '.manifest.json']) assert.ok(!existsSync(`${out[1]}${suffix}`));
    };

    for (const [what, args, message] of [
      ['a malformed position', ['--from', '0'], /--from.*neither a position/s],
      ['a malformed time', ['--to', 'yesterday'], /--to.*neither a position/s],
      ['a reversed range', ['--from', '5', '--to', '3'], /ends before it begins/],
      ['a reversed range of times', ['--from', '2024-01-02T00:00:00Z', '--to', '2024-01-01T00:00:00Z'], /ends before it begins/],
      ['a range beyond the end', ['--to', '999999999'], /beyond the end of the log, which is \d+/],
      ['a beginning beyond the end', ['--from', '999999999'], /beyond the end/],
      ['a time that is yet to come', ['--to', '2999-01-01T00:00:00Z'], /yet to come/],
      ['a beginning that is yet to come', ['--from', '2999-01-01T00:00:00Z'], /yet to come/],
      ['an unknown format', ['--format', 'xml'], /ndjson, cloudevents, csv, parquet/],
      ['an unknown type of event', ['--type', 'Nonsense'], /no such type of event; there are .*MessageSent/],
      ['a malformed user', ['--user', 'no user'], /--user/],
      ['files of no events', ['--events-per-file', '0'], /--events-per-file/],
      ['a split file', ['--events-per-file', '5', '--out', fresh('.ndjson')], /needs a folder/],
    ]) {
      test(`with ${what}`, () => refused(args, 2, message));
    }

    test('where something is already', async () => {
      const [file, directory, partial, manifest] = [fresh('.ndjson'), fresh(), fresh('.ndjson'), fresh('.ndjson')];
      writeFileSync(file, 'precious');
      mkdirSync(directory);
      writeFileSync(`${partial}.partial`, 'under way');
      writeFileSync(`${manifest}.manifest.json`, 'precious');
      for (const out of [file, directory, partial, manifest]) await refused(['--out', out], 2, /--out: .* exists/);
      assert.equal(readFileSync(file, 'utf8'), 'precious');
      assert.equal(readFileSync(`${partial}.partial`, 'utf8'), 'under way');
    });

    test('where there is no journal', async () => {
      const empty = fresh();
      mkdirSync(empty);
      const embedded = (data) => ({ DATABASE_URL: undefined, VERBATIM_DATA_DIR: data });
      await refused([], 3, /holds no journal/, embedded(empty));
      await refused([], 3, /no such folder/, embedded(fresh()));
      assert.deepEqual(readdirSync(empty), []);
      await refused([], 3, /DATABASE_URL.*can't be reached/, { DATABASE_URL: 'postgres://127.0.0.1:1/nowhere' });
    });
  });
});

describe('an export of a stopped server', { skip: isCluster }, () => {
  const deployment = deploy();

  test('needs no server, and refuses the store of a newer version', async () => {
    const client = await deployment.connect(user('ann'));
    await client.send({ conversationId: conversation(), targetUserId: user('ben'), content: 'kept' });
    await deployment.kill();
    const out = fresh('.ndjson');
    const { code, stderr } = await run(['export', '--format', 'ndjson', '--out', out], deployment.settings);
    assert.equal(code, 0, stderr);
    assert.ok(lines(readFileSync(out, 'utf8')).some(({ payload }) => payload.personal?.content === 'kept'));
    const script = 'import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute("insert into _sqlx_migrations (version, description, success, checksum, execution_time) values (99, \'later\', 1, x\'\', 0)"); c.commit()';
    const newer = join(folder, 'newer');
    mkdirSync(newer);
    assert.equal((await run(['backup', '--out', join(newer, 'journal.sqlite')], deployment.settings)).code, 0);
    execFileSync('python3', ['-c', script, join(newer, 'journal.sqlite')]);
    const refused = await run(['export', '--format', 'ndjson', '--out', fresh('.ndjson'), '--data-dir', newer]);
    assert.equal(refused.code, 3);
    assert.match(refused.stderr, /made by another version: its schema is at 99, this version's at \d+:/);
    await deployment.start();
  });

  test('on a full disk leaves what is partial, and no manifest', { skip: process.getuid() !== 0 && 'only root can make a full disk' }, async (t) => {
    const small = join(folder, 'small');
    mkdirSync(small);
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', small]);
    t.after(() => execFileSync('umount', [small]));
    const client = await deployment.connect(user('ann'));
    const [id, ben] = [conversation(), user('ben')];
    for (let n = 0; n < 10; n += 1) await client.send({ conversationId: id, targetUserId: ben, content: 'x'.repeat(16_000) });
    const file = await run(['export', '--format', 'ndjson', '--out', join(small, 'out.ndjson')], deployment.settings);
    assert.equal(file.code, 1, file.stderr);
    assert.match(file.stderr, /No space left/);
    assert.deepEqual(readdirSync(small), ['out.ndjson.partial']);
    rmSync(join(small, 'out.ndjson.partial'));
    const split = await run(['export', '--format', 'parquet', '--out', join(small, 'out'), '--events-per-file', '2'], deployment.settings);
    assert.equal(split.code, 1, split.stderr);
    assert.deepEqual(readdirSync(small), ['out.partial']);
    assert.ok(!readdirSync(join(small, 'out.partial')).includes('manifest.json'));
  });
});
