"""Run the same Dolma configuration with dolma and with dolma-data, and compare the documents that come out.

    python tools/parity_dolma_pipeline.py --dolma PATH/TO/dolma --work DIR [--documents CORPUS/documents]

The documents are 54 MB of real text, made from the data folder, where none are given.

Three steps, tag, dedupe and mix, from configuration files that both commands read unchanged; dolma-data runs with
``--compat dolma``. Compared are the attributes row by row (scores may differ by the last digit kept) and the mixed
files by name and content. Prints a line for every kind of difference; the exit status says whether the documents are
equal.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.corpus import make_corpus
from parity.commands import ROOT, Command, must_run, read_rows

GOPHER = "$.attributes[?(@.{key} && @.{key}[0] && @.{key}[0][2] {test})]"
PII = "$.attributes.rules__pii_regex_with_counts_fast_v2__{kind}"
LAST_DIGIT = 2e-5


def configurations(taggers: list[str], processes: int) -> dict[str, dict[str, Any]]:
    """The configuration of each step, in Dolma's keys, below the folder ROOT."""
    documents = [f"{ROOT}/documents/*.gz"]
    rules = [
        GOPHER.format(key="rules__gopher_v2__word_count", test="< 50"),
        GOPHER.format(key="rules__gopher_v2__median_word_length", test="> 10"),
        GOPHER.format(key="rules__gopher_v2__symbol_to_word_ratio", test="> 0.1"),
        GOPHER.format(key="rules__gopher_v2__fraction_of_duplicate_lines", test="> 0.3"),
        GOPHER.format(key="rules__gopher_v2__fraction_of_characters_in_most_common_2grams", test="> 0.20"),
        PII.format(kind="doc_count").replace("$.attributes.", "$.attributes[?(@.") + "[0][2] > 5)]",
    ]
    replaced = [
        {"span": "$.attributes.repeated", "min_score": 0.5, "replacement": ""},
        {"span": PII.format(kind="EMAIL_ADDRESS"), "min_score": 0.5, "replacement": " |||EMAIL_ADDRESS||| "},
    ]
    stream = {
        "name": "corpus",
        "documents": documents,
        "attributes": ["rules", "repeated"],
        "filter": {"include": [], "exclude": rules},
        "span_replacement": replaced,
        "output": {"path": f"{ROOT}/mixed", "max_size_in_bytes": 8_000_000, "discard_fields": ["attributes"]},
    }
    return {
        "tag": {"documents": documents, "taggers": taggers, "experiment": "rules", "processes": processes},
        "dedupe": {
            "documents": documents,
            "dedupe": {"name": "repeated", "paragraphs": {"attribute_name": "repeated"}, "skip_empty": True},
            "bloom_filter": {
                "file": f"{ROOT}/filter.bin",
                "read_only": False,
                "estimated_doc_count": 2_000_000,
                "desired_false_positive_rate": 1e-9,
            },
            "processes": 1,  # with more, which copy survives is left to chance in Dolma
        },
        "mix": {"streams": [stream], "processes": processes},
    }


def same_spans(left: Any, right: Any) -> bool:
    if not left or not right:
        return bool(left == right)
    return len(left) == len(right) and all(
        one[:2] == other[:2] and abs(one[2] - other[2]) <= LAST_DIGIT for one, other in zip(left, right, strict=True)
    )


def compare_attributes(dolma: Path, ours: Path) -> Counter[str]:
    """How many rows differ, by key."""
    differing: Counter[str] = Counter()
    for path in sorted((dolma / "documents").glob("*.gz")):
        for name in ("rules", "repeated"):
            files = [root / "attributes" / name / path.name for root in (dolma, ours)]
            for left, right in zip(*map(read_rows, files), strict=True):
                if left["id"] != right["id"]:
                    differing["id"] += 1
                for key in left["attributes"].keys() | right["attributes"].keys():
                    if not same_spans(left["attributes"].get(key), right["attributes"].get(key)):
                        differing[key] += 1
    return differing


def compare_mixed(dolma: Path, ours: Path) -> Counter[str]:
    """How many mixed documents and files differ, by kind of difference."""
    found: Counter[str] = Counter()
    names = [{path.name for path in (root / "mixed").glob("*.gz")} for root in (dolma, ours)]
    found["file names"] = len(names[0] ^ names[1])
    left, right = (
        {str(row["id"]): row for name in sorted(known) for row in read_rows(root / "mixed" / name)}
        for root, known in zip((dolma, ours), names, strict=True)
    )
    found["documents only dolma keeps"] = len(left.keys() - right.keys())
    found["documents only dolma-data keeps"] = len(right.keys() - left.keys())
    found["documents that differ"] = sum(left[key] != right[key] for key in left.keys() & right.keys())
    found["order"] = int(list(left) != list(right) and left.keys() == right.keys())
    print(f"mixed documents: {len(left)} by dolma, {len(right)} by dolma-data")
    return +found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dolma", required=True, help="the dolma command")
    parser.add_argument("--ours", default="dolma-data", help="the dolma-data command")
    parser.add_argument("--documents", type=Path, help="a folder of .gz files of documents")
    parser.add_argument("--data", type=Path, default=os.environ.get("DATA_DIR"), help="folder with the corpora")
    parser.add_argument("--work", required=True, type=Path, help="folder to work in; its content is replaced")
    parser.add_argument("--files", type=int, help="take only the first files")
    parser.add_argument("--taggers", nargs="+", default=["gopher_v2", "pii_regex_with_counts_fast_v2"])
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    roots = {"dolma": arguments.work / "dolma", "dolma-data": arguments.work / "dolma-data"}
    commands = {"dolma": (arguments.dolma,), "dolma-data": (arguments.ours, "--compat", "dolma")}
    documents = arguments.documents or arguments.work / "corpus" / "documents"
    if not arguments.documents and not documents.is_dir():
        if arguments.data is None:
            parser.error("say where the corpora are: --data DIR, or the environment variable DATA_DIR")
        make_corpus(arguments.data / "corpora", documents.parent)
    for root in roots.values():
        shutil.rmtree(root, ignore_errors=True)
        (root / "documents").mkdir(parents=True)
        for path in sorted(documents.glob("*.gz"))[: arguments.files]:
            os.link(path, root / "documents" / path.name)
    for step in ("tag", "dedupe", "mix"):
        for who, root in roots.items():
            settings = configurations(arguments.taggers, arguments.processes)[step]
            if step == "mix":
                (root / "mixed").mkdir(exist_ok=True)
            started = time.monotonic()
            must_run(Command(commands[who], root), step, settings)
            print(f"{step:7} {who:11} {time.monotonic() - started:7.1f} s", flush=True)
    for key, number in compare_attributes(*roots.values()).most_common():
        print(f"attributes: {number} rows differ in {key}")
    found = compare_mixed(*roots.values())
    for kind, number in found.items():
        print(f"mixed: {number} {kind}")
    print("the mixed documents are equal" if not found else "the mixed documents differ")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
