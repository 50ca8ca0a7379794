"""Which weights are what: matrices of the blocks, head, embeddings, norms and biases."""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor, nn

from ..config.optimization import OptimizerSettings

Kind = Literal["matrix", "head", "embedding", "norm_or_bias"]


def kinds(model: nn.Module) -> dict[str, Kind]:
    """The kind of every parameter by its name: weights of linear layers are matrices, except the model's ``head``; a
    weight that is an embedding as well, as a tied head is, counts as embedding."""
    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    linear = {id(module.weight) for module in model.modules() if isinstance(module, nn.Linear)}
    head = id(getattr(model, "head", None))
    found: dict[str, Kind] = {}
    for name, weight in model.named_parameters():
        if id(weight) in embeddings:
            found[name] = "embedding"
        elif id(weight) in linear:
            found[name] = "head" if id(weight) == head else "matrix"
        else:
            found[name] = "norm_or_bias"
    return found


def decays(kind: Kind, settings: OptimizerSettings) -> bool:
    """Whether weight decay falls on this kind."""
    if kind == "embedding":
        return settings.decay_embeddings
    return settings.decay_norm_and_bias if kind == "norm_or_bias" else True


def parameter_groups(model: nn.Module, settings: OptimizerSettings) -> list[dict[str, Any]]:
    """Groups for an optimizer, those with decay first: ``params``, their ``names``, ``weight_decay``, and whether they
    are ``orthogonal``, moved by Muon's matrix update. Empty groups are left out."""
    of = kinds(model)
    groups: dict[tuple[bool, bool], tuple[list[Tensor], list[str]]] = {}
    for name, weight in model.named_parameters():
        key = (not decays(of[name], settings), not (settings.name == "muon" and of[name] == "matrix"))
        weights, names = groups.setdefault(key, ([], []))
        weights.append(weight)
        names.append(name)
    return [
        {
            "params": weights,
            "names": names,
            "weight_decay": 0.0 if without_decay else settings.weight_decay,
            "orthogonal": not elementwise,
        }
        for (without_decay, elementwise), (weights, names) in sorted(groups.items())
    ]
