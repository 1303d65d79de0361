// What is measured of which server, and what is to be reached.

export const VERBATIM = ['verbatim', 'cluster'];
const STORING = [...VERBATIM, 'peer', 'peer batched'];
const ALL = ['relay', ...STORING];
/** Where it matters what the disk takes. */
const LIMITED = ['relay', 'storing relay', ...STORING];

const talk = {
  'messages/s': (report) => report.messages_per_second,
  'CPU µs a message': (report) => report.cpu_us_per_message,
  'CPU µs a message, all that follows included': (report) => report.cpu_us_per_message_in_all,
  's until at rest': (report) => report.settled_seconds,
  'load’s CPU µs a message': (report) => report.load_cpu_us_per_message,
  'processors busy, %': (report) => report.processors.busy * 100,
};
const latency = {
  'p50 µs': (report) => report.to_receipt.p50, 'p99 µs': (report) => report.to_receipt.p99,
  'p50 µs to the ack': (report) => report.to_ack.p50, 'p99 µs to the ack': (report) => report.to_ack.p99,
  'CPU µs a message': talk['CPU µs a message'], 'processors busy, %': talk['processors busy, %'],
};
const copies = { 'copies/s': (report) => report.copies_per_second };
const answers = {
  'answers/s': (report) => report.answers_per_second, 'CPU µs an answer': (report) => report.cpu_us_per_answer,
  'bytes an answer': (report) => report.bytes_per_answer, 'processors busy, %': talk['processors busy, %'],
};

/** The people and conversations of a journal that was filled. */
const NAME = 'growth';

/**
 * `load` are the load generator's arguments, `figures` are read from its report. With `fresh` or `settings` a row has a
 * server of its own start, with `grown` one in whose journal so much has been said.
 */
export function rows({ quick }) {
  const seconds = quick ? ['--warm-up', '1', '--seconds', '2'] : ['--warm-up', '3', '--seconds', '10'];
  const asking = quick ? ['--warm-up', '1', '--seconds', '2'] : [];
  return [
    { name: '100 pairs', load: ['talk', ...seconds], servers: LIMITED, figures: talk, quick: true },
    { name: '2,000 pairs', load: ['talk', '--pairs', '2000', '--in-flight', '1', ...seconds], servers: LIMITED, figures: talk },
    { name: 'one conversation', load: ['talk', '--pairs', '1', '--in-flight', '64', ...seconds], servers: LIMITED, figures: talk },
    { name: '2,000 a second', load: ['talk', '--rate', '2000', ...seconds], servers: LIMITED, figures: latency, fresh: true, quick: true },
    { name: '5,000 a second', load: ['talk', '--rate', '5000', ...seconds], servers: LIMITED, figures: latency, fresh: true },
    { name: 'a group of 100', load: ['talk', '--group', '100', '--pairs', '4', '--in-flight', '16', ...seconds], servers: ALL, figures: copies },
    { name: 'a group of 1,000', load: ['talk', '--group', '1000', '--pairs', '4', '--in-flight', '8', ...seconds], servers: ALL, figures: copies },
    { name: 'conversation:get', load: ['ask', '--event', 'conversation:get', ...asking], servers: STORING, figures: answers, fresh: true },
    { name: 'notification:get', load: ['ask', '--event', 'notification:get', ...asking], servers: STORING, figures: answers, fresh: true },
    { name: '100 pairs, 2,000 bytes each', load: ['talk', '--bytes', '2000', ...seconds], servers: ALL, figures: talk },
    {
      name: '100 pairs, a read for ten messages', load: ['talk', '--reads', '0.1', ...seconds], servers: STORING,
      figures: { ...talk, 'p99 µs of reads': (report) => report.to_answer.p99 },
    },
    {
      name: '100 pairs, LOG_LEVEL=info', load: ['talk', ...seconds], servers: VERBATIM, settings: { LOG_LEVEL: 'info' }, quick: true,
      figures: { ...talk, 'lines dropped': (report) => report.dropped_lines },
    },
    {
      name: '2,000 a second, LOG_LEVEL=info', load: ['talk', '--rate', '2000', ...seconds], servers: VERBATIM, settings: { LOG_LEVEL: 'info' },
      figures: { ...latency, 'lines dropped': (report) => report.dropped_lines },
    },
    {
      name: 'idle connections', load: ['idle', '--connections', quick ? '2000' : '10000', ...(quick ? ['--hold', '1'] : [])], servers: ALL, quick: true, fresh: true,
      figures: {
        'connects/s': (report) => report.connects_per_second, 'CPU µs a connect': (report) => report.cpu_us_per_connect,
        'KiB a connection': (report) => report.kib_per_connection,
      },
    },
    {
      name: 'reconnect storm', load: ['storm', '--clients', quick ? '1000' : '10000'], servers: VERBATIM, fresh: true,
      figures: {
        'connected, s': (report) => report.connect_seconds,
        'caught up, s': (report) => report.caught_up_seconds,
        'caught up without a cursor, s': (report) => report.caught_up_without_cursor_seconds,
        'others’ p99 µs in calm': (report) => report.others.calm.p99,
        'others’ p99 µs while all connect': (report) => report.others.connecting.p99,
        'others’ p99 µs while all catch up': (report) => report.others.catching_up.p99,
        'others’ p99 µs while all catch up without a cursor': (report) => report.others.catching_up_without_cursor.p99,
      },
    },
    {
      name: 'batches of 100', load: ['limit', ...(quick ? ['--rows', '100000'] : [])], servers: ['PostgreSQL', 'SQLite', 'JetStream'], quick: true, fresh: true,
      figures: {
        'rows/s': (report) => report.rows_per_second, 'CPU µs a row': (report) => report.cpu_us_per_row,
        'load’s CPU µs a row': (report) => report.load_cpu_us_per_row, 'rows/s out': (report) => report.read_rows_per_second,
      },
    },
  ];
}

