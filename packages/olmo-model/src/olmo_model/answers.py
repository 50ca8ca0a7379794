"""What the commands that answer a question have in common: the answer may go to a file, with a record beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .files import write_json
from .provenance import recorded

Answer = dict[str, Any]


def answered(
    command: str,
    config: object,
    compute: Callable[[], Answer],
    *,
    output: str | None,
    inputs: Callable[[], Sequence[Path]],
    counts: Callable[[Answer], Mapping[str, int]],
    seed: int | None = None,
) -> Answer:
    """The answer that ``compute`` gives; with ``output`` also as that JSON file, and a provenance record in its folder.

    ``inputs`` names the files the answer comes from, ``counts`` what the record counts of it.
    """
    if output is None:
        return compute()
    file = Path(output)
    with recorded("olmo-model", command, folder=file.parent, config=config, inputs=inputs(), seed=seed) as record:
        answer = compute()
        write_json(file, answer)
        record.outputs.append(file)
        record.counts = dict(counts(answer))
    return answer
