"""Perplexity results recomputed from their documents; unigram counts; comparisons; curves."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from artifact_checks.documents import report_repeated
from artifact_checks.identities import Identities
from artifact_checks.reading import close, load, only, rows
from artifact_checks.report import Options, Report

LARGEST_EXPONENT = 709  # of a double
AGGREGATES = [prefix + name for prefix in ("", "paloma_", "olmo_") for name in ("micro", "macro")]
NAMED = {"domain": (True, True), "source": (True, False), "aggregate": (False, True)}  # source, domain
SUMS = ("documents", "tokens", "bytes", "characters", "words")  # the last two: in files that have them


def check_perplexity_results(folder: Path, report: Report, options: Options) -> str:
    """Check ``P/``: domains, sources and aggregates are what the document rows give."""
    path = folder / "manifest.json"
    manifest = load(path, "perplexity_manifest", report)
    if manifest is None:
        return "unreadable"
    files = {"manifest.json", "documents.jsonl.gz", "results.json"}
    if manifest["method"] != "xz":
        files.add("vocabulary.jsonl.gz")
    if manifest["method"] == "model":
        files |= {"domain_vocabulary.jsonl.gz", "worst.jsonl.gz"}
    only(folder, files | {"vocabulary.jsonl.gz", "positions.jsonl.gz", "single_documents.jsonl.gz"}, report)
    check_method(manifest, path, report)
    totals = sum_documents(folder / "documents.jsonl.gz", manifest, report)
    if manifest["method"] != "xz":
        check_vocabulary(folder / "vocabulary.jsonl.gz", manifest, totals, report)
    if (folder / "domain_vocabulary.jsonl.gz").is_file():
        check_domain_vocabulary(folder / "domain_vocabulary.jsonl.gz", totals, report)
    if (folder / "worst.jsonl.gz").is_file():
        check_worst(folder / "worst.jsonl.gz", totals, report)
    if (folder / "single_documents.jsonl.gz").is_file():
        check_single_documents(folder / "single_documents.jsonl.gz", manifest, totals, report)
    results = load(folder / "results.json", "perplexity_results", report)
    positions = folder / "positions.jsonl.gz"
    if results is not None and (positions.is_file() or "positions" in results):
        check_positions(positions, manifest, results.get("positions", []), totals, report)
    if results is not None:
        check_results(folder / "results.json", results, totals, report)
    documents = sum(int(total["documents"]) for total in totals.values())
    if manifest["limit"] is not None and documents > manifest["limit"]:
        report.problem(path, f"limit is {manifest['limit']}, but there are {documents} documents")
    return f"{documents:,} documents"


def check_method(manifest: Any, path: Path, report: Report) -> None:
    """What a method has and has not."""
    method = manifest["method"]
    for name, methods in (
        ("model", ("model",)),
        ("tokenizer_digest", ("model", "unigram")),
        ("vocab_size", ("model", "unigram")),
    ):
        if (manifest[name] is None) == (method in methods):
            report.problem(path, f"{name} is {manifest[name]!r} with method {method}")
    model = manifest["model"] or {}
    if "revision" in model and not model["name"].endswith(f"/{model['revision']}"):
        report.problem(path, f"revision is {model['revision']!r}, but the name is {model['name']!r}")
    steps = [row["first_step"] for row in model.get("training_order", ())]
    if steps and (steps != sorted(set(steps)) or steps[-1] > model.get("step", 0)):
        report.problem(path, f"training_order begins at steps {steps}, step is {model.get('step')}")


Totals = dict[tuple[str, str], dict[str, float]]


def sum_documents(path: Path, manifest: Any, report: Report) -> Totals:
    """Sums per (source, domain), and each row's own sense."""
    parts: dict[tuple[str, str], list[float]] = defaultdict(list)
    totals: Totals = defaultdict(lambda: dict.fromkeys(SUMS, 0))
    identities = Identities()
    for number, row in rows(path, "perplexity_document", report):
        place = (row["source"], row["domain"])
        total = totals[place]
        total["documents"] += 1
        for measure in SUMS[1:]:
            total[measure] += row[measure]
        parts[place].append(row["log_probability"])
        identities.add(row["source"], row["id"])
        if not row["characters"] <= row["bytes"] <= 4 * row["characters"]:
            report.problem(path, f"{row['bytes']} bytes cannot be {row['characters']} characters", number)
        if row["words"] > row["characters"]:
            report.problem(path, f"{row['words']} words in {row['characters']} characters", number)
        if (row["tokens"] == 0) != (manifest["method"] == "xz"):
            report.problem(path, f"tokens {row['tokens']} with method {manifest['method']}", number)
        if manifest["method"] == "xz":
            compressed = row["log_probability"] / (-8 * math.log(2))
            if not close(compressed, round(compressed)):
                report.problem(path, f"log_probability is that of {compressed} compressed bytes", number)
    for place, values in parts.items():
        totals[place]["log_probability"] = math.fsum(values)
    report_repeated([path] if identities.repeated() else [], identities, report, "perplexity_document")
    return totals