/** What a message costs as work grows; each row is measured in three sizes. */
export function growth({ quick }) {
  const seconds = quick ? ['--warm-up', '1', '--seconds', '2'] : ['--warm-up', '2', '--seconds', '5'];
  const row = (name, grown, load) => ({ name, grown, load: ['talk', ...load, ...seconds], servers: ['verbatim'], figures: talk });
  const said = (messages) => row(
    `${count(messages)} messages in the conversation`,
    { name: NAME, pairs: 1, messages },
    ['--name', NAME, '--pairs', '1', '--in-flight', '64'],
  );
  const spread = (conversations) => row(
    `${count(conversations)} conversations`,
    { name: NAME, pairs: 10, conversations, messages: conversations },
    ['--name', NAME, '--pairs', '10', '--in-flight', '64', '--conversations', String(conversations)],
  );
  // A conversation of ten messages has thirteen events, and its recipient one.
  const journal = (events) => row(
    `${count(events)} events in the journal`,
    events > 0 ? { name: NAME, pairs: 1_000, conversations: Math.round(events / 14), messages: Math.round(events / 14) * 10, once: true } : undefined,
    [],
  );
  const [messages, conversations, events] = quick ? [[100, 1_000, 10_000], [10, 100, 1_000], [0, 100_000]] : [[100, 10_000, 1_000_000], [10, 1_000, 100_000], [0, 10_000_000]];
  return [
    { sizes: messages.map(said), most: 1.1 },
    { sizes: conversations.map(spread), most: 1.1 },
    { sizes: events.map(journal), most: 1.25 },
  ];
}

/** How many events a log has, about: with few of them only memory is of interest. */
const sizes = ({ quick }) => ({ few: 10_000, many: quick ? 300_000 : 5_000_000 });

const worked = {
  'events/s': (report) => report.events_per_second,
  'CPU µs an event': (report) => report.cpu_us_per_event,
  'peak MiB': (report) => report.peak_kib / 1024,
};
const given = { 'events/s': worked['events/s'], 'CPU µs an event': worked['CPU µs an event'] };

const COMMANDS = {
  'export, NDJSON': (out) => ['export', '--format', 'ndjson', '--out', `${out}.ndjson`],
  'export, CloudEvents': (out) => ['export', '--format', 'cloudevents', '--out', `${out}.ndjson`],
  'export, CSV': (out) => ['export', '--format', 'csv', '--out', `${out}.csv`],
  'export, Parquet': (out) => ['export', '--format', 'parquet', '--out', `${out}.parquet`],
  'replay, to a pipe': () => ['replay', '--into', 'stdout'],
  'replay, into a store': (out) => ['replay', '--into', `sqlite:${out}`],
  verify: () => ['verify'],
  rebuild: () => ['rebuild'],
};

const of = (what, events) => `${what}, ${count(events)} events`;

/** How fast a log is worked through, and in how much memory. */
export function log({ quick }) {
  const { few, many } = sizes({ quick });
  const grown = (events) => ({ name: NAME, pairs: 100, conversations: events / 100, messages: events, sealed: true, once: true });
  const read = (what, to) => ({ name: of(what, many), servers: ['SQLite', 'PostgreSQL'], figures: given, grown: grown(many), read: to });
  const commands = [few, many].flatMap((events) => Object.entries(COMMANDS).map(([what, command]) => ({
    // The copy in PostgreSQL isn't sealed.
    name: of(what, events), servers: what === 'verify' ? ['verbatim'] : VERBATIM, figures: worked, grown: grown(events), command,
  })));
  return [read('read as text', 'text'), read('read and hash', 'hash'), ...commands];
}

