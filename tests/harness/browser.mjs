// A headless Chromium, and pages for it that lie on a port of their own, as a product's front end does.

import { createServer, request } from 'node:http';
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

import { chromium } from 'playwright-core';

const ARGUMENTS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'];

export function browse() {
  const executablePath = process.env.CHROMIUM ?? ['/usr/bin/chromium', '/usr/bin/chromium-browser'].find((path) => existsSync(path));
  if (!executablePath) throw new Error('no Chromium: install it, or set CHROMIUM');
  return chromium.launch({ executablePath, args: ARGUMENTS, headless: true });
}

export const socketIoClient = readFileSync(fileURLToPath(new URL('../node_modules/socket.io-client/dist/socket.io.min.js', import.meta.url)));

/**
 * Serves pages, by path, on a free port of localhost. Only what lies under /app/ is passed on to the server,
 * as a front end's own web server would.
 */
export async function servePages(pages, target) {
  const server = createServer((incoming, outgoing) => {
    const { pathname } = new URL(incoming.url, 'http://localhost');
    if (pathname.startsWith('/app/')) {
      const { host } = new URL(target());
      const passed = request(target() + incoming.url, { method: incoming.method, headers: { ...incoming.headers, host } }, (answer) => {
        outgoing.writeHead(answer.statusCode, answer.headers);
        answer.pipe(outgoing);
      });
      passed.on('error', () => outgoing.writeHead(502).end());
      incoming.pipe(passed);
    } else if (pathname in pages) {
      const type = pathname.endsWith('.js') ? 'text/javascript' : 'text/html';
      outgoing.writeHead(200, { 'content-type': `${type}; charset=utf-8` }).end(pages[pathname]);
    } else {
      outgoing.writeHead(404).end();
    }
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://localhost:${server.address().port}`,
    close: () => new Promise((resolve) => {
      server.close(resolve);
      server.closeAllConnections();
    }),
  };
}
