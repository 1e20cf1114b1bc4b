import dataclasses
import json

import pytest

from vrn_jax.config import ModelConfig
from vrn_jax.geometry.grid import VolumeGrid
from vrn_jax.interop.info import WeightsInfo
from vrn_jax.presets import from_dict


def test_nested_settings_survive_json():
    info = WeightsInfo(
        "n", "MIT", "made up", ModelConfig("guided", 3), VolumeGrid(origin_plane=5.0)
    )
    assert from_dict(WeightsInfo, json.loads(json.dumps(dataclasses.asdict(info)))) == info


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"stack": 2}, "no field stack"),
        ({"task": "landmarks"}, "task must be one of"),
        ({"stacks": "2"}, "stacks must be of type int"),
        ({"features": 7}, "even"),
        ({"task": "multitask", "stacks": 1}, "two at least"),
        ([], "must be an object"),
    ],
)
def test_wrong_settings_are_named(values, message):
    with pytest.raises(ValueError, match=message):
        from_dict(ModelConfig, values)
