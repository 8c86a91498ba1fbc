"""What all tests share: temp folders instead of the user's, a tiny corpus, the command line."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

REPOSITORY = Path(__file__).parent.parent
FOLDERS = ("HOME", "CACHE", "REPORTS")
LABELS = ("click", "noise", "tone")


@pytest.fixture(scope="session", autouse=True)
def _private_session(tmp_path_factory):
    """Fixtures of a wider scope than a test must not touch the user's folders either."""
    patch = pytest.MonkeyPatch()
    base = tmp_path_factory.mktemp("probekit")
    for name in FOLDERS:
        patch.setenv(f"PROBEKIT_{name}", str(base / name.lower()))
    patch.setenv("PROBEKIT_CARDS", "")
    yield
    patch.undo()


@pytest.fixture(autouse=True)
def _private(monkeypatch, tmp_path_factory):
    base = tmp_path_factory.getbasetemp()
    for name in FOLDERS:
        folder = base / f"{name.lower()}-{os.urandom(6).hex()}"
        monkeypatch.setenv(f"PROBEKIT_{name}", str(folder))
    monkeypatch.setenv("PROBEKIT_CARDS", "")


@pytest.fixture(scope="session")
def shared():
    """Reference data beside the repository; not part of it."""
    folder = REPOSITORY.parent / "shared"
    if not folder.is_dir():
        pytest.skip(f"the reference data is not on this machine ({folder})")
    return folder


def sound(label, number, seconds, rate):
    """One sound of a label; a number gives the same samples each time."""
    rng = np.random.default_rng([number, len(label)])
    time = np.arange(round(seconds * rate)) / rate
    wave = {
        "click": (np.arange(len(time)) % (rate // (8 + number)) == 0) * 0.9,
        "noise": rng.uniform(-0.5, 0.5, len(time)),
        "tone": 0.5 * np.sin(2 * np.pi * 110 * (number + 2) * time),
    }[label]
    return wave + rng.uniform(-1e-3, 1e-3, len(time))


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    """A folder of 24 clips, 8 for each of 3 labels, of mixed formats, rates and channels.

    It is shared: copy it before changing anything.
    """
    root = tmp_path_factory.mktemp("corpus") / "tiny"
    kinds = [
        ("wav", "PCM_16", 22050, 1),
        ("flac", "PCM_16", 44100, 2),
        ("wav", "FLOAT", 16000, 1),
        ("wav", "PCM_24", 22050, 2),
    ]
    for label in LABELS:
        (root / label).mkdir(parents=True)
        for number in range(8):
            suffix, subtype, rate, channels = kinds[number % 4]
            wave = sound(label, number, 0.2 + 0.05 * number, rate)
            wave = wave if channels == 1 else np.stack([wave, 0.5 * wave[::-1]], axis=1)
            soundfile.write(root / label / f"{label}{number}.{suffix}", wave, rate, subtype)
    return root


@pytest.fixture
def cli():
    """Run ``probekit`` as a user does: in a process of its own."""

    def run(*arguments, cwd=None, code=None, **environment):
        """``code`` is Python to run instead, before which nothing is imported."""
        start = ["-c", code] if code else ["-m", "probekit"]
        done = subprocess.run(
            [sys.executable, *start, *map(str, arguments)],
            cwd=cwd,
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
            capture_output=True,
            text=True,
            timeout=120,
        )
        return SimpleNamespace(returncode=done.returncode, stdout=done.stdout, stderr=done.stderr)

    return run


@pytest.fixture
def main(monkeypatch, capsys):
    """Run ``probekit`` in this process: faster, and as good where nothing is killed."""

    def run(*arguments):
        from probekit import cli

        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["probekit", *map(str, arguments)])
        try:
            cli.main()
            code = 0
        except SystemExit as error:
            code = error.code or 0
        out, err = capsys.readouterr()
        return SimpleNamespace(returncode=code, stdout=out, stderr=err)

    return run
