"""``-e hf:FOLDER``: models of transformers of every type, with tiny random weights."""

import json
import shutil
from fractions import Fraction

import numpy as np
import pytest
import soundfile
import torch
from torch import nn

import probekit
from probekit.cards.selector import EmbeddingSelector, parse_selector, parse_selectors
from probekit.errors import ProbekitError, WeightsError
from probekit.extractors import load
from probekit.extractors.adapters import hf_model
from probekit.extractors.weights.source import parse_overrides, validate_overrides

transformers = pytest.importorskip("transformers")
from tiny_models import NAMES, make_model  # noqa: E402

torch.set_num_threads(1)
CLAPS = ("clap", "clap-fused")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Return a function for the folder, the model and the front-end of a name; saved once."""
    root, made = tmp_path_factory.mktemp("models"), {}

    def get(name):
        if name not in made:
            folder = root / name
            with hf_model.quiet():
                made[name] = (folder, *make_model(folder, name))
        return made[name]

    return get


@pytest.fixture
def copied(models, tmp_path):
    """Return a copy of the folder of wav2vec2, which a test may damage."""
    folder = tmp_path / "copy"
    shutil.copytree(models("wav2vec2")[0], folder)
    return folder


def build(folder, more="", **options):
    card = load.resolve_spec(f"hf:{folder}", **options).card
    return load.build_extractor(
        load.resolve_spec(f"hf:{folder}{more}", streams=list(card.streams), **options)
    )


def noise(samples, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(samples, generator=generator) - 0.5


def edit(path, **changes):
    """Change keys of a JSON file; None removes one."""
    content = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in content.items() if v is not None}))


# --- every type -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_alone_and_in_company(models, name):
    """Within 1e-5 of the largest number of a stream, in batches of any order."""
    extractor = build(models(name)[0])
    rate = extractor.card.sample_rate
    lengths = (rate // 3, rate // 4, rate // 3, 1, rate // 100, rate // 2 + 7)
    waves = [noise(samples, seed) for seed, samples in enumerate(lengths)]
    waves[2] = torch.zeros_like(waves[2])  # of the length of the first
    orders = [extractor(waves), extractor(waves[::-1])[::-1]]
    for k, wave in enumerate(waves):
        alone = extractor([wave])[0]
        for stream, facts in extractor.streams.items():
            values = alone[stream]
            assert values.dtype == torch.float32
            assert values.shape[-1] == facts.dim
            assert values.isfinite().all()
            assert values.ndim == (2 if facts.kind == "frames" else 1)
            scale = max(float(clip[stream].abs().max()) for clip in orders[0])
            for together in orders:
                difference = (together[k][stream] - values).abs().max()
                assert float(difference) <= 1e-5 * scale, (stream, k)
    assert any(not torch.equal(orders[0][0][s], orders[0][2][s]) for s in extractor.streams)


def original(name, model, frontend, wave):
    """Return ``last`` and the states as transformers computes them from its own front-end."""
    rate = frontend.sampling_rate
    if name in ("encodec", "dac"):
        inputs = frontend(wave.numpy(), sampling_rate=rate, return_tensors="pt")["input_values"]
        return model.encoder(inputs).transpose(1, 2)[0], ()
    inputs = dict(frontend(wave.numpy(), sampling_rate=rate, return_tensors="pt"))
    inputs.pop("attention_mask", None)
    network = model.get_encoder() if name == "whisper" else model
    if name in CLAPS:
        inputs["is_longer"] = torch.zeros(1, 1, dtype=torch.bool)
        return model.get_audio_features(**inputs).pooler_output[0], ()
    output = network(**inputs, output_hidden_states=True)
    return output.last_hidden_state[0], [state[0] for state in output.hidden_states]


@pytest.mark.parametrize("name", NAMES)
def test_embeddings_are_those_of_transformers(models, name):
    """Saved, loaded, by probekit's front-end: as the model in memory by its own front-end."""
    folder, model, frontend = models(name)
    extractor = build(folder)
    wave = 0.3 * noise(round(0.7 * extractor.card.sample_rate))
    with torch.inference_mode():
        last, states = original(name, model, frontend, wave)
        own = extractor([wave])[0]
    streams = {"pooled" if name in CLAPS else "last": last}
    streams |= {f"layer.{k}": state for k, state in enumerate(states)}
    for stream, values in streams.items():
        if name == "audio-spectrogram-transformer":
            values = states_over_time(stream, model, last, states)
        ours = own[stream][0] if name in CLAPS else own[stream]
        values = values if name in CLAPS else values[: len(ours)]
        assert ours.shape == values.shape, stream
        worst = float((ours - values).abs().max() / values.abs().max())
        assert worst <= 1e-4, (stream, worst)  # their front-ends are float32, ours float64


