"""The encoder on CPUs: an OpenVINO graph, many batches in flight for passages, one at a time for queries."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import openvino

from core.embed.graph import Graph
from core.embed.together import Together
from core.embed.weights import Weights
from core.tokens import EncoderTokenizer

# Passages are sorted by length and cut into batches of about this many tokens: few enough that the activations of a
# batch stay in the processor's cache, many enough to fill its vector units with short sentences. At 160 tokens a
# passage, batches of 4, 8 and 16 gave 40, 42 and 39 passages a second.
TOKENS_PER_BATCH = 1024
MAX_BATCH = 32


class OpenVinoEmbedder:
    """See `core.embed.Embedder`; the CPU plugin picks the precision (bf16 where the processor has it)."""

    runtime = "openvino"

    def __init__(self, weights: Weights, graph: Graph):
        """Reads the graph; it is compiled on first use, apart for passages (throughput) and queries (latency)."""
        self._graph = graph
        self._core = openvino.Core()
        self._together = Together(self._encode_together)
        self._request: openvino.InferRequest | None = None
        self._compiling = threading.Lock()
        self._compiled: dict[str, openvino.CompiledModel] = {}
        self.name = weights.name
        self.weights_hash = weights.sha256
        self.dimension = graph.dimension
        self.prompts = graph.prompts
        self.tokenizer = EncoderTokenizer(
            graph.folder / "tokenizer.json", graph.max_tokens, graph.lowercase, self.prompts["document"]
        )

    def encode_documents(self, texts: Sequence[str], on_progress: Callable[[int], None] | None = None) -> np.ndarray:
        """See `core.embed.Embedder.encode_documents`."""
        return self._encode_all([self.prompts["document"] + text for text in texts], on_progress)

    def encode_queries(self, texts: Sequence[str]) -> np.ndarray:
        """See `core.embed.Embedder.encode_queries`."""
        return self._encode_all([self.prompts["query"] + text for text in texts], None)

    def _encode_all(self, texts: Sequence[str], on_progress: Callable[[int], None] | None) -> np.ndarray:
        vectors = np.empty((len(texts), self.dimension), dtype=np.float32)
        if not texts:
            return vectors
        ids = self._token_ids(texts)
        model = self._model("THROUGHPUT")
        idle = [model.create_infer_request() for _ in range(model.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))]
        running: deque[tuple[openvino.InferRequest, list[int]]] = deque()

        def finished() -> openvino.InferRequest:
            request, rows = running.popleft()
            request.wait()
            vectors[rows] = request.get_output_tensor(0).data
            if on_progress:
                on_progress(len(rows))
            return request

        # Waited for in their order, not by callbacks: those need Python's lock, which whoever frees the model holds.
        for rows in batches([len(text) for text in ids]):
            request = idle.pop() if idle else finished()
            request.start_async(self._inputs([ids[row] for row in rows]))
            running.append((request, rows))
        while running:
            finished()
        return vectors

    def encode_query(self, text: str) -> np.ndarray:
        """See `core.embed.Embedder.encode_query`."""
        return self._together.encode(self._token_ids([self.prompts["query"] + text])[0])

    def _encode_together(self, ids: list[list[int]]) -> np.ndarray:
        if self._request is None:
            self._request = self._model("LATENCY").create_infer_request()
        self._request.infer(self._inputs(ids))
        return self._request.get_output_tensor(0).data

    def _model(self, hint: str) -> openvino.CompiledModel:
        with self._compiling:
            if hint not in self._compiled:
                self._compiled[hint] = compiled(self._core, self._graph.folder, hint)
            return self._compiled[hint]

    def _token_ids(self, texts: Sequence[str]) -> list[list[int]]:
        limit = self.tokenizer.max_tokens
        return [
            ids if len(ids) <= limit else [*ids[: limit - 1], ids[-1]]  # the last one is the closing special token
            for ids in (encoding.ids for encoding in self.tokenizer.encode(texts))
        ]

    def _inputs(self, batch: list[list[int]]) -> dict[str, np.ndarray]:
        shape = (len(batch), max(map(len, batch)))
        tensors = {name: np.zeros(shape, dtype=np.int64) for name in self._graph.inputs}
        for row, ids in enumerate(batch):
            tensors["input_ids"][row, : len(ids)] = ids
            tensors["attention_mask"][row, : len(ids)] = 1
        return tensors


def compiled(core: openvino.Core, folder: Path, hint: str) -> openvino.CompiledModel:
    """The graph in a folder, ready to run; `hint` is THROUGHPUT or LATENCY."""
    # The cache keeps the compiled form beside the graph: 0.2 s to load instead of 0.45 s to compile.
    options = {"PERFORMANCE_HINT": hint, "CACHE_DIR": str(folder / "compiled")}
    return core.compile_model(folder / "graph.xml", "CPU", options)


def batches(lengths: Sequence[int]) -> list[list[int]]:
    """Rows in batches of similar length, longest first, so that little is spent on padding; lengths are in tokens."""
    rows = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    cut, start = [], 0
    while start < len(rows):
        size = max(1, min(MAX_BATCH, TOKENS_PER_BATCH // max(1, lengths[rows[start]])))
        cut.append(rows[start : start + size])
        start += size
    return cut
