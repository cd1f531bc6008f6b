"""Where the tests of the store keep their folders."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from stored_states import folder_in_memory


@pytest.fixture
def in_memory() -> Iterator[Path]:
    """As `folder_in_memory`: hundreds of stores are made in it."""
    with folder_in_memory() as folder:
        yield folder
