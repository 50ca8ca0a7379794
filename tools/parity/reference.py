"""allenai/dolma's side of the comparison. Runs in the environment that holds dolma, and imports nothing of ours.

`python reference.py JOB.json`: scores the documents of the job with each tagger as `dolma tag` does and writes one
JSON line a document, its spans by type or the exception that stopped dolma. Nothing is fetched: tokenizers and lists
are the files that the job names.
"""

from __future__ import annotations

import json
import logging
import sys
import time
import warnings
from pathlib import Path
from typing import Any


def prepare(name: str, files: list[str]) -> Any:
    """An instance of the tagger that reads ``files`` where it would have fetched its own."""
    from dolma import TaggerRegistry  # type: ignore[import-not-found]
    from tokenizers import Tokenizer

    if name == "pii_presidio_v1":
        mend_presidio()
    cls = TaggerRegistry.get(name)
    if files and hasattr(cls, "BLOCKLIST_PATHS"):
        cls.BLOCKLIST_PATHS = files
    elif files and hasattr(cls, "MODEL_PATH"):
        cls.MODEL_PATH = files[0]
    elif files:
        Tokenizer.from_pretrained = staticmethod(lambda identifier: Tokenizer.from_file(files[0]))
    return cls()


def mend_presidio() -> None:
    """Let dolma's tagger run: it looks for its package under a name that no module can have, ``presidio-analyzer``.

    The three recognisers that it asks are patterns, for which the model of language that Presidio would fetch has no
    say, so that spaCy's empty English takes its place. The list of top-level domains is the one inside tldextract.
    """
    import presidio_analyzer  # type: ignore[import-not-found]
    import spacy  # type: ignore[import-not-found]
    import tldextract  # type: ignore[import-not-found]
    from dolma.taggers import pii  # type: ignore[import-not-found]

    spacy.util.is_package = lambda name: True
    spacy.load = lambda name, **settings: spacy.blank("en")
    tldextract.extract = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)
    pii.PRESIDIO_AVAILABLE, pii.AnalyzerEngine = True, presidio_analyzer.AnalyzerEngine


def main(job_file: str) -> None:
    """Run the job: ``taggers`` with their ``documents`` (a file) and ``files``, ``output`` (a folder)."""
    import msgspec

    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    job = json.loads(Path(job_file).read_text())
    from dolma.core.data_types import InputSpecWithMetadata  # type: ignore[import-not-found]

    decode = msgspec.json.Decoder(InputSpecWithMetadata).decode
    read: dict[str, list[Any]] = {}
    for name, task in job["taggers"].items():
        begin = time.perf_counter()
        try:
            tagger = prepare(name, task["files"])
        except ImportError as error:
            (Path(job["output"]) / f"{name}.missing").write_text(" ".join(str(error).split()))
            continue
        source = task["documents"]
        if source not in read:
            read[source] = [decode(line) for line in Path(source).read_bytes().splitlines()]
        documents = read[source]
        with open(Path(job["output"]) / f"{name}.jsonl", "w", encoding="utf-8") as stream:
            for document in documents:
                try:
                    answer: dict[str, Any] = {"spans": tagger.tag(document)}
                except Exception as error:  # whatever it is, dolma's run would end here
                    answer = {"error": f"{type(error).__name__}: {error}"[:200]}
                stream.write(json.dumps(answer) + "\n")
        print(f"{name} {time.perf_counter() - begin:.1f}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
