"""The worked example of docs/add-a-plm.md, run as it stands there."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import published
import pytest
import torch
import yaml
from small import SEQUENCES, blanks, library_forward, library_model, library_tokenizer

from plmsae.core.errors import InputError
from plmsae.core.resources import registry_path
from plmsae.plm import catalogue
from plmsae.plm.facts import plm_facts
from plmsae.plm.families import base
from plmsae.plm.model import load_plm
from plmsae.plm.untrained import untrained_plm

PAGE = Path(__file__).resolve().parents[3] / "docs" / "add-a-plm.md"


@pytest.fixture
def folder(tmp_path):
    """A small random Electra with the tokenizer files of ProtBert."""
    from transformers import ElectraConfig, ElectraForPreTraining

    folder = tmp_path / "plm"
    folder.mkdir()
    torch.manual_seed(0)
    config = ElectraConfig(
        **{"vocab_size": 30, "embedding_size": 8, "hidden_size": 16, "num_hidden_layers": 3},
        **{"num_attention_heads": 4, "intermediate_size": 32, "initializer_range": 0.3},
        max_position_embeddings=66,
    )
    ElectraForPreTraining(config).save_pretrained(folder)
    published.protbert(folder)
    return folder


@pytest.fixture
def added(tmp_path, monkeypatch):
    """Add one module, as its presence in plmsae/plm/families would, and one entry."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (entry,) = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    monkeypatch.setattr(base, "_FAMILIES", dict(base._FAMILIES))
    path = tmp_path / "electra.py"
    path.write_text(code)
    spec = importlib.util.spec_from_file_location("electra", path)
    assert spec is not None
    assert spec.loader is not None
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
    listed = tmp_path / "plms.yaml"
    listed.write_text(registry_path("plms.yaml").read_text(encoding="utf-8") + "\n" + entry)
    monkeypatch.setattr(catalogue, "registry_path", lambda _: listed)
    return yaml.safe_load(entry)["protelectra"]


def test_without_its_module_the_family_is_refused_with_one_line(folder):
    with pytest.raises(InputError, match=r"'electra'.*docs/add-a-plm\.md"):
        load_plm(str(folder))


@pytest.mark.usefixtures("added")
def test_with_it_every_layer_equals_the_library(folder):
    plm = load_plm(str(folder), device="cpu")
    ours = dict(plm.activations(SEQUENCES, [0, 1, 2, 3]))
    tokenizer, model = library_tokenizer(folder), library_model(folder)
    out = library_forward(model, [blanks(tokenizer, sequence) for sequence in SEQUENCES])
    for i, sequence in enumerate(SEQUENCES):
        for layer, h in enumerate(out.hidden_states):
            expected = h[i, 1 : 1 + len(sequence)]
            apart = (ours[i][layer] - expected).abs().max() / h.abs().max()
            assert apart <= 1e-5, (i, layer)
    assert untrained_plm(plm, layer=1, seed=0).n_layers == 3


def test_with_its_entry_the_catalogue_knows_it(added):
    entry = catalogue.find_plm("protelectra")
    assert (entry.source, entry.licence) == (added["hub_id"], added["licence"])
    found = plm_facts("protelectra", network=False)
    assert (found.n_layers, found.d_model) == (added["n_layers"], added["d_model"])
