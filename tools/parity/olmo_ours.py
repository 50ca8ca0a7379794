"""olmo-model's side of the comparison with ai2-olmo: `python -m parity.olmo_ours WORK STAGE`.

``prepare`` writes what all sides read (weights, ids, tokens) and what olmo-model computes from it; ``train`` trains by
the command, ``official`` once more from the configurations that ai2-olmo wrote; ``convert`` carries ai2-olmo's
checkpoints to Hugging Face's format and back, and generates.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from olmo_model.batch_schedule import constant
from olmo_model.cli import main as command
from olmo_model.config.model import Initialization, ModelConfig
from olmo_model.convert.layout import layout, split
from olmo_model.initialization import initialize
from olmo_model.instance_filter import repeating
from olmo_model.loss import language_model_loss
from olmo_model.model import Transformer
from olmo_model.order import Order, shuffled
from olmo_model.schedule import Anneal, Schedule
from olmo_model.tokens import Instances, Tokens

from . import olmo_cases as cases


def run(*words: str) -> None:
    """A command of olmo-model, in this process; SystemExit where it fails."""
    sys.argv = ["olmo-model", *words]
    try:
        command()
    except SystemExit as done:
        if done.code:
            raise SystemExit(f"olmo-model {' '.join(words)} failed") from done


def draw_weights(model: Transformer, seed: int) -> None:
    """Weights under which every part of the model shows in the logits, which are of size 1."""
    generator = np.random.Generator(np.random.PCG64(seed))
    state = {}
    for name, weight in model.state_dict().items():
        drawn = generator.standard_normal(tuple(weight.shape))
        if weight.dim() == 1:
            drawn = 1 + 0.2 * drawn
        else:
            drawn *= 0.7 / np.sqrt(weight.shape[1]) if "blocks" in name else 1.2 / np.sqrt(weight.shape[1])
        state[name] = torch.from_numpy(drawn.astype(np.float32))
    model.load_state_dict(state)


def prepare_models(work: Path) -> None:
    """For every architecture the weights, the ids, and olmo-model's logits, loss and gradients."""
    for number, (name, changes) in enumerate(cases.ARCHITECTURES.items()):
        folder = work / "models" / cases.folder_name(name)
        folder.mkdir(parents=True)
        config = ModelConfig(**cases.SHAPE | changes)
        model = Transformer(config)
        draw_weights(model, seed=number)
        if name == cases.BFLOAT16:
            for weight in model.parameters():
                weight.data = weight.data.bfloat16().float()
        ids = np.random.Generator(np.random.PCG64(number)).integers(2, config.vocab_size, (cases.BATCH, cases.LENGTH))
        if name == cases.READS_PADDING:
            ids[:, ::5] = config.pad_token_id
        np.save(folder / "ids.npy", ids)
        input_ids = torch.from_numpy(ids)
        logits = model(input_ids)
        loss = language_model_loss(model, input_ids)
        loss.total.backward()
        gradients = {key: weight.grad for key, weight in model.named_parameters()}
        found = {"logits": logits.detach(), "loss": loss.cross_entropy}
        found |= {f"native/{key}": gradient for key, gradient in gradients.items()}
        for key, pieces in layout(config).items():
            found |= {f"hf/{name}": part for name, part in split(gradients[key], pieces).items()}
        np.savez(folder / "weights.npz", **{key: weight.numpy() for key, weight in model.state_dict().items()})
        np.savez(folder / "ours.npz", **{key: value.numpy() for key, value in found.items()})


