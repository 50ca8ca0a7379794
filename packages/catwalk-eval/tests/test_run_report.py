from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from stored import instance, write_predictions

from catwalk_eval.cli import app
from catwalk_eval.command_line import run
from catwalk_eval.config import ReportConfig
from catwalk_eval.errors import UserError
from catwalk_eval.published import CAVEAT
from catwalk_eval.report import accuracies, report

HOSTILE = (
    "</script><script>document.title='taken'</script>",
    "<img src=x onerror=\"document.title='taken'\">",
    "line\u2028separator\u2029and </style>",
    "\u202egnp.exe and עברית",
    "<!-- & &lt;b&gt; ${1} | `pipe` [link](javascript:1)",
)


def requests(
    task: str, labels: Sequence[int], words: Sequence[str] = ("why",), shots: str = ""
) -> list[dict[str, Any]]:
    return [
        {
            "request_type": "loglikelihood", "doc": {"query": f"q{doc_id}"}, "idx": idx, "task_name": task,
            "doc_id": doc_id, "native_id": f"q{doc_id}", "label": label,
            "request": {
                "context": f"{shots}Question {doc_id}: {words[doc_id % len(words)]}?\nAnswer:",
                "continuation": f" choice {idx} {words[(doc_id + idx) % len(words)]}",
            },
        }
        for doc_id, label in enumerate(labels)
        for idx in range(2)
    ]  # fmt: skip


def stored_run(
    root: Path, name: str, share: int, words: Sequence[str] = ("why",), tasks: Sequence[str] = ("boolq",)
) -> Path:
    """60 questions; the first ``share`` of them are answered rightly."""
    labels = [k % 2 for k in range(60)]
    rows = [
        row
        for k, label in enumerate(labels)
        for row in instance(
            k, label, (-1.0, -9.0) if (k < share) == (label == 0) else (-9.0, -1.0), domain=words[k % len(words)]
        )
    ]
    texts = {task: requests(task, labels, words, shots="Question: one?\nAnswer: no\n\n") for task in tasks}
    return write_predictions(root / re.sub(r"\W", "_", name), dict.fromkeys(tasks, rows), name=name, requests=texts)


