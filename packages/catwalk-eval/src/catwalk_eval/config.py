"""Settings of every command. Light: importing this loads nothing but the standard library."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Boundary = Literal["separate", "joint", "joint-safe"]
Metric = Literal[
    "acc_raw",
    "acc_per_token",
    "acc_per_char",
    "acc_per_char_bare",
    "acc_per_byte",
    "acc_per_byte_bare",
    "acc_uncond",
    "acc_uncond_empty",
    "f1",
    "bits_per_byte",
    "soft_score",
    "log_soft_score",
    "probability_mass",
]


@dataclass(frozen=True, kw_only=True)
class MakeClozeConfig:
    """Settings of `catwalk-eval make-cloze`."""

    documents: Path
    """A perplexity suite (folder with suite.json) or a documents artifact."""
    output: Path
    """Folder of task data; the task is written to OUTPUT/NAME."""
    name: str = "cloze"
    """Name of the task."""
    split: Literal["val", "test"] | None = None
    """Which split of a suite to cut from (default: test); a documents artifact has no splits."""
    domain_field: str | None = None
    """Key of a document that names its domain, dots reach inside (default: subdomain for a suite, else source)."""
    seed: int = 42
    """Seed of every choice that is made."""
    items: int = 1000
    """At most this many items, spread evenly over the domains."""
    items_per_document: int = 3
    """At most this many items from one document."""
    context_words: int = 60
    """Words of context."""
    continuation_words: int = 12
    """Words of each of the four continuations."""
    primary_metric: Literal["acc_raw", "acc_per_token", "acc_per_char", "acc_per_byte", "acc_uncond"] = "acc_uncond"
    """Scoring that decides: acc_uncond asks how much the context helps, whatever the choice's own probability."""
    dry_run: bool = False
    """Print the resolved plan as YAML and stop."""


@dataclass(frozen=True, kw_only=True)
class FetchConfig:
    """Settings of `catwalk-eval fetch`."""

    output: Path
    """Folder of task data; the records of a task are written to OUTPUT/TASK/source."""
    download: bool = False
    """Fetch from the Hugging Face hub (or HF_ENDPOINT); without this, say what would be fetched and stop."""
    dry_run: bool = False
    """Print the resolved plan as YAML and stop."""


@dataclass(frozen=True, kw_only=True)
class RequestsConfig:
    """Settings of `catwalk-eval requests`."""

    tasks: str
    """Names of tasks, or files of tasks of your own (.yaml, .py), separated by commas."""
    output: Path
    """Folder of requests to write."""
    data: Path | None = None
    """Folder with a sub-folder of task data for each task; not needed where a task's own file names its data."""
    dialect: str = "olmo-inloop"
    """Wording of the prompts; `catwalk-eval tasks` lists the dialects."""
    shots: int = 0
    """Examples before each question, the same for all questions of a task."""
    shots_from: str | None = None
    """Which examples: first (records of train or dev), seed (drawn from them), or a file of records (default: the
    dialect's way; where it has none, seed)."""
    seed: int | None = None
    """Seed of drawn examples (default: 1234)."""
    split: str | None = None
    """Records to ask: validation, test, train, dev (default: what the dialect reports)."""
    tokenizer: Path | None = None
    """tokenizer.json, or the folder it lies in: adds the tokenised form."""
    boundary: Boundary | None = None
    """How --tokenizer encodes context and continuation: each by itself (separate, the default), as one text, or as one
    text where a token ends at the join."""
    limit: int | None = None
    """Only so many instances of each task: the first."""
    limit_seed: int | None = None
    """Draw the instances of --limit by this seed instead (1234 draws those of OLMo's paper and of OLMES)."""
    dry_run: bool = False
    """Print the resolved plan as YAML and stop."""


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Settings of `catwalk-eval run`."""

    model: str
    """Model folder (config.json, *.safetensors, tokenizer.json), or a name on the Hugging Face hub."""
    tasks: str
    """Names of tasks, or files of tasks of your own (.yaml, .py), separated by commas."""
    output: Path
    """Folder of predictions to write."""
    data: Path | None = None
    """Folder with a sub-folder of task data for each task; either this or --requests."""
    requests: Path | None = None
    """Folder of requests (ours, or published dumps) to score as they stand, instead of --data."""
    dialect: str | None = None
    """Wording of the prompts (default: olmo-inloop); requests have theirs already."""
    shots: int = 0
    """Examples before each question, the same for all questions of a task; of published dumps, those that have them."""
    shots_from: str | None = None
    """Which examples: first (records of train or dev), seed (drawn from them), or a file of records (default: the
    dialect's way; where it has none, seed)."""
    seed: int | None = None
    """Seed of drawn examples (default: 1234)."""
    split: str | None = None
    """Records to ask: validation, test, train, dev (default: what the dialect reports)."""
    unigram: Path | None = None
    """unigram.json of a perplexity baseline: adds the unigram scorer as a baseline."""
    boundary: Boundary | None = None
    """How context and continuation are tokenised: each by itself, as one text, or as one text where a token ends at the
    join (default: as --requests were made, else separate)."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""
    dtype: Literal["auto", "float32", "bfloat16", "float16", "float64"] = "auto"
    """Type of the weights while scoring; auto: float32 on a CPU, else the one the checkpoint names."""
    revision: str | None = None
    """A checkpoint of the run folder --model (step1000), or a revision on the hub."""
    download: bool = False
    """Fetch the model from the hub if it is not there yet."""
    device_map: Literal["auto", "balanced", "sequential"] | None = None
    """Spread the model over all GPUs, and what fits none over memory and disk (needs accelerate)."""
    batch_tokens: int | None = None
    """Tokens of a batch, beside those that all requests begin with (default: 2048 on a CPU, else 65536)."""
    batch_size: int | None = None
    """At most so many requests in a batch (default: as --batch-tokens allows)."""
    cache: str = "beside"
    """Folder of scores that later runs use again; beside: .catwalk-eval-cache beside the output; none: keep nothing."""
    limit: int | None = None
    """Only so many instances of each task: the first."""
    limit_seed: int | None = None
    """Draw the instances of --limit by this seed instead (1234 draws those of OLMo's paper and of OLMES)."""
    max_length: int | None = None
    """Longest input in tokens (default: what the model was made for)."""
    dry_run: bool = False
    """Print the resolved plan as YAML and stop."""


@dataclass(frozen=True, kw_only=True)
class CompareConfig:
    """Settings of `catwalk-eval compare`."""

    metric: Metric | None = None
    """Metric to compare (default: each task's primary metric)."""
    pairs: Literal["all", "first"] = "all"
    """Compare every two runs, or each with the first."""
    output: Path | None = None
    """Also write the comparison to this JSON file."""


@dataclass(frozen=True, kw_only=True)
class ReportConfig:
    """Settings of `catwalk-eval report`."""

    html: Path | None = None
    """Also write one HTML file with every item to browse."""
    markdown: Path | None = None
    """Also write the tables as Markdown."""


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """Settings of `catwalk-eval export`."""

    output: Path
    """Folder to write to; a folder named after the model is made in it."""
