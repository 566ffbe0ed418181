"""Lineage of versions whose history is incomplete."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from plmsae.bundle.reading import Bundle
from plmsae.core.errors import InputError
from plmsae.registry.lineage import lineage
from plmsae.registry.models import register

Make = Callable[..., Bundle]


def test_a_run_that_the_store_lost_is_said_to_be_missing(make_bundle: Make, store_uri: str) -> None:
    ref = register(make_bundle(extra={"train_run": "0" * 32, "origin.repository": "a/b"}))
    found = lineage(str(ref))
    assert [run.status for run in found.runs] == ["missing"]
    assert found.promotions == ()
    text = "\n".join(found.lines())
    assert "not in this store any more" in text
    assert "repository: a/b" in text


def test_what_is_not_registered_has_no_lineage(make_bundle: Make, store_uri: str) -> None:
    ref = register(make_bundle())
    with pytest.raises(InputError, match="only a registered version"):
        lineage(f"models:/{ref.model_id}")
