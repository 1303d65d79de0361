"""schemathesis holds the server against its own OpenAPI document."""

import pathlib
import subprocess
import sys


def test_the_server_keeps_its_openapi_document(server):
    command = pathlib.Path(sys.executable).with_name("st")
    outcome = subprocess.run(
        [
            command,
            "run",
            f"{server.url}/openapi.json",
            "--header",
            f"Authorization: Bearer {server.token('schemathesis', '--role', 'admin')}",
            "--checks",
            "all",
            "--max-examples",
            "50",
            "--max-failures",
            "20",
            "--no-color",
        ],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stdout[-20_000:] + outcome.stderr
