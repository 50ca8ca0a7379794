from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from catwalk_eval.batches import Batch, Scored, Unit, make_plan
from catwalk_eval.engine import Engine, Wanted, linear_log_probabilities, log_probabilities, out_of_memory
from catwalk_eval.errors import UserError

Scores = dict[Unit, Scored]


def some_instances(seed: int, vocabulary: int = 320) -> list[list[Unit]]:
    """Choices after shared contexts, contexts that differ at their end, single-token choices, repeated choices."""
    draw = random.Random(seed)

    def tokens(count: int) -> tuple[int, ...]:
        return tuple(draw.randrange(vocabulary) for _ in range(count))

    instances = []
    for length in (1, 3, 20, 37):
        context = tokens(length)
        choices = [Unit(context, tokens(count)) for count in (1, 1, 4, 9)]
        instances.append([*choices, choices[0]])
    shared, rest = tokens(12), tokens(5)
    instances.append([Unit(shared + tokens(1), rest), Unit(shared + tokens(3), rest)])
    instances.append([Unit((7,), tokens(2)), Unit((8, 9), tokens(2))])
    return instances


def by_itself(model: Any, unit: Unit) -> tuple[float, bool]:
    """The plain way: the whole request forwarded alone, log-softmax at every position."""
    whole = unit.context + unit.continuation
    with torch.inference_mode():
        # dynamic frequencies are those of the longest input since a short one
        model(input_ids=torch.tensor([whole[:1]]))
        logits = model(input_ids=torch.tensor([whole[:-1]])).logits[0].double()
    table = torch.log_softmax(logits, -1)
    at = range(len(unit.context) - 1, len(whole) - 1)
    return (
        sum(table[k, whole[k + 1]].item() for k in at),
        all(logits[k].argmax().item() == whole[k + 1] for k in at),
    )


def score_all(engine: Engine, instances: list[list[Unit]], budget: int = 400, size: int | None = None) -> Scores:
    plan = make_plan(instances, budget, size, shared=engine.shared)
    return {plan.units[s.unit]: s for batch in plan.batches for s in engine.score(plan.units, batch)}


def with_shots(seed: int) -> list[list[Unit]]:
    """Instances after the same long prefix, in two groups, and some without."""
    draw = random.Random(seed)
    rows = some_instances(seed)
    for _ in range(2):
        shots = tuple(draw.randrange(320) for _ in range(40))
        for _ in range(6):
            context = (*shots, *(draw.randrange(320) for _ in range(draw.randrange(1, 9))))
            rows.append([Unit(context, tuple(draw.randrange(320) for _ in range(k))) for k in (1, 2, 5)])
    return rows


SHARED = ["olmo", "llama", "gpt2", "mistral", "gemma2", "opt", "cohere", "llama4_text", "gpt_oss"]
WHOLE = ["bloom", "mamba", "phi3", "dynamic"]


