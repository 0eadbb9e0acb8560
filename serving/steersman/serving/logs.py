"""Logs: one line an event on standard error; JSON where nobody watches, readable on a terminal."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from datetime import UTC, datetime

_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


GRPC_LOGGER = "grpc._cython.cygrpc"


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (UTC, RFC 3339), level, logger, message, and the fields of `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as a line."""
        entry = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_extra(record),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str)


class PlainFormatter(logging.Formatter):
    """`time level message key=value`, for people."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as a line, the traceback below it."""
        time = datetime.fromtimestamp(record.created, UTC).strftime("%H:%M:%S")
        extra = "".join(f" {key}={value}" for key, value in _extra(record).items() if value is not None)
        text = f"{time} {record.levelname.lower():7} {record.getMessage()}{extra}"
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


def _extra(record: logging.LogRecord) -> dict[str, object]:
    return {key: value for key, value in record.__dict__.items() if key not in _STANDARD}


def configure_logs(level: str, *, as_json: bool | None = None) -> None:
    """Sends the logs of this process to standard error; JSON unless that is a terminal."""
    as_json = not sys.stderr.isatty() if as_json is None else as_json
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if as_json else PlainFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.getLogger(GRPC_LOGGER).addFilter(_is_news)


def _is_news(record: logging.LogRecord) -> bool:
    """That a call was cancelled while grpcio stopped is an error to it, and to nobody else."""
    return record.exc_info is None or not isinstance(record.exc_info[1], asyncio.CancelledError)
