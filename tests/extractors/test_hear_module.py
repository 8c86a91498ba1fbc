"""``-e hear:MODULE``: modules of the HEAR API as extractors, and what is wrong with wrong ones."""

import json
import sys
from fractions import Fraction
from itertools import count

import numpy as np
import pytest
import soundfile
import torch

import probekit
from probekit.cards.selector import EmbeddingSelector, parse_selector
from probekit.errors import ProbekitError, WeightsError
from probekit.extractors import load
from probekit.extractors.adapters import hear_module
from probekit.extractors.weights.source import parse_overrides

torch.set_num_threads(1)

GOOD = """
import torch

HOP = 512  # samples at 22,050 Hz


class Model(torch.nn.Module):
    sample_rate = 22050
    scene_embedding_size = 3
    timestamp_embedding_size = 2

    def __init__(self, path):
        super().__init__()
        state = torch.load(path, weights_only=True) if path else {"gain": torch.ones(1)}
        self.gain = torch.nn.Parameter(state["gain"])
        self.dropout = torch.nn.Dropout(0.5)


def load_model(model_file_path=""):
    return Model(model_file_path)


def get_scene_embeddings(audio, model):
    audio = model.dropout(model.gain * audio)
    length = torch.full_like(audio[:, 0], audio.shape[1] / 100_000)
    return torch.stack([audio.mean(1), audio.abs().amax(1), length], 1)


def get_timestamp_embeddings(audio, model):
    padded = torch.nn.functional.pad(audio, (HOP // 2, HOP // 2))
    frames = padded.unfold(1, HOP, HOP)
    times = torch.arange(frames.shape[1]) * (1000 * HOP / model.sample_rate)
    embeddings = torch.stack([frames.mean(2), frames.abs().amax(2)], 2)
    return model.gain * embeddings, times.expand(len(audio), -1)
"""
_NUMBERS = count()


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Write a module, GOOD with something replaced, and return its name."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(*changes, text=GOOD, name=None):
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        name = name or f"hear_test_{next(_NUMBERS)}"
        (tmp_path / f"{name}.py").write_text(text)
        return name

    return write


def sounds():
    """Clips of several lengths, two of them equal."""
    rng = np.random.default_rng(0)
    return [torch.from_numpy(rng.uniform(-1, 1, n).astype(np.float32))
            for n in (3000, 1, 22050, 3000, 700)]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "again", "expected"),
    [
        ("hear:some.Module", None, EmbeddingSelector("hear", params={"module": "some.Module"})),
        ("hear:module=m", "hear:m", EmbeddingSelector("hear", params={"module": "m"})),
        ("hear@12:m,stream=scene", None, EmbeddingSelector("hear", "12", {"module": "m"}, "scene")),
        ("hear:m,x=1", None, EmbeddingSelector("hear", params={"module": "m", "x": "1"})),
        ("hear:stream=scene", None, EmbeddingSelector("hear", stream="scene")),
    ],
)
def test_how_a_module_is_named(text, again, expected):
    assert parse_selector(text) == expected
    assert str(expected) == (again or text)


@pytest.mark.parametrize("text", ["hear:", "hear:,stream=scene", "hear:a,b", "vggish:module"])
def test_other_forms_are_refused(text):
    with pytest.raises(ProbekitError, match="write NAME"):
        parse_selector(text)


def test_card_is_learnt_from_the_module(module):
    spec = load.resolve_spec(f"hear:{module()}")
    card = spec.card
    assert (spec.name, card.sample_rate, spec.streams) == ("hear", 22050, ("scene",))
    assert (card.streams["scene"].kind, card.streams["scene"].dim) == ("clip", 3)
    frames = card.streams["timestamps"]
    assert (frames.kind, frames.dim) == ("frames", 2)
    assert (frames.hop, frames.first_center) == (Fraction(512, 22050), 0)


