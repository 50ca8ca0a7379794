from __future__ import annotations

import json
import math

import numpy as np
import pytest

import parity_olmo
from parity import olmo_cases as cases
from parity import olmo_verdict as verdict
from parity.olmo_verdict import Row


def test_a_figure_that_is_no_number_is_a_miss():
    assert Row("logits", "olmo tied", 1e-5, 1e-5).met
    assert not Row("logits", "olmo tied", 1.1e-5, 1e-5).met
    assert not Row("logits", "olmo tied", math.nan, 1e-5).met


def test_arrays_are_apart_by_their_largest_difference_and_relatively_by_the_worse_of_two_measures():
    left, right = np.array([3.0, 4.5]), np.array([3.0, 4.0])
    assert verdict.apart(left, right) == 0.5
    assert verdict.relatively_apart(left, right) == 0.125  # 0.5 / 4; of the norms it is 0.5 / 5
    assert verdict.relatively_apart(left, np.zeros(2)) == 4.5
    assert verdict.different(left, right) == 1
    for measure in (verdict.apart, verdict.relatively_apart, verdict.different):
        assert measure(left, np.zeros(3)) == math.inf


def test_a_gradient_without_a_partner_is_infinitely_far():
    ours = {"hf/a": np.ones(2), "hf/b": np.ones(2), "loss": np.ones(1)}
    assert verdict.gradients_apart(ours, ours, "hf/") == 0
    assert verdict.gradients_apart(ours, {"hf/a": np.ones(2)}, "hf/") == math.inf
    assert verdict.gradients_apart(ours, ours, "native/") == math.inf
    other = ours | {"hf/b": np.full(2, 2.0)}
    assert verdict.gradients_apart(ours, other, "hf/") == 0.5
    assert verdict.gradients_apart(ours, other, "hf/", without="hf/b") == 0


def test_only_the_row_of_the_padding_id_may_lack_its_gradient():
    ours = np.array([[1.0, 1.0], [2.0, 2.0], [3.0, 4.0]])
    theirs = ours.copy()
    theirs[1] = 0
    assert verdict.padding_row(ours, theirs) == 0
    assert verdict.padding_row(ours, ours) == math.inf
    assert verdict.padding_row(theirs, theirs) == math.inf
    theirs[2, 1] = 2
    assert verdict.padding_row(ours, theirs) == 2 / 3


def test_distance_of_distributions():
    assert verdict.kolmogorov(np.array([2.0, 1.0]), np.array([1.0, 2.0])) == 0
    assert verdict.kolmogorov(np.array([1.0, 2.0]), np.array([3.0, 4.0])) == 1.0  # all of it, times sqrt(2 * 2 / 4)


@pytest.fixture(params=["adamw"])
def trained(tmp_path, monkeypatch, request):
    """A training of two steps by both sides; ``write`` changes rows of the run by our own configuration."""
    optimizer = request.param
    monkeypatch.setattr(verdict, "FIRST_STEPS", 1)
    monkeypatch.setattr(cases, "TRAININGS", {"short": {"loss": "v1", "optimizer": {"name": optimizer}}})
    monkeypatch.setattr(cases, "STEPS", 2)
    runs = (("run", "", 0, 2), ("run-official", ", OLMo's file", 0, 2), ("run-continued", ", OLMo's checkpoint", 1, 2))
    monkeypatch.setattr(verdict, "RUNS", runs)
    row = {"train/CrossEntropyLoss": 2.0, "optim/learning_rate": 1e-3, "optim/total_grad_norm": 4.0}
    np.savez(tmp_path / "orders-ours.npz", trained=np.array([[3, 1], [0, 2]]))
    lines = [json.dumps(row | {"step": step}) + "\n" for step in (1, 2)]
    for run, _, first, last in runs:
        (tmp_path / "trainings" / "short" / run).mkdir(parents=True)
        (tmp_path / "trainings" / "short" / run / "metrics.jsonl").write_text("".join(lines[first:last]))
    theirs = [row | {"instances": [3, 1]}, row | {"instances": [0, 2]}]
    (tmp_path / "trainings" / "short" / "ai2.json").write_text(json.dumps(theirs))

    def write(*changes):
        lines = [json.dumps(row | {"step": step} | change) + "\n" for step, change in enumerate(changes, start=1)]
        (tmp_path / "trainings" / "short" / "run" / "metrics.jsonl").write_text("".join(lines))
        return {row.check: row for row in verdict.trainings(tmp_path)}

    return write


def test_equal_trainings_miss_nothing(trained):
    rows = trained({}, {})
    assert [row.figure for row in rows.values()] == [0] * 16


def test_a_loss_that_drifts_is_a_miss(trained):
    rows = trained({}, {"train/CrossEntropyLoss": 2.001})
    assert [row.check for row in rows.values() if not row.met] == ["loss of every step, v1"]
    assert rows["loss of every step, v1"].figure == pytest.approx(1e-3)


@pytest.mark.parametrize("trained", ["lionw"], indirect=True)
def test_a_training_by_signs_may_drift_later_but_not_at_first(trained):
    assert all(row.met for row in trained({}, {"train/CrossEntropyLoss": 2.0009}).values())
    rows = trained({"train/CrossEntropyLoss": 2.00002}, {"train/CrossEntropyLoss": 2.002})
    missed = [row.check for row in rows.values() if not row.met]
    assert missed == ["loss of every step, v1, by signs", "loss of the first 1 steps"]


def test_a_training_by_olmos_file_is_compared_too(trained, tmp_path):
    (tmp_path / "trainings" / "short" / "run-official" / "metrics.jsonl").write_text("")
    rows = trained({}, {})
    assert rows["steps missing, OLMo's file"].figure == 2
    assert rows["loss of every step, v1, OLMo's file"].figure == math.inf
    assert rows["loss of every step, v1"].met


