"""A model from a hub: a server on loopback that answers as the hub does, and a run in a process that knows no other."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

NAME, REVISION = "reader/tiny", "a" * 40
LIMIT = 600  # seconds, for busy machines


class FakeHub(ThreadingHTTPServer):
    """The files of one model, and what was asked for."""

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.files = {file.name: file.read_bytes() for file in folder.iterdir()} | {"README.md": b"#", "a.bin": b"x"}
        self.asked: list[str] = []


class Answers(BaseHTTPRequestHandler):
    server: FakeHub

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.server.asked.append(path)
        prefix = f"/{NAME}/resolve/{REVISION}/"
        if path in (f"/api/models/{NAME}", *(f"/api/models/{NAME}/revision/{name}" for name in ("main", REVISION))):
            siblings = [{"rfilename": name} for name in self.server.files]
            body = json.dumps({"id": NAME, "sha": REVISION, "siblings": siblings})
            self.answer(200, body.encode(), Content_Type="application/json")
        elif path.startswith(f"/api/models/{NAME}/tree/"):
            rows = [
                {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                for name, content in self.server.files.items()
            ]
            self.answer(200, json.dumps(rows).encode(), Content_Type="application/json")
        elif path.startswith(prefix) and path.removeprefix(prefix) in self.server.files:
            content = self.server.files[path.removeprefix(prefix)]
            digest = hashlib.sha256(content).hexdigest()
            self.answer(200, content, ETag=f'"{digest}"', X_Repo_Commit=REVISION)
        else:
            wrong = "RevisionNotFound" if NAME in path else "RepoNotFound"
            self.answer(404, b'{"error": "not found"}', X_Error_Code=wrong, X_Error_Message="not found")

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub(model_folder: Path) -> Iterator[FakeHub]:
    server = FakeHub(model_folder)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


PLACE = """
import sys
from paloma_ppl.errors import UserError
from paloma_ppl.model_place import locate
try:
    print(locate(sys.argv[1], sys.argv[2] or None, sys.argv[3] == "download"))
except UserError as error:
    print(error)
"""


def test_a_model_is_fetched_when_asked_once_and_only_what_is_read(
    hub: FakeHub, model_folder: Path, suite_folder: Path, tmp_path: Path
) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    environment |= {"HF_HOME": str(tmp_path / "home"), "HF_ENDPOINT": f"http://127.0.0.1:{hub.server_address[1]}"}

    def python(*line: str) -> str:
        done = subprocess.run(
            [sys.executable, *line], env=environment, stdout=subprocess.PIPE, text=True, timeout=LIMIT, check=True
        )
        return done.stdout.strip()

    def place(name: str, revision: str = "", download: str = "") -> str:
        return python("-c", PLACE, name, revision, download)

    assert "--download to fetch it" in place(NAME)
    assert hub.asked == []  # nothing is fetched unasked
    line = ["run", "--model", NAME, "--suite", str(suite_folder), "--limit", "2", "--output", str(tmp_path / "P")]
    python("-m", "paloma_ppl", *line, "--download")
    assert json.loads((tmp_path / "P" / "manifest.json").read_text())["model"]["name"] == NAME
    assert not any(path.endswith((".bin", ".md")) for path in hub.asked)
    asked = len(hub.asked)
    folder = Path(place(NAME))  # from the cache
    assert len(hub.asked) == asked
    names = {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json"}
    assert {file.name for file in folder.iterdir()} == names
    assert all((folder / name).read_bytes() == (model_folder / name).read_bytes() for name in names)

    assert re.match(
        r"the model cannot be fetched: .*\(reader/none\); check the name", place("reader/none", "", "download")
    )
    assert "the model cannot be fetched: " in place(NAME, "step9", "download")
    hub.files["model.safetensors"] = b""  # what lies in the cache is not fetched again
    assert place(NAME, "", "download") == str(folder)
    environment["HF_ENDPOINT"] = "http://127.0.0.1:9"  # nobody answers
    assert "the model cannot be fetched: " in place("reader/other", "", "download")
