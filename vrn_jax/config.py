"""Settings as frozen dataclasses of plain values."""

from dataclasses import dataclass
from typing import Any, Literal

from vrn_jax.errors import InputError

__all__ = [
    "PAPER_AUGMENTATION",
    "ComputeConfig",
    "DataConfig",
    "FaceSettings",
    "Followed",
    "Layout",
    "ModelConfig",
    "Norm",
    "OptimConfig",
    "Remat",
    "RunConfig",
    "Task",
    "TrainConfig",
    "Upsampling",
    "VideoSettings",
]

Task = Literal["unguided", "guided", "multitask"]
"""The three networks of the paper (section 4): image only; image and landmark channels in; image
in, volume and landmarks out."""

Norm = Literal["running", "batch", "image"]
"""Which statistics batch normalisation uses: the stored running averages; those of the batch, which
also update the averages; or those of each image alone, whatever the batch it travels in."""

Remat = Literal["none", "stacks", "blocks"]
"""What the backward pass computes again instead of keeping it; see `ComputeConfig`."""

Upsampling = Literal["align_corners", "half_pixel", "asymmetric"]
"""Where output i of N lies among n samples: at i (n - 1) / (N - 1), so that the first and the last
sample stay where they are (Torch7, and so the official network); at (i + 1/2) n / N - 1/2, where
the outer borders of the pixels agree (PyTorch since 0.4, `jax.image.resize`); or at i n / N
(TensorFlow 1 and the Keras port). Positions outside of the samples take the nearest one."""


@dataclass(frozen=True)
class ModelConfig:
    """Which network. The defaults are the released VRN: 19,184,968 parameters."""

    task: Task = "unguided"
    """Which of the paper's three networks."""
    stacks: int = 2
    """Hourglasses between the image and the volume."""
    features: int = 256
    """Channels at 48x48 pixels; residual blocks work at half of it. Even."""
    depth: int = 200
    """Depth planes of the volume."""
    landmarks: int = 68
    """Landmark channels of the guided and multitask networks."""
    shrink: int = 1
    """Crops are first averaged over squares of so many pixels: with 2 everything takes a quarter of
    the time, sees twice as far, and is half as fine. Not of the paper."""

    @property
    def stride(self) -> int:
        """Crop pixels to a cell of the logits."""
        return 4 * self.shrink

    def __post_init__(self) -> None:
        if self.features % 2 or min(self.stacks, self.features, self.depth, self.landmarks) < 1:
            raise ValueError(f"sizes must be positive and features even, got {self}")
        if self.shrink not in (1, 2, 3, 4):
            raise ValueError(f"shrink must be 1, 2, 3 or 4, got {self.shrink}")
        if self.task == "multitask" and self.stacks < 2:
            raise ValueError(
                f"the multitask network forks after a first stack: two at least, got {self}"
            )


@dataclass(frozen=True)
class FaceSettings:
    """How made faces vary. Angles in degrees, lengths in crop pixels, shares and chances in [0, 1].

    A range (low, high) is drawn from uniformly. The defaults cover what photos of people show.
    """

    uniform_yaw_share: float = 0.5
    """Share of samples with yaw uniform in +-`max_yaw_deg`; the others are normal."""
    max_yaw_deg: float = 90.0
    """Largest turn to a side."""
    yaw_deg: float = 26.0
    """Standard deviation of the normal share."""
    pitch_deg: float = 13.0
    """Standard deviation of the nod."""
    roll_deg: float = 13.0
    """Standard deviation of the tilt, of the head itself; at most 45."""
    turn_deg: float = 0.0
    """The finished crop is turned by up to this much to either side (the paper: 45)."""
    shift_px: float = 7.0
    """The crop is moved by up to this much in x and y (the paper: 15)."""
    zoom: tuple[float, float] = (0.88, 1.12)
    """The crop is scaled by this (the paper: 0.85 to 1.15)."""
    flip_chance: float = 0.2
    """Of mirroring the finished sample, as in the paper."""
    colour_scale: tuple[float, float] = (0.88, 1.14)
    """Each colour channel is scaled by this (the paper: 0.6 to 1.4)."""
    identity_spread: float = 1.7
    """Scales how far identities lie from the mean head. As it is, the mean head errs as much in
    depth on made faces as on photos of people (`vrn bench faces`)."""
    expression_chance: float = 0.12
    """Of each single expression being there."""
    portrait_share: float = 0.7
    """Share of samples that wear a portrait's colours, where there are portraits."""
    hair_chance: float = 0.8
    """Of hair that stands off the head."""
    hat_chance: float = 0.06
    """Of a hat."""
    glasses_chance: float = 0.22
    """Of glasses; a fifth of them are dark."""
    beard_chance: float = 0.3
    """Of a beard, stubble or moustache, where the colours are not a portrait's."""
    occluder_chance: float = 0.15
    """Of a hand or another thing in front of the face."""


PAPER_AUGMENTATION: dict[str, Any] = {
    "roll_deg": 0.0,
    "turn_deg": 45.0,
    "shift_px": 15.0,
    "zoom": (0.85, 1.15),
    "flip_chance": 0.2,
    "colour_scale": (0.6, 1.4),
}
"""Fields of `FaceSettings` as in the paper: `FaceSettings(**PAPER_AUGMENTATION)`."""


