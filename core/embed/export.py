"""`python -m core.embed.export MODEL_FOLDER TARGET`: a sentence-transformers model as an OpenVINO graph.

The whole pipeline goes into the graph (transformer, pooling, dense layers, normalisation), so a vector is one call.
The graph is kept only if its vectors agree with sentence-transformers' own; otherwise this exits with status 1 and
the reason as the last line of stderr.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

MAX_WINDOW = 8192
MIN_COSINE = 0.9995  # what OpenVINO on bf16 hardware keeps with room to spare (0.99997 seen)
SAMPLES = [
    "A short one.",
    "The encoder places text in a latent space where nearness means similarity, and retrieval relies on it.",
    "def open_index(path: str, *, create: bool = False) -> Index: ...",
    "Größe, naïve café, 検索エンジン, поиск; numbers like 3.14159 and names like __set_name__ or HTTP/2.",
    " ".join(["Long passages fill the window up to its limit, sentence after sentence, so that masks matter."] * 9),
]


def main(source: str, target: str) -> None:
    """Export the model in folder `source` into folder `target`."""
    warnings.simplefilter("ignore")
    import torch
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(source, device="cpu", local_files_only=True)
    model.eval()
    transformer = model[0]
    tokenizer = getattr(model, "tokenizer", None)
    if not hasattr(tokenizer, "backend_tokenizer"):
        raise ValueError("it has no fast tokenizer")
    prompts = prompts_of(model)
    if any(prompts.values()) and not getattr(model[1], "include_prompt", True):
        raise ValueError("its pooling leaves the prompt out, which the graph can't do")
    described = {
        "dimension": int(model.get_embedding_dimension()),
        "max_tokens": max_tokens_of(model),
        "prompts": prompts,
        "lowercase": bool(getattr(transformer, "do_lower_case", False)),
        "inputs": inputs_of(tokenizer),
    }
    graph = convert(model, lambda made: torch.nn.functional.normalize(made["sentence_embedding"], dim=-1), described)
    folder = Path(target)
    save(graph, tokenizer, described, folder)
    _verify(model, folder, described)


def max_tokens_of(model) -> int:
    """The tokens that the model reads of a text, special tokens included; a model without a limit gets a sane one."""
    return int(min(model.max_seq_length or MAX_WINDOW, MAX_WINDOW))


def prompts_of(model) -> dict[str, str]:
    """The texts that `encode_query` and `encode_document` put in front, by sentence-transformers' own rules.

    A prompt of that name wins even where it is empty; the default prompt fills in only where there is none.
    """
    prompts = model.prompts or {}
    default = prompts.get(model.default_prompt_name) if model.default_prompt_name else None
    names = {"query": ["query"], "document": ["document", "passage", "corpus"]}
    return {
        role: next((prompts[name] for name in known if name in prompts), default) or "" for role, known in names.items()
    }


def inputs_of(tokenizer) -> list[str]:
    """The tensors that the model reads, in the order in which its graph takes them."""
    return [name for name in ("input_ids", "attention_mask", "token_type_ids") if name in tokenizer.model_input_names]


def convert(model, finish: Callable, described: dict):
    """The OpenVINO graph of a model's stages; `finish` makes its output of what the last stage left."""
    import openvino
    import torch

    inputs, max_tokens = described["inputs"], described["max_tokens"]

    class Pipeline(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.stages = torch.nn.ModuleList(model)

        def forward(self, *tensors):
            features = dict(zip(inputs, tensors, strict=True))
            for stage in self.stages:
                features = stage(features)
            return finish(features)

    shape = (3, min(17, max_tokens))
    example = {
        "input_ids": torch.randint(5, 100, shape),
        "attention_mask": torch.ones(shape, dtype=torch.long),
        "token_type_ids": torch.zeros(shape, dtype=torch.long),
    }
    sizes = {0: torch.export.Dim("batch", min=1, max=4096), 1: torch.export.Dim("tokens", min=2, max=max_tokens)}
    with torch.no_grad():
        program = torch.export.export(
            Pipeline().eval(), tuple(example[name] for name in inputs), dynamic_shapes=((sizes,) * len(inputs),)
        )
    graph = openvino.convert_model(program)
    for name, port in zip(inputs, graph.inputs, strict=True):
        port.get_tensor().set_names({name})
    return graph


def save(graph, tokenizer, described: dict, folder: Path) -> None:
    """Write a graph with all that is needed to run it."""
    import openvino

    openvino.save_model(graph, folder / "graph.xml", compress_to_fp16=False)
    tokenizer.backend_tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "encoder.json").write_text(json.dumps(described), encoding="utf-8")


def _verify(model, folder: Path, described: dict) -> None:
    import numpy as np

    from core.embed.graph import Graph
    from core.embed.openvino_runtime import OpenVinoEmbedder
    from core.embed.weights import Weights

    graph = Graph(folder=folder, **described)
    ours = OpenVinoEmbedder(Weights("exported", folder, ""), graph).encode_documents(SAMPLES)
    prompt = described["prompts"]["document"]
    theirs = model.encode(SAMPLES, prompt=prompt, normalize_embeddings=True, show_progress_bar=False)
    cosine = float(np.min(np.sum(ours * theirs, axis=1)))
    if not cosine >= MIN_COSINE:
        raise ValueError(f"its exported graph differs from the original (cosine {cosine:.4f}, needs {MIN_COSINE})")


def run(export: Callable[[str, str], None]) -> None:
    """Export by the arguments of this process; where that fails, exit with the reason in one line."""
    try:
        export(*sys.argv[1:])
    except Exception as error:  # the parent prints the reason and runs the model on torch
        text = " ".join(str(error).split()) or type(error).__name__
        sys.exit(f"{type(error).__name__}: {text[:300]}")


if __name__ == "__main__":
    run(main)
