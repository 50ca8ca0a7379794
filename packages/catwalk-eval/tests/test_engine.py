from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import pytest
import torch

from catwalk_eval.batches import Batch, Unit, make_plan
from catwalk_eval.engine import Engine, Scored
from catwalk_eval.errors import UserError


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
        logits = model(input_ids=torch.tensor([whole])).logits[0].double()
    table = torch.log_softmax(logits, -1)
    at = range(len(unit.context) - 1, len(whole) - 1)
    return (
        sum(table[k, whole[k + 1]].item() for k in at),
        all(logits[k].argmax().item() == whole[k + 1] for k in at),
    )


def score_all(engine: Engine, instances: list[list[Unit]], budget: int = 400) -> dict[Unit, Scored]:
    plan = make_plan(instances, budget)
    return {plan.units[s.unit]: s for batch in plan.batches for s in engine.score(plan.units, batch)}


@pytest.mark.parametrize("kind", ["olmo", "llama", "gpt2", "mistral", "gemma2"])
@pytest.mark.parametrize("shared", [True, False])
def test_log_probabilities_equal_those_of_each_request_by_itself(
    make_model: Callable[..., Any], kind: str, shared: bool
) -> None:
    model = make_model(kind)
    engine = Engine(model, shared=shared)
    assert engine.shared is shared
    scores = score_all(engine, some_instances(0))
    for unit, scored in scores.items():
        expected, greedy = by_itself(model, unit)
        assert scored.log_probability == pytest.approx(expected, abs=1e-4)
        assert scored.greedy == greedy


def test_scores_do_not_depend_on_the_batches(make_model: Callable[..., Any]) -> None:
    model = make_model("olmo")
    wide, narrow = (score_all(Engine(model), some_instances(1), budget) for budget in (4000, 40))
    assert wide.keys() == narrow.keys()
    for unit, scored in wide.items():
        assert narrow[unit].log_probability == pytest.approx(scored.log_probability, abs=1e-5)


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


def test_logits_are_formed_at_scored_positions_only(make_model: Callable[..., Any]) -> None:
    model = make_model("olmo")
    rows: list[int] = []
    engine = Engine(model)
    model.lm_head.register_forward_hook(lambda _module, _inputs, output: rows.append(output[..., 0].numel()))
    context = tuple(range(10, 60))
    score_all(engine, [[Unit(context, (1, 2)), Unit(context, (3, 4, 5))]])
    assert sum(rows) == 1 + 1 + 2  # the context's last position serves both choices


class Tight(Engine):
    """An engine whose memory holds so many units and no more."""

    room = 2
    refused = 0

    def _score(self, units: Any, batch: Batch) -> Any:
        if sum(len(group.units) for group in batch) > self.room:
            self.refused += 1
            raise torch.OutOfMemoryError("out of memory: tried to allocate a lot")
        return super()._score(units, batch)


def test_out_of_memory_halves_the_batch_and_goes_on(make_model: Callable[..., Any]) -> None:
    model = make_model("olmo")
    tight = Tight(model)
    scores = score_all(tight, some_instances(2), 4000)
    assert tight.refused > 0
    for unit, scored in score_all(Engine(model), some_instances(2), 4000).items():
        assert scores[unit].log_probability == pytest.approx(scored.log_probability, abs=1e-5)
    tight.room = 0
    with pytest.raises(UserError, match="does not fit in memory"):
        score_all(tight, some_instances(2))


def test_other_errors_of_the_model_are_not_taken_for_lack_of_memory(make_model: Callable[..., Any]) -> None:
    with pytest.raises((IndexError, RuntimeError)):
        score_all(Engine(make_model("olmo")), [[Unit((1,), (2, 999, 3))]])


def test_a_log_probability_is_never_above_zero(make_model: Callable[..., Any]) -> None:
    model = make_model("llama", vocab_size=1)
    scores = score_all(Engine(model), [[Unit((0,), (0, 0, 0))]])
    assert [math.copysign(1, s.log_probability) * s.log_probability for s in scores.values()] == [0.0]
    assert all(s.log_probability <= 0 for s in scores.values())
