"""One portrait to one head's colours: sampled, unlit, and completed where the photo shows nothing.

Hair over the forehead, beards and glasses are part of the colours. Eyes are painted anew in the
colours of the photo: a sampled eye would look where the portrait looked, whichever way it turns.
"""

from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, UInt8

from vrn_jax.faces.draw import PART_COLOURS, painted
from vrn_jax.faces.fit import HeadFit
from vrn_jax.faces.head import MASKS, PARTS, Head
from vrn_jax.faces.inpaint import Diffusion
from vrn_jax.faces.lighting import alike, luminance, shading
from vrn_jax.faces.sampling import Sampled, sample_colours

__all__ = ["Texturer"]

BROWS = slice(17, 27)  # of the iBUG points
SURE = 0.5  # trust from which a vertex tells of skin or hair
LEAST_SEEN = 20  # vertices to tell a colour from
UNLIKE = 0.5  # likeness to skin below which what is on the scalp is hair,
HAIRY = 0.1  # where this share of the scalp that is seen is so
MARKED = ("lips", "brows", "lids", "scalp")  # masks of skin that is not plain
PUPIL = 0.42  # radius over the iris'
PUPIL_COLOUR = np.array([18.0, 15.0, 14.0])
OBSERVED = 0.6  # share of the photo in the colours of eyes and teeth, the rest being the usual ones


class Texturer:
    """Colours of one head from many photos; what depends on the head alone is made once."""

    def __init__(self, head: Head):
        self._head = head
        self._diffusion = Diffusion(head)
        self._usual = painted(head).astype(np.float64)
        self._skin = self._part("skin")
        self._scalp = self._mask("scalp") * self._skin
        self._plain = self._skin & head.solid
        for name in MARKED:
            self._plain = self._plain & (self._mask(name) < 0.2)
        brows = head.neutral[head.landmarks[BROWS], 1].max()
        above = self._skin & (head.neutral[:, 1] > brows)  # closes the gap below the hairline
        face = (head.solid & self._skin) | above
        self._face = self._softened(np.maximum(face, self._scalp))

    def __call__(
        self, photo: UInt8[np.ndarray, "h w 3"], fit: HeadFit
    ) -> tuple[UInt8[np.ndarray, "v 3"], float]:
        """The colours of a head fitted to a photo, and the share of its face that the photo shows.

        The colours are those of the face in even light of the photo's brightness.
        """
        sampled = sample_colours(photo, self._head, fit)
        trust = sampled.trust * self._face * self._skin
        light = shading(sampled.colours, sampled.normals, trust * self._plain)
        colours = sampled.colours / light[:, None]
        completed = self._complete(colours, trust)
        result = np.where(self._skin[:, None], completed, self._usual)
        self._paint_eyes(result, sampled)
        self._paint_teeth(result, sampled)
        seen = float(trust[self._head.solid & self._skin].mean())
        return result.round().clip(0, 255).astype(np.uint8), seen

    def _complete(
        self, colours: Float[np.ndarray, "v 3"], trust: Float[np.ndarray, " v"]
    ) -> Float[np.ndarray, "v 3"]:
        """The other side mirrored where that was seen, then hair and skin, each spread in its own.

        Ears and neck become like the face's skin, the scalp like the hair that was seen.
        """
        mirror = self._head.mirror
        other = (1.0 - trust) * trust[mirror]
        known = trust + other
        share = (other / np.maximum(known, 1e-9))[:, None]
        colours = colours + share * (colours[mirror] - colours)
        skin = self._tone(colours, trust * self._plain, self._usual[self._plain].mean(axis=0))
        brows = self._tone(colours, trust * self._mask("brows"), skin * 0.4)
        on_scalp = trust * (self._scalp > SURE)
        unlike_skin = on_scalp * (alike(colours, skin) < UNLIKE)
        bare = (unlike_skin > SURE).sum() < HAIRY * (on_scalp > SURE).sum()
        hair = self._tone(colours, on_scalp if bare else unlike_skin, brows)
        everywhere = np.ones_like(colours)
        kinds = [
            self._diffusion.fill(colours, known * part * alike(colours, tone), tone * everywhere)
            for tone, part in ((skin, 1.0 - self._scalp), (hair, self._scalp))
        ]
        filled = kinds[0] + self._scalp[:, None] * (kinds[1] - kinds[0])
        return filled + known[:, None] * (colours - filled)

    def _tone(
        self, colours: np.ndarray, trust: np.ndarray, otherwise: np.ndarray
    ) -> Float[np.ndarray, " 3"]:
        """The median colour of the vertices that are trusted."""
        sure = trust > SURE
        return np.median(colours[sure], axis=0) if sure.sum() >= LEAST_SEEN else otherwise

    def _paint_eyes(self, colours: np.ndarray, sampled: Sampled) -> None:
        """White and iris in the usual colours drawn toward the brightest and darkest of the eyes'.

        In the dark third of what lies between the lids is the iris, in the bright third the white.
        """
        eyes = self._part("sclera") | self._part("iris")
        white, iris = (np.array(PART_COLOURS[name], float) for name in ("sclera", "iris"))
        visible = sampled.colours[eyes & sampled.in_view]
        if len(visible) >= LEAST_SEEN:
            ordered = visible[np.argsort(luminance(visible))]
            third = len(ordered) // 3
            iris = iris + OBSERVED * (np.median(ordered[:third], axis=0) - iris)
            white = white + OBSERVED * (np.median(ordered[-third:], axis=0) - white)
        colours[self._part("sclera")] = white
        colours[self._part("iris")] = iris
        colours[self._pupils] = PUPIL_COLOUR

    def _paint_teeth(self, colours: np.ndarray, sampled: Sampled) -> None:
        """Teeth drawn toward the brighter half of those that show, where any do."""
        teeth = self._part("teeth")
        visible = sampled.colours[teeth & sampled.in_view]
        if len(visible) >= LEAST_SEEN:
            bright = visible[np.argsort(luminance(visible))][len(visible) // 2 :]
            shown = np.median(bright, axis=0)
            if luminance(shown) > luminance(np.array(PART_COLOURS["teeth"], float)) / 2.0:
                colours[teeth] += OBSERVED * (shown - colours[teeth])

    @cached_property
    def _pupils(self) -> Bool[np.ndarray, " v"]:
        """The vertices of the pupils: the middle of each iris."""
        pupils = np.zeros(len(self._skin), bool)
        for side in (-1.0, 1.0):
            iris = np.flatnonzero(self._part("iris") & (side * self._head.neutral[:, 0] > 0))
            if len(iris):
                places = self._head.neutral[iris, :2]
                middle = (places.min(axis=0) + places.max(axis=0)) / 2.0
                radius = np.linalg.norm(places - middle, axis=1)
                pupils[iris[radius < PUPIL * radius.max()]] = True
        return pupils

    def _part(self, name: str) -> Bool[np.ndarray, " v"]:
        return self._head.part == PARTS.index(name)

    def _mask(self, name: str) -> Float[np.ndarray, " v"]:
        return self._head.masks[:, MASKS.index(name)].astype(np.float64)

    def _softened(self, region: np.ndarray) -> Float[np.ndarray, " v"]:
        """A region that fades out *within* its border over about a centimetre."""
        ones, zeros = np.ones((len(region), 3)), np.zeros((len(region), 3))
        spread = self._diffusion.fill(ones * region[:, None], np.ones(len(region)), zeros)[:, 0]
        return ((2.0 * spread - 1.0).clip(0.0, 1.0)) * region
