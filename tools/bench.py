"""Benchmarks against other tools: `python tools/bench.py dolma --dolma SCRIPT --datatrove PYTHON [JOB …]`.

The job ``scaling`` (with names of commands after it) measures what a second worker helps, without the other tools.
Real text comes from the folder that DATA_DIR names. `nox -s bench -- dolma` makes the environments and calls this.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

from benchmarks import dolma, scaling


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.py", description="Benchmarks against other tools.")
    parser.add_argument("suite", choices=["dolma"])
    parser.add_argument("jobs", nargs="*", help="only jobs whose names hold one of these words")
    parser.add_argument("--dolma", type=Path, required=True, help="console script of dolma 1.2.1")
    parser.add_argument("--datatrove", type=Path, required=True, help="Python that has datatrove")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--repeat", type=int, default=3, help="runs of each; medians are reported")
    parser.add_argument("--output", type=Path, help="JSON file for the rows")
    options = parser.parse_args()
    data = os.environ.get("DATA_DIR")
    if not data or not (Path(data) / "corpora").is_dir():
        print("error: DATA_DIR does not name a folder with corpora/; set it", file=sys.stderr)
        return 2
    tools = dolma.Tools(
        dolma=options.dolma.absolute(),
        datatrove=options.datatrove.absolute(),
        ours=Path(sys.executable).parent / "dolma-data",
        tokenizer=Path(data) / "tokenizers" / "allenai_gpt-neox-olmo-dolma-v1_5.json",
        processes=options.processes,
    )
    with tempfile.TemporaryDirectory(prefix="bench-") as work:
        if "scaling" in options.jobs:
            names = [name for name in options.jobs if name != "scaling"]
            rows = scaling.bench_scaling(Path(data), Path(work), tools, names, options.repeat)
        else:
            rows = dolma.bench(Path(data), Path(work), tools, options.jobs, options.repeat)
    if options.output:
        options.output.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    return 1 if any("failed" in row for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
