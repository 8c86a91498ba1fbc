"""Output where the terminal, or the file it is redirected to, lacks characters."""

import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from probekit import cli


@pytest.fixture
def run_encoded(monkeypatch):
    """Run a command whose output has an encoding; returns exit code, output and errors."""

    def run(encoding, *arguments):
        streams = [io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2)]
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["probekit", *map(str, arguments)])
            patch.setattr(sys, "stdout", streams[0])
            patch.setattr(sys, "stderr", streams[1])
            try:
                cli.main()
                code = 0
            except SystemExit as error:
                code = error.code
            for stream in streams:
                stream.flush()
        return code, *(stream.buffer.getvalue().decode(encoding) for stream in streams)

    return run


@pytest.fixture
def cache(tmp_path, main):
    """Embeddings of thirty clips whose labels are in Japanese."""
    rows = [f"c{k},{'鳥犬猫'[k % 3]}" for k in range(30)]
    (tmp_path / "m.csv").write_text("\n".join(["clip_id,label", *rows]), "utf-8")
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(30, 4)))
    arguments = ("--manifest", tmp_path / "m.csv", "--array", tmp_path / "x.npy")
    done = main("cache", "import", "e", *arguments, "--dataset", "動物", "--cache", tmp_path / "c")
    assert done.returncode == 0, done.stderr
    return tmp_path / "c"


@pytest.mark.parametrize(
    "encoding",
    [
        "ascii",
        "cp932",
        pytest.param("latin-1", marks=pytest.mark.slow),
        "utf-8",
    ],
)
def test_evaluate_prints_its_table_in_any_encoding(run_encoded, cache, tmp_path, encoding):
    where = ("--task", "動物", "-e", "e", "--cache", cache, "--reports", tmp_path / "r")
    code, out, _ = run_encoded(encoding, "evaluate", *where, "--probe", "knn")
    assert code == 0
    assert " – " in out if encoding == "utf-8" else " - " in out  # the interval
    assert ("動物" in out) == (encoding in ("utf-8", "cp932"))
    code, out, _ = run_encoded(encoding, "evaluate", *where, "--probe", "knn", "--json")
    [result] = json.loads(out)
    assert (code, result["task"]) == (0, "動物")


@pytest.mark.parametrize(
    "command", [("tasks",), ("extractors",), ("tasks", "show", "esc50"), ("evaluate", "--help")]
)
def test_lists_and_help_in_ascii(run_encoded, command):
    code, out, err = run_encoded("ascii", *command)
    assert (code, err) == (0, "")
    assert out


def test_errors_in_ascii(run_encoded, tmp_path):
    code, _, err = run_encoded("ascii", "data", "check", tmp_path / "鳥.csv")
    assert code == 2
    assert err.endswith("?.csv: no such file\n")


def test_locale_c_without_utf8(cli):
    done = cli("tasks", LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0", PYTHONIOENCODING="")
    assert (done.returncode, done.stderr) == (0, "")
    assert "esc50" in done.stdout


def test_files_are_written_in_utf8_whatever_the_locale_is(cli, tmp_path):
    code = (
        "from pathlib import Path; from probekit.data.manifest import from_rows\n"
        "from probekit.data import readers\n"
        "clips = from_rows('m', [{'clip_id': 'e\\u0301', 'path': 'a.wav', 'labels': '\\u9ce5'}])\n"
        "clips.write(Path('m.csv')); print(ascii(readers.from_csv(Path('m.csv')).class_names))"
    )
    done = cli(code=code, cwd=tmp_path, LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert (done.stdout, done.stderr) == ("('\\u9ce5',)\n", "")
    assert "鳥" in Path(tmp_path / "m.csv").read_text("utf-8")
