"""A small paper of our own, reproduced: what is computed, and what each kind of lack says."""

import json
import shutil

import pytest
import yaml

from probekit import cards
from probekit.errors import ProbekitError
from probekit.reproduce import arguments, paper_tables
from probekit.reproduce.assets import Assets
from probekit.reproduce.reproduction import reproduce

pytestmark = pytest.mark.usefixtures("small_grid")
LABELS = ("click", "noise", "tone")
TASK = {
    "name": "mine",
    "title": "Sounds of mine",
    "dataset": "mine",
    "module": "table",
    "options": {"csv": "mine.csv"},
    "protocol": {"kind": "folds", "inner_folds": 3},
    "metric": "accuracy",
    "also": ["balanced-accuracy"],
    "download": "Ask us.",
}
PAPER = {
    "name": "paper",
    "title": "A <paper>",
    "tables": [
        {
            "name": "table-1",
            "title": "Scores",
            "where": "Table 1",
            "task": "mine",
            "columns": [
                {"label": "ACC", "metric": "accuracy"},
                {"label": "BAC", "metric": "balanced-accuracy"},
            ],
            "rows": [
                {"label": "ours", "embedding": "melstats", "values": [0.99, 0.1],
                 "differs": "their clips"},
                {"label": "net", "embedding": "weanet", "values": [0.5, None]},
                {"label": "head", "embedding": "melstats", "probe": "head", "values": [0.4, None]},
                {"label": "trained", "pending": "needs training", "values": [0.3, None]},
                {"label": "old", "prior": True, "values": [0.2, None]},
            ],
        }
    ],
    "figures": [
        {"name": "figure-1", "title": "Tree", "where": "Figure 1", "kind": "dendrogram",
         "task": "mine", "embedding": "melstats", "differs": "their classes"},
        {"name": "figure-2", "title": "Pairs", "where": "Figure 2", "kind": "correlation",
         "task": "mine", "embedding": "melstats"},
        {"name": "figure-3", "title": "Curve", "where": "Figure 3", "pending": "a picture only"},
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def places(tmp_path_factory, corpus):
    """Cards and the dataset's folder; nothing is extracted yet."""
    base = tmp_path_factory.mktemp("paper")
    shutil.copytree(corpus, base / "data")
    files = sorted(path.relative_to(base / "data") for path in (base / "data").rglob("*.*"))
    lines = ["clip_id,path,label,fold"]
    lines += [f"{path.stem},{path},{path.parent},{k % 4}" for k, path in enumerate(files)]
    (base / "data" / "mine.csv").write_text("\n".join(lines) + "\n")
    for kind, content in (("tasks", TASK), ("reports", PAPER)):
        (base / "cards" / kind).mkdir(parents=True)
        path = base / "cards" / kind / f"{content['name']}.yaml"
        path.write_text(yaml.safe_dump(content))
    return base


@pytest.fixture
def paper(places, monkeypatch):
    monkeypatch.setenv("PROBEKIT_CARDS", str(places / "cards"))
    return cards.load_paper_card("paper")


@pytest.fixture(scope="module")
def found(places, few_settings):
    """The paper with its dataset's folder given."""
    with few_settings(), pytest.MonkeyPatch.context() as patch:
        patch.setenv("PROBEKIT_CARDS", str(places / "cards"))
        assets = Assets(places / "cache", {"mine": places / "data"})
        return reproduce(cards.load_paper_card("paper"), assets, reports=places / "out")


def scores(found):
    return {(s.cell.row, s.cell.column): s for s in found.tables[0][1]}


def test_each_score_has_its_state(found):
    states = {key: score.status for key, score in scores(found).items()}
    assert states == {
        ("ours", "ACC"): "computed",
        ("ours", "BAC"): "computed",
        ("net", "ACC"): "missing",
        ("head", "ACC"): "failed",
        ("trained", "ACC"): "pending",
        ("old", "ACC"): "prior",
    }
    assert [drawn.status for drawn in found.figures] == ["computed", "failed", "pending"]
    assert not found.is_complete
    assert paper_tables.summary_line(found) == "2 of 5 scores and 1 of 3 figures"


def test_ours_is_the_run_that_is_kept(found, places):
    own = scores(found)
    [kept] = [
        json.loads(path.read_text())
        for path in (places / "out" / "results").rglob("*.json")
    ]  # fmt: skip
    first, second = own["ours", "ACC"], own["ours", "BAC"]
    assert (first.value, first.low) == (kept["score"], kept["interval"]["low"])
    assert second.value == kept["also"]["balanced-accuracy"]["score"]
    assert first.run == second.run == kept["run"]
    assert first.difference == pytest.approx(first.value - 0.99)
    assert first.within_interval == (first.low <= 0.99 <= first.high)
    assert second.within_interval is False and second.low > 0.1


def test_what_is_missing_says_how_to_get_it(found):
    own = scores(found)
    assert "weanet.pth" in own["net", "ACC"].needs[0]
    assert "--weights weanet=FILE" in own["net", "ACC"].needs[0]
    assert "melstats: no head in" in own["head", "ACC"].reason and own["head", "ACC"].needs == ()
    reasons = dict(paper_tables.list_missing(found))
    assert reasons["pending: needs training"] == "Table 1, trained, ACC"
    assert any("no head found" in text and "Figure 2" in who for text, who in reasons.items())


def test_without_the_folder_the_cache_is_enough(paper, found, places):
    again = reproduce(paper, Assets(places / "cache"), reports=places / "again")
    assert scores(again)["ours", "ACC"].value == scores(found)["ours", "ACC"].value
    assert again.figures[0].status == "computed"
    # and without either, it is said where the data comes from
    nothing = reproduce(paper, Assets(places / "none"), reports=places / "nothing")
    needs = scores(nothing)["ours", "ACC"].needs
    assert needs == ("data: name the folder with --root mine=DIR. Ask us.",)
    assert paper_tables.summary_line(nothing) == "0 of 5 scores and 0 of 3 figures"


def test_all_files_are_written(found, places):
    folder = places / "out" / "paper"
    written = paper_tables.write_files(found, folder)
    assert [path.name for path in written] == [
        "paper.md", "paper.json", "table-1.md", "table-1.tex", "table-1.csv",
    ]  # fmt: skip
    text = written[0].read_text()
    assert r"A \<paper\>" in text and "Differs: their classes." in text
    [picture] = [line for line in text.splitlines() if line.startswith("![")]
    assert (folder / picture.partition("(")[2].rstrip(")")).is_file()
    content = json.loads(written[1].read_text())
    assert content["computed"] == "2 of 5 scores and 1 of 3 figures" and not content["whole"]
    assert [one["status"] for one in content["figures"]] == ["computed", "failed", "pending"]
    rows = written[4].read_text().splitlines()
    assert len(rows) == 7 and rows[0].startswith("table,")
    assert "0.990" not in written[3].read_text()  # as many digits as the paper prints
    assert "0.99" in written[3].read_text()


def test_stand_ins_are_marked_and_not_compared(paper, places, tmp_path):
    """The same clips in a folder that is marked as stand-in data."""
    from dataclasses import replace

    shutil.copytree(places / "data", tmp_path / "data")
    (tmp_path / "data" / "STAND-IN.txt").write_text("stand-in")
    assets = Assets(tmp_path / "cache", {"mine": tmp_path / "data"})
    only = arguments.select_parts(paper, ["table-1"])
    found = replace(reproduce(only, assets, reports=tmp_path / "out"), rehearsed=True)
    score = scores(found)["ours", "ACC"]
    assert "stand-in data" in score.provenance
    assert score.difference is None and score.within_interval is None
    for path in paper_tables.write_files(found, tmp_path / "out" / "paper"):
        assert "stand-in data" in path.read_text().lower(), path


def test_folders_are_checked(paper, places, tmp_path):
    with pytest.raises(ProbekitError, match="no such folder"):
        arguments.parse_roots(paper, [f"mine={tmp_path / 'gone'}"], None)
    with pytest.raises(ProbekitError, match="task of paper 'esc50'"):
        arguments.parse_roots(paper, [f"esc50={tmp_path}"], None)
    with pytest.raises(ProbekitError, match="must be TASK=DIR"):
        arguments.parse_roots(paper, [str(tmp_path)], None)
    listed = tmp_path / "roots.yaml"
    listed.write_text("mine: there\nesc50: elsewhere\n")
    (tmp_path / "there").mkdir()
    # a file of folders may serve several papers; it is relative to itself
    assert arguments.parse_roots(paper, [], listed) == {"mine": tmp_path / "there"}
    assert arguments.parse_roots(paper, [f"mine={places}"], listed) == {"mine": places}
    listed.write_text("mein: there\n")
    with pytest.raises(ProbekitError, match="'mein'"):
        arguments.parse_roots(paper, [], listed)
    listed.write_text("- there\n")
    with pytest.raises(ProbekitError, match="must contain one line TASK: DIR per dataset"):
        arguments.parse_roots(paper, [], listed)


def test_parts_and_weights_are_checked(paper):
    assert [part.name for part in arguments.select_parts(paper, ["figure-1"]).figures] == [
        "figure-1"
    ]
    assert arguments.select_parts(paper, ["figure-1"]).tables == []
    with pytest.raises(ProbekitError, match="table-1"):
        arguments.select_parts(paper, ["table-2"])
    with pytest.raises(ProbekitError, match="only presets"):
        arguments.select_parts(cards.load_paper_card("hear"), [])
    assert arguments.check_weights(paper, ["weanet=random:0"]) == ("weanet=random:0",)
    with pytest.raises(ProbekitError, match="network of paper 'vggish'"):
        arguments.check_weights(paper, ["vggish=random:0"])
