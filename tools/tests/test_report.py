"""The report page: what it shows of a run, what it says of a run that is not whole, and that no text acts on it."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from builders.recipe_run import build, comparison, digest, put

from report.page import write

TOOLS = Path(__file__).resolve().parent.parent

SECTIONS = ("funnel", "text", "training", "perplexity", "tasks", "generations", "seen", "commands", "provenance")
VOID = {"meta", "br", "link", "img", "input", "hr"}
HOSTILE = (
    "</style></script></pre><script>alert(1)</script><img src=x onerror=alert(2)>\"'&amp;{{7*7}}"
    "\u202egnp.exe\x00\x1b[31m\x85\ud800\u2028 http://evil.example/x.js"
)
SHOWN = "</style></script></pre><script>alert(1)</script><img src=x onerror=alert(2)>\"'&amp;{{7*7}}⟨U+202E⟩gnp.exe"
LONG = "W" * 100_000


class Page(HTMLParser):
    """Elements with their attributes, text by section, and raw text of style and script."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.source = source
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.path: list[str] = []
        self.sections: dict[str, str] = {}
        self.section = "header"
        self.raw: dict[str, str] = {}
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        self.part(tag)
        if tag not in VOID:
            self.path.append(tag)
        if tag == "section":
            self.section = dict(attrs)["id"] or ""

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.path, f"</{tag}> closes nothing"
        assert self.path.pop() == tag
        self.part(tag)
        if tag == "section":
            self.section = "footer"

    def part(self, tag: str) -> None:
        """Cells and the like stand apart; marks inside a line do not."""
        if tag not in ("bdi", "code") and "pre" not in self.path:
            self.sections[self.section] = self.sections.get(self.section, "") + " "

    def handle_data(self, data: str) -> None:
        if self.path and self.path[-1] in ("style", "script"):
            self.raw[self.path[-1]] = data
            return
        self.sections[self.section] = self.sections.get(self.section, "") + data

    def text(self, section: str) -> str:
        """Text of a section, white space folded, figures' units joined with plain blanks."""
        return " ".join(self.sections[section].replace("\u00a0", " ").split())


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(TOOLS / "report.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def page_of(folder: Path) -> Page:
    done = run(folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{folder / 'report.html'}\n"
    return Page((folder / "report.html").read_bytes().decode("utf-8"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Page:
    return page_of(build(tmp_path_factory.mktemp("whole")))


@pytest.fixture(scope="module")
def hostile_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = build(tmp_path_factory.mktemp("hostile"), HOSTILE + LONG)
    assert run(folder).returncode == 0
    return folder


def test_every_section_of_a_whole_run_is_shown(whole: Page) -> None:
    assert [entry["id"] for tag, entry in whole.elements if tag == "section"] == list(SECTIONS)
    assert 'class="missing"' not in whole.source
    assert not whole.path, "every element is closed"
    assert "Drawn(" not in whole.source
    assert "Markup(" not in whole.source


def test_funnel_shows_documents_and_bytes_of_the_funnel(whole: Page) -> None:
    text = whole.text("funnel")
    assert "Of 12,000 documents (10 MB of text) the mix kept 10,400 (8.5 MB)." in text
    assert "gopher_v2 word_count < 20 in stream s −1,234 dropped (10.3 %) 10,766 left; 1,300 matched" in text
    assert "−366 dropped (3.0 %) 10,400 left" in text
    assert "docs 7,500 of 9,000 documents (83.3 %) 3 MB of 4 MB" in text
    assert "1 rule dropped nothing" in text
    assert "addresses 88; EMAIL 7; repeated 9" in text
    assert "Extracted 12,345 12,000 340 5 ✓ holds" in text
    assert "Perplexity suite 9 1 1 1 ✗ does not hold" in text
    assert "✓ No training document holds evaluation text." in text
    assert "0 of 1,203 evaluation lines with at least 13 words, and 0 of 971 held-out documents" in text
    assert "do not add up" not in text


def test_verdict_says_what_the_files_say(whole: Page) -> None:
    text = whole.text("header")
    assert "A model of 3.21 million parameters read 409,600 tokens in 2 min 5 s" in text
    assert "took 3 min 6 s" in text
    assert "needs 1.900 bits per byte (95 % interval 1.850 to 1.950): 1.400 (1.346 to 1.457) fewer than" in text
    assert "0.700 (0.650 to 0.750) fewer than the compressor xz, which needs 2.600." in text
    assert "On cloze it picks the right one of 4 choices in 41.2 % of 612 (95 % interval 37.2 to 45.2 %)." in text
    assert "chance 25.0 % (beaten, p = 0.0071); always the most frequent place 26.8 %;" in text
    assert "always the longest choice 29.1 % (beaten, p < 0.0001)" in text
    assert "the unigram model 40.5 % (no clear difference, p = 0.432)" in text


def test_perplexity_table_holds_all_figures_and_says_why_an_interval_is_missing(whole: Page) -> None:
    text = whole.text("perplexity")
    assert "email 3 4,321 1.700 no interval: 3 documents, at least 10 are needed 3.100 no interval" in text
    assert "docs 43 4,321 1.900 1.850 to 1.950 3.300 3.250 to 3.350 2.600 2.550 to 2.650 23.46 23.46 −1.400" in text
    assert "−1.400 −1.457 to −1.346 −0.700 −0.750 to −0.650" in text
    assert text.rindex("email 3") < text.rindex("json 40"), "domains go from the easiest to the hardest"


def test_tasks_show_every_normalisation_and_mark_the_primary(whole: Page) -> None:
    text = whole.text("tasks")
    assert "acc_per_char ★ primary per character 41.2 % 37.2 to 45.2 % 2.00 points wilson" in text
    assert "acc_raw sum of log-probabilities 38.7 % 34.7 to 42.7 %" in text
    assert "bits_per_byte bits per byte of the right answer 1.812 1.772 to 1.852 0.0200" in text
    assert "always the longest choice 29.1 % +12.1 points p < 0.0001" in text
    assert "612 instances, 4 choices, 0 shots" in text
    assert "arc" in text, "tasks of every predictions folder are shown"


def test_training_seen_generations_and_commands_show_their_figures(whole: Page) -> None:
    assert "100 logged steps, the last is step 100." in whole.text("training")
    assert "eval/perplexity/all/bits_per_byte 100 1.6789" in whole.text("training")
    seen = whole.text("seen")
    assert "1,712 tokens from 21 documents: docs 1,712 tokens in 21." in seen
    assert "docs/queue docs documents/docs/f.jsonl.gz, line 17 1,512 of 2,345" in seen
    assert "9 more documents" in seen
    assert "def read(self): seed 7" in whole.text("generations")
    commands = whole.text("commands")
    assert """extract 1 min 1 s · peak 123 MB Read. unchanged, time of an earlier run""" in commands
    assert """dolma-data extract 'a folder' 'it'"'"'s'""" in commands
    assert "preset: tiny" in commands
    assert "late – not finished dolma-data late" in commands
    provenance = whole.text("provenance")
    assert "dolma-data 0.1.0" in provenance
    assert "✓ All artifacts name the same tokenizer" in provenance
    assert f"evaluated model folder {digest('f')} perplexity, predictions, predictions-core" in provenance
    assert f"tokenizer {digest('a')} tokens, run, run/step100, perplexity" in provenance


def test_charts_have_titles_and_descriptions_and_differ_by_more_than_colour(whole: Page) -> None:
    pictures = [entry for tag, entry in whole.elements if tag == "svg" and entry.get("role") == "img"]
    assert len(pictures) >= 10
    known = {entry["id"] for _, entry in whole.elements if "id" in entry}
    for entry in pictures:
        assert set(entry["aria-labelledby"].split()) <= known
    assert "each logged step: 9.95 at step 1, 5 at step 100, lowest 5 at step 100." in whole.text("training")
    style = whole.raw["style"]
    assert all(re.search(rf"\.series-{n} {{[^}}]*dasharray", style) for n in range(1, 6))
    assert "prefers-color-scheme: dark" in style


def test_empty_folder_says_of_every_section_what_has_not_run(tmp_path: Path) -> None:
    page = page_of(tmp_path)
    for section in SECTIONS:
        assert "there is no" in page.text(section) or "No command has left" in page.text(section)
    assert "No model was trained in this folder yet." in page.text("header")


@pytest.mark.parametrize(
    ("path", "section"),
    [
        ("mixed/funnel.json", "funnel"), ("statistics/summaries.jsonl.gz", "text"), ("run/metrics.jsonl", "training"),
        ("perplexity/results.json", "perplexity"), ("predictions/metrics.json", "tasks"),
        ("generations/1.json", "generations"), ("which-data.json", "seen"), ("recipe.json", "commands"),
        ("raw/provenance/1.json", "provenance"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("content", [b'{"cut', b'{"other": 1}', b"[1]"])
def test_damaged_file_is_named_and_the_rest_is_shown(tmp_path: Path, path: str, section: str, content: bytes) -> None:
    build(tmp_path)
    (tmp_path / path).write_bytes(gzip.compress(content) if path.endswith(".gz") else content)
    target, problems = write(tmp_path)
    assert problems
    page = Page(target.read_text(encoding="utf-8"))
    assert "Could not be shown." in page.text(section)
    assert all("Could not be shown." not in page.text(other) for other in set(SECTIONS) - {section})


def test_cut_compressed_file_is_named(tmp_path: Path) -> None:
    build(tmp_path)
    file = tmp_path / "statistics" / "summaries.jsonl.gz"
    file.write_bytes(file.read_bytes()[:-12])
    done = run(tmp_path)
    assert done.returncode == 2
    assert "summaries.jsonl.gz" in done.stderr
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1


def test_hostile_text_is_shown_as_text_everywhere(hostile_folder: Path, whole: Page) -> None:
    page = Page((hostile_folder / "report.html").read_bytes().decode("utf-8"))
    tags = [tag for tag, _ in page.elements]
    assert tags.count("script") == 1
    assert tags.count("style") == 1
    assert "img" not in tags
    assert set(tags) == {tag for tag, _ in whole.elements}
    assert all(not name.startswith("on") for _, entry in page.elements for name in entry)
    assert page.raw == whole.raw
    for section in ("funnel", "perplexity", "generations", "seen", "commands", "provenance"):
        assert SHOWN in page.text(section), section
    for section in ("text", "training", "tasks"):  # their names are cut short
        assert "</style></script>" in page.text(section), section
    assert not page.path
    acting = re.findall("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u2028\u2029]", page.source)
    assert acting == []


def test_names_are_cut_but_generations_and_commands_are_whole(hostile_folder: Path) -> None:
    page = Page((hostile_folder / "report.html").read_text(encoding="utf-8"))
    assert page.sections["generations"].count(LONG) == 2
    assert page.sections["commands"].count(LONG) >= 1
    for section in ("funnel", "text", "perplexity", "tasks", "seen"):
        assert "W" * 500 not in page.sections[section]


@pytest.mark.parametrize("kind", ["whole", "hostile"])
def test_page_refers_to_nothing_outside(kind: str, whole: Page, hostile_folder: Path) -> None:
    page = whole if kind == "whole" else Page((hostile_folder / "report.html").read_text(encoding="utf-8"))
    for tag, entry in page.elements:
        assert tag not in ("link", "iframe", "object", "embed", "base", "form", "img", "use", "image")
        for name, value in entry.items():
            assert name not in ("src", "srcset", "action", "data", "poster", "xlink:href", "style", "background")
            assert "http" not in value
            assert "evil" not in value
            assert "url(" not in value
            if name == "href":
                assert value.startswith("#")
    assert "url(" not in page.raw["style"]
    assert "@import" not in page.raw["style"]
    assert "fetch" not in page.raw["script"]
    targets = {entry["id"] for _, entry in page.elements if "id" in entry}
    assert {entry["href"].removeprefix("#") for _, entry in page.elements if "href" in entry} <= targets


def test_policy_allows_exactly_the_style_and_script_of_the_page(whole: Page) -> None:
    policy = next(entry["content"] for tag, entry in whole.elements if tag == "meta" and "http-equiv" in entry)

    def allowed(text: str) -> str:
        return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"

    assert policy.startswith("default-src 'none'; ")
    assert f"style-src {allowed(whole.raw['style'])};" in policy
    assert f"script-src {allowed(whole.raw['script'])};" in policy


def test_same_files_give_the_same_page(tmp_path: Path) -> None:
    folder = build(tmp_path)
    page_of(folder)
    first = (folder / "report.html").read_bytes()
    page_of(folder)
    assert (folder / "report.html").read_bytes() == first


def test_interval_that_holds_zero_is_no_clear_difference(tmp_path: Path) -> None:
    build(tmp_path)
    put(tmp_path, "comparison-xz.json", comparison(1.9, 2.6, -0.75, 0.05))
    text = page_of(tmp_path).text("header")
    assert "no clear difference from the compressor xz, which needs 2.600 (difference −0.750 to 0.050)" in text


def test_comparison_the_other_way_round_is_turned(tmp_path: Path) -> None:
    build(tmp_path)
    put(tmp_path, "comparison-xz.json", comparison(2.6, 1.9, 0.65, 0.75))
    text = page_of(tmp_path).text("header")
    assert "0.700 (0.650 to 0.750) fewer than the compressor xz, which needs 2.600." in text


def test_comparison_in_a_list_of_one_is_read_like_one_by_itself(tmp_path: Path) -> None:
    build(tmp_path)
    value = comparison(1.9, 2.6, -0.75, 0.05)
    pair = {name: value.pop(name) for name in ("a", "b", "rows")}
    listed = {**value, "format_version": 2, "models": ["run", "baseline"], "comparisons": [pair]}
    put(tmp_path, "comparison-xz.json", listed)
    assert "no clear difference from the compressor xz" in page_of(tmp_path).text("header")


def test_comparison_of_other_results_is_not_shown(tmp_path: Path) -> None:
    build(tmp_path)
    put(tmp_path, "comparison-xz.json", comparison(5.0, 6.0, -1.1, -0.9))
    page = page_of(tmp_path)
    assert "comparison-xz.json compares other results" in page.text("perplexity")
    assert "xz needs 2.600 (not compared document by document)" in page.text("header")


def test_artifacts_that_do_not_belong_together_are_pointed_out(tmp_path: Path) -> None:
    build(tmp_path)
    put(tmp_path, "tokens/manifest.json", {"tokenizer_digest": digest("e"), "fingerprint": digest("b")})
    assert "✗ Artifacts here do not belong together: they name different digests of tokenizer." in page_of(
        tmp_path
    ).text("provenance")


def test_funnel_that_does_not_add_up_is_pointed_out(tmp_path: Path) -> None:
    build(tmp_path)
    funnel = json.loads((tmp_path / "mixed" / "funnel.json").read_text())
    funnel["kept"]["code"] -= 1
    put(tmp_path, "mixed/funnel.json", funnel)
    assert "The counts do not add up" in page_of(tmp_path).text("funnel")


def test_contaminated_documents_are_pointed_out(tmp_path: Path) -> None:
    build(tmp_path)
    found = json.loads((tmp_path / "contamination.json").read_text()) | {"documents_contaminated": 2}
    put(tmp_path, "contamination.json", found)
    assert "✗ 2 training documents hold evaluation text." in page_of(tmp_path).text("funnel")


@pytest.mark.parametrize("arguments", [[], ["a", "b"], ["--nonsense"], ["no/such/folder"]])
def test_usage_errors_are_one_line_and_exit_2(arguments: list[str]) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("error: ")


def test_help_says_how_to_call(tmp_path: Path) -> None:
    done = run("--help")
    assert done.returncode == 0
    assert "python tools/report.py OUTPUT_DIR" in done.stdout


def chromium() -> str:
    found = next(
        (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
    )
    if found is None:
        pytest.skip("no Chromium on the path (Debian: apt-get install chromium)")
    return found


MEASURE = """<!doctype html><iframe id="frame" style="border:0;width:{width}px;height:800px" src="{page}"></iframe>
<pre id="result">not loaded</pre><script>
frame.onload = () => {{
  const page = frame.contentDocument;
  page.querySelectorAll("details").forEach(fold => {{ fold.open = true; }});
  const root = page.documentElement;
  result.textContent = JSON.stringify({{mode: page.compatMode, wide: root.scrollWidth, room: root.clientWidth,
    copy: page.querySelectorAll(".stages button").length, background: getComputedStyle(page.body).backgroundColor}});
}};
</script>"""


@pytest.mark.parametrize("width", [390, 1440])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_browser_shows_the_hostile_page_without_overflow_or_errors(
    tmp_path: Path, hostile_folder: Path, width: int, scheme: str
) -> None:
    browser = chromium()
    frame = tmp_path / "frame.html"
    frame.write_text(MEASURE.format(width=width, page=(hostile_folder / "report.html").as_uri()))
    done = subprocess.run(
        [
            browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            "--allow-file-access-from-files", "--enable-logging=stderr", f"--user-data-dir={tmp_path / 'profile'}",
            f"--blink-settings=preferredColorScheme={0 if scheme == 'dark' else 1}", "--window-size=1600,1000",
            "--virtual-time-budget=5000", "--dump-dom", frame.as_uri(),
        ],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    found = re.search(r'<pre id="result">(.*?)</pre>', done.stdout)
    assert found is not None
    measured = json.loads(found[1])
    assert measured["mode"] == "CSS1Compat"
    assert measured["wide"] <= measured["room"]
    assert measured["copy"] == 3, "the page's own script runs under its policy"
    assert measured["background"] == ("rgb(16, 19, 23)" if scheme == "dark" else "rgb(247, 247, 245)")
    assert [line for line in done.stderr.splitlines() if "CONSOLE" in line] == []