const count = (number) => number.toLocaleString('en');

/** The goals of a run: with fewer connections memory that is not theirs would count. */
export const goalsOf = ({ quick }) => (quick ? GOALS.filter((goal) => goal.figure !== 'KiB a connection') : GOALS);

/** A figure of a server beside another's, or its own in another row, or by itself; `least` or `most` is what is wanted. */
function goals() {
  const both = (goal) => VERBATIM.map((of) => ({ ...goal, of }));
  const messages = { row: '100 pairs', figure: 'messages/s' };
  const cost = { row: '100 pairs', figure: 'CPU µs a message, all that follows included', beside: 'peer' };
  const calm = (figure, of, most) => ({ row: '2,000 a second', figure, of, beside: 'peer', most });
  const storm = (figure, besideFigure, most) => ({ row: 'reconnect storm', figure, besideRow: 'reconnect storm', besideFigure, most });
  return [
    { ...messages, of: 'verbatim', beside: 'relay', least: 0.5 },
    { ...messages, of: 'verbatim', beside: 'peer', least: 7 },
    { ...messages, of: 'verbatim', beside: 'peer batched', least: 2.3 },
    { ...messages, of: 'cluster', beside: 'peer', least: 3 },
    { ...messages, of: 'cluster', beside: 'peer batched', least: 1 },
    ...both({ row: '2,000 pairs', figure: 'messages/s', besideRow: '100 pairs', least: 0.6 }),
    ...both({ row: 'one conversation', figure: 'messages/s', besideRow: '100 pairs', least: 0.7 }),
    { ...cost, of: 'verbatim', most: 0.12 },
    { ...cost, of: 'cluster', most: 0.4 },
    calm('p50 µs', 'verbatim', 1),
    calm('p99 µs', 'verbatim', 0.7),
    calm('p50 µs', 'cluster', 4),
    calm('p99 µs', 'cluster', 2),
    { row: '5,000 a second', figure: 'p99 µs', of: 'verbatim', most: 3_000 },
    { row: '5,000 a second', figure: 'p99 µs', of: 'cluster', most: 10_000 },
    ...both({ row: 'idle connections', figure: 'KiB a connection', beside: 'peer', most: 1 }),
    ...both({ row: 'idle connections', figure: 'KiB a connection', beside: 'relay', most: 1 }),
    ...both({ row: 'idle connections', figure: 'connects/s', beside: 'peer', least: 4 }),
    ...both({ row: 'conversation:get', figure: 'answers/s', beside: 'peer', least: 4 }),
    ...both({ row: 'notification:get', figure: 'answers/s', beside: 'peer', least: 4 }),
    ...both({ row: 'a group of 100', figure: 'copies/s', beside: 'peer', least: 3 }),
    ...both({ row: 'a group of 1,000', figure: 'copies/s', beside: 'peer', least: 3 }),
    ...both(storm('caught up, s', 'connected, s', 2)),
    ...both(storm('others’ p99 µs while all catch up', 'others’ p99 µs in calm', 3)),
  ];
}

export const GOALS = goals();

/** That a row's largest size costs no more than its smallest. */
export const growthGoals = (grown) =>
  grown.map(({ sizes, most }) => ({ row: sizes.at(-1).name, figure: 'CPU µs a message', of: 'verbatim', besideRow: sizes[0].name, most }));

/** Beside the database that the log lies in, and a small log. */
export function logGoals({ quick }) {
  const { few, many } = sizes({ quick });
  const stores = { verbatim: 'SQLite', cluster: 'PostgreSQL' };
  const speed = { figure: 'events/s' };
  const each = VERBATIM.flatMap((form) => [
    { ...speed, row: of('export, NDJSON', many), of: form, beside: stores[form], besideRow: of('read as text', many), least: 0.5 },
    { ...speed, row: of('replay, to a pipe', many), of: form, beside: stores[form], besideRow: of('read as text', many), least: 0.5, enough: 300_000 },
    { ...speed, row: of('rebuild', many), of: form, least: 100_000 },
  ]);
  const verify = { ...speed, row: of('verify', many), of: 'verbatim', beside: 'SQLite', besideRow: of('read and hash', many), least: 1 / 1.5 };
  const flat = log({ quick }).filter((row) => row.command && row.name.endsWith(of('', many))).flatMap((row) => row.servers.map((form) => (
    { row: row.name, figure: 'peak MiB', of: form, besideRow: row.name.replace(count(many), count(few)), most: 1.5 }
  )));
  return [...each, verify, ...flat];
}