def states_over_time(stream, model, last, states):
    """Return the tokens of AST, averaged over frequency, frequency-major as in the original."""
    tokens = last if stream == "last" else states[int(stream[6:])]
    config = model.config
    rows = (config.num_mel_bins - config.patch_size) // config.frequency_stride + 1
    return tokens[2:].reshape(rows, -1, tokens.shape[1]).mean(0)


def test_last_is_after_the_norm_and_the_last_layer_before(models):
    folder, model, _ = models("wav2vec2-large")
    values = build(folder)([noise(8000)])[0]
    with torch.inference_mode():
        normed = model.encoder.layer_norm(values["layer.2"])
    torch.testing.assert_close(normed, values["last"], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(values["layer.2"], values["last"], atol=1e-2)
    extractor = build(models("wav2vec2")[0])
    assert [s.layer for s in extractor.streams.values()] == [None, 0, 1, 2]


# --- the frame grid -------------------------------------------------------------------------------


def support(function, samples, frame):
    """Return the first and last sample that a frame depends on."""
    wave = (0.3 * noise(samples)).requires_grad_()
    function(wave[None])[0, frame].square().sum().backward()
    places = wave.grad.abs().nonzero().flatten()
    return int(places[0]), int(places[-1])


def local(name, extractor):
    """Return the layers before attention and recurrence, as a function of waveforms."""
    network, frontend = extractor.network, extractor.frontend
    if name in ("encodec", "dac"):
        if name == "encodec":
            for k, layer in enumerate(network.layers):
                if type(layer).__name__ == "EncodecLSTM":
                    network.layers[k] = nn.Identity()
        return lambda wave: network(frontend(wave)).transpose(1, 2)
    if name == "whisper":

        def convolve(wave):
            hidden = nn.functional.gelu(network.conv1(frontend(wave)))
            return network.conv2(hidden).transpose(1, 2)

        return convolve
    if name == "audio-spectrogram-transformer":
        shape = hf_model._patches(network.config)
        return lambda w: network.embeddings(frontend(w))[:, 2:].unflatten(1, shape).mean(1)
    if name == "wav2vec2-bert":  # without its normalization over the piece
        return lambda wave: extractor.features.filters(wave).unfold(1, 2, 2).flatten(2)
    return lambda wave: network.feature_extractor(wave).transpose(1, 2)


@pytest.mark.parametrize(
    "name", ["wav2vec2-large", "wav2vec2-bert", "audio-spectrogram-transformer", "whisper",
             "encodec", "dac"]
)  # fmt: skip
def test_grid_is_that_of_the_gradient(models, name):
    extractor = build(models(name)[0])
    rate, stream = extractor.card.sample_rate, extractor.streams["last"]
    function = local(name, extractor.requires_grad_(False))
    for frame in (11, 12):  # where nothing is padded
        first, last = support(function, 2 * rate, frame)
        center = (stream.first_center + frame * stream.hop) * rate
        start, stop = center - stream.window * rate / 2, center + stream.window * rate / 2
        assert start <= first <= start + 1, name  # Hann windows begin with a zero
        assert stop - 2 <= last <= stop - 1, name


@pytest.mark.parametrize("name", ["hubert", "sew", "wav2vec2-bert", "whisper", "encodec", "dac"])
def test_numbers_of_frames(models, name):
    """As many as the formula says, at several lengths; those of layers fit their own grid."""
    extractor = build(models(name)[0])
    for samples in (8000, 8079, 8080, 8400, 9999):
        clip = extractor([noise(samples)])[0]
        for stream, values in clip.items():
            grid = extractor.streams[stream]
            seconds = Fraction(samples, extractor.card.sample_rate)
            if name in ("whisper", "encodec", "dac"):
                expected = -(-seconds // grid.hop)
            else:
                expected = (seconds - grid.window) // grid.hop + 1
            if (name, stream) == ("sew", "last"):  # an odd frame is a row of zeros in the original
                expected -= expected % 2
            assert len(values) == expected, (name, stream, samples)
    if name == "sew":
        assert extractor.streams["layer.1"].hop == 2 * extractor.streams["last"].hop


@pytest.mark.parametrize("name", ["wav2vec2-large", "sew", "whisper", "dac", "clap"])
def test_pieces_of_a_long_clip_continue_each_other(models, name):
    extractor = build(models(name)[0], "" if name in ("whisper", "clap") else ":piece=0.5")
    rate = extractor.card.sample_rate
    samples = round(4.6 * rate) + 13
    pieces = extractor.pieces(samples)
    assert len(pieces) > 1 and pieces[0][0] == 0
    lengths = {stop - start for start, stop in pieces}
    assert max(lengths) <= extractor.longest
    (clip,) = extractor([noise(samples)])
    if name == "clap":  # a rest of 0.6 s is less than half a window
        assert pieces == [(0, 2 * rate), (2 * rate, 4 * rate)]
        assert clip["pooled"].shape == (2, 16)
        return
    whole = extractor._groups(samples) * extractor.squeeze
    assert len(clip["last"]) == whole
    first = extractor([noise(samples)[slice(*pieces[1])]])[0]["last"]
    before = extractor._groups(pieces[0][1]) * extractor.squeeze
    torch.testing.assert_close(clip["last"][before : before + len(first)], first, atol=1e-5, rtol=0)


def test_a_piece_must_hold_a_frame(models):
    folder = models("wav2vec2")[0]
    with pytest.raises(ProbekitError, match=r"piece must be at least 0\.025 s, got 0\.01"):
        build(folder, ":piece=0.01")
    assert load.resolve_spec(f"hf:{folder}:piece=9").params["piece"] == 9.0
    with pytest.raises(ProbekitError, match="unknown parameter of hf 'piece'"):
        load.resolve_spec(f"hf:{models('whisper')[0]}:piece=9")


# --- identity -------------------------------------------------------------------------------------


def test_fingerprint_is_of_content_and_library(copied, tmp_path, monkeypatch):
    first = load.resolve_spec(f"hf:{copied}")
    assert first.identity["params"] == {"model": "copy", "piece": 60.0}
    assert str(tmp_path) not in json.dumps(first.identity)
    moved = tmp_path / "elsewhere" / "copy"
    shutil.copytree(copied, moved)
    assert load.resolve_spec(f"hf:{moved}").fingerprint == first.fingerprint
    edit(moved / "preprocessor_config.json", do_normalize=False)
    prints = {first.fingerprint, load.resolve_spec(f"hf:{moved}").fingerprint}
    edit(moved / "config.json", hidden_dropout=0.2)
    prints.add(load.resolve_spec(f"hf:{moved}").fingerprint)
    prints.add(load.resolve_spec(f"hf:{copied}", weights={"hf.main": "random:0"}).fingerprint)
    monkeypatch.setattr(hf_model.metadata, "version", lambda name: "5.99.0")
    prints.add(load.resolve_spec(f"hf:{copied}").fingerprint)
    assert len(prints) == 5


def test_random_weights_need_the_configuration_only(copied):
    (copied / "model.safetensors").unlink()
    for option in (f"hf:{copied}=random:3", "hf=random:3"):
        weights = validate_overrides([option], [f"hf:{copied}:stream=last"])
        assert load.resolve_spec(f"hf:{copied}", weights=weights).provenance == [
            "random weights (seed 3)"
        ]
    before = torch.random.get_rng_state()
    a, b = (build(copied, weights=weights)([noise(4000)])[0]["last"] for _ in range(2))
    assert torch.equal(torch.random.get_rng_state(), before)
    other = build(copied, weights=parse_overrides(["hf=random:4"]))([noise(4000)])[0]["last"]
    assert torch.equal(a, b) and not torch.allclose(a, other)
    with pytest.raises(WeightsError, match="random:SEED"):
        load.resolve_spec(f"hf:{copied}", weights=parse_overrides(["hf=random"]))
    with pytest.raises(ProbekitError, match="not among the extractors of -e"):
        validate_overrides(["hf:other=random:0"], [f"hf:{copied}"])


@pytest.mark.parametrize(
    ("front", "licence", "caveat"),
    [
        ("license: apache-2.0", "apache-2.0", []),
        ("license: cc-by-nc-4.0", "cc-by-nc-4.0",
         ["licence cc-by-nc-4.0: non-commercial use only"]),
        ("license: other\nlicense_name: acme-noncommercial", "acme-noncommercial",
         ["licence acme-noncommercial: non-commercial use only"]),
        ("tags: [audio]", "not stated by its model card", []),
        (None, "not stated by its model card", []),
    ],
)  # fmt: skip
def test_licence_is_that_of_the_model_card(copied, front, licence, caveat):
    if front is not None:
        (copied / "README.md").write_text(f"---\n{front}\n---\n# A model\n")
    spec = load.resolve_spec(f"hf:{copied}")
    assert spec.card.licence == licence
    assert spec.provenance == caveat


def test_several_files_of_weights(models, tmp_path):
    folder, model, frontend = models("wav2vec2")
    model.save_pretrained(tmp_path / "wav2vec2", max_shard_size="40KB")
    frontend.save_pretrained(tmp_path / "wav2vec2")
    assert not (tmp_path / "wav2vec2/model.safetensors").exists()
    wave = noise(4000)
    one, several = (build(place)([wave])[0]["last"] for place in (folder, tmp_path / "wav2vec2"))
    torch.testing.assert_close(one, several)
    file = sorted((tmp_path / "wav2vec2").glob("*.safetensors"))[0]
    file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(WeightsError, match=rf"{file.name}: cut short"):
        build(tmp_path / "wav2vec2")


# --- what is wrong --------------------------------------------------------------------------------


def fails(folder, message, kind=ProbekitError, **options):
    with pytest.raises(kind, match=message):
        load.build_extractor(load.resolve_spec(f"hf:{folder}", **options))


def test_remote_code(copied):
    edit(copied / "config.json", auto_map={"AutoModel": "modeling_own.OwnModel"})
    fails(copied, r"config.json: asks for code of its own \(modeling_own.OwnModel\).*onnx:FILE")


def test_pickle_only(copied):
    (copied / "model.safetensors").unlink()
    torch.save({}, copied / "pytorch_model.bin")
    fails(copied, r"pytorch_model.bin: a pickle.*save_pretrained\(FOLDER\)", WeightsError)
    (copied / "pytorch_model.bin").unlink()
    fails(copied, "no model.safetensors in this folder", WeightsError)


def test_unknown_type(copied):
    edit(copied / "config.json", model_type="dasheng")
    fails(copied, "model_type 'dasheng' is a type that is not read. hf: reads wav2vec2, .*, dac")


def test_text_model(copied):
    edit(copied / "config.json", model_type="bert")
    fails(copied, "model_type 'bert' is a model of text, not of audio. hf: reads wav2vec2")


def test_no_preprocessor(copied):
    (copied / "preprocessor_config.json").unlink()
    fails(copied, r"copy: no preprocessor_config.json.*feature_extractor.save_pretrained")


def test_no_configuration(tmp_path):
    fails(tmp_path, "no config.json in this folder")
    fails("nowhere", "no such folder, and no name of the hub")
    with pytest.raises(ProbekitError, match=r"hf: no model\. Write hf:ORG/NAME"):
        load.resolve_spec("hf")


def test_wrong_rate(copied, models, tmp_path):
    edit(copied / "preprocessor_config.json", sampling_rate="16 kHz")
    fails(copied, "sampling_rate in preprocessor_config.json must be an integer > 0, got '16 kHz'")
    for name, change, message in (
        ("encodec", {"sampling_rate": 16000}, "sampling_rate = 16000, but .* = 24000"),
        ("dac", {"sampling_rate": 44100}, "sampling_rate = 44100, but .* = 16000"),
        ("whisper", {"sampling_rate": 8000}, "= 100, but .*max_source_positions = 200"),
        ("audio-spectrogram-transformer", {"max_length": 99}, "max_length = 99, but .* = 136"),
        ("wav2vec2-bert", {"num_mel_bins": 40}, "= 80, but .*input_dim = 160"),
        ("clap", {"truncation": "fusion"}, "truncation = fusion, but .*enable_fusion = False"),
    ):
        folder = tmp_path / name
        shutil.copytree(models(name)[0], folder)
        edit(folder / "preprocessor_config.json", **change)
        fails(folder, message)


def test_another_frontend(copied, models):
    shutil.copy(models("whisper")[0] / "preprocessor_config.json", copied)
    fails(copied, "is of a WhisperFeatureExtractor, but models of type wav2vec2 have a Wav2Vec2Fea")


def test_file_cut_short(copied):
    path = copied / "model.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[:-100])
    sizes = f"{len(content) - 100:,} of {len(content):,} bytes"
    fails(copied, f"model.safetensors: cut short: {sizes}", WeightsError)
    path.write_bytes(content[:5])
    fails(copied, "model.safetensors: not a complete safetensors file", WeightsError)
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\n" * 3)
    fails(copied, "model.safetensors: not a complete safetensors file", WeightsError)


def test_weights_of_another_model(copied, models):
    shutil.copy(models("whisper")[0] / "model.safetensors", copied)
    fails(copied, "lacks .* weights of the network, for example", WeightsError)
    edit(copied / "config.json", hidden_size=36)
    shutil.copy(models("wav2vec2")[0] / "model.safetensors", copied)
    fails(copied, "model.safetensors: cannot be loaded into a model of config.json", WeightsError)


def test_a_change_between_description_and_use(copied):
    spec = load.resolve_spec(f"hf:{copied}")
    edit(copied / "config.json", hidden_dropout=0.3)
    with pytest.raises(ProbekitError, match="changed while it was in use"):
        load.build_extractor(spec)


def test_library_missing(copied, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(ProbekitError, match=r'needs transformers.*pip install "probekit\[hf\]"'):
        load.resolve_spec(f"hf:{copied}")


# --- the hub --------------------------------------------------------------------------------------


@pytest.fixture
def hub(monkeypatch, models, tmp_path):
    """Replace the hub by a folder; ``hub.error`` is raised for files that are not in ``cached``."""
    import huggingface_hub

    class Hub:
        error, cached, names = None, set(), []

        def download(self, model, name, *, revision):
            self.names.append((model, name, revision))
            path = tmp_path / "snapshot" / name
            if self.error is not None and name not in self.cached:
                raise self.error
            if not path.exists():
                raise huggingface_hub.errors.EntryNotFoundError(name)
            return str(path)

    hub = Hub()
    hub.cached = set()
    shutil.copytree(models("wav2vec2")[0], tmp_path / "snapshot")
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", hub.download)
    monkeypatch.setattr(
        huggingface_hub, "file_exists",
        lambda model, name, *, revision: (tmp_path / "snapshot" / name).exists(),
    )  # fmt: skip
    hub.errors, hub.folder = huggingface_hub.errors, tmp_path / "snapshot"
    return hub


def error_of(hub, name):
    """Return an error as the hub's library raises it."""
    cls = getattr(hub.errors, name)
    error = cls.__new__(cls)
    Exception.__init__(error, "not possible\nat all")
    return error


def test_a_model_of_the_hub(hub):
    spec = load.resolve_spec("hf:acme/sound@v1.0:layer=1")
    assert spec.label == "hf:acme/sound"
    assert spec.identity["params"] == {"model": "acme/sound", "revision": "v1.0", "piece": 60.0}
    assert spec.card.source == "https://huggingface.co/acme/sound"
    assert {(model, revision) for model, _, revision in hub.names} == {("acme/sound", "v1.0")}
    assert load.build_extractor(spec)([noise(4000)])[0]["layer.1"].shape == (12, 32)
    assert load.resolve_spec("hf:facebook/encodec_x").card.licence == "cc-by-nc-4.0"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        ("LocalEntryNotFoundError",
         "hf:acme/sound: no such folder, config.json is not on this machine and the hub "
            "cannot be reached. "
         "Download config.json, .*one folder and write hf:FOLDER"),
        ("OfflineModeIsEnabled", "config.json is not on this machine and the hub cannot"),
        ("GatedRepoError",
         "ask for consent. Accept their terms on https://huggingface.co/acme/sound, then .*login"),
        ("RepositoryNotFoundError", "no such model on the hub, or a private one"),
        ("EntryNotFoundError", "hf:acme/sound: has no config.json on the hub"),
    ],
)  # fmt: skip
def test_the_hub_cannot_give_it(hub, error, message):
    hub.error = error_of(hub, error)
    fails("acme/sound", message, WeightsError)


def test_unknown_revision(hub):
    hub.error = error_of(hub, "RevisionNotFoundError")
    fails("acme/sound@v9", "the hub has no revision 'v9' of it", WeightsError)


def test_offline_with_a_part_of_the_files(hub):
    hub.error = error_of(hub, "LocalEntryNotFoundError")
    hub.cached = {"config.json", "preprocessor_config.json"}
    fails("acme/sound", "model.safetensors is not on this machine and the hub cannot", WeightsError)
    hub.cached.add("model.safetensors")
    assert load.resolve_spec("hf:acme/sound").card.sample_rate == 16000
    hub.cached = {"config.json"}
    fails("acme/sound", "preprocessor_config.json is not on this machine", WeightsError)


def test_pickle_only_on_the_hub(hub):
    (hub.folder / "model.safetensors").rename(hub.folder / "pytorch_model.bin")
    fails("acme/sound", "hf:acme/sound: a pickle", WeightsError)
    (hub.folder / "pytorch_model.bin").unlink()
    fails("acme/sound", "hf:acme/sound: has no model.safetensors on the hub", WeightsError)


# --- selectors and the cache ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hf:acme/sound", EmbeddingSelector("hf", params={"model": "acme/sound"})),
        ("hf:acme/sound@v1.0:layer=3", EmbeddingSelector(
            "hf", params={"model": "acme/sound", "revision": "v1.0"}, layer="3")),
        ("hf:a/b@refs/pr/3,stream=last,pool=mean+max", EmbeddingSelector(
            "hf", params={"model": "a/b", "revision": "refs/pr/3"}, stream="last",
            pool=("mean", "max"))),
        ("hf@1a2b:acme/sound", EmbeddingSelector("hf", "1a2b", {"model": "acme/sound"})),
        ("hf:/data/my models@2/a,b:c/lr=0.1:layer=all", EmbeddingSelector(
            "hf", params={"model": "/data/my models@2/a,b:c/lr=0.1"}, layer="all")),
        ("hf:stream=last", EmbeddingSelector("hf", stream="last")),
        ("onnx:/x/net.onnx:stream=embedding,hop=0.5", EmbeddingSelector(
            "onnx", params={"model": "/x/net.onnx", "hop": "0.5"}, stream="embedding")),
    ],
)  # fmt: skip
def test_selectors_of_models(text, expected):
    assert parse_selector(text) == expected
    assert parse_selector(str(expected)) == expected


