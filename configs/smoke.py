"""A small network on a fixed pool of faces: does training work on this machine?

    python train.py configs/smoke.py

One stack with 32 features (0.3 million parameters). Cost: 5.3 minutes of CPU time, compilation and
making the faces included; under 4 minutes on 2 cores that do nothing else, by calculation. Score:
the loss falls from 0.75 to 0.29, and the held-out IoU stays below that of the best constant volume
(.60): this shows that training works, and makes no useful weights.
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
        learning_rate=3e-3,
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
