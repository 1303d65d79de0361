// In a real browser: the front-end example as it stands, the example page through a crash, and the Swagger UI.

import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import { browse, servePages, socketIoClient } from './harness/browser.mjs';
import { deploy } from './harness/deployment.mjs';
import { token } from './harness/tokens.mjs';
import { PATIENCE, until } from './harness/until.mjs';

const read = (path) => readFileSync(new URL(path, import.meta.url), 'utf8');

/** The front end that must work as it stands, from where newcomers copy it. */
const [, EXAMPLE] = /```javascript\n(.*?)```/s.exec(read('../README.md'));

let browser;
before(async () => (browser = await browse()));
after(() => browser?.close());

/** A page in a browser profile of its own, with all that it wrote to its console. */
async function open(url, { jwt } = {}) {
  const context = await browser.newContext();
  context.setDefaultTimeout(PATIENCE);
  if (jwt) await context.addInitScript((value) => localStorage.setItem('jwt_token', value), jwt);
  const page = await context.newPage();
  const lines = [];
  const faults = [];
  page.on('console', (line) => lines.push(line.text()));
  page.on('pageerror', (error) => faults.push(String(error)));
  await page.goto(url);
  return { page, lines, faults };
}

describe('the front-end example', () => {
  const deployment = deploy();
  let site;
  before(async () => {
    assert.ok(EXAMPLE.includes("socket.emit('message:send', { conversationId: 'conv_123', targetUserId: 'user_456', content: 'Hello!' });"));
    site = await servePages(
      {
        '/': `<!doctype html><title>Example</title><script src="/socket.io.js"></script><script type="module">\n${EXAMPLE}\nwindow.socket = socket;\n</script>`,
        '/socket.io.js': socketIoClient,
      },
      () => deployment.url(),
    );
  });
  after(() => site?.close());

  test('works unchanged, and two pages chat', async () => {
    const one = await open(site.url, { jwt: await token('user_1') });
    const said = (page, text) => until(() => page.lines.some((line) => line.includes(text)), { what: () => `${text} on the console: ${page.lines.join(' | ')}` });
    await said(one, 'Connected to WebSocket server');
    await said(one, 'Message received:');
    await said(one, 'Notifications:');
    const two = await open(site.url, { jwt: await token('user_456') });
    await said(two, 'Connected to WebSocket server');
    await said(two, 'Message received:');
    for (const { page } of [one, two]) {
      await page.evaluate(() => {
        window.heard = [];
        window.socket.on('message:receive', ({ data }) => window.heard.push(`${data.senderId}: ${data.content}`));
      });
    }
    const heard = async (text) => {
      for (const { page } of [one, two]) await page.waitForFunction((text) => window.heard.includes(text), text);
    };
    await two.page.evaluate(() => window.socket.emit('message:send', { conversationId: 'conv_123', targetUserId: 'user_1', content: 'Hello back!' }));
    await heard('user_456: Hello back!');
    await one.page.evaluate(() => window.socket.emit('message:send', { conversationId: 'conv_123', content: 'And again' }));
    await heard('user_1: And again');
    await one.page.evaluate(() => window.socket.disconnect());
    await said(one, 'Disconnected from WebSocket server');
    const stored = await (await deployment.rest('user_1')).history('conv_123');
    // The second page says its "Hello!" to itself: in a conversation that exists, a member as the target changes nothing.
    const expected = ['user_1: Hello!', 'user_456: Hello!', 'user_456: Hello back!', 'user_1: And again'];
    assert.deepEqual(stored.map((message) => `${message.senderId}: ${message.content}`), expected);
    for (const { faults } of [one, two]) assert.deepEqual(faults, []);
  });
});

