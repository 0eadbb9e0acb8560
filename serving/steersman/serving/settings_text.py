"""Settings as text: YAML that the server takes again, with where each comes from, and without secrets."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

import yaml

from steersman.serving.settings import ServerSettings

MASK = "***"
COLUMN = 44
"""Where the remarks begin, if the line leaves room."""
_PASSWORD = re.compile(r"(?<=://)(?P<user>[^:/?#]*):.*@", re.DOTALL)
_SECRET_PARAMETER = re.compile(
    r"(?<=[?&])(?P<name>[^=&]*(?:password|secret|token|key)[^=&]*)=[^&]*", re.IGNORECASE
)


def settings_text(settings: ServerSettings, origins: Mapping[str, str]) -> str:
    """One line a setting.

    Args:
        settings: Settings in force.
        origins: Where each comes from, as `where_from` says.
    """
    values = settings.model_dump(mode="json")
    values["store"] = masked(settings.store)
    masks = " (masked)" if values["store"] != settings.store else ""
    lines = ["# Settings in force, and where each comes from."]
    for name, value in values.items():
        remark = origins[name] + (masks if name == "store" else "")
        lines.append(f"{f'{name}: {_yaml(value)}':{COLUMN}}  # {remark}")
    return "\n".join(lines)


def _yaml(value: object) -> str:
    """A plain value or a list of them on one line, without YAML's mark of the document's end."""
    text: str = yaml.safe_dump(value, default_flow_style=True, width=math.inf, allow_unicode=True)
    return text.strip().removesuffix("...").rstrip()


def masked(url: str) -> str:
    """A URL without its password, and without parameters that may be one.

    Example:
        >>> masked("postgresql://steersman:s3cret@db/steersman?sslmode=require")
        'postgresql://steersman:***@db/steersman?sslmode=require'
    """
    return _SECRET_PARAMETER.sub(rf"\g<name>={MASK}", _PASSWORD.sub(rf"\g<user>:{MASK}@", url))
