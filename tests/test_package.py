"""The package as a whole: its public names, that importing it is cheap, and who may import whom."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from importlib import import_module
from importlib.metadata import packages_distributions
from pathlib import Path
from types import ModuleType

import pytest

import polytask

ROOT = Path(__file__).parent.parent
SNAPSHOT = Path(__file__).parent / "public_names.txt"
MOST_MILLISECONDS = 100


def public_names(package: ModuleType = polytask) -> list[str]:
    """Every name in the `__all__` of the package, of its rooms, and of the modules that these name."""
    found = []
    for name in getattr(package, "__all__", []):
        found.append(f"{package.__name__}.{name}")
        value = getattr(package, name)
        if isinstance(value, ModuleType):
            found += public_names(value)
    return sorted(found)


def test_the_public_names_are_those_of_the_snapshot() -> None:
    known, now = set(SNAPSHOT.read_text().split()), set(public_names())
    assert now == known, (
        f"gone: {sorted(known - now)}; new: {sorted(now - known)}. If this is meant, run "
        "`python tests/test_package.py` and write a line in CHANGELOG.md"
    )


@pytest.mark.parametrize("room", polytask.__all__)
def test_every_public_name_exists_and_says_what_it_is(room: str) -> None:
    module = import_module(f"polytask.{room}")
    assert module.__doc__, f"polytask.{room} has no docstring"
    names = getattr(module, "__all__", [])
    assert len(set(names)) == len(names)
    for name in names:
        assert hasattr(module, name), f"polytask.{room}.__all__ names {name}, which does not exist"
        if callable(getattr(module, name)):
            assert getattr(module, name).__doc__, f"polytask.{room}.{name} has no docstring"


def test_the_map_shows_every_room() -> None:
    folders = {path.parent.name for path in (ROOT / "src" / "polytask").glob("*/__init__.py")}
    assert set(polytask.__all__) - {"errors"} == {name for name in folders if not name.startswith("_")} - {"cli"}
    assert set(polytask.__all__) <= set(dir(polytask))


def test_an_unknown_room_is_an_attribute_error_that_helps() -> None:
    with pytest.raises(AttributeError, match="did you mean 'balancing'"):
        polytask.balancng  # type: ignore[attr-defined]


def _python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=True)


def test_importing_the_package_imports_no_library() -> None:
    listed = _python(
        "-c",
        "import sys; before = set(sys.modules); import polytask; dir(polytask); new = set(sys.modules) - before; "
        "print(*{name.partition('.')[0] for name in new} - set(sys.stdlib_module_names))",
    )
    assert listed.stdout.split() == ["polytask"]


def test_importing_the_package_is_quick() -> None:
    def milliseconds() -> float:
        report = _python("-X", "importtime", "-c", "import polytask").stderr
        found = re.search(r"\| +(\d+) \| +polytask$", report, re.MULTILINE)
        assert found, report
        return int(found[1]) / 1000

    assert min(milliseconds() for _ in range(3)) < MOST_MILLISECONDS


def test_imports_point_down() -> None:
    pytest.importorskip("importlinter", reason="import-linter is a tool of the developers")
    command = [
        sys.executable,
        "-c",
        "from importlinter.cli import lint_imports_command as c; c()",
        "--no-cache",
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env={**os.environ, "COLUMNS": "200"})
    assert done.returncode == 0, done.stdout + done.stderr


def _libraries(requirements: list[str]) -> set[str]:
    """Names of distributions as packaging compares them, without extras and versions."""
    return {_plain(re.split(r"[\[<>=!~; ]", each)[0]) for each in requirements}


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _imported() -> set[str]:
    """The distributions that the package imports, wherever in a file."""
    modules = set()
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                modules |= {each.name.partition(".")[0] for each in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                modules.add(str(node.module).partition(".")[0])
    known = packages_distributions()
    third_party = modules - set(sys.stdlib_module_names) - {"polytask"}
    return {_plain(known.get(each, [each])[0]) for each in third_party}


def test_every_library_that_is_imported_is_declared_and_the_other_way_round() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = _libraries(project["dependencies"])
    extras = _libraries([each for extra in project["optional-dependencies"].values() for each in extra])
    imported = _imported()
    assert sorted(imported - needed - extras) == [], "imported, and not in pyproject.toml"
    assert sorted(needed - imported) == [], "in pyproject.toml, and never imported"


def test_every_library_that_is_declared_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [each for extra in project["optional-dependencies"].values() for each in extra]
    pinned = _libraries((ROOT / "constraints.txt").read_text().splitlines())
    assert _libraries([*project["dependencies"], *extras]) - {"polytask"} <= pinned


if __name__ == "__main__":
    SNAPSHOT.write_text("".join(f"{name}\n" for name in public_names()))
    print(f"{SNAPSHOT}: {len(public_names())} public names")
