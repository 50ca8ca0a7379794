"""Which difference of docs/dolma-differences.md explains a row of ours that is not dolma's.

A step is told a second time in plain Python, its model, which does as dolma does for the differences that it is given
and as is right for all others. A difference explains a row where its condition holds there, the model without any
difference gives exactly our row, and with this one exactly dolma's. Where none does alone, the smallest set that does
is named. Under ``compat: dolma`` no row may differ at all.
"""

from __future__ import annotations

import operator
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any

TABLE = Path(__file__).resolve().parents[2] / "docs" / "dolma-differences.md"
SHOWN = 200  # characters of a row in a message
Model = Callable[[frozenset[str]], Sequence[Any]]
Conditions = Mapping[str, Callable[[int], bool]]


@dataclass
class Account:
    """How the rows of one comparison came out."""

    equal: int = 0
    differing: Counter[str] = field(default_factory=Counter)  # by the id, or by ids joined with +
    unexplained: list[str] = field(default_factory=list)

    def add(self, other: Account) -> None:
        self.equal += other.equal
        self.differing.update(other.differing)
        self.unexplained += other.unexplained


def read_table(path: Path = TABLE) -> dict[str, str]:
    """The ids of the table of differences, each with its row; ValueError for an id that has two."""
    rows: dict[str, str] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if found := re.match(r"\| `([a-z0-9-]+)` \|", line):
            if found[1] in rows:
                raise ValueError(f"{path}: {found[1]} has two rows")
            rows[found[1]] = line
    return rows


def check_ids(ids: Collection[str], table: Collection[str]) -> None:
    """ValueError for ids that are not in the table."""
    if unknown := sorted(set(ids) - set(table)):
        raise ValueError(f"{TABLE.name} has no row for {', '.join(unknown)}")


def attribute(
    names: Sequence[str],
    dolma: Sequence[Any],
    default: Sequence[Any],
    compat: Sequence[Any],
    model: Model,
    conditions: Conditions,
    same: Callable[[Any, Any], bool] = operator.eq,
) -> Account:
    """Account for every row.

    ``names`` tell rows apart in messages, ``dolma``, ``default`` and ``compat`` are the rows of the three runs, as many
    as there are names. ``conditions`` give for each id that can play a part whether it can in row k.
    """
    check_ids(conditions, read_table())
    predict = cache(model)
    right: frozenset[str] = frozenset()
    account = Account()
    for k, name in enumerate(names):
        theirs, ours = dolma[k], default[k]
        if not same(compat[k], theirs):
            account.unexplained.append(f"{name}: under compat {_show(compat[k])}, dolma {_show(theirs)}")
        elif same(ours, theirs):
            account.equal += 1
        elif not same(predict(right)[k], ours):
            account.unexplained.append(f"{name}: ours {_show(ours)}, where {_show(predict(right)[k])} is right")
        else:
            possible = [each for each, holds in conditions.items() if holds(k)]
            found = next((ways for ways in _sets(possible) if same(predict(ways)[k], theirs)), None)
            if found is None:
                account.unexplained.append(f"{name}: ours {_show(ours)}, dolma {_show(theirs)}: no id explains it")
            else:
                account.differing["+".join(sorted(found))] += 1
    return account


def _sets(ids: Sequence[str]) -> Iterator[frozenset[str]]:
    for size in range(1, len(ids) + 1):
        yield from map(frozenset, combinations(ids, size))


def _show(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[: SHOWN // 2]} … {text[-SHOWN // 2 :]}"


def report(name: str, account: Account, show: int) -> int:
    """Print an account; returns the number of unexplained rows."""
    reasons = ", ".join(f"{each} {count}" for each, count in sorted(account.differing.items()))
    print(
        f"    {name:44} equal {account.equal:6}  differ {sum(account.differing.values()):5}"
        f"  unexplained {len(account.unexplained):5}  {reasons}"
    )
    for row in account.unexplained[:show]:
        print(f"        {row}")
    return len(account.unexplained)
