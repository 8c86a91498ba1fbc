"""Each equation against loops in plain numpy, and its gradients against differences."""

import math

import numpy as np
import pytest
import torch

from probekit.distillation import regularizers
from probekit.errors import ProbekitError, UnknownNameError

torch.set_num_threads(1)
CLIPS, TIME, DIM, FEATURES = 4, 3, 5, 6


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    valid = rng.random((CLIPS, TIME)) < 0.7
    valid[0] = False
    valid[1] = True
    return rng.normal(size=(CLIPS, TIME, DIM)), rng.normal(size=(CLIPS, TIME, FEATURES)), valid


def run(module, l, v, valid):  # noqa: E741
    return module.double()(torch.tensor(l), torch.tensor(v), torch.tensor(valid)).item()


def cosine(a, b):
    return 1 - sum(x * y for x, y in zip(a, b, strict=True)) / (
        math.sqrt(sum(x * x for x in a)) * math.sqrt(sum(y * y for y in b))
    )


def mapped(module, v):
    weight = module.f.weight.detach().numpy()[:, :, 0].astype(float)
    return weight @ v + module.f.bias.detach().numpy().astype(float)


DISTANCES = {
    "con-reg": cosine,
    "l1": lambda a, b: sum(abs(x - y) for x, y in zip(a, b, strict=True)) / DIM,
    "l2": lambda a, b: sum((x - y) ** 2 for x, y in zip(a, b, strict=True)) / DIM,
}


@pytest.mark.parametrize("name", DISTANCES)
def test_matched_frame_by_frame(name, data):
    l, v, valid = data  # noqa: E741
    module = regularizers.build_regularizer(name, FEATURES, DIM)
    expected = [
        DISTANCES[name](l[i, t], mapped(module, v[i, t]))
        for i in range(CLIPS)
        for t in range(TIME)
        if valid[i, t]
    ]
    assert run(module, l, v, valid) == pytest.approx(np.mean(expected), rel=1e-6)


def test_f_is_a_convolution_with_bias():
    module = regularizers.build_regularizer("con-reg", 640, 256)
    assert sum(p.numel() for p in module.parameters()) == 640 * 256 + 256
    assert module.f.kernel_size == (1,)


def test_dis_reg_pair_by_pair(data):
    l, v, valid = data  # noqa: E741
    expected = [
        abs(cosine(l[i, t], l[j, t]) - cosine(v[i, t], v[j, t]))
        for t in range(TIME)
        for i in range(CLIPS)
        for j in range(CLIPS)
        if i != j and valid[i, t] and valid[j, t]
    ]
    assert expected
    assert run(
        regularizers.build_regularizer("dis-reg", FEATURES, DIM), l, v, valid
    ) == pytest.approx(np.mean(expected), rel=1e-9)


def test_dis_reg_sees_directions_only():
    rng = np.random.default_rng(1)
    v = rng.normal(size=(CLIPS, TIME, DIM))
    turn, _ = np.linalg.qr(rng.normal(size=(DIM, DIM)))
    valid = np.ones((CLIPS, TIME), bool)
    module = regularizers.build_regularizer("dis-reg", DIM, DIM)
    assert run(module, 3 * v @ turn, v, valid) == pytest.approx(0, abs=1e-12)
    assert run(module, v[::-1].copy(), v, valid) > 0.1
    assert run(module, v[:1], v[:1], valid[:1]) == 0  # one clip has no pair
    assert not list(module.parameters())


def test_cf_clip_by_clip(data):
    l, v, valid = data  # noqa: E741
    module = regularizers.build_regularizer("cf-reg", FEATURES, DIM)
    weight, bias = (p.detach().numpy().astype(float) for p in module.g.parameters())
    expected = []
    for i in range(CLIPS):
        if valid[i].any():
            target = np.mean([v[i, t] for t in range(TIME) if valid[i, t]], axis=0)
            expected.append(np.mean((weight @ l[i].mean(0) + bias - target) ** 2))
    assert len(expected) == CLIPS - 1
    assert run(module, l, v, valid) == pytest.approx(np.mean(expected), rel=1e-6)


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def softmax(x):
    powers = [math.exp(y) for y in x]
    return [power / sum(powers) for power in powers]


@pytest.mark.parametrize("temperature", [1.0, 3.0])
@pytest.mark.parametrize("target", ["single", "multi"])
def test_soft_targets(target, temperature, data):
    l, v, valid = data  # noqa: E741
    logits = l[:, 0]
    v = v[:, :, :DIM]
    module = regularizers.build_regularizer(
        "soft-targets", DIM, 7, classes=DIM, target=target, temperature=temperature
    )
    expected = []
    for i in range(1, CLIPS):
        if not valid[i].any():
            continue
        theirs, ours = v[i][valid[i]].mean(0) / temperature, logits[i] / temperature
        if target == "single":
            p, q = softmax(theirs), softmax(ours)
            divergence = sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
        else:
            pairs = [(sigmoid(a), sigmoid(b)) for a, b in zip(theirs, ours, strict=True)]
            divergence = np.mean(
                [a * math.log(a / b) + (1 - a) * math.log((1 - a) / (1 - b)) for a, b in pairs]
            )
        expected.append(divergence * temperature**2)
    assert run(module, logits, v, valid) == pytest.approx(np.mean(expected), rel=1e-9)


