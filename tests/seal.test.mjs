// Tamper evidence: proofs that hold with the public key alone, and rows that are altered behind the server's back.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import { deploy, Deployment, isCluster } from './harness/deployment.mjs';
import { lines } from './harness/events.mjs';
import { run } from './harness/executable.mjs';
import { conversation, user } from './harness/names.mjs';
import { makeSealKey } from './harness/tokens.mjs';
import { until } from './harness/until.mjs';

const folder = mkdtempSync(join(tmpdir(), 'verbatim-seal-'));
after(() => rmSync(folder, { recursive: true, force: true }));

let made = 0;
/** A name that nothing has yet. */
const fresh = (ending = '') => join(folder, `${(made += 1)}${ending}`);

function newKey() {
  const file = fresh('.pem');
  makeSealKey(file);
  return file;
}

describe('a sealed log', () => {
  const [key, checkpoints] = [newKey(), fresh('.checkpoints')];
  const deployment = deploy({ SEAL_KEY_FILE: key, SEAL_EVERY_EVENTS: '10', SEAL_EVERY_SECONDS: '1', SEAL_CHECKPOINTS_TO: checkpoints });
  const [ann, ben, auditor, one] = [user('ann'), user('ben'), user('auditor'), conversation()];
  let admin;
  let messages;
  let publicKey;

  const command = (args, settings) => run(args, { ...deployment.settings, ...settings }, { timeout: 60_000 });
  const replayed = async () => lines((await command(['replay', '--sealed'])).stdout);
  /** The one line of a command that must succeed. */
  async function line(...args) {
    const { code, stdout, stderr } = await command(...args);
    assert.equal(code, 0, stderr);
    return stdout.trim();
  }
  /** What is answered once there is a checkpoint. */
  async function sealed(path) {
    const { body } = await until(async () => {
      const answer = await admin.get(path);
      return answer.status !== 503 && answer;
    }, { what: `an answer to ${path}` });
    assert.equal(body.success, true, JSON.stringify(body));
    return body;
  }
  const saved = (proof) => {
    const file = fresh('.json');
    writeFileSync(file, typeof proof === 'string' ? proof : JSON.stringify(proof));
    return file;
  };
  /** Nothing but the proof and the key. */
  const check = (proof, ...keys) => run(['verify-proof', proof, ...(keys.length ? keys : [publicKey]).flatMap((text) => ['--public-key', text])]);
  const listed = async () => (await admin.get('/app/audit/checkpoints?limit=200')).body.data;

  before(async () => {
    admin = await deployment.rest(auditor, { role: 'admin' });
    const client = await deployment.connect(ann);
    messages = [];
    const send = async (n) => messages.push(await client.send({ conversationId: one, targetUserId: ben, content: `${n} "🦀"` }));
    for (let n = 0; n < 15; n += 1) await send(n);
    // So that there is more than one checkpoint.
    await sealed(`/app/audit/proofs/${messages.at(-1)._id}`);
    for (let n = 15; n < 30; n += 1) await send(n);
    client.close();
    publicKey = await line(['seal-key'], { SEAL_KEY_FILE: key });
    await sealed(`/app/audit/proofs/${messages.at(-1)._id}`);
  });

  test('has a public key that names the log, here and over REST', async () => {
    assert.match(publicKey, /^verbatim\/[0-9a-f-]{36}\+[0-9a-f]{8}\+[A-Za-z0-9+/]{44}$/);
    const { data } = await sealed('/app/audit/keys');
    assert.deepEqual(data, { log: publicKey.split('+')[0].split('/')[1], publicKeys: [publicKey] });
    assert.match(await line(['seal-key', '--seal-origin', 'example.com/log'], { SEAL_KEY_FILE: key }), /^example\.com\/log\+/);
  });

  test('proves each message, offline and with the public key alone', async () => {
    const events = await replayed();
    for (const message of [messages[0], messages[17], messages[29]]) {
      const answer = await sealed(`/app/audit/proofs/${message._id}`);
      const { code, stdout, stderr } = await check(saved(answer));
      assert.equal(code, 0, stderr);
      const [proved, event] = stdout.split('\n');
      const original = events.find(({ payload }) => payload.messageId === message._id);
      assert.match(proved, new RegExp(`^proved: position ${original.position} of verbatim/`));
      assert.deepEqual(JSON.parse(event), original);
      // So says whoever does it by hand, as the documentation has it.
      const script = fresh('.py');
      writeFileSync(script, readFileSync(new URL('../docs/tamper-evidence.md', import.meta.url), 'utf8').match(/```python\n(.*?)```/s)[1]);
      assert.ok(execFileSync('python3', [script, saved(answer), publicKey], { encoding: 'utf8' }).includes(`proved: ${event}`));
      const forged = saved({ ...answer, data: { ...answer.data, event: answer.data.event.replace(/"sealed":"./, (text) => text.slice(0, -1) + (text.endsWith('A') ? 'B' : 'A')) } });
      assert.throws(() => execFileSync('python3', [script, forged, publicKey], { stdio: 'ignore' }));
      // The data alone is a proof as well.
      assert.equal((await check(saved(answer.data))).code, 0);
    }
  });

  test('proves that nothing changed between two checkpoints', async () => {
    const sizes = (await listed()).map(({ size }) => size);
    assert.ok(sizes.length > 1);
    for (const path of ['/app/audit/consistency', `/app/audit/consistency?from=${sizes.at(-1)}`, `/app/audit/consistency?from=${sizes[1]}&to=${sizes[0]}`, `/app/audit/consistency?from=${sizes[0]}&to=${sizes[0]}`]) {
      const { code, stdout, stderr } = await check(saved(await sealed(path)));
      assert.equal(code, 0, stderr);
      assert.match(stdout, /^proved: the first \d+ events of verbatim\/\S+ are the same in its checkpoint of \d+ events$/m);
    }
  });

  test('lists its checkpoints newest first, page by page, and appends them to the file', async () => {
    const all = await listed();
    const paged = [];
    let cursor = '';
    do {
      const { data, nextCursor } = (await admin.get(`/app/audit/checkpoints?limit=2${cursor}`)).body;
      paged.push(...data);
      cursor = nextCursor && `&cursor=${nextCursor}`;
    } while (cursor);
    assert.deepEqual(paged.slice(-all.length), all);
    const sizes = all.map(({ size }) => size);
    assert.deepEqual(sizes, [...sizes].sort((a, b) => b - a));
    for (const { checkpoint, size } of all) assert.match(checkpoint, new RegExp(`^verbatim/\\S+\\n${size}\\n\\S{44}\\n\\n— verbatim/\\S+ \\S+\\n$`));
    await until(() => readFileSync(checkpoints, 'utf8').includes(all[0].checkpoint), { what: 'the checkpoint in the file' });
  });

  test('records each look at it before it is shown', async () => {
    const looker = user('looker');
    const rest = await deployment.rest(looker, { role: 'admin' });
    const { body } = await rest.get(`/app/audit/proofs/${messages[0]._id}`);
    await rest.get(`/app/audit/consistency?from=${(await listed()).at(-1).size}`);
    await rest.get('/app/audit/checkpoints?limit=1');
    await rest.get('/app/audit/keys');
    const looks = (await replayed()).filter(({ aggregateType, aggregateId }) => aggregateType === 'audit' && aggregateId === looker);
    const position = body.data.leafIndex + 1;
    assert.deepEqual(looks[0].payload.accessed, { events: { from: position, to: position, conversationId: one } });
    assert.deepEqual(looks.slice(1).map(({ payload }) => Object.keys(payload.accessed)), [['seal'], ['seal'], ['seal']]);
  });

  describe('refuses over REST', () => {
    const paths = () => [`/app/audit/proofs/${messages[0]._id}`, '/app/audit/consistency?from=1', '/app/audit/checkpoints', '/app/audit/keys'];

    test('everyone but admins', async () => {
      for (const path of paths()) {
        assert.equal((await deployment.anonymous.get(path)).status, 401);
        for (const role of ['user', 'agent', 'system']) assert.equal((await (await deployment.rest(ann, { role })).get(path)).status, 403);
      }
    });

    for (const [what, path, status, field] of [
      ['a malformed message', '/app/audit/proofs/nonsense', 400, 'messageId'],
      ['a message that there is none of', '/app/audit/proofs/018f0000-0000-7000-8000-000000000000', 404],
      ['a size of nothing', '/app/audit/consistency?from=0', 400, 'from'],
      ['a malformed size', '/app/audit/consistency?from=ten', 400, 'from'],
      ['reversed sizes', '/app/audit/consistency?from=9&to=8', 400, 'from'],
      ['too large a size', '/app/audit/consistency?from=1&to=999999999', 400, 'to'],
      ['too large a beginning', '/app/audit/consistency?from=999999999', 400, 'from'],
      ['a malformed cursor', '/app/audit/checkpoints?cursor=x', 400, 'cursor'],
      ['too long a page', '/app/audit/checkpoints?limit=201', 400, 'limit'],
    ]) {
      test(what, async () => {
        const answer = await admin.get(path);
        assert.deepEqual([answer.status, answer.body.error.details.field], [status, field], JSON.stringify(answer.body));
      });
    }

    test('a size that no checkpoint has', async () => {
      const sizes = new Set((await listed()).map(({ size }) => size));
      const none = [...Array(Math.max(...sizes)).keys()].find((size) => size > 0 && !sizes.has(size));
      assert.equal((await admin.get(`/app/audit/consistency?from=${none}`)).body.error.details.field, 'from');
    });
  });

  test('a proof that proves nothing is told from what is none', async () => {
    const good = await sealed(`/app/audit/proofs/${messages[3]._id}`);
    const consistency = await sealed(`/app/audit/consistency?from=${(await listed()).at(-1).size}`);
    const [, hash, bytes] = publicKey.match(/\+([0-9a-f]{8})\+(.*)$/);
    const otherKey = await line(['seal-key'], { SEAL_KEY_FILE: newKey() });
    const otherLog = await line(['seal-key', '--seal-origin', 'another/log'], { SEAL_KEY_FILE: key });
    const { data } = good;
    const [proof, { from, to }] = [saved(good), consistency.data];
    for (const [what, file, keyText, code, message] of [
      ['another key', proof, otherKey, 4, /not signed with the key that was given, but by verbatim\//],
      ['a key of another log', proof, otherLog, 4, /not signed with the key that was given, but by verbatim\//],
      ['an event that was changed', saved({ ...data, event: data.event.replace('"senderRole":"user"', '"senderRole":"agent"') }), publicKey, 4, /does not lead/],
      ['another leaf', saved({ ...data, leafIndex: data.leafIndex + 1 }), publicKey, 4, /says position \d+/],
      ['a path that was mangled', saved({ ...data, path: [...data.path].reverse() }), publicKey, 4, /does not lead/],
      ['a path that was cut', saved({ ...data, path: data.path.slice(1) }), publicKey, 4, /does not lead/],
      ['a checkpoint that was changed', saved({ ...data, checkpoint: data.checkpoint.replace(/\n\d+\n/, '\n999\n') }), publicKey, 4, /signature of verbatim\/\S+ is wrong/],
      ['reversed checkpoints', saved({ ...consistency.data, from: to, to: from }), publicKey, 4, /the wrong way round/],
      ['no JSON', saved('nonsense'), publicKey, 2, /no proof/],
      ['half a file', saved(JSON.stringify(good).slice(0, 300)), publicKey, 2, /no proof/],
      ['another answer', saved({ success: true, data: [], timestamp: '' }), publicKey, 2, /no proof/],
      ['no checkpoint', saved({ ...data, checkpoint: 'x' }), publicKey, 2, /no signed note/],
      ['no file', fresh(), publicKey, 2, /No such file/],
      ['a malformed key', proof, 'nonsense', 2, /--public-key/],
      ['a key with another hash', proof, `other+${hash}+${bytes}`, 2, /--public-key/],
      ['no key', proof, undefined, 2, /--public-key/],
    ]) {
      const { code: got, stdout, stderr } = keyText ? await check(file, keyText) : await run(['verify-proof', file]);
      assert.equal(got, code, `${what}: ${stdout}${stderr}`);
      assert.match(stderr, message, what);
      assert.equal(stdout, '', what);
    }
  });

  test('is verified beside the running server, and by what was kept elsewhere', async () => {
    for (const args of [[], ['--public-key', publicKey], ['--public-key', publicKey, '--checkpoints', checkpoints]]) {
      const { code, stdout, stderr } = await command(['verify', ...args]);
      assert.equal(code, 0, stdout + stderr);
      assert.match(stdout, /^verified: the first \d+ events are what was sealed, by \d+ checkpoints(, and \d+ that were kept elsewhere)?$/m);
      assert.equal(stdout.includes('elsewhere'), args.includes('--checkpoints'));
      assert.equal(stderr.includes('keys are those that the store names'), args.length === 0);
    }
  });

  test('is not verified by another key, another log, or no checkpoints', async () => {
    const other = await line(['seal-key'], { SEAL_KEY_FILE: newKey() });
    const [empty, torn] = [saved(''), saved(readFileSync(checkpoints, 'utf8').slice(0, -20))];
    const nowhere = { VERBATIM_DATA_DIR: fresh(), DATABASE_URL: undefined };
    for (const [what, args, code, message, settings] of [
      ['another key', ['--public-key', other], 4, /not what was sealed/],
      ['a malformed key', ['--public-key', 'x'], 2, /--public-key/],
      ['checkpoints of another key', ['--public-key', other, '--checkpoints', checkpoints], 2, /there is none of this log.*but by verbatim\//],
      ['an empty file', ['--checkpoints', empty], 2, /there is none/],
      ['a torn file', ['--checkpoints', torn], 2, /checkpoint number \d+/],
      ['no such file', ['--checkpoints', fresh()], 2, /--checkpoints/],
      ['no such folder', [], 3, /no such folder/, nowhere],
    ]) {
      const { code: got, stdout, stderr } = await command(['verify', ...args], settings);
      assert.equal(got, code, `${what}: ${stdout}${stderr}`);
      assert.match(stderr, message, what);
    }
  });

  test('goes on after every process was killed, and its copy has the same root', { timeout: 60_000 }, async () => {
    const client = await deployment.connect(ann);
    const newest = (await listed())[0].size;
    for (let n = 0; n < 500; n += 1) client.emit('message:send', { conversationId: one, content: `under way ${n}` });
    await until(async () => (await listed())[0].size > newest + 20, { what: 'sealing under way' });
    await deployment.kill();
    client.close();
    await deployment.start();
    admin = await deployment.rest(auditor, { role: 'admin' });
    const writer = await deployment.connect(ann);
    const last = await writer.send({ conversationId: one, content: 'after it' });
    writer.close();
    await sealed(`/app/audit/proofs/${last._id}`);
    assert.equal(await deployment.stop(), 0);
    const original = await line(['verify', '--public-key', publicKey, '--checkpoints', checkpoints]);
    const copy = fresh();
    assert.equal((await command(['replay', '--into', `sqlite:${copy}`])).code, 0);
    const settings = { VERBATIM_DATA_DIR: copy, DATABASE_URL: undefined };
    // Nothing was sealed there; what was kept elsewhere vouches for it all the same.
    assert.equal((await command(['verify'], settings)).code, 3);
    const copied = await line(['verify', '--public-key', publicKey, '--checkpoints', checkpoints], settings);
    const root = (text) => text.match(/^root of all \d+: \S{44}$/m)[0];
    assert.equal(root(copied), root(original));
  });

  describe('tells, of a stopped server,', () => {
    before(async () => {
      if (deployment.running) await deployment.stop();
    });

    /** A copy that is altered by somebody who may do anything with the database. */
    async function altered(statements) {
      if (isCluster) {
        const url = deployment.settings.DATABASE_URL;
        const [name, copy] = [url.match(/[^/]*$/)[0], `altered_${process.pid}_${(made += 1)}`];
        execFileSync('psql', [process.env.VERBATIM_TEST_DATABASE_URL, '-q', '-c', `create database ${copy} template ${name} strategy file_copy`]);
        const settings = { DATABASE_URL: url.replace(name, copy) };
        const free = 'alter table journal.events disable trigger all; alter table seal.checkpoints disable trigger all; alter table journal.events alter column payload type text using payload::text; set search_path = journal, seal;';
        execFileSync('psql', [settings.DATABASE_URL, '-q', '-v', 'ON_ERROR_STOP=1', '-c', free + statements]);
        return settings;
      }
      const copy = fresh();
      cpSync(deployment.dataDir, copy, { recursive: true });
      const script = `import sqlite3, sys
c = sqlite3.connect(sys.argv[1] + '/journal.sqlite', isolation_level=None)
c.execute("attach database ? as seal", [sys.argv[1] + '/seal.sqlite'])
for schema in ['main', 'seal']:
    for [name] in c.execute(f"select name from {schema}.sqlite_master where type = 'trigger'").fetchall(): c.execute(f'drop trigger {schema}.{name}')
c.executescript(sys.argv[2])`;
      execFileSync('python3', ['-c', script, copy, statements]);
      return { VERBATIM_DATA_DIR: copy };
    }

    const columns = 'aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata, position, recorded_at';
    for (const [what, statements, expected] of [
      ['an event that was changed', "update events set payload = replace(payload, '{', '{ ') where position = 11", /^position 11: the event was changed: it is not the one that was sealed$/m],
      ['an event that was removed', 'delete from events where position = 12', /^position 12: the event was removed$/m],
      ['events that were removed, the rest moved up', 'delete from events where position = 12; update events set position = position + 100000 where position > 12; update events set position = position - 100001 where position > 100000', /^position 12: the event was removed, and those after it moved up$/m],
      ['an event that was inserted', `update events set position = position + 100000 where position > 12; update events set position = position - 99999 where position > 100000; insert into events (${columns}) select ${columns.replace('sequence', '999').replace('position', '13')} from events where position = 9`, /^position 13: an event was inserted, and those from there on moved down$/m],
      ['an end that was cut off', 'delete from events where position > 20', /^position 21: the events from there on were removed: the log ends at 20/m],
      ['leaves that were altered', 'update tiles set hashes = (select other.hashes from tiles as other where other.level = 1 union all select substr(tiles.hashes, 2) limit 1) where level = 0', /^the seal's own tables: /m],
      ['a checkpoint that was removed', 'delete from checkpoints where number = 2', /^the seal's own tables: checkpoint number 2 is missing$/m],
    ]) {
      test(what, async () => {
        const settings = await altered(statements);
        const { code, stdout, stderr } = await command(['verify', '--public-key', publicKey], settings);
        assert.equal(code, 4, stdout + stderr);
        assert.match(stdout, expected);
        assert.match(stderr, /^verbatim: the log is not what was sealed$/m);
      });
    }

    test('by a checkpoint elsewhere, what was cut off together with the seal', async () => {
      const settings = await altered('delete from checkpoints; delete from tiles; delete from verifiers; delete from events where position > 20');
      const { code, stdout } = await command(['verify', '--public-key', publicKey, '--checkpoints', checkpoints], settings);
      assert.equal(code, 4, stdout);
      assert.match(stdout, /^position 21: the events from there on were removed/m);
      // Without it, nothing is left to hold the log against.
      assert.equal((await command(['verify'], settings)).code, 3);
    });
  });
});

describe('checkpoints over https', { skip: isCluster && 'it is the same in both forms' }, () => {
  const notes = [];
  const [key, authority] = [fresh('.key'), fresh('.crt')];
  let server;
  let url;

  before(async () => {
    // A certificate of an authority that the system doesn't know.
    const [authorityKey, request, certificate, extensions] = [fresh('.key'), fresh('.csr'), fresh('.crt'), fresh('.ext')];
    const openssl = (...args) => execFileSync('openssl', args, { stdio: 'ignore' });
    writeFileSync(extensions, 'subjectAltName=DNS:localhost\n');
    openssl('req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '1', '-subj', '/CN=an authority', '-keyout', authorityKey, '-out', authority);
    openssl('req', '-newkey', 'rsa:2048', '-nodes', '-subj', '/CN=localhost', '-keyout', key, '-out', request);
    openssl('x509', '-req', '-in', request, '-CA', authority, '-CAkey', authorityKey, '-CAcreateserial', '-days', '1', '-extfile', extensions, '-out', certificate);
    server = createServer({ key: readFileSync(key), cert: readFileSync(certificate) }, (asked, answer) => {
      let body = '';
      asked.setEncoding('utf8').on('data', (more) => (body += more)).on('end', () => {
        notes.push(body);
        answer.writeHead(204).end();
      });
    });
    await once(server.listen(0, 'localhost'), 'listening');
    url = `https://localhost:${server.address().port}/a-secret-path`;
  });

  after(() => server.close());

  async function sealing(settings, work) {
    const deployment = await new Deployment({ SEAL_CHECKPOINTS_TO: url, SEAL_EVERY_SECONDS: '1', ...settings }).start();
    try {
      const client = await deployment.connect(user('ann'));
      await client.send({ conversationId: conversation(), targetUserId: user('ben'), content: 'Hello!' });
      await work(deployment);
    } finally {
      await deployment.end();
    }
  }

  test('reach nobody whose certificate is not trusted, which is said without the path', async () => {
    await sealing({}, async ({ log }) => {
      const said = await log.until(/ WARN .*a checkpoint can't be handed out/);
      assert.match(said, /localhost/);
      assert.match(said, /certificate/);
      assert.doesNotMatch(log.text, /a-secret-path/);
    });
    assert.deepEqual(notes, []);
  });

  test('arrive where it is', async () => {
    await sealing({ SSL_CERT_FILE: authority }, async (deployment) => {
      const admin = await deployment.rest(user('auditor'), { role: 'admin' });
      const [note] = await until(() => notes.length > 0 && notes, { what: 'a checkpoint' });
      const { data } = (await admin.get('/app/audit/checkpoints?limit=200')).body;
      assert.ok(data.some(({ checkpoint }) => checkpoint === note));
    });
  });
});

describe('without a key file', () => {
  test('a data folder makes its own key; its backup has neither key nor seal, and what is restored begins a seal', { skip: isCluster, timeout: 60_000 }, async () => {
    const first = new Deployment({ SEAL_EVERY_SECONDS: '1' });
    await first.start();
    const [ann, auditor, id] = [user('ann'), user('auditor'), conversation()];
    const sealedBy = async (deployment, message) => {
      const rest = await deployment.rest(auditor, { role: 'admin' });
      await until(async () => (await rest.get(`/app/audit/proofs/${message._id}`)).status === 200, { what: 'a proof' });
      return (await rest.get('/app/audit/checkpoints')).body.data;
    };
    const client = await first.connect(ann);
    const message = await client.send({ conversationId: id, targetUserId: user('ben'), content: 'kept' });
    const [{ checkpoint }] = await sealedBy(first, message);
    const kept = fresh('.checkpoints');
    writeFileSync(kept, `${checkpoint}\n`);
    assert.equal(statSync(join(first.dataDir, 'seal_key.pem')).mode & 0o777, 0o600);
    const oldKey = (await run(['seal-key'], first.settings)).stdout.trim();
    const backup = fresh('.backup');
    assert.equal((await run(['backup', '--out', backup], first.settings)).code, 0);
    await first.end();

    const restored = fresh();
    assert.equal((await run(['restore', '--from', backup, '--data-dir', restored])).code, 0);
    const second = new Deployment({ SEAL_EVERY_SECONDS: '1' }, { dataDir: restored });
    await second.start();
    const [{ checkpoint: next }] = await sealedBy(second, message);
    assert.notEqual(next.split('\n')[0], checkpoint.split('\n')[0], 'it is another log');
    const newKey = (await run(['seal-key'], second.settings)).stdout.trim();
    await second.end();
    // What was sealed before it was lost vouches for what came back.
    const verified = await run(['verify', '--public-key', newKey, '--public-key', oldKey, '--checkpoints', kept], second.settings);
    assert.equal(verified.code, 0, verified.stdout + verified.stderr);
    assert.match(verified.stdout, /and 1 that were kept elsewhere/);
  });

  test('a cluster says once that it does not seal, and audits say that nothing is', { skip: !isCluster }, async () => {
    const deployment = new Deployment();
    await deployment.start();
    const rest = await deployment.rest(user('auditor'), { role: 'admin' });
    assert.equal((await rest.get('/app/audit/consistency?from=1')).status, 404);
    assert.deepEqual((await rest.get('/app/audit/checkpoints')).body.data, []);
    const said = deployment.log.lines.filter((text) => text.includes('SEAL_KEY_FILE'));
    assert.equal(said.length, deployment.processes.filter(({ role }) => role === 'projection').length);
    assert.equal((await run(['verify'], deployment.settings)).code, 3);
    assert.match((await run(['seal-key'], deployment.settings)).stderr, /SEAL_KEY_FILE/);
    await deployment.end();
  });
});
