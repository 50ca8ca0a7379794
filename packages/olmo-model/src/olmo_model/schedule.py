"""The learning rate and the bound of the gradient as pure functions of how far the training is."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from .batch_schedule import BatchSchedule
from .config.optimization import DEFAULT_WARMUP, WITHOUT_END, DecayForm, ScheduleName, Units
from .config.training import TrainConfig, duration, duration_in_steps
from .errors import UserError


def remaining(form: DecayForm, share: float) -> float:
    """What a decay of this form has left of the way from 1 to 0, after ``share`` of its length."""
    if form == "linear":
        return 1 - share
    if form == "sqrt":
        return 1 - math.sqrt(share)
    return (1 + math.cos(math.pi * share)) / 2


@dataclass(frozen=True, kw_only=True)
class Anneal:
    """After ``start`` a line from ``peak`` there to ``alpha_f`` of it ``length`` later, where it stays."""

    start: int
    length: int
    peak: float
    alpha_f: float

    def learning_rate(self, position: int) -> float:
        """Learning rate at a position from ``start`` on."""
        share = min((position - self.start) / self.length, 1.0)
        return self.peak * (1 - share * (1 - self.alpha_f))


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Linear warm-up from ``warmup_start`` of the peak, then the form that ``name`` says.

    Positions are steps from 1 or tokens seen, those of the step at hand included; all lengths are in the same
    ``units``. With s = (position - warmup) / (t_max - warmup) and a = ``alpha_f``, as fractions of the peak:

    - linear_with_warmup: 1 - s (1 - a);  cosine_with_warmup: a + (1 - a) (1 + cos(pi s)) / 2
    - cosine_linear_envelope: a + (1 - a) (1 - s) (1 + cos(pi s)) / 2
    - inverse_sqrt_with_warmup: sqrt(warmup / position);  max_scheduler: the larger of this and the cosine
    - constant, constant_with_warmup: 1
    - wsd: 1 until the last ``decay_share`` of t_max, then down to a in ``decay_form``

    The first three and wsd stay at a from t_max on. The forms are OLMo's (allenai/OLMo, olmo/optim.py), but for wsd
    (Hu et al. 2024; Hägele et al. 2024).
    """

    name: ScheduleName
    peak: float
    warmup: int
    t_max: int
    units: Units = "steps"
    warmup_start: float = 0.1
    alpha_f: float = 0.1
    decay_form: DecayForm = "linear"
    decay_share: float = 0.1
    anneal: Anneal | None = None

    def position(self, step: int, tokens: int) -> int:
        """Where step number ``step`` stands, after which ``tokens`` have been seen."""
        return step if self.units == "steps" else tokens

    def learning_rate(self, position: int) -> float:
        """Learning rate of the update at a position."""
        if self.anneal is not None and position > self.anneal.start:
            return self.anneal.learning_rate(position)
        return self.peak * self.fraction(position)

    def fraction(self, position: int) -> float:
        """Learning rate at a position as a fraction of the peak, an anneal left aside."""
        if self.name == "constant":
            return 1.0
        if position < self.warmup:
            return self.warmup_start + (1 - self.warmup_start) * position / self.warmup
        if self.name == "constant_with_warmup":
            return 1.0
        if self.name == "inverse_sqrt_with_warmup":
            return math.sqrt(self.warmup / position)
        if self.name == "max_scheduler":
            return max(self._decayed(position), math.sqrt(self.warmup / position))
        return self._decayed(position)

    def _decayed(self, position: int) -> float:
        if position >= self.t_max:
            return self.alpha_f
        if self.name == "wsd":
            length = self.decay_share * self.t_max
            share = max(0.0, (position - (self.t_max - length)) / length) if length else 0.0
            left = remaining(self.decay_form, share)
        else:
            share = (position - self.warmup) / (self.t_max - self.warmup)
            left = remaining("linear" if self.name == "linear_with_warmup" else "cosine", share)
            if self.name == "cosine_linear_envelope":
                left *= 1 - share
        return self.alpha_f + (1 - self.alpha_f) * left


