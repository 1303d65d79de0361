// The executable under test: where it lies, and how it is run to its end.

import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const root = new URL('../../', import.meta.url);

function locate() {
  if (process.env.VERBATIM_EXECUTABLE) return process.env.VERBATIM_EXECUTABLE;
  const built = ['target/release/verbatim', 'target/debug/verbatim'].map((path) => fileURLToPath(new URL(path, root)));
  const found = built.find((path) => existsSync(path));
  if (!found) throw new Error('no executable: run `cargo build --release` first, or set VERBATIM_EXECUTABLE');
  return found;
}

export const executable = locate();

/** An environment in which no setting of whoever runs the tests is left. */
export function environment(settings = {}) {
  return { PATH: process.env.PATH, HOME: process.env.HOME, RUST_BACKTRACE: '1', ...settings };
}

/** Runs a command to its end, or ends it after the timeout. */
export function run(args, settings = {}, { cwd, timeout = 30_000 } = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(executable, args, { env: environment(settings), cwd, timeout, killSignal: 'SIGKILL' });
    const output = { stdout: '', stderr: '' };
    for (const stream of ['stdout', 'stderr']) {
      child[stream].setEncoding('utf8').on('data', (text) => (output[stream] += text));
    }
    child.on('error', reject);
    child.on('close', (code, signal) => resolve({ code, signal, ...output }));
  });
}
