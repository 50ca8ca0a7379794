"""Whatever lies where a command expects something else ends in one line and status 2, never in a traceback."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from catwalk_eval.cli import app
from catwalk_eval.command_line import run

Damage = Callable[[Path], object]


def command(*arguments: str) -> int:
    return run(app, list(arguments))


@pytest.fixture(scope="module")
def originals(model_folder: Path, tokenizer_json: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with documents, task data, requests, a model, unigram counts and predictions."""
    root = tmp_path_factory.mktemp("damage")
    shutil.copytree(model_folder, root / "model")
    texts = [f"the wind blew over hill {number} and the river ran down to the sea " * 3 for number in range(6)]
    rows = [{"id": f"d{number}", "text": text, "source": "web"} for number, text in enumerate(texts)]
    write("documents/documents/a.jsonl.gz", "".join(json.dumps(row) + "\n" for row in rows))(root)
    size = ["--items", "4", "--context-words", "6", "--continuation-words", "3"]
    assert command("make-cloze", "--documents", f"{root}/documents", "--output", f"{root}/data", *size) == 0
    tasks = ["--tasks", "cloze", "--data", f"{root}/data"]
    assert command("requests", *tasks, "--output", f"{root}/requests") == 0
    assert command("run", "--model", f"{root}/model", *tasks, "--output", f"{root}/a", "--device", "cpu") == 0
    shutil.copytree(root / "a", root / "b")
    digest = json.loads((root / "a/manifest.json").read_text())["tokenizer_digest"]
    counts = {"artifact": "unigram", "format_version": 1, "tokenizer_digest": digest, "vocab_size": 320}
    counts |= {"smoothing": 1.0, "counts": [1] * 320, "documents": 1, "tokens": 320}
    write("unigram.json", json.dumps(counts))(root)
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


def not_finite(root: Path) -> None:
    """All weights are NaN."""
    from safetensors.numpy import load_file, save_file

    file = root / "model/model.safetensors"
    save_file(
        {name: weight * float("nan") for name, weight in load_file(file).items()}, file, metadata={"format": "pt"}
    )


ROWS = "a/cloze/predictions.jsonl.gz"
OTHER_ROWS = "b/cloze/predictions.jsonl.gz"
DOCUMENTS = "documents/documents/a.jsonl.gz"
SOURCE = "data/cloze/source/validation.jsonl.gz"
TEXT = "requests/cloze/requests.jsonl.gz"
CLOZE = "make-cloze --documents {x}/documents --output {x}/new --context-words 6 --continuation-words 3"
REQUESTS = "requests --tasks cloze --data {x}/data --output {x}/new"
RUN = "run --model {x}/model --tasks cloze --data {x}/data --device cpu --output {x}/new"
FROM_REQUESTS = "run --model {x}/model --tasks cloze --requests {x}/requests --device cpu --output {x}/new"
RESCORE = "rescore {x}/a"
COMPARE = "compare {x}/a {x}/b --output {x}/new/c.json"
SUITE = {"artifact": "suite", "format_version": 1, "name": "s"}


