"""Command line of olmo-model. Torch is imported inside the commands, so that ``--help`` is quick."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from .command_line import make_app, run
from .config.commands import ConvertConfig, GenerateConfig, PlanOptions, WhichDataConfig, WhichStepsConfig
from .config.training import TrainConfig
from .official.command import prepare
from .places import is_url

app = make_app("olmo-model", "olmo-model", "Decoder-only transformer of the OLMo family and its trainer.")
config_app = App(name="config", help="Look at a configuration of a training run, ours or of OLMo's own trainer.")
app.command(config_app)
Options = Annotated[str, Parameter(allow_leading_hyphen=True, show=False)]


@app.command(usage="Usage: olmo-model train CONFIG.yaml [OPTIONS]")
def train(
    config: Annotated[TrainConfig, Parameter(name="*")], *, dry_run: bool = False, overwrite: bool = False
) -> int:
    """Train a model, or go on with a run: the same command resumes from the newest checkpoint.

    Options such as `--optimizer.learning-rate 1e-3` go over the file. SIGINT or SIGTERM finishes the step and saves.

    Parameters
    ----------
    dry_run
        Print the complete configuration and do nothing.
    overwrite
        Remove the run in save_folder and begin anew, once everything about the new one has been checked.
    """
    import yaml

    from .plan import make_plan
    from .run_folder import as_begun
    from .train import train as train_model

    if dry_run:
        begun = config if overwrite else as_begun(config)
        print(yaml.safe_dump(make_plan(begun).resolved(), sort_keys=False, allow_unicode=True), end="")
        return 0
    return train_model(config, overwrite=overwrite)


@app.command(usage="Usage: olmo-model plan CONFIG.yaml [OPTIONS]")
def plan(
    config: Annotated[TrainConfig, Parameter(name="*")],
    *,
    options: Annotated[PlanOptions | None, Parameter(name="*")] = None,
    output: str | None = None,
) -> None:
    """Say what a run will take: parameters, steps, memory of a rank, size of a checkpoint, time and energy.

    The speed is that of a few steps of the real data here, of which nothing is kept, or that of a named accelerator. A
    run that does not fit the memory is refused, with settings that would.

    Parameters
    ----------
    output
        File for the figures as JSON.
    """
    from .answers import answered
    from .estimate import as_lines, estimate
    from .run_folder import as_begun

    wanted = options or PlanOptions()
    figures = answered(
        "plan",
        config,
        lambda: asdict(estimate(as_begun(config), wanted)),
        output=output,
        inputs=lambda: [Path(folder) / "manifest.json" for folder in config.data.folders],
        counts=lambda answer: {"steps": answer["steps"], "tokens": answer["tokens"]},
        seed=config.seed,
    )
    print("\n".join(as_lines(figures)))


@app.command
def generate(checkpoint: str, /, *, config: Annotated[GenerateConfig | None, Parameter(name="*")] = None) -> None:
    """Continue a text, or a file of texts, with any checkpoint: a run (its newest), a step of it, a model folder (Olmo,
    Olmo2 or Llama in Hugging Face's layout), or an official OLMo checkpoint.

    One prompt's text appears as it grows.

    Parameters
    ----------
    checkpoint
        Folder of the model or of the run.
    """
    from .completion import generate as continue_prompts

    config = config or GenerateConfig()  # refused: there is no prompt
    if config.prompt is not None and config.samples == 1:
        begun = False

        def show(piece: str) -> None:
            nonlocal begun
            print(piece if begun else f"{config.prompt}{piece}", end="", flush=True)
            begun = True

        continue_prompts(checkpoint, config, show)
        print("" if begun else config.prompt)
        return
    rows = continue_prompts(checkpoint, config)
    if config.output is None:
        for row in rows:
            print(json.dumps(row, ensure_ascii=False))


@app.command
def convert(source: str, target: str, /, *, config: Annotated[ConvertConfig, Parameter(name="*")]) -> None:
    """Convert a model between Hugging Face's format and that of OLMo's own code, without changing a bit of its weights.

    Both models then read a sample text; where their logits differ nothing is written.

    Parameters
    ----------
    source
        Folder of a Hugging Face model (Olmo, Olmo2, Llama), of a run, or of an official OLMo checkpoint.
    target
        Folder to make.
    """
    from .convert.command import as_lines
    from .convert.command import convert as convert_model

    print("\n".join(as_lines(convert_model(source, target, config))))


@app.command
def which_data(run_folder: str, /, *, config: Annotated[WhichDataConfig, Parameter(name="*")]) -> None:
    """Say which documents the model saw at a step of a run.

    Parameters
    ----------
    run_folder
        Folder of the run.
    """
    from .answers import answered
    from .lookup import open_run
    from .lookup import which_data as look_up

    opened = open_run(run_folder, config)
    result = answered(
        "which-data",
        config,
        lambda: look_up(run_folder, config, opened),
        output=config.output,
        inputs=lambda: list(opened.sources),
        counts=lambda answer: {
            "steps": len(answer["steps"]),
            "documents": sum(len(row["documents"]) for row in answer["steps"]),
        },
    )
    if config.output is None:
        print(json.dumps(result, indent=2, ensure_ascii=False))


@app.command
def which_steps(run_folder: str, /, *, config: Annotated[WhichStepsConfig, Parameter(name="*")]) -> None:
    """Say at which steps of a run the model saw a document.

    Parameters
    ----------
    run_folder
        Folder of the run.
    """
    from .answers import answered
    from .lookup import open_run
    from .lookup import which_steps as look_up

    opened = open_run(run_folder, config)
    result = answered(
        "which-steps",
        config,
        lambda: look_up(run_folder, config, opened),
        output=config.output,
        inputs=lambda: list(opened.sources),
        counts=lambda answer: {
            "documents": len(answer["documents"]),
            "seen": sum(len(row["seen"]) for row in answer["documents"]),
        },
    )
    if config.output is None:
        print(json.dumps(result, indent=2, ensure_ascii=False))


@config_app.command
def show(file: str, /, *options: Options) -> None:
    """Print every setting with its origin: file, flag, default, or derived from the data and the other settings.

    Options as of `olmo-model train` go over the file.

    Parameters
    ----------
    file
        Configuration, YAML.
    """
    from .explain import read
    from .explain import show as lines

    found = read(file, options)
    if not all(is_url(folder) or Path(folder).exists() for folder in found.config.data.folders):
        print("# data.tokens is not here: what follows from the data is left open")
        print("\n".join(lines(found, None)))
        return
    from .plan import make_plan
    from .run_folder import as_begun

    print("\n".join(lines(found, make_plan(as_begun(found.config)).resolved())))


@config_app.command
def validate(file: str, /, *options: Options) -> None:
    """Check a configuration against its data, the machine and the run folder, without training.

    Options as of `olmo-model train` go over the file.

    Parameters
    ----------
    file
        Configuration, YAML.
    """
    from .explain import read
    from .validate import validate as check

    print(check(read(file, options).config))


@config_app.command
def explain(key: Annotated[str, Parameter(allow_leading_hyphen=True)], /) -> None:
    """Say what a setting does: its type, range, default, and where it is defined or what it becomes.

    Parameters
    ----------
    key
        Dotted key of ours, or of a configuration of OLMo's trainer.
    """
    from .explain import explain as lines

    print("\n".join(lines(key)))


def main() -> None:
    """Entry point of the console script."""
    sys.exit(run(app, positional_config=frozenset({"train", "plan"}), prepare=prepare))
