"""Logs that name their values: JSON lines, and tables with a header. Which name means what."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, Literal

from squid_imhelper.squid.logformat import LogField

ColumnField = LogField | Literal["time", "query"]

_NAMES: Final[Mapping[ColumnField, str]] = {
    "time": "time timestamp ts @timestamp date datetime eventtime starttime logtime",
    "client": "client clientip clientaddress clientaddr src srcip source source.ip source.address client.ip"
    " client.address remoteaddr remotehost remoteip cip host.ip id.origh srcaddr >a",
    "method": "method requestmethod httpmethod verb csmethod http.request.method rm >rm",
    "url": "url uri requesturl requesturi requestedurl csuri curi url.original url.full http.url ru >ru",
    "host": "host hostname desthost dsthost domain server servername cshost url.domain destination.domain rd >rd",
    "port": "port desthostport destport dstport url.port destination.port rp >rp",
    "path": "path urlpath csuristem urip url.path",
    "query": "query querystring urlquery csuriquery url.query",
    "scheme": "scheme protocol csurischeme url.scheme",
    "user": "user username login csusername user.name un",
    "user_agent": "useragent agent ua httpuseragent cs(useragent) useragent.original useragent.name browser",
    "content_type": "contenttype requestcontenttype cs(contenttype)",
    "sni": "sni sslsni tlssni servernameindication tls.client.servername ssl::>sni",
    "tag": "tag logtag squidtag cachestatus cacheresult result action saction ss",
    "status": "status statuscode httpstatus code responsecode resultcode squidstatus scstatus"
    " http.response.statuscode >hs",
    "duration": "duration elapsed responsetime timetaken elapsedms tr",
    "service": "service imservice et",
    "rule": "rule imrule ea",
}
FIELD_OF_COLUMN: Final[Mapping[str, ColumnField]] = {
    name: field for field, names in _NAMES.items() for name in names.split()
}
_FEWEST: Final = 2
"""Columns by which a header is known for one."""
_AUTHORITY: Final = re.compile(rb"(\[[^\]]+\]|[^:]+):(\d{1,5})")


def column_name(text: str) -> str:
    """Returns a name without what is written in many ways: `User-Agent`, `user_agent` and `userAgent` are one."""
    return re.sub(r"[\s_-]", "", text.strip().strip('"%').lower())


def read_json(line: bytes) -> dict[str, Any]:
    """Reads a line that is one JSON object.

    Raises:
        ValueError: it is none; the message is a sentence.
    """
    try:
        value = json.loads(line.decode("utf-8", "surrogateescape"), strict=False)  # Squid leaves control characters
    except (ValueError, RecursionError):
        raise ValueError("it is no JSON") from None
    if not isinstance(value, dict):
        raise ValueError("it is no JSON object")
    return value


def flatten(values: Mapping[str, Any]) -> dict[str, bytes]:
    """Returns the values of an object and of those inside it by their names, `client.ip` for one that is inside."""
    return {name: text for name, text in _flattened(values, "", 0) if text}


def _flattened(values: Mapping[str, Any], prefix: str, depth: int) -> Iterator[tuple[str, bytes]]:
    for key, value in values.items():
        name = prefix + column_name(key)
        if isinstance(value, dict) and depth < 4:
            yield from _flattened(value, f"{name}.", depth + 1)
        elif isinstance(value, str | int | float) and not isinstance(value, bool):
            yield name, _encoded(str(value))


def _encoded(text: str) -> bytes:
    """The bytes that stood in the line; half a character, which JSON can spell out, never stood there as such."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def split_tabs(line: bytes) -> list[bytes]:
    """Returns the cells of a line of a table."""
    return [cell.strip() for cell in line.split(b"\t")]


def header_of(line: bytes) -> tuple[str, ...]:
    """Returns the names of the columns, if the line is a header; a `#` or `#fields` may stand before them."""
    names = line.decode("utf-8", "replace").lstrip("\ufeff").lstrip("#")
    columns = tuple(column_name(name) for name in names.removeprefix("fields\t").split("\t"))
    known = {FIELD_OF_COLUMN[name] for name in columns if name in FIELD_OF_COLUMN}
    return columns if len(known) >= _FEWEST and known & {"url", "host"} else ()


def fields_of(values: Iterable[tuple[str, bytes]]) -> dict[ColumnField, bytes]:
    """Returns what is known of a request, by the names of its values; of two that say the same, the first counts.

    A URL that is none, but a path, is put together with the host; where there is a whole one, nothing else is needed.

    Raises:
        ValueError: it has neither a URL nor a host.
    """
    fields: dict[ColumnField, bytes] = {}
    for column, value in values:
        field = FIELD_OF_COLUMN.get(column)
        if field is not None and value and value != b"-":
            fields.setdefault(field, value)
    url = fields.get("url", b"")
    if url and not (url.startswith(b"/") and "host" in fields):
        return {field: value for field, value in fields.items() if field not in _PARTS}
    if "host" not in fields:
        raise ValueError("it has no URL and no host")
    query = fields.pop("query", b"").removeprefix(b"?")
    path = fields.pop("url", b"") or fields.get("path", b"/")
    fields["path"] = path + b"?" + query if query and b"?" not in path else path
    if "port" not in fields and (authority := _AUTHORITY.fullmatch(fields["host"])):
        fields["host"], fields["port"] = authority[1], authority[2]
    return fields


_PARTS: Final = frozenset({"host", "port", "path", "query", "scheme"})
