"""The weights to be released: guided, one stack, a modern schedule.

    python train.py configs/release.py

One stack loses little in the paper's own ablation (NME .0621 for one, .0632 for three) and halves
the time of a photo. The landmarks get errors of the size of the detector's, and a share of the
samples gets none, so that the network also works where no landmarks are found. Portraits on the
faces (--data.textures FILE of `vrn data textures`) are wanted for a release.

Cost: 1.9 million faces; at the 1,000 images/s that a prototype of this network reached on one H100,
32 minutes and the time to compile. A run that is stopped goes on from its last checkpoint. Score:
not run; no accelerator was at hand.
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
    model=ModelConfig(task="guided", stacks=1),
    data=DataConfig(faces=FaceSettings(), landmark_noise_px=1.5, guidance_dropout=0.25),
    optim=OptimConfig(
        kind="adamw",
        learning_rate=1e-3,
        schedule="cosine",
        warmup_steps=1000,
        weight_decay=0.01,
        clip_norm=1.0,
        ema_decay=0.999,
    ),
    compute=ComputeConfig(batch_size=64, dtype="bfloat16"),
    run=RunConfig(
        folder="runs/release",
        steps=30_000,
        log_every=50,
        evaluate_every=2500,
        evaluate_samples=512,
        checkpoint_every=500,
    ),
)
