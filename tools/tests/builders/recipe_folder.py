"""The folder of a small recipe that has finished: suite, decontamination set, mix, log and stamps."""

from __future__ import annotations

import hashlib
from pathlib import Path

from builders import corpus, evaluation
from builders.files import Json, digest, write_json

THIRTEEN = "All happy families are alike; each unhappy family is unhappy in 1 way."
TWELVE = "All happy families are alike; each unhappy family is unhappy somehow else"
WRITTEN = {"suite": "suite", "decontamination-set": "decontamination", "mix": "mixed"}  # stage: what it wrote


def folder_digest(folder: Path) -> str:
    """As docs/artifacts.md has it; nothing here has provenance or names that sort differently part by part."""
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    lines = "".join(f"{name}\0{digest(folder / name)}\n" for name in files)
    return "sha256:" + hashlib.sha256(lines.encode()).hexdigest()


def suite_rows() -> dict[str, list[Json]]:
    """Evaluation text with one line of thirteen words and one of twelve, indented."""
    text = f"A title\n  {THIRTEEN}  \n\t{TWELVE}\nThe end"
    return {
        "val": [
            {"text": text, "id": "v1", "source": "wiki", "subdomain": "de"},
            {"text": "A text.", "id": "v2", "source": "wiki", "subdomain": "en"},
        ],
        "test": [{"text": "Another text.", "id": "t1", "source": "wiki", "subdomain": "en"}],
    }


def recipe(
    root: Path,
    training: str = "Nothing of it.",
    identity: tuple[str, str] = ("web", "a1"),
    exempt: tuple[str, ...] = (),
) -> Path:
    """The recipe's folder; `training` is the text of its second training document, `identity` its source and id."""
    folder = root / "output"
    suite = evaluation.suite(folder, suite_rows())
    units = [
        *([] if "wiki" in exempt else [{**corpus.UNITS[0], "id": "v1", "domain": "de", "text": THIRTEEN}]),
        *({**corpus.UNITS[1], "id": name} for name in ("v1", "v2", "t1", "u1")),
    ]
    corpus.decontamination_set(folder, "decontamination", units, exempt, folder_digest(suite))
    source, name = identity
    documents = [
        {"id": "b1", "text": f"{TWELVE}\nA book.", "source": "books"},
        {"id": name, "text": training, "source": source},
        {"id": "w1", "text": "A page.", "source": "web"},
    ]
    corpus.mixed(folder, {"documents/a.jsonl.gz": documents})
    row = {"description": "A stage.", "skipped": False, "seconds": 1.0, "peak_memory_bytes": 1024}
    stages = [{"name": stage, "command": [stage, str(folder)], **row} for stage in WRITTEN]
    log = {"recipe": "small", "started": "2026-01-01T00:00:00+00:00", "finished": "2026-01-01T00:00:09+00:00"}
    write_json(folder / "recipe.json", {**log, "stages": stages})
    for stage, written in WRITTEN.items():
        outputs = {str(folder / written): folder_digest(folder / written)}
        write_json(folder / ".recipe" / f"{stage}.json", {"begun": "k", "key": "k", "outputs": outputs, **row})
    return folder
