"""What the network computes on the way, stage by stage, to be held against another framework."""

from typing import Any

from flax import linen as nn
from jaxtyping import Array, Float

from vrn_jax.models.hourglass import BLOCKS, LEVELS
from vrn_jax.models.vrn import VRN

__all__ = ["jax_stages", "stage_names"]


def stage_names(stacks: int) -> list[str]:
    """All stages in the order of computation.

    "stem"; for each stack "stack0.level1.skip" and "stack0.level1.pooled" (its two branches, the
    pooled one after six blocks), ..., then "stack0.level4.merge" and back up to
    "stack0.level1.merge", "stack0"; "logits".
    """
    names = ["stem"]
    for s in range(stacks):
        levels = [f"stack{s}.level{n}" for n in range(1, LEVELS + 1)]
        names += [f"{level}.{branch}" for level in levels for branch in ("skip", "pooled")]
        names += [f"{level}.merge" for level in reversed(levels)] + [f"stack{s}"]
    return [*names, "logits"]


def jax_stages(
    model: VRN, variables: dict, x: Float[Array, "b h w c"]
) -> dict[str, Float[Array, "b h2 w2 c2"]]:
    """The outputs of the stem, of all levels of all hourglasses and of the stacks, and the logits,
    by the names of `stage_names`.
    """
    mutable = ["intermediates", *(["batch_stats"] if model.norm == "batch" else [])]
    applied: Any = model.apply(variables, x, capture_intermediates=_is_stage, mutable=mutable)
    logits, seen = applied[0], applied[1]["intermediates"]
    (stacks,) = seen["stacks"]["__call__"]
    hourglass = seen["stacks"]["hourglass"]
    skip, pooled, merge = (hourglass[name]["__call__"][0] for name in ("skip", "pooled", "merge"))
    stages = {"stem": seen["stem"]["__call__"][0]}
    for s in range(model.config.stacks):
        stages[f"stack{s}"] = stacks[s]
        for n in range(LEVELS):
            level = f"stack{s}.level{n + 1}"
            stages[f"{level}.skip"] = skip[s, (n + 1) * BLOCKS["skip"] - 1]
            stages[f"{level}.pooled"] = pooled[s, (n + 1) * BLOCKS["pooled"] - 1]
            stages[f"{level}.merge"] = merge[s, n]
    return stages | {"logits": logits.volume}


def _is_stage(module: nn.Module, method: str) -> bool:
    return method == "__call__" and module.name in ("stem", "stacks", "skip", "pooled", "merge")