@dataclass(frozen=True)
class DataConfig:
    """Made faces, or a prepared data set. Sample i of a seed is the same wherever it is made."""

    head: str | None = None
    """File of the morphable head (`vrn data head`); None takes the one that comes with vrn_jax."""
    textures: str | None = None
    """File of portraits that the faces wear (`vrn data textures`); None draws all skin."""
    faces: FaceSettings = FaceSettings()
    """How the faces vary."""
    seed: int = 0
    """Of the faces, of the order of a pool, and of the first weights."""
    dataset: str | None = None
    """Folder of a data set (`vrn data prepare`, `vrn data export`) to train on in the place of made
    faces; of `faces` only the augmentation counts then."""
    split: str = "train"
    """Of the data set, to train on."""
    held_out_split: str | None = None
    """Of the data set, to evaluate on; None evaluates on made faces."""
    bfm: str | None = None
    """Folder with Model_Shape.mat and Model_Exp.mat, for data sets of fits."""
    bfm_region: str | None = None
    """File with the numbers of the model's vertices that belong to the face; None goes by its
    landmarks."""
    most_skipped: float = 0.01
    """Share of the data set's records that may turn out to be damaged; more stop the run."""
    pool: int = 0
    """Make so many faces once and draw every batch from them; 0 makes new ones in every step."""
    landmark_noise_px: float = 0.0
    """Guided only: standard deviation of the error put on every landmark, crop pixels."""
    guidance_dropout: float = 0.0
    """Guided only: share of the samples that get no landmarks at all."""


@dataclass(frozen=True)
class OptimConfig:
    """How gradients become updates."""

    kind: Literal["rmsprop", "adamw"] = "rmsprop"
    """RMSProp is the paper's, with Torch7's decay and epsilon."""
    learning_rate: float = 1e-4
    """The highest of the schedule."""
    schedule: Literal["step", "cosine"] = "step"
    """Constant, then a tenth of it (the paper); or a linear rise, then half a cosine to zero."""
    drop_at: float = 0.5
    """Of "step" only: share of the run after which the rate drops."""
    warmup_steps: int = 0
    """Of "cosine" only: steps of the rise."""
    weight_decay: float = 0.0
    """AdamW only, of convolution kernels."""
    clip_norm: float | None = None
    """Largest global norm of the gradients."""
    accumulate: int = 1
    """Batches whose gradients are averaged for one update."""
    ema_decay: float = 0.0
    """Of the moving average of the weights, which is what is evaluated and written; 0 for none. At
    step t at most (1 + t) / (10 + t), so that short runs forget the first weights."""


@dataclass(frozen=True)
class ComputeConfig:
    """How the step is computed, which changes its cost and its rounding."""

    batch_size: int = 64
    """Samples whose gradients are computed at once, over all devices."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of the network's arithmetic; weights, statistics and losses are float32 in any case."""
    norm: Literal["batch", "image"] = "batch"
    """Statistics of batch normalisation in training: of the batch, or of each image alone."""
    norm_devices: int = 1
    """Of "batch" only: so many devices share statistics. 1 is the original's way, each normalises
    its share of the batch by itself; 0 stands for all, which equals a single device."""
    fsdp: int = 1
    """Weights, their average and the optimizer's moments are split over so many devices."""
    remat: Remat = "none"
    """What is computed again in the backward pass instead of being kept. "stacks": of every
    hourglass all but its input, which takes half of the memory and, where memory traffic is what
    takes the time, less of that too; "blocks": all but the inputs of the residual blocks. Either
    takes a third more arithmetic."""
    loss_planes: int = 20
    """Depth planes of a sample that the loss looks at at once; a divisor of the volume's."""
    loss_stride: int = 1
    """The loss looks at every so-manieth row and column."""


@dataclass(frozen=True)
class RunConfig:
    """What is run and kept. These fields may change when a run is resumed."""

    folder: str = "runs/vrn"
    """Where everything is written. A run found there is resumed."""
    steps: int = 1000
    """Updates of the weights."""
    init_from: str | None = None
    """Weights to start from: an embedded name or a .safetensors file of the same network."""
    log_every: int = 50
    """Steps between lines in the logs."""
    evaluate_every: int = 1000
    """Steps between evaluations on held-out faces."""
    evaluate_samples: int = 256
    """Held-out faces."""
    checkpoint_every: int = 1000
    """Steps between checkpoints."""
    keep_last: int = 2
    """Checkpoints kept beside the best one by IoU."""
    read_threads: int = 8
    """That decode a data set, in every process that does."""
    read_processes: int = 0
    """That decode a data set beside the training process; 0 decodes in threads of that one."""
    profile: bool = False
    """Write a trace of a few steps for xprof."""


@dataclass(frozen=True)
class TrainConfig:
    """Everything that defines a training run."""

    model: ModelConfig = ModelConfig()
    """The network."""
    data: DataConfig = DataConfig()
    """The faces."""
    optim: OptimConfig = OptimConfig()
    """The optimizer."""
    compute: ComputeConfig = ComputeConfig()
    """The arithmetic."""
    run: RunConfig = RunConfig()
    """The run."""


Followed = Literal["largest", "all"]
"""Which faces of a video: the largest one when it is found, until it is lost; or all."""

Layout = Literal["over", "side"]
"""Of a video: shapes over their faces; or beside the picture, as the camera sees it and turned."""


@dataclass(frozen=True)
class VideoSettings:
    """What to make of a video."""

    view: Layout = "over"
    """The shape over the face, or beside the picture: as the camera sees it, and turned."""
    faces: Followed = "largest"
    """Follow the face that is the largest when it is found, until it is lost; or all faces, of
    which "side" shows the first."""
    opacity: float = 0.9
    """Of the shape over the face, 0 to 1."""
    smooth: bool = True
    """Average over time what does not move."""
    batch: int = 8
    """Frames that are decoded ahead, and go to an accelerator at once; on a CPU one by one."""

    def __post_init__(self) -> None:
        if not (0 <= self.opacity <= 1 and self.batch >= 1):
            raise InputError(f"opacity lies in 0 to 1 and a batch is 1 or more, got {self}")
