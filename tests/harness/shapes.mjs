// The shapes of the wire contract: exact, so that a field too many fails as one too few does.

import assert from 'node:assert/strict';

export const TIMESTAMP = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$/;

export const CODES = {
  bad_request: 400,
  unauthenticated: 401,
  token_expired: 401,
  forbidden: 403,
  not_found: 404,
  idempotency_conflict: 409,
  version_conflict: 409,
  cursor_expired: 410,
  payload_too_large: 413,
  rate_limited: 429,
  internal: 500,
  unavailable: 503,
};

export function keys(value, ...expected) {
  assert.equal(typeof value, 'object', JSON.stringify(value));
  assert.deepEqual(Object.keys(value).sort(), expected.flat().sort(), JSON.stringify(value));
}

export function timestamp(value) {
  assert.match(value, TIMESTAMP);
  assert.ok(!Number.isNaN(Date.parse(value)), value);
}

/** `{success: true, data, timestamp}`, with what else stands beside `data`. Gives the data. */
export function success(envelope, ...beside) {
  assert.equal(envelope?.success, true, JSON.stringify(envelope));
  keys(envelope, 'success', 'data', 'timestamp', beside);
  timestamp(envelope.timestamp);
  return envelope.data;
}

/** `{success: false, error, timestamp}` with this code. Gives the error. */
export function failure(envelope, code) {
  assert.equal(envelope?.success, false, JSON.stringify(envelope));
  keys(envelope, 'success', 'error', 'timestamp');
  timestamp(envelope.timestamp);
  const { error } = envelope;
  keys(error, 'code', 'message', 'retryable', 'details', 'retryAfterMs' in error ? ['retryAfterMs'] : []);
  assert.ok(error.code in CODES, error.code);
  if (code !== undefined) assert.equal(error.code, code, JSON.stringify(error));
  assert.ok(typeof error.message === 'string' && error.message.length > 0);
  assert.equal(error.retryable, ['rate_limited', 'unavailable'].includes(error.code));
  assert.equal(typeof error.details, 'object');
  if ('retryAfterMs' in error) assert.ok(Number.isInteger(error.retryAfterMs) && error.retryAfterMs > 0);
  return error;
}

/** A REST failure: its status goes with its code. */
export function refused(response, code) {
  const error = failure(response.body, code);
  assert.equal(response.status, CODES[error.code], JSON.stringify(response.body));
  assert.match(response.headers.get('content-type'), /^application\/json/);
  if ('retryAfterMs' in error) {
    assert.equal(response.headers.get('retry-after'), String(Math.ceil(error.retryAfterMs / 1_000)));
  }
  return error;
}

export function message(value, { streamed = false } = {}) {
  const optional = ['clientMessageId'].filter((name) => name in value);
  const ours = ['sequence', ...(streamed ? ['cursor'] : [])];
  keys(value, '_id', 'conversationId', 'sender', 'senderId', 'content', 'attachments', 'senderInfo', 'createdAt', ours, optional);
  keys(value.senderInfo, 'userId', 'role', 'email' in value.senderInfo ? ['email'] : []);
  assert.equal(value.senderInfo.userId, value.senderId);
  assert.ok(['user', 'agent', 'system'].includes(value.sender));
  assert.ok(Array.isArray(value.attachments));
  assert.ok(Number.isInteger(value.sequence) && value.sequence >= 1);
  if (streamed) assert.ok(typeof value.cursor === 'string' && value.cursor.length > 0);
  timestamp(value.createdAt);
  return value;
}

export function conversation(value) {
  keys(value, '_id', 'type', 'title', 'memberIds', 'createdBy', 'lastMessage', 'unreadCount', 'createdAt', 'updatedAt');
  assert.ok(['direct', 'group'].includes(value.type));
  if (value.lastMessage !== null) message(value.lastMessage);
  timestamp(value.createdAt);
  timestamp(value.updatedAt);
  return value;
}

export function notification(value) {
  keys(value, '_id', 'userId', 'type', 'conversationId', 'messageId', 'senderId', 'senderInfo', 'content', 'isRead', 'readAt', 'createdAt');
  assert.equal(value.type, 'message');
  assert.equal(value.isRead, value.readAt !== null);
  timestamp(value.createdAt);
  return value;
}
