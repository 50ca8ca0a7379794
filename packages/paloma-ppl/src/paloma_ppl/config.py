"""What each command can be told: one dataclass a command, every field with its meaning beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

Split = Literal["val", "test"]
Count = Annotated[int, Parameter(validator=Number(gte=0))]
Format = Literal["paloma", "training"]


@dataclass(frozen=True, kw_only=True)
class PrepareConfig:
    """Hold documents out of a corpus and make a perplexity suite of them."""

    documents: Path
    """documents artifact, folder in Dolma's layout, or one .jsonl[.gz|.zst] file"""
    output: Path
    """folder of the suite"""
    name: str | None = None
    """name of the suite (default: name of the output folder)"""
    domain_field: str | None = None
    """dotted name of the field that holds a document's domain, such as metadata.package; several joined by +, such as
    metadata.type+metadata.status; path: the folder of its file (default: the source)"""
    group_field: str | None = None
    """dotted name of the field whose equal values must stay together, such as metadata.module (default: the id)"""
    fraction: float = 0.05
    """share of each domain's groups that goes to val, and the same share to test (above 0, at most 0.5)"""
    seed: Count = 42
    """seed of the choice of groups and documents"""
    minimum_documents: Count = 6
    """a domain with fewer documents is left wholly in training (so is one with fewer than three groups)"""
    target_bytes_per_domain: int | None = None
    """stop adding held-out documents to a domain of a source and split once this many bytes are passed"""
    tokenizer: Path | None = None
    """tokenizer.json, or a folder that holds one: draw held-out documents until targets in its tokens are passed"""
    target_tokens_per_domain: int | None = None
    """tokens of a domain in each split (with a tokenizer; default 100000)"""
    target_tokens_per_source: int | None = None
    """tokens of a source in each split, shared by its domains (with a tokenizer; default 1000000)"""
    target_of: tuple[str, ...] = ()
    """exception for a source: SOURCE=TOKENS of each domain, SOURCE=all, SOURCE=one-domain; may be repeated"""
    split_small_domains: bool = False
    """cut the documents of a domain that has too few of them into passages, instead of leaving it in training"""
    max_failed: Count = 0
    """how many malformed rows are tolerated"""
    dry_run: bool = False
    """print the resolved plan as YAML and do nothing"""


@dataclass(frozen=True, kw_only=True)
class IndexConfig:
    """Write suite.json for a published release, so that its files and counts are checked from then on."""

    suite: Path
    """folder of the release: SOURCE/{val,test}/*.jsonl.gz"""
    dry_run: bool = False
    """print the resolved plan as YAML and do nothing"""


@dataclass(frozen=True, kw_only=True)
class DecontaminationSetConfig:
    """List the evaluation text that must stay out of training."""

    suite: Path
    """folder of the suite"""
    output: Path
    """folder of the decontamination set"""
    minimum_words: int = 13
    """lines with fewer words are not listed (Paloma, control 1)"""
    exempt_source: tuple[str, ...] = ()
    """evaluation source whose lines are not listed, such as code; its held-out documents still are; may be repeated"""
    dry_run: bool = False
    """print the resolved plan as YAML and do nothing"""


@dataclass(frozen=True, kw_only=True)
class CheckContaminationConfig:
    """Look for evaluation text in training documents; exit status 1 where some is found."""

    suite: Path
    """folder of the suite"""
    documents: Path
    """training documents: artifact, folder in Dolma's layout, or one file"""
    output: Path | None = None
    """JSON file for the findings"""
    minimum_words: int = 13
    """lines with fewer words do not count"""
    exempt_source: tuple[str, ...] = ()
    """evaluation source whose lines do not count; its held-out documents still do; may be repeated"""
    max_failed: Count = 0
    """how many malformed rows are tolerated"""
    dry_run: bool = False
    """print the resolved plan as YAML and do nothing"""


