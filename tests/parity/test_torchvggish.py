"""VGGish from wav files on, against torchvggish as its users call it."""

from importlib import metadata

import pytest
import torch

from probekit.extractors.networks import vggish
from probekit.extractors.weights import state_dict

pytestmark = pytest.mark.parity
# From the waveform at 16 kHz on, 1e-4 is kept (tests/extractors/test_vggish.py). Here recordings
# are resampled too, in float32 where the package does it in float64: samples differ by up to 4e-7,
# and embeddings of the sweep, which has bands with little else, by 6e-5.
ALLOWED = 1e-3


@pytest.fixture
def original(monkeypatch):
    """The package's network with our random weights in place of the download."""
    package = pytest.importorskip("torchvggish.torchvggish", reason="torchvggish is not installed")
    version = metadata.version("resampy")
    if version.startswith(("0.2.", "0.3.")):
        pytest.skip(f"resampy {version} is not what torchvggish gets today: the filter of 0.4")
    state = state_dict.random_init(vggish.Network(), 0)
    monkeypatch.setattr(package.hub, "load_state_dict_from_url", lambda url, **_: state)
    return package.vggish(postprocess=False).eval()


def test_embeddings_of_recordings(original, recordings, embed, compare):
    inputs = pytest.importorskip("torchvggish.vggish_input", reason="torchvggish is not installed")
    expected = {}
    for path in recordings.glob("*.wav"):
        with torch.no_grad():
            expected[path.stem] = original(inputs.wavfile_to_examples(str(path))).numpy()
    found = embed("vggish", "vggish=random:0")
    assert found["noise"].shape == (3, 128)
    assert compare("vggish, relu", found, expected) < ALLOWED
