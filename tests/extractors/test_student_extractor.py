"""A student that was trained is an extractor."""

import json
import os
from fractions import Fraction as F

import numpy as np
import pytest
import soundfile
import torch
import yaml

from probekit import open_cache
from probekit.audio import recording as recording_module
from probekit.errors import CardError, ProbekitError, UnknownNameError, WeightsError
from probekit.extraction import long_audio
from probekit.extractors import load
from probekit.extractors.students import card, zoo
from probekit.extractors.students.extractor import save_student

torch.set_num_threads(1)
CLASSES = ["click", "noise", "tone"]
EVERY = ["embedding", "hidden", "logits", "probabilities"]


@pytest.fixture(autouse=True)
def reports(tmp_path, monkeypatch):
    monkeypatch.setenv("PROBEKIT_REPORTS", str(tmp_path / "reports"))


def made(text="short-chunk:width=2", name="0a1b", crop=F(5), target="multi", **more):
    torch.manual_seed(0)
    student = zoo.build_student(text, len(CLASSES))
    student.train()(torch.randn(4, int(crop * student.rate)))  # running statistics of its own
    student.eval()
    where = save_student(
        card.students_folder() / name, student, classes=CLASSES, target=target, crop=crop, **more
    )
    return student, where


@pytest.mark.parametrize(
    ("text", "crop", "target"),
    [
        ("short-chunk:width=2", F(5), "single"),
        ("short-chunk:width=2", F(5), "multi"),
        ("cf-net:width=8", F(8), "single"),
        ("cf-net:width=8", F(8), "multi"),
        ("harmonic-cnn", F(5), "multi"),
        pytest.param("harmonic-cnn", F(5), "single", marks=pytest.mark.slow),
    ],
)
def test_it_says_what_the_student_said(text, crop, target):
    student, _ = made(text, crop=crop, target=target)
    extractor = load.build_extractor(load.resolve_spec("runs/0a1b", streams=EVERY))
    samples = int(crop * student.rate)
    wave = torch.randn(2 * samples)
    (found,) = extractor([wave])
    crops = wave.reshape(2, samples)
    with torch.no_grad():
        l, logits = student.encode(crops), student(crops)  # noqa: E741
    torch.testing.assert_close(found["embedding"], l.flatten(0, 1), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found["logits"], logits, rtol=1e-4, atol=1e-5)
    said = logits.softmax(1) if target == "single" else logits.sigmoid()
    torch.testing.assert_close(found["probabilities"], said, rtol=1e-4, atol=1e-5)
    head = extractor.head()
    assert head.classes == tuple(CLASSES) and head.stream == "hidden"
    torch.testing.assert_close(
        found["hidden"] @ head.weight.T + head.bias, found["logits"], rtol=1e-4, atol=1e-5
    )


def test_blocks_are_layers():
    """Each block's output once more from its hook; where a card states none there are none."""
    student, folder = made(crop=F(2))
    extractor = load.build_extractor(load.resolve_spec("runs/0a1b:layer=all"))
    assert set(extractor.stream_names) == {"layer.1", "layer.2", "layer.3", "embedding"}
    outputs = []
    for block in extractor.network.network.blocks:
        block.register_forward_hook(lambda _, __, maps: outputs.append(maps.clone()))
    (found,) = extractor([torch.randn(2 * student.rate)])
    for number, maps in enumerate(outputs, start=1):
        stream = f"layer.{number}" if number < 4 else "embedding"
        finer = 2 ** (4 - number)
        steps = maps[0].mean(1).T[: 8 * finer].reshape(8, finer, -1).mean(1)
        assert extractor.streams[stream].layer == number
        torch.testing.assert_close(found[stream], steps, rtol=1e-4, atol=1e-5)
    text = (folder / card.CARD).read_text()
    older = yaml.safe_load(text)
    assert older.pop("layers") == [2, 4, 8]
    fingerprint = load.resolve_spec("runs/0a1b").fingerprint
    (folder / card.CARD).write_text(yaml.safe_dump(older))
    assert load.resolve_spec("runs/0a1b").fingerprint == fingerprint
    with pytest.raises(ProbekitError, match="states no layers"):
        load.resolve_spec("runs/0a1b:layer=all")


def test_frames_of_crops_follow_one_another():
    """A crop of 3.1 s has 12 frames of 0.25 s: crops begin every 3 s, and no frame is missing."""
    made(crop=F(31, 10))
    extractor = load.build_extractor(load.resolve_spec("runs/0a1b", streams=EVERY))
    grid, per_crop = extractor.streams["embedding"], extractor.streams["logits"]
    assert (grid.hop, grid.first_center) == (F(1, 4), F(1, 8))
    assert (per_crop.hop, per_crop.first_center, per_crop.window) == (F(3), F(31, 20), F(31, 10))
    wave = 0.01 * torch.randn(16_000 * 10)
    (quiet,) = extractor([wave])
    assert quiet["embedding"].shape == (4 * 12, 16) and quiet["logits"].shape == (4, 3)
    for second in (0.5, 2.9, 3.05, 7.3):
        loud = wave.clone()
        place = int(second * 16_000)
        loud[place : place + 400] += 1
        (found,) = extractor([loud])
        moved = (found["embedding"] - quiet["embedding"]).abs().amax(1)
        center = float(grid.first_center) + int(moved.argmax()) * float(grid.hop)
        assert abs(center - second) < float(grid.window) / 2
        assert moved[int((second + 0.0125) / 0.25)] > 0


