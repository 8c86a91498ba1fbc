"""``-e onnx:FILE``: networks in ONNX files, and the cards beside them."""

import shutil
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import probekit
from probekit.errors import CardError, ProbekitError, WeightsError
from probekit.extractors import load
from probekit.extractors.adapters import onnx_card, onnx_file

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
torch.set_num_threads(1)

RATE, WINDOW = 8000, 1000
CARD = """
sample_rate: 8000
window: 1/8
outputs:
  embedding: {dim: 3}
"""


def save(path, *, shape=("n", WINDOW), domain="", metadata=None, external="", outputs=None):
    """Save a network: mean, mean of squares and the first sample of a window."""
    helper, tensor = onnx.helper, onnx.TensorProto
    axis = len(shape) - 1
    nodes = [
        helper.make_node("ReduceMean", ["wave", "axis"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["wave", "wave"], ["square"]),
        helper.make_node("ReduceMean", ["square", "axis"], ["power"], keepdims=0),
        helper.make_node("Gather", ["wave", "zero"], ["first"], axis=axis),
        helper.make_node(
            "Stack" if domain else "Unsqueeze", ["mean", "last"], ["a"], domain=domain
        ),
        helper.make_node("Unsqueeze", ["power", "last"], ["b"]),
        helper.make_node("Concat", ["a", "b", "first"], ["found"], axis=axis),
        helper.make_node("Mul", ["found", "gain"], ["embedding"]),
    ]
    constants = {"axis": [axis], "last": [axis], "zero": [0]}
    initializers = [onnx.numpy_helper.from_array(np.array(v), k) for k, v in constants.items()]
    gain = onnx.numpy_helper.from_array(np.ones(3, np.float32), "gain")
    initializers.append(gain)
    out = [*shape[:-1], 3]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("wave", tensor.FLOAT, shape)],
        [helper.make_tensor_value_info("embedding", tensor.FLOAT, out)],
        initializers,
    )
    domains = [helper.make_opsetid("", 17), *([helper.make_opsetid(domain, 1)] * bool(domain))]
    # ReduceMean takes its axes as an attribute before version 18
    for node in graph.node:
        if node.op_type == "ReduceMean":
            node.attribute.append(helper.make_attribute("axes", [axis]))
            del node.input[1]
    del graph.initializer[0]
    model = helper.make_model(graph, opset_imports=domains, ir_version=9)
    for key, value in (metadata or {}).items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    if external:
        target = next(t for t in model.graph.initializer if t.name == "gain")
        (path.parent / external).parent.mkdir(exist_ok=True, parents=True)
        (path.parent / external).write_bytes(target.raw_data)
        target.ClearField("raw_data")
        target.data_location = tensor.EXTERNAL
        for key, value in (("location", external), ("length", "12")):
            entry = target.external_data.add()
            entry.key, entry.value = key, value
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture
def file(tmp_path):
    """A network with a card beside it."""
    path = save(tmp_path / "net.onnx")
    (tmp_path / "net.onnx.yaml").write_text(CARD)
    return path


def build(file, more="", **options):
    return load.build_extractor(load.resolve_spec(f"onnx:{file}{more}", **options))


