"""Loudness envelopes, with cards for probekit."""

from pathlib import Path

EXTRACTORS = Path(__file__).parent / "extractors"
TASKS = Path(__file__).parent / "tasks"