class Read(HTMLParser):
    """Tags, and the data blocks of a page."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.blocks: dict[str, Any] = {}
        self.policy = ""
        self.block = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append((tag, found))
        self.block = found.get("id") or "" if tag == "script" else ""
        if found.get("http-equiv") == "Content-Security-Policy":
            self.policy = found["content"] or ""

    def handle_data(self, data: str) -> None:
        if self.block.startswith("items-"):
            self.blocks[self.block] = json.loads(data)
            self.block = ""


def test_two_runs_as_text_and_markdown(tmp_path: Path) -> None:
    a, b = (
        stored_run(tmp_path, "a", 40, tasks=("boolq", "sciq")),
        stored_run(tmp_path, "b", 30, tasks=("boolq", "sciq")),
    )
    text = report([a, b], ReportConfig(markdown=tmp_path / "out" / "r.md"))
    assert "boolq   olmo-inloop  60" in re.sub(
        " +", lambda found: found[0][:3] if len(found[0]) > 2 else found[0], text
    )
    assert "mean of 2 tasks" in text
    assert "+16.7" in text  # 40 against 30 of 60
    assert re.search(r"OLMo 7B +73\.4 +93\.8", text)
    assert re.search(r"> a +66\.7 +66\.7", text)
    assert "arXiv 2402.00838" in text
    markdown = (tmp_path / "out" / "r.md").read_text()
    assert "| boolq | olmo-inloop | 60 | acc\\_raw | 66.7 |" in markdown
    assert [line for line in markdown.splitlines() if line.startswith("## ")] == [
        "## a", "## b", "## Comparison", "## Published figures",
    ]  # fmt: skip
    (record,) = (tmp_path / "out" / "provenance").iterdir()
    assert json.loads(record.read_text())["command"] == "report"


def test_the_page_holds_every_item_with_its_texts_and_scores(tmp_path: Path) -> None:
    runs = [stored_run(tmp_path, "a", 40), stored_run(tmp_path, "b", 30)]
    report(runs, ReportConfig(html=tmp_path / "r.html"))
    page = Read((tmp_path / "r.html").read_text())
    assert page.blocks["items-index"] == {"tasks": ["boolq"], "runs": ["a", "b"]}
    block = page.blocks["items-0"]
    assert (block["metric"], block["runs"], block["note"], len(block["items"])) == ("acc_raw", [0, 1], "", 60)
    assert block["prefix"] == "Question: one?\nAnswer: no\n\n"
    item = block["items"][35]
    assert (item["id"], item["label"], item["contexts"]) == ("q35", 1, ["Question 35: why?\nAnswer:"])
    assert item["choices"] == [" choice 0 why", " choice 1 why"]
    assert (item["scores"], item["best"], item["credits"]) == ([[-9.0, -1.0], [-1.0, -9.0]], [[1], [0]], [1.0, 0.0])
    assert sum(one["credits"][0] for one in block["items"]) == 40


def test_a_page_loads_nothing_and_runs_its_own_script_alone(tmp_path: Path) -> None:
    report([stored_run(tmp_path, HOSTILE[0], 40, HOSTILE)], ReportConfig(html=tmp_path / "r.html"))
    text = (tmp_path / "r.html").read_text()
    page = Read(text)
    assert "default-src 'none'" in page.policy
    assert "unsafe-inline" not in page.policy
    scripts = [found for tag, found in page.tags if tag == "script"]
    assert [found.get("type") for found in scripts] == ["application/json", "application/json", None]
    assert not [found for _, found in page.tags for name in found if name.startswith("on") or name in ("src", "style")]
    assert not [tag for tag, _ in page.tags if tag in ("img", "iframe", "object", "b>x")]
    assert not set("\u2028\u2029\u202e") & set(text)
    assert page.blocks["items-0"]["items"][1]["choices"][0] == f" choice 0 {HOSTILE[1]}"


def test_checkpoints_of_a_run_give_learning_curves(tmp_path: Path) -> None:
    for step, share in ((500, 30), (1000, 40), (2000, 50), (4000, 52), (8000, 55)):
        stored_run(tmp_path / "small", f"step{step}", share)
    text = report([tmp_path / "small"], ReportConfig(html=tmp_path / "r.html"))
    steps = re.search(r"task +metric +run +(step .*)", text)
    assert steps is not None
    assert re.split(" {2,}", steps[1]) == [f"step {step}" for step in (500, 1000, 2000, 4000, 8000)]
    assert re.search(r"boolq +acc_raw +small +50\.0 ±", text)
    assert re.search(r"boolq +bits_per_byte +small", text)
    assert re.search(r"boolq +log_soft_score +small +-", text)
    page = (tmp_path / "r.html").read_text()
    assert page.count('<svg class="curve"') == 3
    assert "step 1000: 66.7 (" in page
    assert "Of 5 runs the first and the last are shown." in page
    assert Read(page).blocks["items-0"]["runs"] == [0, 4]
    assert "Comparison" not in text


def test_runs_on_other_items_are_shown_without_comparison(tmp_path: Path) -> None:
    a = stored_run(tmp_path, "a", 40)
    labels = [k % 2 for k in range(20)]
    rows = [row for k, label in enumerate(labels) for row in instance(k, label, (-1.0, -9.0))]
    b = write_predictions(tmp_path / "b", {"boolq": rows}, name="b", requests={"boolq": requests("boolq", labels)})
    text = report([a, b], ReportConfig(html=tmp_path / "r.html"))
    assert "Not compared: boolq was run on other instances" in text
    assert "Not compared: boolq was run on other instances" in (tmp_path / "r.html").read_text()
    block = Read((tmp_path / "r.html").read_text()).blocks["items-0"]
    assert (block["runs"], block["note"]) == ([0], "b is not shown: boolq was run on other instances.")


def test_predictions_without_their_requests_are_shown_without_texts(tmp_path: Path) -> None:
    run_folder = stored_run(tmp_path, "a", 40)
    (run_folder / "boolq" / "requests.jsonl.gz").unlink()
    report([run_folder], ReportConfig(html=tmp_path / "r.html"))
    block = Read((tmp_path / "r.html").read_text()).blocks["items-0"]
    assert block["note"] == "Prompts and choices were not stored with these predictions."
    assert "choices" not in block["items"][0]


def test_requests_of_other_items_are_refused(tmp_path: Path) -> None:
    a, b = stored_run(tmp_path, "a", 40), stored_run(tmp_path, "b", 40)
    rows = [row for k in range(3) for row in instance(k, 0, (-1.0, -9.0))]
    other = write_predictions(tmp_path / "c", {"boolq": rows}, requests={"boolq": requests("boolq", [0] * 3)})
    shutil.copy(other / "boolq" / "requests.jsonl.gz", b / "boolq" / "requests.jsonl.gz")
    report([a], ReportConfig(html=tmp_path / "r.html"))
    with pytest.raises(UserError, match="not those of the predictions"):
        report([b], ReportConfig(html=tmp_path / "r.html"))


def test_a_folder_without_predictions_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(app, ["report", str(tmp_path)]) == 2
    assert run(app, ["report", str(tmp_path / "none")]) == 2
    assert run(app, ["report"]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert ["no predictions here" in errors[0], "no such file" in errors[1], "no run is named" in errors[2]] == [
        True
    ] * 3


HIDDEN = """<!doctype html><iframe id="frame" style="border:0;width:1300px;height:800px" src="{page}"></iframe>
<pre id="result">not loaded</pre><script>
frame.onload = () => {{
  const tables = [...frame.contentDocument.querySelectorAll("#results .scroll")];
  result.textContent = `${{tables.length}} tables, ${{Math.max(...tables.map((t) => t.scrollWidth - t.clientWidth))}}`;
}};
</script>"""


def chromium() -> str:
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no Chromium on the path (Debian: apt-get install chromium)")
    return found


DRIVE = """<!doctype html><iframe id="frame" style="border:0;width:{width}px;height:800px" src="{page}"></iframe>
<pre id="result">not loaded</pre><script>
frame.onload = () => {{
  const page = frame.contentDocument, at = (id) => page.getElementById(id), found = {{}};
  const set = (id, value, kind) => {{ at(id).value = value; at(id).dispatchEvent(new Event(kind)); }};
  const count = () => at("items-count").textContent;
  found.all = count();
  found.first = page.querySelector("article").textContent;
  found.cards = page.querySelectorAll("article").length;
  set("f-show", "lost", "change");
  found.lost = count();
  set("f-show", "all", "change");
  page.querySelector("[data-turn=last]").click();
  found.last = count();
  page.body.dispatchEvent(new KeyboardEvent("keydown", {{key: "p", bubbles: true}}));
  found.back = count();
  page.body.dispatchEvent(new KeyboardEvent("keydown", {{key: "/", bubbles: true}}));
  found.focus = page.activeElement.id;
  set("f-find", "question 35:", "input");
  page.querySelectorAll("details").forEach((fold) => {{ fold.open = true; }});
  const root = page.documentElement;
  setTimeout(() => {{
    found.search = count();
    Object.assign(found, {{title: page.title, wide: root.scrollWidth, room: root.clientWidth,
      images: page.querySelectorAll("img").length, background: getComputedStyle(page.body).backgroundColor}});
    result.textContent = JSON.stringify(found);
  }}, 400);
}};
</script>"""


ALONE = """<!doctype html><iframe id="frame" style="width:900px;height:800px" src="{page}"></iframe>
<pre id="result">not loaded</pre><script>
frame.onload = () => {{
  const page = frame.contentDocument;
  const shown = (id) => getComputedStyle(page.getElementById(id).closest("label")).display;
  const changed = page.querySelector("option[value=changed]").disabled;
  result.textContent = `${{shown("f-a")}} ${{shown("f-b")}} ${{changed}}`;
}};
</script>"""


def seen(browser: str, frame: Path, place: Path, scheme: str) -> tuple[str, list[str]]:
    """What the frame's script found, and the messages on the browser's console."""
    done = subprocess.run(
        [
            browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            "--allow-file-access-from-files", "--enable-logging=stderr", f"--user-data-dir={place / 'profile'}",
            f"--blink-settings=preferredColorScheme={0 if scheme == 'dark' else 1}", "--window-size=1600,1000",
            "--virtual-time-budget=8000", "--dump-dom", frame.as_uri(),
        ],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    match = re.search(r'<pre id="result">(.*?)</pre>', done.stdout, re.DOTALL)
    assert match is not None
    return unescape(match[1]), [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1280, "light")])
def test_a_browser_pages_filters_and_searches_hostile_items(tmp_path: Path, width: int, scheme: str) -> None:
    browser = chromium()
    runs = [
        stored_run(tmp_path / "x", name, share, HOSTILE) for name, share in ((f"step1 {HOSTILE[1]}", 40), ("step9", 30))
    ]
    report(runs, ReportConfig(html=tmp_path / "r.html"))
    frame = tmp_path / "frame.html"
    frame.write_text(DRIVE.format(width=width, page=(tmp_path / "r.html").as_uri()))
    shown, errors = seen(browser, frame, tmp_path, scheme)
    found = json.loads(shown)
    assert found["all"] == "60 of 60 items, page 1 of 3"
    assert found["cards"] == 25
    assert HOSTILE[0] in found["first"]
    assert found["lost"] == "10 of 60 items, page 1 of 1"
    assert found["last"] == "60 of 60 items, page 3 of 3"
    assert found["back"] == "60 of 60 items, page 2 of 3"
    assert found["focus"] == "f-find"
    assert found["search"] == "1 of 60 items, page 1 of 1"
    assert "taken" not in found["title"].replace(HOSTILE[1], "")
    assert found["images"] == 0
    assert found["wide"] <= found["room"]
    assert found["background"] == ("rgb(16, 19, 23)" if scheme == "dark" else "rgb(247, 247, 245)")
    assert errors == []


def test_a_table_of_results_is_as_wide_as_the_page(tmp_path: Path) -> None:
    browser = chromium()
    report([stored_run(tmp_path, "a", 40), stored_run(tmp_path, "b", 30)], ReportConfig(html=tmp_path / "r.html"))
    frame = tmp_path / "frame.html"
    frame.write_text(HIDDEN.format(page=(tmp_path / "r.html").as_uri()))
    assert seen(browser, frame, tmp_path, "light") == ("2 tables, 0", [])


def test_one_run_has_no_second_to_choose(tmp_path: Path) -> None:
    browser = chromium()
    report([stored_run(tmp_path, "a", 40)], ReportConfig(html=tmp_path / "r.html"))
    frame = tmp_path / "frame.html"
    frame.write_text(ALONE.format(page=(tmp_path / "r.html").as_uri()))
    assert seen(browser, frame, tmp_path, "light") == ("grid none true", [])


def test_published_figures_stand_beside_zero_shot_accuracies_alone() -> None:
    def entry(primary: str, shots: int) -> dict[str, Any]:
        values = {"acc_raw": 0.5, "f1": 0.75, "acc_per_char": 0.25, "bits_per_byte": 0.9}
        metrics = {name: {"value": value} for name, value in values.items()}
        return {"primary_metric": primary, "shots": shots, "metrics": metrics}

    tasks = {"piqa": entry("acc_per_char", 0), "mrpc": entry("f1", 0), "wic": entry("acc_raw", 5)}
    assert accuracies({"tasks": tasks | {"sciq": entry("bits_per_byte", 0)}}) == {"piqa": 25, "mrpc": 50}
    for task, count in (("COPA", 100), ("MRPC", 408), ("WNLI", 71)):
        assert f"{task} on {count}" in CAVEAT
