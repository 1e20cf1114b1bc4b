"""What a network makes of held-out faces, as one picture: photo, true front, predicted front."""

import numpy as np
from jaxtyping import Float, UInt8

__all__ = ["contact_sheet"]

_LIGHT = np.array([-0.35, -0.45, 0.82])  # from the upper left, in front; pictures have y down
_CLAY = np.array([214.0, 200.0, 188.0])
_BACKGROUND = 245


def contact_sheet(
    images: UInt8[np.ndarray, "n h w 3"], fronts: Float[np.ndarray, "n 2 h w"]
) -> UInt8[np.ndarray, "height width 3"]:
    """A column a face: photo, true and predicted front surface (z in pixels), lit from the side."""
    columns = [
        np.concatenate([image, *(_relief(front) for front in pair)])
        for image, pair in zip(images, fronts, strict=True)
    ]
    return np.concatenate(columns, axis=1)


def _relief(z: Float[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w 3"]:
    there = np.isfinite(z)
    down, across = np.gradient(np.where(there, z, np.nan))
    normal = np.stack([-across, -down, np.ones_like(z)], axis=-1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    brightness = np.clip(normal @ _LIGHT, 0, 1) * 0.85 + 0.15
    colour = np.nan_to_num(brightness[..., None] * _CLAY)
    picture = np.where((there & np.isfinite(brightness))[..., None], colour, _BACKGROUND)
    return picture.round().astype(np.uint8)
