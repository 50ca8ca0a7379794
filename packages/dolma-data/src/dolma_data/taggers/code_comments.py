"""Comments in source code and visible text in HTML, as StarCoder's filters look at them."""

from __future__ import annotations

import ast
import io
import json
import tokenize
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import regex  # type: ignore[import-untyped]

from ..batch import Batch, Spans, whole_documents
from ..errors import UserError
from .registry import Need, TaggerOptions, tagger

SOURCE = "filters of StarCoder (Li et al. 2023, arXiv 2305.06161), as in allenai/dolma; of giant texts the beginning"
GIANTS = "starcoder-giant-texts"
LONGEST_PARSED = 4 << 20  # code points: trees of Python and HTML take some sixty bytes for each
NOT_INDENTED = regex.compile(r"(?r)\n(?=\w)(?!except\b|finally\b)")  # the last line that begins a statement
HEAD = 100  # code points in which an XML declaration is looked for
LEAST_VISIBLE = 100  # code points of visible text, below which an HTML page counts as having none
FAILED, IRRELEVANT_COMMENTS, IRRELEVANT_TEXT = -1.0, 0.5, 1.0
WITH_COMMENTS = ("python", "java", "javascript")
DOCUMENTED = {ast.ClassDef: "Class", ast.FunctionDef: "Function/Method", ast.Module: "Module"}
EXTENSIONS = Need(
    "a JSON object of languages by file extension",
    optional=True,
    otherwise="by default the package pygments tells the language",
)


def read_extensions(files: tuple[Path, ...]) -> dict[str, str]:
    """The languages of a JSON object, by extension."""
    (path,) = files
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"not JSON: {error}", where=path, fix='write an object such as {"py": "python"}') from error
    if not isinstance(value, dict) or not all(isinstance(each, str) for each in value.values()):
        raise UserError("not an object of names", where=path, fix='write an object such as {"py": "python"}')
    return value


@tagger(
    "code_starcoder_taggers_v1",
    types=("has_xml_template_doc", "num_github_stars_doc", "nl_ratio_doc", "code_to_text_ratio_html_doc"),
    source=SOURCE,
    need=EXTENSIONS,
    load=read_extensions,
    extra="code",
    differences=(GIANTS,),
)
def code_starcoder_taggers_v1(batch: Batch, resource: dict[str, str] | None, options: TaggerOptions) -> Iterator[Spans]:
    """XML declaration at the top, stars, characters of comments over all, visible characters of HTML over all.

    ``metadata.ext`` tells the language and ``metadata.max_stars_count`` the stars. -1 where the language is unknown or
    the text cannot be read; the HTML ratio of other languages is 1.
    """
    comments, visible = [], []
    for document in batch.documents:
        text = document["text"] if options.reproduces(GIANTS) else parsed_part(document["text"])
        language = find_language(_metadata(document).get("ext"), resource)
        ratio = comment_ratio(text, language) if language else None
        shown = visible_ratio(text) if language == "html" else IRRELEVANT_TEXT
        failed = ratio is None or shown is None
        comments.append(FAILED if failed else ratio)
        visible.append(FAILED if failed else shown)
    yield from _head_and_stars(batch)
    yield whole_documents(batch, "nl_ratio_doc", comments)
    yield whole_documents(batch, "code_to_text_ratio_html_doc", visible)


@tagger(
    "code_starcoder_taggers_v2",
    types=("has_xml_template_doc", "num_github_stars_doc", "code_to_comment_ratio_doc", "code_to_text_ratio_html_doc"),
    source=SOURCE,
    need=EXTENSIONS,
    load=read_extensions,
    extra="code",
    differences=(GIANTS,),
)
def code_starcoder_taggers_v2(batch: Batch, resource: dict[str, str] | None, options: TaggerOptions) -> Iterator[Spans]:
    """As code_starcoder_taggers_v1, with comments of Python, Java and JavaScript alone; 0.5 for all others.

    A text without a character has a ratio of 0.
    """
    comments, visible = [], []
    for document in batch.documents:
        text = document["text"] if options.reproduces(GIANTS) else parsed_part(document["text"])
        language = find_language(_metadata(document).get("ext"), resource)
        ratio = comment_ratio(text, language) or 0.0 if language in WITH_COMMENTS else IRRELEVANT_COMMENTS
        shown = visible_ratio(text) if language == "html" else IRRELEVANT_TEXT
        comments.append(ratio)
        visible.append(FAILED if shown is None else shown)
    yield from _head_and_stars(batch)
    yield whole_documents(batch, "code_to_comment_ratio_doc", comments)
    yield whole_documents(batch, "code_to_text_ratio_html_doc", visible)


