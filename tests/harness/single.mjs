// One process, in whichever form its settings name.

import { spawn } from 'node:child_process';
import { once } from 'node:events';

import { environment, executable } from './executable.mjs';
import { Log } from './log.mjs';
import { until, within } from './until.mjs';

export class Server {
  log = new Log();

  static async start(settings) {
    const server = new Server();
    server.child = spawn(executable, ['serve'], { env: environment({ VERBATIM_LISTEN: '127.0.0.1:0', RATE_LIMIT_MESSAGES_PER_SECOND: '0', ...settings }), cwd: '/' });
    server.log.follow(server.child);
    const banner = /^Verbatim \S+ listens on (\S+)$/;
    [, server.url] = banner.exec(await server.log.until(banner));
    await until(async () => (await fetch(`${server.url}/readyz`)).status === 200, { timeout: 30_000, what: 'the server to be ready' });
    return server;
  }

  async stop() {
    const ended = once(this.child, 'exit');
    this.child.kill('SIGTERM');
    const [code] = await within(ended, 'the end of the server', 15_000);
    if (code !== 0) throw new Error(`the server ended with ${code}:\n${this.log.lines.slice(-20).join('\n')}`);
  }
}
