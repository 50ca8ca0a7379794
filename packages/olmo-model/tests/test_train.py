"""Whole runs in this process, on a few short stories."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml

from olmo_model import files
from olmo_model import train as module
from olmo_model.config.commands import WhichDataConfig
from olmo_model.config.data import DataSettings, InstanceFilterSettings
from olmo_model.config.model import ModelSettings
from olmo_model.config.optimization import AnnealSettings, BatchWarmupSettings, GuardSettings, SchedulerSettings
from olmo_model.config.training import CheckpointSettings, EvaluationSettings, TrainConfig
from olmo_model.errors import UserError
from olmo_model.lookup import which_data
from olmo_model.loss import Loss
from olmo_model.model_folder import load_model
from olmo_model.order import read_ledger
from olmo_model.plan import make_plan
from olmo_model.train import train
from olmo_model.validate import validate

VARYING = ("time", "throughput/device/MFU", "System/Peak CPU Memory (MB)")
MODEL = ModelSettings(preset="olmo-1m", d_model=32, n_heads=2, n_layers=2, mlp_hidden_size=128, max_sequence_length=16)


def run_config(folder: Path, tokens: Path, windows: Path, requests: Path, save_interval: int) -> TrainConfig:
    return TrainConfig(
        save_folder=str(folder),
        data=DataSettings(tokens=str(tokens)),
        model=MODEL,
        global_batch_size=16,
        micro_batch_size=8,
        max_duration="14",
        scheduler=SchedulerSettings(warmup="3"),
        log_interval=2,
        threads=1,
        checkpoint=CheckpointSettings(save_interval=save_interval),
        evaluation=EvaluationSettings(interval=5, windows=str(windows), requests=str(requests)),
    )


@pytest.fixture
def config(tokens_folder, windows_folder, requests_folder, tmp_path) -> TrainConfig:
    return run_config(tmp_path / "run", tokens_folder, windows_folder, requests_folder, save_interval=4)


def change(config: TrainConfig, **values: object) -> TrainConfig:
    return dataclasses.replace(config, **values)


def metrics(config: TrainConfig) -> list[dict[str, float]]:
    lines = (Path(config.save_folder) / "metrics.jsonl").read_text().splitlines()
    return [
        {key: value for key, value in json.loads(line).items() if key not in VARYING and "_per_second" not in key}
        for line in lines
    ]


def weights(config: TrainConfig, step: int) -> bytes:
    return (Path(config.save_folder) / f"step{step}" / "model.safetensors").read_bytes()


class Killed(BaseException):
    """Stands for a process that ends without any clean-up of ours."""


def kill_after(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    whole = module.Trainer.train_step

    def train_step(trainer):
        if trainer.current_step == step:
            raise Killed
        return whole(trainer)

    monkeypatch.setattr(module.Trainer, "train_step", train_step)


def test_a_run_learns_and_leaves_what_the_contract_names(config):
    assert train(config) == 0
    run = Path(config.save_folder)
    rows = metrics(config)
    assert [row["step"] for row in rows] == [1, 2, 4, 5, 6, 8, 10, 12, 14]
    assert rows[0]["train/CrossEntropyLoss"] == pytest.approx(
        6.45, abs=0.3
    )  # ln 384 + 1/2: first logits have variance 1
    assert rows[-1]["train/CrossEntropyLoss"] < rows[0]["train/CrossEntropyLoss"]
    assert set(rows[0]) == {
        "step",
        "train/CrossEntropyLoss",
        "optim/learning_rate",
        "optim/total_grad_norm",
        "optim/clipping_rate",
        "throughput/total_tokens",
    }
    evaluated = {name for name in rows[-1] if name.startswith("eval/")}
    assert evaluated == {
        *(f"eval/perplexity/{s}/{m}" for s in ("all", "even", "odd") for m in ("CrossEntropyLoss", "bits_per_byte")),
        *(f"eval/downstream/animals_acc_{m}" for m in ("raw", "per_token", "per_char", "per_byte", "uncond")),
    }
    assert [row["step"] for row in rows if set(row) & evaluated] == [5, 10, 14]
    assert sorted(path.name for path in run.iterdir()) == [
        "config.yaml",
        "data_order.jsonl",
        "latest",
        "manifest.json",
        "metrics.jsonl",
        "provenance",
        "report.html",
        "step12",
        "step14",
        "step4",
        "step8",
    ]
    assert set(json.loads((run / "manifest.json").read_text())) == {
        "artifact",
        "format_version",
        "run_name",
        "parameters",
        "tokens_fingerprint",
        "tokenizer_digest",
    }
    record = json.loads(next((run / "provenance").iterdir()).read_text())
    assert record["counts"] == {"first_step": 1, "last_step": 14, "tokens_seen": 14 * 256}
    assert load_model(run).config.d_model == 32
    report = (run / "report.html").read_text()
    assert "complete: step 14 of 14" in report
    assert all(f"<b>{name}</b>" in report for name in ("Loss", "MFU", "even", "animals_acc_per_char"))


def test_a_run_may_go_without_a_page(config):
    assert train(change(config, max_duration="4", report_interval=None)) == 0
    assert not (Path(config.save_folder) / "report.html").exists()


def test_speed_utilization_and_memory_stand_in_the_rows_and_on_the_console(config, caplog):
    config = change(config, max_duration="4", peak_flops=1e9, evaluation=EvaluationSettings())
    with caplog.at_level("INFO"):
        assert train(config) == 0
    lines = (Path(config.save_folder) / "metrics.jsonl").read_text().splitlines()
    for row in map(json.loads, lines):
        rate = row["throughput/device/tokens_per_second"]
        assert rate == row["throughput/tokens_per_second"]
        assert row["throughput/device/batches_per_second"] == pytest.approx(rate / 256)
        flops = 6 * (384 * 32 + 2 * (4 * 32 * 32 + 3 * 32 * 64)) + 6 * 2 * 32 * 16
        assert row["throughput/device/MFU"] == pytest.approx(100 * rate * flops / 1e9)
        assert 50 < row["System/Peak CPU Memory (MB)"] < 50_000
    assert "MFU is measured against 0.001 TFLOP/s: peak_flops" in caplog.text
    assert re.search(r"step 4/4 .* tokens/s  MFU [\d.]+ %  peak memory [\d,]+ MB  0:00 left", caplog.text)


@pytest.mark.parametrize("step", range(14))
def test_killed_at_any_step_and_run_again_is_bitwise_the_same(config, monkeypatch, tmp_path, step, uninterrupted):
    with monkeypatch.context() as patched:
        kill_after(patched, step)
        with pytest.raises(Killed):
            train(config)
    assert train(config) == 0
    rows, final = uninterrupted
    assert metrics(config) == rows
    assert weights(config, 14) == final


@pytest.fixture(scope="module")
def uninterrupted(tokens_folder, windows_folder, requests_folder, tmp_path_factory):
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("whole") / "run"
    config = run_config(folder, tokens_folder, windows_folder, requests_folder, save_interval=100)
    assert train(config) == 0
    return metrics(config), weights(config, 14)


def test_a_row_cut_off_by_a_kill_is_removed(config, monkeypatch, uninterrupted):
    with monkeypatch.context() as patched:
        kill_after(patched, 7)
        with pytest.raises(Killed):
            train(config)
    with open(Path(config.save_folder) / "metrics.jsonl", "a") as stream:
        stream.write('{"step": 8, "ti')
    assert train(config) == 0
    assert metrics(config) == uninterrupted[0]


def test_a_complete_run_says_so_and_changes_nothing(config, caplog):
    caplog.set_level("INFO")
    train(config)
    before = {path: path.stat().st_mtime_ns for path in Path(config.save_folder).rglob("step*/*")}
    assert train(config) == 0
    assert "is complete: step 14 of 14" in caplog.text
    assert {path: path.stat().st_mtime_ns for path in Path(config.save_folder).rglob("step*/*")} == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"evaluation": {"windows": None}}, r"evaluation\.windows \(was .*windows, is None\)"),
        ({"evaluation": {"requests": None}}, r"evaluation\.requests \(was .*requests, is None\)"),
        ({"evaluation": {"interval": 3}}, r"evaluation\.interval \(was 5, is 3\)"),
        ({"evaluation": {"tasks": ("animals",)}}, r"evaluation\.tasks \(was None, is \['animals'\]\)"),
        ({"wandb": {"project": "stories"}}, r"wandb\.project \(was None, is stories\)"),
        ({"seed": 7}, r"seed \(was 6198, is 7\)"),
        ({"optimizer": {"weight_decay": 0.2}}, r"optimizer\.weight_decay \(was 0\.1, is 0\.2\)"),
        ({"max_duration": "4", "scheduler": {"t_max": "6"}}, r"max_duration \(was 6, is 4\)"),
    ],
)
def test_a_complete_run_refuses_what_it_would_have_to_be_made_anew_for(config, changes, message):
    config = change(config, max_duration="6")
    assert train(config) == 0
    before = {path: path.read_bytes() for path in Path(config.save_folder).rglob("*") if path.is_file()}
    nested = {
        key: dataclasses.replace(getattr(config, key), **value) if isinstance(value, dict) else value
        for key, value in changes.items()
    }
    with pytest.raises(UserError, match=message) as found:
        train(change(config, **nested))
    assert "another save_folder" in str(found.value)
    assert {path: path.read_bytes() for path in Path(config.save_folder).rglob("*") if path.is_file()} == before


def test_a_complete_run_has_nothing_to_do_under_harmless_changes(config, tokens_folder, tmp_path, caplog):
    caplog.set_level("INFO")
    config = change(config, max_duration="6")
    assert train(config) == 0
    moved = shutil.copytree(tokens_folder, tmp_path / "moved")
    harmless = change(
        config,
        run_name="other",
        data=DataSettings(tokens=str(moved)),
        max_duration=f"{6 * 256}T",
        micro_batch_size=4,
        threads=2,
        log_interval=1,
        checkpoint=CheckpointSettings(save_interval=1, keep=1),
        evaluation=dataclasses.replace(config.evaluation, batch_tokens=64),
    )
    assert train(harmless) == 0
    assert "is complete: step 6 of 6; nothing to do" in caplog.text
    assert [path.name for path in Path(config.save_folder).glob("step*")] != []


def test_a_complete_run_goes_on_with_a_larger_duration_under_other_measurements(config):
    config = change(config, max_duration="6", scheduler=SchedulerSettings(warmup="3", t_max="6"))
    assert train(config) == 0
    longer = change(config, max_duration="8", evaluation=dataclasses.replace(config.evaluation, windows=None))
    assert train(longer) == 0
    assert [row["step"] for row in metrics(config)] == [1, 2, 4, 5, 6, 8]
    assert "eval/perplexity/all/bits_per_byte" not in metrics(config)[-1]


def test_the_record_of_a_run_holds_the_digests_of_what_it_was_measured_on(config):
    train(change(config, max_duration="4"))
    record = json.loads(next((Path(config.save_folder) / "provenance").iterdir()).read_text())
    assert list(record["inputs"]) == [
        str(Path(config.data.tokens) / "manifest.json"), config.evaluation.windows, config.evaluation.requests,
    ]  # fmt: skip


def test_the_resolved_configuration_gives_the_same_run(config):
    train(config)
    resolved = yaml.safe_load((Path(config.save_folder) / "config.yaml").read_text())
    assert resolved["data"]["sequence_length"] == 16
    assert resolved["model"]["vocab_size"] == 300
    assert resolved["model"]["embedding_size"] == 384
    assert resolved["scheduler"]["t_max"] == "14"
    scheduler = resolved["scheduler"] | {"anneal": AnnealSettings(**resolved["scheduler"]["anneal"])}
    again = change(config, model=ModelSettings(**resolved["model"]), scheduler=SchedulerSettings(**scheduler))
    assert make_plan(again).resolved() == resolved
    assert train(again) == 0


def test_other_settings_are_refused_by_name_and_harmless_ones_taken(config):
    train(change(config, max_duration="6"))
    with pytest.raises(UserError, match=r"seed \(was 6198, is 7\), global_batch_size \(was 16, is 8\)"):
        train(change(config, max_duration="6", seed=7, global_batch_size=8))
    with pytest.raises(UserError, match=r"a longer run on the old schedule needs --scheduler\.t-max 6"):
        train(config)
    longer = change(config, max_duration="8", log_interval=1, scheduler=SchedulerSettings(warmup="3", t_max="6"))
    assert train(longer) == 0
    assert [row["step"] for row in metrics(config)] == [1, 2, 4, 5, 6, 7, 8]


def test_other_data_is_refused(config, tokens_folder, write_tokens, tmp_path):
    train(change(config, max_duration="4"))
    other = write_tokens(tmp_path / "other", [[("a", [5] * 3000)]])
    with pytest.raises(UserError, match="begun on other data"):
        train(change(config, max_duration="4", data=DataSettings(tokens=str(other))))
    moved = shutil.copytree(tokens_folder, tmp_path / "moved")
    assert train(change(config, max_duration="4", data=DataSettings(tokens=str(moved)))) == 0


def test_only_the_newest_checkpoints_are_kept(config):
    train(change(config, checkpoint=CheckpointSettings(save_interval=2, keep=2)))
    assert sorted(path.name for path in Path(config.save_folder).glob("step*")) == ["step12", "step14"]


def test_epochs_go_on_with_the_next_seed(config):
    # 2,900 tokens are 11 batches of 16 x 16
    train(change(config, max_duration="24", evaluation=EvaluationSettings()))
    rows = read_ledger(Path(config.save_folder) / "data_order.jsonl")
    per_epoch = rows[0].instances // 16
    assert [(row.first_step, row.epoch, row.first_instance) for row in rows] == [
        (1 + epoch * per_epoch, epoch, 0) for epoch in range(len(rows))
    ]
    assert len(rows) == 1 + 23 // per_epoch
    assert {row.seed for row in rows} == {6198}


def spoil(monkeypatch, steps, micro_batches):
    """Make the loss of these steps NaN."""
    whole, taken = module.language_model_loss, [0]

    def compute(model, ids, **more):
        taken[0] += 1
        loss = whole(model, ids, **more)
        bad = float("nan") if (taken[0] - 1) // micro_batches + 1 in steps else 1.0
        return Loss(loss.total * bad, loss.cross_entropy * bad, None)

    monkeypatch.setattr(module, "language_model_loss", compute)


def test_a_loss_that_is_not_finite_names_the_documents(config, monkeypatch):
    spoil(monkeypatch, {1}, 2)
    with pytest.raises(
        UserError, match=r'the loss is nan at step 1; its batch holds the documents "story-\d+"'
    ) as found:
        train(config)
    listed = json.loads((Path(config.save_folder) / "batch_of_step1.json").read_text())
    assert len(listed["documents"]) >= 16
    assert str(listed["documents"][0]["id"]) in str(found.value)


def test_skipped_steps_stand_in_the_data_order_and_their_batch_is_kept(config, monkeypatch, caplog):
    config = change(config, guard=GuardSettings(non_finite="skip"), log_interval=5)
    spoil(monkeypatch, {3, 4, 11}, 2)
    assert train(config) == 0
    rows = read_ledger(Path(config.save_folder) / "data_order.jsonl")
    assert [(row.first_step, row.first_instance, row.skipped_steps) for row in rows[:4]] == [
        (1, 0, ()), (3, 32, (3,)), (4, 48, (4,)), (11, 160, (11,)),
    ]  # fmt: skip
    assert "step 3 made no update: the loss is nan; its batch holds the documents" in caplog.text
    run = Path(config.save_folder)
    assert sorted(path.name for path in run.glob("batch_of_step*")) == [
        f"batch_of_step{step}.json" for step in (11, 3, 4)
    ]
    found = which_data(run, WhichDataConfig(step=(2, 3, 4, 5, 11, 12)))["steps"]
    assert [step["skipped"] for step in found] == [False, True, True, False, True, False]
    order = make_plan(config).order
    assert [step["instances"] for step in found] == [order.batch(step).tolist() for step in (2, 3, 4, 5, 11, 12)]


def test_a_run_that_was_stopped_goes_on_when_such_steps_may_be_skipped(config, monkeypatch):
    with monkeypatch.context() as patched:
        spoil(patched, {6}, 2)
        with pytest.raises(UserError, match="at step 6"):
            train(config)
    spoil(monkeypatch, {2}, 2)  # counted from the checkpoint of step 4
    assert train(change(config, guard=GuardSettings(non_finite="skip"))) == 0
    rows = read_ledger(Path(config.save_folder) / "data_order.jsonl")
    assert [row.first_step for row in rows if row.skipped_steps] == [6]


def test_a_growing_batch_keeps_the_order_and_every_answer_exact(config, monkeypatch):
    # 64 instances in batches of 4, then 8, then 16: steps 1 to 4, 5 to 8, 9 on
    config = change(
        config,
        batch_warmup=BatchWarmupSettings(sizes=(4, 8), until=("256T", "768T")),
        micro_batch_size=None,
        checkpoint=CheckpointSettings(save_interval=3),
    )
    plan = make_plan(config)
    assert plan.micro_batch_size == 4
    assert [plan.order.batches.batch_size(step) for step in (4, 5, 8, 9)] == [4, 8, 8, 16]
    with monkeypatch.context() as patched:
        kill_after(patched, 7)
        with pytest.raises(Killed):
            train(config)
    assert train(config) == 0
    run = Path(config.save_folder)
    assert metrics(config)[-1]["throughput/total_tokens"] == (4 * 4 + 4 * 8 + 6 * 16) * 16
    steps = tuple(range(1, 15))
    found = which_data(run, WhichDataConfig(step=steps))["steps"]
    assert [step["instances"] for step in found] == [plan.order.batch(step).tolist() for step in steps]
    manifest = json.loads((run / "step6" / "manifest.json").read_text())
    assert manifest["tokens_seen"] == (4 * 4 + 2 * 8) * 16


def test_a_run_may_be_given_an_anneal_after_what_is_done(config):
    config = change(config, max_duration="6", scheduler=SchedulerSettings(warmup="3", t_max="40"))
    assert train(config) == 0
    annealed = change(
        config,
        max_duration="11",
        log_interval=1,
        scheduler=dataclasses.replace(config.scheduler, anneal=AnnealSettings(start="6", length="4", alpha_f=0.0)),
    )
    assert train(annealed) == 0
    rates = {row["step"]: row.get("optim/learning_rate") for row in metrics(config)}
    start = make_plan(config).schedule.learning_rate(6)
    assert [rates[step] for step in range(7, 12)] == pytest.approx([start * share for share in (0.75, 0.5, 0.25, 0, 0)])
    earlier = dataclasses.replace(annealed.scheduler.anneal, start="5")
    with pytest.raises(UserError, match=r"scheduler\.anneal\.start \(was 6, is 5\)"):
        train(change(annealed, max_duration="20", scheduler=dataclasses.replace(annealed.scheduler, anneal=earlier)))


def test_instances_that_repeat_themselves_are_left_out_of_the_loss(config, write_tokens, tmp_path):
    documents = [("good", [5 + number % 200 for number in range(320)]), ("bad", [7] * 320)]
    tokens = write_tokens(tmp_path / "tokens", [documents])
    config = change(
        config,
        data=DataSettings(tokens=str(tokens), instance_filter=InstanceFilterSettings(enabled=True, max_count=5)),
        global_batch_size=40,
        micro_batch_size=None,
        max_duration="2",
        scheduler=SchedulerSettings(warmup="1"),
        log_interval=1,
        evaluation=EvaluationSettings(),
    )
    assert train(config) == 0
    # of 641 tokens 40 instances: from the 21st on all but ids of the second document
    assert [row["train/masked_instances"] for row in metrics(config)] == [20, 20]


@pytest.mark.parametrize("d_model", [2**40, 2**58])  # more than can be addressed, and than can be counted
def test_a_model_without_enough_memory_is_refused_in_one_line(config, d_model):
    huge = dataclasses.replace(MODEL, d_model=d_model)
    with pytest.raises(UserError, match=r"GB of memory on a rank, and there are .* in this machine"):
        train(change(config, model=huge))
    assert not Path(config.save_folder).exists()


@pytest.mark.parametrize("numbers", [2**45, 2**62])  # more than can be addressed, and than can be counted
def test_memory_that_is_not_given_is_one_line(numbers):
    with pytest.raises(UserError, match="not enough memory for this model"), module.within_memory():
        torch.empty(numbers)


def test_memory_that_runs_out_in_a_step_is_one_line(config, monkeypatch):
    def exhausted(model, ids, **more):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(module, "language_model_loss", exhausted)
    with pytest.raises(UserError, match="lower micro_batch_size"):
        train(config)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_duration": "0"}, "max_duration is no step long"),
        ({"max_duration": "2"}, "warm-up of 3 steps is longer than the schedule's 2"),
        ({"global_batch_size": 10_000, "micro_batch_size": None}, "fewer than global_batch_size 10000"),
        (
            {"model": dataclasses.replace(MODEL, vocab_size=100)},
            "the tokens have 300 ids, the model's embedding 128 rows",
        ),
        ({"model": dataclasses.replace(MODEL, eos_token_id=5)}, "end in id 0, the model's eos_token_id is 5"),
        ({"device": "cpu", "precision": "amp_bf16"}, "amp_bf16 needs a CUDA device"),
    ],
)
def test_what_cannot_work_is_refused_before_any_work(config, changes, message):
    with pytest.raises(UserError, match=message):
        train(change(config, **changes))
    assert not Path(config.save_folder).exists()


def test_a_sequence_longer_than_the_model_is_refused(config):
    with pytest.raises(UserError, match="sequence_length 17 is not between 2 and the model's 16"):
        make_plan(change(config, data=dataclasses.replace(config.data, sequence_length=17)))


def test_a_folder_that_is_no_run_is_left_alone(config):
    folder = Path(config.save_folder)
    folder.mkdir()
    (folder / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="holds something that is no run"):
        train(config)
    assert [path.name for path in folder.iterdir()] == ["thesis.txt"]


def test_a_run_begins_with_the_weights_of_another(config, tmp_path):
    assert train(config) == 0
    after = change(config, save_folder=str(tmp_path / "after"), load_path=config.save_folder, max_duration="4")
    assert train(after) == 0
    first, last = metrics(after)[0], metrics(config)[-1]
    assert first["train/CrossEntropyLoss"] == pytest.approx(last["train/CrossEntropyLoss"], abs=0.3)
    assert (Path(after.save_folder) / "step4").is_dir()
    other = change(after, save_folder=str(tmp_path / "other"), model=dataclasses.replace(MODEL, n_layers=3))
    with pytest.raises(UserError, match="n_layers is 2, not 3"):
        train(other)


def test_a_run_is_removed_only_when_asked_and_nothing_else_is(config, tmp_path):
    assert train(config) == 0
    other = change(config, seed=7)
    with pytest.raises(UserError, match="begun with other settings: seed"):
        train(other)
    with pytest.raises(UserError, match="sequence_length 99 is not between"):
        train(change(other, data=dataclasses.replace(config.data, sequence_length=99)), overwrite=True)
    with pytest.raises(UserError, match="no such folder"):
        train(change(other, load_path=str(tmp_path / "none")), overwrite=True)
    with pytest.raises(UserError, match="manifest"):
        train(change(other, evaluation=EvaluationSettings(windows=str(tmp_path / "none"))), overwrite=True)
    with pytest.raises(UserError, match="load_path lies in the run that --overwrite removes"):
        train(change(other, load_path=f"{config.save_folder}/step14"), overwrite=True)
    assert (Path(config.save_folder) / "step14").is_dir()
    assert train(change(other, max_duration="3", scheduler=SchedulerSettings(warmup="1")), overwrite=True) == 0
    assert [row["step"] for row in metrics(config)] == [1, 2, 3]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(UserError, match="no run here"):
        train(change(config, save_folder=str(tmp_path / "mine")), overwrite=True)
    assert (tmp_path / "mine" / "letter.txt").read_text() == "dear"


def test_the_micro_batch_decides_where_labels_are_left_out_of_the_loss_of_v1(config, tmp_path):
    data = dataclasses.replace(config.data, instance_filter=InstanceFilterSettings(enabled=True))
    config = change(config, data=data, max_duration="4", evaluation=EvaluationSettings())
    longer = change(config, max_duration="6", scheduler=SchedulerSettings(warmup="3", t_max="4"))
    assert train(config) == 0
    with pytest.raises(UserError, match=r"micro_batch_size \(was 8, is 4\)"):
        train(change(longer, micro_batch_size=4))
    open_again = change(longer, micro_batch_size=None)  # by itself 16
    with pytest.raises(UserError, match="global_batch_size"):
        train(change(open_again, global_batch_size=12))
    assert "from step 4 on" in validate(open_again)
    assert train(open_again) == 0
    whole = change(longer, save_folder=str(tmp_path / "whole"))
    assert train(whole) == 0
    assert metrics(config) == metrics(whole)


def test_instances_left_out_before_a_kill_are_counted_in_the_next_row(config, monkeypatch, tmp_path, write_tokens):
    every_third = [(str(n), [5] * 15 if n % 3 == 0 else list(range(2, 17))) for n in range(90)]  # an instance each
    wanted = InstanceFilterSettings(enabled=True, min_period=1, max_period=8, max_count=3)
    data = DataSettings(tokens=str(write_tokens(tmp_path / "tokens", [every_third])), instance_filter=wanted)
    config = change(
        config,
        data=data,
        max_duration="9",
        log_interval=4,
        global_batch_size=8,
        checkpoint=CheckpointSettings(save_interval=3),
        evaluation=EvaluationSettings(),
    )
    whole = change(config, save_folder=str(tmp_path / "whole"))
    assert train(whole) == 0
    for step in (3, 7):
        with monkeypatch.context() as patched:
            kill_after(patched, step)
            with pytest.raises(Killed):
                train(config)
    assert train(config) == 0
    assert all(row["train/masked_instances"] > 0 for row in metrics(whole))
    assert metrics(config) == metrics(whole)


def test_what_cannot_be_told_of_a_batch_does_not_end_the_run(config, monkeypatch, tokens_folder, tmp_path, caplog):
    tokens = shutil.copytree(tokens_folder, tmp_path / "tokens")
    for file in tokens.glob("*.csv.gz"):
        file.write_bytes(b"damaged")
    data = dataclasses.replace(config.data, tokens=str(tokens))
    config = change(config, data=data, max_duration="4", evaluation=EvaluationSettings())
    with monkeypatch.context() as patched:
        spoil(patched, {2}, 2)
        with pytest.raises(
            UserError, match=r"the loss is nan at step 2; its batch holds documents that cannot be list"
        ):
            train(config)
    spoil(monkeypatch, {2}, 2)
    assert train(change(config, guard=GuardSettings(non_finite="skip"))) == 0
    assert "step 2 made no update: the loss is nan; its batch holds documents that cannot be listed: " in caplog.text
    rows = read_ledger(Path(config.save_folder) / "data_order.jsonl")
    assert [row.skipped_steps for row in rows if row.skipped_steps] == [(2,)]


def test_the_record_has_the_digests_of_the_checkpoint_without_reading_it_again(config, monkeypatch):
    read = []
    whole = files.digest_file

    def digest_file(path):
        read.append(Path(path).name)
        return whole(path)

    monkeypatch.setattr(files, "digest_file", digest_file)
    assert train(change(config, max_duration="4", evaluation=EvaluationSettings())) == 0
    record = json.loads(next((Path(config.save_folder) / "provenance").iterdir()).read_text())
    folder = Path(config.save_folder) / "step4"
    assert "model.safetensors" not in read
    assert record["outputs"] == {str(folder): files.digest(folder)}


def test_signals_after_the_first_one():
    trainer = SimpleNamespace(stop_requested=False)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it
    try:
        with module.stopping_on_signals(trainer):
            for _ in range(3):
                signal.raise_signal(signal.SIGTERM)
                assert trainer.stop_requested
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
        trainer.stop_requested = False
        with module.stopping_on_signals(trainer):
            signal.raise_signal(signal.SIGINT)
            assert trainer.stop_requested
            signal.raise_signal(signal.SIGTERM)
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_run_that_is_stopped_before_its_first_step_says_so(config, monkeypatch, caplog):
    caplog.set_level("INFO")
    monkeypatch.setattr(module.Console, "start", lambda self, trainer: signal.raise_signal(signal.SIGTERM))
    assert train(config) == 130
    assert "stopped before the first step; resume with the same command" in caplog.text
    assert not list(Path(config.save_folder).glob("step*"))
