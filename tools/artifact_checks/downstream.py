"""Downstream evaluation: task data, requests as text and as ids."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

from artifact_checks.reading import complaint, files_under, lines, load, only, parse, rows
from artifact_checks.report import Options, Report
from artifact_checks.vocabulary import check_tokenizer

UNCONDITIONAL_CONTEXT = "Answer:"
SPACE_MARK = "\u2581"  # how SentencePiece writes the space that it puts before a text
UNCONDITIONAL_OFFSET = 1_000_000  # the published dumps number the unconditional twin of instance i so


def check_task(folder: Path, report: Report, options: Options) -> str:
    """Check ``DATA/TASK/``: every record has its context, its choices, and a right one among them."""
    path = folder / "task.json"
    task = load(path, "task", report)
    if task is None:
        return "unreadable"
    report.equal(path, "name", task["name"], folder.name)
    records = sorted(file for file in files_under(folder / "source") if ".jsonl" in file.name)
    if not any(file.name.startswith("validation.jsonl") for file in records):
        report.problem(folder / "source" / "validation.jsonl.gz", "missing")
    count = 0
    for file in records:
        ids: set[str] = set()
        for number, line in lines(file, report):
            record, wrong = parse(line)
            if wrong is None and not isinstance(record, dict):
                wrong = "not an object"
            if wrong is not None:
                report.problem(file, wrong, number)
                continue
            count += 1
            check_record(record, task, file, number, report)
            if isinstance(record.get("id"), str):
                if record["id"] in ids:
                    report.problem(file, f"id {record['id']!r} stands there twice", number)
                ids.add(record["id"])
    return f"{count:,} records"


def check_record(record: Any, task: Any, path: Path, number: int, report: Report) -> None:
    """One record by the fields that task.json names."""
    if "document" in record and (wrong := complaint("cloze_record", record)):
        report.problem(path, wrong, number)
        return
    context, choices = record.get(task["context_field"]), record.get(task["choices_field"])
    gold = record.get(task["gold_field"])
    if not isinstance(context, str):
        report.problem(path, f"{task['context_field']} is {context!r}, not a string", number)
    if not isinstance(choices, list) or len(choices) < 2 or not all(isinstance(c, str) and c for c in choices):
        report.problem(path, f"{task['choices_field']} is not a list of two or more strings", number)
    elif type(gold) is not int or not 0 <= gold < len(choices):
        report.problem(path, f"{task['gold_field']} is {gold!r}, not an index of the {len(choices)} choices", number)
    elif len(set(choices)) < len(choices):
        report.problem(path, "two choices are equal", number)
    if task["domain_field"] is not None and not isinstance(record.get(task["domain_field"]), str):
        report.problem(path, f"{task['domain_field']} is not a string", number)


def check_requests(folder: Path, report: Report, options: Options) -> str:
    """Check ``R/``: labels in range, all choices there, the tokenised rows those of the text."""
    path = folder / "manifest.json"
    manifest = load(path, "requests", report)
    if manifest is None:
        return "unreadable"
    tokenizer = None
    allowed = {"manifest.json"}
    names = ["task.json", "requests.jsonl.gz"]
    if manifest["tokenizer_digest"] is not None:
        tokenizer = check_tokenizer(folder / "tokenizer.json", manifest["tokenizer_digest"], None, path, report)
        allowed.add("tokenizer.json")
        names.append("tokenized.jsonl.gz")
    allowed |= {f"{task}/{name}" for task in manifest["tasks"] for name in names}
    only(folder, allowed, report)
    total = 0
    for name in manifest["tasks"]:
        total += check_task_requests(folder / name, manifest, tokenizer, report)
    return f"{len(manifest['tasks'])} tasks, {total:,} requests"


def check_task_requests(folder: Path, manifest: Any, tokenizer: Any, report: Report) -> int:
    """The requests of one task; returns their number."""
    path = folder / "task.json"
    task = load(path, "requests_task", report)
    text_path, ids_path = folder / "requests.jsonl.gz", folder / "tokenized.jsonl.gz"
    if task is not None:
        report.equal(path, "name", task["name"], folder.name)
        report.equal(path, "dialect", task["dialect"], manifest["dialect"])
    count = instances = 0
    seen: set[int] = set()
    continuations: dict[tuple[int, int], str] = {}
    for number, group in grouped(rows(text_path, "request", report)):
        count += len(group)
        instances += group[0]["doc_id"] < UNCONDITIONAL_OFFSET
        check_choices(group, seen, text_path, number, report)
        for offset, row in enumerate(group):
            if row["task_name"] != folder.name:
                report.problem(
                    text_path, f"task_name {row['task_name']!r} in the folder {folder.name}", number + offset
                )
            if row["doc_id"] < UNCONDITIONAL_OFFSET:
                continuations[row["doc_id"], row["idx"]] = row["request"]["continuation"]
            else:
                check_twin(row, continuations, text_path, number + offset, report)
    if task is not None:
        report.equal(path, "instances", task["instances"], instances)
        report.equal(path, "requests", task["requests"], count)
    if manifest["tokenizer_digest"] is not None:
        boundary = "separate" if task is None else task["boundary"]
        check_tokenized(text_path, ids_path, tokenizer, boundary, report)
    return count


def check_twin(row: Any, continuations: dict[tuple[int, int], str], path: Path, number: int, report: Report) -> None:
    """An unconditional request has the continuation of its conditional one, under the context ``Answer:``."""
    doc_id = row["doc_id"] - UNCONDITIONAL_OFFSET
    if row["request"]["context"] != UNCONDITIONAL_CONTEXT:
        report.problem(path, f"unconditional, but the context is not {UNCONDITIONAL_CONTEXT!r}", number)
    if continuations.get((doc_id, row["idx"])) != row["request"]["continuation"]:
        report.problem(path, f"not the continuation of choice {row['idx']} of doc_id {doc_id}", number)


def grouped(numbered: Iterable[tuple[int, Any]]) -> Iterator[tuple[int, list[Any]]]:
    """(line of the first row, rows) of neighbours with one doc_id."""
    first = 0
    group: list[Any] = []
    for number, row in numbered:
        if group and row["doc_id"] != group[0]["doc_id"]:
            yield first, group
            group = []
        if not group:
            first = number
        group.append(row)
    if group:
        yield first, group


def check_choices(group: list[Any], seen: set[int], path: Path, number: int, report: Report) -> bool:
    """One instance: every choice once, in order, one label that is one of them."""
    doc_id = group[0]["doc_id"]
    good = True
    if doc_id in seen:
        report.problem(path, f"doc_id {doc_id}: its choices do not stand together, or stand there twice", number)
        good = False
    seen.add(doc_id)
    if [row["idx"] for row in group] != list(range(len(group))):
        report.problem(
            path, f"doc_id {doc_id}: idx is {[row['idx'] for row in group]}, not 0..{len(group) - 1}", number
        )
        good = False
    for name in ("label", "native_id"):
        if any(row[name] != group[0][name] for row in group):
            report.problem(path, f"doc_id {doc_id}: its choices have different values of {name}", number)
            good = False
    if group[0]["label"] >= len(group):
        report.problem(path, f"doc_id {doc_id}: label {group[0]['label']} of {len(group)} choices", number)
        good = False
    return good


def check_tokenized(text_path: Path, ids_path: Path, tokenizer: Any, boundary: str, report: Report) -> None:
    """Rows line up with the text, one to one; ``doc_id`` is the instance's, of unconditional ones too."""
    leading = None if tokenizer is None else Leading(tokenizer)
    texts = rows(text_path, "request", Report(quiet=True))
    for text, ids in zip_longest(texts, rows(ids_path, "tokenized_request", report)):
        if ids is None:
            report.problem(ids_path, f"ends before line {text[0]} of {text_path.name}")
            break
        if text is None:
            report.problem(ids_path, f"goes on after the last row of {text_path.name}", ids[0])
            break
        (text_line, request), (number, row) = text, ids
        kind = "conditional" if request["doc_id"] < UNCONDITIONAL_OFFSET else "unconditional"
        identity = (request["doc_id"] % UNCONDITIONAL_OFFSET, request["idx"], request["label"], kind)
        found = (row["doc_id"], row["idx"], row["label"], row["kind"])
        if found != identity:
            report.problem(ids_path, f"{found}, but line {text_line} of the text is {identity}", number)
            break
        check_ids(row, request["request"], leading, boundary, ids_path, number, report)


