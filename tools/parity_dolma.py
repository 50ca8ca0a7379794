"""Compare every tagger that runs offline with allenai/dolma's of the same name, on the same documents.

`python tools/parity_dolma.py --dolma PYTHON [--data DIR] [--taggers NAME …] [--bytes N]`

PYTHON is an interpreter whose environment holds `dolma[code]==1.2.1`; DIR (default: the environment variable DATA_DIR)
holds the corpora. Each of our taggers scores twice: by default, and with dolma's behaviour wherever
docs/dolma-differences.md says that it differs. The second must be equal to dolma in every span of every document. A row
in which the default differs is attributed to the difference that makes it so, which is found by leaving dolma's
behaviour out for one difference at a time. Whatever is left is unexplained, and the exit status 1.
"""

from __future__ import annotations

import argparse
import json
import operator
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dolma_data.batch import Batch
from dolma_data.taggers import TaggerOptions, find_tagger, tagger_names
from parity.corpus import Document, read_corpus
from parity.resources import data_of_dolma, find_resources

RAISES = "tagger-raises"
UNREPRODUCIBLE = {"random_number_v1": "random-numbers"}
EVERY = {
    "uniseg": 8,
    "repetitions": 3,
    "paragraph_repetitions": 3,
    "lingua": 12,
    "pii_presidio": 4,
}  # of the slowest, one document of so many
SLOW = (
    "lingua",
    "uniseg",
    "repetitions",
    "paragraph_repetitions",
    "code_secrets",
    "pii_regex_v",
    "pii_regex_with_counts_v",
)
QUADRATIC = ("pii_regex_v", "pii_regex_with_counts_v", "repetitions", "paragraph_repetitions")
MANY_TYPES = 40
DOCUMENTS_OF_A_BATCH = 500
Spans = list[tuple[int, int, float]]
Scores = dict[str, Spans]


@dataclass
class Tally:
    """How the rows of one attribute came out."""

    equal: int = 0
    differing: Counter[str] = field(default_factory=Counter)
    unexplained: list[str] = field(default_factory=list)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the comparison; 0 where everything is equal or explained."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--dolma", required=True, type=Path, help="Python of the environment that holds dolma")
    parser.add_argument("--data", type=Path, default=os.environ.get("DATA_DIR"), help="folder with the corpora")
    parser.add_argument("--taggers", nargs="*", default=None, help="only these")
    parser.add_argument("--bytes", type=int, default=60_000, help="of text from each source")
    parser.add_argument("--show", type=int, default=3, help="unexplained rows to print of each attribute")
    options = parser.parse_args(arguments)
    if options.data is None:
        parser.error("say where the corpora are: --data DIR, or the environment variable DATA_DIR")
    documents = read_corpus(options.data, options.bytes)
    print(f"{len(documents)} documents, {sum(len(each['text'].encode()) for each in documents) / 1e6:.2f} MB of text")
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        resources = find_resources(work, options.data, documents, data_of_dolma(options.dolma))
        theirs = names_of_dolma(options.dolma)
        names = [name for name in options.taggers or tagger_names() if name in theirs]
        skipped = {name: reason_to_skip(name, theirs[name], resources) for name in names}
        names = [name for name in names if not skipped[name]]
        samples = {name: sample(name, documents) for name in names}
        answers = run_dolma(options.dolma, samples, resources, work)
        bad = 0
        for name in set(names) - set(answers):
            skipped[name] = (work / f"{name}.missing").read_text()
        for name in answers:
            begin = time.perf_counter()
            equal = nearly_equal if "MODEL_PATH" in theirs[name] else operator.eq
            tallies = compare(name, resources.get(name, ()), samples[name], answers[name], equal)
            bad += report(name, tallies, options.show)
            print(f"    {time.perf_counter() - begin:.1f} s here", file=sys.stderr)
    for name, reason in skipped.items():
        if reason:
            print(f"not compared: {name}, {reason}")
    print("everything is equal or explained" if not bad else f"{bad} rows are unexplained")
    return 1 if bad else 0


