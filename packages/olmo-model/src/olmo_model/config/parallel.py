"""How a run is spread over processes."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..ranges import whole


@dataclass(frozen=True, kw_only=True)
class ParallelSettings:
    """How the ranks that `torchrun` starts share the work. One process alone needs none of it.

    Ranks form a grid of replicas x shards x tensor; the number of shards follows from the number of ranks.
    """

    replicas: int = field(default=1, metadata=whole(1))
    """Groups of ranks that each hold the whole model, sharded inside the group (hybrid sharding). 1 shards weights,
    gradients and optimizer over all ranks; as many as there are ranks keeps a whole copy in each."""

    tensor: int = field(default=1, metadata=whole(1))
    """Ranks that share each matrix of a block (tensor parallelism), best those of one machine; a divisor of the heads
    and of the MLP's width."""

    reshard_after_forward: bool = True
    """Let go of a block's gathered weights after its forward pass and gather them again for the backward pass: less
    memory, more traffic."""
