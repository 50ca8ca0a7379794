"""Command line of paloma-ppl."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from .command_line import make_app, run
from .config import (
    BaselineConfig,
    CheckContaminationConfig,
    CompareConfig,
    CurvesConfig,
    DecontaminationSetConfig,
    ExportConfig,
    IndexConfig,
    PrepareConfig,
    ReportConfig,
    RescoreConfig,
    RunConfig,
    WindowsConfig,
)

DEFAULT_REPORT = ReportConfig()
app = make_app("paloma-ppl", "paloma-ppl", "Perplexity over many domains under the controls of Paloma.")


def print_plan(config: Any, **resolved: Any) -> None:
    """The configuration and what follows from it, as YAML."""
    import yaml

    plan = {**asdict(config), **resolved}
    plain = {
        key: str(value) if isinstance(value, Path) else list(value) if isinstance(value, tuple) else value
        for key, value in plan.items()
        if key != "dry_run"
    }
    print(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True), end="")


@app.command(name="prepare")
def prepare_command(config: Annotated[PrepareConfig, Parameter(name="*")]) -> None:
    """Hold documents out of a corpus and make a perplexity suite of them."""
    from .documents import document_files
    from .prepare import check, prepare

    if config.dry_run:
        check(config)
        print_plan(config, files=[str(file) for file in document_files(config.documents)[1]])
        return
    manifest = prepare(config)
    counts = manifest["counts"]
    for source, splits in manifest["sources"].items():
        for split, row in splits.items():
            print(
                f"{source}/{split}: {row['documents']} documents, {row['bytes']} bytes, {len(row['domains'])} domains"
            )
    domains = [
        row for splits in manifest["sources"].values() for part in splits.values() for row in part["domains"].values()
    ]
    print(
        f"{counts['read']} documents read, {counts['kept']} in the suite ({counts['cut']} of them as "
        f"{counts['passages']} passages), {manifest['held_out_documents']} held out of training, "
        f"{counts['failed']} failed, {counts['repeated']} with a repeated id, "
        f"{len(manifest['rule']['left_in_training'])} domains wholly in training"
    )
    if config.tokenizer is not None:
        short = sum(row["short"] for row in domains)
        print(f"{short} of {len(domains)} domains of a source and split fall short of their target of tokens")
    near = manifest["near_duplicates"]
    print(f"{near['test_documents']} documents of test nearly repeat one of val ({near['pairs']} pairs)")


@app.command(name="index")
def index_command(config: Annotated[IndexConfig, Parameter(name="*")]) -> None:
    """Write suite.json for a published release, so that its files and counts are checked from then on."""
    from .suite import index_suite, open_suite

    if config.dry_run:
        print_plan(config, sources=list(open_suite(config.suite).files))
        return
    sources = index_suite(config.suite)["sources"]
    domains = {
        (source, name) for source, parts in sources.items() for part in parts.values() for name in part["domains"]
    }
    documents = sum(part["documents"] for parts in sources.values() for part in parts.values())
    print(f"{len(sources)} sources, {len(domains)} domains, {documents} documents")


@app.command(name="decontamination-set")
def decontamination_set_command(config: Annotated[DecontaminationSetConfig, Parameter(name="*")]) -> None:
    """List the evaluation text that must stay out of training."""
    from .contamination import check_sources, write_decontamination_set
    from .suite import open_suite

    if config.dry_run:
        suite = open_suite(config.suite)
        check_sources(suite, config.exempt_source, config.minimum_words)
        print_plan(config, suite_digest=suite.digest)
        return
    counts = write_decontamination_set(config)["counts"]
    print(f"{counts['paragraphs']} paragraphs, {counts['documents']} held-out documents")


@app.command(name="check-contamination")
def check_contamination_command(config: Annotated[CheckContaminationConfig, Parameter(name="*")]) -> int:
    """Look for evaluation text in training documents; exit status 1 where some is found."""
    from .contamination import check_contamination, check_sources
    from .documents import document_files
    from .suite import open_suite
    from .table import contamination_table

    if config.dry_run:
        suite = open_suite(config.suite)
        check_sources(suite, config.exempt_source, config.minimum_words)
        files = [str(file) for file in document_files(config.documents)[1]]
        print_plan(config, suite_digest=suite.digest, files=files)
        return 0
    report = check_contamination(config)
    print(contamination_table(report))
    return 1 if report["documents_contaminated"] else 0


@app.command(name="windows")
def windows_command(config: Annotated[WindowsConfig, Parameter(name="*")]) -> None:
    """Cut a split of the suite into the model's inputs, for evaluation inside a training run."""
    from .suite import open_suite
    from .tokenizer import load_tokenizer
    from .windows import write_windows

    if config.dry_run:
        tokenizer = load_tokenizer(config.tokenizer)
        prefix = tokenizer.prefix(config.prefix_token_id, config.format)
        suite = open_suite(config.suite)
        print_plan(config, prefix_token_id=prefix, vocab_size=tokenizer.vocab_size, suite_digest=suite.digest)
        return
    manifest = write_windows(config)
    print(
        f"{manifest['windows']} windows, {manifest['tokens']} scored tokens and {manifest['bytes']} bytes of "
        f"{manifest['documents']} documents"
    )


