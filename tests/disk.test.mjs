// A full disk: sends fail with `unavailable`, nothing acknowledged is lost, and it goes on when there is room
// again. The disk is a small tmpfs, which only root can mount.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import { Deployment } from './harness/deployment.mjs';
import { faults } from './harness/history.mjs';
import { record } from './harness/load.mjs';
import { conversation, key, user } from './harness/names.mjs';
import * as shapes from './harness/shapes.mjs';
import { until } from './harness/until.mjs';

const MEGABYTE = 1_000_000;

describe('a full disk', () => {
  const disk = mkdtempSync(join(tmpdir(), 'verbatim-disk-'));
  const ballast = join(disk, 'ballast');
  const dataDir = join(disk, 'data');
  let deployment;

  before(async () => {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${64 * MEGABYTE}`, 'verbatim-test', disk]);
    mkdirSync(dataDir);
    writeFileSync(ballast, Buffer.alloc(52 * MEGABYTE, 1));
    deployment = await new Deployment({}, { dataDir }).start();
    // That the disk is full may be said, loudly.
    deployment.allowed = [/^\S+ ERROR /];
  });

  after(async () => {
    try {
      await deployment?.end();
    } finally {
      execFileSync('umount', [disk]);
      rmSync(disk, { recursive: true });
    }
  });

  test('is survived', { timeout: 240_000 }, async () => {
    const [alice, bob, id] = [user('alice'), user('bob'), conversation()];
    const a = await deployment.connect(alice);
    const b = await deployment.connect(bob);
    const start = b.all('stream:ready')[0].data.cursor;
    const attempts = [];
    let order = 0;
    const content = 'x'.repeat(20_000);

    const send = async (payload) => {
      const attempt = { senderId: alice, connection: a.socket.id, order: (order += 1), payload };
      attempts.push(attempt);
      const answer = await a.ask('message:send', { ...payload, targetUserId: bob });
      if (answer.success) {
        attempt.acked = answer.data;
        attempt.duplicate = answer.duplicate === true;
        return undefined;
      }
      return shapes.failure(answer);
    };
    const fresh = () => ({ conversationId: id, content, clientMessageId: key() });

    const failed = [];
    const batch = async () => {
      const payloads = Array.from({ length: 10 }, fresh);
      const errors = await Promise.all(payloads.map(send));
      for (const [index, error] of errors.entries()) {
        if (error === undefined) continue;
        assert.equal(error.code, 'unavailable', JSON.stringify(error));
        failed.push(payloads[index]);
      }
    };
    await until(async () => {
      await batch();
      return failed.length >= 10;
    }, { timeout: 120_000, what: 'sends that fail' });

    // Not ready, and alive; the same over REST. Until the last page is taken, a small send may still fit.
    const rest = await deployment.rest(alice);
    await until(async () => {
      const payload = fresh();
      attempts.push({ senderId: alice, connection: 'rest', order: (order += 1), payload });
      const answer = await rest.post(`/app/conversations/${id}/messages`, payload);
      if (answer.status === 201) return false;
      shapes.refused(answer, 'unavailable');
      failed.push(payload);
      return (await deployment.anonymous.get('/readyz')).status === 503;
    }, { what: 'not ready' });
    assert.equal((await deployment.anonymous.get('/healthz')).status, 200);
    assert.ok(a.socket.connected && b.socket.connected);

    rmSync(ballast);
    await until(async () => (await deployment.anonymous.get('/readyz')).status === 200, { timeout: 60_000, what: 'ready again' });
    // Whatever had an unknown outcome is sent again with its key, and is there once.
    for (const payload of failed) assert.equal(await send(payload), undefined);
    for (let n = 0; n < 20; n += 1) assert.equal(await send(fresh()), undefined);

    const members = new Map([[id, [alice, bob]]]);
    const found = await record(deployment, members);
    assert.equal(new Set(attempts.map((attempt) => attempt.payload.clientMessageId)).size, found.stored.get(id).length);
    await until(() => b.messages.length >= found.streams.get(bob).length, { timeout: 60_000, what: 'all messages at the reader' });
    const readers = [{ userId: bob, resumes: 'cursor', runs: [b.messages] }];
    assert.deepEqual(faults({ ...found, attempts, readers }).slice(0, 20), []);
    assert.deepEqual(b.disconnects, []);

    // And after a crash, from the files alone.
    await deployment.kill();
    await deployment.start();
    assert.deepEqual(await record(deployment, members), found);
    const again = await deployment.connect(bob, { cursor: start });
    assert.deepEqual(faults({ ...found, attempts, readers: [{ userId: bob, resumes: 'cursor', runs: [again.messages] }] }).slice(0, 20), []);
  });
});
