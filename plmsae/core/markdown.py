"""Text from outside within Markdown."""

from __future__ import annotations

import html
import re

_MARKUP = re.compile(r"([\\`*_{}\[\]()#!|~])")


def escape(text: object, *, limit: int | None = None) -> str:
    """Return text as one line of plain Markdown: no markup, no HTML, no links, no table breaks.

    Parameters
    ----------
    text : object
        Its `str` is taken.
    limit : int, optional
        Most characters to keep; what is longer ends in an ellipsis.
    """
    line = " ".join(str(text).split())
    line = "".join(char for char in line if char.isprintable())
    if limit is not None and len(line) > limit:
        line = line[: limit - 1] + "…"
    marked = _MARKUP.sub(r"\\\1", html.escape(line, quote=False))
    # An address would become a link by itself where Markdown is shown.
    return marked.replace("://", "&#58;//").replace("www.", "www&#46;")
