"""Examples in docstrings run, each in an empty folder, and print what they say."""

import doctest
import importlib
import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = [p for p in sorted((ROOT / "probekit").rglob("*.py")) if "\n    >>> " in p.read_text()]


def examples():
    finder = doctest.DocTestFinder(exclude_empty=True)
    for path in FILES:
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        module = importlib.import_module(name)
        for test in finder.find(module, name):
            if test.examples:
                yield pytest.param(test, id=test.name.removeprefix("probekit."))


@pytest.mark.parametrize("test", list(examples()))
def test_example(test, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("PROBEKIT_CACHE", "PROBEKIT_REPORTS", "PROBEKIT_CARDS"):
        monkeypatch.delenv(name, raising=False)
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    lines = []
    result = doctest.DocTestRunner(optionflags=flags, verbose=False).run(test, out=lines.append)
    assert result.failed == 0, "".join(lines)
    assert Path.cwd() == tmp_path and os.environ.get("PROBEKIT_CACHE") is None
