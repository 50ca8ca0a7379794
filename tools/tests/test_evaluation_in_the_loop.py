"""What the trainer measures while it trains is what paloma-ppl and catwalk-eval measure of its checkpoint."""

from __future__ import annotations

import gzip
import json
import math
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

import catwalk_eval.cli
import dolma_data.cli
import paloma_ppl.cli
from catwalk_eval.command_line import run as catwalk
from olmo_model.config.data import DataSettings
from olmo_model.config.model import ModelSettings
from olmo_model.config.optimization import OptimizerSettings, SchedulerSettings
from olmo_model.config.training import EvaluationSettings, TrainConfig
from olmo_model.evaluate import Scorer, load_requests, sequences_of
from olmo_model.files import digest_file
from olmo_model.model_folder import load_model
from olmo_model.train import train
from paloma_ppl.command_line import run as paloma

VOCABULARY = """the a cat dog house river über naïve Straße 猫 犬 ran sat saw near under because while rain, snow;
wind. long red old new small winter summer and or but not then away home again"""
CONTEXT = 64  # tokens that the model reads
FORMATS = ("paloma", "training")


def text(draw: random.Random) -> str:
    lines = [
        " ".join(draw.choices(VOCABULARY.split(), k=draw.randrange(8, 30))) + "." for _ in range(draw.randrange(3, 9))
    ]
    return "\n".join(lines)


def call(command: Callable[..., int], app: Any, words: Sequence[object]) -> None:
    assert command(app, [str(word) for word in words]) == 0


