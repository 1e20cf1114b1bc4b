"""A small network on a fixed pool of faces: does training work on this machine?

    python train.py configs/smoke.py

One stack with 32 features (0.3 million parameters); 192 faces are made once and drawn from.
Cost: about 380 CPU seconds on a shared machine, compilation and making the faces included. Score:
not yet what it should be. 60 steps at this rate reach a held-out IoU of .30, where the best
constant volume has .62.
"""

from vrn_jax.config import (
    ComputeConfig,
    DataConfig,
    ModelConfig,
    OptimConfig,
    RunConfig,
    TrainConfig,
)

config = TrainConfig(
    model=ModelConfig(stacks=1, features=32),
    data=DataConfig(pool=192),
    optim=OptimConfig(
        kind="adamw",
        learning_rate=3e-2,
        schedule="cosine",
        warmup_steps=10,
        clip_norm=1.0,
        ema_decay=0.95,
    ),
    compute=ComputeConfig(batch_size=8, loss_stride=2),
    run=RunConfig(
        folder="runs/smoke",
        steps=120,
        log_every=10,
        evaluate_every=60,
        evaluate_samples=48,
        checkpoint_every=60,
    ),
)
