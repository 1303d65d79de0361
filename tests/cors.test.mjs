// Which web pages may call: one rule for REST, polling and WebSocket handshakes.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { deploy } from './harness/deployment.mjs';
import { user } from './harness/names.mjs';
import { http, Wire } from './harness/raw.mjs';
import * as shapes from './harness/shapes.mjs';
import { token } from './harness/tokens.mjs';

/** How each of the three ways in answers a page of this origin: true if it lets it in. */
async function verdicts(deployment, origin, more = {}) {
  const headers = { ...(origin === undefined ? {} : { origin }), ...more };
  const url = deployment.url();
  const rest = await http(`${url}/app/get-connection-id`, { headers });
  const polling = await http(`${url}/socket.io/?EIO=4&transport=polling`, { headers });
  for (const answer of [rest, polling]) {
    if (answer.status === 200) {
      assert.equal(answer.headers.get('access-control-allow-origin'), origin ?? null);
      if (origin !== undefined) assert.match(answer.headers.get('vary'), /origin/i);
    } else {
      assert.equal(answer.status, 403, answer.text);
      assert.equal(answer.headers.get('access-control-allow-origin'), null);
      shapes.failure(answer.body, 'forbidden');
    }
  }
  const wire = await Wire.open(url, { headers }).catch(() => undefined);
  wire?.close();
  return { rest: rest.status === 200, polling: polling.status === 200, websocket: wire !== undefined };
}

const everywhere = (verdict) => ({ rest: verdict, polling: verdict, websocket: verdict });

describe('unless set otherwise', () => {
  const deployment = deploy();

  test('a request without an origin is let in', async () => {
    assert.deepEqual(await verdicts(deployment, undefined), everywhere(true));
  });

  test('pages of the server itself and of any localhost are let in', async () => {
    const { host } = new URL(deployment.url());
    for (const origin of [`http://${host}`, 'http://localhost', 'http://localhost:8080', 'https://localhost:5173', 'http://127.0.0.1', 'http://127.0.0.1:9']) {
      assert.deepEqual(await verdicts(deployment, origin), everywhere(true), origin);
    }
    assert.deepEqual(await verdicts(deployment, 'http://chat.example.com:8000', { host: 'chat.example.com:8000' }), everywhere(true));
  });

  test('all others are not', async () => {
    for (const origin of ['https://evil.example.com', 'http://localhost.evil.example.com', 'http://evil.example.com:80', 'http://localhost@evil.example.com', 'http://127.0.0.1.evil.example.com', 'null', 'file://', 'localhost', 'http://localhost:x', '']) {
      assert.deepEqual(await verdicts(deployment, origin), everywhere(false), origin);
    }
  });

  test('a good token does not help a bad origin', async () => {
    const headers = { origin: 'https://evil.example.com', authorization: `Bearer ${await token(user())}` };
    const answer = await http(`${deployment.url()}/app/conversations`, { headers });
    assert.equal(answer.status, 403);
    await assert.rejects(Wire.open(deployment.url(), { headers }));
  });

  test('a browser that asks first is answered', async () => {
    for (const path of ['/app/conversations', '/app/get-connection-id', '/socket.io/?EIO=4&transport=polling']) {
      const headers = { origin: 'http://localhost:8080', 'access-control-request-method': 'POST', 'access-control-request-headers': 'authorization,content-type' };
      const good = await http(deployment.url() + path, { method: 'OPTIONS', headers });
      assert.ok([200, 204].includes(good.status), `${path}: ${good.status}`);
      assert.equal(good.headers.get('access-control-allow-origin'), 'http://localhost:8080');
      assert.match(good.headers.get('access-control-allow-methods'), /POST/);
      assert.match(good.headers.get('access-control-allow-headers'), /authorization/i);
      assert.match(good.headers.get('access-control-allow-headers'), /content-type/i);
      const bad = await http(deployment.url() + path, { method: 'OPTIONS', headers: { ...headers, origin: 'https://evil.example.com' } });
      assert.equal(bad.status, 403);
      assert.equal(bad.headers.get('access-control-allow-origin'), null);
    }
  });

  test('failures can be read by the page, too', async () => {
    const answer = await http(`${deployment.url()}/app/conversations`, { headers: { origin: 'http://localhost:8080' } });
    assert.equal(answer.status, 401);
    assert.equal(answer.headers.get('access-control-allow-origin'), 'http://localhost:8080');
    assert.match(answer.headers.get('access-control-expose-headers'), /retry-after/i);
  });
});

describe('with a list', () => {
  const deployment = deploy({ CORS_ORIGINS: 'https://app.example.com, http://localhost:4000' });

  test('exactly the listed ones are let in', async () => {
    for (const origin of ['https://app.example.com', 'http://localhost:4000']) {
      assert.deepEqual(await verdicts(deployment, origin), everywhere(true), origin);
    }
    for (const origin of ['http://app.example.com', 'https://app.example.com:8443', 'https://x.app.example.com', 'http://localhost:4001', 'http://127.0.0.1:4000', 'null']) {
      assert.deepEqual(await verdicts(deployment, origin), everywhere(false), origin);
    }
    assert.deepEqual(await verdicts(deployment, undefined), everywhere(true));
  });
});

describe('with *', () => {
  const deployment = deploy({ CORS_ORIGINS: '*' });

  test('everybody is let in', async () => {
    for (const origin of ['https://evil.example.com', 'http://localhost:4000', 'null']) {
      assert.deepEqual(await verdicts(deployment, origin), everywhere(true), origin);
    }
  });
});

describe('behind a proxy', () => {
  const trusting = deploy({ TRUSTED_PROXIES: '127.0.0.0/8' });
  const wary = deploy();
  const named = deploy({ PUBLIC_URL: 'https://chat.example.com' });
  const forwarded = { 'x-forwarded-host': 'chat.example.com', 'x-forwarded-proto': 'https' };

  test('the server’s own origin is the one that the proxy was asked for, if the proxy is trusted', async () => {
    assert.deepEqual(await verdicts(trusting, 'https://chat.example.com', forwarded), everywhere(true));
    assert.deepEqual(await verdicts(trusting, 'https://evil.example.com', forwarded), everywhere(false));
    assert.deepEqual(await verdicts(wary, 'https://chat.example.com', forwarded), everywhere(false));
  });

  test('it is the one of PUBLIC_URL', async () => {
    assert.deepEqual(await verdicts(named, 'https://chat.example.com'), everywhere(true));
    assert.deepEqual(await verdicts(named, 'http://chat.example.com'), everywhere(false));
  });
});
