"""One made face from one key: picture, landmarks and solid, a pure function on the device."""

from dataclasses import fields
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Integer, PRNGKeyArray, UInt8

from vrn_jax.config import FaceSettings
from vrn_jax.faces.camera import photograph
from vrn_jax.faces.glasses import draw_glasses
from vrn_jax.faces.hair import draw_shell
from vrn_jax.faces.light import draw_lighting
from vrn_jax.faces.model import FaceModel
from vrn_jax.faces.noise import Draws
from vrn_jax.faces.pose import Pose, camera_from_head, crop_from_camera, draw_pose
from vrn_jax.faces.render import Drawn, Surface, draw
from vrn_jax.faces.skin import Skin, draw_skin, wear_portrait
from vrn_jax.faces.surroundings import draw_background, draw_occluder
from vrn_jax.geometry.grid import VRN_GRID
from vrn_jax.geometry.solid import Solid, front_z, make_solid
from vrn_jax.models.guidance import mirror_order

__all__ = ["Attributes", "Example", "Portraits", "Take", "make_face", "sample_key"]

_VISIBLE_WITHIN_PX = 3.0


def _settings_of(_: None, values: tuple) -> FaceSettings:
    """Settings of traced numbers; the constructor would refuse them."""
    settings = object.__new__(FaceSettings)
    for field, value in zip(fields(FaceSettings), values, strict=True):
        object.__setattr__(settings, field.name, value)
    return settings


# Settings are numbers that a program takes like any other: to change them compiles nothing anew.
jax.tree_util.register_pytree_node(
    FaceSettings,
    lambda settings: (tuple(getattr(settings, f.name) for f in fields(FaceSettings)), None),
    _settings_of,
)


class Portraits(NamedTuple):
    """Colours and shapes taken from photos: sRGB bytes a vertex, and fitted coefficients.

    `mean` and `transform` are the distribution of the identities: mean + transform @ normal.
    """

    colours: UInt8[Array, "n v 3"]
    identity: Float[Array, "n i"]
    mean: Float[Array, " i"]
    transform: Float[Array, "i i"]


class Attributes(NamedTuple):
    """What a sample shows, for evaluation in groups. Angles in degrees, shares in [0, 1].

    `tone` is 0 for the lightest and 1 for the darkest skin; `beard` is known for drawn skin only.
    `covered` is the share of the face that hands, hats and hair hide. `portrait` is the number of
    the portrait worn, -1 for drawn skin.
    """

    yaw: Float[Array, ""]
    pitch: Float[Array, ""]
    roll: Float[Array, ""]
    tone: Float[Array, ""]
    beard: Float[Array, ""]
    glasses: Bool[Array, ""]
    hat: Bool[Array, ""]
    covered: Float[Array, ""]
    portrait: Int[Array, ""]


class Example(NamedTuple):
    """A crop as the network sees it, and the truth about it.

    `landmarks` are the 68 iBUG points (x, y, z) in crop pixels, z = 0 at the solid's front-most
    point; `visible` says which the picture shows. `solid` gives the occupancy at every voxel
    (`geometry.solid.occupancy`).
    """

    image: UInt8[Array, "h w 3"]
    landmarks: Float[Array, "68 3"]
    visible: Bool[Array, " 68"]
    solid: Solid
    attributes: Attributes


class Take(NamedTuple):
    """What the frames of a clip give by hand, in place of what would be drawn.

    `expression` are weights in [0, 1]; `number` tells the sensor's noise of one frame from that of
    the others.
    """

    pose: Pose
    expression: Float[Array, " e"]
    crop_from_camera: Float[Array, "3 4"]
    number: Int[Array, ""]


class _Head(NamedTuple):
    """A shaped and coloured head: `surface` is all that is drawn, `points` the skin alone."""

    points: Float[Array, "v 3"]
    surface: Surface
    skin: Skin
    cloth: Float[Array, "3"]
    hat: Bool[Array, ""]
    glasses: Bool[Array, ""]
    portrait: Int[Array, ""]


