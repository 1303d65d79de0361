// What a server printed: standard output and standard error, line by line.

import { until } from './until.mjs';

const FAULT = /panicked at|^\S+ ERROR |"level":"ERROR"/;

export class Log {
  /** All complete lines so far, in order. */
  lines = [];

  #partial = { stdout: '', stderr: '' };

  follow(child) {
    for (const stream of ['stdout', 'stderr']) {
      child[stream].setEncoding('utf8').on('data', (text) => {
        const lines = (this.#partial[stream] + text).split('\n');
        this.#partial[stream] = lines.pop();
        for (const line of lines) this.lines.push(line);
      });
    }
  }

  get text() {
    return this.lines.join('\n');
  }

  matching(pattern, from = 0) {
    return this.lines.slice(from).filter((line) => (typeof pattern === 'string' ? line.includes(pattern) : pattern.test(line)));
  }

  /** Lines that show what every token begins with; a socket's id is random, and may hold it by chance. */
  tokens() {
    return this.lines.filter((line) => line.replace(/^\[SOCKET\] \[[\w-]{16}\] /, '').includes('eyJ'));
  }

  /** The first line that matches, once it is there. */
  async until(pattern, { from = 0, timeout } = {}) {
    const [line] = await until(
      () => {
        const found = this.matching(pattern, from);
        return found.length > 0 && found;
      },
      { timeout, what: () => `the log line ${pattern}; the log ends with\n${this.lines.slice(-30).join('\n')}` },
    );
    return line;
  }

  /** Lines that no run may leave. */
  faults(allowed = []) {
    return this.matching(FAULT).filter((line) => !allowed.some((pattern) => pattern.test(line)));
  }
}
