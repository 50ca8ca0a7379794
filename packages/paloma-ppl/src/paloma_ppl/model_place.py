"""Where a model lies: a folder, a checkpoint in the folder of a run, or the cache of the Hugging Face hub."""

from __future__ import annotations

import os
from pathlib import Path

from .errors import UserError

NEEDED = ["*.json", "*.safetensors"]  # files of a model on a hub that are read
LONGEST_PROBLEM = 300  # characters of another library's message


def locate(model: str, revision: str | None, download: bool) -> Path:
    """The folder of a model.

    ``model`` is a folder, with ``revision`` the folder of that name in it (a checkpoint of a run); otherwise a name on
    the Hugging Face hub, whose files must lie in the hub's cache unless ``download`` allows fetching them.
    """
    folder = Path(model)
    if folder.is_dir():
        if download:
            raise UserError("--download does nothing with a folder", where=model, fix="leave it out")
        return folder if revision is None else revision_folder(folder, revision)
    if folder.is_absolute() or model.startswith(".") or model.count("/") > 1:
        raise UserError(
            "no such model folder (config.json is missing)",
            where=model,
            fix="give a folder with config.json and *.safetensors, or a hub's name",
        )
    if not download:
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(model, revision=revision, allow_patterns=NEEDED, local_files_only=not download))
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError, ValueError) as error:
        if not download:
            raise UserError(
                "no such model folder, and nothing of that name was fetched from a hub before",
                where=model,
                fix="give a folder, or --download to fetch it",
            ) from error
        raise UserError(f"the model cannot be fetched: {problem(error)}", where=model, fix="check the name") from error


def revision_folder(folder: Path, revision: str) -> Path:
    """The checkpoint ``revision`` in the folder of a run."""
    found = folder / revision
    if not found.is_dir() or found.resolve().parent != folder.resolve():
        there = checkpoints(folder)
        raise UserError(
            f"there is no checkpoint {revision!r}",
            where=folder,
            fix="there are: " + ", ".join(there) if there else "leave out --revision, or give the folder of a run",
        )
    return found


def checkpoints(folder: Path) -> list[str]:
    """Names of the model folders in the folder of a run, by the number that they end in."""

    def natural(name: str) -> tuple[str, int]:
        stem = name.rstrip("0123456789")
        return stem, int(name[len(stem) :] or 0)

    return sorted((path.parent.name for path in folder.glob("*/config.json")), key=natural)


def name_of(model: str, revision: str | None) -> str:
    """What a model is called: its folder, the run's folder and the checkpoint, or its name on the hub."""
    name = Path(model).resolve().name if Path(model).is_dir() else model
    return name if revision is None else f"{name}/{revision}"


def problem(error: Exception) -> str:
    """The beginning of another library's message, in one line."""
    return " ".join(str(error).split())[:LONGEST_PROBLEM] or type(error).__name__
