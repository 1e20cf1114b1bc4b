"""The command line: `vrn COMMAND`. Errors are one line on standard error, never a traceback."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import tyro

from vrn_jax.errors import InputError, VrnError

if TYPE_CHECKING:
    from vrn_jax.inference import Reconstruction

__all__ = ["Reconstruct", "main"]


@dataclass(frozen=True)
class Reconstruct:
    """Make a textured 3D mesh (GLB) of every face in a photo, and a preview picture beside it."""

    photo: tyro.conf.Positional[Path | None] = None
    """Picture file. Without one, the portrait that comes with scikit-image is used."""
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """File ending in .glb, or a folder. Default: the photo's name in the current folder. Further
    faces of the same photo get -2, -3, ... before the suffix."""
    weights: str = "default"
    """Name of embedded weights, or a .safetensors file."""
    box: tuple[float, float, float, float] | None = None
    """The face's left, top, right and bottom in photo pixels (brows to chin); skips detection."""
    landmarks: Path | None = None
    """File of 68 iBUG points in photo pixels (.npy, .json, .pts, text); skips detection."""
    threshold: float | None = None
    """Occupancy at the surface, 0 to 1. Default: that of the weights."""
    smooth: float = 1.5
    """Gaussian smoothing of the volume, sigma in crop pixels; 0 for none."""
    mirror: bool = False
    """Average with the mirrored photo's volume: a little better, twice the time."""
    preview: bool = True
    """Also write NAME.preview.png: the photo, and the mesh from three sides."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs `vrn` with the given arguments (default: those of the process); returns the exit code.

    0: done. 1: something given cannot be used, the message says what. 2: usage. 130: interrupted.
    """
    command = tyro.extras.subcommand_cli_from_dict(
        {"reconstruct": Reconstruct},
        prog="vrn",
        description="3D faces from photos (VRN, ICCV 2017).",
        args=arguments,
    )
    try:
        reconstruct(command)
    except (VrnError, OSError) as error:
        print(f"vrn: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("vrn: interrupted", file=sys.stderr)
        return 130
    return 0


def reconstruct(options: Reconstruct) -> None:
    """Does what `vrn reconstruct` says. Raises VrnError or OSError."""
    if options.box is not None and options.landmarks is not None:
        raise InputError("got both --box and --landmarks; give one, they say the same thing")
    target = _output_file(options.photo, options.output)
    # Imports wait until the arguments are known to be good: JAX takes seconds.
    from vrn_jax.detection import FaceDetector
    from vrn_jax.inference import load
    from vrn_jax.io.image import read_photo
    from vrn_jax.io.landmarks import read_landmarks

    photo = read_photo(options.photo) if options.photo else _astronaut()
    landmarks = read_landmarks(options.landmarks) if options.landmarks else None
    detector = None
    if landmarks is None and options.box is None:
        with _without_info_lines():
            detector = FaceDetector()
    reconstructor = load(
        options.weights,
        threshold=options.threshold,
        sigma_px=options.smooth,
        mirror=options.mirror,
        detector=detector,
    )
    faces = reconstructor(photo, landmarks=landmarks, box=options.box)
    for number, face in enumerate(faces, 1):
        path = target if number == 1 else target.with_stem(f"{target.stem}-{number}")
        _write(face, path, options, reconstructor.info)


def _write(face: "Reconstruction", path: Path, options: Reconstruct, info) -> None:
    from vrn_jax.geometry.mesh import OUTER_EYE_METRES, in_metres
    from vrn_jax.geometry.texture import texture_from_photo
    from vrn_jax.io.image import write_png
    from vrn_jax.io.mesh import write_glb
    from vrn_jax.preview import preview

    textured = texture_from_photo(face.mesh, face.photo)
    extras = {
        "generator": "vrn_jax",
        "weights": info.name,
        "weights_sha256": info.sha256,
        "scale": f"outer eye corners are {OUTER_EYE_METRES} m apart",
        "photo_pixels_per_metre": 1 / face.metres_per_pixel,
    }
    write_glb(path, in_metres(textured, face.metres_per_pixel), extras=extras)
    print(f"{path}: {len(face.mesh.vertices):,} vertices, {len(face.mesh.faces):,} faces")
    if options.preview:
        picture = path.with_suffix(".preview.png")
        write_png(picture, preview(face, textured))
        print(f"{picture}: look at it")


def _output_file(photo: Path | None, output: Path | None) -> Path:
    """The .glb to write; its folder is made, and must be writable before any work is done."""
    name = f"{photo.stem if photo else 'astronaut'}.glb"
    target = Path(name) if output is None else output
    if target.is_dir() or not target.suffix:
        target = target / name
    elif target.suffix.lower() != ".glb":
        raise InputError(f"{target} does not end in .glb; meshes are written as GLB")
    target.parent.mkdir(parents=True, exist_ok=True)
    if not os.access(target.parent, os.W_OK) or target.is_dir():
        raise InputError(f"cannot write {target}; give another place with -o")
    return target


@contextlib.contextmanager
def _without_info_lines() -> Iterator[None]:
    """Holds back what native code writes to standard error, and drops the "INFO:" lines of it.

    LiteRT announces its CPU kernels in such a line and has no switch for it. Python's own stream is
    not enough: the line goes to the file descriptor.
    """
    with tempfile.TemporaryFile() as held:
        standard_error = os.dup(2)
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(standard_error, 2)
            os.close(standard_error)
            held.seek(0)
            os.write(2, b"".join(line for line in held if not line.startswith(b"INFO:")))


def _astronaut() -> np.ndarray:
    from skimage.data import astronaut

    return astronaut()


if __name__ == "__main__":
    sys.exit(main())