@pytest.mark.parametrize("kind", [*SHARED, *WHOLE])
def test_log_probabilities_equal_those_of_each_request_by_itself(
    make_model: Callable[..., Any], kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    model = make_model(kind)
    rows = with_shots(0)
    expected = {unit: by_itself(model, unit) for row in rows for unit in row}
    for cluster_tokens in (192, 8):
        engine = Engine(model, cluster_tokens=cluster_tokens)
        assert engine.shared is (kind in SHARED)
        assert ("each is forwarded whole, slower" in caplog.text) is (kind in WHOLE)
        for budget in (4000, 100):
            for unit, scored in score_all(engine, rows, budget).items():
                assert scored.log_probability == pytest.approx(expected[unit][0], abs=1e-4)
                assert scored.greedy == expected[unit][1]
    unit = rows[0][0]
    assert by_itself(model, unit) == expected[unit]  # the model is as it was


@pytest.mark.parametrize("kind", ["olmo", "mistral", "gpt2", "bloom"])
def test_in_float64_the_numbers_are_those_of_each_request_by_itself(make_model: Callable[..., Any], kind: str) -> None:
    model = make_model(kind).double()
    for shared in (True, False):
        for unit, scored in score_all(Engine(model, shared=shared), with_shots(3), 200).items():
            assert scored.log_probability == pytest.approx(by_itself(model, unit)[0], rel=0, abs=1e-9)


@pytest.mark.parametrize("kind", ["olmo", "bloom"])
def test_batch_sizes_and_order_change_no_more_than_rounding_does(make_model: Callable[..., Any], kind: str) -> None:
    model = make_model(kind)
    rows = with_shots(1)
    usual = score_all(Engine(model), rows, 4000)
    backwards = [list(reversed(row)) for row in reversed(rows)]
    assert {u: s.log_probability for u, s in score_all(Engine(model), backwards, 4000).items()} == {
        u: s.log_probability for u, s in usual.items()
    }
    for size in (1, 7, 64):
        found = score_all(Engine(model), rows, 4000, size)
        assert found.keys() == usual.keys()
        for unit, scored in found.items():
            assert scored.log_probability == pytest.approx(usual[unit].log_probability, abs=1e-5)
            assert scored.greedy == usual[unit].greedy


def test_the_likeliest_tokens_are_greedy(make_model: Callable[..., Any]) -> None:
    model = make_model("llama")
    ids = [3, 5, 9]
    with torch.inference_mode():
        for _ in range(4):
            ids.append(int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
    best = Unit(tuple(ids[:3]), tuple(ids[3:]))
    other = Unit(best.context, (*best.continuation[:-1], (best.continuation[-1] + 1) % 320))
    scores = score_all(Engine(model), [[best, other]])
    assert scores[best].greedy
    assert not scores[other].greedy


def test_a_shared_context_is_forwarded_once(make_model: Callable[..., Any]) -> None:
    engine = Engine(make_model("olmo"))
    context = tuple(range(10, 30))
    score_all(engine, [[Unit(context, (1,)), Unit(context, (2,)), Unit(context, (3, 4, 5)), Unit(context, (1,))]])
    assert engine.work.tokens == 20 + 2  # the context, and what is read of the one longer choice
    assert engine.work.padded == engine.work.tokens


def test_a_prefix_of_many_batches_is_forwarded_once(make_model: Callable[..., Any]) -> None:
    engine = Engine(make_model("olmo"))
    shots = tuple(range(100, 160))
    rows = [[Unit((*shots, k, k), (c, 1)) for c in range(3)] for k in range(20)]
    plan = make_plan(rows, 40)
    assert len(plan.batches) > 2
    for batch in plan.batches:
        engine.score(plan.units, batch)
    assert engine.work.tokens == plan.tokens == plan.distinct == 60 + 20 * 5


def test_logits_are_formed_at_scored_positions_only(
    make_model: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model("olmo")
    engine = Engine(model)
    rows: list[int] = []
    plain = engine._log_probabilities

    def counted(hidden: torch.Tensor, wanted: Wanted) -> Any:
        rows.append(len(hidden))
        return plain(hidden, wanted)

    monkeypatch.setattr(engine, "_log_probabilities", counted)
    context = tuple(range(10, 60))
    score_all(engine, [[Unit(context, (1, 2)), Unit(context, (3, 4, 5))]])
    assert sum(rows) == engine.work.logits == 1 + 1 + 2  # the context's last position serves both choices


class Tight(Engine):
    """An engine whose memory holds so many units and no more."""

    room = 2
    refused = 0

    def _score(self, units: Any, batch: Batch) -> Any:
        if len(batch.units) > self.room:
            self.refused += 1
            raise torch.OutOfMemoryError("out of memory: tried to allocate a lot")
        return super()._score(units, batch)


def test_out_of_memory_the_batch_is_done_in_parts_and_so_are_later_ones(make_model: Callable[..., Any]) -> None:
    model = make_model("olmo")
    tight = Tight(model)
    scores = score_all(tight, with_shots(2), 200)
    refused, parts = tight.refused, tight.parts
    assert refused > 0
    for unit, scored in score_all(Engine(model), with_shots(2), 200).items():
        assert scores[unit].log_probability == pytest.approx(scored.log_probability, abs=1e-5)
    again = Tight(model)
    again.parts = parts  # as a run that goes on reads from its journal
    score_all(again, with_shots(2), 200)
    assert again.refused == 0
    tight.room = 0
    with pytest.raises(UserError, match="does not fit in memory"):
        score_all(tight, some_instances(2))


def test_other_errors_of_the_model_are_not_taken_for_lack_of_memory(make_model: Callable[..., Any]) -> None:
    with pytest.raises((IndexError, RuntimeError)):
        score_all(Engine(make_model("olmo")), [[Unit((1,), (2, 999, 3))]])


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("MPS backend out of memory (MPS allocated: 8 GB)", True),
        ("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", True),
        ("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes", True),
        ("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED", False),
    ],
)
def test_lack_of_memory_is_known_by_what_each_device_says(message: str, expected: bool) -> None:
    assert out_of_memory(RuntimeError(message)) is expected


@pytest.mark.parametrize("bias", [False, True])
def test_blocks_of_a_linear_head_give_what_its_logits_give(bias: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    head, hidden = torch.nn.Linear(8, 100, bias=bias).double(), torch.randn(23, 8).double()
    draw = np.random.default_rng(0)
    wanted = Wanted(np.arange(23), draw.integers(0, 23, 60), draw.integers(0, 100, 60), np.zeros(60, dtype=np.int64))
    head.requires_grad_(False)
    wanted.tokens[:23] = head(hidden)[wanted.at[:23]].argmax(-1)
    expected = log_probabilities(iter(torch.split(head(hidden), 5)), wanted)
    table = torch.log_softmax(head(hidden), -1).numpy()
    assert expected[0] == pytest.approx(table[wanted.at, wanted.tokens], abs=1e-12)
    assert expected[1][:23].all()
    assert not expected[1].all()
    monkeypatch.setattr("catwalk_eval.engine.BLOCK", (7, 13))
    with torch.inference_mode():
        values, greedy = linear_log_probabilities(head, hidden, wanted)
    assert values == pytest.approx(expected[0], abs=1e-12)
    assert (greedy == expected[1]).all()


def test_a_log_probability_is_never_above_zero(make_model: Callable[..., Any]) -> None:
    model = make_model("llama", vocab_size=1)
    scores = score_all(Engine(model), [[Unit((0,), (0, 0, 0))]])
    assert [math.copysign(1, s.log_probability) * s.log_probability for s in scores.values()] == [0.0]
    assert all(s.log_probability <= 0 for s in scores.values())
