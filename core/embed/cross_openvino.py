"""The cross-encoder on CPUs: an OpenVINO graph, one request a thread, batches of pairs of similar length."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
import openvino
from tokenizers import Encoding, Tokenizer

from core.embed.cross_encoder import PairScores
from core.embed.graph import PairGraph
from core.embed.openvino_runtime import batches, compiled
from core.embed.weights import Weights


class OpenVinoCrossEncoder:
    """See `core.embed.cross_encoder.CrossEncoder`; the CPU plugin picks the precision."""

    runtime = "openvino"

    def __init__(self, weights: Weights, graph: PairGraph):
        """Reads and compiles the graph."""
        self.name = weights.name
        self.max_tokens = graph.max_tokens
        self._inputs = graph.inputs
        self._local = threading.local()
        self._model = compiled(openvino.Core(), graph.folder, "LATENCY")
        self._tokenizer = Tokenizer.from_file(str(graph.folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(graph.max_tokens, strategy="longest_first")

    def score(self, query: str, texts: Sequence[str]) -> PairScores:
        """See `core.embed.cross_encoder.CrossEncoder.score`."""
        scores = np.empty(len(texts), dtype=np.float64)
        if not texts:
            return PairScores(scores, 0)
        pairs = self._tokenizer.encode_batch([(query, text) for text in texts])
        request = getattr(self._local, "request", None)
        if request is None:
            request = self._local.request = self._model.create_infer_request()
        # No queue of asynchronous requests: its callbacks need Python's lock while the model is being freed under it.
        for rows in batches([len(pair) for pair in pairs]):
            request.infer(self._tensors([pairs[row] for row in rows]))
            scores[rows] = request.get_output_tensor(0).data
        return PairScores(scores, sum(bool(pair.overflowing) for pair in pairs))

    def _tensors(self, pairs: Sequence[Encoding]) -> dict[str, np.ndarray]:
        shape = (len(pairs), max(map(len, pairs)))
        tensors = {name: np.zeros(shape, dtype=np.int64) for name in self._inputs}
        for row, pair in enumerate(pairs):
            given = {"input_ids": pair.ids, "attention_mask": pair.attention_mask, "token_type_ids": pair.type_ids}
            for name in self._inputs:
                tensors[name][row, : len(pair)] = given[name]
        return tensors