@dataclass(frozen=True, kw_only=True)
class ClipWarmup:
    """A looser bound of the gradient at first: ``factor`` times as large up to the position ``until``."""

    until: int
    factor: float

    def at(self, position: int) -> float:
        """What the bound is multiplied by in a step, given the position of the step before (0 for the first step).

        OLMo sets the bound after it clips, so that a step clips by the bound of the one before, the first by the
        bare bound (allenai/OLMo, olmo/train.py).
        """
        return self.factor if 0 < position <= self.until else 1.0


def schedules(
    config: TrainConfig, batches: BatchSchedule, sequence_length: int, max_steps: int
) -> tuple[Schedule, ClipWarmup]:
    """The learning rate, and the looser bound of the gradient, with every length in the schedule's units."""
    settings = config.scheduler
    in_tokens = settings.units == "tokens"

    def tokens_of(steps: int) -> int:
        return batches.taken_before(steps + 1) * sequence_length

    def length(text: str, key: str) -> int:
        if not in_tokens:
            return duration_in_steps(text, lambda tokens: batches.steps_within(tokens // sequence_length), key=key)
        value, unit = duration(text, key=key)
        if unit == "epochs":
            raise UserError(f"{key} is {text!r}", where="configuration", fix="give steps or tokens")
        return value if unit == "tokens" else tokens_of(value)

    end = tokens_of(max_steps) if in_tokens else max_steps
    warmup = "0" if settings.name == "constant" else settings.warmup or DEFAULT_WARMUP
    peak = config.optimizer.learning_rate
    low = settings.warmup_start if settings.warmup_min_lr is None else settings.warmup_min_lr / peak
    schedule = Schedule(
        name=settings.name,
        peak=peak,
        warmup=length(warmup, "scheduler.warmup"),
        t_max=end if settings.t_max is None else length(settings.t_max, "scheduler.t_max"),
        units=settings.units,
        warmup_start=low,
        alpha_f=settings.alpha_f,
        decay_form=settings.decay_form,
        decay_share=settings.decay_share,
    )
    decay_begins = schedule.t_max * (1 - schedule.decay_share if settings.name == "wsd" else 1)
    if settings.name not in WITHOUT_END and schedule.warmup > decay_begins:
        raise UserError(
            f"the warm-up of {schedule.warmup} {settings.units} is longer than the schedule's {schedule.t_max}"
            + (" without its decay" if settings.name == "wsd" else ""),
            where="scheduler.warmup",
            fix="shorten it, or lengthen max_duration",
        )
    if settings.name in ("inverse_sqrt_with_warmup", "max_scheduler") and schedule.warmup == 0:
        raise UserError(
            f"{settings.name} falls from the end of its warm-up, which is 0",
            where="scheduler.warmup",
            fix="lengthen it",
        )
    anneal = settings.anneal
    if anneal.start is not None:
        start, span = length(anneal.start, "scheduler.anneal.start"), length(anneal.length, "scheduler.anneal.length")
        if span == 0 or start >= end:
            raise UserError(
                f"the anneal begins at {start} {settings.units} and is {span} long, but the run ends at {end}",
                where="scheduler.anneal",
                fix="lengthen max_duration or the anneal, or let it start earlier",
            )
        begins_at = schedule.learning_rate(start) if anneal.learning_rate is None else anneal.learning_rate
        schedule = replace(schedule, anneal=Anneal(start=start, length=span, peak=begins_at, alpha_f=anneal.alpha_f))
    if settings.grad_clip_warmup_steps is None or settings.grad_clip_warmup_factor is None:
        return schedule, ClipWarmup(until=0, factor=1.0)
    until = length(settings.grad_clip_warmup_steps, "scheduler.grad_clip_warmup_steps")
    return schedule, ClipWarmup(until=until, factor=settings.grad_clip_warmup_factor)
