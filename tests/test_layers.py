"""The rules of docs/architecture.md: a package imports only from rows above its own, in no circle.

Read from the source, so that nothing is imported. What is imported inside functions, or for types
alone, counts too.
"""

from __future__ import annotations

import ast
import re
import subprocess
from collections import defaultdict
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "plmsae"

ROWS: tuple[tuple[str, ...], ...] = (
    ("core",),
    ("proteins",),
    ("plm",),
    ("sae",),
    ("encode",),
    ("concepts",),
    ("bundle",),
    ("tracking",),
    ("registry",),
    ("scoring", "quality", "reports", "steering"),
    ("atlas",),
    ("workflows",),
    ("api",),
    ("cli",),
    ("__main__",),
)
ROW = {name: number for number, row in enumerate(ROWS) for name in row}

TENSORS = {"torch", "transformers", "safetensors"}
MODELS = TENSORS | {"sklearn"}
SERVICES = {"mlflow", "great_expectations", "anthropic"}
FACE = {"rich", "typer"}
NEVER: dict[str, set[str]] = {
    "core": MODELS | SERVICES | FACE,
    "proteins": MODELS | SERVICES | FACE,
    "plm": SERVICES | FACE,
    "sae": SERVICES | FACE | {"plmsae.proteins", "plmsae.plm"},
    "encode": SERVICES | FACE,
    "concepts": TENSORS | SERVICES | FACE,
    # safetensors reads the shapes of the weights, which needs no torch.
    "bundle": {"torch", "transformers", "sklearn"} | SERVICES | FACE,
    "tracking": MODELS | {"great_expectations", "anthropic", "plmsae.bundle"} | FACE,
    "registry": MODELS | {"great_expectations", "anthropic", "plmsae.plm", "plmsae.sae"} | FACE,
    "scoring": SERVICES - {"mlflow"} | FACE | {"plmsae.tracking", "plmsae.registry"},
    "quality": MODELS | {"anthropic"} | FACE,
    "reports": MODELS | {"great_expectations"} | FACE,
    "steering": SERVICES | FACE | {"plmsae.tracking", "plmsae.registry", "plmsae.bundle"},
    "atlas": TENSORS | SERVICES | FACE | {"plmsae.tracking", "plmsae.registry"},
    "workflows": FACE,
    "api": FACE | MODELS | SERVICES,
    "cli": MODELS | SERVICES | {"polars", "pandas", "numpy", "matplotlib"},
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
        if ROW[parts[1]] >= ROW[mine]:
            found.append(f"{here}: not in a row above {mine}")
    return found


def test_every_package_has_a_row() -> None:
    unknown = {component(path) for path in modules()} - set(ROW) - {"__init__"}
    assert not unknown, f"add {unknown} to docs/architecture.md and to this test"


def test_packages_import_only_from_rows_above() -> None:
    found = [text for path in modules() if component(path) in ROW for text in complaints(path)]
    assert not found, "\n".join(found)


def test_the_rule_notices_an_import_from_below(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = PACKAGE / "proteins" / "made_up.py"
    text = "def f():\n    import torch\n    from plmsae.concepts import labels\n"
    monkeypatch.setattr(Path, "read_text", lambda self, encoding: text)
    assert len(complaints(path)) == 2


def name_of(path: Path) -> str:
    """Return the dotted name of a module."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def import_graph() -> dict[str, set[str]]:
    """Return, for each module of the package, the modules of the package that it imports."""
    paths = {name_of(path): path for path in modules()}
    graph: dict[str, set[str]] = {}
    for mine, path in paths.items():
        named = {name for _, name in imports(path) if name.split(".")[0] == "plmsae"}
        # `from plmsae.x import y` names a module or something in one.
        theirs = {name if name in paths else name.rpartition(".")[0] for name in named}
        graph[mine] = (theirs & set(paths)) - {mine}
    return graph


def package_graph() -> dict[str, set[str]]:
    """Return the same by package; what lies beside packages is a package of its own."""
    graph = import_graph()
    packages = {name_of(path.parent / "__init__.py") for path in modules()}
    parents = {name.rpartition(".")[0] for name in packages}

    def package(module: str) -> str:
        parent = module if module in packages else module.rpartition(".")[0]
        return module if parent in parents else parent

    merged: dict[str, set[str]] = defaultdict(set)
    for mine, theirs in graph.items():
        merged[package(mine)] |= {package(name) for name in theirs} - {package(mine)}
    return merged


def circle(graph: Mapping[str, set[str]]) -> str:
    """Return one circle of a graph, written as a chain; empty if there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return " <- ".join(error.args[1])
    return ""


def test_no_modules_import_one_another_in_a_circle() -> None:
    graph = import_graph()
    assert "plmsae.core.errors" in graph["plmsae.core.resources"]
    assert not circle(graph), circle(graph)


def test_no_packages_import_one_another_in_a_circle() -> None:
    graph = package_graph()
    assert "plmsae.concepts.labels" in graph["plmsae.concepts.association"]
    assert not circle(graph), circle(graph)


def test_a_circle_is_noticed() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}).count("<-") == 3


def test_nothing_lies_at_the_root_of_the_package_that_belongs_in_a_package() -> None:
    assert {path.stem for path in PACKAGE.glob("*.py")} == {"__init__", "__main__", "encode"}


def test_architecture_page_names_every_package() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([a-z_]+)(?:\.py|/)?`", page))
    assert not (set(ROW) - named), "docs/architecture.md lacks packages"


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
