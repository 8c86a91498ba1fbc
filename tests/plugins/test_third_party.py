"""A package of somebody else: its cards and its code, found when it is installed."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import probekit
from probekit.cards import ExtractorCard, Protocol, TaskCard
from probekit.errors import CardError
from probekit.extractors.networks import import_network
from probekit.tasks.task import Task

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGE = Path(__file__).parent / "package"

Run = Callable[..., list[str]]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder in which the package is installed, without a network connection."""
    folder = tmp_path_factory.mktemp("plugins")
    shutil.copytree(PACKAGE, folder / "source")  # setuptools builds inside of the source folder
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    options = ["--no-build-isolation", "--no-cache-dir", "--disable-pip-version-check"]
    target = folder / "site"
    subprocess.run([*pip, *options, "--target", target, folder / "source"], check=True)
    return target


COMMANDS = """
import json, sys
from probekit import cli

for words in json.loads(sys.argv[1]):
    sys.argv = ["probekit", *words]
    try:
        cli.main()
    except SystemExit as error:
        assert not error.code
    print(end="\\0", flush=True)
"""


@pytest.fixture
def run(site: Path, tmp_path: Path) -> Run:
    """Return a function that runs commands of probekit with the package installed, in a process.

    Each command is a list of arguments; the function returns what each of them printed.
    """

    def call(*commands: list[str | Path]) -> list[str]:
        texts = json.dumps([[str(word) for word in command] for command in commands])
        environ = {"PYTHONPATH": f"{site}{os.pathsep}{ROOT}", "PROBEKIT_CACHE": str(tmp_path / "c")}
        done = subprocess.run(
            [sys.executable, "-c", COMMANDS, texts], cwd=tmp_path, env=os.environ | environ,
            capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.split("\0")[:-1]

    return call


def test_extractors_of_an_installed_package(run: Run, tmp_path: Path) -> None:
    audio = tmp_path / "clips"
    audio.mkdir()
    noise = np.random.default_rng(0).uniform(-1, 1, (2, 8000))
    for name, wave in zip("ab", noise, strict=True):
        soundfile.write(audio / f"{name}.wav", wave, 8000, "FLOAT")
    listed, _ = run(
        ["extractors", "--json"],
        ["extract", "-e", "rms", "-e", "projection", "--audio", audio, "--weights",
         "projection=random:0", "--device", "cpu"],
    )  # fmt: skip
    assert {"rms", "projection", "vggish"} <= {row["extractor"] for row in json.loads(listed)}
    vectors = {
        name: probekit.open_cache(name, "clips", cache=tmp_path / "c").vectors(["a", "b"])
        for name in ("rms", "projection")
    }
    expected = np.sqrt(np.square(noise).reshape(2, 10, 800).mean(2)).mean(1)
    np.testing.assert_allclose(vectors["rms"][:, 0], expected, rtol=1e-6)
    assert vectors["projection"].shape == (2, 4)


MODULES = {
    "whole.py": "def build(card, params, streams): return (card.name, params, streams)\n",
    "lacking.py": "LEVEL = 3\n",
    "broken.py": "raise RuntimeError('half a file')\n",
    "needing.py": "import no_such_library\n",
    "listing.py": "def load(card, root): ...\n",
}


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "third_party").mkdir()
    for name, text in MODULES.items():
        (tmp_path / "third_party" / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "third_party"]:
        del sys.modules[name]


def card(module: str) -> ExtractorCard:
    return ExtractorCard.model_validate(
        {
            "name": "theirs", "title": "", "version": 1, "module": module, "sample_rate": 8000,
            "long_audio": "exact", "default_stream": "a",
            "streams": {"a": {"dim": 1, "kind": "clip"}},
        }
    )  # fmt: skip


def test_a_module_with_build(modules: None) -> None:
    network = import_network(card("third_party.whole"))
    assert network.build(card("third_party.whole"), {}, ("a",)) == ("theirs", {}, ("a",))
    assert network.read_weights is None


