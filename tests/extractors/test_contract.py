"""What every extractor keeps to: these tests run over every card in ``extractors/``."""

import re
from copy import deepcopy
from importlib import import_module
from pathlib import Path

import pytest
import torch
from torch import nn

from probekit import cards
from probekit.errors import WeightsError
from probekit.extractors import labels, load
from probekit.extractors.base import WindowedExtractor
from probekit.extractors.weights import diagnosis, state_dict
from probekit.extractors.weights.source import required_weights

torch.set_num_threads(1)
NAMES = sorted(path.stem for path in (Path(__file__).parents[2] / "extractors").glob("*.yaml"))
SMALL = {  # parameters with which the same code runs faster
    "cf": "cf:width=16",
    "openl3": "openl3:input=mel128,size=512,hop=0.5",
}
PUBLISHED = {  # trained parameters, counted in the originals; the other networks have none
    "vggish": 72_141_184,
    "openl3": 4_687_042,
    "talnet": 9_980_527,
    "cnn14": 80_753_615,
    "harmonic-cnn": 3_631_551,
}
STEP = {("vggish", "pca8"): 1.0}  # whole numbers: rounding may move one to its neighbor
LARGE = 20_000_000  # parameters from which on it takes seconds to draw random weights
OF_LARGE_NETWORKS = [
    name for name in NAMES if (cards.load_extractor_card(name).parameter_count or 0) > LARGE
]


def defaults(card):
    return {name: facts.default for name, facts in card.parameters.items()}


def settle(text, seed=0, **more):
    """Settle an extractor with all its streams and random weights."""
    card = cards.load_extractor_card(text.partition(":")[0])
    roles = {key.partition("/")[0] for key in card.weights}
    weights = {f"{card.name}.{role}": f"random:{seed}" for role in roles}
    return load.resolve_spec(text, weights=weights, streams=list(card.streams), **more)


@pytest.fixture(params=NAMES)
def card(request):
    return cards.load_extractor_card(request.param)


@pytest.fixture(scope="module", params=NAMES)
def extractor(request):
    """Built once for the tests of its name; nothing may change it."""
    return load.build_extractor(settle(SMALL.get(request.param, request.param)))


@pytest.fixture(scope="module")
def default(extractor):
    """The same with the default parameters; its weights do not matter."""
    card = extractor.card
    if card.name not in SMALL:
        return extractor
    module = import_module(f"probekit.extractors.networks.{card.module}")
    return module.build(card, defaults(card), tuple(card.streams)).eval()


def parts(extractor):
    """The modules that take weights, by role."""
    roles = required_weights(extractor.card, extractor.params, extractor.stream_names)
    return {role: extractor.weights_target(role) for role in roles}


