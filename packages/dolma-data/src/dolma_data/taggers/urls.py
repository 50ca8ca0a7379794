"""URLs of documents in lists of hosts, links and adblock rules, which are given and never shipped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path

from ..batch import Batch, Spans, whole_documents
from .registry import Need, TaggerOptions, tagger
from .url_lists import (
    entries_of_line,
    entries_of_wikidata,
    hosts,
    hosts_and_domains,
    links,
    read_list,
    read_rules,
)

WWW, LOCAL, CLEANED = "url-www", "url-local-addresses", "url-wikidata-cleaned"
IsListed = Callable[[str], bool]
HOSTS = Need("lists of hosts: one a line, hosts files or ||host^", several=True)
LINKS = Need("lists of links, host and path, one a line", several=True)
RULES = Need("lists of adblock rules", several=True)
WIKIDATA = Need("answers of Wikidata, a JSON list of objects with url and description a line", several=True)
HOST_LISTS = {
    "domain_blocklist_utp_v1": "adult domains of Université Toulouse Capitole",
    "domain_blocklist_phishing_v1": "domains of the Phishing.Database project",
    "blocklist_project_nsfw_v1": "porn of the Block List Project",
    "blocklist_project_social_v1": "social networks of the Block List Project",
    "blocklist_project_crime_v1": "abuse, fraud, malware, phishing, piracy, ransomware, scam of the Block List Project",
    "blocklist_project_vice_v1": "crypto, drugs, gambling, vaping of the Block List Project",
    "blocklist_project_ads_v1": "advertisements and tracking of the Block List Project",
    "blocklist_firebog_ads_v1": "advertisements of the Firebog collection",
    "blocklist_firebog_crypto_v1": "crypto mining of the Firebog collection",
    "blocklist_firebog_malicious_v1": "malicious hosts of the Firebog collection",
    "blocklist_firebog_nsfw_v1": "adult hosts of the Firebog collection",
    "blocklist_firebog_social_v1": "social networks of the Firebog collection",
    "blocklist_firebog_suspicious_v1": "suspicious hosts of the Firebog collection",
    "blocklist_firebog_trackers_v1": "trackers of the Firebog collection",
    "blocklist_hosts_adware_malware_v1": "adware and malware of StevenBlack/hosts",
    "blocklist_hosts_fakenews_v1": "fake news of StevenBlack/hosts",
    "blocklist_hosts_gambling_v1": "gambling of StevenBlack/hosts",
    "blocklist_hosts_porn_v1": "porn of StevenBlack/hosts",
    "blocklist_hosts_social_v1": "social networks of StevenBlack/hosts",
}
RULE_LISTS = {
    "oisd_small_abp_v1": "oisd small, adblock format",
    "oisd_big_abp_v1": "oisd big, adblock format",
    "oisd_nsfw_abp_v1": "oisd nsfw, adblock format",
    "brave_core_abp_v1": "first-party filters and updater of the Brave browser",
    "brave_nsfw_abp_v1": "anti-porn list of the Brave browser",
}


@cache
def _in_hosts(files: tuple[Path, ...], as_dolma: bool, local: bool) -> IsListed:
    variants = partial(hosts, as_dolma=as_dolma)
    listed = read_list(files, lambda line: entries_of_line(line, variants, local))
    return lambda url: any(host in listed for host in variants(url))


@cache
def _in_links(files: tuple[Path, ...]) -> IsListed:
    listed = read_list(files, lambda line: iter(()) if line.startswith("#") else iter([line.lower()]))
    return lambda url: any(link in listed for link in links(url))


@cache
def _in_wikidata(files: tuple[Path, ...], as_dolma: bool, local: bool, cleaned: bool) -> IsListed:
    variants = partial(hosts_and_domains, as_dolma=as_dolma)
    listed = read_list(files, lambda line: entries_of_wikidata(line, variants, cleaned, local))
    return lambda url: any(again in listed for host in variants(url) for again in variants(host))


@cache
def _in_rules(files: tuple[Path, ...]) -> IsListed:
    blocked = read_rules(files)
    return lambda url: any(blocked(link) for link in links(url))


def _listed(batch: Batch, is_listed: IsListed) -> Iterator[Spans]:
    found = []
    for document in batch.documents:
        url = (document.get("metadata") or {}).get("url")
        found.append(isinstance(url, str) and is_listed(url))
    yield whole_documents(batch, "url", 1.0, where=found)


def _same(files: tuple[Path, ...]) -> tuple[Path, ...]:
    return files


def _enter(
    name: str,
    about: str,
    need: Need,
    source: str,
    find: Callable[[tuple[Path, ...], TaggerOptions], IsListed],
    differences: tuple[str, ...] = (),
    extra: str | None = None,
) -> None:
    def score(batch: Batch, resource: tuple[Path, ...], options: TaggerOptions) -> Iterator[Spans]:
        return _listed(batch, find(resource, options))

    score.__doc__ = about
    tagger(name, types=("url",), source=source, need=need, load=_same, extra=extra, differences=differences)(score)


for _name, _source in HOST_LISTS.items():
    _enter(
        _name,
        "Documents whose metadata.url has a host of the list, with www. or without.",
        HOSTS,
        f"a list such as {_source}, as in allenai/dolma",
        lambda files, options: _in_hosts(files, options.reproduces(WWW), options.reproduces(LOCAL)),
        (WWW, LOCAL),
    )
for _name, _source in RULE_LISTS.items():
    _enter(
        _name,
        "Documents whose metadata.url, without its query, is blocked by the rules.",
        RULES,
        f"a list such as {_source}, as in allenai/dolma",
        lambda files, options: _in_rules(files),
        extra="lists",
    )
_enter(
    "link_blocklist_phishing_v1",
    "Documents whose metadata.url, without scheme and query, is in the list.",
    LINKS,
    "a list such as the links of the Phishing.Database project, as in allenai/dolma",
    lambda files, options: _in_links(files),
)
_enter(
    "allowlist_wikidata_v1",
    "Documents whose metadata.url has a host, or the last two parts of one, that Wikidata knows.",
    WIKIDATA,
    "periodicals and websites of Wikidata, as in allenai/dolma",
    lambda files, options: _in_wikidata(files, options.reproduces(WWW), options.reproduces(LOCAL), False),
    (WWW, LOCAL),
)
_enter(
    "allowlist_wikidata_cleaned_v1",
    "As allowlist_wikidata_v1, without rows of no or an unwanted description or an unwanted ending.",
    WIKIDATA,
    "periodicals and websites of Wikidata, as in allenai/dolma",
    lambda files, options: _in_wikidata(
        files, options.reproduces(WWW), options.reproduces(LOCAL), not options.reproduces(CLEANED)
    ),
    (WWW, LOCAL, CLEANED),
)
