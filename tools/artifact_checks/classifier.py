"""Classifiers: the model is the one described, and its report covers the held-out examples."""

from __future__ import annotations

from pathlib import Path

from artifact_checks.reading import check_digest, load, only, parse
from artifact_checks.report import Options, Report


def check_classifier(folder: Path, report: Report, options: Options) -> str:
    """Check what `train-classifier` writes."""
    path = folder / "manifest.json"
    manifest = load(path, "classifier", report)
    if manifest is None:
        return "unreadable"
    only(folder, {"manifest.json", "model.bin", "report.json", "report.txt"}, report)
    check_digest(folder / "model.bin", manifest["digest"], "digest", path, report)
    if manifest["labels"] != sorted(set(manifest["labels"])):
        report.problem(path, "the labels are not sorted, or one comes twice")
    held_out = manifest["examples"]["held_out"]
    measured = folder / "report.json"
    if not measured.is_file():
        report.problem(measured, "missing")
        return "unreadable"
    value, wrong = parse(measured.read_bytes())
    try:
        if wrong is None:
            counted = {label: row["examples"] for label, row in value["labels"].items()}
            report.equal(measured, "labels", sorted(counted), manifest["labels"])
            report.equal(measured, "examples", value["examples"], held_out)
            report.equal(measured, "the sum over labels", sum(counted.values()), held_out)
            report.equal(
                measured, "the sum of confusion", sum(sum(r.values()) for r in value["confusion"].values()), held_out
            )
    except (AttributeError, KeyError, TypeError) as error:
        wrong = f"not the report of a classifier: {error}"
    if wrong is not None:
        report.problem(measured, wrong)
    return f"{len(manifest['labels'])} labels, {held_out:,} held-out examples"
