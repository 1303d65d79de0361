// What auditors are shown, and that each look is recorded.

import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';

import { deploy } from './harness/deployment.mjs';
import { asOf, lines } from './harness/events.mjs';
import { run } from './harness/executable.mjs';
import { conversation, user } from './harness/names.mjs';
import { token } from './harness/tokens.mjs';

describe('the audit API', () => {
  const deployment = deploy();
  const [ann, ben, one, group, auditor] = [user('ann'), user('ben'), conversation(), conversation('group'), user('auditor')];
  let admin;
  /** The log before anyone audited. */
  let events;

  const all = async () => lines((await run(['replay'], deployment.settings, { timeout: 60_000 })).stdout);
  const get = async (path, expected = 200) => {
    const { status, body } = await admin.get(path);
    assert.equal(status, expected, JSON.stringify(body));
    return body;
  };
  /** Every page of a list. */
  async function pages(path, whole = []) {
    const separator = path.includes('?') ? '&' : '?';
    let cursor;
    for (let n = 0; n < 1_000; n += 1) {
      const { data, nextCursor } = await get(cursor ? `${path}${separator}cursor=${cursor}` : path);
      whole.push(...data);
      if (nextCursor === null) return whole;
      cursor = nextCursor;
    }
    throw new Error('the list does not end');
  }

  before(async () => {
    admin = await deployment.rest(auditor, { role: 'admin' });
    const [a, b] = [await deployment.connect(ann), await deployment.connect(ben)];
    for (let n = 0; n < 20; n += 1) await a.send({ conversationId: one, targetUserId: ben, content: `${n} 🦀` });
    await a.ask('conversation:create', { conversationId: group, memberIds: [ben, user('cid')], title: 'A title' });
    await b.send({ conversationId: group, content: 'hello' });
    await a.ask('conversation:read', { conversationId: group });
    a.close();
    b.close();
    // Delivery marks come by themselves for a while.
    for (;;) {
      const before = events?.length;
      events = await all();
      if (events.length === before) return;
      await new Promise((resolve) => setTimeout(resolve, 1_500));
    }
  });

  describe('is closed', () => {
    const paths = ['/app/audit/events', `/app/audit/conversations/${one}`];
    for (const path of paths) {
      test(`to everyone but admins: ${path.split('/')[3]}`, async () => {
        assert.equal((await deployment.anonymous.get(path)).status, 401);
        for (const role of ['user', 'agent', 'system', 'Admin']) {
          const { status, body } = await (await deployment.rest(ann, { role })).get(path);
          assert.deepEqual([status, body.error.code], [403, 'forbidden']);
        }
      });
    }

    test('and refused looks are not recorded', async () => {
      assert.deepEqual((await all()).filter(({ eventType }) => eventType === 'AuditAccessed'), []);
    });
  });

  for (const [what, query, field] of [
    ['a malformed position', 'from=0', 'from'],
    ['a malformed time', 'to=yesterday', 'to'],
    ['a reversed range', 'from=5&to=3', 'from'],
    ['a range beyond the end', 'to=999999999', 'to'],
    ['a range that ends beyond the end', 'from=1&to=999999999', 'to'],
    ['a range that begins beyond the end', 'from=999999999&to=9999999999', 'from'],
    ['a time that is yet to come', 'to=2999-01-01T00:00:00Z', 'to'],
    ['a range until a time that is yet to come', 'from=1&to=2999-01-01T00:00:00Z', 'to'],
    ['a beginning that is yet to come', 'from=2999-01-01T00:00:00Z', 'from'],
    ['an unknown type', 'type=Nonsense', 'type'],
    ['a malformed conversation', 'conversation=no%20id', 'conversation'],
    ['a malformed actor', 'actor=', 'actor'],
    ['a malformed cursor', 'cursor=x', 'cursor'],
    ['too long a page', 'limit=201', 'limit'],
    ['no page', 'limit=0', 'limit'],
    ['a parameter given twice', 'from=1&from=2', 'from'],
  ]) {
    test(`refuses ${what} and records nothing`, async () => {
      const recorded = async () => (await all()).filter(({ eventType }) => eventType === 'AuditAccessed').length;
      const before = await recorded();
      for (const accept of ['application/json', 'application/x-ndjson']) {
        const response = await fetch(`${deployment.url()}/app/audit/events?${query}`, { headers: { Authorization: `Bearer ${await token(auditor, { role: 'admin' })}`, Accept: accept } });
        const body = await response.json();
        assert.deepEqual([response.status, body.error.code, body.error.details.field], [400, 'bad_request', field], JSON.stringify(body));
      }
      assert.equal(await recorded(), before);
    });
  }

  test('refuses a cursor that no page has given', async () => {
    const { nextCursor } = await get('/app/audit/events?limit=1');
    const forged = (next, last) => {
      const bytes = Buffer.from(nextCursor, 'base64url');
      bytes.writeBigUInt64BE(next, 25);
      bytes.writeBigUInt64BE(last, 33);
      return bytes.toString('base64url');
    };
    const most = 2n ** 64n - 1n;
    for (const [next, last] of [[1n, most], [most, most], [0n, 2n], [3n, 2n], [most, 2n]]) {
      const { error } = await get(`/app/audit/events?cursor=${forged(next, last)}`, 400);
      assert.equal(error.details.field, 'cursor');
    }
    assert.equal((await get(`/app/audit/events?cursor=${forged(1n, 2n)}`)).data.length, 2);
  });

  test('shows every event in pages that a growing log does not move', async () => {
    const shown = [];
    const writer = await deployment.connect(ann);
    let cursor = '';
    do {
      const { data, nextCursor } = await get(`/app/audit/events?limit=7&cursor=${cursor}`.replace(/&cursor=$/, ''));
      shown.push(...data);
      cursor = nextCursor;
      await writer.send({ conversationId: one, content: 'meanwhile' });
    } while (cursor !== null);
    assert.deepEqual(shown.slice(0, events.length), events);
    assert.ok(shown.every(({ payload }) => payload.personal?.content !== 'meanwhile'));
    assert.deepEqual(shown.map(({ position }) => position), shown.map((_, n) => n + 1));
  });

  test('chooses by range, type, conversation and actor', async () => {
    const { position: from, recordedAt } = events[10];
    assert.deepEqual(await pages(`/app/audit/events?from=${from}&to=${events.length}&limit=200`), events.slice(10));
    const since = events.filter((event) => event.recordedAt >= recordedAt);
    assert.deepEqual(await pages(`/app/audit/events?from=${recordedAt}&to=${events.length}&limit=200`), since);
    const to = `to=${events.length}&limit=200`;
    const sent = events.filter(({ eventType }) => eventType === 'MessageSent');
    assert.deepEqual(await pages(`/app/audit/events?type=MessageSent&${to}`), sent);
    const byBen = sent.filter(({ payload }) => payload.senderId === ben);
    assert.deepEqual(await pages(`/app/audit/events?type=MessageSent&actor=${ben}&${to}`), byBen);
    const ofGroup = events.filter(({ aggregateId, payload }) => aggregateId === group || payload.conversationId === group);
    assert.deepEqual(await pages(`/app/audit/events?conversation=${group}&${to}`), ofGroup);
  });

  test('gives all events as lines when asked to', async () => {
    const headers = { Authorization: `Bearer ${await token(auditor, { role: 'admin' })}`, Accept: 'text/plain;q=0.1, application/x-ndjson' };
    const response = await fetch(`${deployment.url()}/app/audit/events?to=${events.length}&type=MessageSent`, { headers });
    assert.equal(response.status, 200);
    assert.equal(response.headers.get('content-type'), 'application/x-ndjson');
    const exported = await run(['replay', '--type', 'MessageSent', '--to', `${events.length}`], deployment.settings);
    assert.equal(await response.text(), exported.stdout);
    const none = await fetch(`${deployment.url()}/app/audit/events?to=${events.length}&actor=${user('nobody')}`, { headers });
    assert.equal(await none.text(), '');
  });

  test('shows a conversation as it stood at each position, page by page', async () => {
    for (const { position } of events.filter(({ aggregateId }) => aggregateId === one || aggregateId === group)) {
      for (const { conversation: stood, messages } of asOf(events, position)) {
        const path = `/app/audit/conversations/${stood._id}?asOf=${position}&limit=6`;
        const shown = [];
        let cursor = '';
        do {
          const { data, nextCursor } = await get(cursor ? `${path}&cursor=${cursor}` : path);
          assert.deepEqual(data.conversation, stood);
          assert.deepEqual(data.asOf, { position });
          shown.push(...data.messages);
          cursor = nextCursor;
        } while (cursor !== null);
        assert.deepEqual(shown, messages);
      }
    }
    const { data } = await get(`/app/audit/conversations/${one}?asOf=${events.at(-1).recordedAt}&limit=200`);
    const stood = asOf(events, events.length).find((entry) => entry.conversation._id === one);
    assert.deepEqual(data.messages, stood.messages);
  });

  test('says not_found of what had not begun, and bad_request of what is no place in the log', async () => {
    const begun = events.find(({ aggregateId }) => aggregateId === group).position;
    assert.equal((await get(`/app/audit/conversations/${group}?asOf=${begun - 1}`, 404)).error.code, 'not_found');
    assert.equal((await get(`/app/audit/conversations/${conversation()}`, 404)).error.code, 'not_found');
    for (const bad of ['asOf=0', 'asOf=x', 'asOf=999999999', 'asOf=2999-01-01T00:00:00Z', 'cursor=x', 'limit=0']) {
      const { error } = await get(`/app/audit/conversations/${group}?${bad}`, 400);
      assert.equal(error.details.field, bad.split('=')[0]);
    }
    const { nextCursor } = await get('/app/audit/events?limit=1');
    await get(`/app/audit/conversations/${group}?cursor=${nextCursor}`, 400);
    const another = await get(`/app/audit/conversations/${one}?limit=1`);
    await get(`/app/audit/conversations/${group}?cursor=${another.nextCursor}`, 400);
  });

  test('records each look before it shows anything', async () => {
    const looker = user('looker');
    const rest = await deployment.rest(looker, { role: 'admin' });
    const first = await rest.get(`/app/audit/events?from=2&to=9&type=MessageSent&conversation=${one}&actor=${ann}`);
    assert.equal(first.status, 200);
    assert.equal((await rest.get(`/app/audit/conversations/${one}?asOf=5`)).status, 200);
    assert.equal((await rest.get(`/app/audit/conversations/${one}?asOf=1`)).status, 200);
    const headers = { Authorization: `Bearer ${await token(looker, { role: 'admin' })}`, Accept: 'application/x-ndjson' };
    const stream = await fetch(`${deployment.url()}/app/audit/events?from=3&to=4`, { headers });
    // It is there before a line is read.
    const asked = (await get(`/app/audit/events?type=AuditAccessed&actor=${looker}&limit=200`)).data.at(-1);
    assert.deepEqual(asked.payload.accessed, { events: { from: 3, to: 4 } });
    assert.equal(lines(await stream.text()).length, 2);
    const looks = (await all()).filter(({ aggregateType, aggregateId }) => aggregateType === 'audit' && aggregateId === looker);
    assert.deepEqual(looks.map(({ eventType, sequence, payload }) => ({ eventType, sequence, payload })), [
      { events: { from: 2, to: 9, eventType: 'MessageSent', conversationId: one, actorId: ann } },
      { conversation: { conversationId: one, asOf: 5 } },
      { conversation: { conversationId: one, asOf: 1 } },
      { events: { from: 3, to: 4 } },
    ].map((accessed, n) => ({ eventType: 'AuditAccessed', sequence: n + 1, payload: { accessorId: looker, accessed } })));
    // Whoever looks next sees that look.
    const { data } = await get(`/app/audit/events?type=AuditAccessed&actor=${looker}&limit=200`);
    assert.deepEqual(data, looks);
  });
});
