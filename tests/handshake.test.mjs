// Who gets in, over which transport, and who doesn't.

import assert from 'node:assert/strict';
import { createHmac, generateKeyPairSync } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';

import { LIBRARIES, TRANSPORTS } from './harness/client.mjs';
import { deploy } from './harness/deployment.mjs';
import { conversation, user } from './harness/names.mjs';
import { now, SECRET, sign, token, unsigned } from './harness/tokens.mjs';
import { until } from './harness/until.mjs';

const NO_TOKEN = 'Authentication failed: No token provided';
const EXPIRED = 'Authentication failed: Token expired';
const INVALID = 'Authentication failed: Invalid token';

const hour = () => now() + 3_600;

/** How the server answers these credentials: undefined if it lets them in. */
async function refusal(deployment, options) {
  const client = deployment.client(options);
  try {
    await client.connected();
    return undefined;
  } catch (error) {
    return error.message;
  } finally {
    client.close();
  }
}

describe('with a secret', () => {
  const deployment = deploy();

  for (const library of Object.keys(LIBRARIES)) {
    for (const [transport, transports] of Object.entries(TRANSPORTS)) {
      test(`socket.io-client ${library} chats over ${transport}`, async () => {
        const [alice, bob, id] = [user('alice'), user('bob'), conversation()];
        const a = await deployment.connect(alice, { library, transports });
        const b = await deployment.connect(bob, { library, transports });
        if (transport === 'upgrade') {
          for (const client of [a, b]) {
            await until(() => client.socket.io.engine.transport.name === 'websocket', { what: 'the upgrade' });
          }
        } else {
          assert.equal(a.socket.io.engine.transport.name, transport);
        }
        const sent = await a.send({ conversationId: id, targetUserId: bob, content: 'Hello!' });
        const confirmation = await a.message('Hello!');
        assert.equal(confirmation._id, sent._id);
        assert.deepEqual(await b.message('Hello!'), confirmation);
        await b.send({ conversationId: id, content: 'Hello back: ä → 🦀' });
        assert.equal((await a.message('Hello back: ä → 🦀')).sequence, 2);
        a.close();
        const rest = await deployment.rest(bob);
        await until(async () => {
          const { body } = await rest.get('/app/connections');
          return !body.data.some((entry) => entry.userId === alice);
        }, { what: "the end of alice's connection" });
      });
    }
  }

  test('a token is taken from auth.token, with or without Bearer, and from the Authorization header', async () => {
    const good = await token(user());
    assert.equal(await refusal(deployment, { token: good }), undefined);
    assert.equal(await refusal(deployment, { token: `Bearer ${good}` }), undefined);
    for (const transports of Object.values(TRANSPORTS)) {
      assert.equal(await refusal(deployment, { transports, extraHeaders: { Authorization: `Bearer ${good}` } }), undefined);
    }
  });

  test('a handshake without a token is refused', async () => {
    for (const transports of Object.values(TRANSPORTS)) {
      for (const auth of [{}, { token: '' }, { token: null }, undefined]) {
        assert.equal(await refusal(deployment, { auth, transports }), NO_TOKEN, JSON.stringify(auth));
      }
    }
  });

  test('an expired token is refused as such', async () => {
    const old = await sign({ userId: user(), exp: now() - 60 });
    for (const transports of Object.values(TRANSPORTS)) {
      assert.equal(await refusal(deployment, { token: old, transports }), EXPIRED);
    }
    assert.equal(await refusal(deployment, { extraHeaders: { Authorization: `Bearer ${old}` } }), EXPIRED);
  });

  describe('refuses a token', () => {
    const claims = () => ({ userId: user(), exp: hour() });
    const rsa = generateKeyPairSync('rsa', { modulusLength: 2_048 });
    const without = (name) => {
      const rest = claims();
      delete rest[name];
      return rest;
    };
    const tokens = {
      'that is no token': () => 'not.a.token',
      'that is one word': () => 'token',
      'that is unsigned': () => unsigned(claims()),
      'with its signature cut off': async () => (await sign(claims())).replace(/[^.]*$/, ''),
      'signed with another key': () => sign(claims(), { key: 'another-secret-of-more-than-32-bytes!' }),
      'signed with HS384': () => sign(claims(), { header: { alg: 'HS384' } }),
      'signed with HS512': () => sign(claims(), { header: { alg: 'HS512' } }),
      'signed with RS256': () => sign(claims(), { key: rsa.privateKey, header: { alg: 'RS256' } }),
      'without exp': () => sign(without('exp')),
      'with an exp that is no number': () => sign({ ...claims(), exp: 'tomorrow' }).catch(() => forged({ ...claims(), exp: 'tomorrow' })),
      'not yet valid': () => sign({ ...claims(), nbf: hour() - 600 }),
      'of 20 kB': () => sign({ ...claims(), padding: 'x'.repeat(15_000) }),
      'without a user id': () => sign(without('userId')),
      'with a number for a user id': () => sign({ ...claims(), userId: 7 }),
      'with an empty user id': () => sign({ ...claims(), userId: '' }),
      'with white space in the user id': () => sign({ ...claims(), userId: 'user 1' }),
      'with a wildcard in the user id': () => sign({ ...claims(), userId: 'user.*' }),
      'with the other wildcard in the user id': () => sign({ ...claims(), userId: 'user.>' }),
      'with a line break in the user id': () => sign({ ...claims(), userId: 'user\n[SOCKET] [x] User connected' }),
      'with a user id of 129 characters': () => sign({ ...claims(), userId: 'u'.repeat(129) }),
      'with letters beyond ASCII in the user id': () => sign({ ...claims(), userId: 'jürgen' }),
    };
    for (const [name, make] of Object.entries(tokens)) {
      test(name, async () => {
        const bad = await make();
        assert.equal(await refusal(deployment, { token: bad }), INVALID);
        assert.equal(await refusal(deployment, { extraHeaders: { Authorization: `Bearer ${bad}` }, transports: ['polling'] }), INVALID);
        assert.ok(!deployment.log.text.includes(bad.slice(0, 200)) || bad.length < 10, 'the log shows the token');
      });
    }

    test('that is no string', async () => {
      for (const odd of [7, true, ['x'], { x: 1 }]) {
        assert.equal(await refusal(deployment, { token: odd }), INVALID, JSON.stringify(odd));
      }
    });
  });

  test('a user id is userId, else sub, else id', async () => {
    const [first, second, third] = [user('first'), user('second'), user('third')];
    for (const [claims, expected] of [
      [{ userId: first, sub: second, id: third }, first],
      [{ sub: second, id: third }, second],
      [{ id: third }, third],
    ]) {
      const client = deployment.client({ token: await sign({ exp: hour(), ...claims }) });
      await client.connected();
      const { data } = await client.ask('connection:get', {});
      assert.ok(data.some((entry) => entry.userId === expected && entry.socketId === client.socket.id));
      client.close();
    }
  });

  test('every character that an id may have is let in, up to 128 of them', async () => {
    const odd = 'a.Z-9_:@|+=~';
    const client = await deployment.connect(odd + 'x'.repeat(128 - odd.length));
    assert.ok(client.socket.connected);
  });

  test('an nbf a few seconds ahead is a clock that goes wrong', async () => {
    assert.equal(await refusal(deployment, { token: await token(user(), { nbf: now() + 5 }) }), undefined);
  });

  test('connections are counted by user and by socket while they last', async () => {
    const alice = user('alice');
    const [first, second] = [await deployment.connect(alice), await deployment.connect(alice)];
    const mine = async () => {
      const answer = await first.ask('connection:get', {});
      assert.ok(answer.totalConnections >= 2);
      return answer.data.filter((entry) => entry.userId === alice).map((entry) => entry.socketId).sort();
    };
    const both = [first.socket.id, second.socket.id].sort();
    await until(async () => (await mine()).length === 2);
    assert.deepEqual(await mine(), both);
    second.close();
    await until(async () => (await mine()).length === 1);
    assert.deepEqual(await mine(), [first.socket.id]);
  });

  test('there is no namespace but the default one', async () => {
    const client = deployment.client({ token: await token(user()) });
    await client.connected();
    const other = client.socket.io.socket('/admin', { auth: { token: await token(user()) } });
    const message = await new Promise((resolve) => {
      other.on('connect', () => resolve('connected'));
      other.on('connect_error', (error) => resolve(error.message));
      other.connect();
    });
    assert.equal(message, 'Invalid namespace');
    assert.ok(client.socket.connected);
  });

  test('an older Engine.IO is refused', async () => {
    const { status } = await deployment.anonymous.get('/socket.io/?EIO=3&transport=polling');
    assert.equal(status, 400);
  });

  test('the log says why, and never shows a token', async () => {
    await deployment.log.until(/^\[SOCKET\] \[[^\]]+\] Authentication failed: No token provided$/);
    await deployment.log.until(/^\[SOCKET\] \[[^\]]+\] Authentication failed: Token expired$/);
    await deployment.log.until(/^\[SOCKET\] \[[^\]]+\] Authentication failed: Invalid token$/);
    assert.deepEqual(deployment.log.tokens(), []);
  });
});

