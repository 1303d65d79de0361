// Events as the commands that read the log write them.

/** The values of a text that has one a line. */
export function lines(text) {
  assertEnds(text);
  return text.split('\n').slice(0, -1).map((line) => JSON.parse(line));
}

function assertEnds(text) {
  if (text !== '' && !text.endsWith('\n')) throw new Error(`the last line is cut off: ${text.slice(-80)}`);
}
