"""Made-up photos and fits in the layouts of 300W-LP and AFLW2000-3D, as they are downloaded."""

import io
from pathlib import Path

import numpy as np
import scipy.io
from PIL import Image

SIZE = 450

NAMES_300W_LP = [
    "AFW/AFW_134212_1_0",
    "AFW/AFW_134212_1_1",
    "AFW_Flip/AFW_134212_1_0",
    "HELEN/HELEN_1629243_1_0",
    "HELEN/HELEN_2960256451_1_3",
    "HELEN/HELEN_296814969_3_0",
    "HELEN/HELEN_30427236_1_2",
    "HELEN_Flip/HELEN_30427236_1_2",
    "IBUG/IBUG_image_003_1_0",
    "LFPW/LFPW_image_test_0001_3",
    "LFPW/LFPW_image_train_0095_5",
    "LFPW_Flip/LFPW_image_train_0095_5",
]
TEST_PORTION = {
    "HELEN/HELEN_296814969_3_0",
    "HELEN/HELEN_30427236_1_2",
    "LFPW/LFPW_image_test_0001_3",
}


def made_up_fit(seed: int) -> dict[str, np.ndarray]:
    """The arrays of a .mat file; the face stands in the middle of a photo of 450 pixels."""
    rng = np.random.default_rng(seed)
    angles = rng.uniform([-0.3, -1.2, -0.4], [0.3, 1.2, 0.4])
    place = rng.uniform([210, 210, -80, 12e-4], [240, 240, -40, 16e-4])
    return {
        "Shape_Para": rng.normal(0, 1, (199, 1)),
        "Exp_Para": rng.normal(0, 1, (29, 1)),
        "Tex_Para": rng.normal(0, 1, (199, 1)),
        "Pose_Para": np.concatenate([angles, place])[None].astype(np.float32),
        "Illum_Para": rng.normal(0, 1, (1, 10)),
        "Color_Para": rng.normal(0, 1, (1, 7)),
        "roi": np.array([[1.0, 1.0, SIZE, SIZE]]),
    }


def made_up_photo(seed: int, size: int = SIZE) -> bytes:
    """Smooth colours, as a JPEG of a photo's size on disk."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (12, 12, 3), np.uint8))
    picture = np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC), np.int16)
    picture = np.clip(picture + rng.integers(-12, 13, (size, size, 1)), 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="JPEG", quality=85)
    return buffer.getvalue()


def write_300w_lp(folder: Path, names: list[str] = NAMES_300W_LP) -> Path:
    """The unpacked zip, with the folders that hold no photos too."""
    root = folder / "300W_LP"
    for seed, name in enumerate(names):
        points = np.random.default_rng(seed).uniform(100, 350, (2, 68))
        write_pair(root / name, seed, {"pt2d": points})
        landmarks = root / "landmarks" / f"{name}_pts.mat"
        landmarks.parent.mkdir(parents=True, exist_ok=True)
        scipy.io.savemat(landmarks, {"pts_2d": points.T, "pts_3d": points.T})
    (root / "Code").mkdir()
    (root / "Code" / "main.m").write_text("disp hello")
    return folder


def write_aflw2000_3d(folder: Path, count: int = 3) -> Path:
    """The unpacked zip."""
    for seed in range(count):
        rng = np.random.default_rng(seed)
        points = {
            "pt2d": rng.uniform(-1, 450, (2, 21)),
            "pt3d_68": rng.uniform(100, 350, (3, 68)),
        }
        write_pair(folder / "AFLW2000" / f"image{2 * seed + 2:05}", 100 + seed, points)
    return folder


def write_pair(path: Path, seed: int, more: dict[str, np.ndarray]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".jpg").write_bytes(made_up_photo(seed))
    scipy.io.savemat(path.with_suffix(".mat"), made_up_fit(seed) | more)
