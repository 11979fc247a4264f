"""What tests share: where speech lies."""

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def sample() -> Path:
    """The folder of 78 real utterances: ``LibriSpeech`` (FLAC, transcripts) and ``alignments`` (TextGrids).

    ``ASR_INTROSPECT_SPEECH`` names another place than ``../shared/data/sample``.
    """
    place = Path(os.environ.get("ASR_INTROSPECT_SPEECH", REPOSITORY / ".." / "shared" / "data" / "sample"))
    if not place.is_dir():
        pytest.skip(f"no real speech at {place}; ASR_INTROSPECT_SPEECH names another place")
    return place.resolve()


@pytest.fixture(scope="session")
def demo() -> Path:
    """The demo corpus of the repository."""
    return REPOSITORY / "data" / "demo"
