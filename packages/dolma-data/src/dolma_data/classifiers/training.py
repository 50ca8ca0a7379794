"""``train-classifier``: labelled text to a fastText model, measured on examples it never saw."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from ..attributes import clean_name
from ..batch import Batch
from ..config.train_classifier import TrainClassifierConfig
from ..documents import (
    Failure,
    check_failures,
    check_so_far,
    find_documents,
    parse_object,
    read_physical_lines,
)
from ..errors import UserError
from ..files import atomic_artifact, atomic_write, digest_file, write_json
from ..pieces import whole_texts
from ..records import recorded
from .fasttext_file import read_fasttext, write_fasttext
from .fasttext_training import train_fasttext
from .folder import ARTIFACT, MANIFEST, MODEL
from .models import prepare_classifier
from .report import format_report, make_report

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Example:
    """A text with its label."""

    text: str
    label: str


def read_examples(config: TrainClassifierConfig) -> tuple[list[Example], list[Failure], Counter[str], list[Path]]:
    """Read text and label of every line; returns also the lines without, the labels left out, and the files read."""
    examples: list[Example] = []
    failures: list[Failure] = []
    left_out: Counter[str] = Counter()
    used: set[str] = set()
    files = [file.path for file in find_documents(config.documents)]
    for path in files:
        for line, raw, damage in read_physical_lines(path):
            found = damage or _read_example(raw, config)
            if isinstance(found, str):
                failures.append(Failure(str(path), line, found))
                check_so_far(failures, config.max_failed, config.output)
            elif not config.labels:
                examples.append(found)
            elif found.label in config.labels:
                used.add(found.label)
                examples.append(Example(found.text, config.labels[found.label]))
            else:
                left_out[found.label] += 1
    unused = sorted(set(config.labels) - used)
    if unused:
        raise UserError(f"no line has the label {unused[0]!r}", where="--labels", fix="check its spelling")
    return examples, failures, left_out, files


def _read_example(raw: bytes, config: TrainClassifierConfig) -> Example | str:
    row, reason = parse_object(raw)
    if row is None:
        return str(reason)
    values = []
    for field in (config.text_field, config.label_field):
        value: Any = row
        for key in field.split("."):
            value = value.get(key) if isinstance(value, dict) else None
        if not isinstance(value, str):
            return f"no text at {field}" if value is None else f"{field} is no text"
        values.append(value)
    text, label = values
    if not label or re.search(r"[\s\0]", label):
        return f"the label {label!r} is empty or holds white space or NUL"
    return Example(text, label)


def split_examples(examples: Sequence[Example], held_out: float, seed: int) -> tuple[list[Example], list[Example]]:
    """Examples to train on and to measure by, in their order.

    Texts that are equal up to case and white space stay together. Among the groups of each label (the most frequent
    one of a group) those with the smallest seeded digests are held out until the fraction is reached, so that the
    split depends on what the texts are, not on where they stand.
    """
    groups: dict[str, list[int]] = {}
    for at, example in enumerate(examples):
        groups.setdefault(" ".join(example.text.casefold().split()), []).append(at)
    by_label: dict[str, list[tuple[int, list[int]]]] = {}
    for text, members in groups.items():
        counts = Counter(examples[at].label for at in members)
        label = min(counts, key=lambda label: (-counts[label], label))
        by_label.setdefault(label, []).append((xxhash.xxh3_128_intdigest(text.encode(), seed), members))
    apart: set[int] = set()
    for listed in by_label.values():
        wanted = held_out * sum(len(members) for _, members in listed)
        taken = 0
        for _, members in sorted(listed):
            if taken + len(members) / 2 > wanted:
                break
            apart.update(members)
            taken += len(members)
    training = [example for at, example in enumerate(examples) if at not in apart]
    return training, [example for at, example in enumerate(examples) if at in apart]


def train_classifier(config: TrainClassifierConfig) -> dict[str, Any]:
    """Train, measure and write the folder of a classifier; returns its report.

    The same examples, settings and seed give the same bytes. UserError where there are not two labels with examples
    on both sides.
    """
    if 0 < config.settings.max_characters < config.settings.min_characters:
        raise UserError(
            f"--settings.max-characters {config.settings.max_characters} is below "
            f"--settings.min-characters {config.settings.min_characters}",
            fix="give 0 for words alone",
        )
    name = clean_name(config.name or config.output.resolve().name)
    examples, failures, left_out, files = read_examples(config)
    check_failures(failures, config.max_failed, config.output)
    training, testing = split_examples(examples, config.held_out, config.seed)
    _check_labels(training, testing, config)
    with recorded(
        "dolma-data", "train-classifier", folder=config.output, config=config, inputs=files, seed=config.seed
    ) as record:
        texts, targets = [example.text for example in training], [example.label for example in training]
        model, counts = train_fasttext(texts, targets, config.settings, lower=config.lower, seed=config.seed)
        with atomic_artifact(config.output, ARTIFACT) as folder:
            with atomic_write(folder / MODEL) as stream:
                write_fasttext(stream, model, counts)
            report = _measure(folder / MODEL, testing, config.lower)
            manifest = {
                "artifact": ARTIFACT,
                "format_version": 1,
                "name": name,
                "labels": sorted({example.label for example in training}),
                "digest": digest_file(folder / MODEL),
                "lower": config.lower,
                "settings": asdict(config.settings),
                "seed": config.seed,
                "examples": {"training": len(training), "held_out": len(testing)},
            }
            write_json(folder / MANIFEST, manifest)
            write_json(folder / "report.json", report)
            with atomic_write(folder / "report.txt") as stream:
                stream.write(format_report(report).encode())
        record.outputs.append(config.output / MODEL)
        dropped = sum(left_out.values())
        record.counts.update(
            read=len(examples) + dropped + len(failures), kept=len(examples), dropped=dropped, failed=len(failures)
        )
    return report


def _check_labels(training: Sequence[Example], testing: Sequence[Example], config: TrainClassifierConfig) -> None:
    labels = {example.label for example in training} | {example.label for example in testing}
    if len(labels) < 2:
        found = ", ".join(sorted(labels)) or "none"
        raise UserError(
            f"a classifier tells labels apart; found: {found}", where=config.label_field, fix="give two or more"
        )
    for what, side in (("training", training), ("held-out", testing)):
        missing = labels - {example.label for example in side}
        if missing:
            raise UserError(
                f"the label {min(missing)!r} has no {what} example", fix="give more of it, or another --held-out"
            )


def _measure(path: Path, testing: Sequence[Example], lower: bool) -> dict[str, Any]:
    classifier = prepare_classifier(read_fasttext(path), digest_file(path))
    batch = Batch([{"text": example.text} for example in testing])
    scores = classifier.scores(batch.buffer, whole_texts(batch), lower=lower)
    places = {label: at for at, label in enumerate(classifier.labels)}
    actual = np.array([places[example.label] for example in testing], dtype=np.int64)
    return make_report(classifier.labels, np.minimum(scores, 1.0), actual)
