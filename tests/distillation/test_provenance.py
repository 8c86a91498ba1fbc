"""A student is scored, or teaches, on clips that it was trained on: the score says so."""

import pytest

from probekit.cache import training_clips
from probekit.distillation.distill import distill
from probekit.extraction.extract import extract
from probekit.extractors.students import card as card_module
from probekit.probes.evaluate import evaluate

STUDENT = "short-chunk:width=2"
LABELS = ("click", "noise", "tone")
pytestmark = pytest.mark.usefixtures("small_grid")


@pytest.fixture(scope="module")
def students(corpus, tmp_path_factory):
    """A table with folds, students trained for two of them, and their embeddings."""
    base = tmp_path_factory.mktemp("lineage")
    for name in ("small", "other"):  # the same ids, for other recordings
        lines, paths = ["clip_id,path,label,fold"], sorted(corpus.rglob("*.*"))
        for k, path in enumerate(paths):
            clip_id = path.stem if name == "small" else paths[k - 1].stem
            lines.append(f"{clip_id},{path.relative_to(corpus)},{path.parent.name},{k % 3 + 1}")
        (base / f"{name}.csv").write_text("\n".join(lines) + "\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PROBEKIT_REPORTS", str(base / "r"))
        made = {}
        for fold in ("3", "2"):
            (result,) = run(base, corpus, folds=[fold])
            made[fold] = f"runs/{result['run'][:12]}"
        for name in ("small", "other"):
            options = {"root": corpus, "cache": base / "cache", "streams": STREAMS, "frames": True}
            extract(list(made.values()), task=str(base / f"{name}.csv"), **options)
    return base, made


STREAMS = ["embedding", "hidden", "probabilities"]


def run(base, corpus, task="small", **options):
    return distill(str(base / f"{task}.csv"), STUDENT, options.pop("teachers", ()), epochs=1,
                   batch=8, device="cpu", cache=base / "cache", root=corpus, reports=base / "r",
                   **options)  # fmt: skip


def notes_of(results):
    return [[text for text in one["provenance"] if "runs/" in text] for one in results]


def own(name, trained_on=8, chose=8, of=24):
    return [
        f"{name} was trained on {trained_on} of {of} test clips",
        f"the epoch of {name} was chosen on {chose} of {of} test clips",
    ]


@pytest.mark.parametrize("probe", ["linear", "head"])
def test_a_probe_on_its_clips_says_so(students, tmp_path, probe):
    base, made = students
    options = {"probe": probe, "cache": base / "cache", "reports": tmp_path}
    found = evaluate(str(base / "small.csv"), [made["3"]], **options)
    assert notes_of(found) == [own(made["3"])]  # over the test clips of all three folds
    assert not any("only" in text for text in found[0]["provenance"])
    found = evaluate(str(base / "other.csv"), [made["3"]], **options)
    assert notes_of(found) == [[]]  # equal ids of another dataset are other clips


def test_each_of_several_students_is_named(students, tmp_path):
    base, made = students
    options = {"cache": base / "cache", "reports": tmp_path}
    found = evaluate(str(base / "small.csv"), [f"{made['3']}+{made['2']}"], **options)
    assert notes_of(found) == [own(made["3"]) + own(made["2"])]


def test_where_it_is_not_known_that_is_said_and_is_another_run(students, tmp_path):
    base, made = students
    options = {"cache": base / "cache", "reports": tmp_path}
    (known,) = evaluate(str(base / "small.csv"), [made["3"]], **options)
    (home,) = (base / "cache").glob(f"student-{made['3'].removeprefix('runs/')}-*")
    kept = (home / training_clips.CLIPS_FILE).read_bytes()
    (home / training_clips.CLIPS_FILE).unlink()
    (old,) = evaluate(str(base / "small.csv"), [made["3"]], **options)
    assert notes_of([old]) == [[f"it is not known which clips {made['3']} was trained on"]]
    assert old["run"] != known["run"]
    with pytest.MonkeyPatch.context() as patch:  # extracting, with nothing to do, brings it back
        patch.setenv("PROBEKIT_REPORTS", str(base / "r"))
        extract(made["3"], task=str(base / "small.csv"), root=base, cache=base / "cache")
    assert (home / training_clips.CLIPS_FILE).read_bytes() == kept


@pytest.mark.parametrize("how", ["teacher", "init"])
def test_a_student_that_learns_from_one_says_so_and_hands_it_on(
    students, corpus, tmp_path, monkeypatch, how
):
    base, made = students
    monkeypatch.setenv("PROBEKIT_REPORTS", str(base / "r"))
    given = {
        "teacher": {"method": "l2", "teachers": [made["3"]]},
        "init": {"method": "init", "init": made["3"]},
    }[how]
    (whole,) = run(base, corpus, **given)
    assert notes_of([whole]) == [own(made["3"])]
    clips = training_clips.load(base / "r" / "students" / made["3"].removeprefix("runs/"))
    ids = {}
    for fold in "123":  # the last is the one that its teacher has not heard
        (one,) = run(base, corpus, folds=[fold], **given)
        ids[fold] = one["run"][:12]
        tested = [f"{label}{k}" for label in LABELS for k in range(8)]
        tested = [name for j, name in enumerate(tested) if j % 3 + 1 == int(fold)]
        counts = [clips.count(use, "small", tested) for use in ("trained", "chose")]
        assert sorted(counts) == ([0, 0] if fold == "3" else [0, 8])
        notes = own(made["3"], *counts, of=8)
        assert notes_of([one]) == [[text for text in notes if " 0 of " not in text]]
        assert f"fold {fold} only" in one["provenance"]
    card = card_module.read_student_card(base / "r" / "students" / ids["1"])
    assert (card.task, card.dataset, card.fold) == ("small", "small", "1")
    assert (card.trained_on, card.chosen_on) == (8, 8)
    assert card.caveat == ""  # which fold it was, and what it was tested on, is its run's affair
    clips = training_clips.load(base / "r" / "students" / ids["1"])
    assert clips.as_inherited().count("before", "small", clips.clip_ids["before", "small"]) == 16
    notes = training_clips.contamination_notes(
        card.name, base / "r" / "students" / ids["1"], "small", clips.clip_ids["before", "small"]
    )
    assert notes[-1] == (
        f"what runs/{ids['1']} learnt from was trained or chosen on 16 of 16 test clips"
    )


def test_a_student_without_the_list_teaches_with_a_note(students, corpus, tmp_path, monkeypatch):
    base, made = students
    monkeypatch.setenv("PROBEKIT_REPORTS", str(base / "r"))
    folder = base / "r" / "students" / made["2"].removeprefix("runs/")
    kept = (folder / training_clips.CLIPS_FILE).read_bytes()
    (folder / training_clips.CLIPS_FILE).unlink()
    (one,) = run(base, corpus, method="init", init=made["2"], folds=["1"], seeds=1)
    (folder / training_clips.CLIPS_FILE).write_bytes(kept)
    note = f"it is not known which clips {made['2']} was trained on"
    assert notes_of([one]) == [[note]]
    assert (
        card_module.read_student_card(base / "r" / "students" / one["run"][:12]).caveat == note
    )  # lasts


def test_students_are_found_among_the_reports_of_the_run(students, corpus, tmp_path, monkeypatch):
    base, made = students
    monkeypatch.setenv("PROBEKIT_REPORTS", str(tmp_path / "nothing"))
    (one,) = run(base, corpus, method="init", init=made["3"], folds=["3"], lr=1e-4)
    assert one["settings"]["init"] == made["3"]