def add(totals: Iterable[dict[str, float]]) -> dict[str, float]:
    """Sum of sums."""
    every = list(totals)
    return {name: math.fsum(total[name] for total in every) for name in (*SUMS, "log_probability")}


def check_results(path: Path, results: Any, totals: Totals, report: Report) -> None:
    """Every level of results.json."""
    by_source: dict[str, list[dict[str, float]]] = defaultdict(list)
    for (source, _), total in totals.items():
        by_source[source].append(total)
    domains = {f"domain {source}/{domain}": total for (source, domain), total in totals.items()}
    sources = {f"source {source}": add(parts) for source, parts in by_source.items()}
    check_level(path, [(f"domain {row['source']}/{row['domain']}", row) for row in results["domains"]], domains, report)
    check_level(path, [(f"source {row['source']}", row) for row in results["sources"]], sources, report)
    named = [(f"aggregate {row['name']}", row) for row in results["aggregates"]]
    everything = {f"aggregate {name}": add(totals.values()) for name in ("micro", "macro")}
    check_level(path, [pair for pair in named if "sources" not in pair[1]], everything, report, results["domains"])
    for name, row in named:
        if "sources" in row:
            members = {place: total for place, total in totals.items() if place[0] in row["sources"]}
            inside = [domain for domain in results["domains"] if domain["source"] in row["sources"]]
            check_level(path, [(name, row)], {name: add(members.values())} if members else {}, report, inside)


def check_level(
    path: Path,
    stated: list[tuple[str, Any]],
    expected: dict[str, dict[str, float]],
    report: Report,
    domains: list[Any] | None = None,
) -> None:
    """Rows of one level: the right ones, each once, with the right values."""
    names = [name for name, _ in stated]
    for name in sorted(expected.keys() - set(names)):
        report.problem(path, f"{name} is missing")
    for name, row in stated:
        if names.count(name) > 1:
            report.problem(path, f"{name} stands there twice")
        if name not in expected:
            report.problem(path, f"{name} has no documents")
            continue
        check_measures(path, name, row, expected[name], report, domains if name.endswith("macro") else None)


def check_measures(
    path: Path, name: str, row: Any, total: dict[str, float], report: Report, domains: list[Any] | None
) -> None:
    """Sums, bits per byte and perplexity; for the macro average, the mean over the rows of the domains."""
    for measure in SUMS:
        if measure in row:
            report.equal(path, f"{name}: {measure}", row[measure], int(total[measure]))
    expected: dict[str, float | None] = {"log_probability": total["log_probability"]}
    expected["bits_per_byte"] = -total["log_probability"] / (math.log(2) * total["bytes"])
    expected["perplexity"] = perplexity(total)
    for unit in ("character", "word"):
        if f"bits_per_{unit}" in row:
            count = total[f"{unit}s"]
            expected[f"bits_per_{unit}"] = -total["log_probability"] / (math.log(2) * count) if count else None
    if domains:
        for measure in [measure for measure in expected if measure.startswith("bits_per_")]:
            values = [domain[measure] for domain in domains]
            expected[measure] = None if None in values else math.fsum(values) / len(values)
        every = [domain["perplexity"] for domain in domains]
        expected["perplexity"] = None if None in every else math.fsum(every) / len(every)
    for measure, value in expected.items():
        stated = row[measure]
        if (value is None) != (stated is None) or (value is not None and not close(stated, value)):
            report.problem(path, f"{name}: {measure} is {stated!r}, but the documents give {value!r}")
        low, high = row.get(f"{measure}_low"), row.get(f"{measure}_high")
        if value is None and (low, high) != (None, None):
            report.problem(path, f"{name}: {measure} has an interval and no value")
        elif value is not None:
            check_interval(path, f"{name}: {measure}", stated, low, high, report)


