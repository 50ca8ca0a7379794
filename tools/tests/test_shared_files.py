"""The mechanisms for files that all packages repeat."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

import pytest

import recipe
from shared.files import digest
from shared.progress import Progress


def folder_digest(files: dict[str, bytes]) -> str:
    """The rule of docs/artifacts.md, written out."""
    lines = "".join(f"{path}\0sha256:{hashlib.sha256(content).hexdigest()}\n" for path, content in files.items())
    return "sha256:" + hashlib.sha256(lines.encode()).hexdigest()


def test_digest_of_a_folder_leaves_out_records_and_whatever_is_unfinished(tmp_path: Path) -> None:
    content = {"a.txt": b"one", "deep/b.txt": b"two"}
    others = ("c.partial", "step4.partial/model", "deep/x.partial/y/z", "provenance/r.json", "deep/provenance/r.json")
    for name, data in [*content.items(), *((name, b"left out") for name in others)]:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    assert digest(tmp_path) == folder_digest(content)
    assert recipe.digest(tmp_path) == folder_digest(content)


def test_digest_of_a_file_is_that_of_its_bytes_whatever_its_name(tmp_path: Path) -> None:
    file = tmp_path / "weights.partial"
    file.write_bytes(b"abc")

    assert digest(file) == "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_the_bar_of_a_run_that_goes_on_has_the_rate_of_what_it_does_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    with Progress("scoring", 1000.0, "tokens") as progress:
        assert progress.bar is not None
        progress.advance(800, earlier=True)
        for _ in range(5):
            time.sleep(0.12)
            progress.advance(10)
        assert progress.bar.n == 850
        assert 20 < progress.bar.format_dict["rate"] < 90
