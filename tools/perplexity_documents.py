"""The corpora of DATA_DIR as one documents artifact of eleven sources, to cut a perplexity suite from.

    python tools/perplexity_documents.py DATA_DIR/corpora OUTPUT
    paloma-ppl prepare --documents OUTPUT --output SUITE --domain-field metadata.domain --group-field metadata.group \\
        --fraction 0.25 --split-small-domains --tokenizer TOKENIZER

Every document has ``metadata.domain``, unlike in any other source, and ``metadata.group``: what is the same thing in
several languages (a Wikipedia article of XQuAD, a programming problem) is one group.
"""

from __future__ import annotations

import gzip
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def json_rows(path: Path) -> Iterator[Row]:
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        for line in stream:
            yield json.loads(line)


def row(source: str, identity: str, text: str, domain: str, group: str | None = None) -> Row:
    metadata = {"domain": domain, "group": group or f"{source}/{identity}"}
    return {"id": identity, "text": text, "source": source, "metadata": metadata}


def novels(corpora: Path) -> Iterator[Row]:
    for line in (corpora / "eltec-novels" / "index.jsonl").read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        author = re.split(r"[,(]", entry["author"])[0].strip()
        with gzip.open(corpora / "eltec-novels" / entry["file"], "rt", encoding="utf-8") as stream:
            yield row("novels", entry["file"].removesuffix(".txt.gz"), stream.read(), f"{entry['lang']}/{author}")


def technical(corpora: Path, name: str) -> Iterator[Row]:
    for entry in json_rows(corpora / "technical" / f"{name}s.jsonl.gz"):
        metadata = entry["metadata"]
        yield row(f"{name}s", entry["id"], entry["text"], f"{name}/{metadata['type']}/{metadata['status']}")


def code(corpora: Path) -> Iterator[Row]:
    for entry in json_rows(corpora / "code" / "humaneval-x.jsonl.gz"):
        begin = entry["prompt"] if entry["lang"] == "python" else entry["declaration"]
        problem = entry["task_id"].rpartition("/")[2]
        text = begin + entry["canonical_solution"]
        yield row("code", entry["task_id"], text, f"code/{entry['lang']}", f"code/{problem}")


def wikipedia(corpora: Path) -> Iterator[Row]:
    with gzip.open(corpora / "wikitext-2" / "valid.txt.gz", "rt", encoding="utf-8") as stream:
        articles = re.split(r"(?m)^(?= = [^=\n]+ = $)", stream.read())
    for number, text in enumerate(article for article in articles if article.strip()):
        yield row("wikitext", f"article-{number}", text, "wikitext")


def rows(corpora: Path) -> Iterator[Row]:
    for entry in json_rows(corpora / "multilingual" / "udhr.jsonl.gz"):
        yield row("udhr", entry["id"], entry["text"], f"udhr/{entry['id']}")
    for entry in json_rows(corpora / "multilingual" / "xquad.jsonl.gz"):
        article = entry["id"].split("-")[2]
        yield row("xquad", entry["id"], entry["text"], f"xquad/{entry['metadata']['lang']}", f"xquad/{article}")
    yield from novels(corpora)
    yield from technical(corpora, "pep")
    yield from technical(corpora, "eip")
    for number, entry in enumerate(json_rows(corpora / "forum" / "ewt-web.jsonl.gz")):  # its ids are not unique
        yield row("forum", f"{entry['id']}-{number}", entry["text"], f"forum/{entry['metadata']['genre']}")
    for entry in json_rows(corpora / "speeches" / "presidential.jsonl.gz"):
        yield row("speeches", entry["id"], entry["text"], f"president/{entry['metadata']['speaker']}")
    yield from code(corpora)
    for number, entry in enumerate(json_rows(corpora / "math" / "gsm8k-test.jsonl.gz")):
        yield row("math", f"gsm8k-{number}", f"{entry['question']}\n{entry['answer']}", "math")
    yield from wikipedia(corpora)
    with gzip.open(corpora / "tinyshakespeare" / "input.txt.gz", "rt", encoding="utf-8") as stream:
        yield row("shakespeare", "tinyshakespeare", stream.read(), "shakespeare")


def write(corpora: Path, output: Path) -> int:
    """Write ``output/documents/*.jsonl.gz``; the number of documents."""
    (output / "documents").mkdir(parents=True, exist_ok=True)
    count = 0
    with gzip.open(output / "documents" / "corpora.jsonl.gz", "wt", encoding="utf-8", compresslevel=3) as stream:
        for entry in rows(corpora):
            stream.write(json.dumps(entry, ensure_ascii=False) + "\n")
            count += 1
    return count


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python tools/perplexity_documents.py DATA_DIR/corpora OUTPUT")
    print(f"{write(Path(sys.argv[1]), Path(sys.argv[2]))} documents")
