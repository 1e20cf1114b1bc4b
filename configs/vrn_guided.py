"""VRN-Guided: the same, with the 68 landmarks as Gaussian channels beside RGB (section 4.3).

    python train.py configs/vrn_guided.py

As in the paper the landmarks are the true ones; --data.landmark-noise-px and
--data.guidance-dropout make it ready for a detector's.

Cost: as vrn.py. Score: not run.
"""

from dataclasses import replace
from pathlib import Path

from vrn_jax.config import ModelConfig
from vrn_jax.presets import load_preset

_base = load_preset(Path(__file__).with_name("vrn.py"))
config = replace(
    _base,
    model=ModelConfig(task="guided"),
    run=replace(_base.run, folder="runs/vrn_guided"),
)