def perplexity(total: dict[str, float]) -> float | None:
    """None without tokens, or where no double can hold it."""
    if not total["tokens"] or -total["log_probability"] / total["tokens"] > LARGEST_EXPONENT:
        return None
    return math.exp(-total["log_probability"] / total["tokens"])


def check_interval(path: Path, name: str, value: float, low: float | None, high: float | None, report: Report) -> None:
    """Both ends or none, and the value between them."""
    if (low is None) != (high is None):
        report.problem(path, f"{name}: the interval has one end only")
    elif low is not None and high is not None and not (low <= value or close(low, value)):
        report.problem(path, f"{name}: {value} is below its interval {low}..{high}")
    elif low is not None and high is not None and not (value <= high or close(value, high)):
        report.problem(path, f"{name}: {value} is above its interval {low}..{high}")


def check_vocabulary(path: Path, manifest: Any, totals: Totals, report: Report) -> None:
    """Sums per vocabulary type are the sums over documents, parted otherwise."""
    tokens = 0
    parts: list[float] = []
    seen: set[int] = set()
    for number, row in rows(path, "perplexity_vocabulary", report):
        if row["token_id"] in seen:
            report.problem(path, f"token_id {row['token_id']} stands there twice", number)
        seen.add(row["token_id"])
        if manifest["vocab_size"] is not None and row["token_id"] >= manifest["vocab_size"]:
            report.problem(path, f"token_id {row['token_id']} is not below vocab_size {manifest['vocab_size']}", number)
        tokens += row["count"]
        parts.append(row["log_probability"])
    total = add(totals.values())
    report.equal(path, "Σ count", tokens, int(total["tokens"]))
    if not close(math.fsum(parts), total["log_probability"], 1e-7):
        report.problem(
            path, f"Σ log_probability is {math.fsum(parts)!r}, but the documents give {total['log_probability']!r}"
        )


def check_domain_vocabulary(path: Path, totals: Totals, report: Report) -> None:
    """The same by domain."""
    seen: set[tuple[str, str]] = set()
    for number, row in rows(path, "perplexity_domain_vocabulary", report):
        place = (row["source"], row["domain"])
        if place in seen or place not in totals:
            report.problem(path, f"domain {'/'.join(place)} stands there twice or has no documents", number)
            continue
        seen.add(place)
        ids, counts, sums = row["token_ids"], row["counts"], row["log_probabilities"]
        if not len(ids) == len(counts) == len(sums) or ids != sorted(set(ids)):
            report.problem(path, "the lists differ in length, or the ids do not rise", number)
            continue
        report.equal(path, f"domain {'/'.join(place)}: Σ counts", sum(counts), int(totals[place]["tokens"]))
        if not close(math.fsum(sums), totals[place]["log_probability"], 1e-7):
            report.problem(path, f"domain {'/'.join(place)}: Σ log_probabilities is not that of the documents", number)
    for place in sorted(totals.keys() - seen):
        report.problem(path, f"domain {'/'.join(place)} is missing")


def check_single_documents(path: Path, manifest: Any, totals: Totals, report: Report) -> None:
    """Windows add up to the only document of their domain, and all but the last are whole."""
    seen: set[tuple[str, str]] = set()
    for number, row in rows(path, "perplexity_single_document", report):
        place = (row["source"], row["domain"])
        name = f"domain {'/'.join(place)}"
        if place in seen or place not in totals or totals[place]["documents"] != 1:
            report.problem(path, f"{name} stands there twice or has no single document", number)
            continue
        seen.add(place)
        if not len(row["tokens"]) == len(row["bytes"]) == len(row["log_probabilities"]):
            report.problem(path, "the lists differ in length", number)
        for measure in ("tokens", "bytes"):
            report.equal(path, f"{name}: Σ {measure}", sum(row[measure]), int(totals[place][measure]), number)
        if any(count != manifest["maximum_length"] for count in row["tokens"][:-1]):
            report.problem(path, f"{name}: a window before the last is not of maximum_length", number)
        if not close(math.fsum(row["log_probabilities"]), totals[place]["log_probability"], 1e-7):
            report.problem(path, f"{name}: Σ log_probabilities is not that of the document", number)
    alone = {place for place, total in totals.items() if total["documents"] == 1}
    for place in sorted(alone - seen):
        report.problem(path, f"domain {'/'.join(place)} is missing")


