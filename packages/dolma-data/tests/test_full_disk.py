"""A disk that is full: one line with the file, and after room is made the same command ends with the same bytes.

The limit on the size of files stands for the disk: a write beyond it fails in the same way, in every process.
"""

from __future__ import annotations

import gzip
import io
import json
import random
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from dolma_data.classifiers.catalogue import packaged_language_model

MINHASH = ("--dedupe.documents.attribute_name", "dup", "--dedupe.documents.key", "$.text", "--dedupe.method", "minhash")
BLOOM = ("--bloom_filter.size_in_bytes", "40000", "--bloom_filter.no-read_only", "--bloom_filter.file")

SMALL = ("--settings.buckets", "4096", "--settings.epochs", "2")
OF_ONE_PROCESS = ("train-tokenizer", "train-classifier", "models", "reshard")  # reshard's workers stand in its file


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def corpus(write_documents: Any) -> Path:
    generator = random.Random(0)
    words = ["".join(generator.choices("abcdefghij", k=6)) for _ in range(4000)]
    for number in range(2):
        texts = ["\n".join(" ".join(generator.choices(words, k=12)) for _ in range(15)) for _ in range(40)]
        rows = [{"id": f"{number}-{k}", "text": text, "source": f"s{k % 2}"} for k, text in enumerate(texts)]
        root: Path = write_documents(rows, f"{number}.jsonl.gz")
    return root


def prepare(name: str, corpus: Path, dolma: Any) -> None:
    """Make what the command reads beside the corpus."""
    beside = corpus.parent
    if name in {"tokens", "reshard"}:
        assert dolma("train-tokenizer", "--documents", corpus, "--output", beside / "tok", "--vocab-size", "300") == 0
    if name == "reshard":
        encoding = ("--destination", beside / "tokens", "--tokenizer.name-or-path", beside / "tok")
        assert dolma("tokens", "--documents", corpus, *encoding) == 0
    if name == "report":
        scoring = ("--taggers", "char_length_with_paragraphs_v1", "--destination", beside / "scores")
        assert dolma("tag", "--documents", corpus, *scoring) == 0
    if name == "decontaminate":
        texts = [json.loads(line) for line in gzip.open(corpus / "documents" / "0.jsonl.gz")]
        (beside / "items.jsonl").write_text("".join(json.dumps({"text": row["text"]}) + "\n" for row in texts))
    if name == "warc":
        (beside / "crawl").mkdir()
        for number in range(2):
            with open(beside / "crawl" / f"{number}.warc.gz", "wb") as stream:
                archive = WARCWriter(stream, gzip=True)
                for at, line in enumerate(gzip.open(corpus / "documents" / f"{number}.jsonl.gz")):
                    text = json.loads(line)["text"]
                    page = f"<html><body><article><p>{text}</p></article></body></html>".encode()
                    http = StatusAndHeaders("200 OK", [("Content-Type", "text/html")], protocol="HTTP/1.1")
                    record = archive.create_warc_record(
                        f"http://{number}.example/{at}", "response", payload=io.BytesIO(page), http_headers=http
                    )
                    archive.write_record(record)


def command_of(name: str, corpus: Path, out: Path) -> list[object]:
    """A command that writes attributes of the corpus, or ``out``."""
    streams = [
        {
            "name": "s",
            "documents": [str(corpus / "documents" / "*")],
            "output": {"path": str(out), "max_size_in_bytes": 1},
            "filter": {"include": ["$.id"]},
        }
    ]
    mixture = corpus.parent / "mix.json"
    mixture.write_text(json.dumps({"streams": streams, "shuffle": name == "shuffle"}))
    resharding = {"source_prefixes": [{"prefix": str(corpus.parent / "tokens"), "sample_rate": 1.5}]}
    resharding |= {"destination_prefix": str(out), "max_num_files": 3, "max_workers": 2}
    (corpus.parent / "reshard.json").write_text(json.dumps(resharding))
    documents = ("--documents", corpus)
    beside = corpus.parent
    paragraphs = ("dedupe", *documents, "--dedupe.paragraphs.attribute_name", "dup")
    commands: dict[str, tuple[object, ...]] = {
        "tag": ("tag", *documents, "--taggers", "char_length_with_paragraphs_v1", "--experiment", "x"),
        "exact": paragraphs,
        "bloom": (*paragraphs, *BLOOM, out),
        "minhash": ("dedupe", *documents, *MINHASH),
        "substring": ("dedupe", *documents, *MINHASH[:4], "--dedupe.method", "substring"),
        "mix": ("mix", "-c", mixture),
        "shuffle": ("mix", "-c", mixture),
        "extract": ("extract", corpus / "documents", "--output", out),
        "train-tokenizer": ("train-tokenizer", *documents, "--output", out, "--vocab-size", "400"),
        "tokens": ("tokens", *documents, "--destination", out, "--tokenizer.name-or-path", beside / "tok"),
        "decontaminate": ("decontaminate", *documents, "--texts", beside / "items.jsonl", "--minimum-words", "12"),
        "report": ("stat", "--attributes", beside / "scores", "--report", out),
        "reshard": ("reshard", "-c", beside / "reshard.json"),
        "warc": ("warc", "--documents", beside / "crawl", "--destination", out, "--source-name", "crawl"),
        "analyze": ("analyze", *documents, "--output", out),
        "train-classifier": ("train-classifier", *documents, "--output", out, "--label-field", "source", *SMALL),
        "models": ("models", "get", "lid.176.ftz", "--from", packaged_language_model(), "--folder", out),
    }
    return list(commands[name])


@pytest.mark.parametrize(
    "name",
    [
        "tag", "exact", "bloom", "minhash", "substring", "mix", "shuffle", "extract", "train-tokenizer", "tokens",
        "decontaminate", "report", "reshard", "warc", "analyze", "train-classifier", "models",
    ],
)  # fmt: skip
def test_a_full_disk_is_told_with_the_file_and_the_same_command_goes_on(
    name: str, corpus: Path, dolma: Any, contents: Any, tmp_path: Path, capsys: Any
) -> None:
    prepare(name, corpus, dolma)
    out = tmp_path / "out"
    command = [*command_of(name, corpus, out), *(() if name in OF_ONE_PROCESS else ("--processes", "2"))]
    assert dolma(*command) == 0
    expected = contents(tmp_path)
    largest = max(len(data) for path, data in expected.items() if path.startswith(("out", "corpus/attributes")))
    for size in (100, largest - 1):
        for made in (out, corpus / "attributes"):
            shutil.rmtree(made, ignore_errors=True) if made.is_dir() else made.unlink(missing_ok=True)
        capsys.readouterr()
        with largest_file(size):
            assert dolma(*command) == 2
        *_, error = capsys.readouterr().err.splitlines()
        told, _, rest = error.partition(" (")
        assert told == "error: File too large"
        place, _, fix = rest.partition("); ")
        assert fix == "check the path, its rights and the space left"
        assert tmp_path in Path(place).parents
        left = contents(tmp_path)
        visible = {path: data for path, data in left.items() if ".partial" not in path}
        assert visible.items() <= expected.items()
        assert dolma(*command) == 0
        assert contents(tmp_path) == expected


def test_a_table_of_attributes_needs_no_disk(
    corpus: Path, dolma: Any, contents: Any, tmp_path: Path, capsys: Any
) -> None:
    prepare("report", corpus, dolma)
    before = contents(tmp_path)
    with largest_file(0):  # which shared memory of several processes would meet as well
        assert dolma("stat", "--attributes", tmp_path / "scores", "--processes", "1") == 0
    assert contents(tmp_path) == before
