"""The compiled programs: crops in, logits, probabilities or clean volumes out."""

from functools import partial
from typing import cast

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8

from vrn_jax.errors import InputError
from vrn_jax.geometry.resample import upsample
from vrn_jax.interop.info import WeightsInfo
from vrn_jax.models.guidance import landmark_channels, mirrored_landmarks
from vrn_jax.models.vrn import VRN, Logits
from vrn_jax.postprocess import Cleaned, PostprocessSettings, clean

__all__ = [
    "cleaned_volumes",
    "network_input",
    "network_logits",
    "probabilities",
    "view_logits",
]


@partial(jax.jit, static_argnums=(0, 1))
def network_logits(
    model: VRN,
    info: WeightsInfo,
    variables: dict,
    crops: UInt8[Array, "b height width 3"],
    landmarks: Float[Array, "b l 2"] | None,
) -> Float[Array, "b h w d"]:
    """Crops as bytes to volume logits; the guided network sees the landmarks (crop pixels) too."""
    x = network_input(info, crops, landmarks)
    return cast(Logits, model.apply(variables, x)).volume


def network_input(
    info: WeightsInfo,
    crops: UInt8[Array, "b height width 3"],
    landmarks: Float[Array, "b l 2"] | None,
) -> Float[Array, "b height width c"]:
    """What the network is fed: the range and order of its weights, and a guided one's landmarks."""
    if info.channels == "bgr":
        crops = crops[..., ::-1]
    x = crops.astype(jnp.float32) * info.input_scale + info.input_offset
    if info.model.task == "guided":
        if landmarks is None:
            raise InputError("the guided network needs the landmarks of every crop, got none")
        x = jnp.concatenate([x, landmark_channels(landmarks, (x.shape[1], x.shape[2]))], axis=-1)
    return x


@partial(jax.jit, static_argnums=(1, 2))
def probabilities(
    logits: Float[Array, "b h w d"], info: WeightsInfo, stride: int = 1
) -> Float[Array, "b height width d"]:
    """Enlarged to the size of the crops, 0..1; of that every `stride`-th row and column."""
    enlarged = upsample(logits, info.model.stride, info.upsampling, stride=stride)
    return jax.nn.sigmoid(enlarged)


@partial(jax.jit, static_argnums=(0, 1, 2))
def view_logits(
    model: VRN,
    info: WeightsInfo,
    mirror: bool,
    variables: dict,
    crops: UInt8[Array, "b height width 3"],
    landmarks: Float[Array, "b l 2"] | None,
) -> tuple[Float[Array, "b h w d"], ...]:
    """Logits of the crops and, to `mirror`, of the crops flipped left to right."""
    logits = network_logits(model, info, variables, crops, landmarks)
    if not mirror:
        return (logits,)
    flipped = None if landmarks is None else mirrored_landmarks(landmarks, crops.shape[2])
    return logits, network_logits(model, info, variables, crops[:, :, ::-1], flipped)


@partial(jax.jit, static_argnums=(0, 1, 2, 3))
def cleaned_volumes(
    model: VRN,
    info: WeightsInfo,
    settings: PostprocessSettings,
    mirror: bool,
    variables: dict,
    crops: UInt8[Array, "b height width 3"],
    landmarks: Float[Array, "b l 2"] | None,
) -> Cleaned:
    """Network and clean-up in one compiled program."""
    return clean(*view_logits(model, info, mirror, variables, crops, landmarks), settings=settings)
