"""ONNX models on one CPU thread: the same input gives the same bits, whatever else the machine does."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


class InferenceError(ValueError):
    """A model that cannot be loaded, or an input that does not fit it; the message names file and shape."""


class OnnxModel:
    """A loaded network. Needs onnxruntime, of the extra ``models``."""

    def __init__(self, path: str | Path) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise InferenceError("onnxruntime is missing: pip install robotaxi[models]") from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.use_deterministic_compute = True
        options.log_severity_level = 3
        self._path = Path(path)
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has no common base for what it raises
            raise InferenceError(f"{path}: cannot be loaded as an ONNX model: {str(error).splitlines()[0]}") from error
        self.inputs: dict[str, tuple[Any, ...]] = {i.name: tuple(i.shape) for i in self._session.get_inputs()}
        self.outputs: dict[str, tuple[Any, ...]] = {o.name: tuple(o.shape) for o in self._session.get_outputs()}

    def expect(self, inputs: Mapping[str, tuple[int | None, ...]]) -> None:
        """Raises InferenceError when the model's inputs are not these; None stands for any size."""
        for name, shape in inputs.items():
            actual = self.inputs.get(name)
            fits = actual is not None and len(actual) == len(shape)
            if actual is None or not fits or any(
                w is not None and isinstance(a, int) and a != w for a, w in zip(actual, shape, strict=False)
            ):  # fmt: skip
                raise InferenceError(
                    f"{self._path}: expected input '{name}' of shape {shape}, the model has {self.inputs}"
                )

    def __call__(self, **inputs: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Outputs in the model's order. Raises InferenceError for inputs of another shape."""
        try:
            result: list[NDArray[np.float32]] = self._session.run(None, inputs)
        except Exception as error:
            shapes = {name: value.shape for name, value in inputs.items()}
            raise InferenceError(f"{self._path}: inputs {shapes} do not fit {self.inputs}") from error
        return result
