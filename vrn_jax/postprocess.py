"""From the network's logits to a clean solid, on the device and inside the network's own jit.

A face is one solid without cavities. The threshold alone leaves specks beside it and holes in it;
so the largest connected component is kept and what it encloses is filled, exactly, for any mask.

Two algorithms share the work. A *flood* spreads from seeds through the open voxels: 32 planes lie
in the bits of one word, and a turn sweeps the volume along its six directions, each sweep carrying
the flood as far as it can go straight on. For a face, two or three turns reach everything. A maze
takes as many turns as it has bends: then the flood is given up, and *labelling* joins neighbouring
voxels into trees and flattens the trees until nothing moves, whatever the shape.

Voxels are neighbours when they share a side (6-connected), as in `scipy.ndimage`.
"""

import functools
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Float16, Float32, Int32, UInt32

from vrn_jax.config import Upsampling
from vrn_jax.geometry.resample import Kernels, gaussian_kernels, smooth, upsample

__all__ = [
    "Cleaned",
    "PostprocessSettings",
    "bounding_box",
    "clean",
    "fill_holes",
    "largest_component",
]

Mask = Bool[Array, "h w d"]
Words = UInt32[Array, "h w k"]
"""A packed mask: bit j of word k is plane 32 k + j; bits beyond the last plane are 0."""
Labels = Int32[Array, "h w d"]

_MAX_TURNS = 64
"""At full size on a CPU a turn takes some 2 ms, labelling half a second or more."""


@dataclass(frozen=True)
class PostprocessSettings:
    """How a volume is cleaned. Hashable: a static argument of jit."""

    threshold: float = 0.5
    """A voxel is occupied above this probability. The official scripts cut at 10 / 255."""
    sigma_px: float = 0.0
    """Standard deviation of the Gaussian that smooths the probabilities, crop pixels; 0: none."""
    plane_depth: float = 0.5
    """Depth of a voxel in crop pixels, `VolumeGrid.plane_depth`."""
    stride: int = 4
    """Voxels to a cell of the logits, along rows and columns; `ModelConfig.stride`."""
    upsampling: Upsampling = "align_corners"
    solid: bool = True
    """Keep the largest component and fill it, which the original did not do."""

    def __post_init__(self) -> None:
        if not (0 < self.threshold < 1 and self.sigma_px >= 0 and self.plane_depth > 0):
            raise ValueError(f"needs 0 < threshold < 1, sigma_px >= 0, plane_depth > 0, got {self}")


class Cleaned(NamedTuple):
    """Volumes ready for marching cubes at the threshold, still on the device.

    `occupancy` holds probabilities, 0..1; those above the threshold are one component without
    cavities. float16 halves the way to the host and rounds by at most 2**-12: an interpolated
    surface moves by less than 0.02 voxel wherever neighbours differ by 0.0125 or more. bfloat16
    would need 0.1 and the truncated bytes of the official files 0.2: more than a soft edge has.
    With `PostprocessSettings.solid` off it is what the network says and all of it, in float32.
    `box` is [lo, hi) along rows, columns and planes around the solid; all zero where there is none.
    """

    occupancy: Float16[Array, "b h w d"] | Float32[Array, "b h w d"]
    box: Int32[Array, "b 3 2"]


@functools.partial(jax.jit, static_argnames="settings")
def clean(
    logits: Float[Array, "b h w d"],
    mirrored_logits: Float[Array, "b h w d"] | None = None,
    *,
    settings: PostprocessSettings,
    threshold: Float[Array, ""] | None = None,
    kernels: Kernels | None = None,
) -> Cleaned:
    """Turns the network's logits into clean solids of the crop's size.

    Enlarges, takes the sigmoid, smooths, keeps the largest component and fills its cavities.
    `mirrored_logits` are those of the crop flipped left to right: they are flipped back, and the
    two volumes of probabilities averaged. `threshold`, and the `kernels` of
    `geometry.resample.gaussian_kernels`, go before what `settings` say; other values of them
    compile nothing anew.
    """
    level = settings.threshold if threshold is None else threshold

    def one(pair: tuple[Array, Array | None]) -> Cleaned:
        occupancy = _probabilities(*pair, settings)
        if kernels is not None:
            occupancy = smooth(occupancy, kernels)
        elif settings.sigma_px > 0:
            fixed = gaussian_kernels(occupancy.shape, settings.sigma_px, settings.plane_depth)
            occupancy = smooth(occupancy, fixed)
        if not settings.solid:
            return Cleaned(occupancy, bounding_box(occupancy > level))
        return _keep_solid(occupancy, level)

    # Not a vmap: there, every loop runs until the slowest volume is done, and both sides of every
    # condition are computed.
    return lax.map(one, (logits, mirrored_logits))


