"""One synthetic run for all tests of the report."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.reporting.synthetic import write_run


@pytest.fixture(scope="session")
def stored_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole run folder; tests that change it copy it first."""
    return write_run(tmp_path_factory.mktemp("synthetic") / "run")
