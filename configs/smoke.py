"""A small network on a fixed pool of faces: does training work on this machine?

    python train.py configs/smoke.py

One stack with 64 features (0.6 million parameters) on crops of half the resolution, which costs a
quarter and learns in fewer steps; 256 faces, augmented as in the paper, are made once and drawn
from. The held-out IoU must end well above that of the best constant volume, which summary.json has
too; the preview shows held-out faces.
"""

from vrn_jax.config import (
    PAPER_AUGMENTATION,
    ComputeConfig,
    DataConfig,
    FaceSettings,
    ModelConfig,
    OptimConfig,
    RunConfig,
    TrainConfig,
)

config = TrainConfig(
    model=ModelConfig(stacks=1, features=64, shrink=2),
    data=DataConfig(pool=256, faces=FaceSettings(**PAPER_AUGMENTATION)),
    optim=OptimConfig(
        kind="adamw",
        learning_rate=1e-2,
        schedule="cosine",
        warmup_steps=10,
        clip_norm=1.0,
        ema_decay=0.95,
    ),
    compute=ComputeConfig(batch_size=4, norm="image", loss_stride=8),
    run=RunConfig(
        folder="runs/smoke",
        steps=400,
        log_every=20,
        evaluate_every=200,
        evaluate_samples=48,
        checkpoint_every=200,
    ),
)
