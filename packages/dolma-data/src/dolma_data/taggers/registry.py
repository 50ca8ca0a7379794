"""Taggers by name. Users add their own with :func:`tagger` in a module of theirs (``--tagger-modules``)."""

from __future__ import annotations

import difflib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from ..batch import Batch, Spans
from ..errors import UserError
from ..files import digest_file

Score = Callable[[Batch], Iterable[Spans]]


class MissingResourceError(UserError):
    """A tagger lacks a file that it reads: nothing is wrong with its name or its settings."""


@dataclass(frozen=True)
class TaggerOptions:
    """What a tagger may need beside the text."""

    resources: tuple[tuple[str, tuple[Path, ...]], ...] = ()
    """Files by name of tagger."""

    seed: int = 0
    """Of random numbers."""

    differences: frozenset[str] = frozenset()
    """Ids of docs/dolma-differences.md: where allenai/dolma's own values are wanted instead of the right ones."""

    def files(self, name: str) -> tuple[Path, ...]:
        """The files given for the tagger ``name``."""
        return dict(self.resources).get(name, ())

    def reproduces(self, difference: str) -> bool:
        """Whether allenai/dolma's behaviour is wanted."""
        return difference in self.differences


@dataclass(frozen=True)
class Need:
    """Files that a tagger reads. Without them, unless ``optional``, it cannot run, or leaves out types (``without``).

    Where none are given it reads the file that ``default`` finds; ``otherwise`` says which that is, or how to get it.
    """

    what: str
    several: bool = False
    without: tuple[str, ...] = ()
    optional: bool = False
    default: Callable[[], Path | None] | None = None
    otherwise: str = ""


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
    ``prepare`` loads what the tagger needs, once per process. ``differences`` are ids of docs/dolma-differences.md:
    where its values are others than those of allenai/dolma's tagger of that name. ``extra`` is the optional dependency
    that it needs.
    """

    name: str
    types: tuple[str, ...]
    source: str
    prepare: Callable[[TaggerOptions], PreparedTagger]
    about: str = ""
    need: Need | None = None
    extra: str | None = None
    differences: tuple[str, ...] = ()


_registry: dict[str, Tagger] = {}
_refused: dict[str, str] = {}
_made: dict[str, Callable[[str], Tagger]] = {}
_loaded: dict[Path, str] = {}
_imported: dict[str, str] = {}


def add(entry: Tagger) -> None:
    """Enter a tagger; a name that is taken is a UserError."""
    if entry.name in _registry:
        raise UserError(f"there are two taggers called {entry.name!r}", fix="give yours another name")
    _registry[entry.name] = entry


def add_kind(kind: str, make: Callable[[str], Tagger]) -> None:
    """Enter a kind of tagger that users make with a setting of theirs: ``KIND:SETTING`` among the names."""
    _made[kind] = make


def refuse(name: str, reason: str) -> None:
    """Enter the name of a tagger of allenai/dolma that there is none of here, with the reason."""
    _refused[name] = reason


def tagger(
    name: str,
    *,
    types: Sequence[str],
    source: str,
    need: Need | None = None,
    load: Callable[[tuple[Path, ...]], Any] | None = None,
    extra: str | None = None,
    differences: Sequence[str] = (),
) -> Callable[[Callable[..., Iterable[Spans]]], Callable[..., Iterable[Spans]]]:
    """Enter the decorated function, which takes a batch and returns (or yields) the spans of one or more ``types``.

    ``source`` says which rule or paper the scores come from; the first line of the function's docstring is what the
    list of taggers says of it. Spans of other types than ``types`` are refused. A function with a parameter
    ``options`` gets the :class:`TaggerOptions`. A tagger that needs files names them by ``need``; the function then
    gets what ``load`` makes of them, once per process, as ``resource`` (None without files).
    """

    def enter(score: Callable[..., Iterable[Spans]]) -> Callable[..., Iterable[Spans]]:
        parameters = inspect.signature(score).parameters

        def prepare(options: TaggerOptions) -> PreparedTagger:
            arguments: dict[str, Any] = {"options": options} if "options" in parameters else {}
            kept = tuple(types)
            digest = None
            if need is not None:
                files = options.files(name)
                digest = "+".join(map(digest_file, files)) or None
                if load is not None:
                    arguments["resource"] = load(files) if files else None
                if not files:
                    kept = tuple(each for each in kept if each not in need.without)
            return PreparedTagger(name, kept, source, lambda batch: score(batch, **arguments), digest)

        about = first_line(score.__doc__)
        add(Tagger(name, tuple(types), source, prepare, about, need, extra, tuple(differences)))
        return score

    return enter


def first_line(docstring: str | None) -> str:
    """The first line of a docstring, without the markup of code."""
    return (docstring or "").strip().split("\n", 1)[0].replace("``", "")


def tagger_names() -> list[str]:
    """All names, sorted."""
    return sorted(_registry)


def refused_names() -> dict[str, str]:
    """Names of allenai/dolma's taggers that there are none of here, with the reason."""
    return dict(sorted(_refused.items()))


