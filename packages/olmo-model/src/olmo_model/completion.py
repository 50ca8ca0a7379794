"""Text from a checkpoint: prompts in, continuations out, for the command ``generate``."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from .config.commands import GenerateConfig
from .continuation_text import ContinuationText
from .convert.sources import open_source
from .errors import UserError
from .files import atomic_write, write_json
from .generate import Request, check_prompt, continue_all
from .model import Transformer
from .model_folder import TOKENIZER, assembled
from .progress import Progress
from .prompts import Prompt, prompt_of_text, read_prompts
from .provenance import recorded
from .run_folder import resolve
from .sampling import Sampling
from .speculation import Accepted
from .tokens import load_tokenizer

if TYPE_CHECKING:
    from tokenizers import Tokenizer

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
NOT_READ = ("generation_config.json", "tokenizer_config.json")  # what conversion carries along
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LanguageModel:
    """A model with its tokenizer, and the files that both were read from."""

    model: Transformer
    tokenizer: Tokenizer
    folder: Path
    files: Sequence[Path]


def open_language_model(checkpoint: str | Path, config: GenerateConfig) -> LanguageModel:
    """Read a checkpoint of any kind that ``convert`` reads: a run (its newest checkpoint), a step of it, a Hugging Face
    folder, an official OLMo checkpoint. Without a tokenizer it is a UserError."""
    device = torch.device("cuda" if config.device != "cpu" and torch.cuda.is_available() else "cpu")
    if config.device == "cuda" and device.type == "cpu":
        raise UserError("there is no CUDA device", where="device", fix="set device to auto or cpu")
    if not Path(checkpoint).is_dir():
        resolve(checkpoint)  # says what is missing
    with ExitStack() as stack:
        source = open_source(checkpoint, stack, None if config.tokenizer is None else Path(config.tokenizer))
        if source.tokenizer is None:
            raise UserError(
                "the tokenizer is missing",
                where=source.folder / TOKENIZER,
                fix="put the model's tokenizer.json there, or give --tokenizer FILE",
            )
        tokenizer = load_tokenizer(source.tokenizer)
        highest = max(tokenizer.get_vocab(with_added_tokens=True).values(), default=0)
        if highest >= source.weights.config.embedding_size:
            raise UserError(
                f"the tokenizer has ids up to {highest}, the model's end at {source.weights.config.embedding_size - 1}",
                where=source.tokenizer,
                fix="give the model's own tokenizer",
            )
        model = assembled(source.weights, device, PRECISIONS[config.precision])
    files = [file for file in source.files if file.name not in NOT_READ]
    return LanguageModel(model, tokenizer, source.folder, files)


def prompts_of(config: GenerateConfig, language_model: LanguageModel) -> list[Prompt]:
    """The prompt or the file of prompts, each checked."""
    tokenizer, shape = language_model.tokenizer, language_model.model.config
    if config.prompts is not None:
        return read_prompts(config.prompts, tokenizer, shape)
    assert config.prompt is not None
    try:
        config.prompt.encode()
    except UnicodeEncodeError as error:
        raise UserError("the prompt is not UTF-8 text", where="prompt", fix="give it in UTF-8") from error
    if not config.prompt:
        log.info("the prompt is empty: the text begins a document (id %d)", shape.eos_token_id)
    ids = prompt_of_text(config.prompt, tokenizer, shape)
    check_prompt(ids, shape, "prompt")
    return [Prompt(ids, {"prompt": config.prompt, "prompt_tokens": list(ids)})]


def complete(
    language_model: LanguageModel,
    prompts: Sequence[Prompt],
    config: GenerateConfig,
    show: Callable[[str], object] | None = None,
    accepted: Accepted | None = None,
) -> Iterator[dict[str, Any]]:
    """A row for every sample of every prompt, in order, each as soon as it and all before it are complete.

    ``show`` is given the text piece by piece, as it grows, of one prompt's one sample; ``accepted`` is told how often
    guessed tokens were right.
    """
    requests = [
        Request(ids=prompt.ids, seed=config.seed, sample=sample)
        for prompt in prompts
        for sample in range(config.samples)
    ]
    texts = [ContinuationText(language_model.tokenizer, request.ids, config.stop) for request in requests]

    def watch(number: int, new: int) -> bool:
        piece = texts[number].add(new)
        if show is not None and piece:
            show(piece)
        return texts[number].stopped

    sampling = Sampling(temperature=config.temperature, top_k=config.top_k, top_p=config.top_p)
    settings = {name: getattr(config, name) for name in ("temperature", "top_k", "top_p", "seed")}
    settings["checkpoint"] = str(language_model.folder)
    ready: dict[int, dict[str, Any]] = {}
    following = 0
    with Progress("generate", len(requests), "continuations") as progress:
        for number, found in continue_all(
            language_model.model,
            requests,
            max_new_tokens=config.max_new_tokens,
            sampling=sampling,
            stop_ids=config.stop_token,
            batch_size=config.batch_size,
            vocab_size=language_model.tokenizer.get_vocab_size(),
            watch=watch,
            speculative=config.speculative,
            accepted=accepted,
        ):
            rest = texts[number].finish()
            if show is not None and rest:
                show(rest)
            progress.advance()
            ready[number] = {
                **prompts[number // config.samples].row,
                "text": texts[number].text,
                "tokens": found.ids,
                "sample": requests[number].sample,
                "finish_reason": found.finish_reason,
                **({} if config.prompts is not None else settings),
            }
            while following in ready:
                yield ready.pop(following)
                following += 1


def generate(
    checkpoint: str | Path, config: GenerateConfig, show: Callable[[str], object] | None = None
) -> list[dict[str, Any]]:
    """Continue a prompt, or every prompt of a file, with the model and tokenizer of a checkpoint; with ``output`` also
    into that file, whole or not at all, with a provenance record beside it.

    ``show`` is given the continuation piece by piece where there is one prompt and one sample of it.
    """
    language_model = open_language_model(checkpoint, config)
    prompts = prompts_of(config, language_model)
    accepted = Accepted()
    rows = complete(language_model, prompts, config, show, accepted)
    if config.output is None:
        return list(rows)
    file = Path(config.output)
    inputs = [*language_model.files, *([] if config.prompts is None else [Path(config.prompts)])]
    with recorded(
        "olmo-model", "generate", folder=file.parent, config=config, inputs=inputs, seed=config.seed
    ) as record:
        found = []
        if config.prompts is None:
            found = list(rows)
            write_json(file, found[0] if config.samples == 1 else found)
        else:
            with atomic_write(file) as stream:
                for row in rows:
                    stream.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
                    found.append(row)
        record.outputs.append(file)
        record.counts = {
            "prompts": len(prompts),
            "prompt_tokens": sum(len(prompt.ids) for prompt in prompts),
            "continuations": len(found),
            "tokens": sum(len(row["tokens"]) for row in found),
            "passes": accepted.passes,
        }
        if accepted.guessed:
            record.counts |= {"guessed_tokens": accepted.guessed, "accepted_tokens": accepted.accepted}
    return found
