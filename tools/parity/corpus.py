"""The documents of the comparison: a fixed sample of every real corpus in a folder, and awkward texts."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

LONGEST = 30_000  # characters; a longer text is cut, since some of dolma's taggers take more than linear time
EXTENSIONS = {"python": "py", "cpp": "cpp", "go": "go", "java": "java", "js": "js", "rust": "rs"}
Document = dict[str, Any]

AWKWARD = (
    "",
    " ",
    "\n",
    "\n\n\n",
    " \n \n",
    "one",
    "one\n",
    "\none",
    "no newline at the end, jo@example.org",
    "jo@example.org",
    "write to jo@example.org.\nor to (ann@example.com), please",
    "mail <jo.do+x@mail.example.org>, 'o'hara@example.org'\n",
    "Почта: имя@пример.рф.\nTel. 555-123-4567\n",
    "555-123-4567 call me",
    "call (555) 123-4567 now, isbn 555 123 4567\n",
    "isbn 978-3-16-148410-0 and 10.0.0.1",
    "call 555.123.45678901 or 192.168.100.2000, version 1.2.3.4.5\n",
    "see https://example.org/a?b=c and call (555) 123-4567 or 10.11.12.13\n",
    "İİİ büyük harf.\nkısa\nİstanbul'da {javascript} JAVASCRİPT",
    "JavaScript is on. javascript\nLorem Ipsum dolor\nlorem\u00a0ipsum\u2003dolor",
    "ends with an ellipsis…\n… begins so\n* a bullet\n- another\n* a bullet\n",
    "CR and LF\r\nold\rMac\x0bvertical\x0cform\x1cfile\x85next\u2028line\u2029paragraph",
    "\u00a0no-break\u3000ideographic\u1680ogham\u200bzero width\ufeffmark",
    "a a a a a a a a a a",
    "hahahahahaha ha ha ha ha\n----------\n==========\n.  .  .  .  .",
    "ab ab ab ab\nabababab\n\n" + "x" * 200 + "\n" + "spam eggs " * 40,
    "👩‍👩‍👧‍👦 👍🏽 🇩🇪🇫🇷 ☕️ ✂ 😀😀\n😀\n!!!\n---\n* * *\n",
    "e\u0301te\u0301 naïve “quoted” don’t can't 3.14 1,000 a_b x.y 10:30",
    "中文没有空格。日本語のカタカナとひらがな。한국어 조사 ไทยไม่มีช่องว่าง हिन्दी शब्द",
    "/* Copyright 2020 */\nint main() { return 0; }\n",
    "/* no notice */\n/* copyright later */\nint x;\n",
    "# one\n# two\n\n# three\nimport os\n",
    "\n\n// c\ncode",
    "-- sql\n-- more",
    "password = 'hunter2hunter2'\naws_secret = 'AKIAIOSFODNN7EXAMPLE'\n",
    'key = "AKIAIOSFODNN7EXAMPLE"\nkey = "AKIAIOSFODNN7EXAMPLE"\n',
    'api_key = "c3VwZXIgbG9uZyBzdHJpbmcgc2hvdWxkIGNhdXNlIGVub3VnaCBlbnRyb3B5"\n',
)  # fmt: skip
# Longer than some of dolma's patterns, which take quadratic time, come to an end with.
HEAVY = ("?" * 10_001 + " jo@example.org \n", "x" * 100_050 + " " + "word " * 30)
ADDRESSES = (
    "https://www.wwf.org/panda",
    "http://wwf.org",
    "https://w3.org/TR/",
    "www.example.org",
    "EXAMPLE.ORG/Path?q=1#f",
    "http://user:secret@example.org:8080/x/",
    "http://[2001:db8::1]/a",
    "http://192.0.2.7/",
    "https://news.bbc.co.uk/story",
    "https://a.b.example.com/deep/er",
    "example.net/only/this/page",
    "https://shop.example.net/only",
    "ftp://files.example.info",
    "https://ads.example.com/banner.js?x=1",
    "http://münchen.example/straße",
    "not a url",
    "http://",
    "",
    "//example.org",
    "http://localhost/",
)


def read_corpus(folder: Path, budget: int) -> list[Document]:
    """About ``budget`` bytes of text from each source below ``folder``, always the same; then the awkward texts."""
    documents: list[Document] = []
    for read in (code, novels, prose, lines, web, crawl, classified):
        found = read(folder)
        by_source: dict[str, list[Document]] = {}
        for document in found:
            document["text"] = document["text"][:LONGEST]
            by_source.setdefault(document["source"], []).append(document)
        for source in sorted(by_source):
            documents += sample(by_source[source], budget)
    documents += [
        {"id": f"awkward-{k}", "source": "awkward", "text": text, "metadata": None} for k, text in enumerate(AWKWARD)
    ]
    documents += [{"id": f"heavy-{k}", "source": "heavy", "text": text} for k, text in enumerate(HEAVY)]
    documents += [
        {"id": f"address-{k}", "source": "addresses", "text": "A page.", "metadata": {"url": url}}
        for k, url in enumerate(ADDRESSES)
    ]
    for extension in ("py", "java", "js", "html", "c", "sql", "zz"):
        documents += [
            {"id": f"{extension}-{k}", "source": "code-edges", "text": text, "metadata": {"ext": extension, **more}}
            for k, (text, more) in enumerate(
                [
                    ("", {}),
                    ("x", {"max_stars_count": 3}),
                    ('"""Doc."""\n# note\ndef f(:\n', {"max_stars_count": None}),
                    ("<html><script>var a = 1;</script><p>" + "Words to be seen. " * 20 + "</p></html>", {}),
                    ("<?xml version='1.0'?><a/>", {"max_stars_count": "12"}),
                    ("/* block */ // line\nint x; <!-- c -->\n-- q\n", {"max_stars_count": 7.5}),
                ]
            )
        ]
    for document in documents:
        if document.get("metadata") is None:
            document.pop("metadata", None)
    return documents


def sample(documents: list[Document], budget: int) -> list[Document]:
    """Documents in an order of their hash until the budget is spent; at least two."""
    ordered = sorted(documents, key=lambda each: hashlib.sha256(each["id"].encode()).digest())
    taken: list[Document] = []
    for document in ordered:
        if budget <= 0 and len(taken) >= 2:
            break
        taken.append(document)
        budget -= len(document["text"].encode())
    return taken


def rows(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        yield from map(json.loads, stream)


def make(name: str, source: str, text: str, **metadata: Any) -> Document:
    return {"id": name, "source": source, "text": text, "metadata": metadata}


def code(folder: Path) -> Iterator[Document]:
    for row in rows(folder / "corpora/code/humaneval-x.jsonl.gz"):
        head = row["prompt"] if row["lang"] == "python" else row["declaration"]
        text = head + row["canonical_solution"] + "\n" + row["test"]
        yield make(row["task_id"], "code", text, ext=EXTENSIONS.get(row["lang"], "txt"), max_stars_count=len(text) % 9)


def novels(folder: Path) -> Iterator[Document]:
    for path in sorted((folder / "corpora/eltec-novels").glob("*/*.txt.gz")):
        text = gzip.open(path, "rt", encoding="utf-8").read()
        for start in range(0, len(text), 10_000):
            yield make(f"{path.name}-{start}", "novels", text[start : start + 10_000])


def prose(folder: Path) -> Iterator[Document]:
    for name in ("forum/ewt-web", "technical/eips", "technical/peps", "speeches/presidential"):
        for row in rows(folder / f"corpora/{name}.jsonl.gz"):
            yield make(row["id"], name, row["text"])
    for name in ("multilingual/xquad", "multilingual/udhr"):
        for row in rows(folder / f"corpora/{name}.jsonl.gz"):
            yield make(row["id"], name, row["text"])
    for row in rows(folder / "corpora/math/gsm8k-test.jsonl.gz"):
        yield make(hashlib.sha256(row["question"].encode()).hexdigest(), "math", row["question"] + "\n" + row["answer"])


def lines(folder: Path) -> Iterator[Document]:
    for name in ("tinyshakespeare/input", "wikitext-2/valid"):
        text = gzip.open(folder / f"corpora/{name}.txt.gz", "rt", encoding="utf-8").read()
        for start in range(0, len(text), 5_000):
            yield make(f"{name}-{start}", name, text[start : start + 5_000])


def web(folder: Path) -> Iterator[Document]:
    """Pages as they are, as text and, all of them, as the ``html`` of the metadata."""
    pages = folder / "corpora/web/html-cc"
    for row in map(json.loads, (pages / "index.jsonl").read_text(encoding="utf-8").splitlines()):
        html = gzip.open(pages / row["file"]).read().decode(errors="replace")
        yield make(row["file"], "web", html, url=row["url"], ext="html")
        yield make(row["file"], "licences", "", html=html)


def crawl(folder: Path) -> Iterator[Document]:
    """Addresses of real web archives, with as little text as it takes."""
    for path in sorted((folder / "corpora/web/warc").rglob("*.warc.gz")):
        try:
            head = gzip.open(path).read()
        except (OSError, EOFError):
            continue  # broken on purpose
        for line in sorted(set(head.split(b"\r\n"))):
            if line.lower().startswith(b"warc-target-uri:"):
                url = line.split(b":", 1)[1].strip().decode(errors="replace")
                yield make(f"{path.name} {url}", "crawl", "A page of an archive.", url=url)


def classified(folder: Path) -> Iterator[Document]:
    for name in ("spam/sms-spam", "toxicity/toxicity", "langid/langid", "boilerplate/segments"):
        for k, row in enumerate(rows(folder / f"classifiers/{name}.jsonl.gz")):
            yield make(f"{name}-{k}", name, row["text"])