def sample_key(
    seed: Integer[Array, ""] | int,
    index: Integer[Array, ""] | int,
    *,
    held_out: Bool[Array, ""] | bool = False,
) -> PRNGKeyArray:
    """The key of sample `index` of a stream; the same on every device and any number of them.

    Training and held-out streams of one seed share no sample.
    """
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), jnp.uint32(held_out)), index)


@jax.numpy_rank_promotion("allow")  # positions and colours meet triples everywhere
def make_face(
    key: PRNGKeyArray,
    model: FaceModel,
    settings: FaceSettings,
    portraits: Portraits | None = None,
    take: Take | None = None,
) -> Example:
    """Draws one example; of one key all takes show one person in one place and light."""
    numbers, sensor = jax.random.split(key)
    draws = Draws(numbers)
    head = _draw_head(draws, model, settings, portraits, take)
    pose = draw_pose(draws, settings)
    if take is not None:
        pose, sensor = take.pose, jax.random.fold_in(sensor, take.number)
    turn = camera_from_head(pose)
    exact = jax.lax.Precision.HIGHEST
    landmarks = jnp.matmul(head.points[model.landmarks], turn.T, precision=exact)
    crop = crop_from_camera(draws, landmarks, settings)
    if take is not None:
        crop = take.crop_from_camera
    landmarks = jnp.matmul(landmarks, crop[:, :3].T, precision=exact) + crop[:, 3]
    crop_from_head = jnp.concatenate(
        [jnp.matmul(crop[:, :3], turn, precision=exact), crop[:, 3:]], axis=1
    )
    drawn = draw(head.surface, model, turn, crop, draw_lighting(draws))
    neck = (crop_from_head @ jnp.append(model.neck, 1.0))[:2]
    thing, hidden = draw_occluder(draws, head.skin.flesh**2, settings)
    behind = draw_background(draws, neck, head.cloth)
    light = drawn.colour + (1 - drawn.cover[..., None]) * behind
    light = light + hidden[..., None] * (thing - light)
    solid = make_solid(head.points, model.region, crop_from_head)
    example = Example(
        photograph(draws, sensor, light, _around(landmarks), settings),
        landmarks.at[:, 2].add(-front_z(solid)),
        _visible(landmarks, drawn, hidden),
        solid,
        _attributes(pose, head, hidden, landmarks),
    )
    return _mirrored(example, draws.chance(settings.flip_chance))


def _draw_head(
    draws: Draws,
    model: FaceModel,
    settings: FaceSettings,
    portraits: Portraits | None,
    take: Take | None,
) -> _Head:
    identity = settings.identity_spread * draws.normal((len(model.identity),))
    skin = draw_skin(draws, model, settings)
    chosen = jnp.int32(-1)
    if portraits is not None:
        number = jnp.floor(draws.uniform() * len(portraits.colours)).astype(jnp.int32)
        worn, fitted = draws.chance(settings.portrait_share), draws.chance(0.5)
        spread = settings.identity_spread
        likeness = spread * portraits.identity[number] + 0.3 * spread * draws.normal(identity.shape)
        others = spread * portraits.mean + portraits.transform @ identity
        identity = jnp.where(worn & fitted, likeness, jnp.where(fitted, others, identity))
        portrait = wear_portrait(draws, model, skin, portraits.colours[number] / 255.0)
        skin = jax.tree.map(lambda drawn, seen: jnp.where(worn, seen, drawn), skin, portrait)
        chosen = jnp.where(worn, number, -1)
    points = model.neutral + jnp.tensordot(identity, model.identity, 1)
    expression = _draw_expression(draws, model, settings)
    if take is not None:
        expression = take.expression
    points = points + jnp.tensordot(expression, model.expression, 1)
    lift, hair, hat = draw_shell(draws, model, skin.hair, settings)
    shell = points[model.shell] + lift[:, None] * model.outward
    glasses, frame, shine, bespectacled = draw_glasses(draws, points[model.landmarks], settings)
    cloth = draws.uniform(0.05, 0.9, (3,)) ** 2
    collar = model.neck[1] + draws.uniform(-2.5, 1.5)
    colour = jnp.where((model.neutral[:, 1] < collar)[:, None], cloth, skin.colour**2)
    surface = Surface(
        jnp.concatenate([points, shell, glasses]),
        jnp.concatenate([colour, hair**2, frame]),
        jnp.concatenate([skin.gloss, jnp.full(len(shell), 0.5), shine]),
    )
    return _Head(points, surface, skin, cloth, hat, bespectacled, chosen)


