from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from olmo_model.config.optimization import GuardSettings
from olmo_model.guard import Reason, fitted, fresh, judge

NAN, INFINITY = math.nan, math.inf


def judged(values, settings, norms=None):
    """Reasons of one step after another."""
    state, found = fresh(settings, torch.device("cpu")), []
    for loss, norm in zip(values, norms or [1.0] * len(values), strict=True):
        reasons, state = judge(state, torch.tensor(loss), torch.tensor(norm), settings)
        found.append(Reason(int(reasons)))
    return found, state


def test_what_is_not_finite_is_held_back_and_named():
    found, _ = judged(
        [1.0, NAN, INFINITY, 1.0, -INFINITY], GuardSettings(non_finite="skip"), [1.0, 1.0, 1.0, NAN, INFINITY]
    )
    assert found == [
        Reason(0),
        Reason.LOSS_NOT_FINITE,
        Reason.LOSS_NOT_FINITE,
        Reason.NORM_NOT_FINITE,
        Reason.LOSS_NOT_FINITE | Reason.NORM_NOT_FINITE,
    ]


def test_after_a_step_that_stops_the_run_nothing_changes_any_more():
    found, state = judged([1.0, NAN, 1.0, 2.0], GuardSettings(non_finite="stop"))
    assert found == [Reason(0), Reason.LOSS_NOT_FINITE, Reason.AFTER_STOP, Reason.AFTER_STOP]
    assert state.stopped


def test_a_spike_is_above_mean_and_deviations_of_the_last_values():
    # of 1, 2, 3, 4 the mean is 2.5 and the deviation 1.29: with two of them the bound is 5.08
    settings = GuardSettings(spike="skip", sigma=2.0, window=4)
    assert judged([1.0, 2.0, 3.0, 4.0, 5.0], settings)[0][-1] == 0
    assert judged([1.0, 2.0, 3.0, 4.0, 5.1], settings)[0][-1] == Reason.LOSS_SPIKE
    assert judged([1.0] * 5, settings, [1.0, 2.0, 3.0, 4.0, 5.1])[0][-1] == Reason.NORM_SPIKE
    assert judged([1.0, 2.0, 3.0, 4.0, 5.1], GuardSettings(window=4))[0] == [Reason(0)] * 5  # not asked for


def test_only_the_last_values_count_and_those_not_finite_never():
    settings = GuardSettings(spike="skip", sigma=2.0, window=4, non_finite="skip")
    # the 100 has left the window; the NaN never entered it
    assert judged([100.0, 1.0, 2.0, 3.0, NAN, 4.0, 5.1], settings)[0][-1] == Reason.LOSS_SPIKE
    # a spike enters it: a level that has changed for good is accepted
    found, _ = judged([1.0, 2.0, 1.0, 2.0, 9.0, 9.0, 9.0, 9.0], settings)
    assert found[4:] == [Reason.LOSS_SPIKE, Reason(0), Reason(0), Reason(0)]


def test_nothing_is_a_spike_before_half_of_the_window():
    settings = GuardSettings(spike="skip", sigma=0.1, window=8)
    assert judged([1.0, 1.1, 50.0, 1.0, 60.0], settings)[0] == [0, 0, 0, 0, Reason.LOSS_SPIKE]


@pytest.mark.parametrize("window", [4, 9])
@given(values=st.lists(st.one_of(st.floats(0, 100, width=32), st.just(NAN)), max_size=30))
def test_spikes_are_those_of_the_plain_formula(window, values):
    settings = GuardSettings(spike="skip", sigma=1.0, window=window, non_finite="skip")
    history, expected = [], []
    for value in values:
        known = torch.tensor(history[-window:], dtype=torch.float64)
        spiking = len(known) >= window // 2 and value > known.mean() + known.std()
        near = len(known) >= 2 and abs(value - float(known.mean() + known.std())) < 1e-6
        expected.append(None if near else Reason.LOSS_NOT_FINITE if math.isnan(value) else Reason.LOSS_SPIKE * spiking)
        if math.isfinite(value):
            history.append(value)
    found, _ = judged(values, settings)
    assert all(want is None or got == want for got, want in zip(found, expected, strict=True))


def test_the_decision_after_a_saved_state_is_the_same():
    settings = GuardSettings(spike="skip", window=4, sigma=1.0)
    values = [1.0, 3.0, 2.0, 9.0, 1.0, 2.0, 8.0]
    whole, _ = judged(values, settings)
    _, state = judged(values[:4], settings)
    rest = []
    for value in values[4:]:
        reasons, state = judge(state, torch.tensor(value), torch.tensor(1.0), settings)
        rest.append(int(reasons))
    assert rest == whole[4:]


@pytest.mark.parametrize(("before", "after"), [(4, 2), (4, 3), (4, 9), (5, 5)])
@given(values=st.lists(st.one_of(st.floats(0, 100, width=32), st.just(NAN)), max_size=12))
def test_a_state_for_another_window_holds_the_last_values_in_their_order(before, after, values):
    def settings(window):
        return GuardSettings(spike="skip", window=window, non_finite="skip")

    _, state = judged(values, settings(before))
    finite = [value for value in values if math.isfinite(value)]
    _, expected = judged(finite[-min(before, after) :], settings(after))
    found = fitted(state, after)
    if before == after:
        assert found is state
    else:
        assert all(map(torch.equal, vars(found).values(), vars(expected).values()))
