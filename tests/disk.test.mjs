// A full disk: sends fail with `unavailable`, nothing acknowledged is lost, and it goes on when there is room
// again; so it is for whatever else is written. The disk is a small tmpfs, which only root can mount.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import { Deployment } from './harness/deployment.mjs';
import { lines } from './harness/events.mjs';
import { run } from './harness/executable.mjs';
import { faults } from './harness/history.mjs';
import { record } from './harness/load.mjs';
import { conversation, key, user } from './harness/names.mjs';
import * as shapes from './harness/shapes.mjs';
import { until } from './harness/until.mjs';

const MEGABYTE = 1_000_000;

/** A disk of this size on which so much is free until `makeRoom`; it is taken away at `end`. */
class Disk {
  path = mkdtempSync(join(tmpdir(), 'verbatim-disk-'));

  #ballast = join(this.path, 'ballast');

  constructor(size, free) {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${size}`, 'verbatim-test', this.path]);
    writeFileSync(this.#ballast, Buffer.alloc(size - free, 1));
  }

  makeRoom() {
    rmSync(this.#ballast);
  }

  end() {
    execFileSync('umount', [this.path]);
    rmSync(this.path, { recursive: true });
  }
}

describe('a full disk', () => {
  let disk;
  let deployment;

  before(async () => {
    disk = new Disk(64 * MEGABYTE, 12 * MEGABYTE);
    const dataDir = join(disk.path, 'data');
    mkdirSync(dataDir);
    deployment = await new Deployment({}, { dataDir }).start();
    // That the disk is full may be said, loudly.
    deployment.allowed = [/^\S+ ERROR /];
  });

  after(async () => {
    try {
      await deployment?.end();
    } finally {
      disk?.end();
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

    disk.makeRoom();
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

describe('a full disk under the checkpoints', () => {
  let disk;
  let deployment;
  let kept;

  before(async () => {
    disk = new Disk(MEGABYTE, 0);
    kept = join(disk.path, 'checkpoints');
    deployment = await new Deployment({ SEAL_CHECKPOINTS_TO: kept, SEAL_EVERY_SECONDS: '1' }).start();
  });

  after(async () => {
    try {
      await deployment?.end();
    } finally {
      disk?.end();
    }
  });

  test('holds nothing up, and each is there once there is room', { timeout: 120_000 }, async () => {
    const a = await deployment.connect(user('alice'));
    const admin = await deployment.rest(user('auditor'), { role: 'admin' });
    const sealed = async () => (await admin.get('/app/audit/checkpoints?limit=200')).body.data.map(({ checkpoint }) => checkpoint).reverse();
    const say = (content) => a.send({ conversationId: conversation(), targetUserId: user('bob'), content });
    await say('first');
    await deployment.log.until(/ WARN .*a checkpoint can't be handed out.*No space left on device/);
    await say('second');
    assert.equal(readFileSync(kept, 'utf8'), '');
    assert.equal((await deployment.anonymous.get('/readyz')).status, 200);

    disk.makeRoom();
    await deployment.log.until(/checkpoints are handed out again/, { timeout: 60_000 });
    const before = await sealed();
    await say('third');
    const all = await until(async () => {
      const notes = await sealed();
      return notes.length > before.length && readFileSync(kept, 'utf8').includes(notes.at(-1)) && notes;
    }, { what: 'the last checkpoint in the file' });
    // It begins with the newest of when it could, and from then on none is left out.
    const file = readFileSync(kept, 'utf8');
    const first = all.findIndex((note) => file.startsWith(note));
    assert.ok(first >= 0);
    assert.ok(all.slice(first).map((note) => `${note}\n`).join('').startsWith(file));
  });
});

describe('a full disk under an import', () => {
  let disk;

  before(() => {
    disk = new Disk(32 * MEGABYTE, 3 * MEGABYTE);
  });

  after(() => disk?.end());

  test('ends it in so many words, and once there is room it goes on where it was', { timeout: 120_000 }, async () => {
    const [ann, ben, id] = [user('ann'), user('ben'), conversation()];
    const folder = mkdtempSync(join(tmpdir(), 'verbatim-import-'));
    const history = join(folder, 'history.ndjson');
    const content = 'x'.repeat(1_000);
    const messages = Array.from({ length: 5_000 }, (_, n) => ({ type: 'message', id: `m${n}`, conversationId: id, senderId: n % 2 ? ann : ben, content, createdAt: '2020-01-01T00:00:00Z' }));
    const begun = { type: 'conversation', conversationId: id, conversationType: 'direct', memberIds: [ann, ben], createdBy: ann, createdAt: '2019-01-01T00:00:00Z' };
    writeFileSync(history, [begun, ...messages].map((entry) => `${JSON.stringify(entry)}\n`).join(''));
    const settings = { VERBATIM_DATA_DIR: join(disk.path, 'data') };
    const load = () => run(['import', '--format', 'ndjson', history], settings, { timeout: 60_000 });

    const failed = await load();
    assert.equal(failed.code, 1, failed.stderr);
    assert.match(failed.stderr, /database or disk is full/);
    assert.equal(failed.stdout, '');

    disk.makeRoom();
    const loaded = await load();
    assert.equal(loaded.code, 0, loaded.stderr);
    const { stdout } = await run(['replay', '--type', 'MessageSent'], settings, { timeout: 60_000 });
    const sequences = lines(stdout).map(({ payload }) => payload.sequence);
    assert.deepEqual(sequences, Array.from({ length: messages.length }, (_, n) => n + 1));
    rmSync(folder, { recursive: true });
  });
});
