// Events as the commands that read the log write them.

/** The values of a text that has one a line. */
export function lines(text) {
  assertEnds(text);
  return text.split('\n').slice(0, -1).map((line) => JSON.parse(line));
}

function assertEnds(text) {
  if (text !== '' && !text.endsWith('\n')) throw new Error(`the last line is cut off: ${text.slice(-80)}`);
}

/** What `verbatim as-of` must show of a log at a position: a fold that knows nothing of the server's. */
export function asOf(events, position) {
  const found = new Map();
  for (const { aggregateId: id, eventType, recordedAt, payload } of events.filter((event) => event.position <= position)) {
    const entry = found.get(id);
    if (eventType === 'ConversationStarted') {
      const conversation = { _id: id, type: payload.kind, title: payload.personal?.title ?? null, createdBy: payload.createdBy, createdAt: recordedAt, updatedAt: recordedAt, members: [], messageCount: 0 };
      found.set(id, { position, conversation, messages: [] });
    } else if (eventType === 'MemberJoined') {
      entry.conversation.members.push({ userId: payload.memberId, joinedAt: recordedAt, readThrough: 0 });
    } else if (eventType === 'ConversationRead') {
      entry.conversation.members.find(({ userId }) => userId === payload.readerId).readThrough = payload.through;
    } else if (eventType === 'MessageSent') {
      const { content, attachments = [], email } = payload.personal;
      entry.messages.push({
        _id: payload.messageId, conversationId: id, sender: ['agent', 'system'].includes(payload.senderRole) ? payload.senderRole : 'user', senderId: payload.senderId,
        content, attachments, senderInfo: { userId: payload.senderId, ...(email ? { email } : {}), role: payload.senderRole },
        createdAt: recordedAt, sequence: payload.sequence, ...(payload.clientMessageId ? { clientMessageId: payload.clientMessageId } : {}),
      });
      Object.assign(entry.conversation, { messageCount: payload.sequence, updatedAt: recordedAt });
    }
  }
  return [...found.values()];
}
