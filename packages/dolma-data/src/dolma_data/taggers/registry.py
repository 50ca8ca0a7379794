"""Taggers by name. Users add their own with :func:`tagger` in a file of theirs (``--tagger-modules FILE.py``)."""

from __future__ import annotations

import difflib
import importlib.util
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..batch import Batch, Spans
from ..errors import UserError
from ..files import digest_file

Score = Callable[[Batch], Iterable[Spans]]


@dataclass(frozen=True)
class TaggerOptions:
    """What a tagger may need beside the text."""

    word_list: Path | None = None


@dataclass(frozen=True)
class PreparedTagger:
    """A tagger that is ready to score: its model or list is loaded."""

    name: str
    types: tuple[str, ...]
    source: str
    score: Score
    digest: str | None = None


@dataclass(frozen=True)
class Tagger:
    """An entry of the registry.

    ``types`` are the types of span that it may write, ``source`` the rule, paper, model or list they come from;
    ``prepare`` loads what the tagger needs, once per process.
    """

    name: str
    types: tuple[str, ...]
    source: str
    prepare: Callable[[TaggerOptions], PreparedTagger]


_registry: dict[str, Tagger] = {}
_loaded: dict[Path, str] = {}


def add(entry: Tagger) -> None:
    """Enter a tagger; a name that is taken is a UserError."""
    if entry.name in _registry:
        raise UserError(f"there are two taggers called {entry.name!r}", fix="give yours another name")
    _registry[entry.name] = entry


def tagger(name: str, *, types: Sequence[str], source: str) -> Callable[[Score], Score]:
    """Enter the decorated function, which takes a batch and returns (or yields) the spans of one or more ``types``.

    ``source`` says which rule or paper the scores come from. Spans of other types than ``types`` are refused.
    """

    def enter(score: Score) -> Score:
        ready = PreparedTagger(name, tuple(types), source, score)
        add(Tagger(name, ready.types, source, lambda options: ready))
        return score

    return enter


def tagger_names() -> list[str]:
    """All names, sorted."""
    return sorted(_registry)


def find_tagger(name: str) -> Tagger:
    """The tagger called ``name``; an unknown name is a UserError that tells the nearest one."""
    if name not in _registry:
        near = difflib.get_close_matches(name, _registry, 1, cutoff=0.5)
        fix = f"did you mean {near[0]}?" if near else "see dolma-data list"
        raise UserError(f"there is no tagger called {name!r}", fix=fix)
    return _registry[name]


def load_tagger_modules(files: Iterable[Path]) -> list[str]:
    """Run Python files that enter taggers, each once per process; returns their digests."""
    digests = []
    for file in files:
        path = Path(file).resolve()
        if not path.is_file():
            raise UserError("no such file of taggers", where=file, fix="check the path")
        if path not in _loaded:
            name = f"dolma_data_tagger_module_{len(_loaded)}"
            spec = importlib.util.spec_from_file_location(name, path)
            if spec is None or spec.loader is None:
                raise UserError("not a Python file", where=file, fix="name a FILE.py")
            module = importlib.util.module_from_spec(spec)
            sys.modules[name] = module
            try:
                spec.loader.exec_module(module)
            except (SyntaxError, ImportError, NameError) as error:
                line = getattr(error, "lineno", None)
                raise UserError(f"cannot be imported: {error}", where=file, line=line, fix="mend the file") from error
            _loaded[path] = digest_file(path)
        digests.append(_loaded[path])
    return digests
