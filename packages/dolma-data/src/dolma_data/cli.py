"""Command line of dolma-data."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from .command_line import given, make_app, run
from .config.analyze import AnalyzeConfig
from .config.decontaminate import DecontaminateConfig
from .config.dedupe import DedupeConfig
from .config.extract import ExtractConfig
from .config.kinds import Place, Several
from .config.mix import MixConfig
from .config.models import ModelGetConfig, ModelListConfig
from .config.reshard import ReshardConfig
from .config.run import RunConfig
from .config.stat import StatConfig
from .config.tag import TagConfig
from .config.tokens import TokensConfig, TrainTokenizerConfig
from .config.train_classifier import TrainClassifierConfig
from .config.warc import WarcConfig
from .config.why import WhyConfig
from .dolma_settings import load_settings, prepare_arguments, prepare_line, prepare_settings
from .errors import UserError
from .locking import locked
from .remote import REMOTE, as_text, refuse_urls, shown, split_url, unseen, with_urls
from .remote_commands import publish, remote_paths

if TYPE_CHECKING:
    from pathlib import Path

    from .recipe.pipeline import Bound
    from .recipe.recipe import Step

app = make_app(
    "dolma-data",
    "dolma-data",
    "Curation of text corpora: extraction, tagging, deduplication, decontamination, mixing, tokenisation. Every command"
    " takes its settings from a YAML file too, with -c FILE; options win over it.",
)

NO_STREAMS = WhyConfig()


@app.command
@remote_paths
def extract(*paths: Annotated[str, Place.READ], config: Annotated[ExtractConfig, Parameter(name="*")]) -> None:
    """Write documents out of text, Markdown, JSON Lines, HTML, WARC, WET and ARC files, or the installed Python.

    Parameters
    ----------
    paths
        Files and folders, or `python-docs`: documentation, docstrings and sources of the Python that runs this.
    """
    from .extract.extraction import extract, plan

    if config.dry_run:
        missing = unseen(paths)
        return print_plan(config, units=0 if missing else len(plan(paths, config)), paths=list(paths), missing=missing)
    extract(paths, config)
    return None


@app.command
@remote_paths
def tag(*, config: Annotated[TagConfig, Parameter(name="*")]) -> None:
    """Score documents with taggers and write the scores as attributes beside them."""
    from .tag import make_plan, tag
    from .taggers.registry import MissingResourceError

    if config.dry_run:
        places = listed(config.documents)
        try:
            outputs = dict(make_plan(config).outputs)
        except MissingResourceError as error:
            places["missing"].append(str(error))
            return print_plan(config, **places)
        return print_plan(config, outputs=outputs, **places)
    tag(config)
    return None


@app.command(name="list")
@remote_paths
def list_taggers(*, tagger_modules: Annotated[tuple[str, ...], Several, Place.READ] = ()) -> None:
    """List the taggers: name, what it computes, types of span, source, what it needs.

    Parameters
    ----------
    tagger_modules
        Taggers of your own to list too: Python files, or names of modules that can be imported.
    """
    from .taggers import describe_taggers, load_tagger_modules

    load_tagger_modules(tagger_modules)
    print(describe_taggers())


@app.command
@remote_paths
def dedupe(*, config: Annotated[DedupeConfig, Parameter(name="*")]) -> None:
    """Find repeated documents or paragraphs and write them as attributes."""
    from .dedupe.deduplication import dedupe
    from .dedupe.settings import check_settings, choose_method

    if config.dry_run:
        output, method = check_settings(config), choose_method(config)
        return print_plan(config, output=output, method=method, **listed(config.documents))
    dedupe(config)
    return None


@app.command
@remote_paths
def decontaminate(*, config: Annotated[DecontaminateConfig, Parameter(name="*")]) -> None:
    """Find evaluation text in documents and write it as attributes."""
    from .decontaminate.decontamination import decontaminate
    from .decontaminate.evaluation_texts import read_units

    if config.dry_run:
        places = listed(config.documents)
        missing = unseen(config.decontamination_set, config.evaluation)
        units = 0 if missing else len(read_units(config.decontamination_set, config.evaluation).units)
        places["missing"] += missing
        return print_plan(config, units=units, **places)
    decontaminate(config)
    return None


@app.command
@remote_paths
def stat(*, config: Annotated[StatConfig, Parameter(name="*")]) -> None:
    """Summarise attributes as histograms, and print a table of them."""
    from .analysis.attributes import format_table, stat
    from .attributes import find_attributes

    if config.dry_run:
        return print_plan(config, **_listed(config.attributes, lambda folder: find_attributes([folder])))
    print(format_table(stat(config), config.total))
    return None


@app.command
@remote_paths
def analyze(*, config: Annotated[AnalyzeConfig, Parameter(name="*")]) -> None:
    """Describe a corpus: by source, language, domain and length, duplicates, frequent n-grams; with plots."""
    from .analysis.corpus import PAGE, analyze

    if config.dry_run:
        return print_plan(config, **listed(config.documents))
    analyze(config)
    print(shown(str(config.output / PAGE)))
    return None


@app.command
@remote_paths
def mix(config: Annotated[MixConfig, Parameter(name="*")]) -> None:
    """Join attributes, keep or leave out documents by rules, replace spans: streams of a file."""
    from .mix.mixer import mix
    from .mix.plan import make_plan

    if config.dry_run:
        plan = make_plan(config, dry_run=True)
        outputs = {unit.name: [str(file.path) for file in unit.files] for unit in plan.units}
        return print_plan(config, outputs=outputs, missing=plan.missing, notes=plan.notes)
    mix(config)
    return None


@app.command
@remote_paths
def train_tokenizer(config: Annotated[TrainTokenizerConfig, Parameter(name="*")]) -> None:
    """Train a byte-level BPE tokenizer on documents."""
    from .tokens.tokenizer import train_tokenizer

    if config.dry_run:
        return print_plan(config)
    train_tokenizer(config)
    return None


@app.command
@remote_paths
def tokens(config: Annotated[TokensConfig, Parameter(name="*")]) -> None:
    """Encode documents, in a seeded order over the whole corpus, into files of token ids."""
    from .tokens.writer import plan, tokens

    if config.dry_run:
        return print_plan(config, **plan(config, listed(config.documents)))
    tokens(config)
    return None


@app.command
@remote_paths
def reshard(config: Annotated[ReshardConfig, Parameter(name="*")]) -> None:
    """Mix folders of tokens by ratio into one, in a new random order."""
    from .tokens.reshard import plan, reshard

    if config.dry_run:
        return print_plan(config, **plan(config))
    reshard(config)
    return None


@app.command
@remote_paths
def warc(config: Annotated[WarcConfig, Parameter(name="*")]) -> None:
    """Write documents out of web archives, scored by taggers before and after their text is taken."""
    from .extract.warc import find_archives, plan, warc

    if config.dry_run:
        missing = _listed(config.documents, lambda item: (file.path for file in find_archives(item)))["missing"]
        units = [] if missing else plan(config)
        return print_plan(config, files={str(unit.file): str(unit.root / unit.name) for unit in units}, missing=missing)
    warc(config)
    return None


@app.command
@remote_paths(explains=True)
def why(identifier: str, /, *, config: Annotated[WhyConfig, Parameter(name="*")] = NO_STREAMS) -> None:
    """Tell what is known of a document: its scores, what every rule makes of them, what is replaced, and its fate.

    Parameters
    ----------
    identifier
        The document's id.
    """
    from .analysis.why import format_accounts, why

    accounts = why(identifier, config)
    told = json.dumps(accounts, indent=2, ensure_ascii=False) if config.json else format_accounts(accounts)
    print(with_urls(told))


@app.command
@remote_paths
def train_classifier(*, config: Annotated[TrainClassifierConfig, Parameter(name="*")]) -> None:
    """Train a fastText classifier on labelled text, measured on a part held out; a tagger: fasttext:FOLDER."""
    from .classifiers.report import format_report
    from .classifiers.training import train_classifier

    if config.dry_run:
        return print_plan(config)
    print(format_report(train_classifier(config)), end="")
    return None


MODELS_HELP = "Named fastText models: what there is, and getting one. Only --download uses the network."
models = App(name="models", help=MODELS_HELP)
app.command(models)


@models.command(name="list")
@remote_paths
def list_models(*, config: Annotated[ModelListConfig | None, Parameter(name="*")] = None) -> None:
    """List the models: what for, where from, whether on this machine."""
    from .classifiers.catalogue import describe_models

    print(describe_models((config or ModelListConfig()).folder))


@models.command(name="get")
@remote_paths
def get_model(name: str, *, config: Annotated[ModelGetConfig | None, Parameter(name="*")] = None) -> None:
    """Put a model where taggers find it; its digest is checked, or recorded at first use.

    Parameters
    ----------
    name
        One of `dolma-data models list`.
    """
    from .classifiers.catalogue import find_named_model, get_model

    config = config or ModelGetConfig()
    if config.dry_run:
        return print_plan(config, origin=find_named_model(name).origin)
    print(get_model(name, config))
    return None


@app.command(name="run")
@remote_paths(resumes=True)
def run_recipe(recipe: Annotated[str, Place.READ], /, *, config: Annotated[RunConfig, Parameter(name="*")]) -> None:
    """Run a whole pipeline from one file, from extraction to tokens; what is done already is skipped.

    Parameters
    ----------
    recipe
        A YAML file, or one of the recipes of this package: c4-like, dclm-like, dolma-v1.5-like, dolma-v1.7-like,
        fineweb-like, gopher-like.
    """
    from .recipe.pipeline import plan
    from .recipe.recipe import stated_variables

    if config.dry_run and (missing := unseen(recipe)):
        return print_plan(config, steps=[], missing=missing)
    variables = stated_variables(recipe, config)
    if config.dry_run:
        return print_plan(config, **plan(recipe, config, variables))
    run_steps(recipe, config, variables)
    return None


@remote_paths(resumes=True)
def run_steps(recipe: str, config: RunConfig, variables: Annotated[dict[str, Any], Place.READ]) -> None:
    """Run a recipe whose variables, which may be URLs of what it reads, are known."""
    from .recipe.pipeline import format_summary, run

    def bind_local(step: Step) -> Bound:
        bound = bind(step)
        refuse_urls(bound.work, "make it a variable, or write below ${output}")
        return bound

    with locked(config.output):
        print(format_summary(run(recipe, config, variables, bind_local, publish)))


def bind(step: Step) -> Bound:
    """A step of a recipe as a call of its command, its settings checked as those of a file given with -c are."""
    from dataclasses import asdict
    from functools import partial

    from .recipe.pipeline import Bound

    settings = dict(step.settings)
    paths = [str(path) for path in settings.pop("paths", ())]
    settings = prepare_settings(step.command, settings)
    before = app.config
    app.config = given(step.command, settings, f"step {step.name}")
    try:
        command, arguments, _ = app.parse_args([step.command, *paths], exit_on_error=False, print_error=False)
    finally:
        app.config = before
    config = arguments.arguments["config"]
    if step.command == "tag":
        from .tag import check_settings

        check_settings(config)
    return Bound(step, asdict(config), partial(command, *arguments.args, **arguments.kwargs))


def listed(documents: Sequence[str]) -> dict[str, list[str]]:
    """The files that inputs stand for, and what is ``missing``: a dry run says so and goes on."""
    from .documents import find_documents

    return _listed(documents, lambda item: [file.path for file in find_documents([item])])


def _listed(inputs: Iterable[Any], find: Callable[[Any], Iterable[Path]]) -> dict[str, list[str]]:
    files: dict[str, None] = {}
    missing = []
    for item in inputs:
        if split_url(item) is not None:
            missing.append(f"{as_text(item)} {REMOTE}")
            continue
        try:
            files.update((str(path), None) for path in find(item))
        except UserError as error:
            missing.append(str(error))
    return {"files": list(files), "missing": missing}


def print_plan(config: object, **more: object) -> None:
    """Print the resolved settings, and what else is known before the work, as YAML."""
    import dataclasses

    import yaml

    settings = dataclasses.asdict(config)  # type: ignore[call-overload]
    plan = json.loads(json.dumps(settings | more, default=as_text))  # no object is in it twice: YAML would mark it
    print(shown(yaml.safe_dump(plan, sort_keys=False, allow_unicode=True)), end="")


def default_settings(command: str) -> dict[str, Any]:
    """The settings that a command has of itself, mapping by mapping."""
    import dataclasses
    import inspect
    import typing

    function = app[command].default_command
    hints = {} if function is None else typing.get_type_hints(inspect.unwrap(function))
    found = {}
    for each in dataclasses.fields(hints["config"]) if dataclasses.is_dataclass(hints.get("config")) else ():
        if each.default_factory is not dataclasses.MISSING:
            found[each.name] = each.default_factory()
        elif each.default is not dataclasses.MISSING:
            found[each.name] = each.default
    return {
        name: dataclasses.asdict(value) if dataclasses.is_dataclass(value) and not isinstance(value, type) else value
        for name, value in found.items()
    }


def prepare(line: list[str], settings: dict[str, Any], where: str | None) -> tuple[list[str], dict[str, Any]]:
    """A command line and the settings of its file as the command takes them."""
    return (line, settings) if line[0].startswith("-") else prepare_line(line, settings, where, default_settings)


def execute(arguments: Sequence[str] | None = None) -> int:
    """Run a command line, in Dolma's spelling or ours; its exit status."""
    return run(app, arguments, spell=prepare_arguments, prepare=prepare, load=load_settings)


def main() -> None:
    """Entry point of the console script."""
    # NumPy's linear algebra, which nothing here uses, starts a thread for every core; see execute.start_method
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    sys.exit(execute())