def test_steps_behind_a_checkpoint_of_ai2_olmo_are_compared_with_its_own(trained, tmp_path):
    place = tmp_path / "trainings" / "short" / "run-continued" / "metrics.jsonl"
    row = json.loads(place.read_text())
    place.write_text(json.dumps(row | {"train/CrossEntropyLoss": 2.001}) + "\n")
    rows = trained({}, {})
    assert [row.check for row in rows.values() if not row.met] == ["loss of every step, v1, OLMo's checkpoint"]
    place.write_text(json.dumps(row | {"step": 1}) + "\n")
    assert trained({}, {})["steps missing, OLMo's checkpoint"].figure == 2


def test_a_value_or_a_step_that_is_missing_is_a_miss(trained):
    assert not trained({}, {"train/CrossEntropyLoss": math.nan})["loss of every step, v1"].met
    rows = trained({})
    assert rows["steps missing"].figure == 1
    assert rows["loss of every step, v1"].figure == math.inf


def test_other_instances_are_a_miss(trained, tmp_path):
    np.savez(tmp_path / "orders-ours.npz", trained=np.array([[3, 1], [2, 0]]))
    assert trained({}, {})["instances of every step not equal"].figure == 2


def test_conversions_are_equal_to_the_byte(tmp_path, monkeypatch):
    monkeypatch.setattr(cases, "ARCHITECTURES", {"olmo tied": {}})
    folder = tmp_path / "models" / "olmo-tied"
    for kind in ("hf-of-pt", "hf-of-safetensors", "hf-of-hf_olmo", "hf-again"):
        (folder / kind).mkdir(parents=True)
        (folder / kind / "model.safetensors").write_bytes(b"weights")
    np.save(folder / "logits-returned.npy", np.zeros(3))
    np.savez(folder / "ai2.npz", logits=np.zeros(3))
    returned = {"olmo tied": {"weights": [], "settings": ["init_fn", "attention_layer_norm_with_affine"]}}
    (tmp_path / "returned.json").write_text(json.dumps(returned))
    assert [row.figure for row in verdict.checkpoints(tmp_path)] == [0, 0, 0, 0]
    (folder / "hf-again" / "model.safetensors").write_bytes(b"weightz")
    np.save(folder / "logits-returned.npy", np.array([0, 1e-9, 0]))
    returned["olmo tied"] = {"weights": ["transformer.wte.weight"], "settings": ["clip_qkv"]}
    (tmp_path / "returned.json").write_text(json.dumps(returned))
    assert [row.figure for row in verdict.checkpoints(tmp_path)] == [1, 1, 1, 1]


def test_complaints_other_classes_and_other_continuations_are_misses(tmp_path, monkeypatch):
    monkeypatch.setattr(cases, "ARCHITECTURES", {"llama tied": {}})
    folder = tmp_path / "models" / "llama-tied"
    folder.mkdir(parents=True)
    (folder / "generated-ours.json").write_text(json.dumps({"prompt_tokens": [5], "tokens": [6, 7]}))
    theirs = {"class": "LlamaForCausalLM", "complaints": {}, "prompt": [5], "generated": [6, 7]}

    def figures():
        (tmp_path / "new.json").write_text(json.dumps({"models": {"llama tied": theirs}}))
        return [row.figure for row in verdict.loaded(tmp_path, {"new": "transformers"})]

    assert figures() == [0, 0, 0]
    theirs |= {"class": "OlmoForCausalLM", "complaints": {"missing_keys": ["a", "b"]}, "generated": [6, 8]}
    assert figures() == [2, 1, 1]


def test_first_weights_of_another_spread_are_a_miss(tmp_path, monkeypatch):
    monkeypatch.setattr(cases, "INITIALIZATIONS", {"normal": {"init_fn": "normal"}})
    generator = np.random.Generator(np.random.PCG64(0))
    first, second = generator.standard_normal((2, 40_000))
    np.savez(tmp_path / "first-normal-ours.npz", w=first, norm=np.ones(3))
    np.savez(tmp_path / "first-normal-ai2.npz", w=second, norm=np.ones(3))
    assert all(row.met for row in verdict.initializations(tmp_path))
    np.savez(tmp_path / "first-normal-ai2.npz", w=1.1 * second, norm=np.zeros(3))
    missed = [row.check for row in verdict.initializations(tmp_path) if not row.met]
    assert missed == [
        "first weights: deviation, in errors",
        "first weights: distribution",
        "first weights of norms: not equal",
    ]


def test_the_table_names_the_worst_case_and_every_miss():
    rows = [Row("logits", "a", 1e-6, 1e-5), Row("logits", "b", 2e-5, 1e-5), Row("names", "a", 0, 0)]
    lines = verdict.as_table(rows)
    assert lines[1].split() == ["MISS", "logits", "2", "2e-05", "1e-05", "b"]
    assert lines[2].split() == ["ok", "names", "1", "0", "0"]
    assert lines[3:] == ["MISS  logits: b: 2e-05"]


def test_the_exit_status_tells_of_a_miss(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(parity_olmo, "compute", lambda work, ai2, newest: None)
    words = ["--ai2", "a", "--transformers", "b", "--work", str(tmp_path / "work")]
    for figure, status in ((1e-6, 0), (1e-4, 1)):
        monkeypatch.setattr(parity_olmo, "compare", lambda work, figure=figure: [Row("logits", "a", figure, 1e-5)])
        assert parity_olmo.main(words) == status
        assert f"1 comparisons, {status} missed" in capsys.readouterr().out
    assert json.loads((tmp_path / "work" / "rows.json").read_text())[0]["figure"] == 1e-4
