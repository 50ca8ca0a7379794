"""A corpus for benchmarks and comparisons, made from the real texts of a data folder.

Novels are cut at about 20,000 characters, line corpora at 100 lines; everything else is one document a record. The
order is a seeded shuffle and files are dealt out in turn, so that every file holds the same kinds of text.
"""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterator
from pathlib import Path

CHAPTER = 20_000  # characters
LINES = 100
FILES = 8
RECORDS = (
    "technical/peps", "technical/eips", "speeches/presidential", "multilingual/udhr", "multilingual/xquad",
    "forum/ewt-web",
)  # fmt: skip
CREATED = "2026-01-01T00:00:00.000Z"


def texts(corpora: Path) -> Iterator[tuple[str, str, str]]:
    """Yield ``(source, id, text)`` of all texts of ``corpora``."""
    for file in sorted((corpora / "eltec-novels").rglob("*.txt.gz")):
        chapter: list[str] = []
        number = length = 0
        for paragraph in gzip.open(file, "rt", encoding="utf-8").read().split("\n\n"):
            chapter.append(paragraph)
            length += len(paragraph)
            if length > CHAPTER:
                yield f"novels-{file.parent.name}", f"{file.stem}-{number}", "\n\n".join(chapter)
                chapter, length, number = [], 0, number + 1
        if chapter:
            yield f"novels-{file.parent.name}", f"{file.stem}-{number}", "\n\n".join(chapter)
    for name in RECORDS:
        for line in gzip.open(corpora / f"{name}.jsonl.gz", "rt", encoding="utf-8"):
            row = json.loads(line)
            yield name.split("/")[1], str(row["id"]), row["text"]
    for line in gzip.open(corpora / "code" / "humaneval-x.jsonl.gz", "rt", encoding="utf-8"):
        row = json.loads(line)
        yield "code", f"{row['lang']}-{row['task_id']}", row["declaration"] + row["canonical_solution"]
    for number, line in enumerate(gzip.open(corpora / "math" / "gsm8k-test.jsonl.gz", "rt", encoding="utf-8")):
        row = json.loads(line)
        yield "math", f"gsm8k-{number}", f"{row['question']}\n{row['answer']}"
    for name in ("wikitext-2/valid", "tinyshakespeare/input"):
        lines = gzip.open(corpora / f"{name}.txt.gz", "rt", encoding="utf-8").read().split("\n")
        for start in range(0, len(lines), LINES):
            yield name.split("/")[0], f"{name}-{start}", "\n".join(lines[start : start + LINES])


def make_corpus(
    corpora: Path, folder: Path, files: int = FILES, share: float = 1.0, copies: int = 1
) -> tuple[int, int]:
    """Write ``folder/documents/part-K.jsonl.gz``; returns the number of documents and bytes of text.

    ``share`` of the documents are taken, from the beginning of the shuffle; ``copies`` repeats them with other ids.
    """
    documents = [
        {"id": key, "text": text, "source": source, "added": CREATED, "created": CREATED}
        for source, key, text in texts(corpora)
        if text.strip()
    ]
    random.Random(0).shuffle(documents)
    documents = documents[: round(len(documents) * share)]
    if copies > 1:
        documents = [row | {"id": f"{row['id']}~{copy}"} for copy in range(copies) for row in documents]
    (folder / "documents").mkdir(parents=True, exist_ok=True)
    for number in range(files):
        with gzip.open(
            folder / "documents" / f"part-{number}.jsonl.gz", "wt", encoding="utf-8", compresslevel=6
        ) as out:
            for row in documents[number::files]:
                out.write(json.dumps(row, ensure_ascii=False) + "\n")
    return len(documents), sum(len(str(row["text"]).encode()) for row in documents)
