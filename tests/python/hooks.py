"""What the document can't say: a cursor is opaque, and good for the list that gave it only; and a conversation can't be
read beyond what was said in it.

Where a request is meant to be good, the stream gets a cursor of its own, lists start at their beginning, and
conversations are read to the end.
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
    if isinstance(case.body, dict) and "cursor" in case.body:
        case.body["cursor"] = os.environ["STREAM_CURSOR"]
    if isinstance(case.body, dict) and case.operation.path == "/app/conversations/{id}/read":
        case.body.pop("sequence", None)
