"""Every command's plan runs anywhere: units in fresh processes, in any order, some of them twice."""

from __future__ import annotations

import gzip
import json
import os
import pickle
import random
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

import fresh
import pytest

from dolma_data import annotate
from dolma_data.errors import UserError
from dolma_data.execute import executed_by, map_ordered, on_this_machine, start_method
from dolma_data.extract import extraction
from dolma_data.mix import reading as mix_reading
from dolma_data.tokens import units as token_units

HERE = str(Path(__file__).parent)
PAGE = "<html><body><article>" + "<p>A page long enough to be kept as the main text of it all.</p>" * 4
PARAGRAPHS = ("--dedupe.paragraphs.attribute-name", "repeated")
WHOLE_TEXTS = ("--dedupe.documents.attribute-name", "repeated", "--dedupe.documents.key", "$.text")
EVALUATION = "the evaluation text that must not be trained on has more than thirteen words in it"


class FreshProcesses:
    """An executor that shares nothing but files with its workers.

    Function and unit are pickled and every unit has a process of its own that has loaded nothing of this package yet,
    in another folder and with a bare environment; the order is random, and every seventh unit from the first on is run
    twice, as after the loss of a worker.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.random = random.Random(0)
        self.numbers = count(1)
        self.ran = 0

    def __call__(self, function: Callable[[Any], Any], units: Iterable[Any], processes: int) -> Iterator[Any]:
        messages = [pickle.dumps((function, unit)) for unit in units]
        order = list(range(len(messages)))
        self.random.shuffle(order)
        with ThreadPoolExecutor(2) as pool:
            results = dict(zip(order, pool.map(self.run, [messages[k] for k in order]), strict=True))
        for number in range(len(messages)):
            yield results[number]

    def run(self, message: bytes) -> Any:
        self.ran = number = next(self.numbers)
        times = 2 if number % 7 == 1 else 1
        unit, result = self.folder / f"{number}.unit", self.folder / f"{number}.result"
        unit.write_bytes(message)
        fresh.run(unit, result, times)
        return pickle.loads(result.read_bytes())


def documents(file: int) -> list[dict[str, Any]]:
    rows = []
    for k in range(5 + 7 * file):
        lines = [f"Line {k % 5} is repeated here and there.", f"Only file {file} has text number {k}.", "* a bullet …"]
        if k == 3:
            lines.append(EVALUATION)
        rows.append({"id": f"{file}-{k}", "text": "\n".join(lines), "source": f"s{k % 2}", "metadata": {}})
    rows.append({"id": f"copy-{file}", "text": "The same document in every file, word for word.", "source": "s0"})
    return rows


def make_inputs(root: Path) -> Path:
    """Two files of documents, of one chunk and of two, HTML pages in a web archive, evaluation text."""
    (root / "corpus" / "documents").mkdir(parents=True)
    for file in range(2):
        lines = b"".join(json.dumps(row).encode() + b"\n" for row in documents(file))
        (root / "corpus" / "documents" / f"{file}.jsonl.gz").write_bytes(gzip.compress(lines, mtime=0))
    write_archives(root / "crawl")
    (root / "evaluation.jsonl").write_text(json.dumps({"id": "e", "text": EVALUATION, "source": "test"}) + "\n")
    return root


def write_archives(folder: Path) -> None:
    import io

    from warcio.statusandheaders import StatusAndHeaders
    from warcio.warcwriter import WARCWriter

    folder.mkdir()
    for file in range(2):
        with open(folder / f"{file}.warc.gz", "wb") as stream:
            writer = WARCWriter(stream, gzip=True)
            for k in range(3):
                http = StatusAndHeaders("200 OK", [("Content-Type", "text/html")], protocol="HTTP/1.1")
                record = writer.create_warc_record(
                    f"http://example.org/{file}/{k}",
                    "response",
                    payload=io.BytesIO(PAGE.replace("A page", f"Page {file} {k}").encode()),
                    http_headers=http,
                    warc_headers_dict={"WARC-Date": "2024-01-01T00:00:00Z", "WARC-Record-ID": f"<urn:uuid:{file}-{k}>"},
                )
                writer.write_record(record)


def configuration(root: Path, name: str, settings: dict[str, Any]) -> Path:
    path = root / f"{name}.json"
    path.write_text(json.dumps(settings))
    return path


def mix_settings(root: Path, shuffle: bool) -> dict[str, Any]:
    stream = {
        "name": "kept",
        "documents": [str(root / "corpus")],
        "attributes": ["char_length_v1", "repeated"],
        "output": {"path": str(root / "mixed")},
        "filter": {"exclude": ["$.attributes[?(@.char_length_v1__char_length_v1__length[0][2] < 60)]"]},
        "span_replacement": [{"span": "$.attributes.repeated", "min_score": 0.5, "replacement": ""}],
    }
    return {"streams": [stream], "shuffle": shuffle}


def train(root: Path) -> list[object]:
    return ["train-tokenizer", "--documents", root / "corpus", "--vocab-size", 300, "--output", root / "tokenizer"]


def tokens(root: Path) -> list[object]:
    arguments = ["--documents", root / "corpus", "--destination", root / "tokens"]
    return ["tokens", *arguments, "--tokenizer.name-or-path", root / "tokenizer", "--max-size", 400]


def reshard(root: Path) -> list[object]:
    prefixes = [{"prefix": str(root / "tokens"), "sample_rate": 1.5}]
    settings = {"source_prefixes": prefixes, "destination_prefix": str(root / "again"), "max_size_bytes": 900}
    return ["reshard", "-c", configuration(root, "reshard", settings)]


def dedupe(root: Path, name: str, *options: object) -> list[object]:
    return ["dedupe", "--documents", root / "corpus", "--dedupe.name", name, *options]


def first_commands(name: str, root: Path) -> list[list[object]]:
    """What runs before the command that is compared."""
    scores: list[object] = ["tag", "--documents", root / "corpus", "--taggers", "char_length_v1"]
    if name.startswith("mix"):
        return [scores, dedupe(root, "repeated", *PARAGRAPHS)]
    before = {"stat": [scores], "tokens": [train(root)], "reshard": [train(root), tokens(root)]}
    return before.get(name, [])


def command_line(name: str, root: Path) -> list[object]:
    documents = ("--documents", root / "corpus")
    match name:
        case "tag":
            taggers = ("gopher_v2", "c4_v2", "pii_regex_with_counts_fast_v2", "random_number_v1")
            return ["tag", *documents, "--experiment", "x", "--seed", 5, "--taggers", *taggers]
        case "dedupe of paragraphs":
            return dedupe(root, "d", *PARAGRAPHS)
        case "dedupe by a Bloom filter":
            size = ("--bloom-filter.estimated-doc-count", 200, "--bloom-filter.desired-false-positive-rate", "0.001")
            return dedupe(root, "d", *PARAGRAPHS, "--bloom-filter.file", root / "filter.bin", *size)
        case "dedupe by MinHash":
            return dedupe(root, "d", *WHOLE_TEXTS, "--dedupe.method", "minhash")
        case "dedupe of substrings":
            method = ("--dedupe.method", "substring", "--dedupe.substring.min-length", 20)
            return dedupe(root, "d", *WHOLE_TEXTS, *method)
        case "decontaminate":
            return ["decontaminate", *documents, "--texts", root / "evaluation.jsonl", "--ngram-length", 8]
        case "mix" | "mix, shuffled":
            return ["mix", "-c", configuration(root, "mix", mix_settings(root, shuffle=name != "mix"))]
        case "tokens":
            return tokens(root)
        case "reshard":
            return reshard(root)
        case "extract":
            return ["extract", root / "crawl", root / "evaluation.jsonl", "--output", root / "out"]
        case "warc":
            places = ("--documents", root / "crawl", "--destination", root / "out")
            return ["warc", *places, "--source-name", "crawl", "--post.taggers", "char_length_v1"]
        case "analyze":
            return ["analyze", *documents, "--output", root / "analysis", "--ngrams", 1, 2, "--no-language"]
    assert name == "stat"
    return ["stat", "--attributes", root / "corpus/attributes/char_length_v1", "--report", root / "report"]


COMMANDS = (
    "tag", "dedupe of paragraphs", "dedupe by a Bloom filter", "dedupe by MinHash", "dedupe of substrings",
    "decontaminate", "mix", "mix, shuffled", "tokens", "reshard", "extract", "warc", "analyze", "stat",
)  # fmt: skip


@pytest.mark.parametrize("name", COMMANDS)
def test_units_in_fresh_processes_give_the_same_bytes(
    name: str, dolma: Any, contents: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(annotate, "CHUNK_BYTES", 1500)
    monkeypatch.setattr(annotate, "SMALL_FILE_BYTES", 350)
    monkeypatch.setattr(mix_reading, "CHUNK_BYTES", 1500)
    monkeypatch.setattr(extraction, "UNIT_BYTES", 1)
    monkeypatch.setattr(token_units, "SMALLEST_UNIT", 1500)
    elsewhere = FreshProcesses(tmp_path)
    expected = {}
    for executor in (on_this_machine, elsewhere):
        root = make_inputs(tmp_path / "work")
        for line in first_commands(name, root):
            assert dolma(*line) == 0
        with executed_by(executor):
            assert dolma(*command_line(name, root)) == 0
        found = contents(root)
        assert not [path for path in found if ".partial" in path]
        shutil.rmtree(root)
        expected = expected or found
    assert elsewhere.ran >= 2
    assert found == expected


def _ends_its_process(unit: int) -> int:
    os._exit(unit)


def test_a_worker_that_is_killed_is_a_line_of_its_own() -> None:
    with pytest.raises(UserError, match="a worker process ended without an answer") as caught:
        list(map_ordered(_ends_its_process, [9], processes=2))
    assert "fewer --processes" in str(caught.value)


@pytest.mark.parametrize("processes", [0, -3, 4097, 10**20])
def test_a_number_of_processes_that_cannot_be_is_refused(processes: int) -> None:
    with pytest.raises(UserError, match=f"processes is {processes}; give 1 to 4096"):
        map_ordered(str, [1], processes)


LOADED: list[int] = []


def rehearse_one() -> None:
    LOADED.append(1)


def loaded_here(unit: int) -> int:
    return len(LOADED) * unit


@pytest.mark.skipif(sys.platform != "linux", reason="workers are copies on Linux alone")
def test_workers_that_are_copies_find_loaded_what_was_rehearsed() -> None:
    program = (
        "import test_execute as t\n"
        "print([*t.map_ordered(t.loaded_here, [1, 2, 3], 2, t.rehearse_one)], t.start_method())\n"
    )
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([*sys.path, HERE])}
    done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True, env=environment)
    assert (done.stdout, done.stderr) == ("[1, 2, 3] fork\n", "")


def test_workers_begin_anew_where_this_process_has_another_thread() -> None:
    end = threading.Event()
    thread = threading.Thread(target=end.wait)
    thread.start()
    try:
        assert start_method() == "spawn"
        assert [*map_ordered(loaded_here, [1, 2, 3], 2, rehearse_one)] == [0, 0, 0]
        assert LOADED == []
    finally:
        end.set()
        thread.join()
