// Commands that can't be handled are set aside, and operators list them, hand them over again, or drop them.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { connect } from 'node:net';
import { describe, test } from 'node:test';

import { deployOnOwnServers } from '../harness/deployment.mjs';
import { run } from '../harness/executable.mjs';
import { conversation, key, user } from '../harness/names.mjs';
import * as shapes from '../harness/shapes.mjs';
import { until, within } from '../harness/until.mjs';

const WORDS = 'nobody else reads this';

describe('dead letters', () => {
  const { postgres, nats, deployment } = deployOnOwnServers({}, [/^\S+ ERROR .*can't be (read|loaded)/]);

  const command = (...args) => run(['dead-letters', ...args], { DATABASE_URL: postgres.url, NATS_URL: nats.url });
  const sql = (text) => execFileSync('psql', [postgres.url, '-qAt', '-v', 'ON_ERROR_STOP=1', '-c', text], { encoding: 'utf8' }).trim();

  /** The letters, of which there must be so many. */
  async function list(count) {
    return until(async () => {
      const { code, stdout, stderr } = await command('list');
      assert.equal(code, 0, stderr);
      const lines = stdout.split('\n').filter((line) => line);
      return lines.length === count && lines.map((line) => JSON.parse(line));
    }, { what: `${count} dead letters` });
  }

  async function refused(pattern, ...args) {
    const { code, stdout, stderr } = await command(...args);
    assert.deepEqual([code, stdout], [1, '']);
    assert.match(stderr, pattern);
  }

  /** Publishes as any client of NATS may. */
  async function publish(subject, text) {
    const socket = connect(nats.port, '127.0.0.1').setEncoding('utf8');
    let answers = '';
    socket.on('data', (more) => (answers += more));
    socket.write(`CONNECT {"verbose":false}\r\nPUB ${subject} ${Buffer.byteLength(text)}\r\n${text}\r\nPING\r\n`);
    await until(() => answers.includes('PONG'), { what: 'PONG' });
    socket.end();
    await within(once(socket, 'close'), 'the end of the connection to NATS');
  }

  /** Alters a conversation's first event as a disk that loses its bits does: the triggers forbid it to everybody else. */
  const damage = (id, text) => sql(`set session_replication_role = replica; update journal.events set payload = $$${text}$$ where aggregate_id = '${id}' and sequence = 1; delete from journal.snapshots where aggregate_id = '${id}'`);

  async function restart() {
    for (const process of deployment.processes.filter(({ role }) => role === 'aggregate')) {
      assert.equal(await process.stop(), 0);
      await deployment.restart(process);
    }
    await deployment.ready();
  }

  async function metric(name) {
    const texts = await Promise.all(deployment.processes.map(async ({ url }) => (await fetch(`${url}/metrics`)).text()));
    return texts.flatMap((text) => text.split('\n')).filter((line) => line.startsWith(`${name} `)).reduce((sum, line) => sum + Number(line.split(' ')[1]), 0);
  }

  test('that are none are refused', async () => {
    assert.deepEqual(await list(0), []);
    await refused(/there is no dead letter 7/, 'retry', '7');
    await refused(/there is no dead letter 7/, 'drop', '7');
    assert.equal((await command('drop', 'seven')).code, 2);
    const nowhere = await run(['dead-letters', 'retry', '7'], { DATABASE_URL: postgres.url });
    assert.deepEqual([nowhere.code, nowhere.stdout], [1, '']);
    assert.match(nowhere.stderr, /NATS_URL/);
  });

  test('are what nobody can read; the lane moves on', async () => {
    await publish('verbatim.commands.3', `{"command": "${WORDS}"}`);
    const [letter] = await list(1);
    assert.deepEqual([letter.lane, letter.commandId, letter.aggregate], [3, null, null]);
    assert.ok(letter.reason && letter.setAsideAt && letter.bytes > 0);
    assert.ok(!JSON.stringify(letter).includes(WORDS));
    assert.equal(await metric('verbatim_dead_letters_total'), 1);
    await deployment.log.until(/ERROR .*a command can't be read/);
    // Every lane goes on.
    const [alice, bob] = [user('alice'), user('bob')];
    const a = await deployment.connect(alice);
    await Promise.all(Array.from({ length: 64 }, () => a.send({ conversationId: conversation(), targetUserId: bob, content: 'hello' })));

    await refused(/no command that this version can read/, 'retry', String(letter.id));
    assert.equal((await list(1)).length, 1);
    assert.deepEqual(await command('drop', String(letter.id)).then(({ code, stdout }) => [code, stdout]), [0, `removed ${letter.id}\n`]);
    await refused(/there is no dead letter/, 'drop', String(letter.id));
    await list(0);
  });

  test('are carried out once when what was wrong is mended', async () => {
    const [alice, bob] = [user('alice'), user('bob')];
    const [a, b] = [await deployment.connect(alice), await deployment.connect(bob)];
    const id = conversation();
    await a.send({ conversationId: id, targetUserId: bob, content: 'first' });
    await b.message('first');

    const started = `aggregate_id = '${id}' and sequence = 1`;
    const payload = sql(`select payload from journal.events where ${started}`);
    damage(id, '{"nonsense": true}');
    await restart();
    const second = { conversationId: id, content: WORDS, clientMessageId: key() };
    const answer = await a.ask('message:send', second);
    shapes.failure(answer, 'internal');
    const [letter] = await list(1);
    assert.match(letter.aggregate, new RegExp(id));
    assert.ok(letter.commandId && !JSON.stringify(letter).includes(WORDS));
    const kept = sql("select encode(command, 'escape') from journal.dead_letters");
    assert.ok(kept.includes(second.clientMessageId), 'it is that command');
    assert.ok(!kept.includes(WORDS), 'what was said is encrypted in it');
    await refused(/not carried out: .*; \d+ stays/, 'retry', String(letter.id));

    damage(id, payload);
    await restart();
    // The refused retry was set aside like the first try.
    const letters = await list(2);
    const { code, stdout, stderr } = await command('retry', String(letters[0].id));
    assert.deepEqual([code, stderr], [0, '']);
    assert.match(stdout, /^carried out at position \d+, and removed \d+\n$/);
    const received = await b.message(WORDS);
    assert.equal(received.sequence, 2);
    // Its other try, and the client's own, are the same command: nothing comes twice.
    assert.equal((await command('retry', String(letters[1].id))).code, 0);
    const again = await a.ask('message:send', second);
    assert.equal(again.duplicate, true);
    await list(0);
    await a.send({ conversationId: id, content: 'last' });
    await b.message('last');
    assert.deepEqual(b.messages.map(({ content }) => content), ['first', WORDS, 'last']);
  });

  test('bring back nothing that was erased', async () => {
    const [ann, ben] = [user('ann'), user('ben')];
    const a = await deployment.connect(ann);
    const id = conversation();
    await a.send({ conversationId: id, targetUserId: ben, content: 'first' });
    const started = `aggregate_id = '${id}' and sequence = 1`;
    const payload = sql(`select payload from journal.events where ${started}`);
    damage(id, '{"nonsense": true}');
    await restart();
    shapes.failure(await a.ask('message:send', { conversationId: id, content: WORDS, clientMessageId: key() }), 'internal');
    const [letter] = await list(1);
    const admin = await deployment.rest(user('admin'), { role: 'admin' });
    assert.equal((await admin.post('/app/erasures', { userId: ann })).status, 201);
    damage(id, payload);
    await restart();
    assert.equal((await command('retry', String(letter.id))).code, 0);
    const bens = await deployment.rest(ben);
    await until(async () => {
      const shown = (await bens.history(id)).map(({ content, unreadable }) => [content, unreadable]);
      return JSON.stringify(shown) === JSON.stringify([['', 'erased'], ['', 'erased']]);
    }, { what: 'both messages, erased' });
    await list(0);
  });
});