def write_tokenizer(file: Path) -> None:
    """A tokenizer of bytes: 258 ids, of which 0 ends a document and 1 is padding."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {text: number for number, text in enumerate(["<|endoftext|>", "<|padding|>", *alphabet])}
    made = Tokenizer(models.BPE(vocabulary, []))
    made.add_special_tokens(["<|endoftext|>", "<|padding|>"])
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.save(str(file))


def documents() -> list[list[int]]:
    """Documents that a model can learn something from; some repeat one short piece over and over."""
    generator = np.random.Generator(np.random.PCG64(5))
    made = []
    for number in range(420):
        length = int(generator.integers(5, 60))
        if number % 9 == 0:
            piece = generator.integers(2, 258, 1 + number % 4).tolist()
            made.append((piece * length)[:length])
            continue
        ids = [int(generator.integers(2, 258))]
        while len(ids) < length:
            ids.append(2 + (5 * ids[-1] + int(generator.integers(0, 6))) % 256)
        made.append(ids)
    return made


def write_tokens(folder: Path) -> None:
    """A tokens artifact of two files, after the contract of docs/artifacts.md."""
    folder.mkdir(parents=True)
    write_tokenizer(folder / "tokenizer.json")
    listed: list[dict[str, Any]] = []
    index, print_lines = [], b""
    made = documents()
    for number, part in enumerate((made[:250], made[250:])):
        ids: list[int] = []
        rows = io.StringIO()
        for row, content in enumerate(part):
            name = f"document-{number}-{row}"
            index.append((int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little"), number, row, len(ids)))
            csv.writer(rows, lineterminator="\n").writerow(
                [len(ids), len(ids) + len(content) + 1, name, f"part-{number}.jsonl.gz", row + 1]
            )
            ids += [*content, 0]
        raw = np.array(ids, dtype="<u2").tobytes()
        path = f"part-{number:05d}.npy"
        (folder / path).write_bytes(raw)
        (folder / path).with_suffix(".csv.gz").write_bytes(gzip.compress(rows.getvalue().encode(), mtime=0))
        listed.append({"path": path, "tokens": len(ids), "documents": len(part)})
        print_lines += f"{path}\0{len(ids)}\0sha256:{hashlib.sha256(raw).hexdigest()}\n".encode()
    np.array(sorted(index), dtype="<u8,<u4,<u4,<u8").tofile(folder / "documents.idx")
    tokenizer_digest = hashlib.sha256((folder / "tokenizer.json").read_bytes()).hexdigest()
    manifest = {
        "artifact": "tokens", "format_version": 1, "dtype": "uint16", "vocab_size": 258, "eos_token_id": 0,
        "pad_token_id": 1, "bos_token_id": None, "tokenizer_digest": f"sha256:{tokenizer_digest}", "files": listed,
        "tokens": sum(row["tokens"] for row in listed), "documents": len(made),
        "counts": {"read": len(made), "kept": len(made), "dropped": 0, "failed": 0},
        "fingerprint": f"sha256:{hashlib.sha256(print_lines).hexdigest()}",
    }  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")


def prepare_trainings(work: Path) -> None:
    """The tokens, and the first weights of every training."""
    write_tokens(work / "tokens")
    for name in cases.TRAININGS:
        model = Transformer(ModelConfig(**cases.training_model(name)))
        initialize(model, Initialization(init_fn="mitchell"), cases.SEED)
        folder = work / "trainings" / cases.folder_name(name)
        folder.mkdir(parents=True)
        np.savez(folder / "weights.npz", **{key: weight.numpy() for key, weight in model.state_dict().items()})


def prepare_orders(work: Path) -> None:
    """For every order the epoch's indices as a whole and by step; also the instances,
    and which of them are filtered."""
    found = {}
    for number, (instances, seed, epoch, ranks, batch, skipped) in enumerate(cases.ORDERS):
        whole = shuffled(instances, seed, epoch)
        order = Order(instances=instances, batches=constant(batch), seed=seed)
        steps = instances // batch
        found[f"whole/{number}"] = whole[: instances - instances % ranks]
        found[f"steps/{number}"] = np.stack([order.batch(epoch * steps + 1 + s) for s in range(skipped, steps)])
    read = Instances(Tokens(work / "tokens"), cases.SEQUENCE)
    found["instances"] = read.batch(np.arange(len(read), dtype=np.uint32))
    trained = Order(instances=len(read), batches=constant(cases.GLOBAL_BATCH), seed=cases.SEED)
    found["trained"] = np.stack([trained.batch(step) for step in range(1, cases.STEPS + 1)])
    found["filtered"] = repeating(found["instances"], **cases.FILTER)
    pieces = np.random.Generator(np.random.PCG64(3)).integers(0, 2, (4000, cases.SEQUENCE))
    np.save(work / "repetitions.npy", pieces)
    found["repeating"] = np.concatenate(
        [repeating(pieces, **cases.FILTER | {"max_count": count}) for count in cases.REPETITIONS]
    )
    np.savez(work / "orders-ours.npz", **found)


def prepare_schedules(work: Path) -> None:
    """The learning rate at every position of every schedule; of the final anneal as an anneal of another schedule."""
    found = {}
    for name, (settings, rate, end, first, last) in cases.SCHEDULES.items():
        given = {key: settings[key] for key in ("name", "alpha_f") if key in settings}
        if "warmup_min_lr" in settings:
            given["warmup_start"] = settings["warmup_min_lr"] / rate
        schedule = Schedule(peak=rate, warmup=settings["t_warmup"], t_max=settings.get("t_max", end), **given)
        if "t_max" in settings:
            start, length = settings["t_warmup"], settings["t_max"] - settings["t_warmup"]
            anneal = Anneal(start=start, length=length, peak=rate, alpha_f=settings["alpha_f"])
            schedule = Schedule(name="constant", peak=rate, warmup=0, t_max=end, anneal=anneal)
        found[name] = np.array([schedule.learning_rate(position) for position in range(first, last)])
    np.savez(work / "schedules-ours.npz", **found)


def prepare_initializations(work: Path) -> None:
    """The first weights of large tensors."""
    for name, given in cases.INITIALIZATIONS.items():
        model = Transformer(ModelConfig(**cases.initial_model(name)))
        how = {key: value for key, value in given.items() if key != "model"}
        initialize(model, Initialization(**how), seed=1)
        file = work / f"first-{cases.folder_name(name)}-ours.npz"
        np.savez(file, **{key: weight.numpy() for key, weight in model.state_dict().items()})


def training_config(work: Path, name: str) -> dict[str, Any]:
    """A recipe as olmo-model's configuration."""
    given = cases.TRAININGS[name]
    architecture = cases.training_model(name)
    facts = ("vocab_size", "eos_token_id", "pad_token_id")
    model = {key: value for key, value in architecture.items() if key not in facts and value is not None}
    schedule = dict(given["scheduler"])
    unit = "T" if schedule.get("units") == "tokens" else ""
    schedule["warmup"] = f"{schedule.pop('t_warmup')}{unit}"
    for key in ("t_max", "grad_clip_warmup_steps"):
        if key in schedule:
            schedule[key] = f"{schedule[key]}{unit}"
    optimizer = given["optimizer"] | {
        "weight_decay": cases.WEIGHT_DECAY,
        "max_grad_norm": given.get("max_grad_norm"),
        "max_grad_norm_ratio": given.get("max_grad_norm_ratio"),
    }
    return {
        "save_folder": str(work / "trainings" / cases.folder_name(name) / "run"),
        "data": {
            "tokens": str(work / "tokens"),
            "sequence_length": cases.SEQUENCE,
            "instance_filter": cases.FILTER | {"enabled": given.get("filter", False)},
        },
        "model": {"preset": "olmo-1m", "init_fn": "mitchell"} | model,
        "seed": cases.SEED,
        "global_batch_size": cases.GLOBAL_BATCH,
        "micro_batch_size": cases.MICRO_BATCH,
        "max_duration": str(cases.STEPS),
        "optimizer": optimizer,
        "scheduler": schedule,
        "loss": {"semantics": given["loss"], "z_loss": cases.Z_LOSS if given.get("z_loss") else 0.0},
        "device": "cpu",
        "threads": 1,
        "log_interval": 1,
    }


