"""Fetching the records of built-in tasks from the Hugging Face hub, by an explicit command and nothing else.

The hub keeps every data set as Parquet on a branch of its own. What comes is written as JSON Lines in the layout of
task data, with the revision and the digests of all files beside it; a file that changed under the same revision is
refused.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .config import FetchConfig
from .errors import UserError
from .files import PARTIAL, atomic_write, digest_file, write_json
from .provenance import recorded
from .records import json_object, nearest, parquet_rows
from .task import Hub, Task
from .tasks import ALIASES, TASKS

BRANCH = "refs/convert/parquet"
RECORD = "fetched.json"
CLIENTS = ("httpx", "httpx2", "requests")  # what versions of the hub's library speak through, and whose errors pass
log = logging.getLogger(__name__)


def wanted(names: Sequence[str]) -> dict[str, tuple[Hub, list[str]]]:
    """Folders to fill, each with its data set and the tasks that read it; an unknown task is a UserError."""
    if not names:
        raise UserError("no task is named", fix="write catwalk-eval fetch TASK…; `catwalk-eval tasks` lists them")
    found: dict[str, tuple[Hub, list[str]]] = {}
    for name in names:
        task = TASKS.get(ALIASES.get(name, name))
        if task is None:
            raise UserError(f"unknown task {name!r}", where="tasks", fix=nearest(name, [*TASKS, *ALIASES]))
        hub = data_set(task)
        found.setdefault(task.folder or task.name, (hub, []))[1].append(task.name)
    return found


def data_set(task: Task) -> Hub:
    """The task's data set."""
    assert task.hub is not None, f"{task.name} names no data set"
    return task.hub


def fetch(names: Sequence[str], config: FetchConfig) -> dict[str, Any]:
    """Fetch the records of tasks to ``config.output``; what was fetched, by folder."""
    folders = wanted(names)
    if not config.download:
        plan = ", ".join(f"{folder} from {hub.name} ({hub.config})" for folder, (hub, _) in folders.items())
        raise UserError("nothing is downloaded unless you say so", fix=f"add --download to fetch {plan}")
    return {folder: fetch_folder(config.output / folder, hub, config) for folder, (hub, _) in folders.items()}


def fetch_folder(folder: Path, hub: Hub, config: FetchConfig) -> dict[str, Any]:
    """All splits of a data set; its record."""
    from huggingface_hub import HfApi, hf_hub_download

    endpoint = os.environ.get("HF_ENDPOINT")
    with reachable(hub):
        info = HfApi(endpoint=endpoint).dataset_info(hub.name, revision=BRANCH)
    there = sorted(sibling.rfilename for sibling in info.siblings or ())
    before = json_object(folder / "source" / RECORD) if (folder / "source" / RECORD).is_file() else {}
    record: dict[str, Any] = {"dataset": hub.name, "config": hub.config, "revision": str(info.sha), "splits": {}}
    folder.mkdir(parents=True, exist_ok=True)
    with (
        temporary(folder) as work,
        recorded("catwalk-eval", "fetch", folder=folder, config=config) as provenance,
    ):
        for split, theirs in hub.splits.items():
            files = [name for name in there if name.startswith(f"{hub.config}/{theirs}/") and name.endswith(".parquet")]
            if not files:
                raise UserError(
                    f"the data set has no Parquet files of {hub.config}/{theirs}",
                    where=hub.name,
                    fix="put the records there by hand; see docs/artifacts.md, task data",
                )
            local = []
            for name in files:
                with reachable(hub):
                    local.append(
                        Path(
                            hf_hub_download(
                                hub.name,
                                name,
                                repo_type="dataset",
                                revision=info.sha,
                                endpoint=endpoint,
                                local_dir=work,
                            )
                        )
                    )
            digests = {name: digest_file(path) for name, path in zip(files, local, strict=True)}
            check_unchanged(before, record["revision"], split, digests, hub)
            target = folder / "source" / f"{split}.jsonl.gz"
            count = write_records(target, local)
            record["splits"][split] = {"records": count, "digest": digest_file(target), "files": digests}
            provenance.counts[split] = count
            provenance.outputs.append(target)
            log.info("%s: %d %s records from %s", folder.name, count, split, hub.name)
        write_json(folder / "source" / RECORD, record)
    return record


def write_records(target: Path, files: Sequence[Path]) -> int:
    """The rows of Parquet files as JSON Lines; their number."""
    count = 0
    with atomic_write(target) as stream:
        for path in files:
            for _, row in parquet_rows(path):
                stream.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
                count += 1
    return count


def check_unchanged(before: dict[str, Any], revision: str, split: str, digests: dict[str, str], hub: Hub) -> None:
    """Files of a revision that was fetched before have the digests that were recorded then."""
    if before.get("dataset") != hub.name or before.get("revision") != revision:
        return
    known = before.get("splits", {}).get(split, {}).get("files", digests)
    for name, digest in digests.items():
        if known.get(name, digest) != digest:
            raise UserError(
                f"{name} of {hub.name} has the digest {digest}, {known[name]} was recorded for the same revision",
                where=RECORD,
                fix="find out which is right; remove the record to take this one",
            )


@contextmanager
def temporary(folder: Path) -> Iterator[str]:
    """A folder for what is not finished."""
    work = tempfile.mkdtemp(prefix="fetch-", suffix=PARTIAL, dir=folder)
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


@contextmanager
def reachable(hub: Hub) -> Iterator[None]:
    """Whatever keeps the hub's answer away is a UserError."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        yield
    except Exception as error:
        client = type(error).__module__.partition(".")[0] in CLIENTS
        if not client and not isinstance(error, HfHubHTTPError | HFValidationError | OSError):
            raise
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"the data set did not come: {reason}",
            where=hub.name,
            fix="check the network and HF_ENDPOINT, or put the records there by hand",
        ) from error
