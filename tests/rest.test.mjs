// REST: every route, every status, one error shape.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { deploy } from './harness/deployment.mjs';
import { conversation, user } from './harness/names.mjs';
import { http } from './harness/raw.mjs';
import * as shapes from './harness/shapes.mjs';
import { now, sign, token } from './harness/tokens.mjs';
import { until } from './harness/until.mjs';

const UNKNOWN = '018f0000-0000-7000-8000-000000000000';

/** Every call of the contract, with a body where it takes one. */
const CALLS = [
  ['GET', '/app/notifications'],
  ['POST', '/app/notifications/read', { all: true }],
  ['GET', '/app/connections'],
  ['GET', '/app/conversations'],
  ['POST', '/app/conversations', { memberIds: ['x'] }],
  ['POST', '/app/conversations/{id}/read', {}],
  ['POST', '/app/conversations/{id}/messages', { content: 'x' }],
  ['GET', '/app/conversations/{id}/messages'],
  ['GET', '/app/stream'],
  ['POST', '/app/stream/ack', { cursor: 'x' }],
  ['GET', '/app/messages/{messageId}/deliveries'],
];

const path = (template) => template.replace('{id}', 'conv_unknown').replace('{messageId}', UNKNOWN);

const EVENTS = ['notification:get', 'notification:read', 'connection:get', 'conversation:get', 'conversation:create', 'conversation:read', 'message:send', 'message:get', 'stream:get', 'stream:ack'];
const ANSWERS = ['notification:receive', 'connection:receive', 'conversation:receive', 'message:receive', 'message:page', 'stream:page', 'stream:ready', 'stream:reset', 'connection:closing'];

describe('authentication', () => {
  const deployment = deploy();

  test('is asked for by everything under /app/, also where nothing is built', async () => {
    const nothing = [['GET', '/app'], ['GET', '/app/'], ['GET', '/app/nothing'], ['POST', '/app/nothing/at/all'], ['DELETE', '/app/conversations'], ['GET', '/app/audit/log'], ['GET', '/app/analytics/messages'], ['PUT', '/app/get-connection-id/x']];
    for (const [method, template, body] of [...CALLS, ...nothing]) {
      const answer = await deployment.anonymous.call(method, path(template), { body });
      shapes.refused(answer, 'unauthenticated');
      assert.match(answer.headers.get('www-authenticate'), /^Bearer/i, template);
    }
  });

  test('tells an expired token from a bad one', async () => {
    const call = (authorization) => http(`${deployment.url()}/app/conversations`, { headers: { authorization } });
    const expired = await call(`Bearer ${await sign({ userId: user(), exp: now() - 60 })}`);
    shapes.refused(expired, 'token_expired');
    for (const bad of ['Bearer', 'Bearer ', 'Bearer x', 'Basic dXNlcjpwYXNz', `Bearer ${await token(user(), { exp: undefined })}`, `Bearer ${'x'.repeat(8_200)}`]) {
      shapes.refused(await call(bad), 'unauthenticated');
    }
    const good = await token(user());
    for (const authorization of [`Bearer ${good}`, `bearer ${good}`, `BEARER ${good}`]) {
      assert.equal((await call(authorization)).status, 200);
    }
  });

  test('is not taken from the query', async () => {
    const answer = await deployment.anonymous.get(`/app/conversations?token=${await token(user())}`);
    shapes.refused(answer, 'unauthenticated');
  });

  test('where nothing is built, a token finds nothing; audit and analytics are for admins', async () => {
    const rest = await deployment.rest(user());
    for (const nothing of ['/app', '/app/', '/app/nothing', '/app/conversations/x/nothing', '/app/get-connection-id/x']) {
      shapes.refused(await rest.get(nothing), 'not_found');
    }
    for (const guarded of ['/app/audit/log', '/app/analytics/nothing', '/app/audit', '/app/analytics/x/y']) {
      shapes.refused(await rest.get(guarded), 'forbidden');
      shapes.refused(await (await deployment.rest(user(), { role: 'admin' })).get(guarded), 'not_found');
    }
  });

  test('is not asked for elsewhere', async () => {
    await until(async () => (await deployment.anonymous.get('/readyz')).status === 200, { what: 'ready' });
    for (const [open, type] of [
      ['/app/get-connection-id', /json/],
      ['/healthz', /./],
      ['/readyz', /./],
      ['/metrics', /^(text\/plain|application\/openmetrics-text)/],
      ['/openapi.json', /json/],
      ['/asyncapi.json', /json/],
      ['/docs', /html/],
    ]) {
      const answer = await deployment.anonymous.get(open);
      assert.equal(answer.status, 200, open);
      assert.match(answer.headers.get('content-type') ?? 'none', type, open);
    }
  });
});