def _probabilities(
    logits: Array, mirrored: Array | None, settings: PostprocessSettings
) -> Float32[Array, "h w d"]:
    def enlarged(logits: Array) -> Array:
        larger = upsample(logits[None], settings.stride, settings.upsampling)
        return jax.nn.sigmoid(larger[0])

    occupancy = enlarged(logits)
    if mirrored is None:
        return occupancy
    return (occupancy + enlarged(mirrored[:, ::-1])) / 2


def _keep_solid(occupancy: Float32[Array, "h w d"], threshold: float | Float[Array, ""]) -> Cleaned:
    # What the host will see decides, so round first. XLA may skip a cast there and back, not this.
    occupancy = lax.reduce_precision(occupancy, exponent_bits=5, mantissa_bits=10)
    above = occupancy > threshold
    component = largest_component(above)
    solid = fill_holes(component)
    # Specks become 0 and cavities 1. Specks share no side with the component and cavities none with
    # the outside, so every edge that the surface crosses keeps its two values; only what lies *at*
    # the threshold is lowered a trifle, so that to be outside is to be below.
    below = jnp.nextafter(jnp.float16(threshold), jnp.float16(0)).astype(jnp.float32)
    outside = jnp.where(above, 0, jnp.minimum(occupancy, below))
    kept = jnp.where(component, occupancy, jnp.where(solid, 1, outside))
    return Cleaned(kept.astype(jnp.float16), bounding_box(solid))


def largest_component(mask: Mask) -> Mask:
    """Keeps the largest 6-connected component; of equal ones, that with the first voxel in memory.

    That is the one with the lowest number in `scipy.ndimage.label`. An empty mask stays empty.
    """
    opened = _pack(mask)
    flooded, finished = _flood(_likely_seed(opened), opened)
    planes = mask.shape[2]
    found, size = (jnp.sum(lax.population_count(x).astype(jnp.int32)) for x in (flooded, opened))
    proven = finished & ((2 * found > size) | (size == 0))
    return lax.cond(proven, lambda: _unpack(flooded, planes), lambda: _largest_label(_label(mask)))


def fill_holes(mask: Mask) -> Mask:
    """Adds the cavities: background without a 6-connected path to the border of the volume."""
    background = ~mask
    seeds = background.at[1:-1, 1:-1, 1:-1].set(False)
    outside, finished = _flood(_pack(seeds), _pack(background))
    return ~lax.cond(
        finished,
        lambda: _unpack(outside, mask.shape[2]),
        lambda: _labels_with(seeds, _label(background)),
    )


def bounding_box(mask: Mask) -> Int32[Array, "3 2"]:
    """[lo, hi) along each axis around the true voxels; all zero when there are none."""
    ends = []
    for size, others in zip(mask.shape, ((1, 2), (0, 2), (0, 1)), strict=True):
        occupied, index = jnp.any(mask, others), jnp.arange(size)
        hi = jnp.max(jnp.where(occupied, index + 1, 0))
        ends.append((jnp.minimum(jnp.min(jnp.where(occupied, index, size)), hi), hi))
    return jnp.array(ends, jnp.int32)


def _pack(mask: Mask) -> Words:
    h, w, d = mask.shape
    bits = jnp.pad(mask, ((0, 0), (0, 0), (0, -d % 32))).reshape(h, w, -1, 32)
    place = lax.broadcasted_iota(jnp.uint32, bits.shape, 3)
    return jnp.sum(bits.astype(jnp.uint32) << place, axis=3, dtype=jnp.uint32)


def _unpack(words: Words, planes: int) -> Mask:
    h, w, k = words.shape
    bits = words[..., None] >> lax.broadcasted_iota(jnp.uint32, (h, w, k, 32), 3)
    return (bits & 1).astype(bool).reshape(h, w, 32 * k)[..., :planes]


def _likely_seed(opened: Words) -> Words:
    """One voxel, from the fullest word of the fullest column; none where nothing is open."""
    sizes = lax.population_count(opened)
    row, column = jnp.divmod(jnp.argmax(jnp.sum(sizes, axis=2)), opened.shape[1])
    word = jnp.argmax(sizes[row, column])
    lowest_bit = opened[row, column, word] & -opened[row, column, word]
    return jnp.zeros_like(opened).at[row, column, word].set(lowest_bit)


