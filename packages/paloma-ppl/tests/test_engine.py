import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from paloma_ppl import engine
from paloma_ppl.config import RunConfig, WindowsConfig
from paloma_ppl.engine import Engine, plan_batches
from paloma_ppl.errors import UserError
from paloma_ppl.evaluate import evaluate, ledger_path
from paloma_ppl.files import digest
from paloma_ppl.ledger import Ledger
from paloma_ppl.model import load_model
from paloma_ppl.progress import Progress
from paloma_ppl.suite import open_suite, read_split
from paloma_ppl.tokenizer import load_tokenizer
from paloma_ppl.windows import stream_windows, write_windows


def brute_force(folder: Path, texts: list[str], length: int) -> list[float]:
    """Each document cut by hand, one window at a time, all logits, log-softmax in float64."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64).eval()
    tokenizer = load_tokenizer(folder)
    sums = []
    for text in texts:
        ids = tokenizer.tokenizer.encode(text, add_special_tokens=False).ids
        total = 0.0
        for begin in range(0, len(ids), length):
            context = [0] if begin == 0 else [ids[begin - 1]]
            window = context + ids[begin : begin + length]
            with torch.no_grad():
                table = torch.log_softmax(model(torch.tensor([window[:-1]])).logits[0], dim=-1)
            total += sum(float(table[position, token]) for position, token in enumerate(window[1:]))
        sums.append(total)
    return sums


def run(model: Path, suite: Path, output: Path, **settings: Any) -> list[dict[str, Any]]:
    import gzip

    evaluate(RunConfig(model=str(model), suite=suite, output=output, device="cpu", **settings))
    return [json.loads(line) for line in gzip.decompress((output / "documents.jsonl.gz").read_bytes()).splitlines()]


@pytest.fixture(scope="module")
def rows(model_folder: Path, suite_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return run(model_folder, suite_folder, tmp_path_factory.mktemp("results") / "P")


def test_numbers_equal_a_brute_force_reference(
    rows: list[dict[str, Any]], model_folder: Path, suite_folder: Path
) -> None:
    documents = list(read_split(open_suite(suite_folder), "test"))
    expected = brute_force(model_folder, [document.text for document in documents], 24)
    assert [row["id"] for row in rows] == [document.id for document in documents]
    for row, value in zip(rows, expected, strict=True):
        assert abs(row["log_probability"] - value) / row["tokens"] < 1e-6


def test_batch_size_does_not_matter(
    rows: list[dict[str, Any]], model_folder: Path, suite_folder: Path, tmp_path: Path
) -> None:
    single = run(model_folder, suite_folder, tmp_path / "P", batch_tokens=1)
    for one, other in zip(rows, single, strict=True):
        assert abs(one["log_probability"] - other["log_probability"]) / one["tokens"] < 2e-6


@pytest.mark.parametrize("name", ["paloma", "training"])
def test_windows_scored_by_a_trainer_give_the_same_perplexity(
    model_folder: Path, suite_folder: Path, tokenizer_file: Path, tmp_path: Path, name: Any,
    read_rows: Callable[..., Any],
) -> None:  # fmt: skip
    offline = run(model_folder, suite_folder, tmp_path / "P", format=name, split="val")
    config = WindowsConfig(
        suite=suite_folder, tokenizer=tokenizer_file, max_length=24, output=tmp_path / "W", format=name, split="val"
    )
    write_windows(config)
    model = load_model(model_folder, torch.device("cpu"), "float32").model
    sums: dict[tuple[str, str], float] = {}
    for row in read_rows(tmp_path / "W" / "windows.jsonl.gz"):
        with torch.no_grad():
            table = torch.log_softmax(model(torch.tensor([row["ids"][:-1]])).logits[0], dim=-1)
        value = sum(float(table[position - 1, row["ids"][position]]) for position in row["scored"])
        key = (row["source"], row["document"])
        sums[key] = sums.get(key, 0.0) + value
    tokens = sum(row["tokens"] for row in offline)
    total = sum(row["log_probability"] for row in offline)
    assert sums.keys() == {(row["source"], row["id"]) for row in offline}
    assert abs(sum(sums.values()) - total) / tokens < 1e-5
    for row in offline:
        assert abs(sums[row["source"], row["id"]] - row["log_probability"]) / row["tokens"] < 1e-5


def test_vocabulary_sums_add_up_to_the_documents(
    model_folder: Path, suite_folder: Path, tmp_path: Path, read_rows: Callable[..., Any]
) -> None:
    rows = run(model_folder, suite_folder, tmp_path / "P", limit=5)
    vocabulary = read_rows(tmp_path / "P" / "vocabulary.jsonl.gz")
    assert len(rows) == 5
    assert sum(row["count"] for row in vocabulary) == sum(row["tokens"] for row in rows)
    total = sum(row["log_probability"] for row in rows)
    assert sum(row["log_probability"] for row in vocabulary) == pytest.approx(total, rel=1e-9)
    manifest = json.loads((tmp_path / "P" / "manifest.json").read_text())
    assert (manifest["limit"], manifest["maximum_length"], manifest["dtype"]) == (5, 24, "float32")


def test_interrupted_run_goes_on_and_gives_the_same_bytes(
    model_folder: Path, suite_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(model_folder, suite_folder, tmp_path / "whole", batch_tokens=200)
    real = engine.log_probabilities
    calls = []

    def stops(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(engine, "log_probabilities", stops)
    with pytest.raises(KeyboardInterrupt):
        run(model_folder, suite_folder, tmp_path / "P", batch_tokens=200)
    assert not (tmp_path / "P").exists()
    partial = ledger_path(tmp_path / "P")
    with open(partial / "0", "ab") as stream:
        stream.write(b"half a batch")
    before = len(calls)
    run(model_folder, suite_folder, tmp_path / "P", batch_tokens=200)
    resumed = len(calls) - before
    assert digest(tmp_path / "P") == digest(tmp_path / "whole")
    assert not partial.exists()
    calls.clear()
    calls += [1] * 10
    run(model_folder, suite_folder, tmp_path / "again", batch_tokens=200)
    assert len(calls) - 10 == resumed + 3  # three batches were not computed again


def test_partial_results_of_other_settings_are_not_used(
    model_folder: Path,
    make_model: Callable[..., Path],
    suite_folder: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    other = make_model(seed=5)
    expected = run(other, suite_folder, tmp_path / "alone", batch_tokens=200)
    # a run that was stopped at its very end leaves a ledger with all batches of the first model
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("paloma_ppl.evaluate.write", lambda *_: {})
        patch.setattr("paloma_ppl.evaluate.shutil.rmtree", lambda *_, **__: None)
        evaluate(
            RunConfig(
                model=str(model_folder), suite=suite_folder, output=tmp_path / "P", device="cpu", batch_tokens=200
            )
        )
    assert (ledger_path(tmp_path / "P") / "0").stat().st_size > 1000
    caplog.clear()
    assert run(other, suite_folder, tmp_path / "P", batch_tokens=200) == expected
    said = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    ledger = ledger_path(tmp_path / "P") / "0"
    assert said == [f"{ledger}: an earlier run's batches are of other settings or weights and go"]


def test_tokens_of_an_earlier_run_do_not_count_in_the_rate() -> None:
    progress = Progress("scoring", total=1000, unit="tokens")
    progress.advance(800, earlier=True)
    progress.advance(100)
    assert progress.line(10) == "scoring: 900/1,000 tokens (90%), 10.0/s, 10 s left"


def test_engine_says_which_tokens_an_earlier_run_scored(model_folder: Path, tmp_path: Path) -> None:
    model = load_model(model_folder, torch.device("cpu"), "float32")
    windows = list(stream_windows([(0, ("s", "d"), np.arange(40))], 8, 0, "paloma"))
    told: list[tuple[int, bool]] = []
    for _ in range(2):
        ledger = Ledger(tmp_path / "ledger", {}, "float32")
        list(Engine(model, ledger, 16).score(windows, lambda *step: told.append(step)))
        ledger.close()
    half = len(told) // 2
    assert told[half:] == [(tokens, True) for tokens, _ in told[:half]]
    assert {earlier for _, earlier in told[:half]} == {False}


def test_tokenizer_with_more_ids_than_the_model_is_refused(
    make_model: Callable[..., Path], suite_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="ids up to 299, the model has 290 rows"):
        run(make_model(vocab_size=290), suite_folder, tmp_path / "P")


def test_weights_that_do_not_fit_are_refused(
    make_model: Callable[..., Path], suite_folder: Path, tmp_path: Path
) -> None:
    folder = make_model()
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    with pytest.raises(UserError, match=r"weights do not fit the model: \d+ missing keys \(model\.layers\.2"):
        run(folder, suite_folder, tmp_path / "P")
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match="no weights in safetensors"):
        run(folder, suite_folder, tmp_path / "P")


def test_length_beyond_the_model_is_refused(model_folder: Path, suite_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="give 1 to 24"):
        run(model_folder, suite_folder, tmp_path / "P", max_length=25)


def test_weights_that_are_not_numbers_are_an_error(
    make_model: Callable[..., Path], suite_folder: Path, tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    folder = make_model(seed=9)
    weights = load_file(folder / "model.safetensors")
    weights["model.layers.0.mlp.down_proj.weight"][0, 0] = float("nan")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match="no finite numbers, in document"):
        run(folder, suite_folder, tmp_path / "P")


def test_architecture_that_caps_its_logits_is_scored_with_the_cap(tmp_path: Path) -> None:
    from transformers import Gemma2Config, Gemma2ForCausalLM

    from paloma_ppl.likelihood import log_probabilities

    torch.manual_seed(0)
    config = Gemma2Config(
        vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, head_dim=16, final_logit_softcapping=0.5, initializer_range=0.5,
    )  # fmt: skip
    Gemma2ForCausalLM(config).save_pretrained(tmp_path)
    model = load_model(tmp_path, torch.device("cpu"), "float32")
    assert model.head is None
    assert model.logits_of is not None  # and yet no logits of whole sequences
    ids = np.array([1, 5, 9, 33], dtype=np.int32)
    (found,) = log_probabilities(model, [ids], [[(1, 4)]])
    with torch.no_grad():
        table = torch.log_softmax(model.model(torch.tensor([ids[:-1].tolist()])).logits[0], dim=-1)
    assert found.tolist() == pytest.approx([float(table[k, ids[k + 1]]) for k in range(3)], abs=1e-6)


@given(lengths=st.lists(st.integers(1, 40), min_size=1, max_size=60), budget=st.integers(1, 200))
def test_batches_hold_every_window_once_within_the_budget(lengths: list[int], budget: int) -> None:
    batches = plan_batches(lengths, budget)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        longest = max(lengths[index] for index in batch)
        assert longest * len(batch) <= budget or len(batch) == 1
    assert [lengths[i] for b in batches for i in b] == sorted(lengths, reverse=True)
