// The peer: what a competent team would write in Node to the same contract, with PostgreSQL. A message is stored before
// it is sent on, with one insert each, or, with BATCH=1, with as many in one insert as have come meanwhile.
//
// DATABASE_URL, JWT_SECRET, PORT (0: a free one).

import { randomUUID } from 'node:crypto';
import { createServer } from 'node:http';

import express from 'express';
import jwt from 'jsonwebtoken';
import pg from 'pg';
import { Server } from 'socket.io';

const BATCH = process.env.BATCH === '1';
const MOST_IN_BATCH = 500;

const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL, max: 20 });
await pool.query(`
  create table if not exists conversations (id text primary key, kind text not null, updated_at timestamptz not null default now());
  create table if not exists members (conversation_id text not null references conversations, user_id text not null, primary key (user_id, conversation_id));
  create index if not exists members_by_conversation on members (conversation_id);
  create table if not exists messages (
    seq bigint generated always as identity primary key, id uuid not null unique, conversation_id text not null,
    sender_id text not null, content text not null, attachments jsonb not null, sender_info jsonb not null, created_at timestamptz not null);
  create index if not exists messages_by_conversation on messages (conversation_id, seq);
  create table if not exists notifications (
    seq bigint generated always as identity primary key, id uuid not null unique, user_id text not null, conversation_id text not null,
    message_id uuid not null, sender_id text not null, content text not null, is_read boolean not null default false, created_at timestamptz not null);
  create index if not exists notifications_by_user on notifications (user_id, seq);`);

const app = express();
const http = createServer(app);
const io = new Server(http, { cors: { origin: true } });

app.get('/app/get-connection-id', (request, response) => {
  response.json(envelope({ websocketUrl: `ws://${request.headers.host}` }));
});

const envelope = (data) => ({ success: true, data, timestamp: new Date().toISOString() });
const failure = (code, message) => ({ success: false, error: { code, message, retryable: false, details: {} }, timestamp: new Date().toISOString() });

/** Members by conversation, of those that were used. */
const conversations = new Map();

async function membersOf(id) {
  let members = conversations.get(id);
  if (!members) {
    const { rows } = await pool.query('select user_id from members where conversation_id = $1', [id]);
    if (rows.length === 0) return undefined;
    members = rows.map((row) => row.user_id);
    conversations.set(id, members);
  }
  return members;
}

async function begin(id, kind, members) {
  await pool.query('insert into conversations (id, kind) values ($1, $2) on conflict do nothing', [id, kind]);
  await pool.query('insert into members select $1, unnest($2::text[]) on conflict do nothing', [id, members]);
  conversations.set(id, members);
  return members;
}

const INSERT = { name: 'insert', text: 'insert into messages (id, conversation_id, sender_id, content, attachments, sender_info, created_at) values ($1, $2, $3, $4, $5, $6, $7)' };
const row = (message) => [message._id, message.conversationId, message.senderId, message.content, JSON.stringify(message.attachments), JSON.stringify(message.senderInfo), message.createdAt];

const waiting = [];
let storing = false;

function store(message) {
  if (!BATCH) return pool.query({ ...INSERT, values: row(message) });
  return new Promise((resolve, reject) => {
    waiting.push({ message, resolve, reject });
    if (!storing) storeWaiting();
  });
}

async function storeWaiting() {
  storing = true;
  while (waiting.length > 0) {
    const batch = waiting.splice(0, MOST_IN_BATCH);
    const rows = batch.map(({ message }) => row(message));
    const columns = Array.from({ length: 7 }, (_, column) => rows.map((values) => values[column]));
    try {
      await pool.query({
        name: 'insert batch',
        text: 'insert into messages (id, conversation_id, sender_id, content, attachments, sender_info, created_at) select * from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::jsonb[], $6::jsonb[], $7::timestamptz[])',
        values: columns,
      });
      for (const { resolve } of batch) resolve();
    } catch (error) {
      for (const { reject } of batch) reject(error);
    }
  }
  storing = false;
}