def find_tagger(name: str) -> Tagger:
    """The tagger called ``name``, or made from ``KIND:SETTING``; an unknown one is a UserError with the nearest."""
    kind, colon, setting = name.partition(":")
    if colon and kind in _made:
        return _made[kind](setting)
    if name in _refused:
        raise UserError(f"the tagger {name!r} of allenai/dolma is not offered: {_refused[name]}", fix="leave it out")
    if name not in _registry:
        near = difflib.get_close_matches(name, _registry, 1, cutoff=0.5)
        fix = f"did you mean {near[0]}?" if near else "see dolma-data list"
        raise UserError(f"there is no tagger called {name!r}", fix=fix)
    return _registry[name]


def all_differences() -> frozenset[str]:
    """Every difference from allenai/dolma that some tagger has."""
    return frozenset(difference for entry in _registry.values() for difference in entry.differences)


def check_resources(names: Iterable[str], options: TaggerOptions) -> list[str]:
    """Refuse files that nobody reads and taggers without the files they need, before any work.

    Returns what is left out for want of a file, a sentence each.
    """
    wanted = list(names)
    for name, files in options.resources:
        entry = _registry.get(name)
        if name not in wanted or entry is None:
            raise UserError(f"resources.{name} is given, but {name} is not among the taggers", fix="leave it out")
        if entry.need is None:
            raise UserError(f"resources.{name} is given, but {name} reads no file", fix="leave it out")
        if len(files) > 1 and not entry.need.several:
            raise UserError(f"resources.{name} holds {len(files)} files; {name} reads one", fix="name one")
        for file in files:
            if not file.is_file():
                raise UserError(f"resources.{name}: no such file", where=file, fix="check the path")
    left_out = []
    for name in wanted:
        need = find_tagger(name).need
        if (
            need is None
            or need.optional
            or options.files(name)
            or (need.default is not None and need.default() is not None)
        ):
            continue
        if not need.without:
            fix = f"give it with --resources.{name} FILE" + (f", or {need.otherwise}" if need.otherwise else "")
            raise MissingResourceError(f"{name} needs {need.what}", fix=fix)
        types = ", ".join(need.without)
        left_out.append(f"{name} leaves out {types}: give {need.what} with --resources.{name} FILE to have it")
    return left_out


def load_tagger_modules(modules: Iterable[str | Path]) -> list[str]:
    """Import what enters taggers, Python files or importable modules, each once per process; returns their digests."""
    return [_load_file(Path(module)) if is_file_name(str(module)) else _import(str(module)) for module in modules]


def is_file_name(module: str) -> bool:
    """Whether a module is given by its file and not by its name."""
    return module.endswith(".py") or "/" in module or "\\" in module or Path(module).exists()


def _load_file(file: Path) -> str:
    path = file.resolve()
    package = [str(path)] if path.is_dir() else None
    if package:
        path /= "__init__.py"
    if not path.is_file():
        raise UserError("no such file of taggers", where=file, fix="check the path")
    if path not in _loaded:
        name = f"dolma_data_tagger_module_{len(_loaded)}"
        spec = importlib.util.spec_from_file_location(name, path, submodule_search_locations=package)
        if spec is None or spec.loader is None:
            raise UserError("not a Python file", where=file, fix="name a FILE.py")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except UserError:
            raise
        except Exception as error:
            line = error.lineno if isinstance(error, SyntaxError) else _line_in(path, error)
            what = f"cannot be imported: {type(error).__name__}: {error}"
            raise UserError(what, where=file, line=line, fix="mend the file") from error
        _loaded[path] = digest_file(path)
    return _loaded[path]


def _line_in(file: Path, error: Exception) -> int | None:
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
    return lines[-1] if lines else None


def _import(name: str) -> str:
    if name not in _imported:
        try:
            module: ModuleType = importlib.import_module(name)
        except UserError:
            raise
        except Exception as error:
            fix = "check the name, or give the path of a FILE.py"
            what = f"the module of taggers {name!r} cannot be imported: {type(error).__name__}: {error}"
            raise UserError(what, fix=fix) from error
        file = getattr(module, "__file__", None)
        _imported[name] = digest_file(Path(file)) if file else name
    return _imported[name]
