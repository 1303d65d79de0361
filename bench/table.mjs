// From the reports of all rounds to tables in Markdown, and to a verdict. A result is one report: its round, server, row
// and figures.

export function median(values) {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** Of those that there are; of none, no number. */
function medianOf(values) {
  const known = values.filter(Number.isFinite);
  return known.length > 0 ? median(known) : Number.NaN;
}

const short = (value) => (Math.abs(value) >= 1_000 ? Math.round(value).toLocaleString('en') : String(Number(value.toPrecision(3))));

/** The median of what there is, and the least and the most. */
export function cell(values) {
  const known = values.filter(Number.isFinite);
  if (known.length === 0) return '–';
  const spread = known.length > 1 ? ` (${short(Math.min(...known))} to ${short(Math.max(...known))})` : '';
  return `${short(median(known))}${spread}`;
}

const line = (cells) => `| ${cells.join(' | ')} |`;

const head = (cells, texts) => [line(cells), line(cells.map((_, n) => (n < texts ? '---' : '---:')))];

/** A line for each figure of each row, a column for each server. */
export function figures(results, rows, servers) {
  const of = (server, row, figure) => results.filter((result) => result.server === server && result.row === row).map((result) => result.figures[figure]);
  const lines = rows.flatMap((row) => Object.keys(row.figures).map((figure) => line([row.name, figure, ...servers.map((server) => cell(of(server, row.name, figure)))])));
  return [...head(['', '', ...servers], 2), ...lines].join('\n');
}

/** The most memory that each process of each server ever had. */
export function memory(results) {
  const most = new Map();
  for (const { server, report } of results) {
    for (const { name, peak_kib: peak } of report.processes ?? []) {
      const key = `${server}: ${name}`;
      most.set(key, Math.max(most.get(key) ?? 0, peak / 1024));
    }
  }
  return [...head(['process', 'peak MiB'], 1), ...[...most].map(([name, mib]) => line([name, short(mib)]))].join('\n');
}

/** Those of the goals that are of rows and servers which were to be measured. */
export function asked(goals, rows, servers) {
  const isAsked = ({ row, of }) => rows.includes(row) && servers.includes(of);
  return goals.filter((goal) => isAsked(goal) && isAsked({ row: goal.besideRow ?? goal.row, of: goal.beside ?? goal.of }));
}

/** What of the goals was measured: a goal's values, round by round, and whether their median meets it. */
export function reached(results, goals) {
  const find = (round, server, row) => results.find((result) => result.round === round && result.server === server && result.row === row);
  const rounds = [...new Set(results.map(({ round }) => round))];
  return goals.map((goal) => {
    const isRatio = goal.beside !== undefined || goal.besideRow !== undefined;
    const values = rounds.map((round) => {
      const own = find(round, goal.of, goal.row)?.figures[goal.figure];
      if (!isRatio) return own;
      return own / find(round, goal.beside ?? goal.of, goal.besideRow ?? goal.row)?.figures[goal.besideFigure ?? goal.figure];
    }).filter(Number.isFinite);
    // What has no figure is not met.
    const value = medianOf(values);
    const alone = medianOf(rounds.map((round) => find(round, goal.of, goal.row)?.figures[goal.figure]));
    const met = goal.least === undefined ? value <= goal.most : value >= goal.least || alone >= goal.enough;
    return { ...goal, isRatio, values, met };
  });
}

function wanted({ least, most, enough, isRatio, beside, besideRow, besideFigure }) {
  const what = [beside, besideRow, besideFigure].filter((name) => name !== undefined).join(', ');
  return `${least === undefined ? `≤ ${short(most)}` : `≥ ${short(least)}`}${isRatio ? ` × ${what}` : ''}${enough === undefined ? '' : `, or ${short(enough)}`}`;
}

export function verdicts(reached) {
  const lines = reached.map((goal) => line([`${goal.of}, ${goal.row}, ${goal.figure}`, wanted(goal), cell(goal.values), goal.met ? 'yes' : '**no**']));
  return [...head(['goal', 'wanted', 'measured', 'met'], 2), ...lines].join('\n');
}

const WRONGS = ['refused', 'unanswered', 'lost', 'duplicated', 'out_of_order', 'disagreeing', 'wrong'];

/** All of these that any server did, with a line for each row in which it did. */
export function allWrongs(results, servers) {
  const rows = new Map();
  for (const { server, row, report } of results) {
    const sums = rows.get(`${server}: ${row}`) ?? Object.fromEntries(WRONGS.map((kind) => [kind, 0]));
    for (const kind of WRONGS) sums[kind] += report[kind] ?? 0;
    rows.set(`${server}: ${row}`, sums);
  }
  const lines = [...rows].filter(([, sums]) => WRONGS.some((kind) => sums[kind] > 0)).toSorted(([a], [b]) => a.localeCompare(b));
  if (lines.length === 0) return `No message was lost, came twice or out of order: ${servers.join(', ')}.`;
  return [...head(['server and row', ...WRONGS.map((kind) => kind.replaceAll('_', ' '))], 1), ...lines.map(([name, sums]) => line([name, ...WRONGS.map((kind) => short(sums[kind]))]))].join('\n');
}

/** What a report tells that must not be, in words. */
export const wrongs = (report) => WRONGS.filter((kind) => report[kind] > 0).map((kind) => `${report[kind].toLocaleString('en')} ${kind.replaceAll('_', ' ')}`);
