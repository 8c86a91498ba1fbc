"""The demonstration: the whole path from sounds to a page, and its honesty about both."""

import csv
import json
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import h5py
import pytest

from probekit import demo
from probekit.errors import DataError
from probekit.scores import result_table, store
from probekit.tasks.standin import corpus, sounds

SYNTHETIC, RANDOM = "synthetic corpus", "random weights (seed 0)"
CLIPS = 60  # fewer than the command line takes


pytestmark = pytest.mark.usefixtures("small_grid")


@pytest.fixture(scope="module")
def made(tmp_path_factory, few_settings):
    root = tmp_path_factory.mktemp("demo")
    steps = []
    with few_settings():
        found = demo.run_demo(
            cache=root / "cache", reports=root / "reports", clips=CLIPS, step=steps.append
        )
    return root, found, steps


def test_all_steps_are_told_and_the_time_is_kept(made):
    _, found, steps = made
    assert tuple(steps) == demo.STEPS
    assert found.seconds > 0


def test_corpus_has_the_clips(made):
    root, found, _ = made
    with (found.corpus / "clips.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == CLIPS
    assert {row["label"] for row in rows} == set(sounds.CLASSES)
    assert found.corpus.parent == root / "reports/demo"


def test_results_are_far_above_chance_and_say_what_they_are_of(made):
    _, found, _ = made
    melstats, vggish = found.results
    used = tuple(one["sources"][0]["extractor"] for one in (melstats, vggish))
    assert used == demo.EXTRACTORS
    assert melstats["provenance"] == [SYNTHETIC]
    assert vggish["provenance"] == [SYNTHETIC, RANDOM]
    assert 0.5 < melstats["score"] < 1  # of twelve classes, with four clips of each in training
    assert 0.25 < vggish["score"] < 1
    for one in found.results:
        assert one["clips"]["used"] == one["clips"]["of"] == CLIPS
        assert len(one["folds"]) == corpus.FOLDS
        assert one["interval"]["unit"] == "groups within folds"
        assert one["interval"]["low"] < one["score"] < one["interval"]["high"]
        assert one["solver"]["unconverged_final"] == 0


def test_store_has_what_was_returned_with_its_marks(made):
    root, found, _ = made
    kept = store.load_results(root / "reports/demo")
    assert sorted(kept, key=lambda r: r["run"]) == sorted(found.results, key=lambda r: r["run"])
    table = result_table.results(root / "reports/demo").set_index("embedding")
    assert table.loc["melstats", "provenance"] == SYNTHETIC
    assert table.loc["vggish", "provenance"] == f"{SYNTHETIC}; {RANDOM}"
    for path in (root / "reports/demo/results").glob("*/*.h5"):
        with h5py.File(path) as file:
            assert len(file["predictions/clip_id"]) == CLIPS


def test_figure_is_marked(made):
    _, found, _ = made
    files = {path.suffix: path for path in found.figures}
    texts = ["".join(item.itertext()) for item in ElementTree.parse(files[".svg"]).iter()]
    assert SYNTHETIC in texts
    assert set(sounds.CLASSES) <= set(texts)
    facts = json.loads(files[".json"].read_text())
    assert facts["provenance"] == [SYNTHETIC]
    assert facts["caption"].endswith("Synthetic corpus.")


def test_page_is_marked_and_needs_no_network(made):
    _, found, _ = made
    text = found.page.read_text(encoding="utf-8")
    shown: list[str] = []
    parser = HTMLParser()
    parser.handle_data = lambda data: shown.append(data.strip())
    parser.feed(text)
    shown = [data for data in shown if data]
    # in the banner, with how many of the two rows it is about
    banner = " ".join(shown[shown.index(SYNTHETIC.capitalize()) :])
    assert banner.startswith(f"{SYNTHETIC.capitalize()} {RANDOM.capitalize()} (1 of 2 rows)")
    assert shown.count(SYNTHETIC) == 2 and shown.count(RANDOM) == 1  # beside each score
    assert not re.search(r'(src|href)="(?!data:|#)', text)
    assert "data:image/svg+xml;base64," in text
    assert "data:audio/mpeg;base64," in text  # mistakes can be heard


def test_second_time_finds_everything_done(made):
    root, found, _ = made
    stamps = {path: path.stat().st_mtime_ns for path in root.rglob("*.h5")}
    again = demo.run_demo(cache=root / "cache", reports=root / "reports", clips=CLIPS)
    assert again.results == found.results
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*.h5")} == stamps


def test_folder_with_another_corpus_is_refused(made, tmp_path):
    folder = tmp_path / "demo" / f"corpus-{CLIPS}-0"
    corpus.write_corpus(folder, clips=12, seed=3)
    with pytest.raises(DataError, match=rf"corpus-{CLIPS}-0: .*contains another corpus"):
        demo.run_demo(cache=tmp_path / "cache", reports=tmp_path, clips=CLIPS)
