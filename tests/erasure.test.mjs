// What a user has said is nowhere as plain text, and can't be read by anybody once it is erased.

import assert from 'node:assert/strict';
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import { Deployment, deploy, deployOnOwnServers, isCluster } from './harness/deployment.mjs';
import { lines } from './harness/events.mjs';
import { run } from './harness/executable.mjs';
import { conversation, key, user } from './harness/names.mjs';
import { until } from './harness/until.mjs';

const folder = mkdtempSync(join(tmpdir(), 'verbatim-erasure-'));
after(() => rmSync(folder, { recursive: true, force: true }));

/** Which files below a folder hold a text. */
function holding(root, text) {
  const found = [];
  for (const entry of readdirSync(root, { recursive: true })) {
    const path = join(root, entry);
    try {
      if (statSync(path).isFile() && readFileSync(path).includes(text)) found.push(path);
    } catch (error) {
      // Servers remove files of theirs meanwhile, and have sockets among them.
      if (!['ENOENT', 'ENXIO'].includes(error.code)) throw error;
    }
  }
  return found;
}

describe('what was said', () => {
  // Servers of its own, so that it can look into all their files.
  const { deployment, postgres, nats } = isCluster ? deployOnOwnServers({}, []) : { deployment: deploy() };
  const stores = () => (isCluster ? [postgres.folder, nats.folder] : [deployment.dataDir]);
  const [ann, ben, auditor, one, group] = [user('ann'), user('ben'), user('admin'), conversation(), conversation('group')];
  const secret = `lighthouse-${ann}`;
  const address = `${ann}@secret.example`;
  const first = { conversationId: one, targetUserId: ben, content: `first ${secret}`, clientMessageId: key(), attachments: [{ name: `${secret}.pdf`, url: `https://example.com/${secret}` }] };
  let [admin, bens, a] = [];

  const said = async (id) => (await bens.history(id)).map(({ content, senderInfo: { email }, attachments, unreadable }) => [content, email, attachments.length, unreadable]);
  const replayed = async (...args) => lines((await run(['replay', ...args], deployment.settings, { timeout: 60_000 })).stdout);

  before(async () => {
    admin = await deployment.rest(auditor, { role: 'admin' });
    bens = await deployment.rest(ben);
    a = await deployment.connect(ann, { claims: { email: address } });
    await a.send(first);
    await a.ask('conversation:create', { conversationId: group, memberIds: [ben], title: 'Everyone' });
    await a.send({ conversationId: group, content: `second ${secret}` });
    const b = await deployment.connect(ben, { claims: { email: 'ben@example.com' } });
    await b.send({ conversationId: one, content: 'an answer' });
    b.close();
    await a.send({ conversationId: one, content: `third ${secret}` });
    // Ben is away.
    await until(async () => (await bens.get('/app/notifications')).body.data.some(({ content }) => content === `third ${secret}`), { what: 'a notification' });
  });

  test('is read by those it is for', async () => {
    assert.deepEqual(await said(one), [
      [`first ${secret}`, address, 1, undefined], ['an answer', 'ben@example.com', 0, undefined], [`third ${secret}`, address, 0, undefined],
    ]);
    assert.deepEqual((await replayed('--type', 'MessageSent')).map(({ payload, eventVersion }) => [payload.personal.content, eventVersion])[0], [`first ${secret}`, '1']);
    const { body } = await admin.get(`/app/audit/conversations/${one}`);
    assert.equal(body.data.messages[0].attachments[0].name, `${secret}.pdf`);
  });

  test('is stored nowhere as it is', () => {
    const all = stores();
    assert.ok(all.every((store) => holding(store, ann).length > 0), 'the right files are looked at');
    for (const store of all) {
      assert.deepEqual(holding(store, secret), []);
      assert.deepEqual(holding(store, address), []);
    }
  });

  test('is shown sealed to those without a key', async () => {
    const sealed = await replayed('--sealed', '--type', 'MessageSent');
    assert.deepEqual(sealed.map(({ eventVersion, payload }) => [eventVersion, Object.keys(payload.personal)]), sealed.map(() => ['2', ['key', 'sealed']]));
    const wrong = await run(['replay'], { ...deployment.settings, MASTER_KEY: '00'.repeat(32) });
    assert.equal(wrong.code, 3);
    assert.match(wrong.stderr, /MASTER_KEY: the master key is not the one/);
    assert.equal(wrong.stdout, '');
  });

  describe('is not erased', () => {
    test('by anyone but an admin', async () => {
      assert.equal((await deployment.anonymous.post('/app/erasures', { userId: ann })).status, 401);
      for (const role of ['user', 'agent', 'system', 'Admin']) {
        const { status, body } = await (await deployment.rest(ann, { role })).post('/app/erasures', { userId: ann });
        assert.deepEqual([status, body.error.code], [403, 'forbidden']);
      }
    });

    for (const [what, body, status, code] of [
      ['without a user', {}, 400, 'bad_request'],
      ['with a user that is none', { userId: 'a b' }, 400, 'bad_request'],
      ['with something else than an object', '[]', 400, 'bad_request'],
      ['of somebody who has said nothing', { userId: user('nobody') }, 404, 'not_found'],
    ]) {
      test(what, async () => {
        const answer = await admin.post('/app/erasures', body, { headers: { 'content-type': 'application/json' } });
        assert.deepEqual([answer.status, answer.body.error.code], [status, code]);
      });
    }

    test('by the command line where there is nothing', async () => {
      for (const [args, code, named] of [[['--user', user('nobody')], 1, /has said nothing/], [['--user', 'a b'], 2, /--user/], [[], 2, /--user/]]) {
        const refused = await run(['erase', ...args], deployment.settings);
        assert.equal(refused.code, code, refused.stderr);
        assert.match(refused.stderr, named);
      }
      const nowhere = await run(['erase', '--user', ann], { VERBATIM_DATA_DIR: join(folder, 'missing') });
      assert.equal(nowhere.code, 3);
    });

    test('and all of it is still there', async () => {
      assert.deepEqual((await said(one)).map(([content]) => content), [`first ${secret}`, 'an answer', `third ${secret}`]);
    });
  });

  describe('once it is erased', () => {
    let before;

    test('it is said so', async () => {
      before = await replayed('--sealed');
      const erased = await admin.post('/app/erasures', { userId: ann });
      assert.deepEqual([erased.status, erased.body.data], [201, { userId: ann }]);
    });

    test('is gone for those it was for, on every gateway, and nothing else is', async () => {
      for (let gateway = 0; gateway < deployment.gateways; gateway += 1) {
        bens = await deployment.rest(ben);
        await until(async () => {
          const gone = [['', undefined, 0, 'erased'], ['an answer', 'ben@example.com', 0, undefined], ['', undefined, 0, 'erased']];
          return JSON.stringify(await said(one)) === JSON.stringify(gone);
        }, { what: 'the erasure on a gateway' });
        assert.deepEqual(await said(group), [['', undefined, 0, 'erased']]);
        const conversations = (await bens.get('/app/conversations')).body.data;
        assert.ok(conversations.every(({ lastMessage }) => lastMessage.content === '' && lastMessage.unreadable === 'erased'));
        const notifications = (await bens.get('/app/notifications')).body.data;
        assert.ok(notifications.length > 0 && notifications.every(({ content, unreadable }) => content === '' && unreadable === 'erased'));
        assert.ok(!JSON.stringify([conversations, notifications, await bens.stream()]).includes(secret));
      }
    });

    test('is gone from the stream of a client that comes back, which has no gap', async () => {
      const b = await deployment.connect(ben, { cursor: (await bens.get('/app/stream?limit=1')).body.data[0].cursor });
      const received = b.received.filter(({ event }) => event === 'message:receive').map(({ payload }) => [payload.data.content, payload.data.unreadable]);
      assert.deepEqual(received, [['', 'erased'], ['an answer', undefined], ['', 'erased']]);
      b.close();
    });

    test('is erased only once', async () => {
      const again = await admin.post('/app/erasures', { userId: ann });
      assert.deepEqual([again.status, again.body.duplicate, again.body.data], [200, true, { userId: ann }]);
      const cli = await run(['erase', '--user', ann], deployment.settings);
      assert.equal(cli.code, 0, cli.stderr);
      assert.match(cli.stdout, /was erased before/);
    });

    test('is not found when it is sent again', async () => {
      const again = await a.ask('message:send', first);
      assert.deepEqual([again.success, again.error.code], [false, 'not_found']);
    });

    test('is gone from audits, exports and replays, whose events hold as they were', async () => {
      const events = await replayed();
      assert.ok(!JSON.stringify(events).includes(secret));
      const sealed = await replayed('--sealed');
      assert.deepEqual(sealed.slice(0, before.length), before, 'the log is as it was');
      const journalled = events.filter(({ eventType }) => eventType === 'SubjectErased');
      assert.deepEqual(journalled.map(({ payload: { subjectId, keys, erasedBy } }) => [subjectId, keys.length, erasedBy]), [[ann, 1, auditor]]);
      const audited = await admin.get(`/app/audit/conversations/${one}`);
      assert.deepEqual(audited.body.data.messages.map(({ content, unreadable }) => [content, unreadable]), [['', 'erased'], ['an answer', undefined], ['', 'erased']]);
      for (const format of ['ndjson', 'csv', 'cloudevents', 'parquet']) {
        const out = join(folder, `gone.${format}`);
        const { code, stderr } = await run(['export', '--format', format, '--out', out], deployment.settings);
        assert.equal(code, 0, stderr);
        assert.deepEqual(holding(folder, secret), []);
      }
      for (const store of stores()) assert.deepEqual(holding(store, secret), []);
    });

    test('and leaves its author a voice', async () => {
      await a.send({ conversationId: one, content: 'back again' });
      assert.deepEqual((await said(one)).at(-1), ['back again', address, 0, undefined]);
      const cli = await run(['erase', '--user', ann], deployment.settings);
      assert.equal(cli.code, 0, cli.stderr);
      assert.match(cli.stdout, /is erased/);
      await until(async () => (await said(one)).at(-1)[3] === 'erased', { what: 'the second erasure' });
      assert.equal((await said(one))[1][0], 'an answer');
    });

    test('stays so over a restart', async () => {
      a.close();
      assert.equal(await deployment.stop(), 0);
      await deployment.start();
      bens = await deployment.rest(ben);
      assert.deepEqual((await said(one)).map(([content]) => content), ['', 'an answer', '', '']);
    });
  });
});

