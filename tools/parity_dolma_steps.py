"""Run dedupe, mix and tokens with allenai/dolma and with dolma-data on the same configurations, and compare every row.

`python tools/parity_dolma_steps.py --dolma PATH/TO/dolma [--data DIR] [--steps dedupe mix tokens] [--bytes N]`

dolma-data runs twice: by default, and under ``--compat dolma``. The second must give exactly dolma's rows. A row in
which the default differs is attributed to ids of docs/dolma-differences.md by a model of the step in plain Python, see
tools/parity/attribution.py. Whatever is left is unexplained, and the exit status 1.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from parity import attribution, dedupe_cases, mix_cases, token_cases
from parity.commands import commands
from parity.corpus import read_corpus

STEPS = {"dedupe": dedupe_cases.compare, "mix": mix_cases.compare, "tokens": token_cases.compare}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the comparison; 0 where every row is equal or explained."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--dolma", required=True, type=Path, help="the dolma command")
    parser.add_argument("--ours", type=Path, default=Path(sys.executable).with_name("dolma-data"), help="our command")
    parser.add_argument("--data", type=Path, default=os.environ.get("DATA_DIR"), help="folder with the corpora")
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=list(STEPS))
    parser.add_argument("--bytes", type=int, default=60_000, help="of text from each source")
    parser.add_argument("--show", type=int, default=3, help="unexplained rows to print of each comparison")
    options = parser.parse_args(arguments)
    if options.data is None:
        parser.error("say where the corpora are: --data DIR, or the environment variable DATA_DIR")
    documents = read_corpus(options.data, options.bytes)
    total = attribution.Account()
    for step in options.steps:
        begin = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            runners = commands(options.dolma, options.ours, Path(folder))

            def report(name: str, account: attribution.Account) -> None:
                attribution.report(name, account, options.show)
                total.add(account)

            STEPS[step](documents, runners, report)
        print(f"    {step}: {time.perf_counter() - begin:.0f} s", file=sys.stderr)
    print(f"{total.equal} rows are equal, {sum(total.differing.values())} attributed:")
    for ids, count in sorted(total.differing.items()):
        print(f"    {count:7} {ids}")
    print("everything is equal or explained" if not total.unexplained else f"{len(total.unexplained)} are unexplained")
    return int(bool(total.unexplained))


if __name__ == "__main__":
    sys.exit(main())
