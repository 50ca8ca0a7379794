"""Compare paloma-ppl with lm-evaluation-harness's rolling log-likelihood: the same model, tokenizer and documents.

`python tools/parity_lm_eval_rolling.py --lm-eval PYTHON --work DIR [--documents N] [--length N]`, in the environment
that holds paloma-ppl; DATA_DIR names the real data.

On documents within one window word perplexity, byte perplexity and bits per byte, each side's by its own code, must be
equal; the harness counts a word more where white space begins or ends a text. A longer one is cut in
another way: both begin with full disjoint windows, but the harness lets the last window reach back over tokens that
were scored already, so that it is full too, where Paloma's control 5 has it begin with one token of context. The same
windows scored by paloma-ppl's engine must give the harness's numbers; the exit status is 1 where something is left
over.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.evaluation import TOKENIZER, write_model
from benchmarks.perplexity import choose

WORKER = Path(__file__).parent / "benchmarks" / "perplexity_worker.py"
FIGURES = Path(__file__).parent / "parity" / "lm_eval_rolling_theirs.py"
SHAPE = 2, 64, 4, 256  # layers, width, heads, width of the MLP
TOLERANCE = 1e-5  # nats a token
Sums = list[float]


def answer(python: str, side: str, model: Path, documents: Path) -> dict[str, Any]:
    """What a side makes of the documents."""
    line = [python, str(WORKER), side, str(model), str(documents), str(os.cpu_count() or 1)]
    done = subprocess.run(line, input="\n", stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def as_the_harness_cuts(model_folder: Path, texts: Sequence[str], length: int) -> tuple[list[int], Sums]:
    """Tokens of each document, and its log-probability by paloma-ppl's engine in the harness's windows."""
    import numpy as np
    import torch

    from paloma_ppl.likelihood import log_probabilities
    from paloma_ppl.model import load_model
    from paloma_ppl.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(model_folder)
    model = load_model(model_folder, torch.device("cpu"), "float32")
    prefix = tokenizer.prefix(None, "paloma")
    counts, sums = [], []
    for ids in tokenizer.encode(texts):
        stream = [prefix, *ids.tolist()]
        total = 0.0
        for first in range(0, len(ids), length):
            stop = min(first + length, len(ids))
            begin = 0 if first == 0 else stop - length  # the window reaches back until it is full
            window = np.array(stream[begin : stop + 1], dtype=np.int32)
            (values,) = log_probabilities(model, [window], [[(first + 1 - begin, stop + 1 - begin)]])
            total += float(values.sum(dtype="float64"))
        counts.append(len(ids))
        sums.append(total)
    return counts, sums


def our_figures(texts: Sequence[str], sums: Sums) -> dict[str, float]:
    """What paloma-ppl's results say, under the harness's names; perplexity of a word is 2 to its bits per word."""
    from paloma_ppl.metrics import MEASURES, document_score, measure
    from paloma_ppl.statistics import Interval
    from paloma_ppl.suite import SuiteDocument

    documents = [SuiteDocument(str(number), text, "parity", "parity") for number, text in enumerate(texts)]
    scores = [document_score(document, 1, total) for document, total in zip(documents, sums, strict=True)]
    found = measure(scores, dict.fromkeys(MEASURES, Interval(None, None, "none")))
    return {
        "word_perplexity": 2.0 ** found["bits_per_word"],
        "byte_perplexity": 2.0 ** found["bits_per_byte"],
        "bits_per_byte": found["bits_per_byte"],
        "words": found["words"],
        "bytes": found["bytes"],
    }


def their_figures(lm_eval: str, texts: Sequence[str], sums: Sums) -> dict[str, float]:
    """What the harness's task makes of its log-probabilities."""
    given = json.dumps([list(texts), sums])
    done = subprocess.run([lm_eval, str(FIGURES)], input=given, stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def figures_apart(ours: dict[str, float], theirs: dict[str, float], texts: Sequence[str], tokens: int) -> float:
    """The most that figures differ, in nats a token.

    The harness parts a text at white space and counts the empty string before the first word and behind the last,
    where white space stands there; these words are added to paloma-ppl's.
    """
    edges = sum(text[0].isspace() + text[-1].isspace() for text in texts)
    words, size = ours["words"], ours["bytes"]
    nats = math.log(ours["word_perplexity"]) * words
    return max(
        abs(nats - math.log(theirs["word_perplexity"]) * (words + edges)) / tokens,
        abs(math.log(ours["byte_perplexity"]) - math.log(theirs["byte_perplexity"])) * size / tokens,
        abs(ours["bits_per_byte"] - theirs["bits_per_byte"]) * math.log(2) * size / tokens,
    )


def shorten(model: Path, length: int) -> None:
    """Have the model read at most ``length`` tokens."""
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"max_position_embeddings": length}))