async function send(socket, { conversationId, targetUserId, content, attachments = [] }) {
  const { userId, email, role } = socket.data;
  if (typeof conversationId !== 'string' || typeof content !== 'string' || content.length === 0) return failure('bad_request', 'conversationId and content are needed');
  let members = await membersOf(conversationId);
  if (!members) {
    if (typeof targetUserId !== 'string') return failure('not_found', 'No such conversation');
    members = await begin(conversationId, 'direct', [userId, targetUserId]);
  }
  if (!members.includes(userId)) return failure('forbidden', 'You are not a member of this conversation');
  const message = { _id: randomUUID(), conversationId, sender: 'user', senderId: userId, content, attachments, senderInfo: { userId, email, role }, createdAt: new Date().toISOString() };
  await store(message);
  const payload = envelope(message);
  io.to(members.map((member) => `user:${member}`)).emit('message:receive', payload);
  for (const member of members) {
    if (io.sockets.adapter.rooms.has(`user:${member}`)) continue;
    await pool.query({ name: 'notify', text: 'insert into notifications (id, user_id, conversation_id, message_id, sender_id, content, created_at) values ($1, $2, $3, $4, $5, $6, $7)', values: [randomUUID(), member, conversationId, message._id, userId, content.slice(0, 140), message.createdAt] });
  }
  return payload;
}

const CONVERSATIONS = { name: 'conversations', text: `
  select c.id, c.kind, c.updated_at, (select array_agg(user_id) from members m where m.conversation_id = c.id) as members, l.*
  from members own join conversations c on c.id = own.conversation_id
  left join lateral (select m.id as message_id, m.seq, m.sender_id, m.content, m.attachments, m.sender_info, m.created_at from messages m where m.conversation_id = c.id order by m.seq desc limit 1) l on true
  where own.user_id = $1 order by l.seq desc nulls last limit 200` };

const NOTIFICATIONS = { name: 'notifications', text: 'select * from notifications where user_id = $1 order by seq desc limit 200' };

const gets = {
  'conversation:get': async ({ userId }) => {
    const { rows } = await pool.query({ ...CONVERSATIONS, values: [userId] });
    return rows.map((found) => ({
      _id: found.id, type: found.kind, memberIds: found.members, updatedAt: found.updated_at,
      lastMessage: found.message_id && { _id: found.message_id, conversationId: found.id, senderId: found.sender_id, content: found.content, attachments: found.attachments, senderInfo: found.sender_info, createdAt: found.created_at },
    }));
  },
  'notification:get': async ({ userId }) => {
    const { rows } = await pool.query({ ...NOTIFICATIONS, values: [userId] });
    return rows.map((found) => ({ _id: found.id, userId, type: 'message', conversationId: found.conversation_id, messageId: found.message_id, senderId: found.sender_id, content: found.content, isRead: found.is_read, createdAt: found.created_at }));
  },
};

io.use((socket, next) => {
  try {
    const claims = jwt.verify(socket.handshake.auth.token, process.env.JWT_SECRET, { algorithms: ['HS256'] });
    socket.data = { userId: claims.userId ?? claims.sub, email: claims.email, role: claims.role ?? 'user' };
    next();
  } catch {
    next(new Error('Authentication failed: Invalid token'));
  }
});

io.on('connection', (socket) => {
  socket.join(`user:${socket.data.userId}`);
  const answer = (work, ack) => work.catch(() => failure('internal', 'Something went wrong')).then((result) => ack?.(result));
  socket.on('message:send', (payload, ack) => answer(send(socket, payload ?? {}), ack));
  socket.on('conversation:create', (payload, ack) => answer(begin(payload.conversationId, 'group', [socket.data.userId, ...payload.memberIds]).then(() => envelope({ _id: payload.conversationId })), ack));
  for (const [event, get] of Object.entries(gets)) {
    socket.on(event, (payload, ack) => answer(get(socket.data).then(envelope), ack ?? ((result) => socket.emit(event.replace(':get', ':receive'), result))));
  }
});

http.listen(Number(process.env.PORT ?? 0), '127.0.0.1', () => console.log(`listens on 127.0.0.1:${http.address().port}`));
process.on('SIGTERM', () => process.exit(0));