@pytest.mark.parametrize("target", ["single", "multi"])
def test_soft_targets_take_probabilities(target, data):
    l, v, valid = data  # noqa: E741
    v = np.repeat(v[:, :1, :DIM], TIME, axis=1)  # the mean of logits is not that of probabilities
    probabilities = torch.tensor(v).softmax(-1) if target == "single" else torch.tensor(v).sigmoid()
    results = [
        run(regularizers.SoftTargets(2.0, target, form), l[:, 0], features, valid)
        for form, features in (("logits", v), ("probabilities", probabilities.numpy()))
    ]
    assert results[0] == pytest.approx(results[1], rel=1e-9)
    sure = np.zeros((CLIPS, TIME, DIM))
    sure[..., 0] = 1
    assert math.isfinite(
        run(regularizers.SoftTargets(1.0, target, "probabilities"), l[:, 0], sure, valid)
    )


@pytest.mark.parametrize("target", ["single", "multi"])
def test_soft_targets_are_least_where_opinions_agree(target, data):
    l, _, _ = data  # noqa: E741
    valid = np.ones((CLIPS, 1), bool)
    module = regularizers.SoftTargets(2.0, target)
    assert run(module, l[:, 0], l[:, :1], valid) == pytest.approx(0, abs=1e-12)
    assert run(module, -l[:, 0], l[:, :1], valid) > 0.1


# --- what holds for all ---------------------------------------------------------------------------

ALL = list(regularizers.NAMES)


def make(name):
    torch.manual_seed(0)
    features = DIM if name == "soft-targets" else FEATURES
    return regularizers.build_regularizer(name, features, DIM, classes=DIM), features


def arguments(name, features, dtype=torch.float64):
    torch.manual_seed(1)
    shape = (CLIPS, DIM) if name == "soft-targets" else (CLIPS, TIME, DIM)
    valid = torch.tensor([[True] * TIME, [True, False, True], [False] * TIME, [True] * TIME])
    return (
        torch.randn(shape, dtype=dtype, requires_grad=True),
        torch.randn(CLIPS, TIME, features, dtype=dtype),
        valid,
    )


@pytest.mark.parametrize("name", ALL)
def test_gradients(name):
    module, features = make(name)
    module.double()
    l, v, valid = arguments(name, features)  # noqa: E741
    torch.autograd.gradcheck(lambda x: module(x, v, valid), (l,))
    parameters = list(module.parameters())
    if parameters:

        def loss(*values):
            keys = [key for key, _ in module.named_parameters()]
            named = dict(zip(keys, values, strict=True))
            return torch.func.functional_call(module, named, (l.detach(), v, valid))

        torch.autograd.gradcheck(loss, tuple(parameters))


@pytest.mark.parametrize("name", ALL)
def test_frames_that_are_not_valid_do_not_count(name):
    module, features = make(name)
    l, v, valid = arguments(name, features, torch.float32)  # noqa: E741
    before = module(l, v, valid)
    other = torch.where(valid[..., None], v, torch.full_like(v, 1e3))
    assert torch.equal(module(l, other, valid), before)
    nothing = module(l, v, torch.zeros_like(valid))
    assert nothing.item() == 0
    (gradient,) = torch.autograd.grad(nothing, l, allow_unused=True)
    assert gradient is None or not gradient.any()


@pytest.mark.parametrize("name", ALL)
def test_zeros_give_finite_gradients(name):
    module, features = make(name)
    l, v, valid = arguments(name, features, torch.float32)  # noqa: E741
    l = torch.zeros_like(l, requires_grad=True)  # noqa: E741
    loss = module(l, torch.zeros_like(v), valid)
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(l.grad).all()


@pytest.mark.parametrize("name", ALL)
def test_half_precision_is_computed_in_single(name):
    module, features = make(name)
    l, v, valid = arguments(name, features, torch.float32)  # noqa: E741
    rounded = l.detach().bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = module(rounded, v, valid)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, module(rounded.float(), v, valid))


@pytest.mark.parametrize("name", ["con-reg", "dis-reg", "l1", "l2", "cf-reg"])
def test_a_step_downhill_helps(name):
    module, features = make(name)
    l, v, valid = arguments(name, features)  # noqa: E741
    module.double()
    optimizer = torch.optim.SGD([l, *module.parameters()], lr=0.05)
    losses = []
    for _ in range(20):
        loss = module(l, v, valid)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def test_names():
    assert regularizers.default_alpha("con-reg") == 5 and regularizers.default_alpha("dis-reg") == 1
    with pytest.raises(UnknownNameError, match="Did you mean 'con-reg'"):
        regularizers.build_regularizer("conreg", 1, 1)
    with pytest.raises(ProbekitError, match="128 values per frame, but the task has 10 classes"):
        regularizers.build_regularizer("soft-targets", 128, 5, classes=10)
    with pytest.raises(ProbekitError, match="temperature must be > 0, got 0"):
        regularizers.build_regularizer("soft-targets", 10, 5, temperature=0)
