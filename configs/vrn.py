"""VRN as published: the released graph, RMSProp, the paper's augmentation, on made faces.

    python train.py configs/vrn.py

The paper (section 4.1) trains on about 60,000 pairs at a rate of 1e-4, and at 1e-5 after 40 epochs;
the number of epochs in all is not stated, here it is 80. Made faces do not repeat, so an epoch is
60,000 new ones. The batch size is not stated either.

Cost: 4.8 million faces, about 24.5 GMAC forth for each. Score: not run; no accelerator was at hand.
"""

from vrn_jax.config import (
    PAPER_AUGMENTATION,
    ComputeConfig,
    DataConfig,
    FaceSettings,
    OptimConfig,
    RunConfig,
    TrainConfig,
)

config = TrainConfig(
    data=DataConfig(faces=FaceSettings(**PAPER_AUGMENTATION)),
    optim=OptimConfig(kind="rmsprop", learning_rate=1e-4, schedule="step", drop_at=0.5),
    compute=ComputeConfig(batch_size=32, dtype="bfloat16", remat="stacks"),
    run=RunConfig(folder="runs/vrn", steps=150_000, evaluate_every=5000, checkpoint_every=1000),
)