def noise(samples, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(samples, generator=generator) - 0.5


def fails(file, message, kind=ProbekitError, more=""):
    with pytest.raises(kind, match=f"(?s){message}"):
        build(file, more)


# --- what it computes -----------------------------------------------------------------------------


def expected(wave, hop=WINDOW):
    windows = wave.double().unfold(0, WINDOW, hop)
    return torch.stack([windows.mean(1), windows.square().mean(1), windows[:, 0]], 1)


def test_windows_of_a_waveform(file):
    extractor = build(file)
    grid = extractor.streams["embedding"]
    assert (grid.hop, grid.first_center, grid.window) == tuple(
        Fraction(k, 16) for k in (2, 1, 2)
    )  # fmt: skip
    waves = [noise(k, k) for k in (5 * WINDOW + 7, 20, 1, WINDOW, 2500)]
    together = extractor(waves)
    for wave, clip in zip(waves, together, strict=True):
        padded = torch.nn.functional.pad(wave, (0, max(0, WINDOW - len(wave))))
        torch.testing.assert_close(
            clip["embedding"], expected(padded).float(), rtol=1e-5, atol=1e-6
        )
        alone = extractor([wave])[0]["embedding"]
        assert float((alone - clip["embedding"]).abs().max()) <= 1e-5 * float(alone.abs().max())
    assert extractor.runtime()["onnx_provider"] == "CPUExecutionProvider"
    half = build(file, ":hop=1/16")
    torch.testing.assert_close(
        half(waves[:1])[0]["embedding"], expected(waves[0], 500).float(), rtol=1e-5, atol=1e-6
    )
    assert half.streams["embedding"].hop == Fraction(1, 16)


def test_normalization_and_axes(tmp_path):
    path = save(tmp_path / "net.onnx", shape=(1, 1, WINDOW))
    (tmp_path / "net.yaml").write_text(
        """
sample_rate: 8000
window: 1/8
axes: [batch, one, samples]
normalize: {remove_mean: true, peak: 0.25, scale: 2}
outputs: {embedding: {dim: 3, axes: batch one dim, layer: 4}}
"""
    )
    extractor = build(path)
    assert extractor.streams["embedding"].layer == 4
    wave = noise(3 * WINDOW) + 0.3
    windows = wave.double().reshape(3, WINDOW)
    windows = windows - windows.mean(1, keepdim=True)
    windows = windows / windows.abs().amax(1, keepdim=True) * 0.5
    values = torch.stack([windows.mean(1), windows.square().mean(1), windows[:, 0]], 1).float()
    torch.testing.assert_close(extractor([wave])[0]["embedding"], values, rtol=1e-4, atol=1e-6)
    silent = extractor([torch.zeros(WINDOW)])[0]["embedding"]
    assert silent.isfinite().all()


def test_whole_clips(tmp_path):
    path = save(tmp_path / "net.onnx", shape=("n", "samples"))
    (tmp_path / "net.onnx.yaml").write_text(
        "sample_rate: 8000\nmin_samples: 100\noutputs: {embedding: {dim: 3}}\n"
    )
    extractor = build(path)
    assert extractor.card.long_audio == "exact"
    assert extractor.streams["embedding"].kind == "clip"
    wave = noise(2345)
    assert extractor([wave])[0]["embedding"][2] == wave[0]
    assert extractor([wave[:7]])[0]["embedding"][0] == pytest.approx(float(wave[:7].sum()) / 100)


def test_its_own_description(tmp_path):
    path = save(tmp_path / "net.onnx", shape=(1, WINDOW), metadata={"sample_rate": "8000"})
    card = load.resolve_spec(f"onnx:{path}").card
    assert card.sample_rate == 8000
    assert card.streams["embedding"].window == Fraction(1, 8)


def test_fingerprint(file, tmp_path):
    first = load.resolve_spec(f"onnx:{file}")
    assert first.identity["params"] == {"model": "net.onnx"}
    card = tmp_path / "net.onnx.yaml"
    prints = {first.fingerprint}
    card.write_text(CARD + "title: A network\nlicence: MIT\n")
    assert load.resolve_spec(f"onnx:{file}").fingerprint == first.fingerprint
    card.write_text(CARD + "normalize: {scale: 3}\n")
    prints.add(load.resolve_spec(f"onnx:{file}").fingerprint)
    card.write_text(CARD)
    save(file, metadata={"x": "y"})
    prints.add(load.resolve_spec(f"onnx:{file}").fingerprint)
    assert len(prints) == 3
    with pytest.raises(ProbekitError, match="changed while it was in use"):
        load.build_extractor(first)


def test_from_recordings_to_the_cache(file, tmp_path):
    (tmp_path / "net.onnx.yaml").write_text(CARD + "licence: CC BY-NC 4.0\nnon_commercial: true\n")
    (tmp_path / "clips").mkdir()
    for k in range(2):
        wave = noise(3 * WINDOW, k).numpy()
        soundfile.write(tmp_path / "clips" / f"{k}.wav", wave, RATE, "FLOAT")
    cache = tmp_path / "cache"
    (summary,) = probekit.extract(f"onnx:{file}", audio=tmp_path / "clips", cache=cache)
    assert summary.folder.parent.name == f"onnx-net.onnx-{summary.fingerprint[:8]}"
    assert summary.provenance == ["licence CC BY-NC 4.0: non-commercial use only"]
    for text in (f"onnx:{file}", "onnx:net.onnx", "onnx"):
        found = probekit.open_cache(text, "clips", cache)
        assert found.vectors(["0"])[0, 0] == pytest.approx(
            float(noise(3 * WINDOW, 0).mean()), abs=1e-6
        )
    assert found.meta["provenance"]["onnx_provider"] == "CPUExecutionProvider"
    save(file, metadata={"x": "y"})
    with pytest.raises(ProbekitError, match="not those that were embedded"):
        probekit.open_cache(f"onnx:{file}", "clips", cache)


def test_speech_embedding_of_openwakeword(shared, tmp_path):
    """Two files, the first of which has a floor that depends on the whole clip."""
    source = shared / "data" / "openwakeword"
    for name in ("embedding_model.onnx", "melspectrogram.onnx"):
        shutil.copyfile(source / name, tmp_path / name)
    (tmp_path / "embedding_model.onnx.yaml").write_text(
        """
sample_rate: 16000
normalize: {scale: 32768}
frontend: {file: melspectrogram.onnx, bands: 32, hop: 1/100, window: 32/1000, scale: 0.1,
           offset: 2, frames: 76, step: 8}
axes: batch frames bands one
outputs: {embedding: {dim: 96, axes: batch one one dim}}
"""
    )
    extractor = build(tmp_path / "embedding_model.onnx")
    assert extractor.streams["embedding"].hop == Fraction(8, 100)
    with np.load(source / "reference.npz") as reference:
        names = ("noise", "tones", "speech")
        waves = [torch.from_numpy(reference[f"{n}/wave_int16scale"] / 32768) for n in names]
        for name, clip in zip(names, extractor(waves), strict=True):
            stored = reference[f"{name}/embedding"]
            error = np.abs(clip["embedding"].numpy() - stored).max() / stored.std()
            assert error <= 1e-4, (name, error)
    assert extractor([waves[0][:5]])[0]["embedding"].shape == (1, 96)


# --- cards ----------------------------------------------------------------------------------------


def test_ready_cards():
    ready = {name: onnx_card.load_card(path) for name, path in onnx_card.ready_cards().items()}
    assert set(ready) == {"perch-2", "birdnet-2.4", "yamnet"}
    assert all(card.licence and card.source for card in ready.values())
    assert [name for name, card in ready.items() if card.non_commercial] == ["birdnet-2.4"]
    assert (ready["perch-2"].sample_rate, ready["perch-2"].window) == (32000, 5)
    assert ready["perch-2"].normalize.peak == 0.25


def test_cards_of_the_documentation(tmp_path):
    text = (Path(__file__).parents[2] / "docs" / "extractors.md").read_text(encoding="utf-8")
    blocks = [block.partition("```")[0] for block in text.split("```yaml\n")[1:]]
    assert len(blocks) == 2
    for number, block in enumerate(blocks):
        (tmp_path / f"{number}.yaml").write_text(block)
        assert onnx_card.load_card(tmp_path / f"{number}.yaml").outputs


def test_the_card_in_an_error_is_valid(tmp_path):
    (tmp_path / "card.yaml").write_text(onnx_card.TEMPLATE)
    assert onnx_card.load_card(tmp_path / "card.yaml").window == Fraction(24, 25)


def test_a_ready_card_of_another_network(file):
    fails(file, r"input wave has the shape \['n', 1000\], but by its card \(32000 Hz.*160000",
          more=",card=perch-2")  # fmt: skip
    fails(file, "unknown card of an ONNX file 'perch'", more=",card=perch")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("window: 1/8", "outputs: this field is required"),
        ("windows: 1\n" + CARD, "windows: unknown field"),
        (CARD + "hop: 2", "hop must be > 0 and at most the window"),
        (CARD + "axes: batch bands", "axes must name samples once, got batch bands"),
        (CARD.replace("dim: 3", "dim: 3, hop: 1"), "its grid follows from the window"),
        (CARD.replace("1/8", "1/7"), "window must be a whole number of samples"),
    ],
)
def test_faulty_cards(file, lines, message):
    (file.parent / "net.onnx.yaml").write_text(lines)
    fails(file, f"net.onnx.yaml.*{message}", CardError)


