"""Whatever lies where a command expects something else ends in one line and status 2, never in a traceback."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from olmo_model.cli import app
from olmo_model.command_line import run as run_command
from olmo_model.files import digest_file

Damage = Callable[[Path], object]


@pytest.fixture(scope="module")
def originals(tokens_folder, windows_folder, requests_folder, tmp_path_factory) -> Path:
    """A folder with tokens, windows, requests and a run of four steps that is to have six."""
    root = tmp_path_factory.mktemp("damage")
    for name, folder in (("tokens", tokens_folder), ("windows", windows_folder), ("requests", requests_folder)):
        shutil.copytree(folder, root / name)
    (root / "config.yaml").write_text(yaml.safe_dump(settings(root)))
    assert command("train", "-c", str(root / "config.yaml"), "--max-duration", "4") == 0
    return root


def settings(root: Path) -> dict[str, object]:
    model = {
        "preset": "olmo-1m", "d_model": 32, "n_heads": 2, "n_layers": 1, "mlp_hidden_size": 128,
        "max_sequence_length": 16,
    }  # fmt: skip
    return {
        "save_folder": str(root / "run"),
        "data": {"tokens": str(root / "tokens")},
        "model": model,
        "max_duration": 6,
        "scheduler": {"warmup": 0, "t_max": 6},
        "threads": 1,
        "checkpoint": {"save_interval": 2},
    }


def command(*arguments: str) -> int:
    return run_command(app, list(arguments), positional_config=frozenset({"train", "plan"}))


@pytest.fixture
def place(originals, tmp_path) -> Path:
    """A copy to damage."""
    root = Path(shutil.copytree(originals, tmp_path / "place"))
    (root / "config.yaml").write_text(yaml.safe_dump(settings(root)))
    config = yaml.safe_load((root / "run/config.yaml").read_text())
    config["data"]["tokens"] = str(root / "tokens")
    (root / "run/config.yaml").write_text(yaml.safe_dump(config))
    return root


def write(name: str, content: bytes | str) -> Damage:
    """The file holds ``content`` instead, packed where its name says so."""
    data = content.encode() if isinstance(content, str) else content
    return lambda root: (root / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)


def cut(name: str, keep: int = -20) -> Damage:
    return lambda root: (root / name).write_bytes((root / name).read_bytes()[:keep])


def folder_instead(name: str) -> Damage:
    def damage(root: Path) -> None:
        (root / name).unlink()
        (root / name).mkdir()

    return damage


def without(name: str) -> Damage:
    return lambda root: shutil.rmtree(root / name) if (root / name).is_dir() else (root / name).unlink()


def change(name: str, /, **values: object) -> Damage:
    """Keys of a JSON file have other values; with ``None`` they are gone."""

    def damage(root: Path) -> None:
        content = json.loads((root / name).read_text()) | values
        content = {key: value for key, value in content.items() if value is not None}
        (root / name).write_text(json.dumps(content))

    return damage


def other_tokenizer(root: Path) -> None:
    """The manifest of the tokens agrees, but the tokenizer is none."""
    (root / "tokens/tokenizer.json").write_text('{"model": 3}')
    change("tokens/manifest.json", tokenizer_digest=digest_file(root / "tokens/tokenizer.json"))(root)
    shutil.rmtree(root / "run")


def unwritable(name: str) -> Damage:
    """A file where a folder has to be: no right can undo that, not even the superuser's."""

    def damage(root: Path) -> None:
        shutil.rmtree(root / name, ignore_errors=True)
        (root / name).write_text("mine")

    return damage


def row(values: dict[str, object], **changes: object) -> str:
    return json.dumps({key: value for key, value in (values | changes).items() if value is not None}) + "\n"


CSV = "tokens/part-00000.csv.gz"
WINDOWS = "windows/windows.jsonl.gz"
REQUESTS = "requests/animals/tokenized.jsonl.gz"
TRAIN = "train -c {x}/config.yaml"
EVALUATED = TRAIN + " --evaluation.windows {x}/windows --save-folder {x}/new"
CLASSIFIED = TRAIN + " --evaluation.requests {x}/requests --save-folder {x}/new"
GENERATE = "generate {x}/run --prompt cat"
MODEL = "generate {x}/run/step4 --prompt cat"
DATA = "which-data {x}/run --step 2"
STEPS = "which-steps {x}/run --doc story-3"
WINDOW = {"document": "a", "source": "s", "domain": "d", "window": 0, "ids": [0, 5, 6], "scored": [1, 2], "bytes": 3}
REQUEST = {
    "doc_id": 0, "idx": 0, "label": 0, "context_ids": [5], "continuation_ids": [6], "characters": 2, "bytes": 2,
    "kind": "conditional",
}  # fmt: skip
ORDER = {
    "format_version": 1, "first_step": 1, "first_instance": 0, "epoch": 0, "batch_size": 16, "sequence_length": 16,
    "seed": 6198, "instances": 181, "mixture": None, "skipped_steps": [], "tokens_fingerprint": "x", "order": "olmo",
}  # fmt: skip