def prepare(work: Path) -> None:
    prepare_models(work)
    prepare_trainings(work)
    prepare_orders(work)
    prepare_schedules(work)
    prepare_initializations(work)


def train(work: Path) -> None:
    for name in cases.TRAININGS:
        file = work / "trainings" / f"{cases.folder_name(name)}.yaml"
        file.write_text(yaml.safe_dump(training_config(work, name)), encoding="utf-8")
        run("train", str(file))


def train_official(work: Path) -> None:
    """The same trainings from the configurations that ai2-olmo wrote, and further from its checkpoints."""
    for name, given in cases.TRAININGS.items():
        folder = work / "trainings" / cases.folder_name(name)
        run(
            "train", str(folder / "official.yaml"), f"--save_folder={folder / 'run-official'}", "--loss.semantics",
            given["loss"], "--device", "cpu", "--threads", "1",
        )  # fmt: skip
        run(
            "train", str(folder / "official.yaml"), f"--save_folder={folder / 'run-continued'}", "--loss.semantics",
            given["loss"], "--device", "cpu", "--threads", "1", f"--stop_at={cases.CONTINUED_TO}",
            f"--load_path={folder / 'ai2' / f'step{cases.SAVED_AT}-unsharded'}",
        )  # fmt: skip


def convert(work: Path) -> None:
    tokenizer = str(work / "tokens" / "tokenizer.json")
    for name in cases.ARCHITECTURES:
        folder = work / "models" / cases.folder_name(name)
        for kind in ("pt", "safetensors", "hf_olmo"):
            given, target = str(folder / f"ai2-{kind}"), str(folder / f"hf-of-{kind}")
            run("convert", given, target, "--to", "hf", "--tokenizer", tokenizer)
        run("convert", str(folder / "hf-of-pt"), str(folder / "olmo"), "--to", "olmo")
        run("convert", str(folder / "olmo"), str(folder / "hf-again"), "--to", "hf")
        run(
            "generate", str(folder / "hf-of-pt"), "--prompt", cases.PROMPT, "--max-new-tokens", str(cases.NEW_TOKENS),
            "--output", str(folder / "generated-ours.json"),
        )  # fmt: skip


if __name__ == "__main__":
    torch.set_num_threads(1)
    {"prepare": prepare, "train": train, "official": train_official, "convert": convert}[sys.argv[2]](Path(sys.argv[1]))
