"""Run folders and checkpoints, damaged in many ways: each damage is found, in the right file and line."""

from __future__ import annotations

import pickle
import shutil
import struct
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from builders.damage import Check, Damage, assert_found, cases, manifest, rows
from builders.files import digest, edit_json, read_rows, write, write_rows

M, WEIGHTS, STEPS, ORDER = "manifest.json", "model.safetensors", "metrics.jsonl", "data_order.jsonl"


def tensors(edit: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    """Change the weights and give the manifest their new digest and size, so that only the content is wrong."""

    def spoil(folder: Path) -> None:
        from safetensors.torch import load_file, save_file

        weights = load_file(folder / WEIGHTS)
        edit(weights)
        save_file({name: weight.contiguous() for name, weight in weights.items()}, folder / WEIGHTS)
        parameters = sum(weight.numel() for weight in weights.values())
        digests = {WEIGHTS: digest(folder / WEIGHTS)}
        edit_json(folder / M, lambda m: m.update(files=m["files"] | digests, parameters=parameters))

    return spoil


def config(**values: object) -> Callable[[Path], None]:
    return lambda folder: edit_json(folder / "config.json", lambda c: c.update(values))


class Wicked:
    """Unpickling this runs a command."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("run by a pickle",))


class Attribute:
    """Unpickling this reaches for an attribute that is no member of an enumeration."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (getattr, (Path, "home"))


class ByName(pickle.Pickler):
    """Writes members of enumerations as Python 3.11.2 does."""

    def reducer_override(self, value: Any) -> Any:
        return (getattr, (type(value), value.name)) if isinstance(value, Enum) else NotImplemented


def flip(path: Path, place: int) -> None:
    """Change the lowest bit of one byte."""
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


GENERATION = "generation_config.json"
STATE = "train/__0_0.distcp"
EMBEDDING, DOWN = "model.embed_tokens.weight", "model.layers.0.mlp.down_proj.weight"
CHECKPOINT: list[Damage] = [
    ("missing tensor", tensors(lambda w: w.pop(DOWN)), WEIGHTS, None, f"the tensor {DOWN} of shape [8, 16] is missing"),
    ("extra tensor", tensors(lambda w: w.update(more=w[DOWN].clone())), WEIGHTS, None, "the model has no tensor more"),
    (
        "transposed",
        tensors(lambda w: w.update({DOWN: w[DOWN].T})),
        WEIGHTS,
        None,
        "has shape [16, 8], but config.json asks",
    ),
    (
        "tied weights twice",
        tensors(lambda w: w.update({"lm_head.weight": w[EMBEDDING].clone()})),
        WEIGHTS,
        None,
        "are one tensor, stored 2 times",
    ),
    (
        "not a number",
        tensors(lambda w: w[EMBEDDING][5].fill_(float("nan"))),
        WEIGHTS,
        None,
        f"{EMBEDDING}: 8 values are",
    ),
    (
        "infinite",
        tensors(lambda w: w[DOWN][0, 0].fill_(float("inf"))),
        WEIGHTS,
        None,
        f"{DOWN}: 1 values are not finite",
    ),
    (
        "half precision",
        tensors(lambda w: w.update({DOWN: w[DOWN].half()})),
        WEIGHTS,
        None,
        "is F16, but dtype is float32",
    ),
    (
        "cut",
        lambda f: write(f / WEIGHTS, (f / WEIGHTS).read_bytes()[:-4]),
        WEIGHTS,
        None,
        "not readable as safetensors",
    ),
    (
        "digest",
        manifest(lambda m: m["files"].update({WEIGHTS: "sha256:" + "0" * 64})),
        M,
        None,
        "the digest of model.safetensors is sha256:000",
    ),
    ("parameters", manifest(lambda m: m.update(parameters=1)), M, None, "parameters is 1, but the content gives"),
    ("tokenizer", manifest(lambda m: m.update(tokenizer_digest="sha256:" + "0" * 64)), M, None, "tokenizer_digest is"),
    ("other model", config(intermediate_size=32), WEIGHTS, None, "but config.json asks for [8, 32]"),
    (
        "untied",
        config(tie_word_embeddings=False),
        WEIGHTS,
        None,
        "the tensor lm_head.weight of shape [264, 8] is missing",
    ),
    ("unknown model", config(model_type="nonsense"), "config.json", None, "transformers builds no model from it"),
    (
        "pickled weights",
        lambda f: write(f / "pytorch_model.bin", b""),
        "pytorch_model.bin",
        None,
        "weights are stored once",
    ),
    ("padding", config(pad_token_id=2), "generation_config.json", None, "pad_token_id is 1, but the content gives 2"),
    (
        "end of documents",
        lambda f: edit_json(f / "tokenizer_config.json", lambda c: c.update(eos_token="<|padding|>")),
        "tokenizer_config.json",
        None,
        "the id of '<|padding|>' is 1, but the content gives 0",
    ),
    (
        "unknown token",
        lambda f: edit_json(f / "tokenizer_config.json", lambda c: c.update(eos_token={"content": "<|endoftext}>"})),
        "tokenizer_config.json",
        None,
        "the id of '<|endoftext}>' is None, but the content gives 0",
    ),
    ("cut generation", lambda f: write(f / GENERATION, b'{"'), GENERATION, None, "not a JSON object"),
    ("no configuration", lambda f: (f / "config.json").unlink(), "config.json", None, "missing"),
    ("no generation", lambda f: (f / "generation_config.json").unlink(), "generation_config.json", None, "missing"),
    ("no training state", lambda f: shutil.rmtree(f / "train"), "train/.metadata", None, "training cannot go on"),
    ("state cut", lambda f: write(f / "train/__0_0.distcp", b"x"), "train/__0_0.distcp", None, "cut off: 1 bytes of"),
    ("state gone", lambda f: (f / "train/__0_0.distcp").unlink(), "train/__0_0.distcp", None, "missing"),
    ("metadata cut", lambda f: write(f / "train/.metadata", b"\x80\x04"), "train/.metadata", None, "not readable"),
    (
        "wicked metadata",
        lambda f: write(f / "train/.metadata", pickle.dumps(Wicked())),
        "train/.metadata",
        None,
        "builtins.print does not belong into checkpoint metadata",
    ),
    (
        "attribute in metadata",
        lambda f: write(f / "train/.metadata", pickle.dumps(Attribute())),
        "train/.metadata",
        None,
        "home of <class 'pathlib.Path'> does not belong into checkpoint metadata",
    ),
    (
        "state flipped",
        lambda f: flip(f / STATE, (f / STATE).read_bytes().index(struct.pack("<f", 2.5))),  # one of the moments
        STATE,
        None,
        "is damaged: archive/data/0",
    ),
    ("state no archive", lambda f: flip(f / STATE, 0), STATE, None, "is damaged: "),
]
RUN: list[Damage] = [
    ("steps fall", rows(STEPS, lambda r: r.append(r[1])), STEPS, 5, "step 2 after step 4: steps rise strictly"),
    ("step twice", rows(STEPS, lambda r: r[2].update(step=2)), STEPS, 3, "step 2 after step 2"),
    ("name gone", rows(STEPS, lambda r: r[1].pop("optim/learning_rate")), STEPS, 2, "without optim/learning_rate"),
    ("nothing logged", rows(STEPS, lambda r: r.insert(0, {"step": 0, "time": 1.0})), STEPS, 1, "without train/CrossE"),
    ("odd name", rows(STEPS, lambda r: r[0].update(loss=1.0)), STEPS, 1, "loss is no name of a metric"),
    (
        "text",
        rows(STEPS, lambda r: r[0].update({"train/x": "high"})),
        STEPS,
        1,
        "train/x: 'high' is not of type 'number'",
    ),
    ("not a number", lambda f: spoil_text(f / STEPS, "2.9", "NaN"), STEPS, 1, "not valid JSON"),
    ("cut row", lambda f: write(f / STEPS, (f / STEPS).read_bytes()[:-9]), STEPS, 4, "not valid JSON"),
    (
        "other tokens",
        rows(ORDER, lambda r: r[1].update(tokens_fingerprint="sha256:" + "0" * 64)),
        ORDER,
        2,
        "fingerprint is",
    ),
    ("instances skipped", rows(ORDER, lambda r: r[1].update(first_instance=12)), ORDER, 2, "first_instance is 12, but"),
    ("epoch skipped", rows(ORDER, lambda r: r[1].update(epoch=2)), ORDER, 2, "epoch 2 after epoch 0"),
    ("epoch early", rows(ORDER, lambda r: r[1].update(epoch=1, first_instance=0)), ORDER, 2, "0 has only come to 8"),
    ("beyond", rows(ORDER, lambda r: r[1].update(first_instance=100)), ORDER, 2, "first_instance 100 of 100 instances"),
    ("late start", rows(ORDER, lambda r: r.pop(0)), ORDER, 1, "the first row begins at step 3, not at step 1"),
    ("no order", lambda f: (f / ORDER).unlink(), ORDER, None, "missing"),
    ("empty order", lambda f: write(f / ORDER, b""), ORDER, None, "a run writes a row at its start"),
    ("unknown order", rows(ORDER, lambda r: r[0].update(order="random")), ORDER, 1, "'olmo' was expected"),
    ("old latest", lambda f: write(f / "latest", b"step2\n"), "latest", None, "names 'step2', but the newest complete"),
    ("no latest", lambda f: (f / "latest").unlink(), "latest", None, "missing, though there is step4"),
    (
        "incomplete",
        lambda f: (f / "step4/manifest.json").unlink(),
        "latest",
        None,
        "newest complete checkpoint is step2",
    ),
    (
        "page cut off",
        lambda f: write(f / "report.html", b"<!doctype html><html><body>"),
        "report.html",
        None,
        "not a whole page",
    ),
    (
        "page that loads",
        lambda f: write(f / "report.html", b'<!doctype html><html><script src="https://a.b/c.js"></script></html>\n'),
        "report.html",
        None,
        "loads something",
    ),
    ("configuration", lambda f: write(f / "config.yaml", b"a: [\n"), "config.yaml", 2, "not valid YAML"),
    ("no mapping", lambda f: write(f / "config.yaml", b"- a\n"), "config.yaml", None, "not a mapping"),
    (
        "wrong step",
        lambda f: (f / "step2").rename(f / "step3"),
        "step3/manifest.json",
        None,
        "step is 2, but the content",
    ),
    (
        "other tokenizer",
        manifest(lambda m: m.update(tokenizer_digest="sha256:" + "0" * 64)),
        "step2/manifest.json",
        None,
        "tokenizer",
    ),
    ("other size", manifest(lambda m: m.update(parameters=5)), "step4/manifest.json", None, "parameters is"),
]


def spoil_text(path: Path, old: str, new: str) -> None:
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with two checkpoints, made once; every test damages a copy."""
    from builders import training

    return training.run(tmp_path_factory.mktemp("trained"))


@cases(CHECKPOINT)
def test_damaged_checkpoint(damage: Damage, trained: Path, check: Check, tmp_path: Path) -> None:
    folder = shutil.copytree(trained / "step4", tmp_path / "step4")
    assert_found(check, damage, folder)


def test_metadata_of_a_checkpoint_runs_no_code(
    trained: Path, check: Check, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(trained / "step4", tmp_path / "step4")
    write(folder / "train/.metadata", pickle.dumps(Wicked()))

    _, lines = check(folder)

    assert "run by a pickle" not in lines


def test_metadata_may_name_members_of_enumerations(trained: Path, check: Check, tmp_path: Path) -> None:
    folder = shutil.copytree(trained / "step4", tmp_path / "step4")
    path = folder / "train/.metadata"
    with open(path, "rb") as stream:
        metadata = pickle.load(stream)
    with open(path, "wb") as stream:
        ByName(stream).dump(metadata)
    assert b"getattr" in path.read_bytes()
    edit_json(folder / M, lambda m: m["files"].update({"train/.metadata": digest(path)}))

    assert check(folder)[0] == 0


@cases(RUN)
def test_damaged_run(damage: Damage, trained: Path, check: Check, tmp_path: Path) -> None:
    folder = shutil.copytree(trained, tmp_path / "run")
    assert_found(check, damage, folder)


def test_a_row_of_the_order_replaces_what_stood_there_from_its_first_step_on(
    trained: Path, check: Check, tmp_path: Path
) -> None:
    """After a crash behind step 4 the run goes on from step 2; then an epoch of 100 instances ends after step 25."""
    folder = shutil.copytree(trained, tmp_path / "run")
    first = read_rows(folder / ORDER)[0]
    written = [
        first,
        {**first, "first_step": 5, "first_instance": 16},
        {**first, "first_step": 3, "first_instance": 8},
        {**first, "first_step": 26, "first_instance": 0, "epoch": 1},
    ]
    write_rows(folder / ORDER, written)

    assert check(folder)[0] == 0


def test_a_row_with_evaluation_only_needs_no_measurements_of_training(
    trained: Path, check: Check, tmp_path: Path
) -> None:
    folder = shutil.copytree(trained, tmp_path / "run")
    evaluated = {"step": 9, "time": 1.0, "eval/perplexity/wiki/bits_per_byte": 1.5}
    write_rows(folder / STEPS, [*read_rows(folder / STEPS), evaluated])

    assert check(folder)[0] == 0


def test_a_page_that_is_whole_and_measurements_of_the_machine_are_right(
    trained: Path, check: Check, tmp_path: Path
) -> None:
    folder = shutil.copytree(trained, tmp_path / "run")
    write(folder / "report.html", b'<!doctype html><html><link rel="icon" href="data:,"></html>\n')
    measured = {"System/Peak CPU Memory (MB)": 1.5, "throughput/device/MFU": 40.0}
    write_rows(folder / STEPS, [row | measured for row in read_rows(folder / STEPS)])

    assert check(folder)[0] == 0
