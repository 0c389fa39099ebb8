"""One way to log: structlog, to standard error, with secrets taken out.

Events are short names with fields, `log.info("bid_sent", job=…, stage=…)`, so that a person can
read them and a machine can parse them (`log_format="json"`). The standard library's loggers
(libp2p, grpc, web3) come out of the same pipe, from `warning` on.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, Literal, TextIO

import structlog

REDACTED = "[redacted]"
_SECRET = re.compile(
    r"pass(word|phrase)|secret|mnemonic|private|key_pem|lease_token|seed_phrase", re.IGNORECASE
)
_URL_USER = re.compile(r"(\w+://)[^/\s:@]+:[^/\s@]+@")
_LONGEST = 600

Event = MutableMapping[str, Any]


def redact(_logger: object, _method: str, event: Event) -> Event:
    """Replace values whose field name says secret, hide URL credentials, shorten bytes and text."""
    for name, value in list(event.items()):
        if name.startswith("_"):
            continue
        event[name] = REDACTED if _SECRET.search(name) else _tame(value)
    return event


def _tame(value: Any) -> Any:
    if isinstance(value, bytes | bytearray):
        return f"{bytes(value[:8]).hex()}…({len(value)} bytes)" if len(value) > 8 else value.hex()
    if isinstance(value, str):
        text = _URL_USER.sub(rf"\1{REDACTED}@", value)
        return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
    return value


def setup_logging(
    level: str = "info",
    log_format: Literal["plain", "json"] = "plain",
    stream: TextIO | None = None,
) -> None:
    """Send all logging of this process to `stream` (standard error) at `level`; safe to repeat."""
    out = stream or sys.stderr
    stamp = structlog.processors.TimeStamper(fmt="%H:%M:%S.%f" if log_format == "plain" else "iso")
    before: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        stamp,
        structlog.processors.StackInfoRenderer(),
        redact,
    ]
    renderer: list[structlog.typing.Processor]
    if log_format == "json":
        renderer = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    else:
        plain = structlog.dev.plain_traceback
        renderer = [structlog.dev.ConsoleRenderer(colors=out.isatty(), exception_formatter=plain)]
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=before,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("reelmesh").setLevel(level.upper())
    structlog.configure(
        processors=[*before, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """Return the logger of a module: `log = get_logger(__name__)`."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger
