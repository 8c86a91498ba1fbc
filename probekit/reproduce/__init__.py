"""Tables and figures of papers, computed anew beside the published numbers."""
