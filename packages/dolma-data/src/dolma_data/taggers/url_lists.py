"""Lists of hosts, links and adblock rules, and what of a URL is looked up in them."""

from __future__ import annotations

import ipaddress
import json
import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from urllib3.exceptions import LocationParseError
from urllib3.util import parse_url

from ..errors import UserError
from ..files import read_lines

COMMENTS = ("#", ";", "!")
LABEL = r"[a-z0-9_-]+"
HOST = rf"(?:(?=[a-z0-9_-]\.?[a-z0-9_-]){LABEL}(?:\.{LABEL})*\.?|localhost|localdomain)"
ADDRESS_AND_HOST = re.compile(rf"([0-9a-f.:]+)\s+({HOST})")
HOST_ALONE = re.compile(HOST)
ADBLOCK_HOST = re.compile(rf"\|+({HOST})\^")
LOCAL_HOSTS = ("localhost", "localdomain")
# What allenai/dolma's allowlist_wikidata_cleaned_v1 leaves out of Wikidata's periodicals and websites.
UNWANTED_DESCRIPTIONS = (
    "sex", "adult", "satire", "gossip", "tabloid", "tracker", "dating", "image", "humor", "joke", "comedy", "porn",
    "social media", "freemium", "betting", "casino", "gambling", "celebrity", "4chan", "camming", "escort", "hentai",
    "nudity", "comic", "crowdfunding", "online database", "company", "website",
)  # fmt: skip
UNWANTED_ENDINGS = (".xxx", ".adult", ".sex", ".porn", ".sexy", ".dating", ".cam", ".tube", ".chat")
Variants = Callable[[str], Iterator[str]]
log = logging.getLogger(__name__)


def clean_link(url: str) -> str | None:
    """Host, port and path of a URL in lower case, without its scheme, user, query and final slashes; None without host.

    What is no URL has none.
    """
    try:
        parsed = parse_url(url) if url.strip() else None
    except LocationParseError:
        return None
    if parsed is None or parsed.host is None:
        return None
    port = f":{parsed.port}" if parsed.port else ""
    return f"{parsed.host}{port}{parsed.path or ''}".rstrip("/").lower()


def links(url: str) -> Iterator[str]:
    """The URL as :func:`clean_link` has it."""
    link = clean_link(url)
    if link:
        yield link


def hosts(url: str, as_dolma: bool = False) -> Iterator[str]:
    """The host of a URL without ``www.`` and with it.

    ``as_dolma`` takes all letters w and dots from its beginning, as allenai/dolma does.
    """
    link = clean_link(url)
    host = parse_url(link).host if link else None
    if host:
        host = host.lstrip("w.") if as_dolma else host.removeprefix("www.")
        yield host
        yield f"www.{host}"


def hosts_and_domains(url: str, as_dolma: bool = False) -> Iterator[str]:
    """:func:`hosts`, and of those with three dots or more the last two parts."""
    for host in hosts(url, as_dolma):
        yield host
        yield ".".join(host.rsplit(".", 2)[1:]) if host.count(".") > 2 else host


def read_list(files: tuple[Path, ...], entries: Callable[[str], Iterator[str] | None]) -> frozenset[str]:
    """What ``entries`` makes of the lines; lines that it knows nothing to do with (None) are counted in a warning.

    UserError for a list without any entry and for one that is not text.
    """
    found: set[str] = set()
    for path in files:
        strange: list[int] = []
        try:
            for number, raw in read_lines(path):
                made = entries(raw.decode().strip())
                if made is None:
                    strange.append(number)
                else:
                    found.update(made)
        except UnicodeDecodeError as error:
            raise UserError("the list is not UTF-8", where=path, fix="save it as UTF-8") from error
        if strange:
            log.warning("%s: %d lines are no hosts, the first is line %d", path, len(strange), strange[0])
    if not found:
        raise UserError("the list holds nothing", where=files[0], fix="give a list of hosts, one a line")
    return frozenset(found)


def entries_of_line(line: str, variants: Variants, local_addresses: bool) -> Iterator[str] | None:
    """Entries of a line: a host or URL, ``ADDRESS HOST`` of a hosts file, or ``||HOST^`` of an adblock list.

    The address is an entry too, but for those of this machine (unless ``local_addresses``), which stand for nothing.
    """
    line = line.lower()
    if not line or line.startswith(COMMENTS):
        return iter(())
    if match := ADDRESS_AND_HOST.match(line):
        try:
            address = ipaddress.ip_address(match[1])
        except ValueError:
            return None
        own = [match[1]] if local_addresses or not (address.is_loopback or address.is_unspecified) else []
        return iter([*own, *(() if match[2] in LOCAL_HOSTS else variants(match[2]))])
    if HOST_ALONE.match(line):
        return variants(line)
    if match := ADBLOCK_HOST.match(line):
        return iter([match[1]])
    return None


def entries_of_wikidata(line: str, variants: Variants, cleaned: bool, local_addresses: bool) -> Iterator[str] | None:
    """Entries of a line of Wikidata's answer, a JSON list of ``{"url": …, "description": …}``."""
    try:
        rows = json.loads(line)
    except ValueError:
        return None
    if not isinstance(rows, list):
        return None
    return (
        entry
        for row in rows
        if isinstance(row, dict) and isinstance(row.get("url"), str) and (not cleaned or _is_wanted(row))
        for host in variants(row["url"])
        for entry in entries_of_line(host, variants, local_addresses) or ()
    )


def _is_wanted(row: dict[str, Any]) -> bool:
    description = row.get("description")
    if not isinstance(description, str):
        return False
    unwanted = any(word in description.lower() for word in UNWANTED_DESCRIPTIONS)
    return not unwanted and not any(ending in row["url"] for ending in UNWANTED_ENDINGS)


def read_rules(files: tuple[Path, ...]) -> Callable[[str], bool]:
    """A function that tells whether a URL is blocked by the rules of adblock lists."""
    try:
        import adblock
    except ImportError as error:
        fix = "run pip install 'dolma-data[lists]'"
        raise UserError("the package adblock, which reads adblock rules, is not installed", fix=fix) from error
    rules: set[str] = set()
    for path in files:
        try:
            lines = [raw.decode() for _, raw in read_lines(path)]
        except UnicodeDecodeError as error:
            raise UserError("the list is not UTF-8", where=path, fix="save it as UTF-8") from error
        rules.update(line.strip() for line in lines if not line.startswith("!"))
    rules.discard("")
    if not rules:
        raise UserError("the list holds nothing", where=files[0], fix="give adblock rules, one a line")
    filters = adblock.FilterSet()
    filters.add_filters(sorted(rules))
    engine = adblock.Engine(filters)

    def blocked(url: str) -> bool:
        return bool(engine.check_network_urls(url=f"http://{url}", source_url="", request_type="").matched)

    return blocked
