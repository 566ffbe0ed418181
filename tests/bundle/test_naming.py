"""Names of registered models, and references to them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plmsae.bundle.naming import model_name, parse_reference, plm_slug
from plmsae.core.errors import InputError


def test_names_use_the_short_name_of_the_catalogue() -> None:
    assert model_name("facebook/esm2_t6_8M_UR50D", 4, "residue") == "plmsae.esm2-8m.L4.residue"
    assert model_name("esm2-8m", 0, "protein") == "plmsae.esm2-8m.L0.protein"
    assert plm_slug("Some-Org/Model.v2") == "some-org--model-v2"


def test_a_transcoder_is_called_after_both_layers_and_what_it_gives() -> None:
    names = {
        target: model_name("esm2-8m", 4, "residue", target=target, target_layer=above)
        for target, above in (("input", None), ("layer", 5), ("change", 5))
    }
    assert names == {
        "input": "plmsae.esm2-8m.L4.residue",
        "layer": "plmsae.esm2-8m.L4-L5.residue",
        "change": "plmsae.esm2-8m.L4-L5-change.residue",
    }
    for name in names.values():
        for text in (name, f"{name}@champion", f"models:/{name}/3"):
            assert parse_reference(text).name == name


@pytest.mark.parametrize(
    ("target", "above"), [("input", 5), ("layer", None), ("change", 4), ("layer", 3), ("skip", 5)]
)
def test_a_target_that_cannot_be_has_no_name(target: str, above: int | None) -> None:
    with pytest.raises(InputError):
        model_name("esm2-8m", 4, "residue", target=target, target_layer=above)


@pytest.mark.parametrize("folder", ["/home/me/secret/My PLM", "./a/My PLM/", "C:\\me\\My PLM"])
def test_a_name_does_not_tell_where_a_folder_lies(folder: str) -> None:
    assert plm_slug(folder) == "my-plm"


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60))
def test_any_plm_gives_a_name_that_can_be_asked_for_again_or_a_clear_error(plm: str) -> None:
    try:
        name = model_name(plm, 3, "residue")
    except InputError:
        return
    assert parse_reference(f"models:/{name}@champion").name == name
    assert name.count(".") == 3


@pytest.mark.parametrize(("layer", "unit"), [(-1, "residue"), (1, "atom")])
def test_a_name_needs_a_layer_and_a_unit_that_exist(layer: int, unit: str) -> None:
    with pytest.raises(InputError):
        model_name("esm2-8m", layer, unit)
