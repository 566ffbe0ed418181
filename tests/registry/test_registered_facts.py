"""A version whose files were altered where they lie: `score` holds them against the registry."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from mlflow_servers import scorable_bundle

from plmsae.core.errors import QualityError, UnsafeArtifactError
from plmsae.registry.models import register
from plmsae.registry.versions import DIGEST_TAG, ModelRef
from plmsae.tracking.store import client
from plmsae.workflows import score, validate
from plmsae.workflows.shared.progress import Silent
from plmsae.workflows.shared.requests import ScoreRequest, ValidateRequest


@pytest.fixture
def altered(store_uri: str, tmp_path: Path) -> ModelRef:
    """A registered version in whose place another sound bundle was put."""
    ref = register(scorable_bundle(tmp_path / "registered"))
    folder = Path(client(store_uri).get_logged_model(ref.model_id).artifact_location)
    shutil.rmtree(folder / "data" / "bundle")
    other = scorable_bundle(tmp_path / "other", seed=666)
    shutil.copytree(other.path, folder / "data" / "bundle")
    return ref


def scored(model: str, out: str) -> score.ScoreOutcome:
    sequence = "MQIFVKTLTGKTITLEVEPSDTIENVKAKIQDKEGIPPDQQRLIFAGKQLEDGRTLSDYNIQKESTLHLVLRLRGG"
    Path("p.fasta").write_text(f">P1\n{sequence}\n")
    return score.run(ScoreRequest(proteins="p.fasta", model=model, out=Path(out)), Silent())


def test_files_that_differ_from_the_registered_ones_are_not_opened(altered: ModelRef) -> None:
    with pytest.raises(UnsafeArtifactError, match="not the one that was registered"):
        scored(str(altered), "out")


def test_files_of_which_the_registry_does_not_know_stop_the_run(
    altered: ModelRef, store_uri: str
) -> None:
    client(store_uri).delete_model_version_tag(altered.name, altered.version, DIGEST_TAG)
    with pytest.raises(QualityError, match=r"files of the model: used .*, registered nothing"):
        scored(str(altered), "out")


def test_another_plm_revision_than_the_registered_one_stops_the_run(
    store_uri: str, tmp_path: Path
) -> None:
    ref = register(scorable_bundle(tmp_path / "registered"))
    assert scored(str(ref), "sound").quality["annotations"]["success"]
    store = client(store_uri)
    store.set_model_version_tag(ref.name, ref.version, "plm_revision", "elsewhere")
    with pytest.raises(QualityError, match=r"PLM revision: used .*, registered elsewhere"):
        scored(str(ref), "out")
    with pytest.raises(QualityError, match=r"PLM revision: used .*, registered elsewhere"):
        validate.run(ValidateRequest(path="sound", out=Path("checks")), Silent())
