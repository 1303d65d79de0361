// Waiting for what must come, never for time to pass.

import { setTimeout as pause } from 'node:timers/promises';

/** How long anything may take before the test fails: far more than it should on a busy machine. */
export const PATIENCE = 20_000;

/**
 * Gives what `condition` gives, as soon as that is truthy. What it throws on the last try is the cause of
 * the failure.
 *
 * @param {() => any} condition may be async
 * @param {{ timeout?: number, what?: string | (() => string) }} [options] `what` names what was waited for
 */
export async function until(condition, { timeout = PATIENCE, what = String(condition) } = {}) {
  const end = performance.now() + timeout;
  for (;;) {
    let cause;
    try {
      const value = await condition();
      if (value) return value;
    } catch (error) {
      cause = error;
    }
    if (performance.now() > end) {
      const waited = typeof what === 'function' ? what() : what;
      throw new Error(`not within ${timeout} ms: ${waited}`, { cause });
    }
    await pause(10);
  }
}

/** Gives what `promise` gives, or fails after the timeout. */
export async function within(promise, what, timeout = PATIENCE) {
  const abort = new AbortController();
  try {
    return await Promise.race([
      promise,
      pause(timeout, undefined, { signal: abort.signal }).then(() => {
        throw new Error(`not within ${timeout} ms: ${what}`);
      }),
    ]);
  } finally {
    abort.abort();
  }
}
