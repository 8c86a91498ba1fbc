"""What the README shows works as it stands there."""

import re
from pathlib import Path

import pytest
import typer

import probekit
from probekit import cards, cli

ROOT = Path(__file__).resolve().parent.parent


def blocks(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)


def test_python_example_runs_on_real_recordings(shared, tmp_path, monkeypatch, capsys):
    recordings = tmp_path / "free-spoken-digit-dataset" / "recordings"
    recordings.mkdir(parents=True)
    for path in (shared / "data/fsdd/recordings").glob("*_[0-9].wav"):  # 10 of 50 of each kind
        (recordings / path.name).symlink_to(path)
    assert len(list(recordings.iterdir())) == 600
    monkeypatch.chdir(tmp_path)
    probekit.extract("melstats", task="fsdd", root="free-spoken-digit-dataset")
    (example,) = (block for block in blocks("python") if "KNeighbors" in block)
    exec(compile(example, "README.md", "exec"), {})
    assert 0.9 < float(capsys.readouterr().out) <= 1.0


def test_links_lead_somewhere():
    links = re.findall(r"\]\(([^)#]+)\)", (ROOT / "README.md").read_text("utf-8"))
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_changelog_names_everything():
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    words = set(re.findall(r"[\w.-]+", text))
    assert set(cards.card_paths("tasks")) <= words
    assert set(cards.card_paths("extractors")) <= words
    if not cli.app.registered_commands:
        cli._register()
    own = [one.name for one in (*cli.app.registered_commands, *cli.app.registered_groups)]
    listed = {"tasks", "extractors"}  # what these show is what the rest is about
    assert [name for name in own if f"probekit {name}" not in text and name not in listed] == []
    for group in cli.app.registered_groups:
        for one in group.typer_instance.registered_commands:
            name = one.name or one.callback.__name__
            assert name.strip("_") in words, f"{group.name} {name}"


@pytest.mark.parametrize("name", ["kumar2021", "hung2022", "lee2019", "lee2021", "kim2018"])
def test_what_is_said_of_a_paper_is_what_its_card_says(name):
    text = (ROOT / "reports/README.md").read_text("utf-8")
    [said] = re.findall(rf"^\| `{name}` \|.*\| (.*) \|$", text, re.MULTILINE)
    card = cards.load_paper_card(name)
    cells = [cell for table in card.tables for cell in table.cells() if not cell.prior]
    waiting = sum(bool(cell.pending) for cell in cells)
    word = "none" if waiting == len(cells) else "all but" if waiting else "all"
    assert said.startswith(word)
    assert said.startswith("all but") == (word == "all but")


def test_commands_without_json_are_those_that_it_names():
    lacking = set()

    def look(command, path=()):
        for name, child in getattr(command, "commands", {}).items():
            look(child, (*path, name))
        options = {word for one in command.params for word in one.opts}
        if not hasattr(command, "commands") and "--json" not in options:
            lacking.add(" ".join(path))

    if not cli.app.registered_commands:
        cli._register()
    look(typer.main.get_command(cli.app))
    assert lacking <= {"demo", "data rehearse", "results table"}