def test_fixed_students_have_one_linear_layer():
    from probekit.distillation import methods

    student = zoo.build_student("short-chunk:width=2", 3)
    methods.freeze_encoder(student)
    save_student(
        card.students_folder() / "f1", student, classes=CLASSES, target="single", crop=F(1)
    )
    extractor = load.build_extractor(load.resolve_spec("runs/f1", streams=["hidden", "logits"]))
    assert torch.equal(extractor.head().weight, student.head.dense.weight)
    wave = torch.randn(16_000)
    (found,) = extractor([wave])
    torch.testing.assert_close(found["logits"], student.eval()(wave[None]), rtol=1e-4, atol=1e-5)


def test_regressions_have_values_only():
    made(target="regression")
    spec = load.resolve_spec("runs/0a1b")
    layers = {"layer.1", "layer.2", "layer.3"}
    assert set(spec.card.streams) == {"embedding", "hidden", "logits", *layers}
    assert load.build_extractor(spec).head() is None


def test_students_that_need_their_teacher_are_not_kept():
    from probekit.distillation import fusion

    model = fusion.build_fusion("concat", zoo.build_student("short-chunk:width=2", 3), 5)
    with pytest.raises(ProbekitError, match="reads a teacher's features"):
        save_student(
            card.students_folder() / "c", model.student, classes=CLASSES, target="multi", crop=F(1)
        )
    assert card.list_students() == {}


def test_a_module_of_the_user_s(tmp_path, monkeypatch):
    (tmp_path / "keptstudent.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    rate, crop = 8000, 1\n"
        "    def __init__(self, classes):\n"
        "        super().__init__()\n"
        "        self.inner, self.outer = nn.Linear(800, 4), nn.Linear(4, classes)\n"
        "    def encode(self, waves):\n"
        "        return self.inner(waves.unfold(1, 800, 800))\n"
        "    def decode(self, embedding):\n"
        "        return self.outer(embedding.mean(1))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    student, _ = made("keptstudent:Net", crop=F(1))
    spec = load.resolve_spec("runs/0a1b", streams=["embedding", "logits"])
    assert "hidden" not in spec.card.streams
    extractor = load.build_extractor(spec)
    assert extractor.head() is None
    wave = torch.randn(8000)
    (found,) = extractor([wave])
    assert found["embedding"].shape == (10, 4)
    torch.testing.assert_close(found["logits"], student(wave[None]))


# --- what it is known by --------------------------------------------------------------------------


def test_the_weights_decide_the_fingerprint():
    first, _ = made(name="a1", description="one line", caveat="stand-in data")
    made(name="a2")
    specs = [load.resolve_spec(text) for text in ("runs/a1", "student-a1", "runs/a2")]
    assert specs[0].fingerprint == specs[1].fingerprint != specs[2].fingerprint  # by its name
    assert specs[0].card.title == "one line" and specs[0].provenance == ["stand-in data"]
    with torch.no_grad():
        first.network.bn.bias += 1
    save_student(card.students_folder() / "a1", first, classes=CLASSES, target="multi", crop=F(5))
    assert load.resolve_spec("runs/a1").fingerprint != specs[0].fingerprint


def test_equal_weights_have_equal_bytes(monkeypatch):
    """The name under which they are written, with the process's number, is none of the content."""
    written = []
    for number in (1, 22_222):
        monkeypatch.setattr("os.getpid", lambda number=number: number)
        _, where = made()
        written.append((where / card.WEIGHTS).read_bytes())
    assert written[0] == written[1]


def test_wrong_names():
    made(name="0a1b")
    with pytest.raises(UnknownNameError, match=r"Did you mean 'runs/0a1b'.*PROBEKIT_REPORTS"):
        load.resolve_spec("runs/0a1c")
    with pytest.raises(UnknownNameError, match="stream"):
        load.resolve_spec("runs/0a1b:stream=relu")
    with pytest.raises(WeightsError, match="its own weights"):
        load.resolve_spec("runs/0a1b", weights={"student-0a1b.main": "random:0"})


def test_an_unknown_one_names_few_others():
    for number in range(7):
        path = made(name=f"{number}abc", crop=F(1))[1] / card.CARD
        os.utime(path, (1000 + number, 1000 + number))
    with pytest.raises(UnknownNameError) as caught:
        load.resolve_spec("runs/nothing-like-it")
    assert "The newest of 7: runs/6abc, runs/5abc, runs/4abc, runs/3abc, runs/2abc." in str(
        caught.value
    )
    assert "runs/1abc" not in str(caught.value)


def test_in_another_folder(main, corpus, tmp_path, monkeypatch):
    made(name="0a1b", crop=F(1))
    first = load.resolve_spec("runs/0a1b").fingerprint
    other = tmp_path / "other"
    card.students_folder().rename(tmp_path / "moved")
    other.mkdir()
    (tmp_path / "moved").rename(other / "students")
    with pytest.raises(UnknownNameError, match="Known: none"):
        load.resolve_spec("runs/0a1b")
    assert load.resolve_spec("runs/0a1b", reports=other).fingerprint == first
    made(name="ffff", crop=F(1))  # what lies where it is looked for anyway is found, too
    assert set(card.list_students(other)) == {"student-0a1b", "student-ffff"}
    assert card.list_students(other)["student-0a1b"].parent == other / "students"
    # in this process and in others, which are told where it lies
    monkeypatch.chdir(tmp_path)
    where = ("--audio", corpus, "--device", "cpu", "--reports", "other")
    for number, how in enumerate([(), ("--jobs", 1)]):
        cache = ("--cache", tmp_path / f"cache{number}")
        done = main("extract", "-e", "runs/0a1b", *where, *cache, *how)
        assert done.returncode == 0, done.stderr
    caches = [open_cache("runs/0a1b", "tiny", tmp_path / f"cache{k}") for k in range(2)]
    ids = caches[0].clip_ids
    np.testing.assert_allclose(*(one.vectors(ids) for one in caches), rtol=1e-4, atol=1e-5)


def test_weights_that_were_changed_are_refused():
    _, where = made()
    path = where / card.WEIGHTS
    state = torch.load(path, weights_only=True)
    torch.save({key: value + 1 for key, value in state.items()}, path)
    with pytest.raises(WeightsError, match="not the weights of student-0a1b"):
        load.resolve_spec("runs/0a1b")
    path.unlink()
    with pytest.raises(WeightsError, match="weights of student-0a1b not found"):
        load.resolve_spec("runs/0a1b")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "student-other"}, "name must be student-0a1b"),
        ({"weights": {"file": "../weights.pt", "sha256": "0" * 64}}, "beside the card"),
        ({"colour": "blue"}, "colour"),
        ({"dim": 0}, "dim"),
        ({"steps": None}, "steps"),
    ],
)
def test_cards_that_are_wrong(change, message):
    _, where = made()
    path = where / card.CARD
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **change}))
    with pytest.raises(CardError, match=message):
        load.resolve_spec("runs/0a1b")


