"""From vectors to places in the plane: t-SNE or UMAP, fixed by a PCA start, with room for points that come later."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from openTSNE.affinity import PerplexityBasedNN
from openTSNE.nearest_neighbors import KNNIndex

from core.errors import DependencyError, InputError
from eval.neighbours import nearest_rows

METHODS = ("tsne", "umap")
PERPLEXITY = 30.0  # van der Maaten and Hinton (2008); at most a third of the points
START_SCALE = 1e-4  # standard deviation of the start (Kobak and Berens 2019, "The art of using t-SNE")
EXAGGERATION, EXAGGERATED_STEPS = 12, 250  # as openTSNE does it
STEPS, STEPS_OF_MANY = 500, 250  # of many points the second half costs as much and moves trustworthiness by .0002
INTERPOLATED_FROM = 4000  # points: Barnes and Hut's tree is faster below, interpolation by FFT above
MIN_POINTS = 5  # different ones; below it there is nothing to arrange
UMAP_NEIGHBORS = 15
PLACED_BY = 15  # neighbours that a later point is placed by


class Layout(Protocol):
    """Places of the points, float64, shape (n, 2), and of points that come later, without moving the others."""

    places: NDArray[np.float64]
    is_line: bool

    def again(self, seed: int, jitter: float) -> NDArray[np.float64]:
        """Places that another start gives: moved by normal noise of `jitter` times its standard deviations."""
        ...

    def place(self, vectors: NDArray[np.float32]) -> NDArray[np.float64]:
        """Places of other vectors, unit rows of the same space, float64, shape (n_vectors, 2)."""
        ...


def check_method(method: str) -> None:
    """Raises InputError for an unknown method, DependencyError where its library isn't installed."""
    if method not in METHODS:
        raise InputError(f'Unknown map method "{method}". Use {" or ".join(METHODS)}.')
    if method == "umap":
        from importlib.util import find_spec

        if find_spec("umap") is None:
            raise DependencyError("A UMAP map needs umap-learn: pip install 'limpid[umap]'. Or use --map-method tsne.")


def lay_out(
    vectors: NDArray[np.float32], method: str = "tsne", seed: int = 0, places: NDArray[np.float64] | None = None
) -> Layout:
    """The layout of unit rows, float32, shape (n, dim): the same for the same arguments.

    It starts from the first two principal components. With fewer than 5 different rows the points stand on a line.
    `places` are those of an earlier layout with the same other arguments. Raises as `check_method` does.
    """
    check_method(method)
    if len(vectors) < MIN_POINTS or len(np.unique(vectors, axis=0)) < MIN_POINTS:
        return _Line(vectors)
    return (_Umap if method == "umap" else _Tsne)(vectors, seed, places)