def check_positions(path: Path, manifest: Any, stated: list[Any], totals: Totals, report: Report) -> None:
    """Sums by position are the sums over documents, parted otherwise, and give the means of results.json."""
    tokens: dict[tuple[str | None, int, bool], int] = defaultdict(int)
    sums: dict[tuple[str | None, int, bool], list[float]] = defaultdict(list)
    seen: set[tuple[str, bool]] = set()
    for number, row in rows(path, "perplexity_positions", report):
        kind = (row["source"], row["whole"])
        if kind in seen:
            report.problem(path, f"source {row['source']}, whole {row['whole']} stands there twice", number)
        seen.add(kind)
        if len(row["counts"]) != len(row["log_probabilities"]):
            report.problem(path, "the lists differ in length", number)
            continue
        if manifest["maximum_length"] is not None and len(row["counts"]) > manifest["maximum_length"]:
            report.problem(path, f"{len(row['counts'])} positions, more than maximum_length", number)
        for place, (count, value) in enumerate(zip(row["counts"], row["log_probabilities"], strict=True)):
            for source in (None, row["source"]):
                for whole in {False, row["whole"]}:  # False: all windows
                    tokens[source, place.bit_length(), whole] += count
                    sums[source, place.bit_length(), whole].append(value)
    for source in dict.fromkeys(place[0] for place in totals):
        total = add(part for place, part in totals.items() if place[0] == source)
        counted = sum(count for key, count in tokens.items() if key[0] == source and not key[2])
        report.equal(path, f"source {source}: Σ counts", counted, int(total["tokens"]))
        summed = math.fsum(value for key, part in sums.items() if key[0] == source and not key[2] for value in part)
        if not close(summed, total["log_probability"], 1e-7):
            report.problem(path, f"source {source}: Σ log_probabilities is not that of the documents")
    results = path.with_name("results.json")
    expected = {key[:2] for key, count in tokens.items() if count}
    for row in stated:
        name = f"positions of {row['source'] or 'all sources'} from {row['first']} on"
        key = (row["source"], row["first"].bit_length())
        if key not in expected or row["first"] not in (0, 1 << max(0, key[1] - 1)):
            report.problem(results, f"{name} have no tokens or stand there twice")
            continue
        expected.remove(key)
        for whole, prefix in ((False, ""), (True, "whole_")):
            count, value = tokens.get((*key, whole), 0), math.fsum(sums.get((*key, whole), []))
            report.equal(results, f"{name}: {prefix}tokens", row[prefix + "tokens"], count)
            mean = -value / count if count else None
            loss = row[prefix + "loss"]
            if (mean is None) != (loss is None) or (mean is not None and not close(loss, mean)):
                report.problem(results, f"{name}: {prefix}loss is {loss!r}, but the sums give {mean!r}")
    for source, bin_number in sorted(expected, key=str):
        report.problem(results, f"positions of {source or 'all sources'}, bin {bin_number}, are missing")


def check_worst(path: Path, totals: Totals, report: Report) -> None:
    """Tokens of badly fitted documents, in their text."""
    for number, row in rows(path, "perplexity_worst", report):
        if (row["source"], row["domain"]) not in totals:
            report.problem(path, f"domain {row['source']}/{row['domain']} has no documents", number)
        ends = row["ends"]
        if len(ends) != len(row["log_probabilities"]) or len(ends) > row["tokens"]:
            report.problem(path, f"{len(ends)} ends of {row['tokens']} tokens", number)
        if ends != sorted(ends) or (ends and ends[-1] != len(row["text"])):
            report.problem(path, "the ends do not rise to that of the text", number)


def check_unigram(path: Path, report: Report, options: Options) -> str:
    """Check ``B/unigram.json``."""
    unigram = load(path, "unigram", report)
    if unigram is None:
        return "unreadable"
    report.equal(path, "vocab_size", unigram["vocab_size"], len(unigram["counts"]))
    report.equal(path, "tokens", unigram["tokens"], sum(unigram["counts"]))
    return f"{unigram['vocab_size']:,} types"


