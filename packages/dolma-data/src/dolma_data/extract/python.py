"""Documents out of the installed Python itself: documentation topics, docstrings and sources of its library.

Docstrings of Python modules are read from the sources without importing them; only those of the interpreter's
built-in C modules are taken at run time.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import inspect
import sys
import sysconfig
import tokenize
import types
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError

TOPICS = "topics"
TOPICS_FILE = "pydoc_data/topics.py"
BUILT_IN = "built-in"
SINGLE_FILES = "modules"  # the package of modules that are one file
NOT_LIBRARY = frozenset({"site-packages", "dist-packages", "__pycache__"})
TESTS = frozenset({"test", "tests", "idle_test"})
GENERATED = "_sysconfigdata"  # how this very interpreter was built


@dataclass(frozen=True)
class Module:
    """A module of the library: dotted ``name``, its ``package`` and its ``file`` relative to the library."""

    name: str
    package: str
    file: str


def library() -> Path:
    """The folder of the standard library."""
    return Path(sysconfig.get_paths()["stdlib"])


def find_modules(folder: Path, *, include_tests: bool = False) -> list[Module]:
    """List the modules below ``folder`` that have a source, sorted by file."""
    modules = []
    for path in sorted(folder.rglob("*.py"), key=lambda path: path.relative_to(folder).as_posix()):
        parts = path.relative_to(folder).parts
        folders = parts[:-1]
        if set(folders) & NOT_LIBRARY or not all(part.isidentifier() for part in folders):
            continue
        if path.name.startswith(GENERATED) or (not include_tests and set(folders) & TESTS):
            continue
        dotted = ".".join((*folders, path.stem)).removesuffix(".__init__")
        modules.append(Module(dotted, folders[0] if folders else SINGLE_FILES, "/".join(parts)))
    return modules


def built_in_modules() -> list[Module]:
    """The modules that are compiled into the interpreter, sorted by name."""
    return [Module(name, SINGLE_FILES, BUILT_IN) for name in sorted(sys.builtin_module_names)]


def only_packages(modules: Sequence[Module], packages: Sequence[str]) -> list[Module]:
    """Keep modules whose top-level name is among ``packages``; an unknown name is a UserError."""
    known = {module.name.partition(".")[0] for module in modules} | {TOPICS}
    for package in packages:
        if package not in known:
            near = difflib.get_close_matches(package, sorted(known), 1)
            fix = f"did you mean {near[0]}?" if near else "give top-level names such as json"
            raise UserError(f"this Python's library has no package {package!r}", where="--packages", fix=fix)
    return [module for module in modules if module.name.partition(".")[0] in packages]


def read_source(path: Path) -> str:
    """The source in its declared encoding (PEP 263)."""
    with tokenize.open(path) as stream:
        return stream.read()


def docstrings(source: str, module: str) -> str:
    """The docstrings in ``source`` in order, each under its qualified name; empty where there are none.

    Nested functions are left out. Raises SyntaxError (or ValueError) where the source is not of this Python.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # old escapes in strings are no concern of ours
        tree = ast.parse(source)
    parts = [f"{name}\n\n{text}" for name, text in _documented(tree, module) if text.strip()]
    return "\n\n\n".join(parts)


def _documented(node: ast.AST, name: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        yield name, ast.get_docstring(node) or ""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _documented(child, f"{name}.{child.name}")
        elif isinstance(child, ast.stmt | ast.ExceptHandler):
            yield from _documented(child, name)


def built_in_docstrings(name: str) -> str:
    """The docstrings of a built-in module, its functions, classes and their members, sorted by name."""
    module = importlib.import_module(name)
    found = [(name, module.__doc__)]
    for key, value in sorted(vars(module).items()):
        if inspect.isroutine(value) or (isinstance(value, type) and value.__module__ == name):
            found.append((f"{name}.{key}", value.__doc__))
        if isinstance(value, type) and value.__module__ == name:
            # Slot wrappers repeat one generic sentence each ("Return self+value.").
            members = sorted(vars(value).items())
            found += [
                (f"{name}.{key}.{member}", getattr(value_, "__doc__", None))
                for member, value_ in members
                if (inspect.isroutine(value_) or inspect.isdatadescriptor(value_))
                and not isinstance(value_, types.WrapperDescriptorType)
            ]
    parts = [f"{place}\n\n{inspect.cleandoc(text)}" for place, text in found if isinstance(text, str) and text.strip()]
    return "\n\n\n".join(parts)


def topics() -> dict[str, str]:
    """The language reference's topics as ``help()`` shows them, sorted by name; empty where they are not installed."""
    try:
        from pydoc_data.topics import topics as found
    except ImportError:
        return {}
    return dict(sorted(found.items()))
