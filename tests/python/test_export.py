"""An export as Parquet, opened by pandas and DuckDB: they answer as the journal does."""

import collections
import json
import pathlib
import subprocess
import urllib.request

import duckdb
import pandas
import pytest

from conftest import executable


@pytest.fixture(scope="module")
def events(server):
    """The journal's own events, and the Parquet files of the same positions."""
    folder = pathlib.Path(server.settings["VERBATIM_DATA_DIR"]) / "exports"
    folder.mkdir()
    for number, sender in enumerate(["ann", "ben", "ann", "ann", "cid"]):
        for part in range(number + 1):
            send(server, f"parquet-{sender}", sender, f'{number}.{part} "🦀",\n')

    def export(form: str, out: pathlib.Path, *more: str):
        subprocess.run(
            [executable(), "export", "--format", form, "--out", str(out), *more],
            env=server.settings,
            check=True,
            capture_output=True,
        )

    export("ndjson", folder / "events.ndjson")
    lines = (folder / "events.ndjson").read_text(encoding="utf-8").splitlines()
    journal = [json.loads(line) for line in lines]
    export("parquet", folder / "parquet", "--to", str(len(journal)), "--events-per-file", "7")
    return journal, str(folder / "parquet" / "*.parquet")


def send(server, conversation: str, sender: str, content: str):
    request = urllib.request.Request(
        f"{server.url}/app/conversations/{conversation}/messages",
        data=json.dumps({"content": content, "targetUserId": "zoe"}).encode(),
        headers={"Authorization": f"Bearer {server.token(sender)}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 201


def messages(journal: list[dict]) -> list[dict]:
    return [event for event in journal if event["eventType"] == "MessageSent"]


def frame(files: str) -> pandas.DataFrame:
    path = pathlib.Path(files)
    return pandas.concat([pandas.read_parquet(file) for file in sorted(path.parent.glob(path.name))])


def test_duckdb_counts_messages_by_sender_as_the_journal_does(events):
    journal, files = events
    counted = duckdb.sql(
        f"select actor_id, count(*) from read_parquet('{files}') where event_type = 'MessageSent' group by 1"
    ).fetchall()
    expected = collections.Counter(event["payload"]["senderId"] for event in messages(journal))
    assert dict(counted) == dict(expected)
    assert dict(counted)["ann"] >= 8


def test_pandas_reads_every_value_as_the_journal_has_it(events):
    journal, files = events
    table = frame(files)
    assert list(table["position"]) == [event["position"] for event in journal]
    assert [json.loads(payload) for payload in table["payload"]] == [event["payload"] for event in journal]
    assert [json.loads(metadata) for metadata in table["metadata"]] == [event["metadata"] for event in journal]
    times = table["recorded_at"].dt.strftime("%Y-%m-%dT%H:%M:%S.%f").str[:-3] + "Z"
    assert list(times) == [event["recordedAt"] for event in journal]
    sent = table[table["event_type"] == "MessageSent"]
    assert list(sent["content"]) == [event["payload"]["personal"]["content"] for event in messages(journal)]
    assert sent["conversation_id"].notna().all() and table[table["event_type"] == "MemberJoined"]["content"].isna().all()


def test_columns_have_types(events):
    _, files = events
    columns = {name: kind for name, kind, *_ in duckdb.sql(f"describe select * from read_parquet('{files}')").fetchall()}
    assert columns["position"] == columns["sequence"] == columns["message_sequence"] == "BIGINT"
    assert columns["recorded_at"] == "TIMESTAMP WITH TIME ZONE"
    assert columns["content"] == columns["payload"] == "VARCHAR"
    assert str(frame(files)["recorded_at"].dtype) == "datetime64[ms, UTC]"
