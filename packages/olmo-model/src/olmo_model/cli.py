"""Command line of olmo-model. Torch is imported inside the commands, so that ``--help`` is quick."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

from cyclopts import Parameter

from .command_line import make_app, run
from .config import GenerateConfig, TrainConfig, WhichDataConfig, WhichStepsConfig

app = make_app("olmo-model", "olmo-model", "Decoder-only transformer of the OLMo family and its trainer.")


@app.command
def train(config: Annotated[TrainConfig, Parameter(name="*")], *, dry_run: bool = False) -> int:
    """Train a model, or go on with a run: the same command resumes from the newest checkpoint.

    `olmo-model train CONFIG.yaml [--optimizer.learning-rate 1e-3 …]`. SIGINT or SIGTERM finishes the step and saves.

    Parameters
    ----------
    dry_run
        Print the complete configuration and do nothing.
    """
    import yaml

    from .train import make_plan
    from .train import train as train_model

    if dry_run:
        print(yaml.safe_dump(make_plan(config).resolved(), sort_keys=False, allow_unicode=True), end="")
        return 0
    return train_model(config)


@app.command
def plan(
    config: Annotated[TrainConfig, Parameter(name="*")], *, measured_steps: int = 5, output: str | None = None
) -> None:
    """Say what a run will take: parameters, steps, memory, and the time from a few steps of its real data.

    `olmo-model plan CONFIG.yaml`. Nothing is kept.

    Parameters
    ----------
    measured_steps
        Steps to take the speed from.
    output
        File for the figures as JSON.
    """
    from .plan import as_json, as_lines, estimate

    found = estimate(config, measured_steps)
    print("\n".join(as_lines(found)))
    _write(output, as_json(found))


@app.command
def generate(checkpoint: str, /, *, config: Annotated[GenerateConfig, Parameter(name="*")]) -> None:
    """Continue a text with a model folder (any OLMo v1 model in Hugging Face's layout) or a run's newest checkpoint.

    Parameters
    ----------
    checkpoint
        Folder of the model or of the run.
    """
    from .generate import generate as continue_prompt

    result = continue_prompt(checkpoint, config)
    print(result["prompt"] + result["text"])
    _write(config.output, result)


@app.command
def which_data(run_folder: str, /, *, config: Annotated[WhichDataConfig, Parameter(name="*")]) -> None:
    """Say which documents the model saw at a step of a run.

    Parameters
    ----------
    run_folder
        Folder of the run.
    """
    from .lookup import which_data as look_up

    result = look_up(run_folder, config)
    if config.output is None:
        print(json.dumps(result, indent=2, ensure_ascii=False))
    _write(config.output, result)


@app.command
def which_steps(run_folder: str, /, *, config: Annotated[WhichStepsConfig, Parameter(name="*")]) -> None:
    """Say at which steps of a run the model saw a document.

    Parameters
    ----------
    run_folder
        Folder of the run.
    """
    from .lookup import which_steps as look_up

    result = look_up(run_folder, config)
    if config.output is None:
        print(json.dumps(result, indent=2, ensure_ascii=False))
    _write(config.output, result)


def _write(output: str | None, value: Any) -> None:
    from .files import write_json

    if output is not None:
        write_json(output, value)


def main() -> None:
    """Entry point of the console script."""
    sys.exit(run(app, positional_config=frozenset({"train", "plan"})))