describe('a data folder', { skip: isCluster }, () => {
  const [ann, ben, id] = [user('ann'), user('ben'), conversation()];
  const path = (name) => join(folder, name);
  const at = (name) => ({ VERBATIM_DATA_DIR: path(name) });

  /** A server on a folder, for as long as something is done with it. */
  async function serving(name, work) {
    mkdirSync(path(name), { recursive: true });
    const deployment = new Deployment({}, { dataDir: path(name) });
    await deployment.start();
    try {
      return await work(deployment);
    } finally {
      await deployment.end();
    }
  }

  const read = (deployment) => deployment.rest(ben).then((rest) => rest.history(id)).then((messages) => messages.map(({ content, unreadable }) => [content, unreadable]));
  const ok = async (args, settings) => {
    const { code, stdout, stderr } = await run(args, settings);
    assert.equal(code, 0, stderr);
    return stdout;
  };

  test('without keys shows nothing, with another master key it isn’t opened, and it says why', async () => {
    await serving('origin', async (deployment) => {
      const a = await deployment.connect(ann);
      await a.send({ conversationId: id, targetUserId: ben, content: 'hush' });
      a.close();
      await ok(['backup', '--out', path('journal.backup')], at('origin'));
      await ok(['keys', 'backup', '--out', path('keys.backup')], at('origin'));
      const exists = await run(['keys', 'backup', '--out', path('keys.backup')], at('origin'));
      assert.match(exists.stderr, /--out: .*exists/);
    });
    for (const backup of ['journal.backup', 'keys.backup']) assert.ok(!readFileSync(path(backup)).includes('hush'));
    const wrong = await run(['serve'], { ...at('origin'), VERBATIM_LISTEN: '127.0.0.1:0', MASTER_KEY: '00'.repeat(32) });
    assert.equal(wrong.code, 1);
    assert.match(wrong.stderr, /MASTER_KEY: the master key is not the one/);
    const both = await run(['serve'], { ...at('origin'), MASTER_KEY: '00'.repeat(32), MASTER_KEY_FILE: '/dev/null' });
    assert.match(both.stderr, /MASTER_KEY and MASTER_KEY_FILE/);

    await ok(['restore', '--from', path('journal.backup')], at('restored'));
    const lacking = await run(['replay'], at('restored'));
    assert.equal(lacking.code, 1);
    assert.match(lacking.stderr, /the key store lacks the key of the message at position/);
    // With the keys and the master key all of it is there.
    writeFileSync(path('master'), readFileSync(path('origin/master_key')));
    const given = { ...at('restored'), MASTER_KEY_FILE: path('master') };
    assert.match(await ok(['keys', 'restore', '--from', path('keys.backup')], given), /took 1 keys/);
    assert.match(await ok(['replay', '--type', 'MessageSent'], given), /"content":"hush"/);
  });

  test('erases what its server doesn’t run for', async () => {
    const used = await serving('origin', () => run(['keys', 'restore', '--from', path('keys.backup')], at('origin')));
    assert.match(used.stderr, /in use/);
    assert.match(await ok(['erase', '--user', ann], at('origin')), /is erased/);
    assert.match(await ok(['erase', '--user', ann], at('origin')), /erased before/);
    await serving('origin', async (deployment) => assert.deepEqual(await read(deployment), [['', 'erased']]));
  });

  test('erases for those, too, who read and write meanwhile', async () => {
    await serving('busy', async (deployment) => {
      const a = await deployment.connect(ann);
      const rest = await deployment.rest(ben);
      for (let round = 0; round < 3; round += 1) {
        await a.send({ conversationId: id, targetUserId: ben, content: `hush ${round}` });
        let erased = false;
        const reading = Array.from({ length: 4 }, async () => {
          while (!erased) await rest.history(id);
        });
        await ok(['erase', '--user', ann], deployment.settings);
        erased = true;
        await Promise.all(reading);
        await until(async () => (await rest.history(id)).every(({ unreadable }) => unreadable === 'erased'), { what: 'the erasure' });
        await a.send({ conversationId: id, content: `after ${round}` });
        assert.equal((await rest.history(id)).at(-1).content, `after ${round}`);
        await ok(['erase', '--user', ann], deployment.settings);
      }
      a.close();
    });
    await serving('busy', async (deployment) => assert.ok((await read(deployment)).every(([content]) => content === '')));
  });

  test('keeps it erased when its keys come back from an older backup', async () => {
    // Into the store that knows of it: the tombstone holds.
    await ok(['keys', 'restore', '--from', path('keys.backup')], at('origin'));
    await serving('origin', async (deployment) => assert.deepEqual(await read(deployment), [['', 'erased']]));
    // In its place: the journal knows.
    for (const file of readdirSync(path('origin')).filter((name) => name.startsWith('keys.sqlite'))) rmSync(path(`origin/${file}`));
    await ok(['keys', 'restore', '--from', path('keys.backup')], at('origin'));
    await serving('origin', async (deployment) => {
      await until(async () => JSON.stringify(await read(deployment)) === JSON.stringify([['', 'erased']]), { what: 'the erasure' });
    });
  });

  test('keeps it erased, and says so, when its journal comes back from an older backup', async () => {
    await ok(['restore', '--from', path('journal.backup')], at('older'));
    for (const file of readdirSync(path('origin')).filter((name) => /^(keys|master|jwt)/.test(name))) cpSync(path(`origin/${file}`), path(`older/${file}`));
    await serving('older', async (deployment) => {
      const admin = await deployment.rest(user('admin'), { role: 'admin' });
      const erasures = async () => (await admin.get('/app/audit/events?type=SubjectErased')).body.data;
      await until(async () => (await erasures()).length === 1, { what: 'the erasure in the journal' });
      assert.equal((await erasures())[0].payload.subjectId, ann);
      assert.deepEqual(await read(deployment), [['', 'erased']]);
    });
  });
});
