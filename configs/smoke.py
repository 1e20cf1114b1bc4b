"""A small network on a fixed pool of faces: does training work on this machine?

    python train.py configs/smoke.py

One stack with 64 features (0.8 million parameters) on crops of half the resolution, which costs a
quarter and learns in fewer steps. 256 faces are made once and drawn from, placed less carefully
than elsewhere, so that the network has to look where they are: the held-out IoU must end above that
of the best constant volume, which summary.json has too. preview.png shows held-out faces.

Cost: 2 min 35 s on two idle CPU cores, compilation and making the faces included (November
23 2026, commit 3ab2fdf). Score: held-out IoU .559, where the best constant volume has .450.
"""

from vrn_jax.config import (
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
    data=DataConfig(pool=256, faces=FaceSettings(shift_px=24.0, zoom=(0.75, 1.2))),
    optim=OptimConfig(
        kind="adamw",
        learning_rate=1e-2,
        schedule="cosine",
        warmup_steps=10,
        clip_norm=1.0,
        ema_decay=0.95,
    ),
    compute=ComputeConfig(batch_size=4, norm="image", loss_planes=200, loss_stride=8),
    run=RunConfig(
        folder="runs/smoke",
        steps=360,
        log_every=20,
        evaluate_every=180,
        evaluate_samples=48,
        checkpoint_every=180,
    ),
)
