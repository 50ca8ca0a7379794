"""Models that the benchmarks of olmo-model run: Olmo with a tied head, first weights from a seed, in float32."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from olmo_model.model import Transformer

VOCABULARY = 50_304
Shape = tuple[int, int, int, int]  # layers, width, heads, width of the MLP


def make_model(shape: Shape, eos_token_id: int) -> Transformer:
    """The model of a shape, for contexts of 1,024 tokens."""
    from olmo_model.config.model import Initialization, ModelConfig
    from olmo_model.initialization import initialize
    from olmo_model.model import Transformer

    layers, width, heads, mlp = shape
    config = ModelConfig(
        d_model=width,
        n_heads=heads,
        n_layers=layers,
        mlp_hidden_size=2 * mlp,
        max_sequence_length=1024,
        vocab_size=VOCABULARY,
        embedding_size=VOCABULARY,
        eos_token_id=eos_token_id,
        pad_token_id=1,
    )
    model = Transformer(config)
    initialize(model, Initialization(), 0)
    return model
