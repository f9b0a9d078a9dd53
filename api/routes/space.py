"""The latent space over HTTP: search by examples, and walks."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from api.schemas import MAX_FILTER_CHARACTERS, MAX_K, MAX_QUERY_CHARACTERS, HitAnswer
from api.serving import problems
from api.serving.tenants import Live
from search.space.examples import MAX_EXAMPLES
from search.space.similar import similar
from search.space.walk import MAX_STEPS, walk

Strategy = Literal["arithmetic", "average_vector", "best_score"]
Name = Annotated[
    str,
    Field(
        min_length=1,
        max_length=MAX_QUERY_CHARACTERS,
        description='The id of a chunk or a document, or "text:" and words.',
    ),
]
Names = Annotated[list[Name], Field(max_length=MAX_EXAMPLES)]
FilterText = Annotated[
    str | None,
    Field(max_length=MAX_FILTER_CHARACTERS, description='Condition on fields, such as `year >= 2020 and lang = "en"`.'),
]


class SimilarRequest(BaseModel):
    """Examples, and how to make a search of them."""

    model_config = ConfigDict(extra="forbid", strict=True)

    like: Names = Field([], description="What the passages should be like.")
    unlike: Names = Field([], description="What they should be unlike.")
    k: int = Field(10, ge=1, le=MAX_K, description="How many passages to return.")
    strategy: Strategy = Field("arithmetic", description="How the examples make a score.")
    filter: FilterText = None


class SimilarAnswer(BaseModel):
    """The hits, best first; a score is what the strategy gave."""

    like: list[str]
    unlike: list[str]
    strategy: Strategy
    took_ms: float = Field(description="Time inside the search, without HTTP.")
    hits: list[HitAnswer]
    notes: list[str] = Field([], description="What the caller should know of the examples; absent where nothing.")


class WalkRequest(BaseModel):
    """Two ends, and how many passages to meet between them."""

    model_config = ConfigDict(extra="forbid", strict=True)

    start: Name = Field(alias="from")
    end: Name = Field(alias="to")
    steps: int = Field(5, ge=1, le=MAX_STEPS, description="How many points between the ends.")
    filter: FilterText = None


class Step(HitAnswer):
    """A passage that was met; its score is its cosine to the point of the way."""

    t: float = Field(description="The point's share of the way, between 0 and 1.")


class WalkAnswer(BaseModel):
    """The passages in the order in which they were met."""

    start: str = Field(alias="from")
    end: str = Field(alias="to")
    angle_degrees: float = Field(description="The angle between the ends.")
    took_ms: float = Field(description="Time inside the walk, without HTTP.")
    steps: list[Step]
    notes: list[str] = Field([], description="What the caller should know of the walk; absent where nothing.")


router = APIRouter()
failures = problems.documented(400, 404, 413, 422)


@router.post(
    "/similar",
    response_model=SimilarAnswer,
    response_model_exclude_unset=True,
    responses=failures,
    summary="Find the passages that are like some examples and unlike others",
)
def find_similar(live: Live, body: SimilarRequest) -> dict:
    """An example is the id of a chunk or a document, or `text:` and words."""
    return live.answer(
        lambda index, _: similar(index, body.like, body.unlike, body.k, body.strategy, body.filter)
    ).to_json()


@router.post(
    "/walk",
    response_model=WalkAnswer,
    response_model_exclude_unset=True,
    responses=failures,
    summary="Find the passages on the way from one point of the latent space to another",
)
def take_walk(live: Live, body: WalkRequest) -> dict:
    """The ends are examples as in a search by examples."""
    return live.answer(lambda index, _: walk(index, body.start, body.end, body.steps, body.filter)).to_json()
