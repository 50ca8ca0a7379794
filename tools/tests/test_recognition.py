"""What the checker recognises without a manifest, and what it leaves alone."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from builders import training
from builders.damage import Check
from builders.files import edit_json, write, write_json, write_rows

# builder: kind, the file that says so, the command that writes such an artifact
MANIFESTS = {
    "documents": ("documents", "manifest.json", "extract"),
    "mixed": ("documents", "manifest.json", "mix"),
    "attributes": ("attributes", "manifest.json", "tag"),
    "duplicates": ("attributes", "manifest.json", "dedupe"),
    "decontamination_set": ("decontamination_set", "manifest.json", "decontamination-set"),
    "tokens": ("tokens", "manifest.json", "tokens"),
    "tokenizer": ("tokenizer", "manifest.json", "train-tokenizer"),
    "suite": ("suite", "suite.json", "prepare"),
    "windows": ("windows", "manifest.json", "windows"),
    "perplexity_results": ("perplexity_results", "manifest.json", "run"),
    "task": ("task", "task.json", "make-cloze"),
    "requests": ("requests", "manifest.json", "requests"),
    "predictions": ("predictions", "manifest.json", "run"),
    "run": ("run", "manifest.json", "train"),
    "checkpoint": ("checkpoint", "manifest.json", None),
}
# A folder of these kinds looks like any other of its sort; only the record of the command tells.
KNOWN_BY_THEIR_RECORD = {"documents", "tokenizer", "task"}


def complaints(check: Check, path: Path, kind: str, artifact: Path, manifest: str) -> None:
    """The missing manifest is named, and the artifact has failed."""
    status, lines = check(path)

    assert status == 1
    assert f"{artifact / manifest}: missing" in lines
    assert any(line.startswith(f"failed: {kind} {artifact} (") for line in lines)


@pytest.mark.parametrize("builder", MANIFESTS)
def test_an_artifact_without_its_manifest_is_a_problem(
    builder: str, build: SimpleNamespace, check: Check, tmp_path: Path
) -> None:
    kind, manifest, command = MANIFESTS[builder]
    folder = getattr(build, builder)()
    if command is not None:
        training.provenance(folder, command)
    assert check(folder)[0] == 0
    (folder / manifest).unlink()

    complaints(check, tmp_path, kind, folder, manifest)
    complaints(check, folder, kind, folder, manifest)


@pytest.mark.parametrize("builder", MANIFESTS.keys() - KNOWN_BY_THEIR_RECORD)
def test_most_artifacts_are_known_by_their_files_alone(
    builder: str, build: SimpleNamespace, check: Check, tmp_path: Path
) -> None:
    kind, manifest, _ = MANIFESTS[builder]
    folder = getattr(build, builder)()
    (folder / manifest).unlink()

    complaints(check, tmp_path, kind, folder, manifest)


@pytest.mark.parametrize("builder", MANIFESTS.keys() - {"documents", "tokenizer"})
def test_a_manifest_that_names_no_kind_does_not_hide_its_artifact(
    builder: str, build: SimpleNamespace, check: Check
) -> None:
    kind, manifest, _ = MANIFESTS[builder]
    folder = getattr(build, builder)()
    edit_json(folder / manifest, lambda m: m.update(artefact=m.pop("artifact")))

    status, lines = check(folder)

    assert status == 1
    assert any(line.startswith(f"{folder / manifest}: ") and "artifact" in line for line in lines), lines
    assert any(line.startswith(f"failed: {kind} {folder} (") for line in lines)


def test_remains_are_known_even_when_one_more_file_is_gone(
    build: SimpleNamespace, check: Check, tmp_path: Path
) -> None:
    for builder in ("tokens", "perplexity_results", "predictions"):
        getattr(build, builder)()
    for lost in ("tokens/manifest.json", "tokens/documents.idx", "results/manifest.json", "results/documents.jsonl.gz"):
        (tmp_path / lost).unlink()
    (tmp_path / "predictions/manifest.json").unlink()
    (tmp_path / "predictions/quiz/task.json").unlink()

    status, lines = check(tmp_path)

    assert status == 1
    failed = [line.split()[1] for line in lines if line.startswith("failed: ")]
    assert failed == ["predictions", "perplexity_results", "tokens"]


def test_a_first_row_that_cannot_be_read_does_not_hide_an_artifact(build: SimpleNamespace, check: Check) -> None:
    folder = build.windows()
    (folder / "manifest.json").unlink()
    damaged = bytearray((folder / "windows.jsonl.gz").read_bytes())
    damaged[12] ^= 0xFF
    (folder / "windows.jsonl.gz").write_bytes(damaged)

    complaints(check, folder, "windows", folder, "manifest.json")


def test_a_checkpoint_in_a_run_is_known_by_its_place(build: SimpleNamespace, check: Check) -> None:
    folder = build.run()
    for name in ("manifest.json", "model.safetensors"):
        (folder / "step2" / name).unlink()

    complaints(check, folder, "checkpoint", folder / "step2", "manifest.json")


@pytest.mark.parametrize(("builder", "key"), [("comparison", "comparisons"), ("earlier_comparison", "rows")])
def test_a_comparison_with_one_damaged_key_is_still_looked_at(
    builder: str, key: str, build: SimpleNamespace, check: Check
) -> None:
    path = getattr(build, builder)()
    edit_json(path, lambda value: value.update(sows=value.pop(key)))

    status, lines = check(path)

    assert status == 1
    assert lines[-1] == f"failed: perplexity_comparison {path} (1 problem)"


def test_unigram_counts_that_name_no_kind_are_still_looked_at(build: SimpleNamespace, check: Check) -> None:
    path = build.unigram()
    edit_json(path, lambda value: value.pop("artifact"))

    assert check(path) == (
        1,
        [f"{path}: 'artifact' is a required property", f"failed: unigram {path} (1 problem)"],
    )


@pytest.mark.parametrize("builder", ["unigram", "comparison", "curves", "predictions_comparison"])
def test_an_artifact_of_one_file_that_is_no_json_is_a_problem(
    builder: str, build: SimpleNamespace, check: Check, tmp_path: Path
) -> None:
    kind = {"comparison": "perplexity_comparison", "curves": "perplexity_curves"}.get(builder, builder)
    path = getattr(build, builder)()
    write(path, path.read_bytes()[:-1] + b"]")

    for place in (path, tmp_path):
        status, lines = check(place)
        assert status == 1
        assert lines[0].startswith(f"{path}: not valid JSON: ")
        assert lines[1:] == [f"failed: {kind} {path} (1 problem)"]


def test_the_plain_layout_may_hold_what_our_commands_put_beside_it(build: SimpleNamespace, check: Check) -> None:
    """A report of contamination and its record in the root, attributes of our tagger with their manifest."""
    folder = build.plain()
    write_json(folder / "contamination.json", {"documents_contaminated": 0})
    training.provenance(folder, "check-contamination")
    (folder / "attributes/t").rename(folder / "attributes/u")
    row = {"path": "x.jsonl.gz", "rows": 2, "quarantined": 0}
    tagger = {"name": "t", "keys": ["t__t__length"], "source": "counts", "digest": None}
    counts = {"read": 2, "kept": 2, "dropped": 0, "failed": 0}
    manifest = {"artifact": "attributes", "format_version": 1, "name": "u", "files": [row]}
    write_json(folder / "attributes/u/manifest.json", {**manifest, "taggers": [tagger], "counts": counts})

    assert check(folder)[0] == 0


def test_documents_may_bear_the_names_of_other_artifacts_files(build: SimpleNamespace, check: Check) -> None:
    folder = build.plain()
    names = ("windows", "paragraphs", "matches", "held_out", "documents", "vocabulary")
    keys = ("ids", "scored", "document", "group", "kind", "domain", "start", "end", "log_probability")
    for k, name in enumerate(names):
        identity = {"id": f"n{k}", "source": "s"}
        write_rows(folder / f"documents/deep/{name}.jsonl.gz", [{**dict.fromkeys(keys, 1), **identity, "text": "t"}])
        write_rows(folder / f"attributes/t/deep/{name}.jsonl.gz", [{**identity, "attributes": {}}])

    status, lines = check(folder)

    assert status == 0, lines
    assert [line.split()[1] for line in lines] == ["documents", "attributes"]


def tokenizer_of_others(folder: Path) -> None:
    write_json(folder / "tokenizer.json", {"version": "1.0"})
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast"})


def model_of_others(folder: Path) -> None:
    tokenizer_of_others(folder)
    write_json(folder / "config.json", {"model_type": "llama"})
    write(folder / "model.safetensors", b"\x02\0\0\0\0\0\0\0{}")


def published_requests(folder: Path) -> None:
    """As OLMo publishes them: a task's requests beside their configuration, and the records beside those."""
    write_json(folder / "arc/rc_0shot/config.json", {"task_name": "arc"})
    write_rows(folder / "arc/rc_0shot/requests.jsonl.gz", [{"request_type": "loglikelihood", "doc_id": 0}])
    write_rows(folder / "arc/source/validation.jsonl.gz", [{"id": "a", "choices_field": 1, "builder": 2}])