def test_built_in_names_stay() -> None:
    from probekit.extractors.networks import convnet, short_chunk

    network = import_network(card("convnet"))
    assert network == (convnet.Convnet, convnet.read_weights)
    assert short_chunk.__name__.endswith("networks.short_chunk")


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (
            "third_party.lacking",
            r"third_party.lacking has no function build\(card, params, streams",
        ),
        ("third_party.lacking:Other", "third_party.lacking has no class 'Other'"),
        ("third_party.lacking:LEVEL", "LEVEL must be a subclass of torch.nn.Module or .*Extractor"),
        ("third_party.absent", "no module named 'third_party.absent'. Install its package"),
        ("nowhere.at.all:Network", "no module named 'nowhere'. Install its package"),
        ("third_party.needing", "third_party.needing needs 'no_such_library'"),
        ("third_party.broken:Network", r"cannot be imported \(RuntimeError: half a file\)"),
        ("convnett", "not a network of probekit. Did you mean 'convnet'"),
        ("short_chunk", r"short_chunk has no function build"),
        ("", "not a network of probekit"),
        (":Network", r"cannot be imported \(ValueError"),
    ],
)
def test_errors_name_the_card_and_what_is_missing(modules: None, module: str, message: str) -> None:
    with pytest.raises(
        CardError, match=f"^extractor theirs: module '{module}' of its card: .*{message}"
    ):
        import_network(card(module))


def test_a_class_of_another_package(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(site)
    network = import_network(card("envelopes.rms:RMS"))
    extractor = network.build(card("envelopes.rms:RMS"), {}, ("a",))
    assert extractor.embed(torch.full((1, 1), 4.0))["level"].item() == 2


@pytest.mark.slow
def test_task_of_an_installed_package(run: Run, tmp_path: Path) -> None:
    root = tmp_path / "knocks"
    task = ["--task", "knocks", "-e", "rms"]
    listed, _, report, _, results = run(
        ["tasks", "--json"],
        ["data", "rehearse", "knocks", "--root", root],
        ["data", "check", "knocks", "--root", root, "--decode", "--json"],
        ["extract", *task, "--root", root, "--device", "cpu"],
        ["evaluate", *task, "--reports", "r", "--json"],
    )
    assert {"knocks", "esc50"} <= {row["task"] for row in json.loads(listed)}
    checked = json.loads(report)
    assert checked["counts"]["clips"]["found"] == 12
    assert checked["labels"] == {"glass": 6, "wood": 6}
    assert (checked["faults"], checked["undecodable"]) == ([], {})
    [result] = json.loads(results)
    assert (result["task"], result["clips"]["used"]) == ("knocks", 12)
    assert [fold["fold"] for fold in result["folds"]] == ["hall", "study", "yard"]
    assert "stand-in data" in result["provenance"]


@pytest.mark.parametrize(
    ("module", "message"),
    [
        ("third_party.lacking", r"it has no function load\(card, root\)"),
        ("third_party.absent", "no module named 'third_party.absent'. Install its package"),
        ("third_party.needing", "third_party.needing needs 'no_such_library'"),
        (
            "third_party.broken",
            r"third_party.broken cannot be imported \(RuntimeError: half a file\)",
        ),
    ],
)
def test_errors_of_a_task_name_its_card(modules: None, module: str, message: str) -> None:
    protocol = Protocol(kind="split")
    theirs = TaskCard(
        name="theirs", title="", dataset="d", module=module, protocol=protocol, metric="accuracy"
    )
    with pytest.raises(CardError, match=f"^task theirs: module '{module}' of its card: {message}"):
        Task(theirs).manifest()


def test_task_without_stand_in_data(modules: None, tmp_path: Path) -> None:
    theirs = TaskCard(
        name="theirs", title="", dataset="d", module="third_party.listing",
        protocol=Protocol(kind="split"), metric="accuracy",
    )  # fmt: skip
    with pytest.raises(CardError, match=r"task theirs: .* has no function make_standin\(card, wr"):
        Task(theirs).write_standin(tmp_path / "new")
    assert not (tmp_path / "new").exists()
