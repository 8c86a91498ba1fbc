"""Audio files as waveforms: decoding, segments and resampling."""

from probekit.audio.recording import DecodedAudio, Recording, load, open_audio

__all__ = ["DecodedAudio", "Recording", "load", "open_audio"]