def test_dynamic_shape_without_a_card(tmp_path):
    path = save(tmp_path / "net.onnx", shape=("n", "samples"))
    fails(path, r"shape of its input is not fixed \(wave \['n', 'samples'\]\), so it needs a card. "
          r"Write net.onnx.yaml beside it.*sample_rate: 16000.*card=NAME, of birdnet")  # fmt: skip


def test_no_rate_without_a_card(tmp_path):
    fails(save(tmp_path / "net.onnx"), "it states no sample_rate, so it needs a card")


def test_wrong_rate(file):
    (file.parent / "net.onnx.yaml").write_text(CARD.replace("8000", "16000"))
    fails(file, r"has the shape \['n', 1000\], but by its card \(16000 Hz.*it would be.*2000")


def test_names_that_the_file_does_not_have(file):
    card = file.parent / "net.onnx.yaml"
    card.write_text(CARD + "input: waveform\n")
    fails(file, "no input 'waveform' as in its card, only wave")
    card.write_text(CARD.replace("embedding: {dim: 3}", "logits: {dim: 4}"))
    fails(file, r"no output 'logits' for the stream logits; it has embedding \['n', 3\]")
    card.write_text(CARD.replace("dim: 3", "dim: 4"))
    fails(file, "output embedding has the shape .* with dim = 4")


