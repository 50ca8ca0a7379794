"""Results as the tables of Paloma's own pipeline: one ``.jsonl.gz`` a table, a row a result.

``ppl_metrics`` has a row a source; ``ppl_token_ppl_SOURCE_subdomains`` and its twins for characters, words, bytes and
bits per byte have a column a domain; ``ppl_SOURCE_token_count_avg_logits`` has a row a domain and token. There
``avg_logits`` is the mean log-probability, tokens are decoded (all fragments of characters as U+FFFD) and words are
what white space parts. A column ``token_id``, which the pipeline has not, tells fragments apart; its columns of when,
how long and in which workspace it ran are left out.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

from .config import ExportConfig
from .errors import UserError
from .files import PARTIAL, atomic_write, beside, read_lines, replace_artifact
from .metrics import LN_2, DocumentScore, grouped
from .provenance import recorded
from .report import Result, read_all, read_row
from .results import read_results
from .tokenizer import LoadedTokenizer, load_tokenizer
from .worst import DOMAIN_VOCABULARY_FILE

UNITS = {"token": "tokens", "char": "characters", "word": "words", "byte": "bytes"}
LARGEST = 1e30  # what the pipeline writes for a perplexity beyond a double
ROW: dict[str, Any] = {"source": str, "domain": str, "token_ids": list, "counts": list, "log_probabilities": list}


def measures(scores: Sequence[DocumentScore]) -> dict[str, float | None]:
    """Perplexities by unit and bits per byte, by the pipeline's names."""
    total = math.fsum(score.log_probability for score in scores)
    found: dict[str, float | None] = {}
    for name, field in UNITS.items():
        count = sum(getattr(score, field) for score in scores)
        found[f"ppl_{name}"] = None if not count else math.exp(-total / count) if -total / count < 69 else LARGEST
    found["bits_per_byte"] = -total / (LN_2 * sum(score.bytes for score in scores))
    return found


def tables_of(result: Result, tokenizer: LoadedTokenizer) -> Iterator[tuple[str, dict[str, Any]]]:
    """Table and row, for every row of a result."""
    known = result.description
    name, revision = known.revision_of()
    model = {"model": name, "revision": revision, "split": known.split}
    kwargs = {} if revision is None else {"revision": revision}
    for (source,), members in grouped(read_results(result.path)[1], lambda score: (score.source,)).items():
        task = f"ppl_{source}"
        row: dict[str, Any] = {**model, "model_kwargs": kwargs, "full_model": f"lm::pretrained={model['model']}"}
        row |= {"task": task, "num_instances": len(members), "limit": known.limit}
        row["model_max_length"] = known.maximum_length
        totals = {f"total_{field}": sum(getattr(score, field) for score in members) for field in UNITS.values()}
        yield "ppl_metrics", {**row, **measures(members), **totals}
        domains = {
            domain: measures(inner) for (domain,), inner in grouped(members, lambda score: (score.domain,)).items()
        }
        if taken := sorted(domains.keys() & row.keys()):
            raise UserError(
                f"domain {taken[0]!r} of {source} is called as a column of the tables", where=result.path,
                fix="prepare the suite with other names of domains",
            )  # fmt: skip
        for name in (*(f"ppl_{unit}" for unit in UNITS), "bits_per_byte"):
            yield f"{name}_{task}_subdomains", row | {domain: found[name] for domain, found in domains.items()}
    path = result.path / DOMAIN_VOCABULARY_FILE
    for line, data in read_lines(path) if path.is_file() else ():
        domain = read_row(data, ROW, path, line)
        triples = zip(domain["token_ids"], domain["counts"], domain["log_probabilities"], strict=True)
        for token, count, total in sorted(triples, key=lambda triple: triple[2] / triple[1]):
            yield (
                f"ppl_{domain['source']}_token_count_avg_logits",
                {
                    **model,
                    "subdomain": f"{domain['source']}__{domain['domain']}",
                    "token": tokenizer.tokenizer.decode([token], skip_special_tokens=False),
                    "token_id": token,
                    "count": count,
                    "avg_logits": total / count,
                },
            )


def export(paths: Sequence[Path], config: ExportConfig) -> dict[str, int]:
    """Write the tables; returns how many rows each has."""
    found = read_all(paths)
    tokenizer = load_tokenizer(config.tokenizer)
    for result in found:
        if result.description.tokenizer_digest != tokenizer.digest:
            raise UserError(
                "the results belong to another tokenizer", where=result.path, fix="give --tokenizer of the model"
            )
    if config.output.exists() and not (config.output / "ppl_metrics.jsonl.gz").is_file():
        raise UserError("the output exists and holds no such tables", where=config.output, fix="give another output")
    counts: dict[str, int] = {}
    folder = beside(config.output, PARTIAL)
    shutil.rmtree(folder, ignore_errors=True)
    with recorded("paloma-ppl", "export", folder=config.output, config=config, inputs=list(paths)) as record:
        try:
            with ExitStack() as stack:
                streams: dict[str, BinaryIO] = {}
                for result in found:
                    for name, row in tables_of(result, tokenizer):
                        if name not in streams:
                            target = folder / f"{file_name(name)}.jsonl.gz"
                            streams[name] = stack.enter_context(atomic_write(target))
                        streams[name].write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
                        counts[name] = counts.get(name, 0) + 1
            replace_artifact(folder, config.output)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        record.outputs = [config.output]
        record.counts = dict(counts)
    return counts


def file_name(table: str) -> str:
    """A source may be called anything; a file may not."""
    return table.replace("/", "_")
