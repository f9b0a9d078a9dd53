"""Nonlinear compression: an autoencoder and a variational one, fitted with torch and returned as plain matrices."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from core.compress.projection import Projection
from eval.compress.linear import Fitted, Vectors, principal

if TYPE_CHECKING:
    import torch

N_HIDDEN = 512
BATCH = 512
LEARNING_RATE = 2e-3  # rises to this in the first tenth of all steps, then falls to zero along a cosine
MAX_STEPS = 1000
MAX_EPOCHS = 30
PATIENCE = 8  # epochs without a lower validation loss
VALIDATION_SHARE = 0.1
# Sharpness of the neighbourhoods to be kept: within a batch, softmax of the cosines divided by this.
TEMPERATURE = 0.05
# Of the divergence from the Gaussian of variance 1 / dimension, whose vectors have a length of about one; and the
# logarithm of the variance that codes start with, as a share of that.
KL_WEIGHT = 1e-4
START_LOG_VARIANCE = -4.0


def autoencoder(
    vectors: Vectors,
    dimension: int,
    *,
    is_variational: bool = False,
    seed: int = 0,
    on_epoch: Callable[[int, int], None] = lambda done, total: None,
) -> Fitted:
    """An autoencoder of `vectors`, float32, shape (n, n_inputs), rows of length 1, with codes of `dimension`.

    Encoder and decoder are each a linear map plus one hidden layer of rectified units (He et al. 2016 call such a sum
    residual). They start as the principal components with their hidden layers silent, so that training can only add.
    What is minimised, by Adam (Kingma and Ba 2015) over batches:

    - the squared distance between a vector and its reconstruction, and
    - the cross-entropy between each vector's neighbourhood in its batch before and after, softmax(cosines / .05), as
      in stochastic neighbour embedding (Hinton and Roweis 2002).

    The variational one (Kingma and Welling 2014) draws each code from a Gaussian whose mean and spread the encoder
    gives, and pays for its divergence from one Gaussian for all; the projection is to the mean. A tenth of the vectors
    is held out: the epoch with the lowest loss on it counts, and eight epochs without a lower one end the training.
    One thread does it all, so that the same vectors and seed give the same result on any number of cores.
    """
    import torch

    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _trained(vectors, dimension, is_variational=is_variational, seed=seed, on_epoch=on_epoch)
    finally:
        torch.set_num_threads(n_threads)


def _trained(
    vectors: Vectors, dimension: int, *, is_variational: bool, seed: int, on_epoch: Callable[[int, int], None]
) -> Fitted:
    import torch

    torch.manual_seed(seed)
    start = principal(vectors, dimension).projection.weight
    model = _build(torch.from_numpy(start), is_variational)
    shuffled = torch.from_numpy(vectors)[torch.randperm(len(vectors))]
    n_validation = max(1, int(len(vectors) * VALIDATION_SHARE))
    validation, training = shuffled[:n_validation], shuffled[n_validation:]
    best, best_loss, n_worse = _copy(model), _validate(model, validation), 0
    steps_per_epoch = -(-len(training) // BATCH)
    n_epochs = max(1, min(MAX_EPOCHS, MAX_STEPS // steps_per_epoch))
    optimizer = torch.optim.Adam(model.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, LEARNING_RATE, total_steps=n_epochs * steps_per_epoch, pct_start=0.1, cycle_momentum=False
    )
    for epoch in range(n_epochs):
        for rows in torch.randperm(len(training)).split(BATCH):
            optimizer.zero_grad()
            _loss(model, training[rows], is_drawn=is_variational).backward()
            optimizer.step()
            schedule.step()
        loss = _validate(model, validation)
        on_epoch(epoch + 1, n_epochs)
        if loss < best_loss:
            best, best_loss, n_worse = _copy(model), loss, 0
        elif (n_worse := n_worse + 1) >= PATIENCE:
            break
    return _fitted("vae" if is_variational else "autoencoder", best)


def _build(start: torch.Tensor, is_variational: bool) -> torch.nn.ParameterDict:
    """All matrices, the hidden layers' outputs at zero."""
    import torch

    n_inputs, n_outputs = start.shape

    def uniform(*shape: int) -> torch.Tensor:
        return torch.empty(shape).uniform_(-1, 1) / shape[0] ** 0.5

    parts = {
        "weight": start.clone(),
        "bias": torch.zeros(n_outputs),
        "hidden_weight": uniform(n_inputs, N_HIDDEN),
        "hidden_bias": torch.zeros(N_HIDDEN),
        "hidden_out": torch.zeros(N_HIDDEN, n_outputs),
        "back_weight": start.T.clone(),
        "back_bias": torch.zeros(n_inputs),
        "back_hidden_weight": uniform(n_outputs, N_HIDDEN),
        "back_hidden_bias": torch.zeros(N_HIDDEN),
        "back_hidden_out": torch.zeros(N_HIDDEN, n_inputs),
    }
    if is_variational:
        parts |= {
            "spread_weight": torch.zeros(N_HIDDEN, n_outputs),
            "spread": torch.full((n_outputs,), START_LOG_VARIANCE),
        }
    return torch.nn.ParameterDict({name: torch.nn.Parameter(part.contiguous()) for name, part in parts.items()})


