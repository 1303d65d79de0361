"""A server for the Python tests: the real executable, a free port, a data folder of its own."""

import os
import pathlib
import re
import subprocess
import tempfile
import threading
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PATIENCE = 20.0


def executable() -> str:
    named = os.environ.get("VERBATIM_EXECUTABLE")
    built = [named] if named else [ROOT / "target/release/verbatim", ROOT / "target/debug/verbatim"]
    for path in built:
        if pathlib.Path(path).exists():
            return str(path)
    raise FileNotFoundError("no executable: run `cargo build --release` first, or set VERBATIM_EXECUTABLE")


def until(condition, what: str, timeout: float = PATIENCE):
    """Gives what the condition gives, as soon as that is truthy."""
    end = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < end, f"not within {timeout} s: {what}"
        time.sleep(0.01)
    return value


class Server:
    def __init__(self, folder: str):
        self.lines: list[str] = []
        self.settings = {
            "PATH": os.environ["PATH"],
            "RUST_BACKTRACE": "1",
            "VERBATIM_LISTEN": "127.0.0.1:0",
            "VERBATIM_DATA_DIR": folder,
            "RATE_LIMIT_MESSAGES_PER_SECOND": "0",
            "RATE_LIMIT_REQUESTS_PER_SECOND": "0",
        }
        self.process = subprocess.Popen(
            [executable(), "serve"],
            env=self.settings,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        banner = until(lambda: self.lines or self.process.poll() is not None, "the banner")
        assert banner and self.lines, f"the server ended with {self.process.returncode}"
        self.url = re.search(r"listens on (http://\S+)$", self.lines[0]).group(1)

    def _read(self):
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    def token(self, user: str, *more: str) -> str:
        made = subprocess.run(
            [executable(), "token", "--user", user, *more],
            env=self.settings,
            check=True,
            capture_output=True,
            text=True,
        )
        return made.stdout.strip()

    def end(self):
        self.process.terminate()
        try:
            code = self.process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        self.reader.join(timeout=5)
        faults = [line for line in self.lines if "panicked at" in line or re.match(r"^\S+ ERROR ", line)]
        assert code == 0, f"the server's exit code is {code}"
        assert not faults, faults


@pytest.fixture(scope="session")
def server():
    with tempfile.TemporaryDirectory(prefix="verbatim-") as folder:
        server = Server(folder)
        yield server
        server.end()
