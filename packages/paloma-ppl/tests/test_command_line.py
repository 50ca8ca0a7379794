"""Whole commands, as a user starts them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from paloma_ppl.cli import app
from paloma_ppl.command_line import run
from paloma_ppl.evaluate import ledger_path
from paloma_ppl.files import digest


def test_road_from_documents_to_comparison(
    documents: Path, tokenizer_file: Path, make_model: Callable[..., Path], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def command(line: str) -> int:
        return run(app, [word.format(x=documents, t=tmp_path, tok=tokenizer_file, m=models[0], n=models[1])
                         for word in line.split()])  # fmt: skip

    models = [make_model(seed=1), make_model(seed=2)]
    (tmp_path / "prepare.yaml").write_text("domain_field: metadata.package\nfraction: 0.2\n")
    assert command("prepare -c {t}/prepare.yaml --documents {x} --output {t}/S --group-field metadata.module") == 0
    assert command("decontamination-set --suite {t}/S --output {t}/D --exempt-source code") == 0
    assert command("windows --suite {t}/S --tokenizer {tok} --max-length 24 --output {t}/W") == 0
    capsys.readouterr()
    assert command("check-contamination --suite {t}/S --documents {x} --output {t}/found.json") == 1
    assert "documents/part.jsonl.gz, line " in capsys.readouterr().out
    assert command("run --model {m} --suite {t}/S --output {t}/P1 --device cpu") == 0
    assert "(macro)" in capsys.readouterr().out
    assert command("run --model {n} --suite {t}/S --output {t}/P2 --device cpu") == 0
    assert command("baseline --suite {t}/S --tokenizer {tok} --documents {x} --output {t}/B --xz-bytes 2048") == 0
    for other in ("P2", "B/xz", "B/unigram"):
        assert command("compare {t}/P1 {t}/" + other + " --output {t}/c.json") == 0
    assert "bits per byte, a = model-1, b = unigram" in capsys.readouterr().out


def test_dry_run_prints_a_plan_and_writes_nothing(
    suite_folder: Path, model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["run", "--model", model_folder, "--suite", suite_folder, "--output", tmp_path / "P", "--dry-run"]
    assert run(app, [str(word) for word in arguments]) == 0
    plan = yaml.safe_load(capsys.readouterr().out)
    assert (plan["max_length"], plan["prefix_token_id"], plan["batch_tokens"]) == (24, 0, 2048)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("run --model {t}/no --suite {s} --output {t}/P", "config.json is missing"),
        ("run --model {m} --suite {t}/no --output {t}/P", "no such suite"),
        ("run --model {m} --suite {s} --output {t}/P --device nonsense", "device 'nonsense'"),
        ("run --model {m} --suite {s} --output {t}/P --batch-token 5", "batch-tokens"),
        ("prepare --documents {t}/no --output {t}/S", "no such documents"),
        ("prepare --documents {s} --output {t}/S --fraction 0.6", "fraction of 0.6"),
        ("compare {t}/no {t}/no --output {t}/c.json", "manifest.json is missing"),
        ("windows --suite {s} --tokenizer {t}/no --max-length 5 --output {t}/W", "no such tokenizer"),
        ("windows --suite {s} --tokenizer {m} --max-length 5 --output {m}", "exists and is not a windows artifact"),
    ],
)
def test_mistakes_are_one_line_and_status_2(
    line: str, message: str, suite_folder: Path, model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [word.format(t=tmp_path, s=suite_folder, m=model_folder) for word in line.split()]
    assert run(app, words) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert len(error.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_killed_run_and_the_same_command_again_give_the_same_bytes(
    model_folder: Path, suite_folder: Path, tmp_path: Path
) -> None:
    import torch

    def arguments(output: Path) -> list[str]:
        options = {"--model": model_folder, "--suite": suite_folder, "--output": output, "--batch-tokens": 48}
        return ["run", "--device", "cpu", *(str(word) for pair in options.items() for word in pair)]

    ledger = ledger_path(tmp_path / "P") / "0"
    process = subprocess.Popen(
        [sys.executable, "-m", "paloma_ppl.cli", *arguments(tmp_path / "P")],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.DEVNULL,
    )
    while process.poll() is None and not (ledger.is_file() and ledger.stat().st_size > 1500):
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert ledger.is_file()
    assert not (tmp_path / "P").exists()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for name in ("P", "whole"):
            assert run(app, arguments(tmp_path / name)) == 0
    finally:
        torch.set_num_threads(threads)
    assert digest(tmp_path / "P") == digest(tmp_path / "whole")
    assert not ledger.parent.exists()


@pytest.mark.parametrize("name", ["prepare", "run", "baseline"])
def test_help_imports_nothing_heavy(name: str) -> None:
    code = (
        "import sys; from paloma_ppl.cli import app; from paloma_ppl.command_line import run; "
        f"run(app, ['{name}', '--help']); "
        "print(sorted({'torch', 'transformers', 'numpy', 'tokenizers', 'regex'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "--output" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"
