"""Find evaluation text in training documents and write it as attributes: lines that equal a line of an evaluation
document and the documents themselves (Paloma, Magnusson et al. 2023, arXiv 2312.10523, control 1), or texts by overlap
of n-grams. The mixer drops a document by these attributes as a whole."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from functools import cache, partial
from pathlib import Path

import msgspec

from .. import __version__
from ..annotate import Annotation, Chunk, Note, Scored, scored
from ..attributes import MATCHES, check_folder_name, encode_json, encode_row
from ..batch import Batch
from ..config.decontaminate import DecontaminateConfig, EvaluationRule
from ..documents import find_documents
from ..errors import UserError
from ..files import atomic_write, digest
from ..locking import locked
from ..remote import shown
from .contamination import Hit, Matches, make_matcher, self_test, too_short
from .evaluation_texts import ITEM, Unit, read_units
from .report import Contamination, write_report

EXCERPT = 500  # characters of the document that a report shows
log = logging.getLogger(__name__)


@cache
def load_matcher(folder: Path | None, rule: EvaluationRule, content: str) -> Matches:
    """The matcher of the evaluation text, made once per process; ``content`` is its digest."""
    units = read_units(folder, rule).units
    if digest_units(units) != content:
        raise UserError("the evaluation text has changed during the run", where=folder, fix="run again")
    return make_matcher(units, rule)


def digest_units(units: Sequence[Unit]) -> str:
    """Digest of the units in their order."""
    total = hashlib.sha256()
    for unit in units:
        total.update(msgspec.json.encode(unit) + b"\n")
    return "sha256:" + total.hexdigest()


def mark_chunk(folder: Path | None, rule: EvaluationRule, content: str, name: str, chunk: Chunk) -> Scored:
    """Spans and notes of a chunk."""
    rows, documents = chunk.documents()
    hits: dict[int, list[Hit]] = {}
    notes: list[Note] = []
    lines_of = [line for line, row in enumerate(rows, start=chunk.first_line) if not isinstance(row, str)]
    batch = Batch(documents)
    for hit in load_matcher(folder, rule, content).find(batch):
        hits.setdefault(hit.document, []).append(hit)
        document = documents[hit.document]
        excerpt = batch.stretch(hit.document, hit.start, min(hit.end, hit.start + EXCERPT))
        place = [document["id"], document["source"], lines_of[hit.document], hit.start, hit.end]
        notes.append(["match", *place, hit.unit, hit.score, excerpt])
    seen: dict[str, list[int]] = {}
    lines: list[bytes] = []
    for number, document in enumerate(documents):
        spans = [(hit.start, hit.end, hit.score) for hit in hits.get(number, ())]
        lines.append(encode_row(document, {name: spans} if spans else {}))
        total = seen.setdefault(document["source"], [0, 0, 0, 0])
        total[0] += 1
        total[1] += bool(spans)
        total[2] += int(batch.lengths[number])
        total[3] += _covered(spans)
    notes += (["seen", source, *total] for source, total in seen.items())
    return scored(chunk, rows, [lines], [notes])


def _covered(spans: Iterable[tuple[int, int, float]]) -> int:
    covered = reached = 0
    for start, end, _ in sorted(spans):
        covered += max(0, end - max(start, reached))
        reached = max(reached, end)
    return covered


def decontaminate(config: DecontaminateConfig) -> tuple[list[Path], dict[str, int]]:
    """Run ``decontaminate``; returns the folders written and the counts of rows."""
    name = check_folder_name(config.name)
    folder, rule = config.decontamination_set, config.evaluation
    texts = read_units(folder, rule)
    units = texts.units
    matcher = make_matcher(units, rule)
    short = too_short(matcher)
    found = self_test(matcher, units, folder)
    fewest = min(rule.ngram_length, rule.ngram_minimum_words)
    if not found:
        raise UserError(
            f"no evaluation text has {fewest} words",
            where="ngram_length, ngram_minimum_words",
            fix="take shorter n-grams",
        )
    log.info("self-test: all %d units of evaluation text are found where they are planted", found)
    contamination = Contamination(texts, short)
    missed = contamination.items_too_short()
    if missed:
        what = f"text of {fewest}" if rule.ngram_length else f"line of {rule.minimum_words}"
        log.warning("%d items of the evaluation have no %s words and cannot be compared", missed, what)
    files = find_documents(config.documents)
    content = digest_units(units)
    state = [__version__, name, content, rule]
    work = Annotation("decontaminate", files, [name], state, processes=config.processes)
    others = [*rule.suites, *rule.requests, *rule.texts]
    stated = digest(folder) if folder is not None and not others else content
    inputs = [Path(item) for item in others] + ([folder] if folder else [])
    with work.recorded("decontaminate", config, inputs):
        work.run(partial(mark_chunk, folder, rule, content, name), config.processes, config.max_failed)
        work.check(config.max_failed)
        write_matches(work, name, contamination)
        if config.report is not None:
            with locked(config.report):
                write_report(config.report, contamination, rule)
        kind = (
            f"n-grams of {rule.ngram_length} words of evaluation texts" if rule.ngram_length else "lines and documents"
        )
        source = f"{kind} of a decontamination set (arXiv 2312.10523, control 1)" if not rule.ngram_length else kind
        written = work.commit(name, [{"name": name, "keys": [name], "source": source, "digest": stated}])
    for line in contamination.summary():
        log.info("%s", line)
    return written, work.counts()


def write_matches(work: Annotation, name: str, contamination: Contamination) -> None:
    """Write ``matches.jsonl.gz`` into each folder and count what was found, by source and by unit."""
    with ExitStack() as stack:
        streams = {
            output.target: stack.enter_context(atomic_write(output.folder / MATCHES))
            for output in work.outputs.values()
        }
        for file, note in work.notes(name):
            if note[0] == "seen":
                contamination.add_documents(note[1], note[2:])
                continue
            _, document, source, line, start, end, number, score, excerpt = note
            unit = contamination.units[number]
            named = {"id": document, "source": source}
            span = {"line": line, "start": start, "end": end}
            row = {**named, "file": file.tree, **span, "unit_id": unit.id}
            row |= {"unit_source": unit.source, "unit_domain": unit.domain, "kind": unit.kind}
            if unit.part is not None:
                row["part"] = unit.part
            if unit.kind == ITEM:
                row["score"] = score
            streams[work.of(file, name).target].write(encode_json(row) + b"\n")
            place = {**named, "file": shown(str(file.path)), **span, "score": score, "text": excerpt}
            contamination.add_hit(number, place)
