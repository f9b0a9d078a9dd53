"""One cutter for all tests of this folder."""

import pytest

from core.tokens import EncoderTokenizer, LlmTokenizer
from tests.ingest.chunkers.cutting import Cutter


@pytest.fixture(scope="session")
def cut(tokenizer: EncoderTokenizer, llm_tokenizer: LlmTokenizer) -> Cutter:
    return Cutter(tokenizer, llm_tokenizer)
