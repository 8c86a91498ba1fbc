"""Audio files as waveforms: decoding, segments and resampling."""

from probekit.audio.recording import DecodedAudio, Recording, decode, load, open_audio

__all__ = ["DecodedAudio", "Recording", "decode", "load", "open_audio"]
