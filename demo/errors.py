"""What ends the demo."""

from trimtab.errors import TrimtabError


class DemoError(TrimtabError):
    """The demo cannot go on; the message says why, and what would help."""
