"""HTML page of everything that was scored."""

from probekit.report.html.document import AUDIO_BYTES, PageSummary, write_page

__all__ = ["AUDIO_BYTES", "PageSummary", "write_page"]
