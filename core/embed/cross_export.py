"""`python -m core.embed.cross_export MODEL_FOLDER TARGET`: a cross-encoder as an OpenVINO graph.

The model's own activation goes into the graph, so its output is the score that sentence-transformers gives a pair.
The graph is kept only if its scores agree with those; otherwise this exits with status 1 and the reason as the last
line of stderr.
"""

from __future__ import annotations

import warnings
from pathlib import Path

from core.embed.export import SAMPLES, convert, inputs_of, max_tokens_of, run, save

# How far a score may be off, as a share of what lies between the samples' lowest and highest: what is left to bf16
# hardware. Where a model tells the samples hardly apart, the least difference that is looked at.
MAX_DEVIATION, LEAST_DEVIATION = 0.02, 0.002
QUERY = "How does an encoder place text in a latent space?"


def main(source: str, target: str) -> None:
    """Export the cross-encoder in folder `source` into folder `target`."""
    warnings.simplefilter("ignore")
    from sentence_transformers import CrossEncoder

    model = CrossEncoder(source, device="cpu", local_files_only=True)
    model.eval()
    tokenizer = getattr(model, "tokenizer", None)
    if not hasattr(tokenizer, "backend_tokenizer"):
        raise ValueError("it has no fast tokenizer")
    if model.num_labels != 1:
        raise ValueError(f"it gives {model.num_labels} scores a pair")
    if any((model.prompts or {}).values()):
        raise ValueError("it puts a prompt in front, which the graph can't do")
    described = {"max_tokens": max_tokens_of(model), "inputs": inputs_of(tokenizer)}
    graph = convert(model, lambda made: model.activation_fn(made["scores"]).reshape(-1), described)
    folder = Path(target)
    save(graph, tokenizer, described, folder)
    verify(model, folder, described)


def verify(model, folder: Path, described: dict) -> None:
    """Raise `ValueError` where the graph in `folder` doesn't give the model's scores."""
    import numpy as np

    from core.embed.cross_openvino import OpenVinoCrossEncoder
    from core.embed.graph import PairGraph
    from core.embed.weights import Weights

    ours = OpenVinoCrossEncoder(Weights("exported", folder, ""), PairGraph(folder=folder, **described))
    texts = [*SAMPLES, QUERY]
    scores = ours.score(QUERY, texts).scores
    theirs = model.predict([(QUERY, text) for text in texts], show_progress_bar=False).astype(np.float64)
    deviation = float(np.max(np.abs(scores - theirs)))
    limit = max(MAX_DEVIATION * float(np.ptp(theirs)), LEAST_DEVIATION)
    if not deviation <= limit:
        raise ValueError(f"its exported graph differs from the original (by {deviation:.4f}, limit {limit:.4f})")


if __name__ == "__main__":
    run(main)
