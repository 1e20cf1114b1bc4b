"""The embedded networks under LiteRT."""

import importlib.resources
import threading

import numpy as np
from jaxtyping import Float

__all__ = ["Network"]


class Network:
    """One of the networks in ``assets/``: a float image in, its float32 outputs out.

    `size` is the side of its square input in pixels: that of the file, unless the network is fully
    convolutional. Python's threads may share it: they take turns.
    """

    def __init__(self, name: str, size: int, *, cpu_threads: int = 1):
        from ai_edge_litert.interpreter import Interpreter

        model = (importlib.resources.files("vrn_jax") / "assets" / name).read_bytes()
        self._interpreter = Interpreter(model_content=model, num_threads=cpu_threads)
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._interpreter.resize_tensor_input(self._input, [1, size, size, 3])
        self._interpreter.allocate_tensors()
        self._outputs = [output["index"] for output in self._interpreter.get_output_details()]
        self._lock = threading.Lock()

    def __call__(self, image: Float[np.ndarray, "h w 3"]) -> list[Float[np.ndarray, "..."]]:
        """The outputs, each with a leading dimension of one, for one picture of size x size."""
        with self._lock:
            self._interpreter.set_tensor(self._input, image[None].astype(np.float32))
            self._interpreter.invoke()
            return [self._interpreter.get_tensor(output) for output in self._outputs]
