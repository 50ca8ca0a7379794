"""The folder that ``train-classifier`` writes: the model, its manifest, the report."""

from __future__ import annotations

from pathlib import Path

from ..errors import UserError
from ..files import digest_file, read_json

ARTIFACT = "classifier"
MODEL = "model.bin"
MANIFEST = "manifest.json"


def find_classifier(path: Path) -> tuple[Path, str, bool]:
    """The model's file, a name for it, and whether it reads text in lower case.

    ``path`` is a folder of ``train-classifier``, or the file of any fastText classifier. A folder whose model is not
    the one that its manifest describes is a UserError.
    """
    if not path.is_dir():
        if not path.is_file():
            raise UserError("no such model", where=path, fix="check the path")
        return path, path.stem, False
    manifest = path / MANIFEST
    stated = read_json(manifest)
    if not isinstance(stated, dict) or stated.get("artifact") != ARTIFACT:
        raise UserError("not a classifier", where=path, fix="name a folder of train-classifier, or a fastText file")
    file = path / MODEL
    if not file.is_file() or digest_file(file) != stated.get("digest"):
        raise UserError("the model is not the one that its manifest describes", where=file, fix="train it again")
    return file, str(stated["name"]), bool(stated["lower"])
