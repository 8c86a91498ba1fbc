"""Models that may read a teacher's features."""

import pytest
import torch

from probekit.distillation import fusion
from probekit.errors import UnknownNameError
from probekit.extractors.students import zoo

torch.set_num_threads(1)
FEATURES = 7
SAMPLES = {"short-chunk:width=2": 16_000, "cf-net:width=8": 120_000, "harmonic-cnn": 73_472}
SMALL = ["short-chunk:width=2", "cf-net:width=8"]


def inputs(text, clips=3):
    torch.manual_seed(1)
    waves = torch.randn(clips, SAMPLES[text])
    steps = zoo.build_student(text, 4).frames(SAMPLES[text])[1]
    return waves, torch.randn(clips, steps, FEATURES)


def model(name, text):
    torch.manual_seed(0)
    return fusion.build_fusion(name, zoo.build_student(text, 4), FEATURES)


@pytest.mark.parametrize("text", SMALL)
@pytest.mark.parametrize("name", fusion.NAMES)
def test_shapes_and_gradients(name, text):
    fusion_model = model(name, text)
    waves, v = inputs(text)
    logits, embedding = fusion_model(waves, v)
    assert logits.shape == (3, 4)
    assert embedding.shape[:2] == v.shape[:2]
    (logits.square().sum() + embedding.square().sum()).backward()
    # no layer is left over: unused ones would stop training on several devices
    assert {key for key, p in fusion_model.named_parameters() if p.grad is None} == set()


@pytest.mark.parametrize("name", ["none", "concat"])
def test_harmonic_cnn(name):
    fusion_model = model(name, "harmonic-cnn")
    waves, v = inputs("harmonic-cnn", clips=2)
    logits, embedding = fusion_model(waves, v)
    assert logits.shape == (2, 4) and embedding.shape == (2, 1, 256)
    logits.sum().backward()
    assert {key for key, p in fusion_model.named_parameters() if p.grad is None} == set()


@pytest.mark.parametrize("name", fusion.NAMES)
def test_who_reads_what(name):
    fusion_model = model(name, "short-chunk:width=2").eval()
    waves, v = inputs("short-chunk:width=2")
    logits, embedding = fusion_model(waves, v)
    by_features = not torch.equal(fusion_model(waves, v + 1)[0], logits)
    by_sound = not torch.equal(fusion_model(waves.flip(1), v)[0], logits)
    assert by_features == fusion_model.needs_teacher == (name != "none")
    assert by_sound == (name != "feature-only")
    if name not in ("none", "feature-only"):  # regularizers read the embedding as it was
        assert torch.equal(fusion_model(waves, v + 1)[1], embedding)


def test_plain_is_the_student():
    fusion_model = model("none", "short-chunk:width=2").eval()
    waves, _ = inputs("short-chunk:width=2")
    assert torch.equal(fusion_model(waves)[0], fusion_model.student(waves))


def test_concat_reads_both_side_by_side():
    fusion_model = model("concat", "cf-net:width=8").eval()
    waves, v = inputs("cf-net:width=8")
    logits, embedding = fusion_model(waves, v)
    weight, bias = fusion_model.student.head.dense.weight, fusion_model.student.head.dense.bias
    assert weight.shape == (4, 8 + FEATURES)
    expected = embedding[:, 0] @ weight[:, :8].T + v[:, 0] @ weight[:, 8:].T + bias
    torch.testing.assert_close(logits, expected)


def test_film_scales_and_shifts():
    fusion_model = model("film", "short-chunk:width=2").eval()
    waves, v = inputs("short-chunk:width=2")
    logits, embedding = fusion_model(waves, v)
    scaled = torch.empty_like(embedding)
    for i in range(len(v)):
        for t in range(v.shape[1]):
            gamma = fusion_model.gamma.weight @ v[i, t] + fusion_model.gamma.bias
            beta = fusion_model.beta.weight @ v[i, t] + fusion_model.beta.bias
            scaled[i, t] = gamma * embedding[i, t] + beta
    torch.testing.assert_close(logits, fusion_model.student.decode(scaled))


def test_feature_only_has_no_encoder():
    fusion_model = model("feature-only", "harmonic-cnn").eval()
    assert {key.partition(".")[0] for key, _ in fusion_model.named_parameters()} == {"decoder"}
    v = torch.randn(2, 1, FEATURES)
    torch.testing.assert_close(fusion_model(None, v)[0], fusion_model.decoder(v))


def test_decoder_of_harmonic_cnn_is_the_network_s_own():
    student = zoo.build_student("harmonic-cnn", 4).eval()
    fresh = student.decoder(256).eval()
    keys = ("dense1", "bn", "dense2")
    fresh.load_state_dict(
        {k: v for k, v in student.network.state_dict().items() if k.partition(".")[0] in keys}
    )
    l = torch.randn(3, 1, 256)  # noqa: E741
    torch.testing.assert_close(fresh(l), student.decode(l))


def test_unknown_name():
    with pytest.raises(UnknownNameError, match="Did you mean 'concat'"):
        fusion.build_fusion("conkat", zoo.build_student("short-chunk", 2), 3)
