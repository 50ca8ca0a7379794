"""Whether every id of the data is one of the vocabulary, known before the first step.

A tokens artifact says its largest id in its manifest. Files that say nothing are looked through once, by all ranks
together, and what was found is remembered in the cache folder.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .document_ends import BareFiles, bare_files, merged
from .epoch_order import cache_folder
from .errors import UserError
from .files import write_json
from .progress import Progress
from .ranks import ALONE, Ranks
from .raw_tokens import RawTokens
from .token_files import LocalFile
from .tokens import REMAKE, Tokens

log = logging.getLogger(__name__)
LOOKED_AT = 1 << 22  # ids at once
KEPT = 64  # answers in the cache


@dataclass(frozen=True, order=True)
class Found:
    """The largest id, and where it stands."""

    id: int
    file: int = 0
    token: int = 0


def check_ids(tokens: Tokens, longest: int, ranks: Ranks = ALONE) -> None:
    """Refuse data with an id beyond the vocabulary, and files without a manifest that have more than ``longest`` ids
    and no end of a document, or that do not fit their tokenizer (``document_ends``). All ranks call this.

    Objects behind URLs are not fetched for it: ids of those are checked as they are read.
    """
    for part in tokens.parts:
        _check(part, longest, ranks)


def _check(part: Tokens, longest: int, ranks: Ranks) -> None:
    bare = bare_files(part, ranks)
    if bare is not None:
        ranks.from_first(bare.check_settings)
    elif np.iinfo(part.dtype).max < part.vocab_size:
        return
    if part.max_token_id is not None:
        ranks.together(lambda: _refuse(part, part.max_token_id, part.description))
        return
    answer = _answer_file(part, longest)
    found = ranks.gather(_remembered(answer))[0]
    if found is None:
        seen = ranks.gather(ranks.together(lambda: _look(part, bare, ranks)))
        found = max(largest for largest, _ in seen)
        ranks.together(lambda: _refuse(part, found.id, part.files[found.file].name, found.token))
        if bare is not None:
            ends = merged(counts for _, counts in seen)
            ranks.together(lambda: bare.check_files(ends, longest))
        if ranks.first:
            _remember(answer, found)
    if bare is not None:
        ranks.together(lambda: bare.check_largest(found.id, part.files[found.file].name, found.token))


def _refuse(part: Tokens, largest: int | None, where: str | Path, token: int | None = None) -> None:
    if largest is not None and largest >= part.vocab_size:
        place = "the tokens hold" if token is None else f"token {token} is"
        raise UserError(f"{place} id {largest}, not below vocab_size {part.vocab_size}", where=where, fix=REMAKE)


def _look(part: Tokens, bare: BareFiles | None, ranks: Ranks) -> tuple[Found, dict[int, Counter[int]]]:
    """The largest id in this rank's share of the files, and of bare files what may end a document in each; the first id
    that is too large ends the search."""
    pieces = [
        (number, start)
        for number, file in enumerate(part.files)
        if isinstance(file, LocalFile)
        for start in range(0, len(file), LOOKED_AT)
    ][ranks.rank :: ranks.world]  # fmt: skip
    largest = Found(0)
    ends: dict[int, Counter[int]] = {}
    with Progress("looking through the ids, once", len(pieces) * LOOKED_AT, unit="ids") as progress:
        for number, start in pieces:
            ids = part.ids(number, start, min(start + LOOKED_AT, len(part.files[number])))
            place = int(ids.argmax())
            largest = max(largest, Found(int(ids[place]), number, start + place))
            if largest.id >= part.vocab_size:
                break
            if bare is not None:
                ends[number] = ends.get(number, Counter()) + bare.occurrences(ids)
            progress.advance(LOOKED_AT)
    return largest, ends


def _answer_file(part: Tokens, longest: int) -> Path:
    """Where the answer is remembered: under the names, sizes, times and (in the fingerprint) ends of the files, and
    under what else was asked of them."""
    asked = f"{part.eos_token_id}\0{longest}" if isinstance(part, RawTokens) and part.check_eos else ""
    digest = hashlib.sha256(f"{part.fingerprint}\0{part.dtype_name}\0{asked}\n".encode())
    for file in part.files:
        if not isinstance(file, LocalFile):
            continue
        digest.update(f"{file.path.absolute()}\0{file.size}\0{file.path.stat().st_mtime_ns}\n".encode())
    return cache_folder() / f"ids-{digest.hexdigest()[:32]}.json"


def _remembered(answer: Path) -> Found | None:
    try:
        found = Found(**json.loads(answer.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None
    return found if all(type(value) is int for value in vars(found).values()) else None


def _remember(answer: Path, found: Found) -> None:
    try:
        answer.parent.mkdir(parents=True, exist_ok=True)
        write_json(answer, vars(found))
        answers = sorted(answer.parent.glob("ids-*.json"), key=lambda file: file.stat().st_mtime)
        for old in answers[:-KEPT]:
            old.unlink(missing_ok=True)
    except OSError as error:
        log.warning("the largest id is not kept in %s (%s): the next run looks for it too", answer, error)