@pytest.mark.parametrize(
    ("line", "damage", "message"),
    [
        # configuration
        ("train -c {x}/none.yaml", None, "no such configuration file"),
        ("train -c {x}", None, "Is a directory"),
        (TRAIN, write("config.yaml", b"\xff\xfe\x00"), "not text"),
        (TRAIN, write("config.yaml", b""), "not a mapping"),
        (TRAIN, write("config.yaml", "save_folder: x\ndata: {tokens: x}\nmodel: null\n"), "model"),
        (TRAIN + " --scheduler.warmup -5", None, "scheduler.warmup is '-5'"),
        (TRAIN + " --max-duration 1e999T", None, "max_duration is '1e999T'"),
        (TRAIN + " --optimizer.weight-decay -0.1", None, "optimizer.weight_decay is -0.1 (configuration); give"),
        ("plan -c {x}/config.yaml --measured-steps 0", None, "measured_steps is 0"),
        ("plan -c {x}/config.yaml --measured-steps 1 --output {x}/tokens", None, "Is a directory"),
        # tokens
        (TRAIN, without("tokens"), "manifest.json is missing"),
        (TRAIN, write("tokens/manifest.json", b""), "not valid JSON"),
        (TRAIN, write("tokens/manifest.json", b"\xff"), "not valid JSON"),
        (TRAIN, write("tokens/manifest.json", b"[]"), "no JSON object"),
        (TRAIN, change("tokens/manifest.json", files={"a": 1}), "list of objects"),
        (TRAIN, change("tokens/manifest.json", files=[{"path": 3, "tokens": 1, "documents": 1}]), "wrong kind"),
        (TRAIN, change("tokens/manifest.json", vocab_size="many"), "wrong kind"),
        (TRAIN, change("tokens/manifest.json", fingerprint=3), "wrong kind"),
        (TRAIN, change("tokens/manifest.json", fingerprint=None), "lacks 'fingerprint'"),
        (TRAIN, other_tokenizer, "not a tokenizer"),
        (TRAIN, folder_instead("tokens/tokenizer.json"), "tokenizer is missing"),
        (TRAIN, cut("tokens/part-00000.npy", -1), "bytes, not"),
        # the run folder
        (TRAIN, unwritable("run"), "something that is no run"),
        (TRAIN + " --save-folder {x}/config.yaml/run", None, "Not a directory"),
        (TRAIN, write("run/manifest.json", b"[]"), "not a run of format 1"),
        (TRAIN, write("run/manifest.json", b"{"), "not valid JSON"),
        (TRAIN, change("run/manifest.json", tokens_fingerprint=None), "begun on other data"),
        (TRAIN, write("run/config.yaml", b"a: ["), "not valid YAML"),
        (TRAIN, without("run/config.yaml"), "has no configuration"),
        (TRAIN, write("run/metrics.jsonl", b'{"step": 1}\n{"st\n{"step": 4}\n'), "metrics.jsonl, line 2"),
        (TRAIN, write("run/metrics.jsonl", b'{"step": 1}\n[]\n'), "metrics.jsonl, line 2"),
        (TRAIN, write("run/metrics.jsonl", b'\xff\n{"step": 4}\n'), "metrics.jsonl, line 1"),
        (TRAIN, write("run/metrics.jsonl", b'{"step": "4"}\n'), "metrics.jsonl, line 1"),
        (TRAIN, folder_instead("run/data_order.jsonl"), "Is a directory"),
        # evaluation
        (EVALUATED, without("windows"), "no windows artifact"),
        (EVALUATED, write("windows/manifest.json", b"3"), "not a windows artifact"),
        (EVALUATED, change("windows/manifest.json", maximum_length="16"), "maximum_length is missing"),
        (EVALUATED, without(WINDOWS), "no such file"),
        (EVALUATED, cut(WINDOWS), "damaged or cut off"),
        (EVALUATED, write(WINDOWS, b""), "there are no windows"),
        (EVALUATED, write(WINDOWS, "[]\n"), "windows.jsonl.gz, line 1"),
        (EVALUATED, write(WINDOWS, b"\xff\n"), "windows.jsonl.gz, line 1"),
        (EVALUATED, write(WINDOWS, row(WINDOW) + row(WINDOW, ids=None)), "windows.jsonl.gz, line 2"),
        (EVALUATED, write(WINDOWS, row(WINDOW, ids=["a"])), "windows.jsonl.gz, line 1"),
        (EVALUATED, write(WINDOWS, row(WINDOW, ids=[-1, 2])), "windows.jsonl.gz, line 1"),
        (EVALUATED, write(WINDOWS, row(WINDOW, scored=[])), "windows.jsonl.gz, line 1"),
        (EVALUATED, write(WINDOWS, row(WINDOW, scored=[0])), "windows.jsonl.gz, line 1"),
        (EVALUATED, write(WINDOWS, row(WINDOW, bytes=0)), "have no bytes"),
        (CLASSIFIED, change("requests/manifest.json", tasks="animals"), "tasks is no list"),
        (CLASSIFIED, change("requests/manifest.json", tasks=None), "tasks is no list"),
        (CLASSIFIED, change("requests/manifest.json", tasks=["plants"]), "no such file"),
        (CLASSIFIED, write(REQUESTS, b""), "there are no requests"),
        (CLASSIFIED, write(REQUESTS, row(REQUEST, kind="unconditional")), "there are no requests"),
        (CLASSIFIED, write(REQUESTS, row(REQUEST, label=1)), "the right one is none of them"),
        (CLASSIFIED, write(REQUESTS, row(REQUEST) + row(REQUEST)), "not whole"),
        (CLASSIFIED, write(REQUESTS, row(REQUEST, characters=0)), "without characters"),
        (CLASSIFIED, write(REQUESTS, row(REQUEST, idx="a")), "tokenized.jsonl.gz, line 1"),
        (CLASSIFIED, write(REQUESTS, row(REQUEST, kind=[])), "tokenized.jsonl.gz, line 1"),
        (CLASSIFIED, write(REQUESTS, "3\n"), "tokenized.jsonl.gz, line 1"),
        # generate
        ("generate {x}/none --prompt cat", None, "no model here"),
        ("generate {x}/config.yaml --prompt cat", None, "no model here"),
        (GENERATE, without("run/step4/tokenizer.json"), "the tokenizer is missing"),
        (GENERATE, write("run/step4/tokenizer.json", b"\xff"), "not a tokenizer"),
        (GENERATE, folder_instead("run/step4/tokenizer.json"), "the tokenizer is missing"),
        (MODEL, write("run/step4/config.json", b"[]"), "no JSON object"),
        (MODEL, write("run/step4/config.json", b"\xff"), "not valid JSON"),
        (MODEL, change("run/step4/config.json", num_attention_heads=None), "lacks num_attention_heads"),
        (MODEL, change("run/step4/config.json", num_hidden_layers="1"), "num_hidden_layers is '1'"),
        (MODEL, change("run/step4/config.json", num_hidden_layers=10**12), "model.layers.1."),
        (MODEL, change("run/step4/config.json", hidden_size=64), "has shape"),
        (MODEL, change("run/step4/config.json", eos_token_id=[0]), "eos_token_id is [0]"),
        (MODEL, cut("run/step4/model.safetensors"), "damaged weights"),
        (MODEL, write("run/step4/model.safetensors", b""), "damaged weights"),
        (MODEL, write("run/step4/model.safetensors.index.json", b"{}"), "weight_map is missing"),
        (MODEL, write("run/step4/model.safetensors.index.json", b'{"weight_map": {"a": 3}}'), "weight_map is missing"),
        (MODEL, write("run/step4/model.safetensors.index.json", b'{"weight_map": {"a": "b"}}'), "weights are missing"),
        (MODEL + " --output {x}/tokens", None, "Is a directory"),
        (MODEL + " --output {x}/config.yaml/a.json", None, "exists"),
        (MODEL + " --temperature nan", None, "temperature is nan"),
        (MODEL + " --seed 99999999999999999999", None, "seed is 99999999999999999999"),
        ("generate {x}/run/step4 --prompt \udcff", None, "not UTF-8"),
        # look-ups
        ("which-data {x}/none --step 1", None, "no run here"),
        ("which-data {x}/config.yaml --step 1", None, "no run here"),
        ("which-data {x}/run --step 0", None, "step is (0,)"),
        (DATA, write("run/data_order.jsonl", b""), "not among the steps"),
        (DATA, write("run/data_order.jsonl", b"{\n"), "data_order.jsonl, line 1"),
        (DATA, write("run/data_order.jsonl", b"3\n"), "data_order.jsonl, line 1"),
        (DATA, write("run/data_order.jsonl", b"\xff\n"), "data_order.jsonl, line 1"),
        (DATA, write("run/data_order.jsonl", row(ORDER, batch_size=0)), "data_order.jsonl, line 1"),
        (DATA, write("run/data_order.jsonl", row(ORDER, first_step="1")), "data_order.jsonl, line 1"),
        (DATA, write("run/data_order.jsonl", row(ORDER, seed=-1)), "data_order.jsonl, line 1"),
        (DATA, write("run/data_order.jsonl", row(ORDER, skipped_steps=3)), "data_order.jsonl, line 1"),
        (DATA, write("run/data_order.jsonl", row(ORDER, instances=10**15)), "another fingerprint"),
        (DATA, write("run/metrics.jsonl", b'{"step": 1}\n{"st\n'), "metrics.jsonl, line 2"),
        (DATA, write("run/config.yaml", b"\xff"), "not text"),
        (DATA, write("run/config.yaml", b"data: 3"), "data.tokens is missing"),
        (DATA, write("run/manifest.json", b"null"), "not a run of format 1"),
        (DATA + " --tokens {x}/windows", None, "'windows' artifact, not tokens"),
        (DATA + " --output {x}/tokens", None, "Is a directory"),
        (DATA, without("tokens"), "the run's tokens are not there"),
        (DATA, without(CSV), "list of documents is missing"),
        (DATA, cut(CSV, 60), "part-00000.csv.gz, line"),
        (DATA, cut(CSV, 3), "part-00000.csv.gz, line 1"),
        (DATA, lambda root: (root / CSV).write_bytes(b"0,9,a,b,1\n"), "part-00000.csv.gz, line 1"),
        (DATA, write(CSV, b"\xff\n" * 99), "not CSV"),
        (DATA, write(CSV, "0,9,story,documents/a.gz\n" * 99), "not a row of start,end,id,src,loc"),
        (DATA, write(CSV, "zero,nine,story,documents/a.gz,1\n" * 99), "not a row of start,end,id,src,loc"),
        (DATA, write(CSV, "9,0,story,documents/a.gz,1\n" * 99), "do not lie in the file's"),
        (DATA, write(CSV, "0,9,story,documents/a.gz,1\n"), "is in documents.idx but not here"),
        (DATA, write(CSV, "0,9," + "x" * 200_000 + ",documents/a.gz,1\n" * 99), "not CSV"),
        (DATA, without("tokens/documents.idx"), "index of documents is missing"),
        (DATA, cut("tokens/documents.idx", -1), "documents.idx"),
        (DATA, cut("tokens/documents.idx", -24), "documents.idx"),
        (DATA, write("tokens/documents.idx", b""), "documents.idx"),
        (STEPS, cut("tokens/documents.idx", -24), "documents.idx"),
        (STEPS, cut(CSV, 20), "part-00000.csv.gz, line"),
        ("which-steps {x}/run --doc \udcff", None, "no document"),
    ],
)  # fmt: skip
def test_it_is_one_line_and_status_2(place, capsys, line, damage, message):
    if damage is not None:
        damage(place)
    assert command(*(word.format(x=place) for word in line.split(" "))) == 2
    errors = [text for text in capsys.readouterr().err.splitlines() if text.startswith("error: ")]
    assert len(errors) == 1
    assert message in errors[0]
    assert not (place / "new").exists()


DAMAGES = {
    "weights cut": cut("run/step4/model.safetensors"),
    "weights gone": without("run/step4/model.safetensors"),
    "configuration": write("run/step4/config.json", b"{}"),
    "state gone": without("run/step4/train"),
    "state cut": cut("run/step4/train/__0_0.distcp", 100),
    "manifest": write("run/step4/manifest.json", b"{"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_checkpoint_costs_its_steps_and_nothing_else(place, caplog, damage):
    weights = (place / "run/step4/model.safetensors").read_bytes()
    damage(place)
    assert command(*TRAIN.format(x=place).split(" ")) == 0
    assert (place / "run/step4/model.safetensors").read_bytes() == weights
    assert "a checkpoint is damaged: " in caplog.text


def test_a_run_without_a_whole_checkpoint_is_not_begun_again(place, capsys):
    for step in (2, 4):
        cut(f"run/step{step}/model.safetensors")(place)
    assert command(*TRAIN.format(x=place).split(" ")) == 2
    assert "error: no checkpoint of the run is whole; of the newest " in capsys.readouterr().err
    assert sorted(path.name for path in (place / "run").glob("step*")) == ["step2", "step4"]
