"""What a weights file says of itself: what is needed to use it rightly and lawfully."""

import math
from dataclasses import dataclass

from vrn_jax.config import ModelConfig, Norm
from vrn_jax.geometry.grid import VolumeGrid

__all__ = ["WeightsInfo"]


@dataclass(frozen=True)
class WeightsInfo:
    """What a weights file says of itself."""

    name: str
    licence: str
    training_data: str
    model: ModelConfig
    grid: VolumeGrid
    norm: Norm = "running"
    """Batch-normalisation statistics to use for inference."""
    input_scale: float = 1 / 127.5
    """The network sees ``rgb * input_scale + input_offset`` of RGB values in 0..255."""
    input_offset: float = -1.0
    threshold: float = 0.5
    """Occupancy at the surface."""
    sha256: str = ""
    """Of the tensors: their names, types, shapes and bytes in the order of their names."""

    def __post_init__(self) -> None:
        if self.norm == "batch":
            raise ValueError(
                'norm must be "running" or "image": a face may not depend on its batch'
            )
        if not 0 < self.threshold < 1:
            raise ValueError(f"threshold must lie between 0 and 1, got {self.threshold}")
        if not (math.isfinite(self.input_scale) and math.isfinite(self.input_offset)):
            raise ValueError(
                f"input range must be finite, got {self.input_scale, self.input_offset}"
            )
        grid = self.grid
        if (grid.rows, grid.columns, grid.planes) != (192, 192, self.model.depth):
            raise ValueError(
                f"grid {grid.shape} is not (192, 192, {self.model.depth}), the network's"
            )
        if not (0 < grid.plane_depth < 10 and math.isfinite(grid.origin_plane)):
            raise ValueError(f"impossible depths of planes: {grid}")
