"""Recipe folders: every stage finished, what it wrote unchanged, and no evaluation text in the training documents."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from artifact_checks.contamination import check_contamination
from artifact_checks.reading import complaint, digest_file, digest_folder, load
from artifact_checks.recognition import read_json
from artifact_checks.report import Options, Report

STAMPS = ".recipe"
SUITE, MIXED, DECONTAMINATION = "suite", "mixed", "decontamination"
OF_THE_SUITE = (DECONTAMINATION, "windows", "perplexity", "baseline/unigram", "baseline/xz")
MINIMUM_WORDS = 13  # of an evaluation paragraph: Paloma (arXiv 2312.10523, control 1)


def check_recipe_folder(folder: Path, report: Report, options: Options) -> str:
    """Check what holds between the artifacts of a recipe; each is checked by itself as well."""
    path = folder / "recipe.json"
    recipe = load(path, "recipe", report)
    details = []
    if recipe is not None:
        names = [stage["name"] for stage in recipe["stages"]]
        details.append(f"{len(names)} stages")
        if recipe["finished"] is None:
            last = f"the last stage that did is {names[-1]}" if names else "no stage did"
            report.problem(path, f"the run has not finished; {last}")
        if (folder / STAMPS).is_dir():
            check_stamps(folder, names, report)
    check_suite_digests(folder, report)
    if (folder / SUITE).is_dir() and (folder / MIXED).is_dir():
        minimum, exempt = rule(folder / DECONTAMINATION / "manifest.json")
        details.append(check_contamination(folder / SUITE, folder / MIXED, minimum, exempt, report))
    else:
        details.append(f"no {SUITE} and {MIXED} to hold against each other")
    return ", ".join(details)


def rule(manifest: Path) -> tuple[int, set[str]]:
    """(minimum of words, exempt sources) of the decontamination set; the usual rule where there is none to go by."""
    value = read_json(manifest)
    if complaint("decontamination_set", value) is not None:  # reported with the set itself
        return MINIMUM_WORDS, set()
    return value["rule"]["minimum_words"], set(value["rule"]["exempt_sources"])


def check_stamps(folder: Path, names: list[str], report: Report) -> None:
    """What every stage wrote has the digest that its stamp holds."""
    written: dict[str, dict[Path, str]] = {}
    for name in names:
        path = folder / STAMPS / f"{name}.json"
        stamp = read_json(path)
        if not isinstance(stamp, dict):
            report.problem(path, "missing, or no JSON object")
        elif not isinstance(stamp.get("outputs"), dict):
            report.problem(path, f"the stage {name} was begun and has not finished")
        else:
            written[name] = {Path(place): digest for place, digest in stamp["outputs"].items()}
    root = recorded_root([place for outputs in written.values() for place in outputs], folder)
    for name, outputs in written.items():
        for place, stated in outputs.items():
            check_output(folder / place.relative_to(root), name, stated, report)


def check_output(path: Path, stage: str, stated: Any, report: Report) -> None:
    """One file or folder that a stage wrote."""
    if not path.exists():
        report.problem(path, f"the stage {stage} wrote this, but it is missing")
    elif (digest_folder(path) if path.is_dir() else digest_file(path)) != stated:
        report.problem(path, f"not as the stage {stage} left it")


def recorded_root(places: list[Path], folder: Path) -> Path:
    """The recipe's folder as the stamps name it: where it was made, which need not be where it lies now."""
    here = folder.resolve()
    if not places or all(place.is_relative_to(here) for place in places):
        return here
    common = Path(os.path.commonpath([place.parent for place in places]))
    candidates = [common, *common.parents]
    return next(
        (root for root in candidates if any((folder / place.relative_to(root)).exists() for place in places)), common
    )


def check_suite_digests(folder: Path, report: Report) -> None:
    """All that was made from a suite was made from this one."""
    if not (folder / SUITE).is_dir():
        return
    digest = digest_folder(folder / SUITE)
    for name in OF_THE_SUITE:
        path = folder / name / "manifest.json"
        manifest = read_json(path)
        if isinstance(manifest, dict) and "suite_digest" in manifest:
            report.equal(path, "suite_digest", manifest["suite_digest"], digest)
