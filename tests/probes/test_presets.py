import pytest

from probekit.errors import ProbekitError, UnknownNameError
from probekit.probes import presets
from probekit.probes.presets import Preset


def test_kumar2021_is_per_extractor():
    talnet = presets.load_preset("kumar2021", "talnet")
    assert (talnet.steps, talnet.probe) == (("standardize", "unit-l2"), "linear")
    assert talnet.apply("talnet") == "talnet:stream=gru"
    weanet = presets.load_preset("kumar2021", "weanet")
    assert (weanet.steps, weanet.stream, weanet.pool) == (("unit-l2",), "b5", ("mean",))
    with pytest.raises(ProbekitError, match=r"no preset for vggish; available: talnet, weanet"):
        presets.load_preset("kumar2021", "vggish")


def test_hear_is_for_any_extractor_and_for_several():
    for text in ("vggish", "openl3:size=512", "vggish+melstats"):
        found = presets.load_preset("hear", text)
        assert (found.probe, found.steps) == ("mlp:hear", ())
    with pytest.raises(ProbekitError, match=r"no preset for talnet \+ vggish; available:"):
        presets.load_preset("kumar2021", "talnet+vggish")


def test_unknown_presets_are_told_from_those_there_are():
    with pytest.raises(UnknownNameError, match=r"unknown preset 'kumar'.*kumar2021"):
        presets.load_preset("kumar", "talnet")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("net", "net:stream=deep,pool=max"),
        ("net@1a2b:size=3", "net@1a2b:size=3,stream=deep,pool=max"),
        ("net:stream=other", "net:stream=other,pool=max"),
        ("net:pool=std", "net:stream=deep,pool=std"),
        ("net:pool=mean", "net:stream=deep"),  # mean was asked for, and is what no word means
        ("net+other", "net+other"),
    ],
)
def test_stream_and_pooling_apply_unless_the_user_names_them(text, expected):
    assert Preset(stream="deep", pool=("max",)).apply(text) == expected


def test_without_a_preset_nothing_changes():
    assert Preset().apply("net:size=3,pool=mean+std") == "net:size=3,pool=mean+std"
