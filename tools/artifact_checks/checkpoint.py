"""Checkpoints: what transformers needs, and what the trainer needs to go on."""

from __future__ import annotations

import io
import pickle
import zipfile
from enum import Enum
from pathlib import Path
from typing import Any

from artifact_checks.reading import check_digest, load
from artifact_checks.recognition import read_json
from artifact_checks.report import Options, Report
from artifact_checks.vocabulary import tokenizer_at

DTYPES = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}
WEIGHTS = "model.safetensors"
ROWS = 4096  # rows of a matrix looked at together

# The metadata of a torch distributed checkpoint is a pickle. Only what such metadata consists of is ever loaded.
METADATA_CLASSES = {
    "torch.distributed.checkpoint.metadata": {
        "Metadata",
        "TensorStorageMetadata",
        "BytesStorageMetadata",
        "ChunkStorageMetadata",
        "TensorProperties",
        "MetadataIndex",
        "StorageMeta",
        "_MEM_FORMAT_ENCODING",
    },
    "torch.distributed.checkpoint.filesystem": {"_StorageInfo", "_StoragePrefix"},
    "torch.serialization": {"_get_layout"},
    "pathlib": {"Path", "PosixPath", "PurePosixPath"},
    "collections": {"OrderedDict"},
}


def member(owner: Any, name: str) -> Any:
    """What a pickle's `getattr` may get: a member of an enumeration. Some Pythons, such as 3.11.2, write members so."""
    if not (isinstance(owner, type) and issubclass(owner, Enum) and name in owner.__members__):
        raise pickle.UnpicklingError(f"{name} of {owner!r} does not belong into checkpoint metadata")
    return owner[name]


class MetadataUnpickler(pickle.Unpickler):
    """Loads torch checkpoint metadata and refuses every other class or function."""

    def find_class(self, module: str, name: str) -> Any:
        import torch

        if (module, name) == ("builtins", "getattr"):
            return member

        if module == "torch" and isinstance(
            getattr(torch, name, None), (torch.dtype, torch.layout, torch.memory_format)
        ):
            return getattr(torch, name)
        if (module, name) == ("torch", "Size") or name in METADATA_CLASSES.get(module, ()):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{module}.{name} does not belong into checkpoint metadata")


def check_checkpoint(folder: Path, report: Report, options: Options) -> str:
    """Check ``stepN/``: the tensors that the configuration asks for, finite, and the training state readable."""
    path = folder / "manifest.json"
    manifest = load(path, "checkpoint", report)
    if manifest is None:
        return "unreadable"
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        if not (folder / name).is_file():
            report.problem(folder / name, "missing")
    for other in [*folder.glob("*.safetensors"), *folder.glob("*.bin"), *folder.glob("*.pt")]:
        if other.name not in manifest["files"]:
            report.problem(other, "this file is no part of the artifact: weights are stored once, in safetensors")
    for name, digest in manifest["files"].items():
        check_digest(folder / name, digest, f"the digest of {name}", path, report)
    if (folder / "tokenizer.json").is_file():
        check_digest(folder / "tokenizer.json", manifest["tokenizer_digest"], "tokenizer_digest", path, report)
    check_special_tokens(folder, report)
    check_weights(folder, manifest, report)
    check_train(folder / "train", report)
    return f"{manifest['parameters']:,} parameters, step {manifest['step']:,}"


def check_special_tokens(folder: Path, report: Report) -> None:
    """The end of a document and the padding are the same ids for the model, for generation and for the tokenizer."""
    names = ("config.json", "generation_config.json", "tokenizer_config.json")
    config, generation, tokens = (read_object(folder / name, report) for name in names)
    if not config:
        return
    tokenizer = tokenizer_at(folder / "tokenizer.json", Report(quiet=True))  # its digest is looked at already
    for kind in ("eos", "pad"):
        key = f"{kind}_token_id"
        if generation:
            report.equal(folder / "generation_config.json", key, generation.get(key), config.get(key))
        token = tokens.get(f"{kind}_token")
        if token is not None and tokenizer is not None:
            text = token["content"] if isinstance(token, dict) else token
            path = folder / "tokenizer_config.json"
            report.equal(path, f"the id of {text!r}", tokenizer.token_to_id(text), config.get(key))


def read_object(path: Path, report: Report) -> dict[str, Any]:
    """A JSON object; empty, where there is none, which is a problem where there is a file."""
    value = read_json(path)
    if isinstance(value, dict):
        return value
    if path.is_file():
        report.problem(path, "not a JSON object")
    return {}


