"""OpenL3 from wav files on, against openl3 0.4 as its users call it."""

from importlib import metadata
from pathlib import Path

import pytest
import soundfile

pytestmark = pytest.mark.parity
# openl3 computes spectra in float32, and shows bands down to 80 dB under the loudest magnitude, a
# ratio of 1e8, where that is rounding; ours are computed in float64
ALLOWED = 1e-2


def test_embeddings_of_recordings(recordings, embed, compare):
    openl3 = pytest.importorskip(
        "openl3", reason="openl3 0.4.2 is not installed (TensorFlow 2.15, Python 3.11 at most)"
    )
    version = metadata.version("resampy")
    if not version.startswith("0.2."):  # with the filter of 0.4.3 the error is 0.4
        pytest.skip(f"openl3 0.4.2 takes resampy 0.2, whose filter is another one than {version}'s")
    weights = Path(openl3.models.get_audio_embedding_model_path("mel128", "music"))
    if not weights.is_file():
        pytest.skip(f"openl3 has no weights at {weights}")
    expected = {}
    for path in recordings.glob("*.wav"):
        expected[path.stem], _ = openl3.get_audio_embedding(
            *soundfile.read(path), input_repr="mel128", content_type="music",
            embedding_size=512, hop_size=0.5, verbose=0,
        )  # fmt: skip
    text = "openl3:content=music,input=mel128,size=512,hop=0.5"
    found = embed(text, f"openl3={weights}")
    assert compare(text, found, expected) < ALLOWED
