// Tokens as a product's own login would make them, and keys as an operator would.

import { execFileSync } from 'node:child_process';

import { SignJWT } from 'jose';

export const SECRET = 'end-to-end-secret-of-more-than-32-bytes';

/** What the servers of a cluster wrap the keys of personal content with. */
export const MASTER_KEY = '5e'.repeat(32);

/** A key file that a log is sealed with. */
export const makeSealKey = (file) => execFileSync('openssl', ['genpkey', '-algorithm', 'ed25519', '-out', file]);

export const now = () => Math.floor(Date.now() / 1_000);

/** A token with exactly these claims. `key` is a secret's text, or a key object for other algorithms. */
export function sign(claims, { key = SECRET, header = { alg: 'HS256' } } = {}) {
  const material = typeof key === 'string' ? new TextEncoder().encode(key) : key;
  return new SignJWT(claims).setProtectedHeader(header).sign(material);
}

/** A good token of an hour. */
export function token(userId, claims = {}) {
  return sign({ userId, exp: now() + 3_600, ...claims });
}

/** A token that says that it needs no signature. */
export function unsigned(claims) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  return `${part({ alg: 'none', typ: 'JWT' })}.${part(claims)}.`;
}