def names_of_dolma(python: Path) -> dict[str, list[str]]:
    """The taggers of allenai/dolma, with the class attributes that name a file which it would fetch."""
    program = (
        "import dolma, json; fetched = ('MODEL_PATH', 'BLOCKLIST_PATHS', 'TOKENIZER_PATH', 'TOKENIZER_NAME_OR_PATH',"
        " 'TOKENIZER_IDENTIFIER'); print(json.dumps({name: [each for each in fetched if hasattr(cls, each)]"
        " for name, cls in dolma.TaggerRegistry.items()}))"
    )
    done = subprocess.run([python, "-c", program], capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def reason_to_skip(name: str, fetched: list[str], resources: Mapping[str, Any]) -> str | None:
    """Why dolma cannot score with this tagger here."""
    return "it reads a file that is not among the data" if fetched and name not in resources else None


def sample(name: str, documents: list[Document]) -> list[Document]:
    """The documents that are compared: fewer for dolma's slowest taggers, and none that they come to no end with."""
    every = next((every for beginning, every in EVERY.items() if name.startswith(beginning)), 1)
    light = [each for each in documents if each["source"] != "heavy" or not name.startswith(QUADRATIC)]
    return light[::every]


def run_dolma(
    python: Path, samples: Mapping[str, list[Document]], resources: Mapping[str, Sequence[Path]], work: Path
) -> dict[str, list[dict[str, Any]]]:
    """What dolma says: for each tagger a list over its documents of ``{"spans": …}`` or ``{"error": …}``."""
    tasks = {}
    for name, documents in samples.items():
        path = work / f"documents-{len(documents)}-{documents[-1]['id']}.jsonl"
        if not path.exists():
            path.write_text("".join(json.dumps(each) + "\n" for each in documents), encoding="utf-8")
        tasks[name] = {"documents": str(path), "files": [str(file) for file in resources.get(name, ())]}
    lanes = os.cpu_count() or 1
    slow_first = sorted(samples, key=lambda name: not name.startswith(SLOW))

    def work_off(lane: int) -> None:
        job = work / f"job-{lane}.json"
        names = slow_first[lane::lanes]
        job.write_text(json.dumps({"taggers": {name: tasks[name] for name in names}, "output": str(work)}))
        program = Path(__file__).parent / "parity" / "reference.py"
        done = subprocess.run([python, program, job], stderr=subprocess.PIPE, text=True)
        if done.returncode:
            raise SystemExit(f"dolma did not run:\n{done.stderr}")
        print("".join(f"    dolma {line} s\n" for line in done.stderr.splitlines()), file=sys.stderr, end="")

    with ThreadPoolExecutor(lanes) as pool:
        for future in [pool.submit(work_off, lane) for lane in range(lanes)]:
            future.result()
    found = [name for name in samples if (work / f"{name}.jsonl").exists()]
    return {name: [json.loads(line) for line in (work / f"{name}.jsonl").open(encoding="utf-8")] for name in found}


def score(name: str, files: Iterable[Path], documents: list[Document], differences: Iterable[str]) -> list[Scores]:
    """What our tagger says, with dolma's behaviour where ``differences`` name it."""
    given = tuple(files)
    tagger = find_tagger(name).prepare(
        TaggerOptions(((name, given),) if given else (), differences=frozenset(differences))
    )
    scores: list[Scores] = []
    for start in range(0, len(documents), DOCUMENTS_OF_A_BATCH):
        batch = Batch(documents[start : start + DOCUMENTS_OF_A_BATCH])
        found: list[Scores] = [{} for _ in batch.documents]
        for spans in tagger.score(batch):
            columns = (spans.documents, spans.starts, spans.ends, spans.scores)
            for document, begin, end, value in zip(*(column.tolist() for column in columns), strict=True):
                found[document].setdefault(spans.type, []).append((begin, end, round(value, 5)))
        scores += found
    return scores


def nearly_equal(ours: Spans, theirs: Spans) -> bool:
    """Equal up to one in the last digit: a model's sums of float32 depend on their order.

    A span whose score is that small may be missing.
    """
    mine, others = ({span[:2]: span[2] for span in spans} for spans in (ours, theirs))
    return all(abs(mine.get(place, 0) - others.get(place, 0)) < 1.5e-5 for place in {*mine, *others})


def compare(
    name: str,
    files: Iterable[Path],
    documents: list[Document],
    answers: list[dict[str, Any]],
    equal: Callable[[Spans, Spans], bool],
) -> dict[str, Tally]:
    """Attribute by attribute, the rows that are equal, differ for a known reason, or are unexplained."""
    files = tuple(files)
    known = find_tagger(name).differences
    ours = score(name, files, documents, ())
    as_dolma = score(name, files, documents, known)
    without = {each: score(name, files, documents, set(known) - {each}) for each in known} if known else {}
    tallies: dict[str, Tally] = {}
    for k, (document, answer) in enumerate(zip(documents, answers, strict=True)):
        for kind, theirs in rows_of(answer, ours[k]):
            tally = tallies.setdefault(kind, Tally())
            if theirs is None:
                tally.differing[RAISES] += 1
                continue
            mine = ours[k].get(kind, [])
            if name in UNREPRODUCIBLE:
                if [span[:2] for span in mine] == [span[:2] for span in theirs]:
                    tally.differing[UNREPRODUCIBLE[name]] += 1
                    continue
            elif equal(as_dolma[k].get(kind, []), theirs):
                if equal(mine, theirs):
                    tally.equal += 1
                    continue
                reasons = [each for each in known if not equal(without[each][k].get(kind, []), theirs)]
                tally.differing["+".join(reasons) or "several together"] += 1
                continue
            tally.unexplained.append(
                f"{document['id']}: dolma {theirs[:4]}, ours in its manner {as_dolma[k].get(kind, [])[:4]}"
            )
    return tallies


def rows_of(answer: dict[str, Any], ours: Scores) -> Iterator[tuple[str, Spans | None]]:
    """Each attribute of a document with dolma's spans; None for an exception."""
    if "error" in answer:
        yield answer["error"].split(":", 1)[0], None
        return
    theirs = {kind.replace(" ", "_"): [tuple(span) for span in spans] for kind, spans in answer["spans"].items()}
    for kind in sorted({*theirs, *ours}):
        yield kind, theirs.get(kind, [])


def report(name: str, tallies: dict[str, Tally], show: int) -> int:
    """Print the tallies; returns the number of unexplained rows. Many types that are all equal share one line."""
    bad = 0
    print(name)
    plain = [kind for kind, tally in tallies.items() if not tally.differing and not tally.unexplained]
    if len(plain) > MANY_TYPES:
        print(f"    {len(plain)} types, equal {sum(tallies.pop(kind).equal for kind in plain)}")
    for kind, tally in sorted(tallies.items()):
        reasons = ", ".join(f"{each} {count}" for each, count in sorted(tally.differing.items()))
        bad += len(tally.unexplained)
        print(
            f"    {kind:44} equal {tally.equal:6}  differ {sum(tally.differing.values()):5}"
            f"  unexplained {len(tally.unexplained):5}  {reasons}"
        )
        for row in tally.unexplained[:show]:
            print(f"        {row}")
    return bad


if __name__ == "__main__":
    sys.exit(main())