# --- files ----------------------------------------------------------------------------------------


def test_operators_of_a_library(file):
    save(file, domain="com.acme")
    fails(file, "needs operators of com.acme, which are code", WeightsError)


@pytest.mark.parametrize("place", ["../other/gain.bin", "inner/gain.bin"])
def test_data_outside_the_folder(file, place):
    save(file, external=place)
    fails(file, f"names data of its tensors in '{place}'; only files in its own", WeightsError)


def test_data_behind_a_link(file, tmp_path_factory):
    save(file, external="gain.bin")
    secret = tmp_path_factory.mktemp("elsewhere") / "secret.bin"
    shutil.move(file.parent / "gain.bin", secret)
    (file.parent / "gain.bin").symlink_to(secret)
    fails(file, "only files in its own folder are read", WeightsError)


def test_data_beside_the_file(file):
    first = load.resolve_spec(f"onnx:{save(file, external='gain.bin')}")
    assert list(first.code["files"]) == ["gain.bin"]
    assert build(file)([noise(WINDOW)])[0]["embedding"].shape == (1, 3)
    (file.parent / "gain.bin").unlink()
    fails(file, "data of its tensors missing: .*gain.bin", WeightsError)


def test_file_cut_short(file):
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    fails(file, "net.onnx: cut short, or not an ONNX file", WeightsError)
    file.write_bytes(b"")
    fails(file, "net.onnx: cut short, or not an ONNX file", WeightsError)
    file.write_bytes(b"<html>no such page</html>")
    fails(file, "net.onnx: (cut short, or )?not an ONNX file", WeightsError)
    fails(file.with_name("none.onnx"), "none.onnx: no such file")


def test_references_are_those_of_onnx(file):
    """The reader of bytes agrees with the package onnx."""
    save(file, external="gain.bin", domain="com.acme")
    model = onnx.load(file, load_external_data=False)
    locations = {e.value for t in model.graph.initializer for e in t.external_data
                 if e.key == "location"}  # fmt: skip
    domains = {opset.domain for opset in model.opset_import} - {""}
    found = onnx_file.read_references(file)
    assert (set(found.data), set(found.domains)) == (locations, domains)


def test_library_missing(file, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    fails(file, r'needs onnxruntime, which is not installed.*"probekit\[onnx\]"')


def test_random_weights(file):
    with pytest.raises(WeightsError, match="must not be random"):
        load.resolve_spec(f"onnx:{file}", weights={"onnx.main": "random:0"})
