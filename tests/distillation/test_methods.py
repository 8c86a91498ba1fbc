"""What is added to the loss, and of which columns of the teachers."""

import numpy as np
import pytest
import torch

from probekit.audio.timegrid import FrameGrid
from probekit.distillation import methods
from probekit.distillation.teachers import Teachers
from probekit.errors import ProbekitError
from probekit.extractors.students import zoo

IDS = ["a", "b", "c"]
CLASSES = ["bell", "organ", "siren"]


@pytest.fixture
def taught(songs, teach, tmp_path):
    """A teacher of some classes, with logits; and its logits."""

    def made(classes, stream="logits"):
        rng = np.random.default_rng(0)
        logits = {name: rng.standard_normal(len(classes)).astype("float32") for name in IDS}
        identity = {"module": {"classes": classes}} if classes != CLASSES[:2] else {}
        teach(tmp_path, "net", logits, also=("logits", "hidden"), **identity)
        name = f"net:stream={stream}"
        grid = FrameGrid.parse("1/4", "1/8", "1/2")
        teachers = Teachers.open(songs, [name], IDS, grid, 8, cache=tmp_path)
        return teachers, np.stack([logits[name] for name in IDS])

    return made


def test_soft_targets_are_of_the_same_names(taught):
    student = zoo.build_student("short-chunk:width=1", 3)
    theirs = ["siren", "bell", "organ"]
    teachers, logits = taught(theirs)
    soft = methods.make_method("soft-targets", None, 1, "")
    penalty = methods.build_penalty(soft, teachers, student, "single", CLASSES)
    values, valid = teachers.read_frames([0, 1, 2], [0, 0, 0])
    features, there = torch.as_tensor(values), torch.as_tensor(valid)
    embedding = torch.zeros(3, 8, student.dim)
    ours = torch.as_tensor(logits[:, [theirs.index(name) for name in CLASSES]])
    assert float(penalty(ours, embedding, features, there)) == pytest.approx(0, abs=1e-6)
    # in the teacher's own order they would say something else
    assert float(penalty(torch.as_tensor(logits), embedding, features, there)) > 0.1
    assert penalty.state_dict() == {}


@pytest.mark.parametrize(
    ("classes", "stream", "words"),
    [
        (
            ["bell", "organ", "rain"],
            "logits",
            "'rain' only in the teacher; 'siren' only in the task",
        ),
        (
            ["bell", "organ", "siren", "x"],
            "logits",
            "of net differ from the task's: 'x' only in the teacher",
        ),
        (
            CLASSES,
            "hidden",
            "'hidden' of net is not a prediction of its classes. Choose its stream",
        ),
        (
            CLASSES[:2],
            "logits",
            "has 2 values per frame, but the task has 3 classes",
        ),  # without names
    ],
)
def test_other_opinions_are_refused(taught, classes, stream, words):
    teachers, _ = taught(classes, stream)
    student = zoo.build_student("short-chunk:width=1", 3)
    soft = methods.make_method("soft-targets", None, 1, "")
    with pytest.raises(ProbekitError, match=words):
        methods.build_penalty(soft, teachers, student, "single", CLASSES)
