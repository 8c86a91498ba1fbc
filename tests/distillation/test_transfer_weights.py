"""lee2019's modes: weights that another network has learnt."""

import pytest
import torch

from probekit.distillation import methods
from probekit.errors import WeightsError
from probekit.extractors import load
from probekit.extractors.students import extractor as kept
from probekit.extractors.students import zoo
from probekit.training import initial_weights

torch.set_num_threads(1)
RANDOM = {"harmonic-cnn.main": "random:3", "cf.main": "random:3"}


@pytest.mark.parametrize(
    ("text", "extractor", "last"),
    [("harmonic-cnn", "harmonic-cnn", "dense2."), ("cf-net:width=16", "cf:width=16", "dense.")],
)
def test_init_takes_all_but_the_last_layer(text, extractor, last):
    torch.manual_seed(0)
    student = zoo.build_student(text, 5)
    before = {key: value.clone() for key, value in student.network.state_dict().items()}
    spec = initial_weights.init_from_extractor(student, extractor, RANDOM)
    assert spec.provenance[-1] == "random weights (seed 3)"
    theirs = load.build_extractor(load.resolve_spec(extractor, weights=RANDOM)).network.state_dict()
    for key, value in student.network.state_dict().items():
        assert torch.equal(value, before[key] if key.startswith(last) else theirs[key]), key
    assert all(parameter.requires_grad for parameter in student.parameters())


def test_init_from_a_trained_student(tmp_path, monkeypatch):
    monkeypatch.setenv("PROBEKIT_REPORTS", str(tmp_path))
    first = zoo.build_student("short-chunk:width=2", 3)
    kept.save_student(
        tmp_path / "students" / "a1", first, classes=["x", "y", "z"], target="single",
        crop=first.crop,
    )  # fmt: skip
    second = zoo.build_student("short-chunk:width=2", 8)
    initial_weights.init_from_extractor(second, "runs/a1")
    for key, value in second.network.state_dict().items():
        if not key.startswith("decoder.dense2."):
            assert torch.equal(value, first.network.state_dict()[key])
    assert second.decode(torch.zeros(2, 4, second.dim)).shape == (2, 8)


def test_other_sizes_and_networks_are_refused():
    student = zoo.build_student("cf-net:width=8", 5)
    before = {key: value.clone() for key, value in student.network.state_dict().items()}
    shapes = r"cf-net:width=8 from cf:.*\n.*of another shape: conv\."
    with pytest.raises(WeightsError, match=shapes):
        initial_weights.init_from_extractor(student, "cf:width=16", RANDOM)
    with pytest.raises(WeightsError, match=r"student cf-net cannot start .*networks\.cf$"):
        initial_weights.init_from_extractor(student, "harmonic-cnn", RANDOM)
    with pytest.raises(WeightsError, match="no network"):
        initial_weights.init_from_extractor(student, "melstats")
    assert all(torch.equal(v, before[k]) for k, v in student.network.state_dict().items())


def test_missing_tensors_are_refused():
    student = zoo.build_student("cf-net:width=8", 5)
    state = dict(student.network.state_dict())
    state.pop("conv.weight")
    with pytest.raises(WeightsError, match=r"the file: .*\n.*1 missing: conv\.weight"):
        initial_weights.load_encoder_weights(student, state, "the file")


@pytest.mark.parametrize("text", ["short-chunk:width=2", "cf-net:width=8"])
def test_fix_trains_one_layer_only(text):
    torch.manual_seed(0)
    student = zoo.build_student(text, 5)
    dim = student.dim
    methods.freeze_encoder(student)
    student.train()
    before = {key: value.clone() for key, value in student.state_dict().items()}
    trained = [p for p in student.parameters() if p.requires_grad]
    assert sum(p.numel() for p in trained) == dim * 5 + 5
    waves = torch.randn(4, 120_000)
    optimizer = torch.optim.SGD(trained, lr=0.1)
    student(waves).square().sum().backward()
    optimizer.step()
    changed = {k for k, v in student.state_dict().items() if not torch.equal(v, before[k])}
    assert changed == {"head.dense.weight", "head.dense.bias"}  # and no running statistics
    embedding = student.encode(waves)
    assert not embedding.requires_grad
    torch.testing.assert_close(student(waves), student.head.dense(embedding.mean(1)))
