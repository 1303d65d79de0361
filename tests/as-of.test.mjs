// Conversations as they stood: always the fold of the log's prefix.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import { deploy } from './harness/deployment.mjs';
import { asOf, lines } from './harness/events.mjs';
import { run } from './harness/executable.mjs';
import { conversation, user } from './harness/names.mjs';

describe('as of', () => {
  const deployment = deploy();
  const [ann, ben, cid, one, group] = [user('ann'), user('ben'), user('cid'), conversation(), conversation('group')];
  let events;

  const command = (args, settings) => run(args, { ...deployment.settings, ...settings }, { timeout: 60_000 });
  async function shown(...args) {
    const { code, stdout, stderr } = await command(['as-of', ...args]);
    assert.equal(code, 0, stderr);
    return lines(stdout);
  }

  before(async () => {
    const [a, b] = [await deployment.connect(ann), await deployment.connect(ben)];
    await a.send({ conversationId: one, targetUserId: ben, content: 'first', attachments: [{ name: 'a', url: 'https://x/a' }], clientMessageId: 'c1' });
    await a.ask('conversation:create', { conversationId: group, memberIds: [cid, ben], title: 'A title' });
    await b.send({ conversationId: one, content: 'second' });
    await b.ask('conversation:read', { conversationId: one });
    for (let n = 0; n < 5; n += 1) await a.send({ conversationId: group, content: `group ${n}` });
    await b.ask('conversation:read', { conversationId: group, sequence: 3 });
    a.close();
    b.close();
    events = lines((await command(['replay'])).stdout);
  });

  test('each position, every conversation is the fold of what was recorded up to there', { timeout: 60_000 }, async () => {
    for (const { position } of events) assert.deepEqual(await shown(`${position}`), asOf(events, position));
  });

  test('a time, it is what was recorded until then', async () => {
    const moment = events[Math.floor(events.length / 2)].recordedAt;
    const last = events.findLast(({ recordedAt }) => recordedAt <= moment).position;
    assert.deepEqual(await shown(moment), asOf(events, last));
    assert.deepEqual(await shown('2000-01-01T00:00:00Z'), []);
  });

  test('now, it is what the server shows its members', async () => {
    const [{ conversation: stood, messages }] = await shown(`${events.length}`, '--conversation', group);
    const rest = await deployment.rest(ben);
    const { data } = (await rest.get('/app/conversations')).body;
    const live = data.find(({ _id }) => _id === group);
    for (const name of ['_id', 'type', 'title', 'createdBy', 'createdAt', 'updatedAt']) assert.deepEqual(stood[name], live[name], name);
    assert.deepEqual(stood.members.map(({ userId }) => userId), live.memberIds);
    assert.deepEqual(messages, await rest.history(group));
    const { readThrough } = stood.members.find(({ userId }) => userId === ben);
    assert.equal(stood.messageCount - readThrough, live.unreadCount);
  });

  describe('is refused', () => {
    const nowhere = mkdtempSync(join(tmpdir(), 'verbatim-as-of-'));
    after(() => rmSync(nowhere, { recursive: true, force: true }));
    for (const [what, args, code, message] of [
      ['nothing', [], 2, /POSITION\|TIME/],
      ['position 0', ['0'], 2, /neither a position/],
      ['nonsense', ['yesterday'], 2, /neither a position/],
      ['a position beyond the end', ['999999999'], 2, /beyond the end/],
      ['a time that is yet to come', ['2999-01-01T00:00:00Z'], 2, /yet to come/],
      ['a conversation that had not begun', ['1', '--conversation', group], 2, /there was no conversation/],
      ['a malformed conversation', ['1', '--conversation', 'no id'], 2, /--conversation/],
    ]) {
      test(`for ${what}`, async () => {
        const outcome = await command(['as-of', ...args]);
        assert.equal(outcome.code, code, outcome.stderr);
        assert.match(outcome.stderr, message);
        assert.equal(outcome.stdout, '');
      });
    }

    test('where there is no journal', async () => {
      const { code, stderr } = await command(['as-of', '1'], { VERBATIM_DATA_DIR: nowhere, DATABASE_URL: undefined });
      assert.equal(code, 3);
      assert.match(stderr, /holds no journal/);
    });
  });
});
