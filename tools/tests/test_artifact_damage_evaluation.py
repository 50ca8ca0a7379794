"""Every artifact of evaluation, damaged in many ways: each damage is found, in the right file and line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from builders.damage import Check, Damage, assert_found, cases, manifest, replace, rows
from builders.files import digest, edit_json, edit_rows, read_json, write, write_json, write_rows

M = "manifest.json"
S = "suite.json"
VAL, TEST, HELD = "wiki/val/val-00000000.jsonl.gz", "wiki/test/test-00000000.jsonl.gz", "held_out.jsonl.gz"


def suite(edit: Callable[[Any], Any]) -> Callable[[Path], None]:
    return lambda folder: edit_json(folder / S, edit)


def resealed(file: str, edit: Callable[[list[Any]], Any]) -> Callable[[Path], None]:
    """Change a file of the suite and give suite.json its new digest, so that only the content is wrong."""

    def spoil(folder: Path) -> None:
        edit_rows(folder / file, edit)
        split = file.split("/")[1]
        edit_json(
            folder / S,
            lambda m: m["sources"]["wiki"][split]["files"][0].update(digest=digest(folder / file)),
        )

    return spoil


SUITE: list[Damage] = [
    ("changed file", rows(VAL, lambda r: r[0].update(text="Kein Text.")), S, None, f"digest of {VAL} is"),
    ("row cut", resealed(VAL, lambda r: r.pop()), S, None, f"documents of {VAL} is 2, but the content gives 1"),
    (
        "bytes",
        resealed(VAL, lambda r: r[0].update(text="x")),
        S,
        None,
        f"bytes of {VAL} is 16, but the content gives 8",
    ),
    ("domain", resealed(VAL, lambda r: r[0].update(subdomain="fr")), S, None, "wiki, val: domain de"),
    ("source", resealed(VAL, lambda r: r[0].update(source="web")), VAL, 1, "source 'web' in the folder of 'wiki'"),
    ("blank", resealed(VAL, lambda r: r[0].update(text=" ")), VAL, 1, "does not match"),
    ("extra key", resealed(VAL, lambda r: r[1].update(note="")), VAL, 2, "'note' was unexpected"),
    ("same id", resealed(TEST, lambda r: r[0].update(id="v1")), TEST, 1, "id 'v1' of source 'wiki' stands at"),
    ("shared group", rows(HELD, lambda r: r[2].update(group="p1")), TEST, 1, "the group of 't1' is in val and in test"),
    ("not held out", rows(HELD, lambda r: r.pop(0)), HELD, None, "1 documents of the suite do not stand there"),
    ("held out twice", rows(HELD, lambda r: r.append(r[0])), HELD, 5, "'v1' of 'wiki' stands there twice"),
    ("number held out", suite(lambda m: m.update(held_out_documents=3)), S, None, "held_out_documents is 3"),
    ("kept", suite(lambda m: m["counts"].update(kept=4, dropped=5)), S, None, "counts.kept is 4"),
    ("lost", suite(lambda m: m["counts"].update(read=8)), S, None, "kept + dropped + failed = 9"),
    ("file gone", lambda f: (f / TEST).unlink(), TEST, None, "suite.json lists this file, but it is missing"),
    (
        "extra file",
        lambda f: write(f / "wiki/val/x.jsonl", b""),
        "wiki/val/x.jsonl",
        None,
        "is no part of the artifact",
    ),
    ("fraction", suite(lambda m: m["rule"].update(fraction=2)), S, None, "rule/fraction: 2 is greater"),
]
W = "windows.jsonl.gz"
WINDOWS: list[Damage] = [
    ("token skipped", rows(W, lambda r: r[0]["scored"].pop(2)), W, 1, "a token counts twice or never"),
    ("token twice", rows(W, lambda r: r[1].update(scored=[0, 1, 2, 3])), W, 2, "scored/0: 0 is less than"),
    ("first not scored", rows(W, lambda r: r[0]["scored"].pop(0)), W, 1, "scored does not run from 1 to 6"),
    ("window cut", rows(W, lambda r: r.pop(1)), M, None, "windows is 3, but the content gives 2"),
    ("window out of order", rows(W, lambda r: r.insert(0, r.pop(1))), W, 1, "window 1 of 'v1', but 0 comes next"),
    ("no prefix", rows(W, lambda r: r[2]["ids"].__setitem__(0, 5)), W, 3, "not the prefix token 0"),
    ("no link", rows(W, lambda r: r[1]["ids"].__setitem__(0, 5)), W, 2, "the last id of the window before"),
    ("too long", manifest(lambda m: m.update(maximum_length=5)), W, 1, "7 ids, more than maximum_length + 1 = 6"),
    ("id", rows(W, lambda r: r[2]["ids"].__setitem__(1, 259)), W, 3, "id 259 is not below vocab_size 259"),
    ("bytes twice", rows(W, lambda r: r[1].update(bytes=9)), W, 2, "bytes 9 in a window that is not the first"),
    ("bytes", rows(W, lambda r: r[0].update(bytes=8)), M, None, "bytes is 11, but the content gives 10"),
    ("domain", rows(W, lambda r: r[1].update(domain="en")), W, 2, "domain 'en', but the window before has 'de'"),
    ("parted", rows(W, lambda r: r.append(r.pop(1))), W, None, "the windows of 1 documents do not stand together"),
    ("tokens", manifest(lambda m: m.update(tokens=12)), M, None, "tokens is 12, but the content gives 11"),
    ("tokenizer", lambda f: replace(f / "tokenizer.json", b"<|padding|>", b"<|pad|>"), M, None, "tokenizer_digest is"),
]
D, R, V = "documents.jsonl.gz", "results.json", "vocabulary.jsonl.gz"


def results(edit: Callable[[Any], Any]) -> Callable[[Path], None]:
    return lambda folder: edit_json(folder / R, edit)


DV, WORST = "domain_vocabulary.jsonl.gz", "worst.jsonl.gz"
PS = "positions.jsonl.gz"
SD = "single_documents.jsonl.gz"
PERPLEXITY: list[Damage] = [
    (
        "revision",
        lambda f: edit_json(f / "manifest.json", lambda m: m["model"].update(revision="step4")),
        "manifest.json",
        None,
        "revision is 'step4', but the name is 'tiny'",
    ),
    ("window tokens", rows(SD, lambda r: r[0].update(tokens=[6, 4])), SD, 1, "domain wiki/de: Σ tokens is 10"),
    ("window bytes", rows(SD, lambda r: r[1].update(bytes=[6, 2])), SD, 2, "domain wiki/en: Σ bytes is 8"),
    ("window sums", rows(SD, lambda r: r[2].update(log_probabilities=[-3.0])), SD, 3, "Σ log_probabilities is not"),
    ("window length", rows(SD, lambda r: r[0].update(tokens=[5, 4])), SD, 1, "is not of maximum_length"),
    ("window lists", rows(SD, lambda r: r[0].update(bytes=[9])), SD, 1, "the lists differ in length"),
    ("single gone", rows(SD, lambda r: r.pop()), SD, None, "domain code/en is missing"),
    ("single twice", rows(SD, lambda r: r.append(r[0])), SD, 4, "stands there twice or has no single document"),
    (
        "position counts",
        lambda f: edit_rows(f / PS, lambda r: r[0].update(counts=[3, 2, 2, 2])),
        PS,
        None,
        "Σ counts is 17",
    ),
    (
        "position sums",
        lambda f: edit_rows(f / PS, lambda r: r[2]["log_probabilities"].__setitem__(1, -0.75)),
        PS,
        None,
        "source code: Σ log_probabilities",
    ),
    (
        "position lists",
        lambda f: edit_rows(f / PS, lambda r: r[1]["counts"].pop()),
        PS,
        2,
        "the lists differ in length",
    ),
    ("position source", lambda f: edit_rows(f / PS, lambda r: r.append(r[0])), PS, 4, "stands there twice"),
    (
        "positions",
        lambda f: edit_rows(
            f / PS, lambda r: r[1].update(counts=[8] + [0] * 6, log_probabilities=[-11.875] + [0.0] * 6)
        ),
        PS,
        2,
        "7 positions, more than maximum_length",
    ),
    ("positions gone", lambda f: (f / PS).unlink(), PS, None, "missing"),
    (
        "mean loss",
        results(lambda r: r["positions"][0].update(loss=1.0)),
        R,
        None,
        "positions of all sources from 0 on: loss",
    ),
    (
        "whole loss",
        results(lambda r: r["positions"][4].update(whole_loss=None)),
        R,
        None,
        "positions of wiki from 0 on: whole",
    ),
    ("bin gone", results(lambda r: r["positions"].pop()), R, None, "positions of code, bin 2, are missing"),
    ("bin twice", results(lambda r: r["positions"].append(r["positions"][0])), R, None, "or stand there twice"),
    ("domain types", lambda f: edit_rows(f / DV, lambda r: r[0].update(counts=[5, 5])), DV, None, "Σ counts"),
    ("domain gone", lambda f: edit_rows(f / DV, lambda r: r.pop()), DV, None, "domain code/en is missing"),
    ("ids fall", lambda f: edit_rows(f / DV, lambda r: r[0].update(token_ids=[7, 5])), DV, 1, "the ids do not rise"),
    ("ends", lambda f: edit_rows(f / WORST, lambda r: r[0].update(ends=[5, 6, 7])), WORST, 1, "3 ends of 9 tokens"),
    ("text", lambda f: edit_rows(f / WORST, lambda r: r[0].update(text="Gut")), WORST, 1, "do not rise to that"),
    ("row cut", rows(D, lambda r: r.pop(1)), R, None, "domain wiki/en has no documents"),
    (
        "sum",
        rows(D, lambda r: r[0].update(log_probability=-18.0)),
        R,
        None,
        "domain wiki/de: log_probability is -18.25",
    ),
    (
        "tokens",
        rows(D, lambda r: r[0].update(tokens=8)),
        R,
        None,
        "source wiki: tokens is 16, but the content gives 15",
    ),
    ("gain", rows(D, lambda r: r[0].update(log_probability=0.5)), D, 1, "0.5 is greater than the maximum of 0"),
    ("not a number", lambda f: replace(f / D, b"-18.25", b"NaN"), D, 1, "not valid JSON"),
    ("same document", rows(D, lambda r: r[1].update(id="v1")), D, 2, "id 'v1' of source 'wiki' stands at"),
    ("characters", rows(D, lambda r: r[0].update(characters=10)), D, 1, "9 bytes cannot be 10 characters"),
    ("words", rows(D, lambda r: r[1].update(words=8)), D, 2, "8 words in 7 characters"),
    (
        "bits",
        results(lambda r: r["sources"][0].update(bits_per_byte=2.0)),
        R,
        None,
        "source wiki: bits_per_byte is 2.0",
    ),
    (
        "perplexity",
        results(lambda r: r["aggregates"][0].update(perplexity=2.0)),
        R,
        None,
        "aggregate micro: perplexity is",
    ),
    ("macro", results(lambda r: r["aggregates"][1].update(bits_per_byte=2.0)), R, None, "macro: bits_per_byte is 2.0"),
    ("none", results(lambda r: r["domains"][0].update(perplexity=None)), R, None, "domain wiki/de: perplexity is None"),
    ("interval", results(lambda r: r["domains"][0].update(bits_per_byte_low=9.0)), R, None, "is below its interval"),
    ("half interval", results(lambda r: r["domains"][0].update(bits_per_byte_low=None)), R, None, "has one end only"),
    (
        "interval of perplexity",
        results(lambda r: r["domains"][0].update(perplexity_low=100.0, perplexity_high=200.0)),
        R,
        None,
        "domain wiki/de: perplexity: 7.597184953166455 is below its interval 100.0..200.0",
    ),
    ("source gone", results(lambda r: r["sources"].pop()), R, None, "source code is missing"),
    (
        "source twice",
        results(lambda r: r["sources"].append(r["sources"][0])),
        R,
        None,
        "source wiki stands there twice",
    ),
    ("no vocabulary", lambda f: (f / V).unlink(), V, None, "missing"),
    ("types", rows(V, lambda r: r[0].update(count=12)), V, None, "Σ count is 19, but the content gives 20"),
    ("type sums", rows(V, lambda r: r[0].update(log_probability=-18.0)), V, None, "Σ log_probability is -28.0"),
    ("type twice", rows(V, lambda r: r[1].update(token_id=5)), V, 2, "token_id 5 stands there twice"),
    ("type beyond", rows(V, lambda r: r[1].update(token_id=16)), V, 2, "token_id 16 is not below vocab_size 16"),
    ("limit", manifest(lambda m: m.update(limit=2)), M, None, "limit is 2, but there are 3 documents"),
    ("method", manifest(lambda m: m.update(method="xz")), D, 1, "tokens 9 with method xz"),
    ("model", manifest(lambda m: m.update(model=None)), M, None, "model is None with method model"),
    (
        "order behind the step",
        manifest(lambda m: m["model"].update(step=2)),
        M,
        None,
        "training_order begins at steps [1, 3], step is 2",
    ),
]
UNIGRAM: list[Damage] = [
    (
        "counts",
        lambda f: edit_json(f, lambda u: u["counts"].append(1)),
        "",
        None,
        "vocab_size is 4, but the content gives 5",
    ),
    ("tokens", lambda f: edit_json(f, lambda u: u.update(tokens=8)), "", None, "tokens is 8, but the content gives 9"),
    (
        "smoothing",
        lambda f: edit_json(f, lambda u: u.update(smoothing=0)),
        "",
        None,
        "smoothing: 0 is less than or equal",
    ),
    (
        "digest",
        lambda f: edit_json(f, lambda u: u.update(tokenizer_digest="x")),
        "",
        None,
        "tokenizer_digest: 'x' does not",
    ),
]


def compared(edit: Callable[[Any], Any]) -> Callable[[Path], None]:
    return lambda file: edit_json(file, lambda c: edit(c["rows"]))


def whole(edit: Callable[[Any], Any]) -> Callable[[Path], None]:
    return lambda file: edit_json(file, edit)


def first_pair(edit: Callable[[Any], Any]) -> Callable[[Path], None]:
    return lambda file: edit_json(file, lambda c: edit(c["comparisons"][0]["rows"]))


COMPARISON: list[Damage] = [
    ("difference", first_pair(lambda r: r[0].update(difference=0.3)), "", None, "difference is 0.3, but a - b = 0.25"),
    ("interval", first_pair(lambda r: r[0].update(high=0.2)), "", None, "0.25 is above its interval 0.125..0.2"),
    ("level", first_pair(lambda r: r[0].update(level="domain")), "", None, "the names do not fit the level"),
    ("twice", first_pair(lambda r: r.append(r[0])), "", None, "source wiki stands there twice"),
    ("key", first_pair(lambda r: r[0].pop("documents")), "", None, "'documents' is a required property"),
    ("adjusted", first_pair(lambda r: r[1].update(p_holm=0.01)), "", None, "p_holm is 0.01, but 2 tests give 0.02"),
    ("source", first_pair(lambda r: r[0].update(p=0.1, p_holm=0.2)), "", None, "is 0.2, but 1 tests give 0.1"),
    ("pair", whole(lambda c: c["comparisons"][1].update(a="B")), "", None, "are not all pairs of the models"),
    ("models", whole(lambda c: c["models"].append("D")), "", None, "are not all pairs of the models"),
    ("results", whole(lambda c: c["results"][0].update(name="B")), "", None, "names of results is ['B', 'B', 'C']"),
    ("format", whole(lambda c: c["results"][0].update(format="p")), "", None, "'p' is not one of"),
    ("version", whole(lambda c: c.update(format_version=1)), "", None, "is a required property"),
]
EARLIER_COMPARISON: list[Damage] = [
    ("difference", compared(lambda r: r[0].update(difference=0.3)), "", None, "difference is 0.3, but a - b = 0.25"),
    ("rows", lambda f: edit_json(f, lambda c: c.pop("rows")), "", None, "'rows' is a required property"),
]


CURVES: list[Damage] = [
    ("rate", whole(lambda c: c["rows"][0].update(rate=0.7)), "", None, "rate is 0.7, but the values give 0.69314"),
    ("no rate", whole(lambda c: c["rows"][0].update(rate=None)), "", None, "rate is None, but the values give 0.69"),
    ("interval", whole(lambda c: c["rows"][0].update(rate_low=0.7)), "", None, "is below its interval 0.7..0.75"),
    ("values", whole(lambda c: c["rows"][0]["perplexity"].pop()), "", None, "source wiki: not one value a result"),
    ("order", whole(lambda c: c["results"].reverse()), "", None, "the places of the results do not rise"),
    ("ends", whole(lambda c: c.update(rate_to=2000.0)), "", None, "rate_from, rate_to is (100.0, 2000.0)"),
    ("twice", whole(lambda c: c["rows"].append(c["rows"][0])), "", None, "source wiki stands there twice"),
    ("level", whole(lambda c: c["rows"][0].update(level="domain")), "", None, "the names do not fit the level"),
    ("kind", whole(lambda c: c.pop("artifact")), "", None, "'artifact' is a required property"),
]
RECORDS = "source/validation.jsonl.gz"
TASK: list[Damage] = [
    ("gold", rows(RECORDS, lambda r: r[1].update(gold=4)), RECORDS, 2, "gold: 4 is greater than the maximum of 3"),
    ("choices", rows(RECORDS, lambda r: r[0]["choices"].pop()), RECORDS, 1, "is too short"),
    ("equal choices", rows(RECORDS, lambda r: r[0].update(choices=["a"] * 4)), RECORDS, 1, "two choices are equal"),
    ("same id", rows(RECORDS, lambda r: r[1].update(id="c0")), RECORDS, 2, "id 'c0' stands there twice"),
    ("no records", lambda f: (f / RECORDS).unlink(), RECORDS, None, "missing"),
    ("name", lambda f: edit_json(f / "task.json", lambda t: t.update(name="x")), "task.json", None, "name is 'x'"),
    (
        "builder",
        lambda f: edit_json(f / "task.json", lambda t: t.update(builder="x")),
        "task.json",
        None,
        "'cloze' was expected",
    ),
]
OWN_TASK: list[Damage] = [
    ("gold", rows(RECORDS, lambda r: r[0].update(answer=2)), RECORDS, 1, "answer is 2, not an index of the 2 choices"),
    ("gold as text", rows(RECORDS, lambda r: r[0].update(answer="1")), RECORDS, 1, "answer is '1', not an index"),
    ("one choice", rows(RECORDS, lambda r: r[0]["options"].pop()), RECORDS, 1, "options is not a list of two or more"),
    ("context", rows(RECORDS, lambda r: r[0].pop("question")), RECORDS, 1, "question is None, not a string"),
    ("row", rows(RECORDS, lambda r: r.append([])), RECORDS, 2, "not an object"),
]
TEXT, IDS, ABOUT = "quiz/requests.jsonl.gz", "quiz/tokenized.jsonl.gz", "quiz/task.json"
REQUESTS: list[Damage] = [
    ("label", rows(TEXT, lambda r: [row.update(label=2) for row in r[:2]]), TEXT, 1, "doc_id 0: label 2 of 2 choices"),
    ("choice gone", rows(TEXT, lambda r: r.pop(0)), TEXT, 1, "doc_id 0: idx is [1], not 0..0"),
    ("choices swapped", rows(TEXT, lambda r: r.insert(2, r.pop(3))), TEXT, 3, "doc_id 1: idx is [1, 0, 2], not 0..2"),
    ("parted", rows(TEXT, lambda r: r.insert(4, r.pop(1))), TEXT, 5, "its choices do not stand together"),
    ("two labels", rows(TEXT, lambda r: r[0].update(label=0)), TEXT, 1, "different values of label"),
    ("task name", rows(TEXT, lambda r: r[4].update(task_name="x")), TEXT, 5, "task_name 'x' in the folder quiz"),
    ("empty", rows(TEXT, lambda r: r[0]["request"].update(continuation="")), TEXT, 1, "should be non-empty"),
    (
        "twin's context",
        rows(TEXT, lambda r: r[5]["request"].update(context="A")),
        TEXT,
        6,
        "the context is not 'Answer:'",
    ),
    (
        "twin's choice",
        rows(TEXT, lambda r: r[5]["request"].update(continuation="A")),
        TEXT,
        6,
        "not the continuation of",
    ),
    ("ids cut", rows(IDS, lambda r: r.pop()), IDS, None, "ends before line 10 of requests.jsonl.gz"),
    ("ids added", rows(IDS, lambda r: r.append(r[0])), IDS, 11, "goes on after the last row"),
    ("ids swapped", rows(IDS, lambda r: r.insert(0, r.pop(1))), IDS, 1, "but line 1 of the text is (0, 0, 1"),
    (
        "other ids",
        rows(IDS, lambda r: r[3]["continuation_ids"].__setitem__(1, 9)),
        IDS,
        4,
        "by the boundary policy separate",
    ),
    ("boundary moved", rows(IDS, lambda r: move(r[0])), IDS, 1, "by the boundary policy separate"),
    ("characters", rows(IDS, lambda r: r[2].update(characters=6)), IDS, 3, "characters is 6, but the content gives 5"),
    ("bytes", rows(IDS, lambda r: r[2].update(bytes=5)), IDS, 3, "bytes is 5, but the content gives 6"),
    ("no context", rows(IDS, lambda r: r[0].update(context_ids=[])), IDS, 1, "should be non-empty"),
    ("kind", rows(IDS, lambda r: r[5].update(kind="conditional")), IDS, 6, "but line 6 of the text is"),
    ("count", lambda f: edit_json(f / ABOUT, lambda t: t.update(instances=3)), ABOUT, None, "instances is 3, but"),
    ("dialect", manifest(lambda m: m.update(dialect="other")), ABOUT, None, "dialect is 'olmo'"),
    ("no tokenizer", lambda f: (f / "tokenizer.json").unlink(), "tokenizer.json", None, "missing"),
    ("no ids", lambda f: (f / IDS).unlink(), IDS, None, "missing"),
    ("task not listed", lambda f: write(f / "more/task.json", b"{}"), "more/task.json", None, "is no part of"),
]
P, METRICS = "quiz/predictions.jsonl.gz", "metrics.json"


def metric(name: str, value: float) -> Callable[[Path], None]:
    return lambda f: edit_json(f / METRICS, lambda m: m["tasks"]["quiz"]["metrics"][name].update(value=value))


def baseline(name: str, **values: float) -> Callable[[Path], None]:
    return lambda f: edit_json(f / METRICS, lambda m: m["tasks"]["quiz"]["baselines"][name].update(values))


PREDICTIONS: list[Damage] = [
    ("choice gone", rows(P, lambda r: r.pop()), M, None, "counts of quiz is"),
    ("choice twice", rows(P, lambda r: r.append(r[3])), P, 3, "doc_id 1: idx is [0, 1, 1], not 0..2"),
    ("label", rows(P, lambda r: [row.update(label=2) for row in r[:2]]), P, 1, "label 2 of 2 choices"),
    ("score", rows(P, lambda r: r[0].update(log_probability=-1.0)), METRICS, None, "quiz: acc_raw is 0.75, but the"),
    ("above 0", rows(P, lambda r: r[0].update(log_probability=1.0)), P, 1, "1.0 is greater than the maximum of 0"),
    ("infinite", lambda f: replace(f / P, b"-2.0", b"-Infinity"), P, 1, "not valid JSON"),
    ("no tokens", rows(P, lambda r: r[0].update(tokens=0)), P, 1, "tokens: 0 is less than the minimum of 1"),
    ("characters", rows(P, lambda r: r[1].update(characters=6)), P, 2, "5 bytes cannot be 6 characters"),
    ("tie broken", metric("acc_raw", 1.0), METRICS, None, "quiz: acc_raw is 1.0, but the predictions give 0.75"),
    ("per token", metric("acc_per_token", 0.5), METRICS, None, "quiz: acc_per_token is 0.5"),
    ("unconditional", metric("acc_uncond", 0.25), METRICS, None, "quiz: acc_uncond is 0.25"),
    ("version", manifest(lambda m: m.update(format_version=2)), P, 1, "characters_bare is missing"),
    ("bare", metric("acc_per_char_bare", 0.5), METRICS, None, "quiz: acc_per_char_bare is 0.5"),
    ("soft", metric("soft_score", 0.5), METRICS, None, "quiz: soft_score is 0.5"),
    (
        "predicted",
        lambda f: edit_json(f / METRICS, lambda m: m["tasks"]["quiz"]["predicted"].update(acc_raw=[1, 1])),
        METRICS,
        None,
        "quiz: predicted acc_raw is not what the predictions give",
    ),
    (
        "labels",
        lambda f: edit_json(f / METRICS, lambda m: m["tasks"]["quiz"].update(labels=[2, 0])),
        METRICS,
        None,
        "quiz: labels is [2, 0]",
    ),
    (
        "domain",
        lambda f: edit_json(f / METRICS, lambda m: m["tasks"]["quiz"]["macro"]["domains"]["y"].update(value=1.0)),
        METRICS,
        None,
        "quiz: domain y is 1.0",
    ),
    (
        "mean over domains",
        lambda f: edit_json(f / METRICS, lambda m: m["tasks"]["quiz"]["macro"].update(value=0.5)),
        METRICS,
        None,
        "quiz: mean over domains is 0.5",
    ),
    (
        "suite",
        lambda f: edit_json(f / METRICS, lambda m: m.update(suite={**m["tasks"]["quiz"]["macro"]})),
        METRICS,
        None,
        "suite",
    ),
    ("bits", metric("bits_per_byte", 1.0), METRICS, None, "quiz: bits_per_byte is 1.0"),
    (
        "interval",
        lambda f: edit_json(f / METRICS, lambda m: raw(m).update(low=0.8)),
        METRICS,
        None,
        "is below its interval",
    ),
    ("chance", baseline("chance", value=0.25), METRICS, None, "quiz: baseline chance is 0.25"),
    ("majority", baseline("majority", value=1.0), METRICS, None, "quiz: baseline majority is 1.0"),
    ("longest", baseline("longest", value=1.0), METRICS, None, "quiz: baseline longest is 1.0"),
    ("unigram", baseline("unigram", value=0.25), METRICS, None, "quiz: baseline unigram is 0.25"),
    ("difference", baseline("longest", difference=0.25), METRICS, None, "quiz: difference to longest is 0.25"),
    (
        "no answers",
        rows(P, lambda r: r[0].update(log_probability_answer=None)),
        METRICS,
        None,
        "acc_uncond cannot come",
    ),
    (
        "instances",
        lambda f: edit_json(f / "quiz/task.json", lambda t: t.update(instances=3)),
        "quiz/task.json",
        None,
        "instances",
    ),
    (
        "choices",
        lambda f: edit_json(f / METRICS, lambda m: m["tasks"]["quiz"].update(choices=3)),
        METRICS,
        None,
        "choices is 3",
    ),
    ("task gone", lambda f: edit_json(f / METRICS, lambda m: m["tasks"].clear()), METRICS, None, "tasks is []"),
    ("boundary", manifest(lambda m: m.update(boundary="joint")), "quiz/task.json", None, "boundary is 'separate'"),
    (
        "not listed",
        lambda f: write_rows(f / "x/predictions.jsonl.gz", []),
        "x/predictions.jsonl.gz",
        None,
        "is no part of",
    ),
]
PREDICTIONS_COMPARISON: list[Damage] = [
    ("difference", compared(lambda r: r[0].update(difference=0.5)), "", None, "quiz: difference is 0.5"),
    ("interval", compared(lambda r: r[0].update(low=0.5)), "", None, "0.25 is below its interval"),
    ("adjusted", compared(lambda r: r[0].update(p_value_holm=0.25)), "", None, "made the p value 0.5 smaller"),
    ("metric", compared(lambda r: r[0].update(metric="acc")), "", None, "'acc' is not one of"),
    ("run", compared(lambda r: r[0].update(run_b=2)), "", None, "quiz: it compares a run that is not listed"),
    (
        "suite",
        lambda f: edit_json(f, lambda c: c["suites"][0].update(difference=0.5)),
        "",
        None,
        "suite: difference is 0.5",
    ),
]


def raw(metrics: Any) -> Any:
    return metrics["tasks"]["quiz"]["metrics"]["acc_raw"]


def move(row: Any) -> None:
    """One id from the context to the continuation."""
    row["continuation_ids"].insert(0, row["context_ids"].pop())


@cases(SUITE)
def test_damaged_suite(damage: Damage, build: SimpleNamespace, check: Check) -> None:
    assert_found(check, damage, build.suite())


@cases(WINDOWS)
def test_damaged_windows(damage: Damage, build: SimpleNamespace, check: Check) -> None:
    assert_found(check, damage, build.windows())


def test_windows_in_training_format_may_begin_with_ids_of_the_document_before(
    build: SimpleNamespace, check: Check
) -> None:
    """Two documents of three tokens in windows of four: EOS a a a EOS | EOS b b b."""
    folder = build.windows()
    common = {"source": "wiki", "domain": "de"}
    written = [
        {"document": "v1", **common, "window": 0, "ids": [0, 5, 6, 7], "scored": [1, 2, 3], "bytes": 3},
        {"document": "v2", **common, "window": 0, "ids": [0, 5, 6, 7, 0, 8], "scored": [5], "bytes": 3},
        {"document": "v2", **common, "window": 1, "ids": [8, 9, 10], "scored": [1, 2], "bytes": 0},
    ]
    write_rows(folder / W, written)
    totals = {"format": "training", "maximum_length": 5, "documents": 2, "windows": 3, "tokens": 6, "bytes": 6}
    edit_json(folder / M, lambda m: m.update(totals))
    assert check(folder)[0] == 0

    edit_rows(folder / W, lambda r: r[1].update(scored=[4, 5]))
    status, lines = check(folder)
    assert status == 1
    assert f"{folder / W}:2: 7 stands before the document, not the prefix token 0" in lines


@cases(PERPLEXITY)
def test_damaged_perplexity_results(damage: Damage, build: SimpleNamespace, check: Check) -> None:
    assert_found(check, damage, build.perplexity_results())


@cases(UNIGRAM)
def test_damaged_unigram_counts(damage: Damage, build: SimpleNamespace, check: Check) -> None:
    assert_found(check, damage, build.unigram())


@cases(CURVES)
def test_damaged_curves(damage: Damage, build: SimpleNamespace, check: Check) -> None:
    assert_found(check, damage, build.curves())


@cases(COMPARISON)
def test_damaged_comparison(damage: Damage, build: SimpleNamespace, check: Check) -> None:
    assert_found(check, damage, build.comparison())


@cases(EARLIER_COMPARISON)
def test_damaged_comparison_of_version_1(damage: Damage, build: SimpleNamespace, check: Check) -> None:
    assert_found(check, damage, build.earlier_comparison())


@cases(TASK)
def test_damaged_task(damage: Damage, build: SimpleNamespace, check: Check) -> None:
    assert_found(check, damage, build.task())


@cases(OWN_TASK)
def test_damaged_task_with_fields_of_its_own(damage: Damage, build: SimpleNamespace, check: Check) -> None:
    folder = build.task()
    fields = {"context_field": "question", "choices_field": "options", "gold_field": "answer", "domain_field": None}
    write_json(folder / "task.json", {**read_json(folder / "task.json"), **fields})
    write_rows(folder / RECORDS, [{"question": "Is it?", "options": ["yes", "no"], "answer": 1, "note": "free"}])
    assert check(folder)[0] == 0

    assert_found(check, damage, folder)


@cases(REQUESTS)
def test_damaged_requests(damage: Damage, build: SimpleNamespace, check: Check) -> None:
    assert_found(check, damage, build.requests())


def test_joint_requests_are_one_text_to_the_tokenizer(build: SimpleNamespace, check: Check) -> None:
    """The merge "th" lies across the join of "eight" + "h": whole in the joint ids, cut in the separate ones."""
    folder = build.requests()
    edit_json(folder / ABOUT, lambda t: t.update(boundary="joint", instances=1, requests=2))
    request = {"context": "eight", "continuation": "h"}
    text = {"request_type": "loglikelihood", "doc": {}, "request": request, "idx": 0, "task_name": "quiz", "doc_id": 0}
    text |= {"native_id": None, "label": 0}
    write_rows(folder / TEXT, [text, {**text, "idx": 1, "request": {**request, "continuation": "x"}}])
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    ids = [tokenizer.encode(text).ids for text in ("eighth", "eightx")]
    row = {"doc_id": 0, "label": 0, "characters": 1, "bytes": 1, "kind": "conditional"}
    whole = [
        {**row, "idx": 0, "context_ids": ids[0][:4], "continuation_ids": ids[0][4:]},
        {**row, "idx": 1, "context_ids": ids[1][:5], "continuation_ids": ids[1][5:]},
    ]
    write_rows(folder / IDS, whole)
    assert check(folder) == (0, [f"ok: requests {folder} (1 tasks, 2 requests)"])

    early = {"context_ids": ids[1][:4], "continuation_ids": ids[1][4:]}
    write_rows(folder / IDS, [whole[0], {**whole[1], **early}])
    assert f"{folder / IDS}:2: the ids are not those of the text by the boundary policy joint" in check(folder)[1]

    cut = {"context_ids": tokenizer.encode("eight").ids, "continuation_ids": tokenizer.encode("h").ids}
    write_rows(folder / IDS, [{**whole[0], **cut}, whole[1]])
    assert f"{folder / IDS}:1: the ids are not those of the text by the boundary policy joint" in check(folder)[1]


@cases(PREDICTIONS)
def test_damaged_predictions(damage: Damage, build: SimpleNamespace, check: Check) -> None:
    assert_found(check, damage, build.predictions())


@cases(PREDICTIONS_COMPARISON)
def test_damaged_comparison_of_predictions(damage: Damage, build: SimpleNamespace, check: Check) -> None:
    assert_found(check, damage, build.predictions_comparison())