describe('failures', () => {
  const deployment = deploy();

  test('of the framework have the one shape', async () => {
    const rest = await deployment.rest(user());
    shapes.failure((await rest.get('/nothing')).body, 'not_found');
    shapes.failure((await rest.get('/')).body, 'not_found');
    for (const [method, target] of [['DELETE', '/app/conversations'], ['PUT', '/app/notifications'], ['PATCH', '/app/stream'], ['GET', '/app/notifications/read'], ['POST', '/app/connections'], ['POST', '/app/get-connection-id'], ['POST', '/healthz']]) {
      const answer = await rest.call(method, target);
      assert.equal(answer.status, 405, `${method} ${target}`);
      shapes.failure(answer.body);
      assert.ok(answer.headers.get('allow')?.length > 0, `${method} ${target}`);
      assert.ok(!answer.headers.get('allow').split(', ').includes(method));
    }
    for (const body of ['{', '', 'null', '[]', '"x"', '{"memberIds": ["x"]', '{"memberIds": ["x"]} x', '\u0000']) {
      const answer = await rest.call('POST', '/app/conversations', { body, headers: { 'content-type': 'application/json' } });
      shapes.refused(answer, 'bad_request');
    }
    const plain = await rest.call('POST', '/app/conversations', { body: '{"memberIds": ["x"]}', headers: { 'content-type': 'text/plain' } });
    assert.ok([400, 415].includes(plain.status));
    shapes.failure(plain.body, 'bad_request');
    const large = await rest.post('/app/conversations', { memberIds: ['x'], padding: 'x'.repeat(70_000) });
    shapes.refused(large, 'payload_too_large');
    for (const target of ['/app/conversations?limit=%00', '/app/conversations/%ff/messages', '/app/conversations/%00/messages', '/app/notifications?limit=1&limit=2', '/app/conversations?limit=%zz']) {
      const answer = await rest.get(target);
      shapes.failure(answer.body);
      assert.equal(answer.status, 400, target);
    }
  });

  test('never tell what is inside', async () => {
    const rest = await deployment.rest(user());
    for (const target of ["/app/conversations/'%20or%201=1/messages", '/app/notifications?cursor=AAAA', '/app/stream?cursor=AAAA']) {
      const { text } = await rest.get(target);
      assert.doesNotMatch(text, /sqlite|sqlx|panick|\.rs:|rust/i);
    }
  });
});

describe('every call', () => {
  const deployment = deploy();

  test('answers in the envelope, HEAD like GET without a body', async () => {
    const [alice, bob, id] = [user('alice'), user('bob'), conversation()];
    const rest = await deployment.rest(alice);
    const { body } = await rest.post(`/app/conversations/${id}/messages`, { targetUserId: bob, content: 'x' });
    for (const [target, beside] of [
      ['/app/notifications', ['nextCursor']],
      ['/app/conversations', ['nextCursor']],
      [`/app/conversations/${id}/messages`, ['nextCursor']],
      ['/app/stream', ['nextCursor']],
      [`/app/messages/${body.data._id}/deliveries`, ['nextCursor']],
      ['/app/connections', ['nextCursor', 'totalConnections']],
      ['/app/get-connection-id', []],
    ]) {
      const answer = await rest.get(target);
      assert.equal(answer.status, 200, target);
      assert.equal(answer.body.success, true);
      for (const name of beside) assert.ok(name in answer.body, `${name} of ${target}`);
      if (beside.length > 0) assert.ok(Array.isArray(answer.body.data), target);
      assert.match(answer.headers.get('content-type'), /^application\/json/);
      const head = await rest.call('HEAD', target);
      assert.equal(head.status, 200, target);
      assert.equal(head.text, '');
    }
  });

  test('is in the OpenAPI document, with its failures', async () => {
    const { body } = await deployment.anonymous.get('/openapi.json');
    assert.match(body.openapi, /^3\./);
    for (const [method, template] of [...CALLS, ['GET', '/app/get-connection-id']]) {
      const operation = Object.entries(body.paths).find(([known]) => known.replace(/\{[^}]+\}/g, '{}') === template.replace(/\{[^}]+\}/g, '{}'))?.[1][method.toLowerCase()];
      assert.ok(operation, `${method} ${template}`);
      assert.ok(['200', '201'].some((status) => status in operation.responses), template);
      if (template !== '/app/get-connection-id') {
        assert.ok('401' in operation.responses, template);
        assert.ok(operation.security?.length > 0 || body.security?.length > 0, template);
      }
      for (const [status, response] of Object.entries(operation.responses)) {
        assert.ok(response.content || response.$ref, `${status} of ${method} ${template} has no body`);
      }
    }
    assert.ok(Object.values(body.components.securitySchemes).some((scheme) => scheme.type === 'http' && scheme.scheme === 'bearer'));
  });

  test('has its events in the AsyncAPI document', async () => {
    const { body } = await deployment.anonymous.get('/asyncapi.json');
    assert.match(body.asyncapi, /^3\./);
    const text = JSON.stringify(body);
    for (const event of [...EVENTS, ...ANSWERS]) assert.ok(text.includes(`"${event}"`), event);
  });
});

