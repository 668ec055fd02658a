"""Logs carry no personal data, at any level."""

from __future__ import annotations

import logging

import regex

from nlp.pii import mask

_FORMAT = logging.Formatter()
# A line of a trace that holds Chinese may quote a submission, with names that no rule finds: it ends at its colon.
_QUOTING = regex.compile(r"^([^:\n]*:?)[^\n]*\p{Han}[^\n]*$", regex.MULTILINE)


class _Masked(logging.Filter):
    """Stars out personal data in the message and the trace of a record."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Change the record; it always passes."""
        record.msg, record.args = mask(record.getMessage()), None
        if record.exc_info:
            trace = _QUOTING.sub(r"\1 …", _FORMAT.formatException(record.exc_info))
            record.exc_text, record.exc_info = mask(trace), None
        return True


_MASKED = _Masked()


def keep_clean() -> None:
    """Mask our own log. SQLAlchemy keeps its loggers at WARNING whatever the root's level, so no rows are printed."""
    logging.getLogger("minsheng").addFilter(_MASKED)  # adding the same one again changes nothing