def check_comparison(path: Path, report: Report, options: Options) -> str:
    """Check what `compare` writes."""
    comparison = load(path, "perplexity_comparison", report)
    if comparison is None:
        return "unreadable"
    pairs = [comparison] if comparison["format_version"] == 1 else comparison["comparisons"]
    names = comparison.get("models", [pairs[0]["a"], pairs[0]["b"]])
    report.equal(path, "models", names, list(dict.fromkeys(names)) if len(pairs) > 1 else names)
    if "results" in comparison:
        report.equal(path, "names of results", [result["name"] for result in comparison["results"]], names)
    expected = list(itertools.combinations(names, 2))
    found = [(pair["a"], pair["b"]) for pair in pairs]
    if found not in (expected, expected[: len(names) - 1]):
        report.problem(path, f"the comparisons {found} are not all pairs of the models, nor those of the first")
    tested: dict[str, list[tuple[float, float, str]]] = {"domain": [], "source": [], "aggregate": []}
    for pair in pairs:
        seen: set[tuple[Any, ...]] = set()
        for row in pair["rows"]:
            name = check_place(path, row, seen, report)
            if not close(row["difference"], row["a"] - row["b"], 1e-9, 1e-9):
                what = f"difference is {row['difference']!r}, but a - b = {row['a'] - row['b']!r}"
                report.problem(path, f"{name}: {what}")
            check_interval(path, name, row["difference"], row["low"], row["high"], report)
            if row.get("p") is not None and "p_holm" in row:
                tested[row["level"]].append((row["p"], row["p_holm"], name))
    for tests in tested.values():
        largest = 0.0
        for rank, (p, stated, name) in enumerate(sorted(tests, key=lambda test: test[0])):
            largest = max(largest, min(1.0, (len(tests) - rank) * p))
            if not close(stated, largest):
                report.problem(path, f"{name}: p_holm is {stated!r}, but {len(tests)} tests give {largest!r}")
    return f"{sum(len(pair['rows']) for pair in pairs):,} rows"


def check_place(path: Path, row: Any, seen: set[tuple[Any, ...]], report: Report) -> str:
    """What a row is of: said once, with the names that its level has. Returns it in words."""
    place = (row["level"], row["source"], row["domain"])
    name = " ".join(str(part) for part in place if part is not None)
    if place in seen:
        report.problem(path, f"{name} stands there twice")
    seen.add(place)
    given = (row["source"] is not None, row["domain"] is not None)
    if given != NAMED[row["level"]] or (row["level"] == "aggregate" and row["domain"] not in AGGREGATES):
        report.problem(path, f"{name}: the names do not fit the level")
    return name


def check_curves(path: Path, report: Report, options: Options) -> str:
    """Check what `curves` writes."""
    curves = load(path, "perplexity_curves", report)
    if curves is None:
        return "unreadable"
    places = [result["at"] for result in curves["results"]]
    above = [place for place in places if place > 0]
    if places != sorted(set(places)):
        report.problem(path, "the places of the results do not rise")
    ends = (curves["rate_from"], curves["rate_to"])
    if len(above) < 2 or not report.equal(path, "rate_from, rate_to", ends, (above[0], above[-1])):
        return "no rate"
    decades = math.log10(above[-1] / above[0])
    seen: set[tuple[Any, ...]] = set()
    for row in curves["rows"]:
        name = check_place(path, row, seen, report)
        if not len(row["bits_per_byte"]) == len(row["perplexity"]) == len(places):
            report.problem(path, f"{name}: not one value a result")
            continue
        first, last = row["bits_per_byte"][len(places) - len(above)], row["bits_per_byte"][-1]
        rate = (math.log(first) - math.log(last)) / decades if first > 0 < last else None
        if (rate is None) != (row["rate"] is None) or (rate is not None and not close(row["rate"], rate, 1e-9, 1e-9)):
            report.problem(path, f"{name}: rate is {row['rate']!r}, but the values give {rate!r}")
        elif rate is not None:
            check_interval(path, name, rate, row["rate_low"], row["rate_high"], report)
    return f"{len(curves['rows']):,} rows of {len(places)} results"