@pytest.mark.parametrize(
    ("line", "damage", "message"),
    [
        # make-cloze
        ("make-cloze --documents {x}/none --output {x}/new", None, "check --documents"),
        ("make-cloze --documents {x}/unigram.json --output {x}/new", None, "check --documents"),
        (CLOZE + " --items 0", None, "items is 0"),
        ("make-cloze --documents {x}/documents --output {x}/new --context-words -1", None, "context_words is -1"),
        (CLOZE + " --name a/b", None, "cannot name a folder"),
        (CLOZE + " --domain-field no.such", None, "a.jsonl.gz, line 1"),
        (CLOZE, cut(DOCUMENTS), "damaged or cut off"),
        (CLOZE, write(DOCUMENTS, b""), "no domain has text"),
        (CLOZE, write(DOCUMENTS, b"\xff\n"), "a.jsonl.gz, line 1"),
        (CLOZE, write(DOCUMENTS, b"[1]\n"), "a.jsonl.gz, line 1"),
        (CLOZE, write(DOCUMENTS, b"{" * 100_000), "a.jsonl.gz, line 1"),
        (CLOZE, write(DOCUMENTS, b"[" * 100_000), "a.jsonl.gz, line 1"),
        (CLOZE, change_row(DOCUMENTS, text="gone"), "a.jsonl.gz, line 2"),
        (CLOZE, change_row(DOCUMENTS, text=["a"]), "a.jsonl.gz, line 2"),
        (CLOZE, change_row(DOCUMENTS, source=3), "a.jsonl.gz, line 2"),
        (CLOZE, change_row(DOCUMENTS, text="half \ud800 " * 50), "a.jsonl.gz, line 2"),
        (CLOZE, write("documents/suite.json", b"[]"), "suite.json"),
        (CLOZE, write("documents/suite.json", b"\xff"), "suite.json"),
        (CLOZE, write("documents/suite.json", json.dumps(SUITE)), "suite.json"),
        (CLOZE, write("documents/suite.json", json.dumps(SUITE | {"sources": []})), "suite.json"),
        (CLOZE, write("documents/suite.json", json.dumps(SUITE | {"sources": {"s": {"test": 3}}})), "suite.json"),
        (CLOZE, write("new/cloze/thesis.txt", "mine"), "exists and is not a task artifact"),
        ("make-cloze --documents {x}/documents --output {x}/unigram.json --context-words 6", None, "unigram.json"),
        # requests
        ("requests --tasks , --data {x}/data --output {x}/new", None, "no task is named"),
        ("requests --tasks cloze --data {x}/none --output {x}/new", None, "unknown task"),
        ("requests --tasks ../a --data {x}/data --output {x}/new", None, "unknown task"),
        (REQUESTS + " --dialect latin", None, "unknown dialect"),
        (REQUESTS + " --limit 0", None, "limit is 0"),
        (REQUESTS + " --limit -1", None, "limit is -1"),
        (REQUESTS + " --tokenizer {x}/none", None, "no tokenizer.json"),
        (REQUESTS + " --tokenizer {x}/unigram.json", None, "not a tokenizer"),
        (REQUESTS + " --tokenizer {x}/model", write("model/tokenizer.json", b"[]"), "not a tokenizer"),
        (REQUESTS + " --tokenizer {x}/model", write("model/tokenizer.json", b"\xff"), "not valid JSON"),
        (REQUESTS + " --tokenizer {x}/model", folder_instead("model/tokenizer.json"), "no tokenizer.json"),
        (REQUESTS + " --tokenizer {x}/model", write("model/tokenizer_config.json", b"[]"), "tokenizer_config.json"),
        (REQUESTS + " --tokenizer {x}/model", write("model/tokenizer_config.json", b'{"bos_token": 3}'), "tokenizer_c"),
        (REQUESTS, write("data/cloze/task.json", b"[]"), "task.json"),
        (REQUESTS, change("data/cloze/task.json", domain_field="gone"), "task.json"),
        (REQUESTS, change("data/cloze/task.json", context_field=[]), "task.json"),
        (REQUESTS, change("data/cloze/task.json", primary_metric={}), "task.json"),
        (REQUESTS, without(SOURCE), "records of cloze are missing"),
        (REQUESTS, folder_instead(SOURCE), "records of cloze are missing"),
        (REQUESTS, cut(SOURCE), "damaged or cut off"),
        (REQUESTS, write(SOURCE, b""), "there are no records"),
        (REQUESTS, write(SOURCE, b"\xff\n"), "validation.jsonl.gz, line 1"),
        (REQUESTS, change_row(SOURCE, choices="gone"), "validation.jsonl.gz, line 2"),
        (REQUESTS, change_row(SOURCE, choices=3), "validation.jsonl.gz, line 2"),
        (REQUESTS, change_row(SOURCE, choices=[]), "validation.jsonl.gz, line 2"),
        (REQUESTS, change_row(SOURCE, choices=["", " "]), "choice 0 is empty"),
        (REQUESTS, change_row(SOURCE, choices="abcd"), "choices is text, not a list"),
        (REQUESTS, change_row(SOURCE, choices=["a", None]), "choices[1] is null, not text"),
        (REQUESTS, change_row(SOURCE, context=None), "context is null, not text"),
        (REQUESTS + " --shots 2", None, "no records of cloze to take examples from"),
        (REQUESTS + " --shots 2 --shots-from {x}/model/config.json", None, "first, seed, or a file of records"),
        (REQUESTS + " --shots 2 --dialect olmes-cf", None, "no records of cloze to take examples from"),
        (REQUESTS + " --split test", None, "the test records of cloze are missing"),
        (REQUESTS + " --limit-seed 3", None, "limit-seed does nothing without --limit"),
        (FROM_REQUESTS + " --shots 1", None, "have 0 examples, 1 are asked for"),
        (FROM_REQUESTS + " --split test", None, "split does nothing with --requests"),
        (FROM_REQUESTS, change("requests/cloze/task.json", split=3), "task.json"),
        (FROM_REQUESTS, change("requests/cloze/task.json", shots_source=[]), "task.json"),
        ("requests --tasks {x}/none.yaml --output {x}/new", None, "no such task file"),
        ("requests --tasks {x}/t.yaml --output {x}/new", write("t.yaml", "name: [a"), "t.yaml, line"),
        ("requests --tasks {x}/t.py --output {x}/new", write("t.py", "TASK = None"), "the file has no TASK"),
        ("requests --tasks piqa --output {x}/new", None, "where the records of piqa lie is not said"),
        ("requests --tasks wnli --dialect olmes-cf --data {x}/data --output {x}/new", None, "no wording in olmes-cf"),
        ("fetch --output {x}/new --download", None, "no task is named"),
        ("fetch piqa --output {x}/new", None, "nothing is downloaded unless you say so"),
        (REQUESTS, change_row(SOURCE, gold="x"), "validation.jsonl.gz, line 2"),
        (REQUESTS, change_row(SOURCE, gold=99), "validation.jsonl.gz, line 2"),
        (REQUESTS, change_row(SOURCE, gold=[0]), "validation.jsonl.gz, line 2"),
        (REQUESTS, change_row(SOURCE, context="half \ud800"), "validation.jsonl.gz, line 2"),
        (REQUESTS, write("new/thesis.txt", "mine"), "exists and is not a requests artifact"),
        # run
        ("run --model {x}/none --tasks cloze --data {x}/data --output {x}/new", None, "no such model folder"),
        ("run --model {x}/unigram.json --tasks cloze --data {x}/data --output {x}/new", None, "no such model folder"),
        ("run --model {x}/model --tasks cloze --output {x}/new", None, "--requests"),
        (RUN + " --requests {x}/requests", None, "--requests"),
        (RUN + " --limit 0", None, "limit is 0"),
        (RUN + " --batch-tokens 0", None, "batch-tokens is 0"),
        (RUN + " --max-length 0", None, "max-length is 0"),
        (RUN + " --max-length 9999", None, "reads at most 128"),
        (RUN.replace("cpu", "nonsense"), None, "device 'nonsense'"),
        (RUN + " --unigram {x}/none.json", None, "no such file"),
        (RUN + " --unigram {x}/model", None, "Is a directory"),
        (RUN + " --unigram {x}/unigram.json", write("unigram.json", b"[]"), "not unigram counts"),
        (RUN + " --unigram {x}/unigram.json", change("unigram.json", counts="gone"), "unigram.json"),
        (RUN + " --unigram {x}/unigram.json", change("unigram.json", counts=["a"] * 320), "unigram.json"),
        (RUN + " --unigram {x}/unigram.json", change("unigram.json", counts=[-2] * 320), "unigram.json"),
        (RUN + " --unigram {x}/unigram.json", change("unigram.json", smoothing="x"), "unigram.json"),
        (RUN + " --unigram {x}/unigram.json", change("unigram.json", tokenizer_digest="gone"), "unigram.json"),
        (RUN + " --unigram {x}/unigram.json", change("unigram.json", vocab_size=5, counts=[1] * 5), "is not counted"),
        (RUN, without("model/tokenizer.json"), "has no tokenizer.json"),
        (RUN, write("model/tokenizer.json", b'{"version": "1.0"}'), "not a tokenizer"),
        (RUN, without("model/config.json"), "has no config.json"),
        (RUN, write("model/config.json", b""), "not valid JSON"),
        (RUN, write("model/config.json", b"[]"), "config.json"),
        (RUN, write("model/config.json", b"{}"), "the model does not load"),
        (RUN, change("model/config.json", max_position_embeddings="many"), "max_position_embeddings"),
        (RUN, change("model/config.json", max_position_embeddings=-3), "max_position_embeddings"),
        (RUN, change("model/config.json", hidden_size="wide"), "the model does not load"),
        (RUN, change("model/config.json", num_attention_heads=0), "the model does not load"),
        (RUN, change("model/config.json", num_attention_heads=None), "the model does not load"),
        (RUN, change("model/config.json", hidden_act="none"), "the model does not load"),
        (RUN, change("model/config.json", rope_parameters=[1]), "the model does not load"),
        (RUN, change("model/config.json", model_type=["a"]), "the model does not load"),
        (RUN, change("model/config.json", hidden_size=64), "model"),
        (RUN, without("model/model.safetensors"), "no weights in safetensors"),
        (RUN, cut("model/model.safetensors"), "the model does not load"),
        (RUN, write("model/model.safetensors", b""), "the model does not load"),
        (RUN, not_finite, "no finite numbers"),
        (RUN, write("new/thesis.txt", "mine"), "exists and is not a predictions artifact"),
        (RUN + "/a", write("new", "mine"), "new"),
        ("run --model {x}/model --tasks cloze --requests {x}/none --output {x}/new", None, "no requests here"),
        (FROM_REQUESTS, write("requests/cloze/task.json", b"[]"), "task.json"),
        (FROM_REQUESTS, write("requests/cloze/task.json", b"\xff"), "task.json"),
        (FROM_REQUESTS, change("requests/cloze/task.json", shots="few"), "task.json"),
        (FROM_REQUESTS, change("requests/cloze/task.json", primary_metric="acc"), "task.json"),
        (FROM_REQUESTS, change("requests/cloze/task.json", primary_metric=[]), "task.json"),
        (FROM_REQUESTS, change("requests/cloze/task.json", dialect=3), "task.json"),
        (FROM_REQUESTS, cut(TEXT), "damaged or cut off"),
        (FROM_REQUESTS, write(TEXT, b""), "there are no requests"),
        (FROM_REQUESTS, write(TEXT, b"3\n"), "requests.jsonl.gz, line 1"),
        (FROM_REQUESTS, change_row(TEXT, doc="gone"), "requests.jsonl.gz, line 2"),
        (FROM_REQUESTS, change_row(TEXT, idx=7), "requests.jsonl.gz, line 2"),
        (FROM_REQUESTS, change_row(TEXT, label="a"), "requests.jsonl.gz, line 2"),
        (FROM_REQUESTS, change_row(TEXT, request=[]), "requests.jsonl.gz, line 2"),
        (FROM_REQUESTS, change_row(TEXT, request={"context": "", "continuation": "\ud800"}), "line 2"),
        # rescore and compare
        ("rescore {x}/none", None, "no such file"),
        ("rescore {x}/unigram.json", None, "unigram.json"),
        (RESCORE, write("a/manifest.json", b"[]"), "not a predictions artifact"),
        (RESCORE, write("a/manifest.json", b"\xff"), "not valid JSON"),
        (RESCORE, change("a/manifest.json", tasks="gone"), "manifest.json"),
        (RESCORE, change("a/manifest.json", tasks="cloze"), "manifest.json"),
        (RESCORE, change("a/manifest.json", tasks=[]), "manifest.json"),
        (RESCORE, change("a/manifest.json", tasks=["piqa"]), "manifest.json"),
        (RESCORE, change("a/manifest.json", tasks=["piqa"], counts={"piqa": {}}), "piqa/task.json"),
        (RESCORE, change("a/manifest.json", counts="gone"), "manifest.json"),
        (RESCORE, change("a/manifest.json", counts={"cloze": 3}), "manifest.json"),
        (RESCORE, change("a/manifest.json", counts={"cloze": {"instances": 1, "requests": 1}}), "manifest counts"),
        (RESCORE, change("a/manifest.json", model="gone"), "manifest.json"),
        (RESCORE, without("a/cloze/task.json"), "no such file"),
        (RESCORE, write("a/cloze/task.json", b"[]"), "task.json"),
        (RESCORE, change("a/cloze/task.json", dialect="gone"), "task.json"),
        (RESCORE, change("a/cloze/task.json", primary_metric="acc"), "task.json"),
        (RESCORE, without(ROWS), "no such file"),
        (RESCORE, cut(ROWS), "damaged or cut off"),
        (RESCORE, write(ROWS, b"3\n"), "predictions.jsonl.gz, line 1"),
        (RESCORE, change_row(ROWS, doc_id="gone"), "predictions.jsonl.gz, line 2"),
        (RESCORE, change_row(ROWS, log_probability=None), "predictions.jsonl.gz, line 2"),
        (RESCORE, change_row(ROWS, log_probability="-1"), "predictions.jsonl.gz, line 2"),
        (RESCORE, change_row(ROWS, log_probability=float("nan")), "predictions.jsonl.gz, line 2"),
        (RESCORE, change_row(ROWS, log_probability_answer="x"), "predictions.jsonl.gz, line 2"),
        (RESCORE, change_row(ROWS, log_probability_unigram="gone"), "predictions.jsonl.gz, line 2"),
        (RESCORE, change_row(ROWS, bytes=0), "predictions.jsonl.gz, line 2"),
        (RESCORE, change_row(ROWS, tokens="x"), "predictions.jsonl.gz, line 2"),
        (RESCORE, change_row(ROWS, label=9), "instance 0"),
        (RESCORE, change_row(ROWS, idx=0), "instance 0"),
        (RESCORE, change_row(ROWS, label=True), "label is no whole number"),
        (RESCORE, change_row(ROWS, tokens=2**70), "tokens is no whole number"),
        (RESCORE, change_row(ROWS, cluster=3), "cluster is neither a text nor null"),
        (RESCORE, change_row(ROWS, log_probability_empty=True), "log_probability_empty is neither"),
        (RESCORE, change_row(ROWS, doc_id=9, idx=0, label=0), "instance 0"),
        (RESCORE, change("a/cloze/task.json", primary_metric="f1"), "f1 cannot be computed"),
        (RESCORE, change("a/cloze/task.json", primary_metric="acc_per_chr"), "did you mean acc_per_char?"),
        (RESCORE, folder_instead("a/metrics.json"), "Is a directory"),
        ("compare {x}/a {x}/none", None, "no such file"),
        (COMPARE, write("new", "mine"), "new"),
        ("compare {x}/a {x}/b --output {x}/documents", None, "Is a directory"),
        (COMPARE, change("b/manifest.json", tasks=["piqa"], counts={"piqa": {}}), "no task in common"),
        (COMPARE, change("b/cloze/task.json", shots="gone"), "task.json"),
        (COMPARE, change_row(OTHER_ROWS, native_id="gone"), "predictions.jsonl.gz, line 2"),
        (COMPARE, change_row(OTHER_ROWS, bytes=99), "other instances"),
        ("compare {x}/a", None, "one run cannot be compared"),
        ("report {x}/a --html {x}/new/r.html", cut(ROWS), "damaged or cut off"),
        ("report {x}/a {x}/b", change("b/manifest.json", format_version=9), "format_version 9 is not read"),
        ("report {x}/a --markdown {x}/documents", None, "Is a directory"),
        ("export {x}/a --output {x}/new", change_row(ROWS, tokens=0), "tokens is no whole number from 1"),
        ("export {x}/none --output {x}/new", None, "no such file"),
        ("compare", None, "one run cannot be compared"),
        (COMPARE, change("b/cloze/task.json", dialect="lm-eval"), "has another dialect on each side"),
        (COMPARE + " --metric acc_uncond", change_row(OTHER_ROWS, log_probability_answer=None), "no acc_uncond"),
    ],
)  # fmt: skip
def test_it_is_one_line_and_status_2(
    place: Path, capsys: pytest.CaptureFixture[str], line: str, damage: Damage | None, message: str
) -> None:
    if damage is not None:
        damage(place)
    assert command(*(word.format(x=place) for word in line.split(" "))) == 2
    errors = [text for text in capsys.readouterr().err.splitlines() if text.startswith("error: ")]
    assert len(errors) == 1
    assert message in errors[0]
    assert not (place / "new/manifest.json").exists()
