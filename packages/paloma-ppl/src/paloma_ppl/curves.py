"""How domains improve over the checkpoints of a run, or over sizes of models.

The improvement rate between two points of a curve is [ln ln ppl_i − ln ln ppl_f] / [log10 x_f − log10 x_i], with x the
tokens seen or the parameters (Paloma, arXiv 2312.10523, section 4): by how much the logarithm of the loss falls while x
grows tenfold. A tokenizer has a fixed number of tokens for a text, so that the loss per token may be replaced by the
loss per byte, which serves for unlike tokenizers too. As both points have the same documents, ln L_i − ln L_f of a
domain is the logarithm of a ratio of sums over them, whose interval is the one of any such ratio: documents are drawn
for both points at once. The rate of a macro average is that of the mean over domains.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from .alike import made_as
from .blocks import Key, Singles, blocked
from .compare import aligned_units, read_aligned
from .config import CurvesConfig
from .errors import UserError
from .files import write_json
from .metrics import LN_2, DocumentScore, bits, grouped, intervals, perplexity, sizes
from .paloma import aggregates_of
from .provenance import recorded
from .results import Reading
from .statistics import (
    RESAMPLES,
    Floats,
    Interval,
    beyond_rounding,
    check_confidence,
    exponential_of,
    indices_of,
    method_of,
    resampled_sums,
    symmetric_interval,
    too_few,
    with_products,
)

AXES = {"tokens": "tokens_seen", "steps": "step", "parameters": "parameters"}  # where a results manifest has them


def curves(paths: Sequence[Path], config: CurvesConfig) -> dict[str, Any]:
    """Write and return the curves."""
    places, read = read_places(paths, config)
    found = curves_of(places, read, config.over, config.confidence)
    with recorded("paloma-ppl", "curves", folder=config.output.parent, config=config, inputs=[*paths]) as record:
        write_json(config.output, found)
        record.outputs = [config.output]
        record.counts = {"results": len(paths), "documents": len(read[0].scores)}
    return found


def read_places(paths: Sequence[Path], config: CurvesConfig) -> tuple[list[float], list[Reading]]:
    """Results and where they lie on the axis, in rising order of it."""
    check_confidence(config.confidence)
    if len(paths) < 2:
        raise UserError(f"{len(paths)} results make no curve", fix="give the folders of two or more")
    read = read_aligned(paths)
    pairs = sorted(zip(places_of(paths, read, config), read, strict=True), key=lambda pair: pair[0])
    return [place for place, _ in pairs], [reading for _, reading in pairs]


def places_of(paths: Sequence[Path], read: Sequence[Reading], config: CurvesConfig) -> list[float]:
    """Where each result lies on the axis: as told by ``at``, else by its manifest."""
    if config.at:
        places = list(config.at)
        if len(places) != len(paths):
            raise UserError(f"{len(places)} places for {len(paths)} results", where="at", fix="give --at once for each")
        if not all(0 <= place < math.inf for place in places):
            raise UserError("a place that is no number from 0 on", where="at", fix="give numbers from 0 on")
        return places
    places = []
    for path, reading in zip(paths, read, strict=True):
        place = reading.description.told(AXES[config.over])
        if place is None:
            raise UserError(
                f"the results do not say {AXES[config.over]}", where=path, fix="give --at NUMBER once for each folder"
            )
        places.append(float(place))
    return places


def curves_of(places: Sequence[float], read: Sequence[Reading], over: str, confidence: float) -> dict[str, Any]:
    """The artifact of results in rising order of ``places``; the rate is from the first place above 0 to the last."""
    for (place, other), (left, right) in zip(pairwise(places), pairwise(read), strict=True):
        if place == other:
            raise UserError(
                f"{left.description.name()} and {right.description.name()} both lie at {place:g}",
                where=f"over {over}",
                fix="give results of one run, or choose another --over",
            )
    first = next(index for index, place in enumerate(places) if place > 0)
    if first == len(places) - 1:
        raise UserError("only one result lies above 0, so there is no rate", fix="give another one")
    decades = math.log10(places[-1] / places[first])
    digests = {reading.description.tokenizer_digest for reading in read}
    with np.errstate(divide="ignore", invalid="ignore"):  # a loss of nothing has no interval
        rows = curve_rows(read, first, decades, confidence, one_vocabulary=len(digests) == 1)
    return {
        "format_version": 1,
        "artifact": "perplexity_curves",
        "over": over,
        "confidence": confidence,
        "results": [
            {"name": reading.description.name(), "at": place, **made_as(reading.description)}
            for place, reading in zip(places, read, strict=True)
        ],
        "limit": read[0].description.limit,
        "rate_from": places[first],
        "rate_to": places[-1],
        "rows": rows,
    }


def curve_rows(
    found: Sequence[Reading], first: int, decades: float, confidence: float, *, one_vocabulary: bool
) -> list[dict[str, Any]]:
    """A row a domain, source and aggregate, with the values of each result and the rate from ``first`` to the last."""
    read = [reading.scores for reading in found]
    keys = [(score.source, score.domain) for score in read[0]]
    (start, end), singles = aligned_units([found[first], found[-1]])
    unit_keys = [(unit.source, unit.domain) for unit in start]
    before, after = bits(start), bits(end)
    columns = np.stack([before, after, sizes(start)], axis=1)
    drawn = intervals(unit_keys, before, after, confidence, logarithm=True, singles=singles)

    def row(level: str, source: str | None, domain: str | None, documents: int, values: Mapping[str, list[Any]],
            interval: Interval) -> dict[str, Any]:  # fmt: skip
        top, bottom = values["bits_per_byte"][first], values["bits_per_byte"][-1]
        known = top > 0 < bottom
        rate = (math.log(top) - math.log(bottom)) / decades if known else None
        low, high = interval.low, interval.high
        ends = [None, None] if low is None or high is None or not known else [math.log(low), math.log(high)]
        return {
            "level": level, "source": source, "domain": domain, "documents": documents, **values, "rate": rate,
            "rate_low": None if ends[0] is None else ends[0] / decades,
            "rate_high": None if ends[1] is None else ends[1] / decades,
            "interval": interval.method if known else "none: a loss of nothing has no logarithm",
        }  # fmt: skip

    def values_of(groups: Sequence[Sequence[DocumentScore]]) -> dict[str, list[Any]]:
        both: dict[str, list[Any]] = {"bits_per_byte": [], "perplexity": []}
        for members in groups:
            total = math.fsum(score.log_probability for score in members)
            both["bits_per_byte"].append(-total / (LN_2 * sum(score.bytes for score in members)))
            tokens = sum(score.tokens for score in members)
            both["perplexity"].append(perplexity(total, tokens) if one_vocabulary else None)
        return both

    by_domain = [grouped(scores, lambda score: (score.source, score.domain)) for scores in read]
    by_source = [grouped(scores, lambda score: (score.source,)) for scores in read]
    rows = []
    for key, members in by_domain[0].items():
        values = values_of([groups[key] for groups in by_domain])
        rows.append(row("domain", key[0], key[1], len(members), values, drawn.domains[key[0], key[1]]))
    domains = {(one["source"], one["domain"]): one for one in rows}
    for (source,), members in by_source[0].items():
        values = values_of([groups[source,] for groups in by_source])
        rows.append(row("source", source, None, len(members), values, drawn.sources[source]))
    sets = {"": frozenset(source for source, _ in keys)}
    sets |= {name + "_": sources for name, sources in aggregates_of(sets[""]).items()}
    for prefix, sources in sets.items():
        inside = [index for index, key in enumerate(keys) if key[0] in sources]
        micro = values_of([[scores[index] for index in inside] for scores in read])
        interval = drawn.published[prefix[:-1]][0] if prefix else drawn.micro
        rows.append(row("aggregate", None, prefix + "micro", len(inside), micro, interval))
        parts = [one for (source, _), one in domains.items() if source in sources]
        macro = {name: means([one[name] for one in parts]) for name in ("bits_per_byte", "perplexity")}
        units = [index for index, key in enumerate(unit_keys) if key[0] in sources]
        interval = ratio_of_means([unit_keys[index] for index in units], columns[units], confidence, singles)
        rows.append(row("aggregate", None, prefix + "macro", len(inside), macro, interval))
    return rows


def means(lists: Sequence[Sequence[float | None]]) -> list[float | None]:
    """Mean over the lists, place by place; None where one of them has none."""
    found: list[float | None] = []
    for values in zip(*lists, strict=True):
        known = [value for value in values if value is not None]
        found.append(math.fsum(known) / len(known) if len(known) == len(values) else None)
    return found


def ratio_of_means(keys: Sequence[Key], columns: Floats, confidence: float, singles: Singles) -> Interval:
    """Interval of M_0 / M_1, with M_k the mean over domains of Σ ``columns[:, k]`` / Σ ``columns[:, 2]``.

    ``columns`` are [n, 3]: bits at two points and bytes of each document, or of the windows that ``singles`` has.
    """
    keys, columns = blocked(keys, columns, singles)
    members = indices_of(keys)
    parts = [columns[indices] for indices in members.values()]
    counts = [len(part) for part in parts]
    if (none := too_few(counts)) is not None:
        return none
    products = [with_products(part) for part in parts]
    point = float(log_ratio_and_error([part.sum(axis=0) for part in products], counts)[0])
    drawn = [resampled_sums("\0".join(key), part, RESAMPLES) for key, part in zip(members, products, strict=True)]
    points, errors = log_ratio_and_error(drawn, counts)
    error = log_ratio_jackknife_error(parts)
    method = method_of(counts, [key in singles.windows for key in members], RESAMPLES)
    if not error > 1e-12:
        return Interval(math.exp(point), math.exp(point), method + " (no difference between documents)")
    return exponential_of(symmetric_interval(point, error, points, errors, confidence, method))


def log_ratio_and_error(sums: Sequence[Floats], counts: Sequence[int]) -> tuple[Floats, Floats]:
    """ln (M_0 / M_1) and its linearised standard error from the sums [..., 9] of three columns and their products.

    A document of domain d changes it by u = (x_0 − r_0 b) / (K B M_0) − (x_1 − r_1 b) / (K B M_1), with r the ratios of
    the domain and B its bytes; u adds up to 0 over a domain.
    """
    ratios = [(part[..., 0] / part[..., 2], part[..., 1] / part[..., 2]) for part in sums]
    top, bottom = sum(pair[0] for pair in ratios), sum(pair[1] for pair in ratios)
    variance: Any = 0.0
    for part, (above, below), n in zip(sums, ratios, counts, strict=True):
        u, v = 1 / (part[..., 2] * top), -1 / (part[..., 2] * bottom)
        w = -(above * u + below * v)
        s00, s01, s02, s11, s12, s22 = (part[..., k] for k in range(3, 9))
        squares = u * u * s00 + v * v * s11 + w * w * s22 + 2 * (u * v * s01 + u * w * s02 + v * w * s12)
        terms = u * u * s00 + v * v * s11 + w * w * s22
        variance = variance + beyond_rounding(squares, terms) * n / (n - 1)
    return np.log(top / bottom), np.sqrt(variance)


def log_ratio_jackknife_error(parts: Sequence[Floats]) -> float:
    """Standard error of ln (M_0 / M_1) from leaving out each document of each domain's [n, 3] in turn."""
    ratios = np.array([part[:, :2].sum(axis=0) / part[:, 2].sum() for part in parts])  # [K, 2]
    total = ratios.sum(axis=0)
    variance = 0.0
    for part, ratio in zip(parts, ratios, strict=True):
        rest = part.sum(axis=0) - part
        without = total + rest[:, :2] / rest[:, 2:] - ratio
        change = np.log(without[:, 0] / without[:, 1])
        variance += (1 - 1 / len(part)) * float(np.sum((change - change.mean()) ** 2))
    return math.sqrt(variance)