@app.command(name="run")
def run_command(config: Annotated[RunConfig, Parameter(name="*")]) -> None:
    """Perplexity of a model over a suite."""
    from .evaluate import evaluate, resolve
    from .table import results_table

    if config.dry_run:
        plan = resolve(config)
        print_plan(
            config,
            max_length=plan.maximum_length,
            device=str(plan.device),
            dtype=plan.dtype,
            batch_tokens=plan.batch_tokens,
            prefix_token_id=plan.prefix,
            suite_digest=plan.suite.digest,
        )
        return
    if (results := evaluate(config)) is not None:
        print(results_table(results, config.limit))


@app.command(name="baseline")
def baseline_command(config: Annotated[BaselineConfig, Parameter(name="*")]) -> None:
    """What a unigram model and a compressor make of the suite."""
    from .baselines import baseline, check
    from .documents import document_files
    from .suite import open_suite
    from .table import results_table

    if config.dry_run:
        check(config)
        files = [str(file) for file in document_files(config.documents)[1]]
        print_plan(config, suite_digest=open_suite(config.suite).digest, files=files)
        return
    for name, results in baseline(config).items():
        print(f"{name}\n{results_table(results, config.limit)}\n")


@app.command(name="rescore")
def rescore_command(config: Annotated[RescoreConfig, Parameter(name="*")]) -> None:
    """Form results.json anew from the stored sums of the documents, without the model."""
    from .rescore import natural_mix, read_weights, rescore
    from .results import read_results
    from .table import number, perplexity, results_table

    if config.dry_run:
        print_plan(config, documents=len(read_results(config.results)[1]))
        return
    description, scores = read_results(config.results)
    mix = None
    if config.weights is not None:
        mix = natural_mix(scores, read_weights(config.weights), config.weights)
    print(results_table(rescore(config), description.limit))
    if mix is not None:
        bits = number(mix["bits_per_byte"], ".4f")
        print(f"natural mix: perplexity {perplexity(mix['perplexity'])}, {bits} bits per byte")


@app.command(name="compare")
def compare_command(*paths: Path, config: Annotated[CompareConfig, Parameter(name="*")]) -> None:
    """Differences of results on the same documents, the first minus each other in bits per byte.

    Parameters
    ----------
    paths
        folders of results, two or more
    """
    from .compare import compare, names_of, read_aligned
    from .table import comparison_table

    if config.dry_run:
        found = read_aligned(paths)
        print_plan(config, results=names_of(paths, found), documents=len(found[0].scores))
        return
    print(comparison_table(compare(paths, config)))


@app.command(name="curves")
def curves_command(*paths: Path, config: Annotated[CurvesConfig, Parameter(name="*")]) -> None:
    """How domains improve over the checkpoints of a run, or over sizes of models.

    Parameters
    ----------
    paths
        folders of results: those of the checkpoints of one run, or of models of several sizes
    """
    from .curves import curves, read_places
    from .table import curves_table

    if config.dry_run:
        places, read = read_places(paths, config)
        print_plan(config, results={each.description.name(): place for place, each in zip(places, read, strict=True)})
        return
    print(curves_table(curves(paths, config)))


@app.command(name="training-order")
def training_order_command(a: Path, b: Path) -> int:
    """Whether two runs saw the same data in the same order (Paloma, control 2); exit status 1 where they did not.

    Parameters
    ----------
    a
        run folder of the first model
    b
        run folder of the second model
    """
    from .training_order import difference, fingerprint, read_order

    first, second = read_order(a), read_order(b)
    for folder, order in ((a, first), (b, second)):
        print(f"{folder}: {fingerprint(order)}")
    found = difference(first, second)
    print("the same order" if found is None else f"another order, {found}")
    return 0 if found is None else 1


@app.command(name="report")
def report_command(*paths: Path, config: Annotated[ReportConfig, Parameter(name="*")] = DEFAULT_REPORT) -> None:
    """Show results side by side, domains from the best fitted to the worst.

    Parameters
    ----------
    paths
        folders of results; those of the checkpoints of one run are drawn as a curve
    """
    from .report import read_all, report

    if config.dry_run:
        print_plan(config, results=[result.name for result in read_all(paths)])
        return
    print(report(paths, config))


@app.command(name="export")
def export_command(*paths: Path, config: Annotated[ExportConfig, Parameter(name="*")]) -> None:
    """Write results as the tables of Paloma's own pipeline, which existing notebooks read.

    Parameters
    ----------
    paths
        folders of results that run wrote
    """
    from .export import export
    from .report import read_all

    if config.dry_run:
        print_plan(config, results=[result.name for result in read_all(paths)])
        return
    for name, rows in export(paths, config).items():
        print(f"{name}.jsonl.gz: {rows} rows")


def main() -> None:
    sys.exit(run(app))


if __name__ == "__main__":
    main()
