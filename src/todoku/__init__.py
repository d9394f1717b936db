"""Todoku: booking mail in, campaigns out, and the books balance.

Start reading at docs/architecture.md; the rooms below follow it one to one.
"""

__version__ = "0.1.0"
