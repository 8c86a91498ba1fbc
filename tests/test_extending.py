"""``docs/extending.md``: the extractor of one's own works as it stands there, from nothing."""

import json
import re
import runpy
import shlex
from pathlib import Path

import pytest

from probekit import load_task

pytestmark = pytest.mark.usefixtures("small_grid")

TEXT = (Path(__file__).parents[1] / "docs" / "extending.md").read_text("utf-8")


def block(kind, word):
    """Return the first block of code with a word in it."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
    return next(text for k, text in blocks if k == kind and word in text)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("CACHE", "REPORTS"):
        monkeypatch.delenv(f"PROBEKIT_{name}")
    load_task("fsdd").write_standin(tmp_path / "free-spoken-digit-dataset", clips=60)
    (tmp_path / "my-extractors").mkdir()
    (tmp_path / "my-extractors" / "net.py").write_text(block("python", "class Net"))
    (tmp_path / "my-extractors" / "mine.yaml").write_text(block("yaml", "name: mine"))
    return tmp_path


def test_a_network_of_ones_own(folder, main, monkeypatch):
    train, extract, evaluate = block("", "extract -e mine").splitlines()
    assert train == "python my-extractors/net.py"
    runpy.run_path("my-extractors/net.py", run_name="__main__")

    def run(line, *more):
        monkeypatch.setenv("PROBEKIT_CARDS", "")  # --cards adds to it, a command at a time
        word, *arguments = shlex.split(line)
        assert word == "probekit"
        done = main(*arguments, *more)
        assert done.returncode == 0, done.stderr
        return done

    done = run(extract)
    assert "mine: 60 clips embedded" in done.stdout
    assert re.search(
        r"mine: uses the code of my-extractors/net.py, SHA-256 [0-9a-f]{8}", done.stderr
    )
    assert "nothing to do" in run(extract).stdout
    assert "mine" in run(evaluate).stdout
    shown = run("probekit --cards my-extractors extractors show mine").stdout
    assert "file: my-extractors/net.py" in shown and "module: net.py:Net" in shown

    # other code: other embeddings, of which evaluate warns, takes those, and gc lists the others
    [before] = Path("cache").glob("mine-*")
    net = folder / "my-extractors" / "net.py"
    net.write_text(net.read_text().replace("spectra.mean(2)", "spectra.amax(2)"))
    with pytest.warns(UserWarning, match="the code of its card has changed since its embeddings"):
        run(evaluate)
    assert "mine: 60 clips embedded" in run(extract).stdout
    [after] = set(Path("cache").glob("mine-*")) - {before}
    [result] = json.loads(run(evaluate, "--json").stdout)  # without the warning
    assert result["sources"][0]["fingerprint"].startswith(after.name.removeprefix("mine-"))
    garbage = run("probekit --cards my-extractors cache gc").stdout
    assert f"{before}/fsdd" in garbage and f"{after}/fsdd" not in garbage

    # windows that overlap: other embeddings, which are taken only where they are named
    run(extract.replace("-e mine", "-e mine:hop=1/8"), "--limit", "3")
    assert len(list(Path("cache").glob("mine-*"))) == 3
    assert "nothing to do" in run(extract.replace("-e mine", "-e mine:hop=0.25")).stdout
    [result] = json.loads(run(evaluate, "--json").stdout)
    assert result["sources"][0]["fingerprint"].startswith(after.name.removeprefix("mine-"))
