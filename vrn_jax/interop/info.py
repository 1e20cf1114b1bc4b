"""What a weights file says of itself: what is needed to use it rightly and lawfully."""

import math
from dataclasses import dataclass
from typing import Literal

from vrn_jax.config import ModelConfig, Norm, Upsampling
from vrn_jax.geometry.crop import CropRule
from vrn_jax.geometry.grid import VolumeGrid

__all__ = ["WeightsInfo", "original_info"]


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
    channels: Literal["rgb", "bgr"] = "rgb"
    """In which order the network sees them."""
    crop: CropRule = "box"
    """How faces are cut out of photos."""
    upsampling: Upsampling = "align_corners"
    """How the logits are enlarged to the size of the crop."""
    threshold: float = 0.5
    """Occupancy at the surface."""
    sigma_px: float = 1.5
    """Gaussian smoothing of the volume that suits these weights, crop pixels."""
    solid: bool = True
    """Whether to keep only the largest component of the volume and fill its cavities."""
    sha256: str = ""
    """Of the tensors: their names, types, shapes and bytes in the order of their names."""

    def __post_init__(self) -> None:
        if self.norm == "batch":
            raise ValueError(
                'norm must be "running" or "image": a face may not depend on its batch'
            )
        if not 0 <= self.sigma_px <= 16:
            raise ValueError(f"sigma_px must lie between 0 and 16, got {self.sigma_px}")
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


def original_info(
    model: ModelConfig, *, name: str, licence: str, training_data: str
) -> WeightsInfo:
    """The header for weights of the authors' release, which do not say these things themselves.

    Their scripts never leave training mode, so every image is normalised by its own statistics;
    they feed RGB in 0..1, enlarge with aligned corners, cut at 10 of 255, and neither smooth nor
    clean the volume. Where z = 0 lies is not known; our rule for new weights is assumed, which
    reproduces the planes of the authors' example.
    """
    return WeightsInfo(
        name,
        licence,
        training_data,
        model,
        VolumeGrid(planes=model.depth),
        norm="image",
        input_scale=1 / 255,
        input_offset=0.0,
        crop="run.sh",
        threshold=10 / 255,
        sigma_px=0.0,
        solid=False,
    )
