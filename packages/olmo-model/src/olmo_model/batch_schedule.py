"""The batch size as a pure function of the step, where it grows by tokens seen (Groeneveld et al. 2024, section 3)."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from .config.training import TrainConfig, duration
from .errors import UserError


@dataclass(frozen=True)
class Stage:
    """Steps from ``first_step`` on take ``batch_size`` instances each; ``taken`` were taken before."""

    first_step: int
    taken: int
    batch_size: int


@dataclass(frozen=True)
class BatchSchedule:
    """Stages of batch sizes, the first from step 1 on. Instances are counted as they are taken, epochs left aside."""

    stages: tuple[Stage, ...]

    def stage(self, step: int) -> Stage:
        """The stage of a step, from 1."""
        return self.stages[bisect_right(self.stages, step, key=lambda stage: stage.first_step) - 1]

    def batch_size(self, step: int) -> int:
        """Instances of a step."""
        return self.stage(step).batch_size

    def taken_before(self, step: int) -> int:
        """Instances that all steps before this one took."""
        stage = self.stage(step)
        return stage.taken + (step - stage.first_step) * stage.batch_size

    def step_of(self, taken: int) -> int:
        """The step that takes the instance number ``taken``, from 0: the inverse of ``taken_before``."""
        stage = self.stages[bisect_right(self.stages, taken, key=lambda stage: stage.taken) - 1]
        return stage.first_step + (taken - stage.taken) // stage.batch_size

    def steps_within(self, instances: int) -> int:
        """How many whole steps fit into so many instances."""
        return self.step_of(instances) - 1

    @property
    def sizes(self) -> tuple[int, ...]:
        return tuple(stage.batch_size for stage in self.stages)


def constant(batch_size: int) -> BatchSchedule:
    """The same batch size at every step."""
    return BatchSchedule((Stage(1, 0, batch_size),))


def growing(sizes: Sequence[int], thresholds: Sequence[int]) -> BatchSchedule:
    """``sizes[0]`` until ``thresholds[0]`` instances are taken, and so on; one size more than thresholds.

    A step has the size of its stage when it begins, so a stage ends with the first step that reaches its threshold; a
    stage that is over before it begins is left out. Thresholds rise.
    """
    stages = [Stage(1, 0, sizes[0])]
    for size, threshold in zip(sizes[1:], thresholds, strict=True):
        last = stages[-1]
        steps = max(0, -(-(threshold - last.taken) // last.batch_size))
        if steps == 0:
            stages.pop()
        stages.append(Stage(last.first_step + steps, last.taken + steps * last.batch_size, size))
    return BatchSchedule(tuple(stages))


def batch_schedule(config: TrainConfig, sequence_length: int) -> BatchSchedule:
    """The batch size of every step."""
    thresholds = []
    for text in config.batch_warmup.until:
        value, unit = duration(text, key="batch_warmup.until")
        if unit != "tokens" or value == 0:
            raise UserError(
                f"batch_warmup.until is {text!r}", where="configuration", fix='give tokens seen, like "100e9T"'
            )
        thresholds.append(-(-value // sequence_length))
    if any(first >= second for first, second in pairwise(thresholds)):
        raise UserError("batch_warmup.until does not rise", where="configuration", fix="put it in order")
    return growing((*config.batch_warmup.sizes, config.global_batch_size), thresholds)