def parsed_part(text: str) -> str:
    """What is looked at: the text, or of a giant one its beginning, up to a line that is not indented."""
    if len(text) <= LONGEST_PARSED:
        return text
    place = NOT_INDENTED.search(text, 0, LONGEST_PARSED)
    return text[: place.end()] if place else text[:LONGEST_PARSED]


def _metadata(document: dict[str, Any]) -> dict[str, Any]:
    return document.get("metadata") or {}


def _head_and_stars(batch: Batch) -> Iterator[Spans]:
    yield whole_documents(batch, "has_xml_template_doc", ["<?xml version=" in text[:HEAD] for text in batch.texts])
    stars = [_number(_metadata(document).get("max_stars_count")) for document in batch.documents]
    yield whole_documents(batch, "num_github_stars_doc", stars)


def _number(value: Any) -> float:
    try:
        return float(value or 0)
    except (TypeError, ValueError):
        return 0.0


def find_language(extension: Any, languages: dict[str, str] | None) -> str | None:
    """The language of a file extension without its dot, by the table or by the package pygments; None for unknown."""
    if not isinstance(extension, str):
        return None
    return languages.get(extension) if languages is not None else _language_of(extension)


@cache
def _language_of(extension: str) -> str | None:
    from pygments.lexers import find_lexer_class_for_filename

    lexer = find_lexer_class_for_filename(f"file.{extension}")
    return str(lexer.aliases[0]) if lexer is not None and lexer.aliases else None


def comment_ratio(text: str, language: str) -> float | None:
    """Characters of comments (of docstrings too, in Python) over those of the text; None where they cannot be told."""
    if not text:
        return None
    size = python_comments(text) if language == "python" else _comments(text, language)
    return None if size is None else size / len(text)


def _comments(text: str, language: str) -> int | None:
    from pygments.token import Comment

    lexer = _lexer(language)
    if lexer is None:
        return None
    return sum(len(token) for kind, token in lexer.get_tokens(text) if kind in (Comment.Multiline, Comment.Single))


@cache
def _lexer(language: str) -> Any:
    from pygments.lexers import get_lexer_by_name
    from pygments.util import ClassNotFound

    try:
        return get_lexer_by_name(language)
    except ClassNotFound:
        return None


def python_comments(text: str) -> int:
    """Characters of docstrings and comments without their signs; what cannot be parsed has none."""
    return len(f"{_quietly(_docstrings, text)}\n{_quietly(_hash_comments, text)}".strip())


def _quietly(find: Callable[[str], str], text: str) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return find(text)
        except (SyntaxError, ValueError, RecursionError, MemoryError, TypeError, tokenize.TokenError):
            return ""


def _docstrings(text: str) -> str:
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.Module)):
            name = "" if isinstance(node, ast.Module) else node.name
            found.append((DOCUMENTED[type(node)], name, ast.get_docstring(node)))
    found.sort(key=lambda each: each[:2])
    return "\n".join(docstring for _, _, docstring in found if docstring)


def _hash_comments(text: str) -> str:
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return "".join(token.string for token in tokens if token.type == tokenize.COMMENT).replace("#", "")


def visible_ratio(html: str) -> float | None:
    """Characters of the text of a page without scripts and styles over all, 0 for no more than 100 of them."""
    try:
        from bs4 import BeautifulSoup
        from bs4.exceptions import ParserRejectedMarkup
    except ImportError as error:
        fix = "run pip install 'dolma-data[code]'"
        raise UserError("the package beautifulsoup4, which reads HTML, is not installed", fix=fix) from error
    if not html:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            page = BeautifulSoup(html, features="html.parser")
        except (ParserRejectedMarkup, RecursionError):
            return None
        for element in page(["script", "style"]):
            element.extract()
        visible = len(page.get_text())
    return visible / len(html) if visible > LEAST_VISIBLE else 0.0