describe('the example page', () => {
  const deployment = deploy();
  let site;
  before(async () => {
    site = await servePages(
      { '/chat.html': read('../examples/chat.html'), '/node_modules/socket.io-client/dist/socket.io.min.js': socketIoClient },
      () => deployment.url(),
    );
  });
  after(() => site?.close());

  test('chats, and loses and repeats nothing when the server is killed in the middle of the talk', async () => {
    const people = { user_1: 'user_456', user_456: 'user_1' };
    const pages = {};
    for (const name of Object.keys(people)) {
      const { page, faults } = await open(`${site.url}/chat.html`);
      await page.fill('#server', deployment.url());
      await page.fill('#token', await token(name));
      await page.click('#login button');
      await page.waitForSelector('#say:not([hidden])');
      pages[name] = { page, faults };
    }
    const expected = [];
    const shown = (page) => page.locator('#messages li').allTextContents();
    const write = async (name, text) => {
      const { page } = pages[name];
      await page.fill('#to', people[name]);
      await page.fill('#content', text);
      await page.click('#say button');
      expected.push(`${name}: ${text}`);
    };
    const comes = async (name, text) => {
      for (const other of Object.values(pages)) {
        await until(async () => (await shown(other.page)).includes(`${name}: ${text}`), { what: `${text} on both pages`, timeout: 60_000 });
      }
    };
    const say = async (name, text) => {
      await write(name, text);
      await comes(name, text);
    };
    await say('user_1', 'Hello!');
    await say('user_456', 'Hello back!');
    await deployment.kill();
    await deployment.start();
    await say('user_1', 'Still there?');
    await say('user_456', 'As if nothing had been.');
    // Two messages that the server has not even read when it is killed.
    deployment.signal('SIGSTOP');
    await write('user_1', 'On its way');
    await write('user_1', 'and one more');
    await deployment.kill();
    await deployment.start();
    await comes('user_1', 'and one more');
    await say('user_456', 'Both came.');
    // Whoever presses Connect again has one connection, not two.
    const from = deployment.log.lines.length;
    await pages.user_1.page.click('#login button');
    await deployment.log.until(/Disconnected \{ userId: "user_1", reason: "client namespace disconnect"/, { from });
    // Which of the two the server comes to first is open.
    await deployment.log.until(/User connected \{ userId: "user_1"/, { from });
    assert.equal(deployment.log.matching(/User connected \{ userId: "user_1"/, from).length, 1);
    await say('user_1', 'Once each');
    await say('user_456', 'indeed.');
    for (const { page, faults } of Object.values(pages)) {
      assert.deepEqual(await shown(page), expected);
      assert.deepEqual(faults, []);
    }
  });
});

describe('the Swagger UI', () => {
  const deployment = deploy();

  test('needs nothing but the server, and in it one can authorize and try a call', async (t) => {
    const rest = await deployment.rest('user_1');
    await rest.post('/app/conversations/conv_123/messages', { targetUserId: 'user_456', content: 'Hello!' });
    const context = await browser.newContext({ viewport: { width: 1_280, height: 1_600 } });
    context.setDefaultTimeout(PATIENCE);
    const page = await context.newPage();
    const strangers = [];
    page.on('request', (request) => {
      const url = new URL(request.url());
      if (url.protocol.startsWith('http') && url.origin !== deployment.url()) strangers.push(request.url());
    });
    await page.goto(`${deployment.url()}/docs`);
    await page.click('button.authorize');
    await page.fill('.auth-container input[type=text], .auth-container input:not([type])', await token('user_1'));
    await page.click('.auth-btn-wrapper button.authorize');
    await page.click('.auth-btn-wrapper button.btn-done');
    const call = page.locator('.opblock', { has: page.locator('.opblock-summary-method', { hasText: 'GET' }) }).filter({
      has: page.locator('[data-path="/app/conversations"]'),
    });
    await call.locator('.opblock-summary').click();
    await call.locator('button.try-out__btn').click();
    await call.locator('button.execute').click();
    const live = call.locator('.live-responses-table .response');
    await live.first().waitFor();
    const screenshot = join(mkdtempSync(join(tmpdir(), 'verbatim-screenshot-')), 'swagger-ui.png');
    await page.screenshot({ path: screenshot });
    t.diagnostic(`screenshot: ${screenshot}`);
    assert.match(await live.locator('.response-col_status').first().textContent(), /^200/);
    assert.match(await live.locator('.response-col_description').first().textContent(), /conv_123/);
    assert.deepEqual(strangers, []);
  });
});
