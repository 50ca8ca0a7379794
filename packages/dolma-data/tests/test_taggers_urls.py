"""URLs in lists of hosts, links and rules, on small lists with exact answers."""

from __future__ import annotations

from pathlib import Path

import pytest
from tagger_scores import scores_of

from dolma_data.cli import execute
from dolma_data.errors import UserError
from dolma_data.taggers.url_lists import clean_link, hosts, hosts_and_domains

HOSTS_FILE = """\
# a comment
; another
! and another

127.0.0.1 localhost
0.0.0.0 ads.example.org
192.0.2.7\tnumbered.example.org
Plain.Example.com
||marked.example.net^
wwf.org
bad address.org
"""


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    (tmp_path / "list.txt").write_text(HOSTS_FILE)
    return tmp_path / "list.txt"


def is_listed(name: str, path: Path, url: str | None, differences: tuple[str, ...] = ()) -> bool:
    metadata = {} if url is None else {"url": url}
    found = scores_of(name, "Text", path, differences, metadata=metadata)
    assert found in ({}, {"url": [(0, 4, 1.0)]})
    return bool(found)


@pytest.mark.parametrize(
    ("url", "hit"),
    [
        ("https://ads.example.org/a?b", True),
        ("http://www.ads.example.org", True),
        ("numbered.example.org", True),
        ("http://192.0.2.7/x", True),
        ("HTTP://PLAIN.EXAMPLE.COM:8080/", True),
        ("https://marked.example.net/", True),
        ("https://www.wwf.org/panda", True),
        ("https://f.org", False),
        ("https://sub.plain.example.com", False),
        ("http://localhost/", False),
        ("http://127.0.0.1/", False),
        ("http://0.0.0.0/", False),
        ("http://[bad", False),
        ("", False),
        (None, False),
    ],
)
def test_hosts_of_all_formats(listed: Path, url: str | None, hit: bool) -> None:
    assert is_listed("blocklist_hosts_porn_v1", listed, url) == hit


def test_dolma_cuts_letters_off_hosts_and_lists_this_machine(listed: Path) -> None:
    assert is_listed("domain_blocklist_utp_v1", listed, "https://f.org", ("url-www",))
    assert is_listed("domain_blocklist_utp_v1", listed, "http://0.0.0.0/", ("url-local-addresses",))


def test_lines_that_are_no_hosts_are_counted(listed: Path, caplog: pytest.LogCaptureFixture) -> None:
    scores_of("blocklist_hosts_social_v1", "Text", listed)
    assert "1 lines are no hosts, the first is line 11" in caplog.text


def test_links_are_compared_with_their_path(tmp_path: Path) -> None:
    (tmp_path / "links.txt").write_text("# links\nexample.org/only/this\n")
    path = tmp_path / "links.txt"
    assert is_listed("link_blocklist_phishing_v1", path, "https://example.org/Only/this/?q=1")
    assert not is_listed("link_blocklist_phishing_v1", path, "https://example.org/")


def test_rules_block_and_except(tmp_path: Path) -> None:
    (tmp_path / "rules.txt").write_text("! title\n||ads.example.com^\n@@||ads.example.com/fine^\n/banner/*\n")
    path = tmp_path / "rules.txt"
    assert is_listed("oisd_small_abp_v1", path, "https://ads.example.com/x")
    assert not is_listed("oisd_small_abp_v1", path, "https://ads.example.com/fine/x")
    assert is_listed("brave_core_abp_v1", path, "https://example.net/banner/1.png")
    assert not is_listed("brave_core_abp_v1", path, "https://example.net/")


def test_hosts_of_wikidata(tmp_path: Path) -> None:
    (tmp_path / "response.json").write_text(
        '[{"url": "https://www.paper.example.co.uk/", "description": "newspaper"},'
        ' {"url": "https://bets.example", "description": "online casino"}, {"url": "https://none.example"}]\n'
    )
    path = tmp_path / "response.json"
    assert is_listed("allowlist_wikidata_cleaned_v1", path, "https://paper.example.co.uk/2020")
    assert is_listed("allowlist_wikidata_v1", path, "https://bets.example")
    assert not is_listed("allowlist_wikidata_cleaned_v1", path, "https://bets.example")
    assert not is_listed("allowlist_wikidata_cleaned_v1", path, "https://none.example")
    assert is_listed("allowlist_wikidata_cleaned_v1", path, "https://bets.example", ("url-wikidata-cleaned",))


def test_what_is_looked_up() -> None:
    assert clean_link("http://user:secret@Example.org:80/A/?q#f") == "example.org:80/a"
    assert list(hosts("www.example.org/x")) == ["example.org", "www.example.org"]
    assert list(hosts_and_domains("http://a.b.c.example.org"))[:2] == ["a.b.c.example.org", "example.org"]
    assert clean_link("/only/a/path") is None


def test_a_list_that_is_missing_or_empty_is_told(
    write_documents: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_documents([{"id": "a", "source": "s", "text": "t"}])  # type: ignore[operator]
    assert execute(["tag", "--documents", str(root), "--taggers", "blocklist_hosts_porn_v1"]) == 2
    assert "give it with --resources.blocklist_hosts_porn_v1 FILE" in capsys.readouterr().err
    (tmp_path / "empty.txt").write_text("# nothing\n")
    with pytest.raises(UserError, match="holds nothing"):
        scores_of("blocklist_hosts_porn_v1", "Text", tmp_path / "empty.txt")