def _flood(seeds: Words, opened: Words) -> tuple[Words, Bool[Array, ""]]:
    """What the (open) seeds are connected to, and whether the flood came to rest in time."""

    def turn(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        before, _, turns = state
        flooded = before
        for axis in (2, 1, 0):
            for reverse in (False, True):
                flooded = _sweep(flooded, opened, axis, reverse)
        return flooded, jnp.any(flooded != before), turns + 1

    start = (seeds, jnp.array(True), jnp.array(0))
    flooded, moving, _ = lax.while_loop(lambda s: s[1] & (s[2] < _MAX_TURNS), turn, start)
    return flooded, ~moving


def _sweep(flooded: Words, opened: Words, axis: int, reverse: bool) -> Words:
    """Carries the flood straight on along one axis, through any number of open voxels."""

    def advance(behind: Array, words: tuple[Array, Array]) -> tuple[Array, Array]:
        here, free = words
        if axis == 2:  # the last bit of one word enters the next, and spreads within it
            entering = behind << 31 if reverse else behind >> 31
            here = _spread_in_word(here | (free & entering), free, reverse)
        else:
            here = here | (free & behind)
        return here, here

    def scan(flooded: Array, opened: Array, unroll: int) -> Array:
        slices = (jnp.moveaxis(flooded, axis, 0), jnp.moveaxis(opened, axis, 0))
        dry = jnp.zeros_like(slices[0][0])
        swept = lax.scan(advance, dry, slices, reverse=reverse, unroll=unroll)[1]
        return jnp.moveaxis(swept, 0, axis)

    # On a CPU the short loop body stays in the first cache; on an accelerator each turn of a loop
    # costs kernel launches, so several slices share one.
    on_cpu, elsewhere = (functools.partial(scan, unroll=n) for n in (1, 16))
    return lax.platform_dependent(flooded, opened, cpu=on_cpu, default=elsewhere)


def _spread_in_word(flooded: Array, free: Array, reverse: bool) -> Array:
    # By doubling: `free` marks where 1, 2, 4, ... bits in a row are open.
    for width in (1, 2, 4, 8, 16):
        flooded = flooded | (free & (flooded >> width if reverse else flooded << width))
        free = free & (free >> width if reverse else free << width)
    return flooded


def _label(mask: Mask) -> Labels:
    """The memory index of the first voxel of each voxel's component; mask.size in the background.

    Every voxel points at one before it in its component, or at itself: a forest. Each round hangs
    the root of every tree onto the lowest root that its voxels touch, and flattens the trees. When
    no voxel touches a lower root, the trees are the components.
    """

    def join(state: tuple[Array, Array]) -> tuple[Array, Array]:
        root, _ = state
        touched = jnp.where(mask, _lowest_neighbour(root), mask.size)
        lower = touched < root
        hung = root.reshape(-1).at[jnp.where(lower, root, mask.size)].min(touched, mode="drop")
        return _flatten(hung).reshape(mask.shape), jnp.any(lower)

    index = jnp.arange(mask.size, dtype=jnp.int32).reshape(mask.shape)
    start = (jnp.where(mask, index, mask.size), jnp.array(True))
    return lax.while_loop(lambda state: state[1], join, start)[0]


def _flatten(parent: Int32[Array, " n"]) -> Int32[Array, " n"]:
    """Points every voxel at its root, halving the way with each step."""

    def jump(state: tuple[Array, Array]) -> tuple[Array, Array]:
        parent, _ = state
        above = parent.at[parent].get(mode="fill", fill_value=parent.size)
        return above, jnp.any(above != parent)

    return lax.while_loop(lambda state: state[1], jump, (parent, jnp.array(True)))[0]


def _lowest_neighbour(labels: Labels) -> Labels:
    lowest = labels
    for axis in range(3):
        for step in (1, -1):
            by = [(step, -step, 0) if a == axis else (0, 0, 0) for a in range(3)]
            lowest = jnp.minimum(lowest, lax.pad(labels, jnp.int32(labels.size), by))
    return lowest


def _largest_label(labels: Labels) -> Mask:
    sizes = jnp.zeros(labels.size, jnp.int32).at[labels].add(1, mode="drop")
    return labels == jnp.argmax(sizes)


def _labels_with(seeds: Mask, labels: Labels) -> Mask:
    """The components that hold a seed."""
    seeded = jnp.where(seeds, labels, labels.size)
    found = jnp.zeros(labels.size, bool).at[seeded].set(True, mode="drop")
    return found.at[labels].get(mode="fill", fill_value=False)
