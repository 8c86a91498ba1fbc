"""The page: everything that was scored, in one HTML file."""

from probekit.report.html.document import AUDIO, PageSummary, write

__all__ = ["AUDIO", "PageSummary", "write"]
