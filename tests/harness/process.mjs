// One process of the executable, in whichever form its settings name.

import { spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:net';

import { environment, executable } from './executable.mjs';
import { Log } from './log.mjs';
import { until, within } from './until.mjs';

const BANNER = /^Verbatim \S+ listens on (http:\/\/127\.0\.0\.1:\d+)$/;

/** Within which a process must have ended once it was asked to. */
const STOP_TIMEOUT = 10_000;

/** Below those that the system gives to outgoing connections: one of these could have it at a restart. */
async function freePort() {
  for (;;) {
    const port = randomInt(10_000, 32_000);
    const server = createServer();
    const free = await new Promise((resolve) => server.once('error', () => resolve(false)).listen(port, '127.0.0.1', () => resolve(true)));
    if (!free) continue;
    await new Promise((resolve) => server.close(resolve));
    return port;
  }
}

/** A process that can be ended, and started again where it listened before. */
export class Process {
  /** Where it listens, once that is known. */
  listen;

  /** `role` is for messages, and for whoever asks. */
  constructor(role = 'server') {
    this.role = role;
  }

  async start(args, settings, cwd, log) {
    const from = log.lines.length;
    const own = new Log();
    const anywhere = settings.VERBATIM_LISTEN === '127.0.0.1:0';
    const listen = this.listen ?? (anywhere ? `127.0.0.1:${await freePort()}` : settings.VERBATIM_LISTEN);
    const child = spawn(executable, args, { env: environment({ ...settings, ...(listen ? { VERBATIM_LISTEN: listen } : {}) }), cwd });
    this.child = child;
    log.follow(child);
    own.follow(child);
    child.on('error', (error) => own.lines.push(`panicked at start: ${error}`));
    const started = own.until(BANNER);
    const ended = once(child, 'close').then(([code]) => {
      throw new Error(`the server ended with ${code}:\n${log.lines.slice(from).join('\n')}`);
    });
    ended.catch(() => {});
    const line = await Promise.race([started, ended]);
    started.catch(() => {});
    [, this.url] = BANNER.exec(line);
    // After a restart clients must find it where it was.
    this.listen = new URL(this.url).host;
  }

  get running() {
    return this.child !== undefined && this.child.exitCode === null && this.child.signalCode === null;
  }

  async ended(timeout = STOP_TIMEOUT) {
    if (this.running) await within(once(this.child, 'exit'), `the end of the ${this.role} process`, timeout);
    if (!this.child.stdout.closed) await within(once(this.child.stdout, 'close'), 'the end of its output');
    return this.child.exitCode;
  }

  /** Waits until it would do its work. */
  async ready() {
    await until(async () => (await fetch(`${this.url}/readyz`)).status === 200, { timeout: 30_000, what: `${this.url} to be ready` });
  }

  /** Asks it to end; gives its exit code. */
  async stop() {
    if (this.running) this.child.kill('SIGTERM');
    return this.ended(15_000);
  }
}
