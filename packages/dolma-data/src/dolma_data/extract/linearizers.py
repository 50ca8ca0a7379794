"""Main text of HTML pages by one of two libraries, and addresses in one spelling.

chatnoir-eu/chatnoir-resiliparse is ten times as fast, adbar/trafilatura (Barbaresi 2021, ACL demo) leaves out more of
menus, notices and the like.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from .web import clean_text, main_text

_EDGES = re.compile(r"^['\"<]+|[/'\">]+$")
_HOST_PREFIX = re.compile(r"^www\d*\.", re.IGNORECASE)


def linearizer(name: str) -> Callable[[str | bytes], str]:
    """The function from page to text of that name."""
    return {"resiliparse": resiliparse_text, "trafilatura": main_text}[name]


def resiliparse_text(page: str | bytes) -> str:
    """Main text with list bullets and comments, line breaks as the page lays them out; allenai/dolma's settings."""
    from resiliparse.extract.html2text import extract_plain_text
    from resiliparse.parse.encoding import detect_encoding
    from resiliparse.parse.html import HTMLTree

    text = page if isinstance(page, str) else page.decode(detect_encoding(page) or "utf-8", "replace")
    tree = HTMLTree.parse(text)
    return clean_text(
        extract_plain_text(
            tree,
            preserve_formatting=True,
            main_content=True,
            list_bullets=True,
            alt_texts=False,
            links=False,
            form_fields=False,
            noscript=False,
            comments=True,
        )
    )


def normalise_address(address: str) -> str:
    """An address without its scheme, a leading ``www.`` and a slash at its end, otherwise in canonical spelling.

    As allenai/dolma has it: scrapy/w3lib's canonical form, then that of niksite/url-normalize.
    """
    from url_normalize import url_normalize
    from w3lib.url import canonicalize_url

    try:
        canonical = str(url_normalize(canonicalize_url(_EDGES.sub("", address))))
    except ValueError:
        canonical = address
    return _HOST_PREFIX.sub("", canonical.partition("://")[2] or canonical).rstrip("/")
