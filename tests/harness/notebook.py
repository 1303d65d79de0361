"""Runs docs/analytics.sql on an export, and prints what its views say, as JSON."""

import datetime
import json
import sys

import duckdb

notebook, export = sys.argv[1:]
database = duckdb.connect()
database.execute(f"set variable export = '{export}'")
with open(notebook, encoding="utf-8") as file:
    database.execute(file.read())


def plain(value):
    if isinstance(value, datetime.datetime):
        return value.isoformat(timespec="milliseconds") + "Z"
    return value


answers = {}
for (name,) in database.execute("select view_name from duckdb_views() where not internal and view_name like '%_by_%'").fetchall():
    rows = database.execute(f"from {name}")
    columns = [column[0] for column in rows.description]
    answers[name] = [dict(zip(columns, map(plain, row))) for row in rows.fetchall()]
print(json.dumps(answers))
