import math
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paloma_ppl.config import RescoreConfig, RunConfig
from paloma_ppl.errors import UserError
from paloma_ppl.evaluate import evaluate
from paloma_ppl.positions import PositionSums, bins, loss_by_position, read_positions
from paloma_ppl.rescore import rescore
from paloma_ppl.table import results_table
from paloma_ppl.tokenizer import load_tokenizer
from paloma_ppl.windows import make_windows

LENGTH = 24


def test_bins_double_and_cover_each_position_once() -> None:
    assert bins(24) == [(0, 0), (1, 1), (2, 3), (4, 7), (8, 15), (16, 23)]
    assert bins(1) == [(0, 0)]
    for size in range(1, 70):
        assert [k for first, last in bins(size) for k in range(first, last + 1)] == list(range(size))


def test_mean_loss_by_hand() -> None:
    def sums(source: str, whole: bool, counts: list[int], values: list[float]) -> PositionSums:
        return PositionSums(source, whole, np.array(counts), np.array(values))

    rows = loss_by_position([sums("a", False, [2, 1], [-4.0, -3.0]), sums("a", True, [1, 1, 1], [-2.0, -1.0, -0.5]),
                             sums("b", False, [1], [-6.0])])  # fmt: skip
    keys = ("source", "first", "last", "tokens", "loss", "whole_tokens", "whole_loss")
    assert [tuple(row[key] for key in keys) for row in rows] == [
        (None, 0, 0, 4, 3.0, 1, 2.0),
        (None, 1, 1, 2, 2.0, 1, 1.0),
        (None, 2, 2, 1, 0.5, 1, 0.5),
        ("a", 0, 0, 3, 2.0, 1, 2.0),
        ("a", 1, 1, 2, 2.0, 1, 1.0),
        ("a", 2, 2, 1, 0.5, 1, 0.5),
        ("b", 0, 0, 1, 6.0, 0, None),
    ]


@pytest.mark.parametrize("format_name", ["paloma", "training"])
def test_loss_by_position_is_that_of_a_model_asked_for_one_token_at_a_time(
    model_folder: Path, suite_folder: Path, tmp_path: Path, read_rows: Callable[..., Any], format_name: Any
) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    settings = {"model": str(model_folder), "suite": suite_folder, "device": "cpu", "format": format_name, "limit": 8}
    results = evaluate(RunConfig(output=tmp_path / "P", **settings))  # type: ignore[arg-type]
    assert results is not None

    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32)
    documents = read_rows(tmp_path / "P" / "documents.jsonl.gz")
    texts = {
        (row["source"], row["id"]): row["text"] for file in suite_folder.glob("*/test/*.gz") for row in read_rows(file)
    }
    ids = list(load_tokenizer(model_folder).encode(texts[row["source"], row["id"]] for row in documents))
    keys = [(row["source"], row["domain"]) for row in documents]
    expected: dict[tuple[str, bool], dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    with torch.inference_mode():
        for window in make_windows(keys, ids, LENGTH, 0, format_name):
            logits = model(input_ids=torch.tensor(window.ids[None, :-1].astype(np.int64))).logits[0].double()
            for part in window.parts:
                for place in range(part.start, part.stop):
                    value = float(logits[place - 1].log_softmax(-1)[int(window.ids[place])])
                    expected[keys[part.document][0], len(window.ids) == LENGTH + 1][place - 1].append(value)
    found = read_positions(tmp_path / "P")
    assert found is not None
    assert {(sums.source, sums.whole) for sums in found} == expected.keys()
    assert {sums.whole for sums in found} == {False, True}
    for sums in found:
        values = expected[sums.source, sums.whole]
        assert sums.counts.tolist() == [len(values[place]) for place in range(max(values) + 1)]
        assert sums.log_probabilities == pytest.approx(
            [sum(values[place]) for place in range(max(values) + 1)], abs=1e-3
        )
    assert sum(int(sums.counts.sum()) for sums in found) == sum(row["tokens"] for row in documents)
    for row in results["positions"]:
        values = [value for (source, _), places in expected.items() if row["source"] in (None, source)
                  for place in range(row["first"], row["last"] + 1) for value in places[place]]  # fmt: skip
        assert (row["tokens"], row["loss"]) == (len(values), pytest.approx(-sum(values) / len(values), abs=1e-4))
    assert results["positions"][-1]["last"] == LENGTH - 1

    before = (tmp_path / "P" / "results.json").read_bytes()
    (tmp_path / "P" / "results.json").unlink()
    assert "16 to 23" in results_table(rescore(RescoreConfig(results=tmp_path / "P")), None)
    assert (tmp_path / "P" / "results.json").read_bytes() == before


@pytest.mark.parametrize(
    "row",
    ["[]", '{"source": "s", "whole": true, "counts": [1, 2], "log_probabilities": [-1.0]}',
     '{"source": "s", "whole": true, "counts": [1.5], "log_probabilities": [-1.0]}',
     '{"source": 3, "whole": true, "counts": [1], "log_probabilities": [-1.0]}',
     '{"source": "s", "whole": true, "counts": [1], "log_probabilities": [NaN]}'],
)  # fmt: skip
def test_damaged_sums_are_named(tmp_path: Path, write_rows: Callable[..., Path], row: str) -> None:
    write_rows(tmp_path / "positions.jsonl.gz", [row])
    with pytest.raises(UserError, match=r"not a row of sums by position .*line 1"):
        read_positions(tmp_path)


def test_loss_is_never_below_zero() -> None:
    rows = loss_by_position([PositionSums("a", True, np.array([1]), np.array([0.0]))])
    assert math.copysign(1, rows[0]["loss"]) * rows[0]["loss"] == 0
