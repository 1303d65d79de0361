// Read models that are checked against the log, and made anew, beside those who use them.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { before, describe, test } from 'node:test';

import { deploy, isCluster } from './harness/deployment.mjs';
import { run } from './harness/executable.mjs';
import { conversation, user } from './harness/names.mjs';

describe('a check of the read models', () => {
  const deployment = deploy();
  const [ann, ben, id] = [user('ann'), user('ben'), conversation()];

  const check = (...args) => run(['rebuild', '--check', ...args], deployment.settings, { timeout: 60_000 });

  /** Changes views behind the server's back; embedded, while it is stopped. */
  async function tamper(statement) {
    if (isCluster) {
      execFileSync('psql', [deployment.settings.DATABASE_URL, '-q', '-c', `set search_path = views; ${statement}`]);
      return;
    }
    assert.equal(await deployment.stop(), 0);
    const script = 'import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute(sys.argv[2]); c.commit()';
    execFileSync('python3', ['-c', script, join(deployment.dataDir, 'views.sqlite'), statement]);
    await deployment.start();
  }

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
        assert.match(stdout, /^the views are what a rebuild makes of the first \d+ events\n$/);
      }
    } finally {
      going = false;
      await load;
    }
    client.close();
  });

  test('tells each row that differs, changes nothing, and a rebuild mends it', { timeout: 60_000 }, async () => {
    await tamper("update members set read_sequence = 7 where user_id = '" + ben + "'");
    await tamper("insert into refreshes (position, list, user_id) values (999999999, 'conversations', 'eve')");
    for (let n = 0; n < 2; n += 1) {
      const { code, stdout, stderr } = await check();
      assert.equal(code, 1, stdout + stderr);
      const [members, refresh, summary] = stdout.split('\n');
      assert.match(members, new RegExp(`^members, conversation = \\d+, user_id = .${ben}.: has read_sequence = 7; rebuilt: read_sequence = 0$`));
      assert.match(refresh, /^refreshes, position = 999999999: is one too many$/);
      assert.match(summary, /^2 differences from what a rebuild makes of the first \d+ events$/);
      assert.match(stderr, /^verbatim: the views in use are not what the log makes of them$/m);
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
    await deployment.start();
  });
});
