"""The page: everything that was scored, in one HTML file."""

from probekit.report.page.page import AUDIO, Written, write

__all__ = ["AUDIO", "Written", "write"]
