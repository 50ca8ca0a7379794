"""``dolma-data mix``: join attributes, keep or leave out documents, replace spans, write a new documents artifact."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ..config.mix import MixConfig, MixStream
from ..documents import DOCUMENTS, DocumentsArtifact, documents_artifact, refuse_own_input
from ..files import PARTIAL, write_json
from ..locking import locked
from ..provenance import Record
from ..records import recorded
from ..resuming import open_scratch
from .finished import SCRATCH_VERSION, Finished, Scratch
from .output_files import inputs_of, make_files
from .plan import Unit, make_plan, root_of
from .rules import Counter, Funnel, compile_rules, count

log = logging.getLogger(__name__)

FUNNEL = "funnel.json"
FUNNEL_VERSION = 1


def mix(config: MixConfig) -> dict[str, dict[str, int]]:
    """Mix the streams; returns the counts of each output folder.

    Raises UserError for configurations that cannot work, for attributes that are missing, misplaced or not known, and
    for more than ``max_failed`` unreadable documents.
    """
    plan = make_plan(config)
    config, units = plan.config, plan.units
    outputs: dict[Path, list[int]] = {}
    for number, stream in enumerate(config.streams):
        outputs.setdefault(root_of(stream, config.compat), []).append(number)
    counts = {}
    for output, numbers in outputs.items():
        chosen = [unit for unit in units if unit.stream in numbers]
        if config.compat == "dolma":
            with locked(output):
                counts[str(output)] = _mix_beside(output, config, chosen)
        else:
            refuse_own_input(output, (file.path for unit in units for file in unit.files))
            counts[str(output)] = _mix_into(output, config, chosen)
    return counts


def _mix_into(output: Path, config: MixConfig, units: Sequence[Unit]) -> dict[str, int]:
    """Write a documents artifact, whole or not at all."""
    with recorded("dolma-data", "mix", folder=output, config=config, inputs=_inputs(config, units)) as record:
        scratch = _open_scratch(output, config, units)
        with documents_artifact(output, config.max_failed) as artifact:
            funnels = {unit.stream: Funnel() for unit in units}
            for number, finished in enumerate(make_files(scratch, config, units, range(len(units)))):
                if finished.digest is not None:
                    scratch.place(number, artifact.folder / units[number].name)
                _account(units[number], output, finished, artifact, funnels, record)
            scratch.wait()
            counts = artifact.counts()
            write_json(artifact.folder / FUNNEL, funnel_report(config, funnels))
        shutil.rmtree(scratch.folder)
        record.outputs.append(output / DOCUMENTS)
        record.counts.update(counts)
    log.info("mix: %(read)d read, %(kept)d kept, %(dropped)d dropped, %(failed)d failed", counts)
    return counts


def _mix_beside(output: Path, config: MixConfig, units: Sequence[Unit]) -> dict[str, int]:
    """Write files where allenai/dolma writes them, beside what is there; files that exist are left as they are."""
    scratch = _open_scratch(output, config, units)
    numbers = [number for number, unit in enumerate(units) if _is_own(scratch, number, output / unit.name)]
    if len(numbers) < len(units):
        left = len(units) - len(numbers)
        log.warning("warning: %d files in %s exist and are left as they are (compat)", left, output)
    beside = output.with_name(output.name + ".mix")
    todo = [units[number] for number in numbers]
    with recorded("dolma-data", "mix", folder=beside, config=config, inputs=_inputs(config, todo)) as record:
        funnels = {unit.stream: Funnel() for unit in todo}
        artifact = DocumentsArtifact(output)
        for number, finished in zip(numbers, make_files(scratch, config, units, numbers), strict=True):
            target = output / units[number].name
            if not target.exists():
                scratch.place(number, target)
            record.outputs.append(target)
            _account(units[number], output, finished, artifact, funnels, record)
        scratch.wait()
        counts = artifact.counts()
        write_json(beside / FUNNEL, funnel_report(config, funnels))
        record.counts.update(counts)
    shutil.rmtree(scratch.folder)
    log.info("mix: %(read)d read, %(kept)d kept, %(dropped)d dropped", counts)
    return counts


def _open_scratch(output: Path, config: MixConfig, units: Sequence[Unit]) -> Scratch:
    """The folder of what is finished: that of an interrupted run with the same settings, else a new one."""
    streams = [config.streams[number] for number in dict.fromkeys(unit.stream for unit in units)]
    state = [SCRATCH_VERSION, version("dolma-data"), config.compat, config.shuffle, config.seed, streams]
    return Scratch(open_scratch(output.with_name(f"{output.name}.progress{PARTIAL}"), state))


def _is_own(scratch: Scratch, number: int, target: Path) -> bool:
    """Whether an output file is still to be written, or was by the run that was interrupted."""
    return not target.exists() or scratch.has(number, target)


def _inputs(config: MixConfig, units: Sequence[Unit]) -> list[Path]:
    return list(dict.fromkeys(path for unit in units for path in inputs_of(config, unit)))


def _account(
    unit: Unit,
    output: Path,
    finished: Finished,
    artifact: DocumentsArtifact,
    funnels: dict[int, Funnel],
    record: Record,
) -> None:
    artifact.add(finished.shard)
    funnels[unit.stream].add(finished.funnel)
    known = finished.inputs | {str(output / unit.name): finished.digest}
    record.digests.update({path: digest for path, digest in known.items() if digest is not None})


def funnel_report(config: MixConfig, funnels: dict[int, Funnel]) -> dict[str, Any]:
    """What was read and kept, and what every rule matched and dropped, by source."""
    total = Funnel()
    rules = []
    for number, funnel in funnels.items():
        total.add(funnel)
        stream: MixStream = config.streams[number]
        for rule in dict.fromkeys(compile_rules(stream, config.compat).names()):
            rules.append(
                {
                    "rule": rule,
                    "stream": stream.name,
                    "dropped": _sorted(funnel.dropped.get(rule, {})),
                    "matched": _sorted(funnel.matched.get(rule, {})),
                }
            )
        for item in stream.span_replacement:
            count(total.replaced, item.span, 0)
    return {
        "format_version": FUNNEL_VERSION,
        "read": _sorted(total.read),
        "kept": _sorted(total.kept),
        "rules": rules,
        "replaced_spans": total.replaced,
        "text_bytes": {"read": _sorted(total.read_bytes), "kept": _sorted(total.kept_bytes)},
    }


def _sorted(counter: Counter) -> Counter:
    return dict(sorted(counter.items()))
