// What the log amounts to: over REST, on the command line, and asked of an export by DuckDB.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { deploy, isCluster } from './harness/deployment.mjs';
import { lines } from './harness/events.mjs';
import { environment, executable, run } from './harness/executable.mjs';
import { conversation, user } from './harness/names.mjs';
import * as shapes from './harness/shapes.mjs';
import { until } from './harness/until.mjs';

const LISTS = ['messages', 'users', 'deliveries', 'responses', 'connections'];
const DURATIONS = { deliveries: 'timeToDelivery', responses: 'responseTime' };

const file = (path) => fileURLToPath(new URL(path, import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'verbatim-analytics-'));
after(() => rmSync(folder, { recursive: true, force: true }));

describe('analytics', () => {
  // Samples come soon, and what was sent counts as received soon.
  const deployment = deploy({ CONNECTIONS_SAMPLE_SECONDS: '1', PING_INTERVAL_MS: '300', PING_TIMEOUT_MS: '700' });
  const [ann, ben, agent] = [user('ann'), user('ben'), user('agent')];
  const [direct, group, other] = [conversation('a'), conversation('b'), conversation('c')];
  let admin;

  const command = (args, settings) => run(args, { ...deployment.settings, ...settings }, { timeout: 60_000 });
  async function get(path, expected = 200) {
    const { status, body } = await admin.get(`/app/analytics/${path}`);
    assert.equal(status, expected, JSON.stringify(body));
    return body;
  }
  /** A whole list, in pages of this length. */
  async function list(name, query = {}, limit = 200) {
    const rows = [];
    let cursor;
    do {
      const { data, nextCursor } = await get(`${name}?${new URLSearchParams({ ...query, limit, ...(cursor ? { cursor } : {}) })}`);
      assert.ok(data.length <= limit && (nextCursor === null || data.length === limit));
      rows.push(...data);
      cursor = nextCursor;
    } while (cursor !== null);
    return rows;
  }
  const sum = (rows, figure) => rows.reduce((total, row) => total + row[figure], 0);
  const events = async () => lines((await command(['replay'])).stdout);

  before(async () => {
    admin = await deployment.rest(user('admin'), { role: 'admin' });
    const [a, c] = [await deployment.connect(ann), await deployment.connect(agent, { claims: { role: 'agent' } })];
    await a.send({ conversationId: direct, targetUserId: agent, content: 'A question' });
    await a.send({ conversationId: direct, content: 'and more of it' });
    await c.send({ conversationId: direct, content: 'An answer' });
    await a.send({ conversationId: direct, content: 'Another question' });
    await a.ask('conversation:create', { conversationId: group, memberIds: [ben, agent], title: 'Not for reports' });
    for (let n = 0; n < 5; n += 1) await a.send({ conversationId: group, content: `${n}` });
    await a.send({ conversationId: other, targetUserId: ben, content: 'Nobody is there' });
    const { cursor } = await c.message('4');
    await c.ask('stream:ack', { cursor });
    // Ben was away; he comes, and goes on living.
    await until(async () => (await get('deliveries')).data[0]?.notified >= 6, { what: "ben's notifications" });
    await deployment.connect(ben);
  });

  describe('are closed', () => {
    for (const name of LISTS) {
      test(`to everyone but admins: ${name}`, async () => {
        shapes.refused(await deployment.anonymous.get(`/app/analytics/${name}`), 'unauthenticated');
        for (const role of ['user', 'agent', 'system', 'Admin']) {
          shapes.refused(await (await deployment.rest(ann, { role })).get(`/app/analytics/${name}`), 'forbidden');
        }
      });
    }
  });

  for (const [what, query, field] of [
    ['a malformed beginning', 'from=yesterday', 'from'],
    ['a position for a time', 'from=7', 'from'],
    ['a time without its offset', 'to=2024-01-01T00:00:00', 'to'],
    ['an empty end', 'to=', 'to'],
    ['a reversed range', 'from=2024-01-02T00:00:00Z&to=2024-01-01T00:00:00Z', 'from'],
    ['an unknown way', 'by=week', 'by'],
    ['no way', 'by=', 'by'],
    ['a part without a time', 'by=role', 'by'],
    ['two parts', 'by=hour,role,conversation', 'by'],
    ['too long a page', 'limit=201', 'limit'],
    ['no page', 'limit=0', 'limit'],
    ['a limit that is no number', 'limit=x', 'limit'],
    ['a cursor that is none', 'cursor=x', 'cursor'],
    ['a parameter given twice', 'by=day&by=day', 'by'],
  ]) {
    test(`refuse ${what}, and name it`, async () => {
      for (const name of LISTS) {
        const { error } = await get(`${name}?${query}`, 400);
        assert.deepEqual([error.code, error.details.field], ['bad_request', field]);
      }
    });
  }

  test('of connections are by time alone', async () => {
    for (const by of ['hour,role', 'day,conversation']) assert.equal((await get(`connections?by=${by}`, 400)).error.details.field, 'by');
  });

  test("refuse another list's cursor", async () => {
    const { nextCursor } = await get('messages?by=day,conversation&limit=1');
    assert.ok(nextCursor);
    for (const name of ['deliveries', 'responses', 'connections']) {
      assert.equal((await get(`${name}?cursor=${nextCursor}`, 400)).error.details.field, 'cursor');
    }
  });

  test('refuse other methods in the one shape', async () => {
    const { status, body } = await admin.post('/app/analytics/messages', {});
    assert.deepEqual([status, body.success], [405, false]);
  });

  test('show what was acknowledged before they were asked', async () => {
    const rest = await deployment.rest(ann);
    const count = async () => sum(await list('messages', { by: 'hour,conversation' }).then((rows) => rows.filter(({ conversationId }) => conversationId === direct)), 'messages');
    let expected = await count();
    for (let n = 0; n < 4; n += 1) {
      assert.equal((await rest.post(`/app/conversations/${direct}/messages`, { content: 'more' })).status, 201);
      assert.equal(await count(), expected += 1);
    }
  });

  test('are told apart by conversation and by role, in pages of any length', async () => {
    for (const name of LISTS.slice(0, 4)) {
      for (const by of ['hour,conversation', 'day,role', 'day']) {
        const whole = await list(name, { by });
        assert.deepEqual(await list(name, { by }, 1), whole);
        const keys = Object.keys(whole[0]);
        assert.equal(keys.includes('conversationId'), by === 'hour,conversation');
        assert.equal(keys.includes('role'), by === 'day,role');
      }
    }
    const conversations = await list('messages', { by: 'day,conversation' });
    assert.deepEqual([...new Set(conversations.map(({ conversationId }) => conversationId))].sort(), [direct, group, other].sort());
    const roles = await list('messages', { by: 'day,role' });
    assert.equal(sum(roles, 'messages'), sum(conversations, 'messages'));
    assert.equal(sum(roles.filter(({ role }) => role === 'agent'), 'messages'), 1);
  });

  test('have whole hours and days of UTC', async () => {
    const [{ start }] = await list('messages', { by: 'hour' });
    assert.match(start, /T\d\d:00:00\.000Z$/);
    const later = new Date(Date.parse(start) + 3_599_999).toISOString();
    assert.equal((await list('messages', { by: 'hour', from: later }))[0].start, start);
    assert.equal((await list('messages', { by: 'hour', to: start })).at(-1).start, start);
    assert.deepEqual(await list('messages', { by: 'hour', to: new Date(Date.parse(start) - 1).toISOString() }), []);
    assert.deepEqual(await list('messages', { from: '2999-01-01T00:00:00+05:00' }), []);
  });

  test('say what became of each message, and how long it took', async () => {
    const of = async () => (await list('deliveries', { by: 'day,conversation' })).find(({ conversationId }) => conversationId === group);
    const { timeToDelivery, ...figures } = await until(async () => {
      const row = await of();
      return row.pending + row.offline === 0 && row;
    }, { what: 'all to arrive' });
    assert.deepEqual({ ...figures, start: '' }, { start: '', conversationId: group, recipients: 10, acknowledged: 5, presumed: 5, offline: 0, pending: 0, notified: 5 });
    assert.ok(timeToDelivery.p50Ms <= timeToDelivery.p90Ms && timeToDelivery.p99Ms <= timeToDelivery.maxMs && timeToDelivery.meanMs > 0);
  });

  test('time an answer from the first question', async () => {
    const rows = await list('responses', { by: 'day,conversation' });
    const { questions, answered, responseTime } = rows.find(({ conversationId }) => conversationId === direct);
    assert.deepEqual([questions, answered], [2, 1]);
    assert.ok(responseTime.maxMs >= responseTime.p50Ms && responseTime.maxMs < 20_000);
  });

  test('count connections from a record of changes', { timeout: 60_000 }, async () => {
    const clients = await Promise.all([ann, ann, user()].map((id) => deployment.connect(id)));
    const [row] = await until(async () => {
      const rows = await list('connections', { by: 'day' });
      return rows.at(-1)?.peakSockets >= 3 && rows.slice(-1);
    }, { what: 'a sample' });
    assert.ok(row.peakUsers >= 2 && row.seconds > 0 && row.meanSockets > 0);
    for (const client of clients) client.close();
    await until(async () => (await events()).findLast(({ eventType }) => eventType === 'ConnectionsSampled').payload.sockets <= 3, { what: 'them to be gone' });
    const samples = (await events()).filter(({ eventType }) => eventType === 'ConnectionsSampled').map(({ payload }) => payload);
    for (const [n, { at, seconds, ...figures }] of samples.entries()) {
      assert.deepEqual([seconds, Number.isInteger(at)], [1, true]);
      if (n === 0) continue;
      const { at: before, seconds: _, ...last } = samples[n - 1];
      assert.ok(at > before);
      assert.notDeepEqual(figures, last, 'only what has changed is recorded');
    }
  });

  /** What the notebook's views say of the log as it is. */
  async function notebook() {
    const out = join(folder, `export-${performance.now()}`);
    const { code, stderr } = await command(['export', '--format', 'parquet', '--out', out]);
    assert.equal(code, 0, stderr);
    const answers = execFileSync(file('../target/venv/bin/python'), [file('harness/notebook.py'), file('../docs/analytics.sql'), join(out, '*.parquet')], { encoding: 'utf8' });
    return JSON.parse(answers);
  }

  test('are what the notebook says of an export', { timeout: 60_000 }, async () => {
    const camel = (name) => name.replaceAll(/_(\w)/g, (_, letter) => letter.toUpperCase());
    const named = (rows) => rows.map((row) => Object.fromEntries(Object.entries(row).map(([name, value]) => [camel(name), value])));
    const flat = (name) => (row) => {
      const { [DURATIONS[name]]: durations, ...figures } = row;
      return { ...figures, ...(durations ?? { meanMs: null, p50Ms: null, p90Ms: null, p99Ms: null, maxMs: null }) };
    };
    await until(async () => {
      const answers = await notebook();
      assert.deepEqual(await list('messages', { by: 'hour' }), named(answers.messages_by_hour));
      assert.deepEqual(await list('messages', { by: 'day,conversation' }), named(answers.messages_by_day_and_conversation));
      assert.deepEqual(await list('users', { by: 'hour' }), named(answers.users_by_hour));
      assert.deepEqual(await list('users', { by: 'day,role' }), named(answers.users_by_day_and_role));
      assert.deepEqual(await list('connections', { by: 'hour' }), named(answers.connections_by_hour));
      for (const name of ['deliveries', 'responses']) {
        const exact = named(answers[`${name}_by_hour`]);
        const told = (await list(name, { by: 'hour' })).map(flat(name));
        assert.equal(told.length, exact.length);
        for (const [n, row] of told.entries()) {
          for (const [figure, value] of Object.entries(row)) {
            // A percentile may be too long by 1/32.
            const slack = /^p\d\dMs$/.test(figure) ? exact[n][figure] / 32 : 0;
            const fits = slack > 0 ? value >= exact[n][figure] && value <= exact[n][figure] + slack : value === exact[n][figure];
            assert.ok(fits, `${name}, ${figure}: ${value}, and exactly ${exact[n][figure]}`);
          }
        }
      }
      return true;
    }, { timeout: 40_000, what: 'the two to agree' });
  });

  const everything = async () => Object.fromEntries(await Promise.all(LISTS.slice(0, 4).map(async (name) => [name, await list(name, { by: 'hour' })])));

  test('are the same after a rebuild beside them, and after a restart', { timeout: 60_000 }, async () => {
    const figures = await everything();
    const { code, stdout, stderr } = await command(['rebuild']);
    assert.equal(code, 0, stderr);
    assert.match(stdout, /^views and analytics were made anew from \d+ events$/m);
    assert.deepEqual(await everything(), figures);
    // A cluster's roles stay with those who were killed for a while.
    await (isCluster ? deployment.stop() : deployment.kill());
    await deployment.start();
    admin = await deployment.rest(user('admin'), { role: 'admin' });
    assert.deepEqual(await everything(), figures);
  });

  describe('on the command line', () => {
    const stats = async (...args) => {
      const { code, stdout, stderr } = await command(['stats', ...args]);
      assert.equal(code, 0, stderr);
      return { stdout, stderr };
    };

    for (const [what, args, code, words] of [
      ['an unknown way', ['--by', 'week'], 2, /--by/],
      ['a malformed time', ['--from', 'yesterday'], 2, /--from/],
      ['a position for a time', ['--to', '7'], 2, /--to/],
      ['a reversed range', ['--from', '2024-01-02T00:00:00Z', '--to', '2024-01-01T00:00:00Z'], 2, /--from: is later than 2024-01-01/],
      ['an unknown option', ['--sparkle'], 2, /--sparkle/],
    ]) {
      test(`refuse ${what}`, async () => {
        const refused = await command(['stats', ...args]);
        assert.equal(refused.code, code);
        assert.match(refused.stderr, words);
        assert.equal(refused.stdout, '');
      });
    }

    test('refuse a store that is not there', async () => {
      const elsewhere = { DATABASE_URL: '', VERBATIM_DATA_DIR: join(folder, 'nowhere') };
      if (isCluster) elsewhere.DATABASE_URL = deployment.settings.DATABASE_URL.replace(/[^/]*$/, 'nowhere');
      else delete elsewhere.DATABASE_URL;
      const { code, stderr } = await command(['stats'], elsewhere);
      assert.equal(code, 3, stderr);
    });

    test('are those of REST', async () => {
      const { stdout } = await stats('--json', '--by', 'hour');
      const told = JSON.parse(stdout);
      assert.deepEqual(Object.keys(told), LISTS);
      assert.deepEqual({ ...told, connections: undefined }, { ...(await everything()), connections: undefined });
      const roles = JSON.parse((await stats('--json', '--by', 'day,role')).stdout);
      assert.deepEqual(roles.users, await list('users', { by: 'day,role' }));
      assert.equal(roles.connections, undefined);
    });

    test('are a plain table in a pipe', async () => {
      const { stdout } = await stats();
      const [heads, ...rows] = stdout.split('\n').slice(0, -1).map((line) => line.split(/ {2,}/));
      assert.deepEqual(heads.slice(0, 3), ['start', 'messages', 'users']);
      const days = await list('messages');
      assert.deepEqual(rows.filter(([, messages]) => messages !== '0').map(([start, messages]) => [start, Number(messages)]), days.map(({ start, messages }) => [start.slice(0, 10), messages]));
      assert.doesNotMatch(stdout, /[▁-█\u001b]/);
      assert.match((await stats('--by', 'hour,conversation')).stdout, new RegExp(`^\\S+ \\d\\d:00  ${direct} +\\d+`, 'm'));
      assert.match((await stats('--to', '2000-01-01T00:00:00Z')).stdout, /^nothing happened/);
    });

    test('have sparklines on a terminal', () => {
      const options = { env: environment(deployment.settings), encoding: 'utf8' };
      const shown = execFileSync('script', ['-qec', `'${executable}' stats --by hour`, '/dev/null'], options);
      assert.match(shown, /^messages +[ ▁-█]*█[ ▁-█]*  up to \d+\r?$/m);
      assert.match(shown, /^start +messages +users/m);
    });

    test('of a stopped server are counted where nobody has', { skip: isCluster, timeout: 60_000 }, async () => {
      const figures = await everything();
      assert.equal(await deployment.stop(), 0);
      for (const suffix of ['', '-wal', '-shm']) rmSync(join(deployment.dataDir, `analytics.sqlite${suffix}`), { force: true });
      const { stdout, stderr } = await stats('--json', '--by', 'hour');
      assert.match(stderr, /^\d+ events were not counted yet, and are now$/m);
      const { connections, ...told } = JSON.parse(stdout);
      assert.deepEqual(told, figures);
      assert.ok(connections.length > 0);
      assert.equal((await stats('--json')).stderr, '');
      await deployment.start();
      assert.deepEqual(await everything(), figures);
    });
  });
});
