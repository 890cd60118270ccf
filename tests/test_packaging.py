"""The repository as it is built, imported and laid out."""

import ast
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FLOORS = ["tools", "prompts", "agent", "evals", "app"]
"""From the ground up; a floor may use the floors below it."""
HEAVY = {"torch", "optuna", "openai", "langchain", "gradio", "sqlalchemy", "pandas", "pydantic"}


def python_files(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def imported_modules(file: Path) -> Iterator[tuple[int, str]]:
    """Yield each import of a file as its level (number of dots) and its dotted name."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.module:
                yield node.level, node.module
            else:
                yield from ((node.level, alias.name) for alias in node.names)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    source = folder / "source"
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file() and not name.startswith(".dev/"):
            target = source / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((ROOT / name).read_bytes())
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder)]
    subprocess.run([*build, str(source)], check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    return zipfile.ZipFile(path)


def test_the_wheel_holds_every_module_and_data_file(wheel: zipfile.ZipFile) -> None:
    held = {name for name in wheel.namelist() if name.startswith("luthier/")}
    expected = {f"luthier/{path.name}" for path in (ROOT / "luthier").iterdir() if path.is_file()}
    for folder in FLOORS:
        files = [path for path in (ROOT / folder).rglob("*") if path.is_file()]
        kept = [path for path in files if "__pycache__" not in path.parts]
        expected |= {f"luthier/{path.relative_to(ROOT)}" for path in kept}

    assert held == expected


def test_the_wheel_installs_nothing_but_luthier(wheel: zipfile.ZipFile) -> None:
    top = {name.split("/")[0] for name in wheel.namelist()}

    assert {name for name in top if not name.endswith(".dist-info")} == {"luthier"}


@pytest.mark.parametrize("floor", FLOORS)
def test_a_floor_imports_only_the_floors_below_it(floor: str) -> None:
    above = FLOORS[FLOORS.index(floor) + 1 :]
    climbing = [
        f"{file.relative_to(ROOT)}: {name}"
        for file in python_files(floor)
        for level, name in imported_modules(file)
        if level == len(file.relative_to(ROOT).parts) and name.split(".")[0] in above
    ]

    assert climbing == []


@pytest.mark.parametrize("folder", [*FLOORS, "luthier", "tests"])
def test_no_folder_is_imported_by_its_bare_name(folder: str) -> None:
    bare = [
        f"{file.relative_to(ROOT)}: {name}"
        for file in python_files(folder)
        for level, name in imported_modules(file)
        if level == 0 and name.split(".")[0] in FLOORS
    ]

    assert bare == []


def test_importing_luthier_loads_nothing_heavy() -> None:
    code = "import luthier, sys; print(*{name.split('.')[0] for name in sys.modules})"
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)

    assert not HEAVY & set(run.stdout.split())


def test_every_public_name_can_be_resolved() -> None:
    import luthier

    assert all(getattr(luthier, name) is not None for name in luthier.__all__)
    with pytest.raises(AttributeError, match="no attribute 'tun'"):
        luthier.tun  # noqa: B018


def test_the_type_checkers_links_name_every_folder() -> None:
    links = {path.name: path.resolve() for path in (ROOT / ".dev" / "luthier").iterdir()}

    assert {ROOT / folder for folder in FLOORS} <= set(links.values())
    assert links["__init__.py"] == ROOT / "luthier" / "__init__.py"


def test_every_dependency_is_pinned_by_the_constraints() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    names = {requirement.split(">")[0].split("<")[0].strip().lower() for requirement in asked}
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {line.split("==")[0].lower().replace("_", "-") for line in lines if "==" in line}

    assert names - pinned == set()
    assert "litellm" not in pinned