def test_paths_with_a_plus_sign():
    texts = parse_selectors("hf:/c++/m+x/tiny:pool=mean+std+melstats+onnx:a+b.onnx+hf:a/b")
    assert [str(text) for text in texts] == [
        "hf:/c++/m+x/tiny,pool=mean+std", "melstats", "onnx:a+b.onnx", "hf:a/b",
    ]  # fmt: skip


@pytest.fixture
def clips(tmp_path):
    for label in ("a", "b"):
        (tmp_path / "clips" / label).mkdir(parents=True)
        for k in range(3):
            wave = noise(4000, k).numpy() * (0.2 if label == "a" else 1)
            soundfile.write(tmp_path / "clips" / label / f"{k}.wav", wave, 16000, "FLOAT")
    return tmp_path / "clips"


def test_from_recordings_to_scores(copied, clips, tmp_path, monkeypatch):
    (copied / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\n")
    cache = tmp_path / "cache"
    (summary,) = probekit.extract(
        f"hf:{copied}", audio=clips, cache=cache, streams=["last", "layer.1"]
    )
    assert (summary.done, summary.extractor) == (6, "hf:copy")
    assert summary.folder.parent.name == f"hf-copy-{summary.fingerprint[:8]}"
    (again,) = probekit.extract(f"hf:{copied}", audio=clips, cache=cache)
    assert (again.done, again.cached) == (0, 6)
    monkeypatch.chdir(tmp_path)
    for text in (f"hf:{copied}", "hf:copy", "hf:./copy:stream=layer.1", "hf",
                 f"hf@{summary.fingerprint[:6]}:{copied}"):  # fmt: skip
        found = probekit.open_cache(text.partition(":stream")[0], "clips", cache)
        assert len(found.clip_ids) == 6
    assert found.meta["provenance"]["transformers"] == transformers.__version__
    assert found.layout.provenance == ["licence cc-by-nc-4.0: non-commercial use only"]
    with pytest.raises(ProbekitError, match="no hf:other for clips, only:"):
        probekit.open_cache("hf:other", "clips", cache)
    edit(copied / "config.json", hidden_dropout=0.3)
    with pytest.raises(ProbekitError, match=r"files of .*copy are not those that were embedded"):
        probekit.open_cache(f"hf:{copied}", "clips", cache)
    shutil.rmtree(copied)  # a cache needs no model
    assert len(probekit.open_cache(f"hf:{copied}", "clips", cache).clip_ids) == 6


def test_versions_of_the_library_do_not_mix(copied, clips, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    (first,) = probekit.extract(f"hf:{copied}", audio=clips, cache=cache)
    version = ".".join(transformers.__version__.split(".")[:2])
    real = hf_model.metadata.version
    monkeypatch.setattr(
        hf_model.metadata, "version", lambda name: "9.9.1" if name == "transformers" else real(name)
    )
    message = (
        rf"with transformers {version}; this is transformers 9\.9, .*gc hf@{first.fingerprint[:8]}"
    )
    with pytest.raises(ProbekitError, match=message):
        probekit.extract(f"hf:{copied}", audio=clips, cache=cache)
    (other,) = probekit.extract(f"hf:{copied}", audio=clips, cache=tmp_path / "other")
    shutil.copytree(other.folder.parent, cache / other.folder.parent.name)
    message = rf"(?s)several embeddings match.*transformers ({version}|9\.9).*transformers"
    with pytest.raises(ProbekitError, match=message):
        probekit.open_cache(f"hf:{copied}", "clips", cache)


def test_repair_with_the_model_s_folder(copied, clips, tmp_path):
    from probekit.extraction.repair import repair_embeddings

    cache = tmp_path / "cache"
    (summary,) = probekit.extract(f"hf:{copied}", audio=clips, cache=cache)
    before = probekit.open_cache("hf", "clips", cache).vectors(["a/0", "b/2"])
    part = next(summary.folder.glob("part-*.h5"))
    part.write_bytes(part.read_bytes()[:-50])
    done = repair_embeddings(cache, "hf", "clips", weights=[f"hf={copied}"])
    assert done.done == 6
    after = probekit.open_cache("hf", "clips", cache).vectors(["a/0", "b/2"])
    np.testing.assert_allclose(after, before, rtol=1e-6)
