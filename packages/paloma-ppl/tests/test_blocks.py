import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paloma_ppl.baselines import baseline
from paloma_ppl.blocks import (
    WindowSums,
    block_length,
    block_sums,
    blocked,
    read_window_sums,
    singles_of,
    stretch,
    token_bytes,
    window_bytes,
    write_window_sums,
)
from paloma_ppl.compare import compare
from paloma_ppl.config import BaselineConfig, CompareConfig, CurvesConfig, RescoreConfig, RunConfig
from paloma_ppl.curves import curves
from paloma_ppl.errors import UserError
from paloma_ppl.evaluate import evaluate
from paloma_ppl.rescore import rescore
from paloma_ppl.results import read
from paloma_ppl.tokenizer import load_tokenizer
from paloma_ppl.windows import make_windows

LENGTH = 24
TEXT = "".join(f"{n} naïve 東京 sailors sing; " for n in range(60))


def test_blocks_are_of_the_cube_root_and_at_least_ten() -> None:
    assert [block_length(n) for n in (20, 29, 30, 49, 100, 1000)] == [2, 2, 3, 4, 5, 10]
    for windows in range(20, 200):
        assert windows // block_length(windows) >= 10


def test_blocks_keep_the_ratio_and_stretch_what_depends() -> None:
    generator = np.random.default_rng(0)
    size = generator.uniform(50, 150, 100)
    slow = np.sin(np.arange(100) / 8)
    for bits in (size * generator.uniform(1, 2, 100), size * (2 + slow)):
        sums = block_sums(np.stack([bits, size], axis=1))
        assert len(sums) == 20
        assert sums[:, 1].tolist() == pytest.approx(size.reshape(20, 5).sum(axis=1))
        assert sums[:, 0].sum() / sums[:, 1].sum() == pytest.approx(bits.sum() / size.sum())
    plain = (size * (2 + slow)).reshape(20, 5).sum(axis=1)
    r = plain.sum() / size.sum()
    factor = (sums[:, 0] - r * sums[:, 1]) / (plain - r * sums[:, 1])
    assert factor == pytest.approx(np.full(20, factor[0]))
    assert 2 < factor[0] < 4


def test_stretch_by_hand() -> None:
    assert stretch(np.zeros(20), np.zeros(10), 2) == 1.0
    alternating = np.array([1.0, -1.0] * 10)
    assert stretch(alternating, np.zeros(10), 2) == 1.0
    steps = np.repeat([1.0, -1.0], 10)  # rho = 17 / 20, corrected by (1 + 3 rho) / 20
    rho = 0.85 + (1 + 3 * 0.85) / 20
    assert rho > 0.95
    held = (1 + 2 * 0.5 * 0.95) * 0.05 / 1.95
    assert stretch(steps, np.zeros(10), 2) == pytest.approx(max(1 / math.sqrt(held), 1))
    blocks = np.repeat([1.0, -1.0], 5)  # 7 / 10 corrected to above 0.8
    assert stretch(np.zeros(20), blocks, 2) == pytest.approx(3.0)


def test_window_bytes_are_those_of_the_tokens(tokenizer_file: Path) -> None:
    tokenizer = load_tokenizer(tokenizer_file)
    (ids,) = tokenizer.encode([TEXT])
    for length in (1, 2, 7, 24, len(ids)):
        found = window_bytes(tokenizer.tokenizer, token_bytes(tokenizer.tokenizer), TEXT, ids, length)
        pieces = [tokenizer.tokenizer.id_to_token(int(number)) for number in ids]
        assert found == tuple(sum(map(len, pieces[at : at + length])) for at in range(0, len(ids), length))
        assert sum(found) == len(TEXT.encode())


def test_window_bytes_of_other_tokenizers_count_a_character_where_it_ends() -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({"東京": 0, "naïve": 1, "the": 2}))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    text = "the 東京  naïve the 東京 "
    ids = np.array([2, 0, 1, 2, 0], dtype=np.int32)
    assert window_bytes(tokenizer, token_bytes(tokenizer), text, ids, 2) == (
        len("the 東京".encode()), len("  naïve the".encode()), len(" 東京 ".encode())
    )  # fmt: skip


def sums(windows: int, change: float = 0.0, name: str = "d") -> WindowSums:
    values = tuple(-100.0 - 10 * math.sin(k * k) - change * (1 + math.cos(k * k) / 10) for k in range(windows))
    return WindowSums("s", name, "1", (8,) * windows, (40 + windows % 3,) * windows, values)


