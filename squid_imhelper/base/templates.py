"""The texts that a policy may put into answers: `{service} is blocked`, `http://proxy/blocked?url={url}`."""

import re
from collections.abc import Callable, Mapping
from typing import Final

PLACEHOLDERS: Final = ("service", "service_name", "rule", "client", "url", "host", "time")
_HTML: Final = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;"})
_PLACEHOLDER: Final = re.compile(r"\{([^{}]*)\}")


def unknown_placeholders(template: str) -> list[str]:
    """Returns the placeholders of a template that mean nothing."""
    return [word for word in _PLACEHOLDER.findall(template) if word not in PLACEHOLDERS]


def placeholders(template: str) -> frozenset[str]:
    """Returns the names of the values that a template shows."""
    return frozenset(_PLACEHOLDER.findall(template))


def stray_brace(template: str) -> bool:
    """Whether there is a brace that belongs to no placeholder."""
    return any(brace in _PLACEHOLDER.sub("", template) for brace in "{}")


def expand(template: str, values: Mapping[str, str], encode: Callable[[str], str]) -> str:
    """Puts values, each encoded, into a template; a value that is not known is "-", as in Squid's own lines."""
    return _PLACEHOLDER.sub(lambda m: encode(values.get(m[1]) or "-"), template)


def encode_html(text: str) -> str:
    """Encodes a text for an HTML page in UTF-8."""
    return text.translate(_HTML)