def clips(rate):
    """Noise with a tone, silence, ten milliseconds, one sample."""
    generator = torch.Generator().manual_seed(0)
    time = torch.arange(round(0.6 * rate)) / rate
    noise = torch.rand(len(time), generator=generator) - 0.5
    normal = 0.3 * torch.sin(2 * torch.pi * 440 * time) + 0.2 * noise
    return {
        "normal": normal,
        "silence": torch.zeros(round(0.3 * rate)),
        "short": normal[: rate // 100],
        "sample": normal[7:8],
    }


def is_large(part):
    return sum(p.numel() for p in part.parameters()) > LARGE


# --- the card -------------------------------------------------------------------------------------


def test_card_is_whole(card):
    module = import_module(f"probekit.extractors.networks.{card.module}")
    assert callable(module.build)
    for text in (card.title, card.padding, card.licence, card.source):
        assert text
    assert card.long_audio != "cropped" or card.max_seconds
    if card.classes_file:
        assert len(labels.load_labels(card.classes_file)) > 1
    for name, facts in card.parameters.items():
        assert not facts.choices or facts.default in facts.choices, name
    assert bool(card.weights) == bool(card.parameter_count)
    assert not card.weights or card.bibtex


def test_weights_can_be_had_or_it_is_said_why_not(card):
    for key, facts in card.weights.items():
        assert facts.file, key
        assert facts.url or facts.missing, key
        assert facts.url is None or facts.url.startswith("https://"), key
        hashes = {facts.sha256: 64, facts.sha256_prefix: None, facts.git_blob: 40}
        for value, length in hashes.items():
            assert value is None or re.fullmatch("[0-9a-f]+", value), key
            assert value is None or length in (None, len(value)), key
        assert set(facts.streams or ()) <= set(card.streams), key
        assert set(facts.when) <= set(card.parameters), key
    for name in card.streams:  # each role has one file, and only one
        files = [
            key.partition("/")[0]
            for key, facts in card.weights.items()
            if (facts.streams is None or name in facts.streams)
            and all(defaults(card)[k] == value for k, value in facts.when.items())
        ]
        assert len(files) == len(set(files))
        assert not card.weights or "main" in files


# --- fingerprints ---------------------------------------------------------------------------------


def other_value(facts):
    """A value of a parameter that is not its default."""
    if facts.choices:
        return next(choice for choice in facts.choices if choice != facts.default)
    if isinstance(facts.default, bool):
        return not facts.default
    return facts.default * 2


def written(value):
    """A value as a user writes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def test_fingerprint_tells_everything_apart(card):
    base = settle(card.name)
    assert base.fingerprint == settle(card.name).fingerprint
    others = [settle(card.name, precision="bf16"), settle(card.name, precision="fp16")]
    for name, facts in card.parameters.items():
        others.append(settle(f"{card.name}:{name}={written(other_value(facts))}"))
        same = settle(f"{card.name}:{name}={written(facts.default)}")
        assert (same.fingerprint, same.params) == (base.fingerprint, base.params)
    if card.weights:
        others.append(settle(card.name, seed=1))
    prints = [spec.fingerprint for spec in (base, *others)]
    assert len(set(prints)) == len(prints)
    shown = ["random weights (seed 0)"] if card.weights else []
    assert base.provenance == ([card.caveat] if card.caveat else []) + shown


# --- what is built --------------------------------------------------------------------------------


def test_streams_are_the_card_s(extractor, default):
    assert default.streams == extractor.card.streams
    assert list(extractor.streams) == list(extractor.card.streams)
    for name, stream in extractor.streams.items():
        assert stream.kind == extractor.card.streams[name].kind


def test_parameter_count_is_the_card_s(default):
    network = default.network
    count = sum(p.numel() for p in network.parameters()) if network is not None else None
    assert count == default.card.parameter_count


def test_parameter_count_is_the_original_s(default):
    if default.card.name not in PUBLISHED:
        return
    network = default.network
    trained = sum(p.numel() for p in network.parameters())
    assert trained == PUBLISHED[default.card.name]
    if default.card.name == "openl3":  # Keras counts the statistics of batch norm as well
        running = [b for name, b in network.named_buffers() if ".running_" in name]
        assert trained + sum(b.numel() for b in running) == 4_689_860


def test_clips(extractor):
    """Finite, of the stated shape; the same alone, in a batch, at another place in it."""
    waves = clips(extractor.card.sample_rate)
    alone = {kind: extractor([wave])[0] for kind, wave in waves.items()}
    for kind, found in alone.items():
        assert list(found) == list(extractor.streams)
        for name, stream in extractor.streams.items():
            values = found[name]
            assert values.dtype == torch.float32
            assert values.shape[-1] == stream.dim
            assert values.ndim == (2 if stream.kind == "frames" else 1), (kind, name)
            assert values.shape[0] >= 1
            assert values.isfinite().all(), (kind, name)
    for order in (list(waves), list(waves)[::-1]):
        together = dict(zip(order, extractor([waves[kind] for kind in order]), strict=True))
        for name in extractor.streams:
            scale = max(float(found[name].abs().max()) for found in alone.values())
            allowed = STEP.get((extractor.card.name, name), 1e-5 * scale)
            for kind, found in alone.items():
                assert together[kind][name].shape == found[name].shape
                worst = float((together[kind][name] - found[name]).abs().max())
                assert worst <= allowed, (kind, name)
    for name, values in alone["normal"].items():
        assert not torch.equal(values, alone["silence"][name]), name


def test_pieces_of_a_long_clip_give_the_frames_of_the_whole(extractor):
    if not isinstance(extractor, WindowedExtractor):
        assert extractor.card.long_audio != "windowed"
        return
    assert extractor.card.long_audio == "windowed"
    generator = torch.Generator().manual_seed(1)
    samples = round(3.2 * extractor.window)
    wave = torch.rand(samples, generator=generator) - 0.5
    (whole,) = extractor([wave])
    windows = extractor.windows(samples)
    assert windows >= 3
    found = {name: [] for name in whole}
    for first in range(0, windows, 2):
        start, stop, *zeros = extractor.extent(first, min(2, windows - first), samples)
        piece = nn.functional.pad(wave[start:stop], zeros)
        cut = piece.unfold(0, extractor.window, extractor.hop)
        with torch.inference_mode():
            for name, values in extractor.embed(extractor.frontend(cut)).items():
                found[name].append(values.reshape(-1, values.shape[-1]))
    for name, values in whole.items():
        pieces = torch.cat(found[name])
        assert pieces.shape == values.shape
        allowed = STEP.get((extractor.card.name, name), 1e-5 * float(values.abs().max()))
        assert float((pieces - values).abs().max()) <= allowed


# --- weights --------------------------------------------------------------------------------------


def check_draws(modules):
    """Draw the weights of parts again, with their seed and with another one."""
    for role, part in modules.items():
        drawn = part.state_dict()
        fresh = deepcopy(part)
        again = state_dict.random_init(fresh, 0)
        assert list(again) == list(drawn)
        assert all(torch.equal(again[key], drawn[key]) for key in drawn), role
        if any(p.ndim >= 2 for p in part.parameters()):
            other = state_dict.random_init(fresh, 1)
            assert any(not torch.equal(other[key], drawn[key]) for key in drawn), role


def test_random_weights_are_those_of_their_seed(extractor):
    small = {role: part for role, part in parts(extractor).items() if not is_large(part)}
    assert len(small) == len(parts(extractor)) or extractor.card.name in OF_LARGE_NETWORKS
    check_draws(small)


@pytest.mark.slow
@pytest.mark.parametrize("extractor", OF_LARGE_NETWORKS, indirect=True)
def test_random_weights_of_large_networks_are_those_of_their_seed(extractor):
    large = {role: part for role, part in parts(extractor).items() if is_large(part)}
    assert large
    check_draws(large)


@pytest.mark.parametrize("change", ["missing", "extra", "shape"])
def test_loading_is_strict(extractor, change):
    own = {role: dict(part.state_dict()) for role, part in parts(extractor).items()}
    before = {role: {k: v.flatten()[:9].clone() for k, v in own[role].items()} for role in own}
    for role, part in parts(extractor).items():
        state = dict(own[role])
        key = [*(name for name, _ in part.named_parameters()), *state][0]
        if change == "missing":
            del state[key]
        elif change == "extra":
            key = "of_another_network.weight"
            state[key] = torch.zeros(3)
        else:
            state[key] = torch.zeros(*state[key].shape, 2)
        label = f"{extractor.card.name}: {role} weights"
        with pytest.raises(WeightsError, match=f"(?s){re.escape(label)}.*{re.escape(key)}"):
            extractor.load_weights({**own, role: state})
    for role, part in parts(extractor).items():
        now = part.state_dict()
        assert all(torch.equal(now[k].flatten()[:9], v) for k, v in before[role].items()), role


def test_weights_are_recognised(extractor):
    if extractor.network is not None:
        assert diagnosis.identify_network(set(extractor.network.state_dict())) == [
            extractor.card.name
        ]


def test_a_caveat_is_shown_wherever_the_numbers_are():
    overrides = {"weanet.main": "random:0"}
    said = load.resolve_spec("weanet", weights=overrides).provenance
    assert said == [
        "rebuilt from kumar2021's outline, not the authors' network",
        "random weights (seed 0)",
    ]
