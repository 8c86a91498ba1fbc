"""OpenL3 from wav files on, against openl3 0.4 as its users call it."""

from importlib import metadata
from pathlib import Path

import pytest
import soundfile

pytestmark = pytest.mark.parity
# Both sides show bands down to 80 dB under the loudest magnitude, a ratio of 1e8, where a float32
# waveform has only its rounding: resampy's sums alone move a sweep by 0.03. The other release's
# filter moves all of these recordings by 0.28 to 0.40.
ALLOWED = 5e-2


def test_embeddings_of_recordings(recordings, embed, compare):
    openl3 = pytest.importorskip(
        "openl3", reason="openl3 0.4.2 is not installed (TensorFlow 2.15, Python 3.11 at most)"
    )
    # openl3 0.4.2 requires resampy 0.2, and runs with later ones
    release = metadata.version("resampy")
    resampler = "kaiser_best" if release.startswith("0.2.") else "kaiser_best_0.4"
    weights = Path(openl3.models.get_audio_embedding_model_path("mel128", "music"))
    if not weights.is_file():
        pytest.skip(f"openl3 has no weights at {weights}")
    expected = {}
    for path in recordings.glob("*.wav"):
        expected[path.stem], _ = openl3.get_audio_embedding(
            *soundfile.read(path), input_repr="mel128", content_type="music",
            embedding_size=512, hop_size=0.5, verbose=0,
        )  # fmt: skip
    text = f"openl3:content=music,input=mel128,size=512,hop=0.5,resampler={resampler}"
    found = embed(text, f"openl3={weights}")
    assert compare(text, found, expected) < ALLOWED
