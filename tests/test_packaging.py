"""The wheel: built from what git has; slow: in isolation, installed alone, run from elsewhere."""

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
KINDS = ("extractors", "tasks", "reports")
# all that the list of tasks needs: a wheel that pulled in torch for it would fail here
LIGHT = ("pydantic", "PyYAML", "typer", "rich")


def run(*command: str | Path, cwd: Path, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout


def known_to_git() -> list[str]:
    listed = run("git", "ls-files", "--cached", "--others", "--exclude-standard", cwd=ROOT)
    return [name for name in listed.splitlines() if (ROOT / name).is_file()]


def build(out: Path, source: Path, *options: str) -> Path:
    pip = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", *options)
    run(*pip, "-w", out, source, cwd=out)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy what belongs into the wheel."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: what belongs into the wheel is not known")
    folder = tmp_path_factory.mktemp("source")
    for name in known_to_git():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, target)
    return folder


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build with the setuptools that is here; the slow test builds in isolation."""
    return build(tmp_path_factory.mktemp("wheel"), source, "--no-build-isolation")


def test_wheel_holds_exactly_the_cards_of_git(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    for kind in KINDS:
        start = f"probekit/_cards/{kind}/"
        held = {n.removeprefix(start) for n in names if n.startswith(start)}
        cards = {
            n.removeprefix(f"{kind}/")
            for n in known_to_git()
            if n.startswith(f"{kind}/") and n.endswith(".yaml")
        }
        assert held == cards


def test_wheel_holds_the_whole_package_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    held = {n for n in names if n.startswith("probekit/") and not n.startswith("probekit/_cards/")}
    assert held == {n for n in known_to_git() if n.startswith("probekit/")}
    assert {n.split("/")[0] for n in names if ".dist-info" not in n} == {"probekit"}


@pytest.mark.slow
def test_wheel_runs_alone_from_another_folder(
    source: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    wheel = build(tmp_path_factory.mktemp("isolated"), source)
    place = tmp_path / "env"
    venv.create(place)
    python = place / ("Scripts" if os.name == "nt" else "bin") / "python"
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-compile")
    run(*pip, "-c", ROOT / "constraints.txt", *LIGHT, cwd=tmp_path)
    run(*pip, "--no-deps", wheel, cwd=tmp_path)
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    tasks = run(python.with_name("probekit"), "tasks", cwd=tmp_path, env=env)
    assert "urbansound8k" in tasks
    where = run(python, "-c", "import probekit; print(probekit.__file__)", cwd=tmp_path, env=env)
    assert str(place) in where
