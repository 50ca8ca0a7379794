"""Gather the parts of the page and write it as one file."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from shared.files import atomic_write

from . import charts, corpus, perplexity, record, tasks, training, verdict, words
from .reading import Output

HERE = Path(__file__).resolve().parent


def finalize(value: object) -> object:
    """Everything that the template shows: nothing as a dash, text with its acting characters named."""
    if value is None:
        return words.NOTHING
    if isinstance(value, str) and not isinstance(value, Markup):
        return words.visible(value)
    return value


def policy_digest(text: str) -> str:
    """How a Content-Security-Policy names an inline style or script."""
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


def render(output: Output) -> str:
    """The whole page. Parts that are missing or damaged leave a line; ``output.problems`` tells of the damaged ones."""
    names = charts.Names()
    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["no_interval"] = perplexity.no_interval
    for function in (
        words.integer, words.decimal, words.signed, words.percent, words.large, words.size, words.duration,
        words.moment, words.plural, words.interval, words.clip, words.listing, words.significant,
    ):  # fmt: skip
        environment.filters[function.__name__] = function
    style = (HERE / "page.css").read_text(encoding="utf-8")
    script = (HERE / "page.js").read_text(encoding="utf-8")
    model = output.attempt("Model", training.model)
    commands = output.attempt("Commands", record.commands)
    scores = output.attempt("Perplexity", lambda o: perplexity.read(o, names))
    accuracy = output.attempt("Tasks", lambda o: tasks.read(o, names))
    judged = output.attempt(
        "Verdict", lambda o: verdict.judge(model.value, commands.value, scores.value, accuracy.value)
    )
    parts = {
        "verdict": judged,
        "model": model,
        "balances": output.attempt("Counts", corpus.balances),
        "funnel": output.attempt("Funnel", corpus.funnel),
        "contamination": output.attempt("Contamination", corpus.contamination),
        "histograms": output.attempt("Histograms", lambda o: corpus.histograms(o, names)),
        "curves": output.attempt("Training", lambda o: training.curves(o, names)),
        "perplexity": scores,
        "tasks": accuracy,
        "generations": output.attempt("Generations", training.generations),
        "seen": output.attempt("What a step saw", training.seen),
        "commands": commands,
        "digests": output.attempt("Digests", record.digests),
        "provenance": output.attempt("Provenance", record.provenance),
    }
    template = environment.get_template("page.html.j2")
    return template.render(
        **parts,
        style=Markup(style),
        script=Markup(script),
        policy=f"default-src 'none'; style-src {policy_digest(style)}; script-src {policy_digest(script)}; "
        "base-uri 'none'; form-action 'none'",
        problems=output.problems,
    )


def write(folder: Path) -> tuple[Path, list[str]]:
    """Write ``folder/report.html`` whole or not at all; returns it and what could not be read."""
    output = Output(folder)
    text = render(output)
    target = folder / "report.html"
    with atomic_write(target) as stream:
        stream.write(text.encode("utf-8"))
    return target, output.problems
