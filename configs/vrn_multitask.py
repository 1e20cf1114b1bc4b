"""VRN-Multitask: volume and 68 landmark heatmaps, cross entropy on both, equally weighted (4.2).

    python train.py configs/vrn_multitask.py

Cost: one and a half times that of vrn.py: three hourglasses. Score: not run.
"""

from dataclasses import replace
from pathlib import Path

from vrn_jax.config import ModelConfig
from vrn_jax.presets import load_preset

_base = load_preset(Path(__file__).with_name("vrn.py"))
config = replace(
    _base,
    model=ModelConfig(task="multitask"),
    run=replace(_base.run, folder="runs/vrn_multitask"),
)
