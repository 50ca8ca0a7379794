"""``dolma-data run``: the steps of a recipe, one after the other, and the funnel at the end.

A step is skipped where its record of provenance says that the same settings have already made what lies there from what
lies there: same version, same content of inputs and outputs.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from .. import __version__
from ..config.run import RunConfig
from ..documents import ATTRIBUTES, find_documents
from ..errors import UserError
from ..files import digest, read_json, write_json
from ..remote import shown
from ..remote_commands import local_of
from .recipe import Recipe, Step, find_recipe, load_recipe

SUMMARY = "summary.json"
FORMAT_VERSION = 1
NOT_COMPARED = ("processes", "debug", "dry_run")  # settings that change no content
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Bound:
    """A step whose settings are checked: ``work`` does it; ``config`` is what its record will hold."""

    step: Step
    config: dict[str, Any]
    work: partial[None]


Bind = Callable[[Step], Bound]


def run(
    name: str, config: RunConfig, variables: Mapping[str, Any], bind: Bind, publish: Callable[[], None]
) -> dict[str, Any]:
    """Run a recipe; returns the summary that is written to ``summary.json``.

    ``bind`` turns a step into its checked settings and the call of its command. All steps are bound before the
    first one runs, so that a mistake in the last step is told at once. ``publish`` is called after every step.
    Raises UserError of a step with the step's name.
    """
    recipe = load_recipe(find_recipe(name), config, variables)
    for variable, what in recipe.left_out.items():
        log.warning("left out: %s; give it with --set.%s", what, variable)
    bound: list[Bound] = [_named(step, partial(bind, step)) for step in recipe.steps]
    digests: dict[Path, str] = {}
    rows = []
    for item in bound:
        record = find_record(item, recipe, config, digests)
        if record is not None:
            log.info("✓ %s: nothing changed, skipped", item.step.name)
        else:
            log.info("▶ %s", item.step.name)
            started = time.monotonic()
            _named(item.step, item.work)
            digests.clear()
            record = find_record(item, recipe, config, digests)
            if record is None:
                raise UserError(
                    f"step {item.step.name}: another program changes its files", where=config.output, fix="run it again"
                )
            log.info("✓ %s: %.1f s", item.step.name, time.monotonic() - started)
        if item.step.command == "mix" and not record["counts"]["kept"]:
            raise UserError(
                f"step {item.step.name} keeps none of its documents",
                where=item.step.settings["streams"][0]["output"]["path"],
                fix="see in its funnel.json what every rule drops",
            )
        publish()
        rows.append({"step": item.step.name, "command": item.step.command, "counts": record["counts"]})
    summary = {
        "format_version": FORMAT_VERSION,
        "recipe": recipe.name,
        "left_out": recipe.left_out,
        "steps": rows,
        "funnels": {step.name: funnel for step, funnel in _funnels(recipe)},
    }
    write_json(config.output / SUMMARY, summary)
    return summary


def _named(step: Step, work: Callable[[], Any]) -> Any:
    try:
        return work()
    except UserError as error:
        raise UserError(f"step {step.name}: {error.what}", where=error.where, line=error.line, fix=error.fix) from error


def find_record(item: Bound, recipe: Recipe, config: RunConfig, digests: dict[Path, str]) -> dict[str, Any] | None:
    """A record of provenance that covers the step: made by these settings, from and to what is there now."""
    wanted = _spelt(comparable(item.config))
    newest_first = sorted(_records(item.step.command, recipe, config), key=lambda path: path.name, reverse=True)
    for path in newest_first:
        record = read_json(path)
        if record.get("package_version") != __version__ or _spelt(comparable(record.get("config") or {})) != wanted:
            continue
        files = {**record["inputs"], **record["outputs"]}
        if record["outputs"] and all(_digest(local_of(file), digests) == stated for file, stated in files.items()):
            return dict(record)
    return None


def comparable(config: dict[str, Any]) -> Any:
    """Settings as they stand in a record, without those that change no content."""
    kept = {key: value for key, value in config.items() if key not in NOT_COMPARED}
    return json.loads(json.dumps(kept, default=str))


def _spelt(settings: Any) -> Any:
    """Settings with remote files as a record names them."""
    return json.loads(shown(json.dumps(settings, ensure_ascii=False)))


def _records(command: str, recipe: Recipe, config: RunConfig) -> Iterator[Path]:
    pattern = f"provenance/*-{command}-*.json"
    yield from config.output.glob(f"**/{pattern}")
    roots: set[Path] = set()
    for item in recipe.variables["documents"]:
        try:
            roots.update(file.root for file in find_documents([item]))
        except UserError:
            continue  # not extracted yet
    for root in roots:
        if not root.resolve().is_relative_to(config.output.resolve()):
            yield from (root / ATTRIBUTES).glob(f"*/{pattern}")


def _digest(path: Path, digests: dict[Path, str]) -> str:
    if path not in digests:
        digests[path] = digest(path) if path.exists() else "missing"
    return digests[path]


def _funnels(recipe: Recipe) -> Iterator[tuple[Step, dict[str, Any]]]:
    """What each mixture read and kept, and what every rule matched and dropped, by source."""
    for step in recipe.steps:
        if step.command != "mix":
            continue
        for output in dict.fromkeys(stream["output"]["path"] for stream in step.settings["streams"]):
            funnel = read_json(Path(output) / "funnel.json")
            matched = [rule for rule in funnel["rules"] if rule["matched"]]
            rules = [{key: rule[key] for key in ("rule", "dropped", "matched")} for rule in matched]
            counts = {key: funnel[key] for key in ("read", "kept", "text_bytes", "replaced_spans")}
            yield step, {**counts, "rules": rules}


def format_summary(summary: dict[str, Any]) -> str:
    """The counts of every step, the funnels, and how much of each source came through, to read."""
    lines = []
    for row in summary["steps"]:
        counts = row["counts"]
        told = ", ".join(f"{value:,} {name}" for name, value in counts.items() if isinstance(value, int))
        lines.append(f"{row['step']}: {told}")
    funnels = summary["funnels"]
    for name, funnel in funnels.items():
        lines += [f"funnel of {name}", f"{'dropped':>12} {'matched':>12}  rule"]
        lines.append(f"{sum(funnel['read'].values()):>12,} {'':>12}  read")
        lines += [
            f"{-sum(rule['dropped'].values()):>12,} {sum(rule['matched'].values()):>12,}  {rule['rule']}"
            for rule in funnel["rules"]
        ]
        lines.append(f"{sum(funnel['kept'].values()):>12,} {'':>12}  kept")
    if funnels:
        in_order = list(funnels.values())
        first, last = in_order[0], in_order[-1]
        lines += ["by source", f"{'read':>12} {'kept':>12} {'of text':>9}"]
        for source, read in first["read"].items():
            text = last["text_bytes"]["kept"].get(source, 0) / max(1, first["text_bytes"]["read"][source])
            lines.append(f"{read:>12,} {last['kept'].get(source, 0):>12,} {text:>9.1%}  {source}")
    lines += [f"left out: {what} (--set.{name})" for name, what in summary["left_out"].items()]
    return "\n".join(lines)


def plan(name: str, config: RunConfig, variables: Mapping[str, Any]) -> dict[str, Any]:
    """What is left out and the steps with their settings, for a dry run."""
    recipe = load_recipe(find_recipe(name), config, variables)
    steps = [{"step": step.name, "command": step.command, "settings": step.settings} for step in recipe.steps]
    return {"left_out": recipe.left_out, "steps": steps}
