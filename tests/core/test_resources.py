"""The reviewed YAML files are found, and the catalogue of PLMs is consistent."""

from __future__ import annotations

import yaml

from plmsae.core.resources import registry_path


def test_the_catalogue_is_complete_and_consistent() -> None:
    plms = yaml.safe_load(registry_path("plms.yaml").read_text())["plms"]
    for name, entry in plms.items():
        assert sum(source in entry for source in ("path", "hub_id", "package")) == 1, name
        assert entry["licence"] or entry["package"]["licence"], name
        hub_id = entry.get("hub_id", "")
        if hub_id.startswith("facebook/esm2_"):
            # The hub id itself says how many blocks there are: esm2_t33_650M_UR50D.
            assert f"_t{entry['n_layers']}_" in hub_id
            assert max(entry["suggested_layers"]) <= entry["n_layers"]
    sources = [str(entry.get("hub_id") or entry.get("package") or name)
               for name, entry in plms.items()]  # fmt: skip
    assert len(set(sources)) == len(plms)
