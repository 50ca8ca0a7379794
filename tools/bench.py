"""Benchmarks against other tools: `python tools/bench.py dolma --dolma SCRIPT --datatrove PYTHON [JOB …]`,
`… generate [JOB …]`, `… train --ai2-olmo PYTHON [JOB …]`, `… eval --lm-eval PYTHON [JOB …]` and
`… ppl --lm-eval PYTHON`.
`nox -s bench -- SUITE` makes the environments and calls this.

The job ``scaling`` of dolma (with names of commands after it) measures what a second worker helps, without the other
tools. Real text for dolma and ppl and the requests of eval come from the folder that DATA_DIR names.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

Rows = list[dict[str, Any]]


def bench_dolma(options: argparse.Namespace, work: Path) -> Rows | None:
    from benchmarks import dolma, scaling

    data = os.environ.get("DATA_DIR")
    if not data or not (Path(data) / "corpora").is_dir():
        print("error: DATA_DIR does not name a folder with corpora/; set it", file=sys.stderr)
        return None
    tools = dolma.Tools(
        dolma=options.dolma.absolute(),
        datatrove=options.datatrove.absolute(),
        ours=Path(sys.executable).parent / "dolma-data",
        tokenizer=Path(data) / "tokenizers" / "allenai_gpt-neox-olmo-dolma-v1_5.json",
        processes=options.processes,
    )
    if "scaling" in options.jobs:
        names = [name for name in options.jobs if name != "scaling"]
        return scaling.bench_scaling(Path(data), work, tools, names, options.repeat)
    return dolma.bench(Path(data), work, tools, options.jobs, options.repeat)


def bench_generation(options: argparse.Namespace, work: Path) -> Rows:
    from benchmarks import generation

    return generation.bench(work, options.jobs, options.new_tokens, options.threads, options.repeat)


def bench_training(options: argparse.Namespace, work: Path) -> Rows:
    from benchmarks import training

    ai2 = options.ai2_olmo.absolute()
    return training.bench(work, ai2, options.jobs, options.steps, options.threads, options.repeat)


def bench_evaluation(options: argparse.Namespace, work: Path) -> Rows | None:
    from benchmarks import evaluation

    data = os.environ.get("DATA_DIR")
    if not data or not (Path(data) / "eval").is_dir():
        print("error: DATA_DIR does not name a folder with eval/; set it", file=sys.stderr)
        return None
    python = options.lm_eval.absolute()
    return evaluation.bench(Path(data), work, python, options.jobs, options.limit, options.threads, options.repeat)


def bench_perplexity(options: argparse.Namespace, work: Path) -> Rows | None:
    from benchmarks import perplexity

    data = os.environ.get("DATA_DIR")
    if not data or not (Path(data) / "corpora").is_dir():
        print("error: DATA_DIR does not name a folder with corpora/; set it", file=sys.stderr)
        return None
    python = options.lm_eval.absolute()
    return perplexity.bench(Path(data), work, python, options.jobs, options.limit, options.threads, options.repeat)


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.py", description="Benchmarks against other tools.")
    suites = parser.add_subparsers(required=True, metavar="SUITE")
    dolma = suites.add_parser("dolma", help="curation beside dolma and datatrove")
    dolma.add_argument("--dolma", type=Path, required=True, help="console script of dolma 1.2.1")
    dolma.add_argument("--datatrove", type=Path, required=True, help="Python that has datatrove")
    dolma.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    dolma.set_defaults(bench=bench_dolma)
    generation = suites.add_parser("generate", help="greedy generation beside transformers")
    generation.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    generation.add_argument("--new-tokens", type=int, default=128)
    generation.set_defaults(bench=bench_generation)
    training = suites.add_parser("train", help="a training step beside transformers and ai2-olmo")
    training.add_argument("--ai2-olmo", type=Path, required=True, help="Python that has ai2-olmo 0.6.0")
    training.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    training.add_argument("--steps", type=int, default=3, help="steps of a round")
    training.set_defaults(bench=bench_training)
    evaluation = suites.add_parser("eval", help="rank classification beside lm-evaluation-harness")
    evaluation.add_argument("--lm-eval", type=Path, required=True, help="Python that has lm-eval 0.4.13")
    evaluation.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    evaluation.add_argument("--limit", type=int, default=50, help="instances of each task")
    evaluation.set_defaults(bench=bench_evaluation)
    perplexity = suites.add_parser("ppl", help="perplexity beside lm-evaluation-harness's rolling path")
    perplexity.add_argument("--lm-eval", type=Path, required=True, help="Python that has lm-eval 0.4.13")
    perplexity.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    perplexity.add_argument("--limit", type=int, default=300, help="documents")
    perplexity.set_defaults(bench=bench_perplexity)
    for suite in (dolma, generation, training, evaluation, perplexity):
        suite.add_argument("jobs", nargs="*", help="only jobs whose names hold one of these words")
        suite.add_argument("--repeat", type=int, default=3, help="runs of each; medians are reported")
        suite.add_argument("--output", type=Path, help="JSON file for the rows")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as work:
        rows = options.bench(options, Path(work))
    if rows is None:
        return 2
    if options.output:
        options.output.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    return 1 if any("failed" in row or row.get("first_difference") for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