def _layers(model: torch.nn.ParameterDict, inputs: torch.Tensor, prefix: str = "") -> tuple[torch.Tensor, torch.Tensor]:
    """Output and hidden activations of the encoder, or of the decoder with the prefix `back_`."""
    hidden = (inputs @ model[f"{prefix}hidden_weight"] + model[f"{prefix}hidden_bias"]).relu()
    direct = inputs @ model[f"{prefix}weight"] + model[f"{prefix}bias"]
    return direct + hidden @ model[f"{prefix}hidden_out"], hidden


def _loss(model: torch.nn.ParameterDict, batch: torch.Tensor, *, is_drawn: bool) -> torch.Tensor:
    import torch

    code, hidden = _layers(model, batch)
    drawn, divergence = code, torch.zeros(())
    if is_drawn:
        log_share = hidden @ model["spread_weight"] + model["spread"]  # of the prior's variance
        n = code.shape[1]
        drawn = code + torch.randn_like(code) * (log_share.exp() / n).sqrt()
        divergence = 0.5 * (n * code**2 + log_share.exp() - 1 - log_share).sum(dim=1).mean()
    back, _ = _layers(model, drawn, "back_")
    reconstruction = ((back - batch) ** 2).sum(dim=1).mean()
    shorter = torch.nn.functional.normalize(drawn, dim=1)
    itself = torch.eye(len(batch), dtype=torch.bool)
    wanted = (batch @ batch.T / TEMPERATURE).masked_fill(itself, -torch.inf).softmax(dim=1)
    found = (shorter @ shorter.T / TEMPERATURE).masked_fill(itself, -1e9).log_softmax(dim=1)
    neighbours = torch.nn.functional.kl_div(found, wanted, reduction="batchmean")
    return reconstruction + neighbours + KL_WEIGHT * divergence


def _validate(model: torch.nn.ParameterDict, validation: torch.Tensor) -> float:
    """The loss on what isn't trained on, without chance: codes are their means."""
    import torch

    with torch.no_grad():
        losses = [float(_loss(model, part, is_drawn=False)) * len(part) for part in validation.split(BATCH)]
    return sum(losses) / len(validation)


def _copy(model: torch.nn.ParameterDict) -> dict[str, np.ndarray]:
    return {name: part.detach().numpy().copy() for name, part in model.items()}


def _fitted(method: str, parts: dict[str, np.ndarray]) -> Fitted:
    def made(prefix: str) -> Projection:
        hidden = (parts[f"{prefix}hidden_weight"], parts[f"{prefix}hidden_bias"], parts[f"{prefix}hidden_out"])
        return Projection.of(method, parts[f"{prefix}weight"], parts[f"{prefix}bias"], hidden)

    return Fitted(made(""), made("back_").code)
