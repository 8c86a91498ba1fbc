import json

import pytest

HEAVY = ["torch", "sklearn", "pandas", "matplotlib", "jinja2", "transformers", "onnxruntime"]

LOADED = f"""
import json, sys
try:
    %s
finally:
    print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))
"""
RUN = LOADED % "from probekit.cli import main; main()"


def loaded(done):
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_import_loads_nothing_heavy(cli):
    assert loaded(cli(code=LOADED % "import probekit; dir(probekit)")) == []


def test_tests_of_stored_runs_load_nothing_heavy(cli):
    assert loaded(cli(code=LOADED % "import probekit.scores.comparison")) == []


@pytest.mark.parametrize("argument", ["--help", "--version"])
def test_help_loads_nothing_heavy(cli, argument):
    assert loaded(cli(argument, code=RUN)) == []


def test_what_is_loaded_would_be_seen(cli):
    assert loaded(cli(code=LOADED % "import probekit; probekit.results")) == ["pandas"]


def test_finding_nothing_to_do_loads_no_torch(cli, main, corpus, tmp_path):
    stores = ["--cache", tmp_path / "cache"]
    arguments = ["extract", "-e", "melstats", "--audio", corpus, *stores]
    assert main(*arguments).returncode == 0
    done = cli(*arguments, code=RUN)
    assert "nothing to do" in done.stdout
    assert loaded(done) == ["pandas"]
    stores += ["--reports", tmp_path / "reports"]
    arguments = ["evaluate", "--task", "tiny", "-e", "melstats", "--probe", "knn", *stores]
    assert main(*arguments).returncode == 0
    assert loaded(cli(*arguments, code=RUN)) == []  # the result is stored


def test_every_public_name_is_there():
    import probekit

    for name in probekit.__all__:
        assert callable(getattr(probekit, name))
    assert set(probekit.__all__) <= set(dir(probekit))
    with pytest.raises(AttributeError, match="no attribute 'extrakt'"):
        _ = probekit.extrakt