def test_embeddings_are_the_module_s(module):
    name = module()
    extractor = load.build_extractor(
        load.resolve_spec(f"hear:{name}", streams=["scene", "timestamps"])
    )
    loaded = sys.modules[name]
    model = loaded.load_model().eval()
    for wave, clip in zip(sounds(), extractor(sounds()), strict=True):
        scene = loaded.get_scene_embeddings(wave[None], model)[0]
        frames, _ = loaded.get_timestamp_embeddings(wave[None], model)
        assert clip["scene"][2] == pytest.approx(len(wave) / 100_000)  # nothing was padded
        torch.testing.assert_close(clip["scene"], scene, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(clip["timestamps"], frames[0], rtol=1e-5, atol=1e-6)
    assert extractor.network.gain.requires_grad is False
    assert extractor.head() is None


def test_clips_of_equal_length_share_a_batch(module, monkeypatch):
    extractor = load.build_extractor(load.resolve_spec(f"hear:{module()}"))
    assert extractor.batch_pieces > 1
    library, _ = extractor._parts
    original, shapes = library.scene, []
    monkeypatch.setattr(library, "scene", lambda m, a: shapes.append(a.shape) or original(m, a))
    extractor(sounds())
    assert sorted(shapes) == [(1, 1), (1, 700), (1, 22050), (2, 3000)]


def test_a_module_that_mixes_its_batch_gets_one_clip_at_a_time(module):
    name = module(("audio.abs().amax(1)", "audio.abs().amax().expand(len(audio))"))
    extractor = load.build_extractor(load.resolve_spec(f"hear:{name}"))
    assert extractor.batch_pieces == 1
    together = extractor(sounds())
    for wave, clip in zip(sounds(), together, strict=True):
        torch.testing.assert_close(clip["scene"], extractor([wave])[0]["scene"])


def test_weights_are_named_by_module(module, tmp_path):
    name = module()
    file = tmp_path / "gain.pt"
    torch.save({"gain": torch.full((1,), 3.0)}, file)
    plain = load.resolve_spec(f"hear:{name}")
    own = load.resolve_spec(f"hear:{name}", weights=parse_overrides([f"hear:{name}={file}"]))
    assert plain.fingerprint != own.fingerprint
    assert own.identity["weights"]["main"].startswith("sha256:")
    assert str(file) not in json.dumps(own.identity)
    wave = sounds()[:1]
    once, thrice = (
        load.build_extractor(plain)(wave)[0]["scene"],
        load.build_extractor(own)(wave)[0]["scene"],
    )
    torch.testing.assert_close(3 * once[:2], thrice[:2])
    with pytest.raises(WeightsError, match=f"hear:{name}=absent: file not found"):
        load.resolve_spec(f"hear:{name}", weights=parse_overrides([f"hear:{name}=absent"]))
    with pytest.raises(WeightsError, match=f"write --weights hear:{name}=PATH"):
        load.resolve_spec(f"hear:{name}", weights=parse_overrides([f"hear={file}"]))


def test_fingerprint_covers_the_source(module, tmp_path):
    one = module()
    facts = load.resolve_spec(f"hear:{one}").identity["module"]
    again = load.resolve_spec(f"hear:{one}").identity["module"]
    assert facts == again
    assert facts["name"] == one
    assert (facts["scene_embedding_size"], facts["timestamp_embedding_size"]) == (3, 2)
    (tmp_path / f"{one}.py").write_text(GOOD + "\n# changed\n")
    assert hear_module._source_hash(one) != facts["source"]


def test_fingerprint_covers_the_whole_package(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    inner = tmp_path / "hear_package" / "models"
    inner.mkdir(parents=True)
    (tmp_path / "hear_package" / "__init__.py").write_text("")
    (inner / "__init__.py").write_text("")
    (inner / "small.py").write_text(GOOD)
    name = "hear_package.models.small"
    first = load.resolve_spec(f"hear:{name}").identity["module"]["source"]
    (tmp_path / "hear_package" / "helper.py").write_text("x = 1\n")
    second = hear_module._source_hash(name)
    (tmp_path / "hear_package" / "helper.py").write_text("x = 2\n")
    assert len({first, second, hear_module._source_hash(name)}) == 3
    assert hear_module._distribution("pytest") == f"pytest {pytest.__version__}"
    assert hear_module._distribution(name) == ""


FAULTS = {
    "no function": (("def get_scene_embeddings", "def other"), "has no get_scene_embeddings"),
    "no size": (("scene_embedding_size = 3", "x = 3"),
                "scene_embedding_size of its model must be an integer > 0, got None"),
    "size": (("scene_embedding_size = 3", "scene_embedding_size = 4"),
             r"get_scene_embeddings must return shape \(1, 4\), got \(1, 3\)"),
    "fraction": (("sample_rate = 22050", "sample_rate = 22050.5"),
                 "sample_rate of its model must be an integer > 0, got 22050.5"),
    "frame size": (("timestamp_embedding_size = 2", "timestamp_embedding_size = 5"),
                   r"must return shape \(1, 87, 5\), got \(1, 87, 2\)"),
    "seconds": (("(1000 * HOP /", "(1e6 * HOP /"), "are they milliseconds"),
    "past the end": (("expand(len(audio), -1)", "expand(len(audio), -1) + 30"), "milliseconds"),
    "irregular": (("torch.arange(frames.shape[1])", "torch.arange(frames.shape[1]) ** 0.9"),
                  "must return regular timestamps"),
    "backwards": (("torch.arange(frames.shape[1])", "torch.arange(frames.shape[1]).flip(0)"),
                  "must return regular timestamps"),
    "times": (("times.expand(len(audio), -1)", "times"),
              r"must return timestamps of shape \(1, 87\), one a frame, got \(87,\)"),
    "double": (("audio.mean(1), ", "audio.double().mean(1), "),
               "must return torch.float32, got torch.float64"),
    "array": (("length], 1)", "length], 1).detach().numpy()"),
              "must return a torch tensor, got ndarray"),
    "alone": (("return model.gain * embeddings, times", "return times; times"),
              "must return a pair"),
    "raises": (("audio.mean(1)", "audio.nonsense(1)"),
               r"get_scene_embeddings on audio of shape \(1, 44100\): AttributeError"),
    "import": (("import torch", "import torch, not_installed_anywhere"),
               "needs not_installed_anywhere, which is not installed"),
    "syntax": (("import torch", "import torch ("), "cannot be imported: SyntaxError"),
    "random": (("torch.ones(1)", "torch.rand(1)"), "differently each time.*--weights hear:"),
    "dropout": (("model.dropout(", "torch.nn.functional.dropout("), "computations are random"),
    "nan": (("audio.mean(1), ", "audio.mean(1) / 0, "), "not finite"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_named_with_the_module(module, fault):
    torch.manual_seed(0)  # for the module that draws at random
    change, message = FAULTS[fault]
    name = module(change)
    with pytest.raises(ProbekitError, match=f"^hear:{name}: .*{message}"):
        load.build_extractor(load.resolve_spec(f"hear:{name}", streams=["scene", "timestamps"]))


def test_places_must_not_depend_on_the_length(module):
    name = module((
        "* (1000 * HOP / model.sample_rate)",
        "* (1000 * HOP / model.sample_rate * (1 if audio.shape[1] > 30000 else 0.5))",
    ))  # fmt: skip
    extractor = load.build_extractor(load.resolve_spec(f"hear:{name}", streams=["timestamps"]))
    extractor([torch.ones(40000)])
    with pytest.raises(
        ProbekitError, match=r"must have the same frame grid.*every 11\.61 ms.*scene"
    ):
        extractor([torch.ones(20000)])


def test_a_short_clip_may_have_one_frame_behind_its_end(module):
    name = module(("expand(len(audio), -1)", "expand(len(audio), -1) + 500"),
                  ("frames = padded.unfold(1, HOP, HOP)",
                   "padded = torch.nn.functional.pad(audio, (0, max(0, 22050 - audio.shape[1])))\n"
                   "    frames = padded.unfold(1, 22050, HOP)"))  # fmt: skip
    extractor = load.build_extractor(load.resolve_spec(f"hear:{name}", streams=["timestamps"]))
    assert extractor([torch.ones(50)])[0]["timestamps"].shape == (1, 2)
    assert extractor.streams["timestamps"].first_center == Fraction(1, 2)


def test_a_single_timestamp_is_no_stream(module):
    name = module(("frames = padded.unfold(1, HOP, HOP)", "frames = padded[:, None]"))
    assert list(load.resolve_spec(f"hear:{name}").card.streams) == ["scene"]
    with pytest.raises(ProbekitError, match="unknown stream of hear 'timestamps'"):
        load.resolve_spec(f"hear:{name},stream=timestamps")


@pytest.mark.parametrize(
    ("hop", "expected"),
    [
        ("20.0", Fraction(1, 50)),
        ("1000 * 331 / 22050", Fraction(331, 22050)),
        ("7.25", Fraction(29, 4000)),
    ],
)
def test_hop_is_exact(module, hop, expected):
    name = module(("(1000 * HOP / model.sample_rate)", hop))
    assert load.resolve_spec(f"hear:{name}").card.streams["timestamps"].hop == expected


def test_rounded_timestamps_do_not_drift(module):
    """Whole milliseconds, as some modules give them, of a hop that is a fraction of them."""
    name = module(("times.expand", "times.round().expand"))
    assert load.resolve_spec(f"hear:{name}").card.streams["timestamps"].hop == Fraction(512, 22050)


def test_unknown_modules():
    with pytest.raises(
        ProbekitError, match="module nowhere not found; install it, or add its folder"
    ):
        load.resolve_spec("hear:nowhere.at.all")
    with pytest.raises(ProbekitError, match=r"hear: module missing\. Write hear:some\.module"):
        load.resolve_spec("hear")
    with pytest.raises(ProbekitError, match="has no load_model and no get_scene"):
        load.resolve_spec("hear:json")


def test_other_parameters_are_refused(module):
    with pytest.raises(ProbekitError, match="unknown parameter of hear 'size'"):
        load.resolve_spec(f"hear:{module()},size=5")


def test_precision(module):
    spec = load.resolve_spec(f"hear:{module()}", precision="bf16")
    assert spec.fingerprint != load.resolve_spec(f"hear:{spec.params['module']}").fingerprint
    assert load.build_extractor(spec)(sounds()[:1])[0]["scene"].dtype == torch.float32


def test_from_recordings_to_the_cache(module, tmp_path):
    name = module()
    for label in ("a", "b"):
        (tmp_path / "clips" / label).mkdir(parents=True)
        for number in range(2):
            wave = sounds()[0].numpy() * (1 + number) / 2
            soundfile.write(tmp_path / "clips" / label / f"{number}.wav", wave, 22050, "FLOAT")
    (summary,) = probekit.extract(f"hear:{name}", audio=tmp_path / "clips", cache=tmp_path / "c")
    assert (summary.done, summary.failed) == (4, {})
    for text in ("hear", f"hear:{name}", f"hear@{summary.fingerprint[:8]}"):
        found = probekit.open_cache(text, "clips", tmp_path / "c")
        assert found.vectors(found.clip_ids)[:, 2] == pytest.approx(0.03)
    with pytest.raises(ProbekitError, match=name):
        probekit.open_cache("hear:other", "clips", tmp_path / "c")
