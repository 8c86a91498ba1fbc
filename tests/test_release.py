"""A release: one version everywhere, the usual files, packages that an index takes."""

import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml

import probekit

ROOT = Path(__file__).resolve().parent.parent


def read(name):
    return (ROOT / name).read_text("utf-8")


def test_one_version_everywhere():
    assert f'version="{probekit.__version__}"' in read("setup.py")
    assert yaml.safe_load(read("CITATION.cff"))["version"] == probekit.__version__
    headings = re.findall(r"^## \[?([^\]\s]+)", read("CHANGELOG.md"), re.M)
    assert headings[0] == "Unreleased" and headings[1] == probekit.__version__


@pytest.mark.parametrize(
    "name",
    ["LICENSE", "SECURITY.md", "CODE_OF_CONDUCT.md", "RELEASE.md", "AUTHORS", "CITATION.cff"],
)
def test_files_that_a_stranger_looks_for(name):
    assert len(read(name)) > 100


def test_lowest_versions_are_those_of_setup():
    lowest = dict(re.findall(r"^([\w.-]+)==(\S+)", read("constraints-lowest.txt"), re.M))
    lowest = {name.lower().replace("_", "-"): version for name, version in lowest.items()}
    text = read("setup.py")
    needed = re.search(r"install_requires=\[(.*?)\]", text, re.S)[1]
    wrong = {}
    for name, version in re.findall(r'"([\w.-]+)(?:\[\w+\])?>=([\d.]+)"', needed):
        name = name.lower().replace("_", "-")
        # 2.32 means 2.32.x: the first releases of requests 2.32 were withdrawn
        if name != "torch" and not f"{lowest.get(name)}.".startswith(f"{version}."):
            wrong[name] = (lowest.get(name), version)
    assert wrong == {}


def test_every_pinned_version_is_allowed():
    from packaging.requirements import Requirement

    pins = dict(re.findall(r"^([\w.-]+)==(\S+)", read("constraints.txt"), re.M))
    pins = {name.lower().replace("_", "-"): version for name, version in pins.items()}
    needed = read("setup.py").partition("install_requires")[2]
    for text in re.findall(r'"([\w.-]+(?:\[\w+\])?[><][^"]+)"', needed):
        requirement = Requirement(text)
        name = requirement.name.lower().replace("_", "-")
        if name in pins and name != "python":
            assert requirement.specifier.contains(pins[name]), text


@pytest.mark.slow
def test_wheel_and_source_are_what_an_index_takes(tmp_path):
    pytest.importorskip("build", reason="needs pip install -e '.[check,dev]'")
    pytest.importorskip("twine")
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout
    if not listed:
        pytest.skip("not a git checkout")
    for name in listed.splitlines():
        if (ROOT / name).is_file():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, tmp_path / name)
    subprocess.run([sys.executable, "-m", "build", "--quiet"], cwd=tmp_path, check=True)
    built = [str(path) for path in (tmp_path / "dist").iterdir()]
    checked = [sys.executable, "-m", "twine", "check", "--strict", *built]
    done = subprocess.run(checked, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout

    [source] = (tmp_path / "dist").glob("*.tar.gz")
    with tarfile.open(source) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for name in ("tests/conftest.py", "docs/start.md", "mkdocs.yml", "constraints.txt", "Makefile"):
        assert name in names
    assert {"extractors/vggish.yaml", "tasks/esc50.yaml", "reports/kumar2021.yaml"} <= names
    assert not [name for name in names if re.match(r"reports/out|cache/.+-|.*__pycache__", name)]
    [wheel] = (tmp_path / "dist").glob("*.whl")  # made of the source package
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {"probekit/py.typed", "probekit/_cards/tasks/esc50.yaml"} <= names
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"probekit"}
    assert max(Path(name).stat().st_size for name in built) < 5e6
