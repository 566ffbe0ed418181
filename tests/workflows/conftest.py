"""What all tests of workflows share."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="module")
def _only_the_built_in_search() -> Iterator[None]:
    """Hide search programs, which take a second for each of hundreds of tiny inputs.

    They have tests of their own in tests/proteins.
    """
    which = shutil.which
    with pytest.MonkeyPatch.context() as patch:
        hidden = ("mmseqs", "diamond")
        patch.setattr(
            shutil, "which", lambda name, *a, **k: None if name in hidden else which(name, *a, **k)
        )
        yield