def compare(data: Path, work: Path, lm_eval: str, count: int, length: int) -> bool:
    """Print what was found; whether all of it is explained."""
    work.mkdir(parents=True, exist_ok=True)
    model, documents = work / "model", work / "documents.json"
    write_model(model, SHAPE, data / "tokenizers" / TOKENIZER)
    shorten(model, length)
    texts = choose(data, count)
    documents.write_text(json.dumps(texts))
    ours, theirs = (
        answer(python, side, model, documents)["values"]
        for python, side in ((sys.executable, "paloma-ppl"), (lm_eval, "lm-eval"))
    )
    counts, recut = as_the_harness_cuts(model, texts, length)
    short = [number for number, tokens in enumerate(counts) if tokens <= length]
    long = [number for number, tokens in enumerate(counts) if tokens > length]

    def part(sums: Sums, numbers: list[int]) -> Sums:
        return [sums[number] for number in numbers]

    def apart(a: Sums, b: Sums, numbers: list[int]) -> float:
        return max((abs(a[number] - b[number]) / counts[number] for number in numbers), default=0.0)

    good = bool(short)
    for name, numbers in ((f"{len(short)} documents within {length} tokens", short), (f"{len(long)} longer", long)):
        if not numbers:
            continue
        chosen = [texts[number] for number in numbers]
        told = their_figures(lm_eval, chosen, part(theirs, numbers))
        as_cut = our_figures(chosen, part(ours if numbers is short else recut, numbers))
        own = our_figures(chosen, part(ours, numbers))
        shown = ", ".join(f"{key} {own[key]:.6f} and {value:.6f}" for key, value in told.items())
        print(f"{name}: {shown}; worst {apart(ours, theirs, numbers):.1e} nats a token")
        figures = figures_apart(as_cut, told, chosen, sum(counts[number] for number in numbers))
        if figures > TOLERANCE:
            print(f"NOT EXPLAINED: the figures of {name} differ by {figures:.1e} nats a token", file=sys.stderr)
            good = False
    left = apart(ours, theirs, short), apart(recut, theirs, long)
    if long:
        print(f"the longer ones in the harness's windows: worst {left[1]:.1e} nats a token (it reaches back)")
    for kind, value in zip(("short", "long"), left, strict=True):
        if value > TOLERANCE:
            print(f"NOT EXPLAINED: {kind} documents differ by {value:.1e} nats a token", file=sys.stderr)
            good = False
    return good


def main() -> int:
    parser = argparse.ArgumentParser(prog="parity_lm_eval_rolling.py", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--lm-eval", required=True, help="Python that has lm-eval 0.4.13")
    parser.add_argument("--work", type=Path, required=True, help="folder for model and documents")
    parser.add_argument("--documents", type=int, default=100)
    parser.add_argument("--length", type=int, default=256, help="tokens that the model reads at once")
    options = parser.parse_args()
    data = os.environ.get("DATA_DIR")
    if not data or not (Path(data) / "corpora").is_dir():
        print("error: DATA_DIR does not name a folder with corpora/; set it", file=sys.stderr)
        return 2
    explained = compare(Path(data), options.work, options.lm_eval, options.documents, options.length)
    return 0 if explained else 1


if __name__ == "__main__":
    sys.exit(main())