describe('get-connection-id', () => {
  const plain = deploy();
  const proxied = deploy({ TRUSTED_PROXIES: '10.0.0.0/8, 127.0.0.1' });
  const secure = deploy({ PUBLIC_URL: 'https://chat.example.com' });
  const ported = deploy({ PUBLIC_URL: 'http://chat.example.com:8080' });
  const ask = async (deployment, headers) => {
    const answer = await http(`${deployment.url()}/app/get-connection-id`, { headers });
    assert.equal(answer.status, 200, answer.text);
    return answer.body;
  };
  const where = async (deployment, headers) => {
    const { websocketUrl, connectionInfo } = (await ask(deployment, headers)).data;
    const { protocol, host, port } = connectionInfo;
    return { websocketUrl, protocol, host, port };
  };

  test('reads as the contract has it', async () => {
    const body = await ask(plain, { host: 'localhost:3000' });
    shapes.timestamp(body.data.connectionInfo.timestamp);
    const { timestamp } = body.data.connectionInfo;
    const { timestamp: _, ...rest } = body;
    assert.deepEqual(rest, {
      success: true,
      data: {
        websocketUrl: 'ws://localhost:3000',
        connectionInfo: { protocol: 'ws', host: 'localhost:3000', port: '3000', timestamp },
        instructions: {
          authentication: 'Include JWT token in auth.token or Authorization header',
          events: [
            'notification:get → notification:receive',
            'connection:get → connection:receive',
            'conversation:get → conversation:receive',
            'message:send → message:receive',
          ],
        },
      },
    });
  });

  test('names the host that was asked', async () => {
    const { host, port } = new URL(plain.url());
    assert.deepEqual(await where(plain, {}), { websocketUrl: `ws://${host}`, protocol: 'ws', host, port });
    assert.deepEqual(await where(plain, { host: 'chat.example.com' }), { websocketUrl: 'ws://chat.example.com', protocol: 'ws', host: 'chat.example.com', port: '80' });
    assert.deepEqual(await where(plain, { host: '[::1]:3000' }), { websocketUrl: 'ws://[::1]:3000', protocol: 'ws', host: '[::1]:3000', port: '3000' });
  });

  test('believes a proxy only if told to', async () => {
    const forwarded = { host: 'internal:3000', 'x-forwarded-host': 'chat.example.com', 'x-forwarded-proto': 'https', 'x-forwarded-for': '1.2.3.4' };
    assert.deepEqual(await where(plain, forwarded), { websocketUrl: 'ws://internal:3000', protocol: 'ws', host: 'internal:3000', port: '3000' });
    assert.deepEqual(await where(proxied, forwarded), { websocketUrl: 'wss://chat.example.com', protocol: 'wss', host: 'chat.example.com', port: '443' });
    assert.deepEqual(await where(proxied, { ...forwarded, 'x-forwarded-host': 'chat.example.com:8443' }), { websocketUrl: 'wss://chat.example.com:8443', protocol: 'wss', host: 'chat.example.com:8443', port: '8443' });
  });

  test('names PUBLIC_URL whatever was asked', async () => {
    const expected = { websocketUrl: 'wss://chat.example.com', protocol: 'wss', host: 'chat.example.com', port: '443' };
    assert.deepEqual(await where(secure, {}), expected);
    assert.deepEqual(await where(secure, { host: 'evil.example.com', 'x-forwarded-host': 'evil.example.com' }), expected);
    assert.deepEqual(await where(ported, {}), { websocketUrl: 'ws://chat.example.com:8080', protocol: 'ws', host: 'chat.example.com:8080', port: '8080' });
  });

  test('does not repeat a host that is none', async () => {
    for (const host of ['<script>', 'a b', 'a"b', 'user@host', 'host:port', 'host:0']) {
      const answer = await http(`${plain.url()}/app/get-connection-id`, { headers: { host } });
      assert.equal(answer.status, 400, host);
    }
  });
});
