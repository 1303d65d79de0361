"""schemathesis holds the server against its own OpenAPI document."""

import json
import os
import pathlib
import subprocess
import sys
import urllib.request

TESTS = pathlib.Path(__file__).parent


def stream_cursor(server, token: str) -> str:
    """A cursor of the caller's stream, which takes a message in it."""
    body = json.dumps({"targetUserId": "somebody", "content": "Hello!"}).encode()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    sent = urllib.request.Request(f"{server.url}/app/conversations/conv_schemathesis/messages", body, headers)
    with urllib.request.urlopen(sent, timeout=20):
        pass
    asked = urllib.request.Request(f"{server.url}/app/stream", headers=headers)
    with urllib.request.urlopen(asked, timeout=20) as answer:
        return json.load(answer)["data"][0]["cursor"]


def test_the_server_keeps_its_openapi_document(server):
    token = server.token("schemathesis", "--role", "admin")
    outcome = subprocess.run(
        [
            pathlib.Path(sys.executable).with_name("st"),
            "--config-file",
            TESTS / "schemathesis.toml",
            "run",
            f"{server.url}/openapi.json",
            "--header",
            f"Authorization: Bearer {token}",
            "--checks",
            "all",
            "--max-examples",
            "50",
            "--continue-on-failure",
            "--no-color",
        ],
        env={
            **os.environ,
            "PYTHONPATH": str(TESTS),
            "SCHEMATHESIS_HOOKS": "hooks",
            "STREAM_CURSOR": stream_cursor(server, token),
        },
        cwd=server.settings["VERBATIM_DATA_DIR"],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    print(outcome.stdout)
    assert outcome.returncode == 0, outcome.stdout[-20_000:] + outcome.stderr
