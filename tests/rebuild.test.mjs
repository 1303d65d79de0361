// Read models that are checked against the log, and made anew, beside those who use them.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { before, describe, test } from 'node:test';

import { deploy, isCluster } from './harness/deployment.mjs';
import { run } from './harness/executable.mjs';
import { conversation, user } from './harness/names.mjs';

describe('a check of the read models', () => {
  const deployment = deploy();
  const [ann, ben, id] = [user('ann'), user('ben'), conversation()];

  const check = (...args) => run(['rebuild', '--check', ...args], deployment.settings, { timeout: 60_000 });

  const psql = (...args) => execFileSync('psql', [deployment.settings.DATABASE_URL, '-q', ...args], { encoding: 'utf8' }).trim();

  /** Changes views or analytics behind the server's back; embedded, while it is stopped. */
  async function tamper(what, statement) {
    if (isCluster) {
      psql('-c', `set search_path = ${what}; ${statement}`);
      return;
    }
    assert.equal(await deployment.stop(), 0);
    const script = 'import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute(sys.argv[2]); c.commit()';
    execFileSync('python3', ['-c', script, join(deployment.dataDir, `${what}.sqlite`), statement]);
    await deployment.start();
  }

  /** Bytes as the database writes them. */
  const bytes = (...parts) => {
    const hex = Buffer.concat(parts.map((part) => Buffer.from(part))).toString('hex');
    return isCluster ? `'\\x${hex}'::bytea` : `x'${hex}'`;
  };

  before(async () => {
    const client = await deployment.connect(ann);
    for (let n = 0; n < 20; n += 1) await client.send({ conversationId: id, targetUserId: ben, content: `${n}` });
    client.close();
  });

  test('finds nothing while messages come, and holds nobody up', { timeout: 60_000 }, async () => {
    const client = await deployment.connect(ann);
    let going = true;
    const load = (async () => {
      for (let n = 0; going; n += 1) {
        await client.send({ conversationId: id, content: `load ${n}` });
        assert.equal((await client.ask('message:get', { conversationId: id, limit: 1 })).data[0].content, `load ${n}`);
      }
    })();
    try {
      for (let n = 0; n < 3; n += 1) {
        const { code, stdout, stderr } = await check();
        assert.equal(code, 0, stdout + stderr);
        assert.match(stdout, /^views and analytics are what a rebuild makes of the first \d+ and \d+ events\n$/);
      }
    } finally {
      going = false;
      await load;
    }
    client.close();
  });

  test('nor is a rebuild held up by those in use, which go on', { timeout: 60_000 }, async () => {
    const clients = await Promise.all(Array.from({ length: 4 }, () => deployment.connect(ann)));
    let going = true;
    const load = Promise.all(clients.map(async (client, n) => {
      for (let round = 0; going; round += 1) {
        await Promise.all(Array.from({ length: 5 }, (_, k) => client.send({ conversationId: id, content: `${n} ${round} ${k}` })));
      }
    }));
    try {
      const { code, stdout, stderr } = await run(['rebuild'], deployment.settings, { timeout: 20_000 });
      assert.equal(code, 0, stdout + stderr);
    } finally {
      going = false;
      await load;
    }
    for (const client of clients) client.close();
    assert.equal((await check()).code, 0);
  });

  test('tells each row that differs, changes nothing, and a rebuild mends it', { timeout: 60_000 }, async () => {
    // Who asks waits until the analytics show what was said.
    const admin = await deployment.rest(user('admin'), { role: 'admin' });
    assert.equal((await admin.get('/app/analytics/messages')).status, 200);
    await tamper('views', "update members set read_sequence = 7 where user_id = '" + ben + "'");
    await tamper('views', "insert into refreshes (position, list, user_id) values (999999999, 'conversations', 'eve')");
    // All messages of an hour, and a conversation.
    const rows = isCluster ? `rows_${psql('-At', '-c', 'select live from analytics.source')}` : 'rows';
    await tamper('analytics', `update ${rows} set value = ${bytes('[[1,1000000],[2,3]]')} where substr(key, 1, 4) = ${bytes([1, 1, 1, 1])}`);
    await tamper('analytics', isCluster
      ? `insert into ${rows} (key, value) values (${bytes([2], 'nowhere')}, ${bytes('{}')})`
      : `insert into rows (generation, key, value) select live, ${bytes([2], 'nowhere')}, ${bytes('{}')} from source`);
    for (let n = 0; n < 2; n += 1) {
      const { code, stdout, stderr } = await check();
      assert.equal(code, 4, stdout + stderr);
      const lines = stdout.trimEnd().split('\n');
      const [members, refresh] = lines;
      const [summary] = lines.splice(-1);
      const hours = lines.filter((line) => line.startsWith('analytics messages, '));
      // The hour may have ended meanwhile.
      assert.ok(hours.length > 0 && hours.length === lines.length - 3, stdout);
      for (const hour of hours) {
        assert.match(hour, /^analytics messages, hour = [-\d]+T\d\d:00:00.000Z: has Messages = 1000000, Users = 3; rebuilt: Messages = \d+, Users = [1-2]$/);
      }
      assert.ok(lines.includes('analytics conversations, conversation = nowhere: is one too many'), stdout);
      assert.match(members, new RegExp(`^members, conversation = \\d+, user_id = .${ben}.: has read_sequence = 7; rebuilt: read_sequence = 0$`));
      assert.match(refresh, /^refreshes, position = 999999999: is one too many$/);
      assert.match(summary, /^\d differences from what a rebuild makes of the first \d+ and \d+ events$/);
      assert.match(stderr, /^verbatim: the views or the analytics in use are not what the log makes of them$/m);
    }
    const rebuilt = await run(['rebuild'], deployment.settings, { timeout: 60_000 });
    assert.equal(rebuilt.code, 0, rebuilt.stderr);
    assert.match(rebuilt.stdout, /^views and analytics were made anew from \d+ events$/m);
    assert.equal((await check()).code, 0);
  });

  test('works on a stopped server too', { skip: isCluster }, async () => {
    assert.equal(await deployment.stop(), 0);
    const { code, stdout, stderr } = await check();
    assert.equal(code, 0, stdout + stderr);
    assert.deepEqual(readdirSync(deployment.dataDir).filter((name) => name.includes('rebuild')), []);
    await deployment.start();
  });
});