def test_which_single_documents_can_be_resampled() -> None:
    keys = [("s", "many"), ("s", "many"), ("s", "long"), ("s", "short"), ("s", "unlike"), ("s", "unknown")]
    one = {("s", "many"): sums(30), ("s", "long"): sums(30), ("s", "short"): sums(19), ("s", "unlike"): sums(30)}
    found = singles_of(keys, [one, one | {("s", "unlike"): sums(31)}])
    assert found.windows == {("s", "long"): 30}
    assert found.reasons == {
        ("s", "short"): "none: 1 document of 19 windows, at least 20 are needed for blocks",
        ("s", "unlike"): "none: 1 document, cut into other windows in other results",
    }
    names, columns = blocked([("s", "long")] * 30 + [("s", "many")] * 2, np.ones((32, 2)), found)
    assert names == [("s", "long")] * 10 + [("s", "many")] * 2
    assert columns.sum(axis=0).tolist() == pytest.approx([32, 32])


@pytest.mark.parametrize(
    "row",
    ["[]", {"source": "s"}, {**sums(2).row(), "tokens": [8]}, {**sums(2).row(), "bytes": [-1, 3]},
     {**sums(2).row(), "log_probabilities": [-1.0, None]}, {**sums(2).row(), "id": 3}],
)  # fmt: skip
def test_damaged_rows_are_named(tmp_path: Path, write_rows: Callable[..., Path], row: Any) -> None:
    write_rows(tmp_path / "single_documents.jsonl.gz", [row])
    with pytest.raises(UserError, match=r"not a row of sums by window .*line 1"):
        read_window_sums(tmp_path)


def test_rows_come_back_as_they_were(tmp_path: Path) -> None:
    write_window_sums(tmp_path / "single_documents.jsonl.gz", [sums(3), sums(2, 1.0, "e")])
    assert list(read_window_sums(tmp_path).values()) == [sums(3), sums(2, 1.0, "e")]


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory, write_rows: Callable[..., Path]) -> Path:
    """A long document alone, a short one alone, and two of a third domain."""
    root = tmp_path_factory.mktemp("single") / "S"
    texts = [("long", "long", TEXT), ("x", "two", "sea"), ("short", "short", TEXT[:100]), ("y", "two", TEXT[:80])]
    rows = [{"id": name, "text": text, "subdomain": domain} for name, domain, text in texts]
    write_rows(root / "s" / "test" / "test-00000000.jsonl.gz", rows)
    return root


@pytest.mark.parametrize("format_name", ["paloma", "training"])
def test_windows_of_a_single_document_are_those_of_the_model(
    model_folder: Path, suite: Path, tmp_path: Path, format_name: Any
) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    settings = {"model": str(model_folder), "suite": suite, "device": "cpu", "format": format_name}
    results = evaluate(RunConfig(output=tmp_path / "P", batch_tokens=300, **settings))  # type: ignore[arg-type]
    assert results is not None
    found = read(tmp_path / "P").windows
    assert list(found) == [("s", "long"), ("s", "short")]
    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32)
    tokenizer = load_tokenizer(model_folder)
    for (key, stored), text in zip(found.items(), (TEXT, TEXT[:100]), strict=True):
        (ids,) = tokenizer.encode([text])
        windows = list(make_windows([key], [ids], LENGTH, 0, format_name))
        assert stored.tokens == tuple(len(window.ids) - 1 for window in windows)
        assert sum(stored.bytes) == len(text.encode())
        assert stored.bytes == window_bytes(tokenizer.tokenizer, token_bytes(tokenizer.tokenizer), text, ids, LENGTH)
        with torch.inference_mode():
            for window, value in zip(windows, stored.log_probabilities, strict=True):
                inputs, targets = (
                    torch.tensor(part[None].astype(np.int64)) for part in (window.ids[:-1], window.ids[1:])
                )
                logits = model(input_ids=inputs).logits.double().log_softmax(-1)
                assert value == pytest.approx(float(logits.gather(-1, targets[..., None]).sum()), abs=1e-3)
    domains = {row["domain"]: row for row in results["domains"]}
    blocks = len(found["s", "long"].tokens) // block_length(len(found["s", "long"].tokens))
    method = f"studentised bootstrap over {blocks} blocks of the windows of one document, 2000 resamples"
    assert domains["long"]["interval"] == method
    assert (
        domains["long"]["bits_per_byte_low"] < domains["long"]["bits_per_byte"] < domains["long"]["bits_per_byte_high"]
    )
    assert domains["short"]["interval"].startswith("none: 1 document of ")
    assert domains["two"]["interval"] == "none: 2 documents, at least 10 are needed"

    before = (tmp_path / "P" / "results.json").read_bytes()
    (tmp_path / "P" / "results.json").unlink()
    rescore(RescoreConfig(results=tmp_path / "P"))
    assert (tmp_path / "P" / "results.json").read_bytes() == before