@dataclass(frozen=True, kw_only=True)
class WindowsConfig:
    """Cut a split of the suite into the model's inputs, for evaluation inside a training run."""

    suite: Path
    """folder of the suite"""
    split: Split = "val"
    """which split"""
    tokenizer: Path
    """tokenizer.json, or a folder that holds one"""
    max_length: int
    """most tokens that the model reads at once"""
    format: Format = "paloma"
    """paloma: each document alone; training: the documents of a domain one after the other, as in training"""
    output: Path
    """folder of the windows"""
    limit_documents: int | None = None
    """take this many documents, chosen by hash (the same for every tokenizer)"""
    prefix_token_id: int | None = None
    """token before the first one (default: the tokenizer's BOS, else its EOS)"""
    dry_run: bool = False
    """print the resolved plan as YAML and do nothing"""


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Perplexity of a model over a suite."""

    model: str
    """model folder (config.json, *.safetensors, tokenizer.json), or a name on the Hugging Face hub"""
    suite: Path
    """folder of the suite"""
    split: Split = "test"
    """which split"""
    output: Path
    """folder of the results"""
    format: Format = "paloma"
    """paloma: each document alone; training: the documents of a domain one after the other, as in training"""
    max_length: int | Literal["auto"] = "auto"
    """most tokens that the model reads at once (auto: what its configuration says)"""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps"""
    dtype: Literal["auto", "float32", "bfloat16", "float16", "float64"] = "auto"
    """type of the weights while scoring; auto: float32 on a CPU, else the one the checkpoint names"""
    revision: str | None = None
    """a checkpoint of the run folder --model (step1000), or a revision on the hub"""
    download: bool = False
    """fetch the model from the hub if it is not there yet"""
    device_map: Literal["auto", "balanced", "sequential"] | None = None
    """spread the model over all GPUs, and what fits none over memory and disk (needs accelerate)"""
    batch_tokens: int | None = None
    """tokens in a batch, padding included (default: 2048 on a CPU, else 65536)"""
    limit: int | None = None
    """take this many documents, chosen by hash"""
    prefix_token_id: int | None = None
    """token before the first one (default: the tokenizer's BOS, else its EOS)"""
    confidence: float = 0.95
    """level of the intervals"""
    dry_run: bool = False
    """print the resolved plan as YAML and do nothing"""


@dataclass(frozen=True, kw_only=True)
class RescoreConfig:
    """Form results.json anew from the stored sums of the documents, without the model."""

    results: Path
    """folder that run or baseline wrote"""
    weights: Path | None = None
    """JSON file {SOURCE: {DOMAIN: share of the natural mix}}: also print the mix's perplexity and bits per byte"""
    confidence: float = 0.95
    """level of the intervals"""
    dry_run: bool = False
    """print the resolved plan as YAML and do nothing"""


@dataclass(frozen=True, kw_only=True)
class BaselineConfig:
    """What a unigram model and a compressor make of the suite."""

    suite: Path
    """folder of the suite"""
    split: Split = "test"
    """which split"""
    tokenizer: Path
    """tokenizer.json, or a folder that holds one"""
    documents: Path
    """training documents: artifact, folder in Dolma's layout, or one file; held-out documents in it are passed over"""
    output: Path
    """folder that receives unigram/, xz/ and unigram.json"""
    smoothing: float = 1.0
    """added to the count of every token (Laplace: 1)"""
    max_length: int | None = None
    """also keep sums by windows of so many tokens of documents alone in their domain: a comparison of unigram with a
    model of that maximum length needs them for an interval there"""
    xz_bytes: int = 131072
    """bytes of training text of the same source that the compressor sees first"""
    limit: int | None = None
    """take this many documents, chosen by hash"""
    confidence: float = 0.95
    """level of the intervals"""
    processes: int = 1
    """worker processes of the compressor"""
    max_failed: Count = 0
    """how many malformed rows are tolerated"""
    dry_run: bool = False
    """print the resolved plan as YAML and do nothing"""


@dataclass(frozen=True, kw_only=True)
class CompareConfig:
    """Differences of results on the same documents."""

    output: Path
    """JSON file of the comparison"""
    metric: Literal["bits_per_byte", "log_perplexity"] = "bits_per_byte"
    """log_perplexity, natural logarithm: only for models with the same tokenizer (Paloma, control 4)"""
    pairs: Literal["first", "all"] = "first"
    """first: the first results with each other; all: each two of them"""
    confidence: float = 0.95
    """level of the intervals"""
    dry_run: bool = False
    """print the resolved plan as YAML and do nothing"""


@dataclass(frozen=True, kw_only=True)
class CurvesConfig:
    """How domains improve over the checkpoints of a run, or over sizes of models."""

    output: Path
    """JSON file of the curves"""
    over: Literal["tokens", "steps", "parameters"] = "tokens"
    """what grows from one result to the next: tokens seen in training, steps of training, or parameters"""
    at: tuple[float, ...] = ()
    """where a result lies on that axis, once for each folder in their order (default: what the results say)"""
    confidence: float = 0.95
    """level of the intervals"""
    dry_run: bool = False
    """print the resolved plan as YAML and do nothing"""


@dataclass(frozen=True, kw_only=True)
class ReportConfig:
    """Several results side by side, domains ordered by fit."""

    html: Path | None = None
    """also write one HTML file: domains, two models, vocabulary types, curves over training, worst documents"""
    dry_run: bool = False
    """print the resolved plan as YAML and do nothing"""


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """Write results as the tables of Paloma's own pipeline."""

    output: Path
    """folder of the tables"""
    tokenizer: Path
    """tokenizer.json of the models, or a folder that holds one: it spells the tokens"""
    dry_run: bool = False
    """print the resolved plan as YAML and do nothing"""
