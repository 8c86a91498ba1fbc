"""The pages of ``docs/``: their commands exist, marked examples run, and the site is built.

A fenced block after ``<!-- run -->`` runs here, in the order of its page, in an empty folder with
the recordings of ``docs/start.md``. ``<!-- run: train --epochs 2 -->`` adds options to one command.
"""

import importlib.util
import re
import shlex
import shutil
from pathlib import Path

import pytest

from probekit import cli

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = [
    *sorted(DOCS.rglob("*.md")),
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "cache/README.md")),
]
BLOCK = re.compile(
    r"(?:<!-- run(?P<mark>:[^>]*)? ?-->\n)?^```(?P<kind>\w*)\n(?P<text>.*?)^```", re.M | re.S
)
FAST = ("start.md",)


def blocks(path):
    for match in BLOCK.finditer(path.read_text("utf-8")):
        marked = match[0].startswith("<!-- run")
        yield match["kind"], match["text"], (match["mark"] or "").strip(": ") if marked else None


def commands(text):
    """Yield the arguments of each command of probekit in a block of a shell."""
    for line in text.replace("\\\n", " ").splitlines():
        _, found, rest = line.partition("probekit ")
        if found and re.fullmatch(
            r"(\S*[$>#] ?)?|.*&& ", line.partition("probekit ")[0].strip() or ""
        ):
            yield shlex.split(rest, comments=True)


def shell_lines():
    for path in PAGES:
        for kind, text, _ in blocks(path):
            if kind in ("", "sh", "bash", "console"):
                for words in commands(text):
                    yield path.relative_to(ROOT).as_posix(), words


def test_commands_and_options_on_pages_exist():
    unknown, number = [], 0
    root = cli.build_command()
    for page, words in shell_lines():
        number += 1
        command = root
        while words and hasattr(command, "commands"):
            if words[0] == "--cards":
                words = words[2:]
            elif words[0] in command.commands:
                command, words = command.commands[words[0]], words[1:]
            else:
                break
        if hasattr(command, "commands") and words and re.fullmatch(r"[A-Z]+", words[0]):
            continue  # KIND stands for any of them
        if hasattr(command, "commands") and words and words[0][0] != "-":
            unknown.append(f"{page}: {words[0]}")
            continue
        known = {
            option for param in command.params for option in (*param.opts, *param.secondary_opts)
        }
        known |= {"-h", "--help"}
        for word in words:
            if re.match(r"--?[a-z]", word) and word.split("=")[0] not in known:
                unknown.append(f"{page}: {word}")
    assert number > 150
    assert unknown == []


@pytest.fixture(scope="session")
def recordings(tmp_path_factory):
    """The folder of docs/start.md."""
    folder = tmp_path_factory.mktemp("start")
    [code] = (text for kind, text, _ in blocks(DOCS / "start.md") if kind == "python")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        exec(compile(code, "start.md", "exec"), {})
    return folder / "insects"


def pages_that_run():
    for path in sorted(DOCS.rglob("*.md")):
        if any(mark is not None for _, _, mark in blocks(path)):
            name = path.relative_to(DOCS).as_posix()
            marks = [] if name in FAST else [pytest.mark.slow]
            yield pytest.param(path, id=name, marks=marks)


@pytest.mark.parametrize("path", list(pages_that_run()))
def test_marked_examples_run(path, recordings, main, small_grid, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("PROBEKIT_CACHE", "PROBEKIT_REPORTS"):
        monkeypatch.delenv(name)
    shutil.copytree(recordings, tmp_path / "insects")
    if path.stem == "moving-a-cache":
        assert main("extract", "-e", "mfcc", "--audio", "insects").returncode == 0
    ran = 0
    for kind, text, mark in blocks(path):
        if mark is None:
            continue
        if kind == "python":
            exec(compile(text, path.name, "exec"), {})
            ran += 1
            continue
        target, *more = shlex.split(mark) or [""]
        for words in commands(text):
            if target in words:
                words = [*words, *more]
            students = sorted(
                Path("reports/out/students").glob("*"), key=lambda p: p.stat().st_mtime
            )
            if any("runs/ID" in word for word in words):
                words = [word.replace("runs/ID", f"runs/{students[0].name}") for word in words]
            done = main(*words)
            assert done.returncode == 0, (words, done.stderr)
            assert done.stdout
            ran += 1
    assert ran


@pytest.fixture(scope="module")
def site_pages():
    pytest.importorskip("mkdocs", reason="the site needs pip install -e '.[docs]'")
    spec = importlib.util.spec_from_file_location("site_pages", ROOT / "scripts/site_pages.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_pages_have_every_card_command_and_metric(site_pages):
    from probekit import cards
    from probekit.metrics import metrics

    pages = site_pages.build_pages()
    for kind in ("tasks", "extractors", "reports"):
        for name in cards.card_paths(kind):
            assert f"# {name}\n" in pages[f"reference/{kind}/{name}.md"]
            assert f"[{name}]({name}.md)" in pages[f"reference/{kind}/index.md"]
    for name in cli.build_command().commands:
        assert f"# probekit {name}\n" in pages[f"reference/commands/{name}.md"]
    assert "`--fraction F,F`" in pages["reference/commands/evaluate.md"]
    for name in metrics.METRICS:
        assert f"`{name}`" in pages["reference/metrics.md"]
    assert "class_scores" in pages["reference/formats.md"]
    assert (
        "a proven" not in pages["about/glossary.md"] and "fingerprint" in pages["about/glossary.md"]
    )


@pytest.mark.slow
def test_site_is_built_without_a_warning_and_loads_nothing_from_elsewhere(
    site_pages, tmp_path, cli
):
    code = "import sys; from mkdocs.__main__ import cli; cli(sys.argv[1:])"
    done = cli(
        "build", "--strict", "-d", tmp_path / "site", cwd=ROOT, code=code, NO_MKDOCS_2_WARNING="1"
    )
    assert done.returncode == 0, done.stderr[-3000:]
    loaded = re.compile(
        r"""<(?:script|img|iframe)[^>]*\ssrc=["']?(https?:|//)|<link[^>]*rel=["']?stylesheet["']?[^>]*href=["']?https?:"""
    )
    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) > 80
    assert [p.name for p in pages if loaded.search(p.read_text("utf-8"))] == []