def test_pairs_are_compared_by_the_same_blocks(
    model_folder: Path, make_model: Callable[..., Path], suite: Path, tmp_path: Path, write_rows: Callable[..., Path],
    read_rows: Callable[..., Any],
) -> None:  # fmt: skip
    for name, model, length in (("a", model_folder, 24), ("b", make_model(seed=1), 24), ("c", model_folder, 20)):
        settings = {"suite": suite, "device": "cpu", "max_length": length}
        evaluate(RunConfig(model=str(model), output=tmp_path / name, **settings))  # type: ignore[arg-type]

    def rows(other: str) -> dict[str, Any]:
        found = compare([tmp_path / "a", tmp_path / other], CompareConfig(output=tmp_path / "c.json"))
        return {row["domain"]: row for row in found["comparisons"][0]["rows"] if row["level"] == "domain"}

    long = rows("b")["long"]
    assert "blocks of the windows of one document" in long["interval"]
    assert long["low"] < long["difference"] < long["high"]
    assert (rows("a")["long"]["low"], rows("a")["long"]["high"]) == (0.0, 0.0)
    assert rows("c")["long"]["interval"] == "none: 1 document, cut into other windows in other results"

    # a unigram model is compared by the windows of a model, where it is told their length
    training = write_rows(tmp_path / "training.jsonl.gz", [{"id": "t", "text": TEXT[:500], "source": "s"}])
    for length, interval in ((24, long["interval"]), (None, "none: 1 document, at least 10 are needed")):
        settings = {"suite": suite, "tokenizer": model_folder, "documents": training, "xz_bytes": 100}
        baseline(BaselineConfig(output=tmp_path / "B", max_length=length, **settings))  # type: ignore[arg-type]
        assert rows("B/unigram")["long"]["interval"] == interval
    stored = (tmp_path / "B" / "unigram" / "results.json").read_bytes()
    rescore(RescoreConfig(results=tmp_path / "B" / "unigram"))
    assert (tmp_path / "B" / "unigram" / "results.json").read_bytes() == stored

    config = CurvesConfig(output=tmp_path / "d.json", at=(1, 10))
    found = curves([tmp_path / "a", tmp_path / "b"], config)
    (row,) = (row for row in found["rows"] if row["domain"] == "long")
    assert row["rate_low"] < row["rate"] < row["rate_high"]
    # the macro average has an interval as soon as each domain can be resampled
    for name in ("a", "b"):
        folder = tmp_path / name
        long_row = read_rows(folder / "documents.jsonl.gz")[:1]
        write_rows(folder / "documents.jsonl.gz", [*long_row, {**long_row[0], "domain": "other"}])
        (window_row,) = (one for one in read_rows(folder / "single_documents.jsonl.gz") if one["domain"] == "long")
        write_rows(folder / "single_documents.jsonl.gz", [window_row, {**window_row, "domain": "other"}])
    found = curves([tmp_path / "a", tmp_path / "b"], config)
    (row,) = (row for row in found["rows"] if row["domain"] == "macro")
    assert row["rate_low"] < row["rate"] < row["rate_high"]
    assert "in 2 domains over blocks of the windows of one" in row["interval"]
    results = rescore(RescoreConfig(results=tmp_path / "a"))
    assert results["aggregates"][1]["bits_per_byte_low"] is not None


def test_windows_of_another_document_are_refused(
    model_folder: Path, suite: Path, tmp_path: Path, write_rows: Callable[..., Path], read_rows: Callable[..., Any]
) -> None:
    evaluate(RunConfig(model=str(model_folder), suite=suite, output=tmp_path / "P", device="cpu"))
    rows = read_rows(tmp_path / "P" / "single_documents.jsonl.gz")
    rows[0]["tokens"][0] += 1
    write_rows(tmp_path / "P" / "single_documents.jsonl.gz", rows)
    with pytest.raises(UserError, match=r"the windows of long are not those of a document"):
        read(tmp_path / "P")
    assert json.loads((tmp_path / "P" / "results.json").read_text())["domains"]