class Leading:
    """A tokenizer, and what it puts before every text by itself: ids such as a BOS, or a space."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        plain, whole = self.encode("A"), list(tokenizer.encode("A").ids)
        self.ids = whole[: whole.index(plain[0])] if plain and plain[0] in whole else []
        self.adds_space = bool(plain) and str(tokenizer.id_to_token(plain[0])).startswith(SPACE_MARK)

    def joint(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        """Ids of one text, parted before the first token that reaches into the continuation."""
        encoding = self.tokenizer.encode(context + continuation, add_special_tokens=False)
        reaching = (k for k, (_, end) in enumerate(encoding.offsets) if end > len(context))
        cut = next(reaching, len(encoding.ids))
        return self.ids + list(encoding.ids[:cut]), list(encoding.ids[cut:])

    def parts_at_join(self, context: str, continuation: str) -> bool:
        """Whether a token of the one text ends at the join and another begins there."""
        encoding = self.tokenizer.encode(context + continuation, add_special_tokens=False)
        after = [begin for begin, end in encoding.offsets if end > len(context)]
        return bool(after) and after[0] >= len(context) and len(after) < len(encoding.ids)

    def encode(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False).ids)


def check_ids(
    row: Any, request: Any, leading: Leading | None, boundary: str, path: Path, number: int, report: Report
) -> None:
    """Counts, and the ids that the boundary policy gives."""
    context, continuation = request["context"], request["continuation"]
    report.equal(path, "characters", row["characters"], len(continuation), number)
    report.equal(path, "bytes", row["bytes"], len(continuation.encode()), number)
    if leading is None:
        return
    context_ids, continuation_ids = row["context_ids"], row["continuation_ids"]
    together = boundary == "joint" or (boundary == "joint-safe" and leading.parts_at_join(context, continuation))
    if together and context:
        before, after = leading.joint(context, continuation)
        # a part without tokens has one that stands for it
        good = context_ids == before or (not before and len(context_ids) == 1)
        good &= continuation_ids == after or (not after and len(continuation_ids) == 1)
    else:
        drop = leading.adds_space and continuation[0] == " " and len(continuation) > 1
        before = leading.ids + leading.encode(context)
        after = leading.encode(continuation[drop:])
        good = continuation_ids == after or (not after and len(continuation_ids) == 1)
        good &= context_ids == before or (not before and len(context_ids) == 1)
    if not good:
        report.problem(path, f"the ids are not those of the text by the boundary policy {boundary}", number)