def pca_start(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """The first two principal components, each turned so that its largest coordinate is positive."""
    centered = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    _, axes = np.linalg.eigh(centered.T @ centered)
    start = centered @ axes[:, :-3:-1]
    sign = np.sign(start[np.abs(start).argmax(axis=0), [0, 1]])
    return start * np.where(sign == 0, 1, sign)


def _jittered(start: NDArray[np.float64], seed: int, jitter: float) -> NDArray[np.float64]:
    return start + jitter * start.std(axis=0) * np.random.default_rng(seed).standard_normal(start.shape)


class _Tsne:
    """openTSNE on exact neighbours; Euclidean order of unit rows is cosine order."""

    is_line = False

    def __init__(self, vectors: NDArray[np.float32], seed: int, places: NDArray[np.float64] | None = None):
        self._vectors = vectors
        self._seed = seed
        self._start = pca_start(vectors)
        self.places = self._optimised(self._start, seed) if places is None else places

    def again(self, seed: int, jitter: float) -> NDArray[np.float64]:
        """With the same neighbours."""
        return self._optimised(_jittered(self._start, seed, jitter), seed)

    @cached_property
    def _affinities(self) -> PerplexityBasedNN:
        perplexity = min(PERPLEXITY, max(1.0, (len(self._vectors) - 1) / 3))
        index = _ExactIndex(self._vectors, min(len(self._vectors) - 1, int(3 * perplexity)))
        return PerplexityBasedNN(perplexity=perplexity, knn_index=index)

    def _embedding(self, places: NDArray[np.float64], seed: int) -> Any:
        from openTSNE import TSNEEmbedding

        return TSNEEmbedding(
            places,
            self._affinities,
            negative_gradient_method="fft" if len(places) >= INTERPOLATED_FROM else "bh",
            random_state=seed,
            n_jobs=1,  # sums of several threads could differ in their last digit from run to run
        )

    def _optimised(self, start: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
        embedding = self._embedding(START_SCALE * start / start[:, 0].std(), seed)
        embedding.optimize(EXAGGERATED_STEPS, exaggeration=EXAGGERATION, momentum=0.8, inplace=True)
        steps = STEPS_OF_MANY if len(start) >= INTERPOLATED_FROM else STEPS
        embedding.optimize(steps, momentum=0.8, inplace=True)
        # Placing points centres the map in this way; done now, it moves nothing later.
        embedding -= (embedding.max(axis=0) + embedding.min(axis=0)) / 2
        return np.array(embedding, dtype=np.float64)

    def place(self, vectors: NDArray[np.float32]) -> NDArray[np.float64]:
        """Each by itself, from the median of its neighbours, with the map held fixed (Poličar et al. 2019)."""
        n_neighbors = min(PLACED_BY, len(self.places) - 1)
        embedding = self._embedding(self.places, self._seed)
        return np.array(embedding.transform(vectors, perplexity=n_neighbors / 3, k=n_neighbors), dtype=np.float64)


class _ExactIndex(KNNIndex):
    """Exact neighbours for openTSNE."""

    VALID_METRICS = ("euclidean",)

    def __init__(self, vectors: NDArray[np.float32], k: int):
        super().__init__(vectors, k)

    def build(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Neighbours of every point among the others."""
        return nearest_rows(self.data, self.data, self.k, own=np.arange(len(self.data)))

    def query(self, query: NDArray[np.float32], k: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Neighbours of new points."""
        return nearest_rows(query, self.data, k)


class _Umap:
    """McInnes, Healy and Melville (2018), by umap-learn."""

    is_line = False

    def __init__(self, vectors: NDArray[np.float32], seed: int, places: NDArray[np.float64] | None = None):
        self._vectors = vectors
        self._seed = seed
        self._start = pca_start(vectors)
        self.places = np.asarray(self._fitted.embedding_, dtype=np.float64) if places is None else places

    @cached_property
    def _fitted(self) -> Any:
        reducer = self._unfitted(self._start, self._seed)
        self._quietly(reducer.fit, self._vectors)
        return reducer

    def again(self, seed: int, jitter: float) -> NDArray[np.float64]:
        """Fitted anew, neighbours included."""
        reducer = self._unfitted(_jittered(self._start, seed, jitter), seed)
        return np.asarray(self._quietly(reducer.fit_transform, self._vectors), dtype=np.float64)

    def _unfitted(self, start: NDArray[np.float64], seed: int) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a neural variant that isn't used here
            from umap import UMAP
        return UMAP(
            n_neighbors=min(UMAP_NEIGHBORS, len(start) - 1),
            init=10 * start / np.abs(start).max(),  # the scale that its own starts have
            random_state=seed,
            transform_seed=seed,
            n_jobs=1,
        )

    def place(self, vectors: NDArray[np.float32]) -> NDArray[np.float64]:
        """Each by its neighbours, with the map held fixed."""
        return np.asarray(self._quietly(self._fitted.transform, vectors), dtype=np.float64)

    @staticmethod
    def _quietly(call: Any, vectors: NDArray[np.float32]) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the libraries below, about one another
            return call(vectors)


@dataclass
class _Line:
    """Too few different points to arrange: side by side, in their order."""

    vectors: NDArray[np.float32]

    is_line = True

    def __post_init__(self) -> None:
        n = len(self.vectors)
        self.places = np.stack([(np.arange(n) + 1) / (n + 1), np.full(n, 0.5)], axis=1)

    def again(self, seed: int, jitter: float) -> NDArray[np.float64]:
        """The same: nothing starts anywhere."""
        return self.places

    def place(self, vectors: NDArray[np.float32]) -> NDArray[np.float64]:
        """Where the nearest point stands."""
        return self.places[(vectors @ self.vectors.T).argmax(axis=1)]