@pytest.mark.parametrize("text", ["!!python/object/apply:os.system [true]", "- a", "\x00"])
def test_cards_that_are_none(text):
    _, where = made()
    (where / card.CARD).write_text(text)
    with pytest.raises(CardError, match=r"card\.yaml: not"):
        load.resolve_spec("runs/0a1b")


def test_a_class_that_has_changed():
    _, where = made()
    path = where / card.CARD
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "steps": 7}))
    with pytest.raises(ProbekitError, match="has changed since it was trained"):
        load.build_extractor(load.resolve_spec("runs/0a1b"))


def test_extracted_and_probed_like_any_other(main, corpus, tmp_path):
    made(crop=F(1))
    cache = tmp_path / "cache"
    streams = ("--streams", "embedding,hidden,probabilities", "--frames")
    done = main("extract", "-e", "runs/0a1b", "--audio", corpus, "--cache", cache, *streams)
    assert done.returncode == 0, done.stderr
    kept = open_cache("runs/0a1b", "tiny", cache)
    assert len(kept.clip_ids) == 24 and kept.head.classes == tuple(CLASSES)
    name = kept.clip_ids[5]
    (path,) = corpus.glob(f"{name}.*")
    wave = torch.from_numpy(recording_module.load(path, 16_000).wave)
    (found,) = load.build_extractor(load.resolve_spec("runs/0a1b"))([wave])
    np.testing.assert_allclose(kept.frames(name), found["embedding"].numpy(), rtol=1e-4, atol=1e-5)
    table = tmp_path / "tiny.csv"
    rows = [f"{i},{i.partition('/')[0]},{k % 3}" for k, i in enumerate(kept.clip_ids)]
    table.write_text("\n".join(["clip_id,label,fold", *rows]))
    where = ("--cache", cache, "--reports", tmp_path / "out")
    for probe in ("linear", "head"):
        chosen = ("-e", "runs/0a1b", "--probe", probe)
        done = main("evaluate", "--task", table, *chosen, *where, "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)[0]["probe"] == probe


def test_long_clips_piece_by_piece(tmp_path):
    made(crop=F(31, 10))
    extractor = load.build_extractor(
        load.resolve_spec("runs/0a1b", streams=["embedding", "logits"])
    )
    wave = np.random.default_rng(0).uniform(-0.5, 0.5, 16_000 * 301).astype(np.float32)
    soundfile.write(tmp_path / "long.wav", wave, 16_000, "FLOAT")
    with recording_module.open_audio(tmp_path / "long.wav") as recording:
        assert long_audio.needs_streaming(recording, extractor.card)
        found, _ = long_audio.embed_streaming(extractor, recording, frames=True)
    (whole,) = extractor([torch.from_numpy(wave)])
    assert whole["embedding"].shape == (12 * 101, 16)
    for stream, frames in whole.items():
        np.testing.assert_allclose(found[stream]["frames"], frames, rtol=1e-4, atol=1e-5)
