"""The data sets that are made of 300W-LP and AFLW2000-3D."""

from pathlib import Path
from typing import Any

import numpy as np

from vrn_jax.data.archive import (
    Archive,
    FitFiles,
    is_test_portion,
    list_300w_lp,
    list_aflw2000_3d,
)
from vrn_jax.data.fit_record import encode_fit, fit_features, read_fit
from vrn_jax.data.prepare import DataSetCard, Encoded, Preparation
from vrn_jax.metrics.statistics import YAW_BINS, yaw_bin

__all__ = ["FIT_DATA_SETS", "prepare_300w_lp", "prepare_aflw2000_3d"]

FIT_DATA_SETS = {"vrn_300w_lp": "1.0.0", "vrn_aflw2000_3d": "1.0.0"}
"""Versions of the features, by name."""

_HOMEPAGE = "http://www.cbsr.ia.ac.cn/users/xiangyuzhu/projects/3DDFA/main.htm"

_CITATION = """@inproceedings{zhu2016face,
  title = {Face Alignment Across Large Poses: A {3D} Solution},
  author = {Zhu, Xiangyu and Lei, Zhen and Liu, Xiaoming and Shi, Hailin and Li, Stan Z.},
  booktitle = {Conference on Computer Vision and Pattern Recognition (CVPR)},
  year = {2016},
}"""

_LICENCE = """vrn_jax adds no terms of its own. The photos and fits belong to others and were \
downloaded by whoever prepared this folder; for research, as their publishers say. Not to be \
passed on."""

_FEATURES = """image: the photo's own JPEG. size: its height and width. shape, expression, pose:
Shape_Para, Exp_Para and Pose_Para, for the Basel Face Model in 3DDFA's layout (Model_Shape.mat,
Model_Exp.mat); pose is pitch, yaw, roll (radians), tx, ty, tz, scale."""

_ABOUT_300W_LP = f"""300W-LP (Zhu et al. 2016) as prepared by vrn_jax.

{_FEATURES} landmarks: pt2d, photo pixels from 0.

train: all but the test portions of HELEN and LFPW, as VRN was trained. train_flip: its mirrored
photos. test_portion, test_portion_flip: those portions; LFPW's by their names (LFPW_image_test_*),
HELEN's by the order of their names (see vrn_jax.data.archive.is_test_portion)."""

_ABOUT_AFLW2000_3D = f"""AFLW2000-3D (Zhu et al. 2016) as prepared by vrn_jax.

{_FEATURES} landmarks: pt3d_68 (x, y, z), photo pixels, x and y from 0."""


def prepare_300w_lp(source: Path, folder: Path, **options: Any) -> Preparation:
    """`vrn_300w_lp` of 300W-LP's zip file or folder. `options` are those of `Preparation`.

    Raises:
        InputError: if there is no 300W-LP, or the folder cannot take the data set.
    """
    archive = Archive(source)
    splits: dict[str, list[FitFiles]] = {
        name: [] for name in ("train", "train_flip", "test_portion", "test_portion_flip")
    }
    for files in list_300w_lp(archive):
        flip = "_flip" if files.subset.endswith("_Flip") else ""
        splits[f"{'test_portion' if is_test_portion(files.name) else 'train'}{flip}"].append(files)
    splits = {name: files for name, files in splits.items() if files}
    card = _card("vrn_300w_lp", _ABOUT_300W_LP, 2)
    return _preparation(archive, folder, card, splits, options)


def prepare_aflw2000_3d(source: Path, folder: Path, **options: Any) -> Preparation:
    """`vrn_aflw2000_3d` of AFLW2000-3D's zip file or folder; as `prepare_300w_lp`.

    Raises:
        InputError: if there is no AFLW2000-3D, or the folder cannot take the data set.
    """
    archive = Archive(source)
    card = _card("vrn_aflw2000_3d", _ABOUT_AFLW2000_3D, 3)
    return _preparation(archive, folder, card, {"test": list_aflw2000_3d(archive)}, options)


def _card(name: str, about: str, landmark_numbers: int) -> DataSetCard:
    return DataSetCard(
        name,
        FIT_DATA_SETS[name],
        fit_features(landmark_numbers),
        about,
        _HOMEPAGE,
        _CITATION,
        _LICENCE,
    )


def _preparation(
    archive: Archive,
    folder: Path,
    card: DataSetCard,
    splits: dict[str, list[FitFiles]],
    options: dict[str, Any],
) -> Preparation:
    def encode(files: FitFiles) -> Encoded:
        fit = read_fit(archive, files)
        yaw = YAW_BINS[int(yaw_bin(np.rad2deg(fit.pose[1:2]))[0])]
        facts = {"subset": files.subset} if files.subset else {}
        return Encoded(encode_fit(fit), facts | {"yaw": yaw, "size": "x".join(map(str, fit.size))})

    plan = {"data": card.name, "files": len(archive.names)}
    return Preparation(folder, card, splits, encode, plan=plan, **options)
