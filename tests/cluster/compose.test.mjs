// What compose.yaml starts, by hand: the same commands, roles and environment, NATS with our configuration and one
// login a role, nginx with our configuration in front of two gateways, ending TLS.

import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import { Client, TRANSPORTS } from '../harness/client.mjs';
import { run } from '../harness/executable.mjs';
import { Log } from '../harness/log.mjs';
import { conversation, user } from '../harness/names.mjs';
import { Process } from '../harness/process.mjs';
import { Nats, Nginx, Postgres } from '../harness/servers.mjs';
import { MASTER_KEY, SECRET, makeSealKey, token } from '../harness/tokens.mjs';
import { until } from '../harness/until.mjs';

const text = (path) => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8');
const PASSWORDS = { gateway: 'g-secret', aggregate: 'a-secret', projection: 'p-secret' };

describe('what compose.yaml starts', () => {
  const postgres = new Postgres();
  const nats = new Nats({
    environment: Object.fromEntries(Object.entries(PASSWORDS).map(([role, password]) => [`NATS_${role.toUpperCase()}_PASSWORD`, password])),
  });
  nats.config = text('deploy/nats/nats.conf').replace(/^port: .*$/m, '').replace(/^http: .*$/m, '').replace('/data', nats.folder);
  const folder = mkdtempSync(join(tmpdir(), 'verbatim-compose-'));
  const sealKey = join(folder, 'seal_key.pem');
  const log = new Log();
  const processes = [];
  let nginx;

  async function start(role) {
    const process = new Process(role);
    processes.push(process);
    await process.start(['serve'], {
      DATABASE_URL: postgres.url,
      NATS_URL: nats.url,
      NATS_USER: role,
      NATS_PASSWORD: PASSWORDS[role],
      VERBATIM_ROLE: role,
      VERBATIM_LISTEN: '127.0.0.1:0',
      ...(role === 'gateway' ? { JWT_SECRET: SECRET, TRUSTED_PROXIES: '127.0.0.0/8' } : {}),
      ...(role === 'aggregate' ? {} : { MASTER_KEY }),
      ...(role === 'projection' ? { SEAL_KEY_FILE: sealKey } : {}),
    }, '/', log);
  }

  before(async () => {
    makeSealKey(sealKey);
    await Promise.all([postgres.start(), nats.start()]);
    const migrated = await run(['migrate'], { DATABASE_URL: postgres.url });
    assert.equal(migrated.code, 0, migrated.stderr);
    await Promise.all(['gateway', 'gateway', 'aggregate', 'aggregate', 'projection', 'projection'].map(start));
    const gateways = processes.filter(({ role }) => role === 'gateway');
    nginx = new Nginx(({ port, folder }) => text('deploy/nginx/verbatim.conf')
      .replace('gateway-1:3000', gateways[0].listen)
      .replace('gateway-2:3000', gateways[1].listen)
      .replace('listen 8443', `listen 127.0.0.1:${port}`)
      .replaceAll('/etc/nginx/tls', folder));
    await nginx.start();
    for (const { listen } of processes) {
      await until(async () => (await run(['health'], { VERBATIM_LISTEN: listen })).code === 0, { timeout: 30_000, what: `${listen} to be healthy` });
    }
  });

  after(async () => {
    try {
      const codes = await Promise.all(processes.map((process) => process.stop()));
      assert.deepEqual(codes, processes.map(() => 0));
      assert.deepEqual(log.faults(), []);
      assert.deepEqual(log.matching(/permissions? violation/i), []);
    } finally {
      rmSync(folder, { recursive: true });
      await Promise.all([postgres.end(), nats.end(), nginx?.end()]);
    }
  });

  for (const [name, transports] of Object.entries(TRANSPORTS)) {
    test(`talks over ${name} through nginx, which ends TLS`, async () => {
      const url = `https://localhost:${nginx.port}`;
      const [alice, bob, id] = [user('alice'), user('bob'), conversation()];
      const options = { transports, ca: nginx.certificate };
      const a = await Client.connect(url, { token: await token(alice), ...options });
      const b = await Client.connect(url, { token: await token(bob), ...options });
      for (let n = 0; n < 20; n += 1) await a.send({ conversationId: id, targetUserId: bob, content: `${n}` });
      await b.message('19');
      a.close();
      b.close();
    });
  }

  test('tells clients the address that they came by', async () => {
    const { get } = await import('node:https');
    const answer = await new Promise((resolve, reject) => {
      get(`https://localhost:${nginx.port}/app/get-connection-id`, { ca: nginx.certificate }, (response) => {
        let body = '';
        response.setEncoding('utf8').on('data', (more) => (body += more)).on('end', () => resolve(JSON.parse(body)));
      }).on('error', reject);
    });
    assert.equal(answer.data.websocketUrl, `wss://localhost:${nginx.port}`);
  });

  test('seals the log', { timeout: 60_000 }, async () => {
    const [ann, id] = [user('ann'), conversation()];
    const url = `https://localhost:${nginx.port}`;
    const client = await Client.connect(url, { token: await token(ann), ca: nginx.certificate });
    await client.send({ conversationId: id, targetUserId: user('ben'), content: 'Hello!' });
    client.close();
    await until(async () => (await run(['verify'], { DATABASE_URL: postgres.url, SEAL_KEY_FILE: sealKey })).code === 0, { timeout: 40_000, what: 'a seal that holds' });
  });

  test('keeps roles apart: a wrong password is refused with the setting named', async () => {
    const refused = await run(['serve'], {
      DATABASE_URL: postgres.url, NATS_URL: nats.url, NATS_USER: 'gateway', NATS_PASSWORD: 'wrong', VERBATIM_ROLE: 'gateway', JWT_SECRET: SECRET, MASTER_KEY, VERBATIM_LISTEN: '127.0.0.1:0',
    });
    assert.equal(refused.code, 1);
    assert.match(refused.stderr, /NATS_URL/);
    assert.doesNotMatch(refused.stderr, /wrong/);
  });
});
