"""What accelerators can do, by their makers' data sheets, for estimates of a step's time."""

from dataclasses import dataclass

__all__ = ["CHIPS", "Chip", "chip_of"]


@dataclass(frozen=True)
class Chip:
    """What one JAX device has. Bytes and FLOP are not rounded to powers of two."""

    name: str
    memory_bytes: float
    memory_bytes_per_s: float
    bfloat16_flops_per_s: float
    link_bytes_per_s: float
    """To other chips, all links and one direction together."""
    source: str


_TPU = "https://cloud.google.com/tpu/docs/"

CHIPS = {
    "TPU v4": Chip("v4", 32e9, 1228e9, 275e12, 300e9, _TPU + "v4"),
    "TPU v5 lite": Chip("v5e", 16e9, 819e9, 197e12, 200e9, _TPU + "v5e"),
    "TPU v5": Chip("v5p", 95e9, 2765e9, 459e12, 600e9, _TPU + "v5p"),
    "TPU v6 lite": Chip("v6e", 32e9, 1640e9, 918e12, 448e9, _TPU + "v6e"),
}
"""By JAX's `device_kind`."""


def chip_of(device_kind: str) -> Chip | None:
    """The data sheet, None for what is not in the table, such as a CPU."""
    return CHIPS.get(device_kind)
