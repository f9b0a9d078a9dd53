"""A map from full vectors to shorter ones, as plain matrices: fitted elsewhere, stored with the index, applied here."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

_MATRICES = ("weight", "bias", "hidden_weight", "hidden_bias", "hidden_out")


@dataclass(frozen=True, slots=True, eq=False)
class Projection:
    """`x @ weight + bias + relu(x @ hidden_weight + hidden_bias) @ hidden_out`, scaled to length 1.

    Shapes are (n_inputs, n_outputs), (n_outputs,), (n_inputs, n_hidden), (n_hidden,) and (n_hidden, n_outputs); a
    linear map has n_hidden = 0. `method` says how it was fitted. Make it with `Projection.of`, which rounds to the
    precision that is stored, so that a map read back gives the same vectors.
    """

    method: str
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    hidden_weight: NDArray[np.float32]
    hidden_bias: NDArray[np.float32]
    hidden_out: NDArray[np.float32]

    @classmethod
    def of(
        cls,
        method: str,
        weight: NDArray[np.floating],
        bias: NDArray[np.floating] | None = None,
        hidden: tuple[NDArray[np.floating], NDArray[np.floating], NDArray[np.floating]] | None = None,
    ) -> Self:
        """A projection of matrices in any precision; without `bias` and `hidden` (weight, bias, out) it is linear."""
        n_inputs, n_outputs = weight.shape
        bias = np.zeros(n_outputs) if bias is None else bias
        hidden = hidden or (np.zeros((n_inputs, 0)), np.zeros(0), np.zeros((0, n_outputs)))
        return cls(method, *(np.asarray(part, np.float16).astype(np.float32) for part in (weight, bias, *hidden)))

    @property
    def n_inputs(self) -> int:
        """Dimension of what it takes."""
        return self.weight.shape[0]

    @property
    def n_outputs(self) -> int:
        """Dimension of what it gives."""
        return self.weight.shape[1]

    @property
    def label(self) -> str:
        """How a fingerprint names it, such as `pca:128`."""
        return f"{self.method}:{self.n_outputs}"

    @property
    def digest(self) -> str:
        """SHA-256 of all that it consists of, in hexadecimal digits."""
        return sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()

    def code(self, vectors: NDArray[np.floating]) -> NDArray[np.float32]:
        """The shorter vectors before they are scaled to length 1, float32, shape (…, n_outputs)."""
        full = np.asarray(vectors, dtype=np.float32)
        hidden = np.maximum(full @ self.hidden_weight + self.hidden_bias, 0)
        return full @ self.weight + self.bias + hidden @ self.hidden_out

    def project(self, vectors: NDArray[np.floating]) -> NDArray[np.float32]:
        """The shorter vectors of length 1, float32, shape (…, n_outputs); a vector that maps to zero stays zero."""
        code = self.code(vectors)
        length = np.linalg.norm(code, axis=-1, keepdims=True)
        return code / np.where(length > 0, length, 1)

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values: each matrix as float16, little-endian, row by row, in base64."""
        matrices = {name: getattr(self, name) for name in _MATRICES}
        return {
            "method": self.method,
            "shape": [self.n_inputs, self.n_outputs, len(self.hidden_bias)],
            **{name: b64encode(matrix.astype("<f2").tobytes()).decode() for name, matrix in matrices.items()},
        }

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Self:
        """What `to_json` gave."""
        n_inputs, n_outputs, n_hidden = stored["shape"]
        shapes = ((n_inputs, n_outputs), (n_outputs,), (n_inputs, n_hidden), (n_hidden,), (n_hidden, n_outputs))
        flat = (np.frombuffer(b64decode(stored[name]), dtype="<f2") for name in _MATRICES)
        matrices = (part.astype(np.float32).reshape(shape) for part, shape in zip(flat, shapes, strict=True))
        return cls(stored["method"], *matrices)
