"""Whatever lies where a command expects something else ends in one line and status 2, never in a traceback."""

from __future__ import annotations

import gzip
import json
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers.pre_tokenizers import ByteLevel

from paloma_ppl.cli import app
from paloma_ppl.command_line import run

Damage = Callable[[Path], object]


def command(*arguments: str) -> int:
    return run(app, list(arguments))


@pytest.fixture(scope="module")
def originals(
    documents: Path, suite_folder: Path, model_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A folder with documents, a suite, a model and results."""
    root = tmp_path_factory.mktemp("damage")
    for name, folder in (("X", documents), ("S", suite_folder), ("M", model_folder)):
        shutil.copytree(folder, root / name)
    assert command(*RUN.format(x=root).replace("/new", "/P").split(), "--limit", "4") == 0
    return root


@pytest.fixture
def place(originals: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(originals, tmp_path / "place"))


def write(name: str, content: bytes | str) -> Damage:
    """The file holds ``content`` instead, packed where its name says so."""
    data = content.encode() if isinstance(content, str) else content

    def damage(root: Path) -> None:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)

    return damage


def cut(name: str, keep: int = -20) -> Damage:
    return lambda root: (root / name).write_bytes((root / name).read_bytes()[:keep])


def without(name: str) -> Damage:
    return lambda root: shutil.rmtree(root / name) if (root / name).is_dir() else (root / name).unlink()


def folder_instead(name: str) -> Damage:
    def damage(root: Path) -> None:
        (root / name).unlink()
        (root / name).mkdir()

    return damage


def changed(content: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in (content | values).items() if value != "gone"}


def change(name: str, /, **values: object) -> Damage:
    """Keys of a JSON file have other values; those that are ``gone`` are left out."""
    return lambda root: (root / name).write_text(json.dumps(changed(json.loads((root / name).read_text()), values)))


def change_row(name: str, /, **values: object) -> Damage:
    """Keys of the second row of a packed JSON Lines file have other values."""

    def damage(root: Path) -> None:
        rows = [json.loads(line) for line in gzip.decompress((root / name).read_bytes()).splitlines()]
        rows[1] = changed(rows[1], values)
        write(name, "".join(json.dumps(row) + "\n" for row in rows))(root)

    return damage


def without_suite_file(*damages: Damage) -> Damage:
    """The suite is a published release: without suite.json, whose digests would find every change first."""

    def damage(root: Path) -> None:
        (root / "S/suite.json").unlink()
        for each in damages:
            each(root)

    return damage


def without_symbol(symbol: str) -> Damage:
    """The tokenizer has no token for a symbol, and no merges."""

    def damage(root: Path) -> None:
        path = root / "M/tokenizer.json"
        tokenizer = json.loads(path.read_text())
        tokenizer["model"] |= {"merges": [], "vocab": {"<|endoftext|>": 0}}
        symbols = sorted(set(ByteLevel.alphabet()) - {symbol})
        tokenizer["model"]["vocab"] |= {each: number for number, each in enumerate(symbols, start=1)}
        path.write_text(json.dumps(tokenizer))

    return damage


DOCUMENTS = {"artifact": "documents", "format_version": 1}
ROWS = "X/documents/part.jsonl.gz"
TEST = "S/docs/test/test-00000000.jsonl.gz"
HELD_OUT = "S/held_out.jsonl.gz"
SCORES = "P/documents.jsonl.gz"
PREPARE = "prepare --documents {x}/X --output {x}/new --domain-field metadata.package --fraction 0.2"
SET = "decontamination-set --suite {x}/S --output {x}/new"
CHECK = "check-contamination --suite {x}/S --documents {x}/X --output {x}/new"
WINDOWS = "windows --suite {x}/S --split test --tokenizer {x}/M --max-length 8 --output {x}/new"
RUN = "run --model {x}/M --suite {x}/S --output {x}/new --device cpu"
BASELINE = "baseline --suite {x}/S --tokenizer {x}/M --documents {x}/X --output {x}/new --xz-bytes 64 --limit 3"
COMPARE = "compare {x}/P {x}/P --output {x}/new"
FOREIGN = write("new/thesis.txt", "mine")


@pytest.mark.parametrize(
    ("line", "damage", "message"),
    [
        # prepare
        ("prepare --documents {x}/none --output {x}/new", None, "no such documents"),
        ("prepare --documents {x}/S/suite.json --output {x}/new", None, "not a documents file"),
        ("prepare --documents {x}/M --output {x}/new", None, "no .jsonl files"),
        (PREPARE, FOREIGN, "exists and is not a suite artifact"),
        (PREPARE, write("new", "mine"), "exists and is not a suite artifact"),
        (PREPARE + " --minimum-documents -1", None, "-1"),
        (PREPARE + " --target-bytes-per-domain 0", None, "below one byte"),
        (PREPARE + " --max-failed -1", None, "-1"),
        (PREPARE + " --group-field no.such", None, "no document has the field no.such"),
        (PREPARE, write("X/manifest.json", b"[]"), "manifest.json"),
        (PREPARE, write("X/manifest.json", b"\xff"), "not valid JSON"),
        (PREPARE, write("X/manifest.json", json.dumps(DOCUMENTS)), "manifest.json"),
        (PREPARE, write("X/manifest.json", json.dumps(DOCUMENTS | {"files": [3]})), "manifest.json"),
        (PREPARE, cut(ROWS), "damaged or cut off"),
        (PREPARE, cut(ROWS, 0), "no domain has"),
        (PREPARE, write(ROWS, b"\xff\n"), "not UTF-8 (documents/part.jsonl.gz, line 1)"),
        (PREPARE, write(ROWS, b"[" * 100_000), "part.jsonl.gz, line 1"),
        (PREPARE, change_row(ROWS, text=3), "part.jsonl.gz, line 2"),
        (PREPARE, change_row(ROWS, text="\ud800"), "part.jsonl.gz, line 2"),
        (PREPARE.replace("/new", "/new/a"), write("new", "mine"), "new"),
        # the suite, in whichever command reads it
        (SET.replace("/S", "/none"), None, "no such suite"),
        (SET.replace("/S", "/M"), None, "no suite: neither"),
        (SET, FOREIGN, "exists and is not a decontamination_set artifact"),
        (SET + " --minimum-words 0", None, "below one word"),
        (SET + " --exempt-source poems", None, "no source 'poems'"),
        (SET, write("S/suite.json", b"[]"), "suite.json"),
        (SET, write("S/suite.json", b""), "not valid JSON"),
        (SET, change("S/suite.json", sources="gone"), "suite.json"),
        (SET, change("S/suite.json", sources=[]), "suite.json"),
        (SET, change("S/suite.json", sources={"docs": 3}), "suite.json"),
        (SET, change("S/suite.json", sources={"docs": {"val": {"files": [3]}, "test": {}}}), "suite.json"),
        (SET, change("S/suite.json", name="gone"), "suite.json"),
        (SET, change("S/suite.json", held_out_documents="gone"), "suite.json"),
        (SET, change("S/suite.json", held_out_documents=3), "suite.json says 3"),
        (SET, cut(TEST), "its digest differs"),
        (SET, without(TEST), "a file of the suite is missing"),
        (SET, without(HELD_OUT), "list of held-out documents is missing"),
        (SET, write(HELD_OUT, b"3\n"), "held_out.jsonl.gz, line 1"),
        (SET, write(HELD_OUT, b"\xff\n"), "held_out.jsonl.gz, line 1"),
        (SET, change_row(HELD_OUT, id=[]), "held_out.jsonl.gz, line 2"),
        (SET, cut(HELD_OUT), "damaged or cut off"),
        (SET, without_suite_file(cut(TEST)), "damaged or cut off"),
        (SET, without_suite_file(change_row(TEST, text=3)), "test-00000000.jsonl.gz, line 2"),
        (SET, without_suite_file(change_row(TEST, text="\ud800")), "test-00000000.jsonl.gz, line 2"),
        (SET, without_suite_file(change_row(TEST, text="")), "test-00000000.jsonl.gz, line 2"),
        (SET, without_suite_file(change_row(TEST, subdomain="\ud800")), "test-00000000.jsonl.gz, line 2"),
        (SET, without_suite_file(change_row(TEST, id="\ud800")), "test-00000000.jsonl.gz, line 2"),
        (SET, without_suite_file(write(TEST, b"[" * 100_000)), "test-00000000.jsonl.gz, line 1"),
        # contamination
        (CHECK, folder_instead("X/documents/part.jsonl.gz"), "no .jsonl files"),
        (CHECK, FOREIGN, "Is a directory"),
        (CHECK + "/a", write("new", "mine"), "new"),
        # windows
        (WINDOWS, FOREIGN, "exists and is not a windows artifact"),
        (WINDOWS.replace("length 8", "length 0"), None, "max_length"),
        (WINDOWS + " --limit-documents 0", None, "limit"),
        (WINDOWS + " --prefix-token-id 999", None, "no token 999"),
        (WINDOWS, write("M/tokenizer.json", b"[]"), "not a tokenizer"),
        (WINDOWS, write("M/tokenizer.json", b"\xff"), "not a tokenizer"),
        (WINDOWS, folder_instead("M/tokenizer.json"), "no such tokenizer"),
        (WINDOWS, without_symbol("s"), "cannot encode 1 characters, such as 's' (U+0073)"),
        # run
        (RUN, FOREIGN, "exists and is not a perplexity_results artifact"),
        (RUN + " --limit 0", None, "limit"),
        (RUN + " --batch-tokens 0", None, "batch_tokens"),
        (RUN + " --max-length 0", None, "max_length"),
        (RUN + " --max-length 25", None, "max_length"),
        (RUN + " --confidence nan", None, "confidence"),
        (RUN, without("M/tokenizer.json"), "no such tokenizer"),
        (RUN, without_symbol("s"), "cannot encode 1 characters, such as 's' (U+0073)"),
        (RUN, write("M/config.json", b""), "configuration does not load"),
        (RUN, write("M/config.json", b"[]"), "configuration does not load"),
        (RUN, write("M/config.json", b"\xff"), "configuration does not load"),
        (RUN, write("M/config.json", b"{}"), "configuration does not load"),
        (RUN, change("M/config.json", hidden_size="wide"), "configuration does not load"),
        (RUN, change("M/config.json", num_attention_heads=0), "does not load"),
        (RUN, change("M/config.json", model_type=["a"]), "configuration does not load"),
        (RUN, change("M/config.json", max_position_embeddings=0), "how long the inputs may be"),
        (RUN, change("M/config.json", max_position_embeddings=-1), "how long the inputs may be"),
        (RUN, change("M/config.json", hidden_act="none"), "the model does not load"),
        (RUN, change("M/config.json", hidden_size=64), "mismatched"),
        (RUN, cut("M/model.safetensors"), "the model does not load"),
        (RUN, write("M/model.safetensors", b""), "the model does not load"),
        (RUN, folder_instead("M/model.safetensors"), "M"),
        (RUN.replace("/new", "/new/a"), write("new", "mine"), "new"),
        # baseline
        (BASELINE, FOREIGN, "exists and is not a unigram artifact"),
        (BASELINE, write("new", "mine"), "exists and is not a unigram artifact"),
        (BASELINE + " --smoothing inf", None, "smoothing of inf"),
        (BASELINE, without_symbol("s"), "cannot encode 1 characters, such as 's' (U+0073)"),
        (BASELINE + " --smoothing 0", None, "smoothing of 0"),
        (BASELINE + " --processes 0", None, "0 processes"),
        (BASELINE.replace("xz-bytes 64", "xz-bytes -1"), None, "-1 bytes"),
        (BASELINE, cut(ROWS), "damaged or cut off"),
        (BASELINE, change_row(ROWS, id=3), "part.jsonl.gz, line 2"),
        # compare
        (COMPARE.replace("/P ", "/none ", 1), None, "manifest.json is missing"),
        (COMPARE, FOREIGN, "Is a directory"),
        (COMPARE + "/a", write("new", "mine"), "new"),
        (COMPARE + " --confidence 2", None, "confidence"),
        (COMPARE, write("P/manifest.json", b"[]"), "not perplexity results"),
        (COMPARE, write("P/manifest.json", b"\xff"), "not valid JSON"),
        (COMPARE, change("P/manifest.json", split="gone"), "the manifest is not whole"),
        (COMPARE, change("P/manifest.json", model=["a"]), "the manifest is not whole"),
        (COMPARE, without(SCORES), "no such file"),
        (COMPARE, cut(SCORES), "damaged or cut off"),
        (COMPARE, write(SCORES, b""), "no documents"),
        (COMPARE, write(SCORES, b"3\n"), "documents.jsonl.gz, line 1"),
        (COMPARE, change_row(SCORES, bytes="gone"), "documents.jsonl.gz, line 2"),
        (COMPARE, change_row(SCORES, bytes=0), "documents.jsonl.gz, line 2"),
        (COMPARE, change_row(SCORES, tokens="x"), "documents.jsonl.gz, line 2"),
        (COMPARE, change_row(SCORES, source=None), "documents.jsonl.gz, line 2"),
        (COMPARE, change_row(SCORES, log_probability=float("nan")), "documents.jsonl.gz, line 2"),
        (COMPARE, change_row(SCORES, log_probability=None), "documents.jsonl.gz, line 2"),
    ],
)  # fmt: skip
def test_it_is_one_line_and_status_2(
    place: Path, capsys: pytest.CaptureFixture[str], line: str, damage: Damage | None, message: str
) -> None:
    if damage is not None:
        damage(place)
    before = sorted(path for path in (place / "new").rglob("*") if path.is_file())
    assert command(*(word.format(x=place) for word in line.split(" "))) == 2
    errors = [text for text in capsys.readouterr().err.splitlines() if text.startswith("error: ")]
    assert len(errors) == 1
    assert message in errors[0]
    assert sorted(path for path in (place / "new").rglob("*") if path.is_file()) == before


@pytest.mark.parametrize("room", [600, 3000])  # bytes of a file: for the finished batches, for the results
def test_without_room_a_run_ends_in_one_line_and_goes_on_later(
    place: Path, capsys: pytest.CaptureFixture[str], room: int
) -> None:
    line = RUN.format(x=place).split()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        assert command(*line) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    errors = [text for text in capsys.readouterr().err.splitlines() if text.startswith("error: ")]
    assert len(errors) == 1
    assert f"({place / 'new'}." in errors[0]
    assert "check the path, its rights and the space left" in errors[0]
    assert not (place / "new").exists()
    assert command(*line) == 0


def test_a_tokenizer_that_finds_no_room_is_named_by_its_copy(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tokenizer = json.loads((place / "M/tokenizer.json").read_text())
    (place / "M/tokenizer.json").write_text(json.dumps(tokenizer) + " " * 100_000)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (90_000, hard))
    try:
        assert command(*WINDOWS.format(x=place).split()) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert f"({place / 'new'}.partial/tokenizer.json)" in capsys.readouterr().err
    assert not (place / "new").exists()


def test_blank_and_malformed_documents_are_counted_and_a_field_that_lacks_is_named(
    place: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    rows = gzip.decompress((place / ROWS).read_bytes())
    more = [{"id": "b1", "text": "", "source": "docs"}, {"id": "b2", "text": " \n", "source": "docs"}]
    more += [{"id": "lone", "text": "no package", "source": "docs"}]
    lines = "".join(json.dumps(row) + "\n" for row in more).encode() + b'{"id": "caf\xe9"}\n'
    (place / ROWS).write_bytes(gzip.compress(rows + lines))
    assert command(*PREPARE.format(x=place).split(), "--max-failed", "1") == 0
    assert "2 documents are blank and are left out" in caplog.text
    assert "1 documents lack the field metadata.package" in caplog.text
    assert "124 documents read, " in (out := capsys.readouterr().out)
    assert " 1 failed, " in out
    assert json.loads((place / "new.quarantine.jsonl").read_text())["reason"] == "not UTF-8"
