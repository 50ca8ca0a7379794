"""Whether a step may change the weights: decided on the device, from its loss, its gradient norm and those before."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntFlag

import torch
from torch import Tensor

from .config.optimization import GuardSettings


class Reason(IntFlag):
    """Why a step is held back; 0 where it is not."""

    LOSS_NOT_FINITE = 1
    NORM_NOT_FINITE = 2
    LOSS_SPIKE = 4
    NORM_SPIKE = 8
    AFTER_STOP = 16  # the run is to stop at an earlier step, so that this one changes nothing either


NON_FINITE = Reason.LOSS_NOT_FINITE | Reason.NORM_NOT_FINITE
SPIKE = Reason.LOSS_SPIKE | Reason.NORM_SPIKE


@dataclass(frozen=True)
class GuardState:
    """What the guard remembers, part of a checkpoint: the last finite losses and norms as rings [window] in float64,
    how many there were (whole-number scalar), and whether a step asked the run to stop (boolean scalar)."""

    losses: Tensor
    norms: Tensor
    seen: Tensor
    stopped: Tensor


def fresh(settings: GuardSettings, device: torch.device) -> GuardState:
    """The state before the first step."""
    ring = torch.zeros(settings.window, dtype=torch.float64, device=device)
    return GuardState(
        ring,
        ring.clone(),
        torch.zeros((), dtype=torch.int64, device=device),
        torch.zeros((), dtype=torch.bool, device=device),
    )


def fitted(state: GuardState, window: int) -> GuardState:
    """The state for another window: as many of the last values as it takes, in their order."""
    stored = len(state.losses)
    if stored == window:
        return state
    seen = int(state.seen)
    last = [place % stored for place in range(max(0, seen - min(stored, window)), seen)]

    def moved(ring: Tensor) -> Tensor:
        fit = ring.new_zeros(window)
        fit[: len(last)] = ring[last]
        return fit

    return replace(
        state, losses=moved(state.losses), norms=moved(state.norms), seen=torch.full_like(state.seen, len(last))
    )


def stopping(settings: GuardSettings) -> Reason:
    """Reasons that stop the run; the others skip the step."""
    result = Reason(0)
    if settings.non_finite == "stop":
        result |= NON_FINITE
    if settings.spike == "stop":
        result |= SPIKE
    return result


def judge(state: GuardState, loss: Tensor, norm: Tensor, settings: GuardSettings) -> tuple[Tensor, GuardState]:
    """Reasons (``Reason`` as a whole-number scalar; 0: update) against a step, and the state after it.

    ``loss`` and ``norm`` are scalars, on several ranks those of all of them together. A spike is a value above mean +
    sigma * standard deviation of the last ``window`` steps, once half of them are there; spikes enter the window
    themselves, so that a level that has changed for good is accepted after a while (the rule of OLMo-core's
    SkipStepOptimizer). Nothing leaves the device: a few scalar operations a step, no wait.
    """
    loss, norm = loss.detach().double(), norm.detach().double()
    finite = loss.isfinite() & norm.isfinite()
    reasons = (~loss.isfinite()) * int(Reason.LOSS_NOT_FINITE) + (~norm.isfinite()) * int(Reason.NORM_NOT_FINITE)
    if settings.spike != "ignore":
        enough = state.seen >= settings.window // 2
        places = torch.arange(settings.window, device=loss.device)
        for value, ring, reason in (
            (loss, state.losses, Reason.LOSS_SPIKE),
            (norm, state.norms, Reason.NORM_SPIKE),
        ):
            spiking = value > _bound(ring, places < state.seen, settings.sigma)
            reasons = reasons + (finite & enough & spiking) * int(reason)
        here = finite & (places == state.seen % settings.window)
        state = replace(
            state,
            losses=torch.where(here, loss, state.losses),
            norms=torch.where(here, norm, state.norms),
            seen=state.seen + finite,
        )
    stop = (reasons & int(stopping(settings))) != 0
    reasons = reasons + state.stopped * int(Reason.AFTER_STOP)
    return reasons, replace(state, stopped=state.stopped | stop)


def _bound(ring: Tensor, known: Tensor, sigma: float) -> Tensor:
    count = known.sum()
    mean = (ring * known).sum() / count
    variance = ((ring - mean).square() * known).sum() / (count - 1)
    return mean + sigma * variance.sqrt()
