"""The released VRN written once more, as the recursion of the Torch7 release and layer by layer.

Knows nothing of the package's modules: it reads one named tensor a layer (`interop.mapping`) and
uses bare convolutions. Running statistics only.
"""

import jax
import jax.numpy as jnp
import numpy as np


class ReferenceVRN:
    def __init__(self, tensors: dict[str, np.ndarray], stacks: int):
        self.tensors = tensors
        self.stacks = stacks

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.head("head", self.trunk(x, self.stacks))

    def landmarks(self, x: jax.Array) -> jax.Array:
        fork = self.trunk(x, self.stacks - 1)
        return self.head("landmark_head", self.stack("landmark_stack", fork))

    def trunk(self, x: jax.Array, stacks: int) -> jax.Array:
        x = self.bn_relu("stem.bn", self.conv("stem.conv", x, stride=2))
        x = max_pool(self.residual("stem.res0", x))
        x = self.residual("stem.res2", self.residual("stem.res1", x))
        for s in range(stacks):
            x = self.stack(f"stack{s}", x)
        return x

    def stack(self, name: str, x: jax.Array) -> jax.Array:
        y = self.hourglass(f"{name}.hourglass", x, level=1)
        for i in range(2):
            y = self.bn_relu(f"{name}.bn{i}", self.conv(f"{name}.conv{i}", y))
        return x + y

    def hourglass(self, name: str, x: jax.Array, level: int) -> jax.Array:
        a, b = x, max_pool(x)
        for i in range(3):
            a = self.residual(f"{name}.skip{i}", a)
        if level < 4:
            a = self.hourglass(f"{name}.inner", a, level + 1)
        for i in range(6 if level < 4 else 9):
            b = self.residual(f"{name}.pooled{i}", b)
        b = b.repeat(2, axis=1).repeat(2, axis=2)
        return self.residual(f"{name}.merge", a + b)

    def residual(self, name: str, x: jax.Array) -> jax.Array:
        y = x
        for i in range(3):
            y = self.conv(f"{name}.conv{i}", self.bn_relu(f"{name}.bn{i}", y))
        if f"{name}.project.kernel" in self.tensors:
            x = self.conv(f"{name}.project", x)
        return x + y

    def head(self, name: str, x: jax.Array) -> jax.Array:
        return self.conv(f"{name}.out", self.bn_relu(f"{name}.bn", self.conv(f"{name}.conv", x)))

    def conv(self, name: str, x: jax.Array, stride: int = 1) -> jax.Array:
        kernel = self.tensors[f"{name}.kernel"]
        pad = kernel.shape[0] // 2
        y = jax.lax.conv_general_dilated(
            x,
            kernel,
            (stride, stride),
            [(pad, pad), (pad, pad)],
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        return y + self.tensors[f"{name}.bias"].reshape(1, 1, 1, -1)

    def bn_relu(self, name: str, x: jax.Array) -> jax.Array:
        scale, bias, mean, var = (
            self.tensors[f"{name}.{part}"].reshape(1, 1, 1, -1)
            for part in ("scale", "bias", "mean", "var")
        )
        return jnp.maximum((x - mean) / np.sqrt(var + 1e-5) * scale + bias, 0)


def max_pool(x: jax.Array) -> jax.Array:
    b, h, w, c = x.shape
    return x.reshape(b, h // 2, 2, w // 2, 2, c).max(axis=(2, 4))