def check_weights(folder: Path, manifest: Any, report: Report) -> None:
    """Headers against manifest and model, then every number."""
    import torch
    from safetensors import SafetensorError, safe_open

    shapes: dict[str, tuple[int, ...]] = {}
    files = [folder / name for name in sorted(manifest["files"]) if name.endswith(".safetensors")]
    if not files:
        report.problem(folder / WEIGHTS, "missing")
        return
    for file in files:
        if not file.is_file():
            return  # reported with its digest
        try:
            opened = safe_open(file, "pt")
        except SafetensorError as error:
            report.problem(file, f"not readable as safetensors: {error}")
            return
        with opened as tensors:
            header = {name: tensors.get_slice(name) for name in tensors.keys()}  # noqa: SIM118 (no mapping)
            for name, part in header.items():
                if name in shapes:
                    report.problem(file, f"{name} is stored twice")
                if part.get_dtype() != DTYPES[manifest["dtype"]]:
                    report.problem(file, f"{name} is {part.get_dtype()}, but dtype is {manifest['dtype']}")
                shapes[name] = tuple(part.get_shape())
                check_numbers(file, name, part, shapes[name], report)
    parameters = sum(torch.Size(shape).numel() for shape in shapes.values())
    report.equal(folder / "manifest.json", "parameters", manifest["parameters"], parameters)
    check_names(folder, files[0] if len(files) == 1 else folder / (WEIGHTS + ".index.json"), shapes, report)


def check_numbers(file: Path, name: str, part: Any, shape: tuple[int, ...], report: Report) -> None:
    """Every number of a weight is finite; some rows at a time."""
    import torch

    rows = (part[start : start + ROWS] for start in range(0, shape[0], ROWS)) if shape else (part[...],)
    bad = sum(int((~torch.isfinite(value)).sum()) for value in rows)
    if bad:
        report.problem(file, f"{name}: {bad} values are not finite")


def check_names(folder: Path, weights: Path, shapes: dict[str, tuple[int, ...]], report: Report) -> None:
    """The model that transformers builds from config.json wants these very tensors; tied ones are stored once."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    if not (folder / "config.json").is_file():
        return
    try:
        config = AutoConfig.from_pretrained(str(folder), local_files_only=True)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
    except Exception as error:  # whatever transformers says against the folder
        report.problem(folder / "config.json", f"transformers builds no model from it: {error}")
        return
    model.tie_weights()
    one_tensor: dict[int, list[str]] = {}
    state = model.state_dict(keep_vars=True)
    for name, tensor in state.items():
        one_tensor.setdefault(id(tensor), []).append(name)
    for names in one_tensor.values():
        stored = [name for name in names if name in shapes]
        wanted = tuple(state[names[0]].shape)
        if not stored:
            report.problem(weights, f"the tensor {' or '.join(names)} of shape {list(wanted)} is missing")
        elif len(stored) > 1:
            report.problem(weights, f"{' and '.join(stored)} are one tensor, stored {len(stored)} times")
        for name in stored:
            if shapes[name] != wanted:
                report.problem(
                    weights, f"{name} has shape {list(shapes[name])}, but config.json asks for {list(wanted)}"
                )
    for name in sorted(shapes.keys() - state.keys()):
        report.problem(weights, f"the model has no tensor {name}")


def check_train(folder: Path, report: Report) -> None:
    """The distributed checkpoint: readable metadata, and the files long enough for what it places in them."""
    metadata_path = folder / ".metadata"
    if not metadata_path.is_file():
        report.problem(metadata_path, "missing: without it training cannot go on from here")
        return
    try:
        with open(metadata_path, "rb") as stream:
            metadata = MetadataUnpickler(stream).load()
        places = list(metadata.storage_data.items())
        names = metadata.state_dict_metadata.keys()
    except Exception as error:  # a damaged pickle can raise anything
        report.problem(metadata_path, f"not readable: {error}")
        return
    if not names:
        report.problem(metadata_path, "holds no state")
    states: dict[str, list[tuple[int, int, str]]] = {}
    for index, info in places:
        states.setdefault(info.relative_path, []).append((info.offset, info.length, index.fqn))
    for name, parts in states.items():
        file = folder / name
        length = max(offset + length for offset, length, _ in parts)
        if not file.is_file():
            report.problem(file, "missing: .metadata places state in it")
        elif file.stat().st_size < length:
            report.problem(file, f"cut off: {file.stat().st_size} bytes of {length}")
        else:
            check_states(file, parts, report)


def check_states(file: Path, parts: list[tuple[int, int, str]], report: Report) -> None:
    """Every state is a ZIP archive of torch, whose checksums tell of any changed byte."""
    with open(file, "rb") as stream:
        for offset, length, name in sorted(parts):
            stream.seek(offset)
            try:
                with zipfile.ZipFile(io.BytesIO(stream.read(length))) as archive:
                    damaged = archive.testzip()
            except (zipfile.BadZipFile, NotImplementedError, EOFError, ValueError) as error:
                damaged = str(error)
            if damaged is not None:
                report.problem(file, f"{name}, {length:,} bytes from byte {offset:,} on, is damaged: {damaged}")