def run_of_others(folder: Path) -> None:
    write_rows(folder / "metrics.jsonl", [{"step": 1, "loss": 2.0}])
    write(folder / "step100/model.pt", b"x")
    write(folder / "latest", b"step100")


def suite_of_others(folder: Path) -> None:
    write_rows(folder / "wiki/val/val-00000000.jsonl.gz", [{"text": "t", "id": "a", "source": "wiki"}])


def web_manifest(folder: Path) -> None:
    write_json(folder / "manifest.json", {"name": "a web page", "icons": []})


def task_of_others(folder: Path) -> None:
    write_json(folder / "task.json", {"title": "to do"})
    write_rows(folder / "source/validation.jsonl", [{"question": "?"}])


def same_names(folder: Path) -> None:
    """Names that our artifacts have too, with other content."""
    for name in ("paragraphs", "windows", "matches", "held_out", "documents", "vocabulary"):
        write_rows(folder / f"{name}.jsonl.gz", [{"text": "t", "id": 1}])
    write_json(folder / "results.json", {"accuracy": 1})
    write_json(folder / "metrics.json", {"accuracy": 1})
    write_rows(folder / "a/predictions.jsonl.gz", [{"prediction": 1}])
    write_json(folder / "a/task.json", {"name": "a"})
    write(folder / "part-0-00000.npy", b"\x93NUMPY")


FOREIGN = (tokenizer_of_others, model_of_others, published_requests, run_of_others, suite_of_others)


@pytest.mark.parametrize("put", [*FOREIGN, web_manifest, task_of_others, same_names])
def test_foreign_folders_stay_unrecognised(put: Callable[[Path], None], check: Check, tmp_path: Path) -> None:
    put(tmp_path)

    assert check(tmp_path) == (2, [])


def test_real_data_of_others_stays_unrecognised(check: Check) -> None:
    if "DATA_DIR" not in os.environ:
        pytest.skip("DATA_DIR is not set: the folder with real data")

    assert check(os.environ["DATA_DIR"]) == (2, [])
