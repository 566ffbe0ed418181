"""The rule of docs/architecture.md: a module imports only from rows above its own.

Read from the source, so that nothing is imported and what is imported inside functions counts too.
"""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "plmsae"

ROWS: tuple[tuple[str, ...], ...] = (
    ("errors", "atomic", "resources", "fingerprint", "hub"),
    ("proteins",),
    ("plm",),
    ("sae",),
    ("encode", "concepts"),
    (
        *("bundle", "bundle_meta", "bundle_frames", "safe_files", "model_card"),
        *("registry", "lookup", "model_files", "naming", "promotion", "gates"),
        *("tracking", "mlflow_store", "run_facts", "metric_buffer", "recipes"),
    ),
    ("scoring", "quality", "reports"),
    ("workflows",),
    ("cli", "console", "__main__"),
)
ROW = {name: number for number, row in enumerate(ROWS) for name in row}

# Rows whose members are one group of modules; those of row 6 must not know each other.
OPEN_ROWS = (0, 4, 5, 7, 8)

MLFLOW = {"mlflow"}
MODELS = {"torch", "transformers", "safetensors", "sklearn"}
SERVICES = {"mlflow", "great_expectations", "anthropic"}
FACE = {"rich", "typer"}
NEVER: dict[str, set[str]] = {
    "proteins": MODELS | SERVICES | FACE,
    "plm": SERVICES | FACE,
    "sae": SERVICES | FACE | {"plmsae.proteins"},
    "encode": SERVICES | FACE,
    "concepts": SERVICES | FACE,
    "scoring": {"great_expectations", "anthropic"} | FACE,
    "quality": MODELS | {"anthropic"} | FACE,
    "reports": MODELS | {"great_expectations"} | FACE,
    "workflows": FACE,
    "cli": MODELS | SERVICES | {"polars", "pandas", "numpy", "matplotlib"},
    "console": MODELS | SERVICES | {"polars", "pandas", "numpy", "matplotlib"},
}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def component(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and absolute name of all that a file imports, types of other packages left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_types = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}:{node.lineno}: relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            if node not in for_types or name.startswith("plmsae."):
                yield node.lineno, name


def complaints(path: Path) -> list[str]:
    mine = component(path)
    found = []
    for line, name in imports(path):
        here = f"{path.relative_to(ROOT)}:{line} imports {name}"
        if any(name == bad or name.startswith(f"{bad}.") for bad in NEVER.get(mine, ())):
            found.append(f"{here}: {mine} must not know it")
        parts = name.split(".")
        if parts[0] != "plmsae" or len(parts) < 2 or parts[1] == mine or parts[1] not in ROW:
            continue
        theirs = ROW[parts[1]]
        if theirs > ROW[mine] or (theirs == ROW[mine] and theirs not in OPEN_ROWS):
            found.append(f"{here}: not in a row above {mine}")
    return found


def test_every_module_has_a_row() -> None:
    unknown = {component(path) for path in modules()} - set(ROW) - {"__init__"}
    assert not unknown, f"add {unknown} to docs/architecture.md and to this test"


def test_modules_import_only_from_rows_above() -> None:
    found = [text for path in modules() if component(path) in ROW for text in complaints(path)]
    assert not found, "\n".join(found)


def test_the_rule_notices_an_import_from_below(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = PACKAGE / "proteins" / "made_up.py"
    text = "def f():\n    import torch\n    from plmsae.concepts import labels\n"
    monkeypatch.setattr(Path, "read_text", lambda self, encoding: text)
    assert len(complaints(path)) == 2


def test_architecture_page_names_every_module() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([a-z_]+)(?:\.py|/)?`", page))
    assert not (set(ROW) - named), "docs/architecture.md lacks modules"


def project_files() -> list[Path]:
    """Return the text files of the project: those git knows, or all but hidden ones."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if listed.returncode == 0:
        paths = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    else:
        paths = [p for p in ROOT.rglob("*") if not any(x.startswith(".") for x in p.parts)]
    endings = {".py", ".md", ".toml", ".yaml", ".yml", ".txt", ".j2", ".json", ".cfg", ""}
    return [path for path in paths if path.is_file() and path.suffix in endings]


# Put together here, so that this file is not its own finding.
FORBIDDEN = {
    "the address of a package index": r"(?:py" + r"pi\.org|python" + r"hosted\.org|download\.py"
    r"torch\.org|--(?:extra-)?index" + r"-url\b|/sim" + r"ple/)",
    "a path of somebody's machine": r"(?<![\w.])/(?:work|root|opt|tmp/w)/",
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_file_names(what: str) -> None:
    pattern = re.compile(FORBIDDEN[what])
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}"
        for path in project_files()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if pattern.search(line)
    ]
    assert not found, "\n".join(found)


def test_nothing_is_unpickled_or_evaluated() -> None:
    unsafe = {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
    found = []
    for path in modules():
        where = path.relative_to(ROOT)
        found += [
            f"{where}:{n}: {name}" for n, name in imports(path) if name.split(".")[0] in unsafe
        ]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            if called in ("eval", "exec", "yaml.load", "torch.load", "os.system"):
                # weights_only refuses whatever is not a tensor.
                if called == "torch.load" and "weights_only=True" in ast.unparse(node):
                    continue
                found.append(f"{where}:{node.lineno}: {called}(")
    assert not found, "\n".join(found)