def _draw_expression(draws: Draws, model: FaceModel, settings: FaceSettings) -> Float[Array, " e"]:
    """Few movements at a time; left and right mostly move together."""
    count = len(model.expression)
    both = draws.uniform(shape=(count,)) < settings.expression_chance
    strength = draws.uniform(shape=(count,)) ** 1.5
    uneven = jnp.clip(1 + 0.15 * draws.normal((count,)), 0, 1.2)
    one_sided = draws.uniform(shape=(count,)) < 0.06 * settings.expression_chance
    together = (both * strength)[model.expression_pair] * uneven
    return jnp.clip(jnp.where(one_sided, strength, together), 0, 1)


def _around(landmarks: Float[Array, "68 3"]) -> Float[Array, "h w"]:
    """A soft blob over the face, for the exposure."""
    rows, columns = (jnp.arange(float(n)) for n in VRN_GRID.shape[:2])
    centre, spread = landmarks[:, :2].mean(axis=0), landmarks[:, :2].std(axis=0) + 1.0
    x, y = (columns - centre[0]) / spread[0], (rows - centre[1]) / spread[1]
    return jnp.exp(-(x[None] ** 2 + y[:, None] ** 2) / 2)


def _visible(
    landmarks: Float[Array, "68 3"], drawn: Drawn, hidden: Float[Array, "h w"]
) -> Bool[Array, " 68"]:
    """In the picture, in front of what is drawn there but for a tolerance, and not covered."""
    x, y = jnp.round(landmarks[:, 0]), jnp.round(landmarks[:, 1])
    h, w = hidden.shape
    within = (x >= 0) & (x < w) & (y >= 0) & (y < h)
    at = jnp.clip(y, 0, h - 1).astype(jnp.int32), jnp.clip(x, 0, w - 1).astype(jnp.int32)
    return within & (landmarks[:, 2] > drawn.z[at] - _VISIBLE_WITHIN_PX) & (hidden[at] < 0.5)


def _attributes(
    pose: Pose, head: _Head, hidden: Float[Array, "h w"], landmarks: Float[Array, "68 3"]
) -> Attributes:
    blob = _around(landmarks)
    covered = (blob * hidden).sum() / blob.sum()
    return Attributes(
        yaw=jnp.rad2deg(pose.yaw),
        pitch=jnp.rad2deg(pose.pitch),
        roll=jnp.rad2deg(pose.roll),
        tone=head.skin.tone,
        beard=head.skin.beard,
        glasses=head.glasses,
        hat=head.hat,
        covered=covered,
        portrait=head.portrait,
    )


def _mirrored(example: Example, flip: Bool[Array, ""]) -> Example:
    """The mirrored sample where `flip`: a mirror image of a head is a head."""
    width = VRN_GRID.columns
    order = np.asarray(mirror_order())
    x_flip = jnp.array([-1.0, 1.0, 1.0])
    landmarks = example.landmarks[order] * x_flip + jnp.array([width - 1.0, 0.0, 0.0])
    matrix = example.solid.crop_from_head * x_flip[:, None]
    matrix = matrix.at[0, 3].add(width - 1.0)
    attributes = example.attributes
    mirrored = example._replace(
        image=example.image[:, ::-1],
        landmarks=landmarks,
        visible=example.visible[order],
        solid=example.solid._replace(crop_from_head=matrix),
        attributes=attributes._replace(yaw=-attributes.yaw, roll=-attributes.roll),
    )
    return jax.tree.map(lambda a, b: jnp.where(flip, a, b), mirrored, example)