@pytest.fixture(scope="module")
def road(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Documents in three sources, a suite, tokens, windows in both formats, requests, and a run on them."""
    root = tmp_path_factory.mktemp("loop")
    draw = random.Random(3)
    documents = root / "raw/documents"
    documents.mkdir(parents=True)
    for source in ("prose", "notes", "talk"):
        rows = [{"id": f"{source}{number}", "text": text(draw), "source": source} for number in range(60)]
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (documents / f"{source}.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    suite = ("--documents", root / "raw", "--output", root / "suite", "--fraction", 0.25)
    call(paloma, paloma_ppl.cli.app, ("prepare", *suite))
    made = ("--documents", root / "raw", "--vocab-size", 320, "--output", root / "tokenizer")
    assert dolma_data.cli.execute(["train-tokenizer", *map(str, made)]) == 0
    tokenizer = root / "tokenizer/tokenizer.json"
    encoded = ("--documents", root / "raw", "--destination", root / "tokens", "--tokenizer.name-or-path", tokenizer)
    assert dolma_data.cli.execute(["tokens", *map(str, encoded)]) == 0
    for kind in FORMATS:
        cut = ("--suite", root / "suite", "--tokenizer", tokenizer, "--max-length", CONTEXT, "--format", kind)
        call(paloma, paloma_ppl.cli.app, ("windows", *cut, "--output", root / f"windows-{kind}"))
    cloze = ("--documents", root / "suite", "--output", root / "tasks", "--items", 60, "--split", "test")
    words = ("--context-words", 20, "--continuation-words", 5)
    call(catwalk, catwalk_eval.cli.app, ("make-cloze", *cloze, *words))
    asked = ("--tasks", "cloze", "--data", root / "tasks", "--tokenizer", tokenizer, "--output", root / "requests")
    call(catwalk, catwalk_eval.cli.app, ("requests", *asked))
    for kind in FORMATS:
        assert train(configuration(root, kind)) == 0
    return root


def configuration(root: Path, kind: str) -> TrainConfig:
    shape = {"preset": "olmo-1m", "d_model": 64, "n_heads": 2, "n_layers": 2, "mlp_hidden_size": 256}
    return TrainConfig(
        save_folder=str(root / f"run-{kind}"),
        data=DataSettings(tokens=str(root / "tokens")),
        model=ModelSettings(**shape, max_sequence_length=CONTEXT),
        global_batch_size=8,
        max_duration="12",
        optimizer=OptimizerSettings(learning_rate=1e-2),
        scheduler=SchedulerSettings(warmup="2"),
        evaluation=EvaluationSettings(windows=str(root / f"windows-{kind}"), requests=str(root / "requests")),
        threads=1,
    )


def in_the_loop(root: Path, kind: str) -> dict[str, float]:
    lines = (root / f"run-{kind}/metrics.jsonl").read_text().splitlines()
    row = json.loads(lines[-1])
    assert row["step"] == 12
    return {name.removeprefix("eval/"): value for name, value in row.items() if name.startswith("eval/")}


@pytest.mark.parametrize("kind", FORMATS)
def test_perplexity_is_that_of_paloma_ppl(road: Path, kind: str) -> None:
    found = in_the_loop(road, kind)
    output = road / f"perplexity-{kind}"
    words = ("--model", road / f"run-{kind}/step12", "--suite", road / "suite", "--split", "val", "--format", kind)
    call(paloma, paloma_ppl.cli.app, ("run", *words, "--device", "cpu", "--output", output))
    results = json.loads((output / "results.json").read_text())
    rows = {row["source"]: row for row in results["sources"]}
    rows["all"] = next(row for row in results["aggregates"] if row["name"] == "micro")
    expected = {}
    for source, row in rows.items():
        expected[f"perplexity/{source}/CrossEntropyLoss"] = -row["log_probability"] / row["tokens"]
        expected[f"perplexity/{source}/bits_per_byte"] = row["bits_per_byte"]
        assert math.log(row["perplexity"]) == pytest.approx(-row["log_probability"] / row["tokens"])
    measured = {name: value for name, value in found.items() if name.startswith("perplexity/")}
    assert set(rows) == {"prose", "notes", "talk", "all"}
    assert measured == pytest.approx(expected, rel=0, abs=1e-5)


def test_rank_classification_is_that_of_catwalk_eval(road: Path) -> None:
    output = road / "predictions"
    words = ("--model", road / "run-paloma/step12", "--tasks", "cloze", "--data", road / "tasks", "--dtype", "float32")
    call(catwalk, catwalk_eval.cli.app, ("run", *words, "--device", "cpu", "--output", output))
    offline = json.loads((output / "metrics.json").read_text())["tasks"]["cloze"]["metrics"]
    found = {name: value for name, value in in_the_loop(road, "paloma").items() if name.startswith("downstream/")}
    names = ("acc_raw", "acc_per_token", "acc_per_char", "acc_per_byte", "acc_uncond")
    expected = {f"downstream/cloze_{name}": offline[name]["value"] for name in names}
    assert found == pytest.approx(expected, rel=0, abs=1e-5)


def test_every_choice_has_the_log_probability_of_catwalk_eval(road: Path) -> None:
    output = road / "again"
    words = ("--model", road / "run-paloma/step12", "--tasks", "cloze", "--data", road / "tasks", "--dtype", "float32")
    call(catwalk, catwalk_eval.cli.app, ("run", *words, "--device", "cpu", "--output", output))
    predicted = [json.loads(line) for line in gzip.open(output / "cloze/predictions.jsonl.gz", "rt", encoding="utf-8")]
    model = load_model(road / "run-paloma/step12")
    digest = digest_file(road / "tokenizer/tokenizer.json")
    requests = load_requests(road / "requests", None, model.config, digest)["cloze"]
    scores = Scorer(model, batch_tokens=8192).score(sequences_of(requests, CONTEXT))
    ours = {(each.kind, each.doc_id, each.idx): score for each, score in zip(requests, scores, strict=True)}
    assert len(predicted) == 60 * 4
    assert 0 < sum(row["truncated"] for row in predicted) < len(predicted)
    for row in predicted:
        place = row["doc_id"], row["idx"]
        assert ours["conditional", *place] == pytest.approx(row["log_probability"], rel=0, abs=1e-5)
        assert ours["unconditional", *place] == pytest.approx(row["log_probability_answer"], rel=0, abs=1e-5)