/** An HS256 token of claims that a careful library refuses to sign. */
function forged(claims) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const text = `${part({ alg: 'HS256', typ: 'JWT' })}.${part(claims)}`;
  return `${text}.${createHmac('sha256', SECRET).update(text).digest('base64url')}`;
}

describe('with an issuer and an audience', () => {
  const deployment = deploy({ JWT_ISSUER: 'https://login.example.com', JWT_AUDIENCE: 'chat' });
  const good = { iss: 'https://login.example.com', aud: 'chat' };

  test('tokens must have both', async () => {
    const { iss, aud } = good;
    assert.equal(await refusal(deployment, { token: await token(user(), good) }), undefined);
    assert.equal(await refusal(deployment, { token: await token(user(), { iss, aud: ['other', 'chat'] }) }), undefined);
    for (const claims of [{ iss }, { aud }, {}, { iss, aud: 'other' }, { iss: 'https://evil.example.com', aud }]) {
      assert.equal(await refusal(deployment, { token: await token(user(), claims) }), INVALID, JSON.stringify(claims));
    }
  });
});

describe('with a public key', () => {
  const folder = mkdtempSync(join(tmpdir(), 'verbatim-keys-'));
  after(() => rmSync(folder, { recursive: true }));
  const kinds = {
    RS256: generateKeyPairSync('rsa', { modulusLength: 2_048 }),
    ES256: generateKeyPairSync('ec', { namedCurve: 'P-256' }),
    EdDSA: generateKeyPairSync('ed25519'),
  };
  for (const [alg, pair] of Object.entries(kinds)) {
    describe(`of ${alg}`, () => {
      const file = join(folder, `${alg}.pem`);
      const pem = pair.publicKey.export({ type: 'spki', format: 'pem' });
      writeFileSync(file, pem);
      const deployment = deploy({ JWT_SECRET: undefined, JWT_PUBLIC_KEY_FILE: file });
      const claims = () => ({ userId: user(), exp: hour() });

      test('only its own signatures are accepted', async () => {
        const good = await sign(claims(), { key: pair.privateKey, header: { alg } });
        assert.equal(await refusal(deployment, { token: good }), undefined);
        for (const [other, { privateKey }] of Object.entries(kinds)) {
          if (other === alg) continue;
          const bad = await sign(claims(), { key: privateKey, header: { alg: other } });
          assert.equal(await refusal(deployment, { token: bad }), INVALID, other);
        }
      });

      test('a token signed with the public key as a secret is refused', async () => {
        for (const secret of [pem, pem.trim(), SECRET]) {
          assert.equal(await refusal(deployment, { token: await sign(claims(), { key: secret }) }), INVALID);
        }
      });

      test('an unsigned token is refused', async () => {
        assert.equal(await refusal(deployment, { token: unsigned(claims()) }), INVALID);
      });
    });
  }
});
