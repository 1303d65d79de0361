"""What the document can't say: a cursor is opaque, and good for the list that gave it only; and a conversation can't be
read beyond what was said in it, nor the log beyond its end; a range mustn't be reversed.

Where a request is meant to be good, the stream gets a cursor of its own, lists start at their beginning, and
conversations and the log are read to the end.
"""

import os

import schemathesis


@schemathesis.hook
def before_call(context, case, kwargs):
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    if case.query and "cursor" in case.query:
        if case.operation.path == "/app/stream":
            case.query["cursor"] = os.environ["STREAM_CURSOR"]
        else:
            del case.query["cursor"]
    if case.query and case.operation.path.startswith("/app/audit/"):
        # How long the log is can't be said, nor which conversations there are.
        for name in ("from", "to", "asOf"):
            case.query.pop(name, None)
    if case.query and case.operation.path.startswith("/app/analytics/"):
        # That a range mustn't be reversed can't be said.
        case.query.pop("from", None)
    if isinstance(case.body, dict) and "cursor" in case.body:
        case.body["cursor"] = os.environ["STREAM_CURSOR"]
    if isinstance(case.body, dict) and case.operation.path == "/app/conversations/{id}/read":
        case.body.pop("sequence", None)
