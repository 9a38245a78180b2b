"""The file of a program: what `compile` writes and a helper opens.

    16 bytes   magic, with a CR LF in it that no transfer as text survives
    4          format version                         (all numbers big-endian)
    8          length of the file
    8          length of the tables
    4          CRC-32 of the numbers above and the tables
    ...        the tables, as JSON with sorted keys
    ...        the tries of the site lists, each at a multiple of 4096

The tables hold offset, length and CRC-32 of each trie. So one digest vouches for everything; a helper at its start
looks at header, lengths and tables only, since the tries may be large, and `verify_program` at all of it. The same
policy in the same place, catalogue and version of marisa-trie make the same bytes. Nothing in it can name code to run.
The digest finds damage, and no malice: who can write the file can write any digest. A cryptographic one would find no
more, and OpenSSL takes longer to load than a program.
"""

import json
import os
import struct
from collections.abc import Callable, Iterable, Mapping
from stat import S_ISREG
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NamedTuple
from zlib import crc32

from squid_imhelper.base.errors import ImhelperError
from squid_imhelper.base.model import AuditSettings, Kind, Match, Response, Rule, Schedule, Signature, UrlPattern
from squid_imhelper.matching.program import Program, ServiceName, SiteTables

if TYPE_CHECKING:
    from pathlib import Path

MAGIC: Final = b"squid-imhelper\r\n"
VERSION: Final = 3
PAGE: Final = 4096
MAPPED_FROM: Final = 8 << 20
"""Bytes from which on a file is mapped, and shared by all who open it. A smaller one is read: who writes over it in
place, instead of replacing it, pulls no memory from under a helper (SIGBUS)."""

_NUMBERS: Final = struct.Struct(">16sIQQ")
_DIGEST: Final = struct.Struct(">I")
_HEADER_SIZE: Final = _NUMBERS.size + _DIGEST.size


def is_program(path: "str | Path") -> bool:
    """Whether a file is a program, as far as its first bytes tell; False for what cannot be read."""
    try:
        if not S_ISREG(os.stat(path).st_mode):  # noqa: PTH116  # without pathlib, for the sake of a helper's start
            return False
        with open(path, "rb") as file:  # noqa: PTH123
            return file.read(len(MAGIC)).startswith(MAGIC.rstrip())
    except (OSError, ValueError):
        return False


# ---- writing --------------------------------------------------------------------------------------------------------


def save_program(program: Program, path: "Path") -> None:
    """Writes a program, and puts it into its place as a whole.

    Raises:
        ImhelperError: it cannot be written.
    """
    import tempfile  # which a helper that reads a program does without

    temporary: Path | None = None
    try:
        target = path.resolve()  # a link stays one
        if target.exists() and not target.is_file():
            raise ImhelperError(f"cannot write {path}: it is no regular file")
        fd, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        temporary = target.parent / name
        with os.fdopen(fd, "wb") as file:
            write_program(program, file)
            file.flush()
            # mkstemp's mode is for its owner only, and the user `proxy` must read it; unless it was set to less.
            os.fchmod(file.fileno(), target.stat().st_mode & 0o777 if target.exists() else 0o644)
            os.fsync(file.fileno())
        temporary.replace(target)
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: links in a circle
        if temporary:
            temporary.unlink(missing_ok=True)
        raise ImhelperError(f"cannot write {path}: {getattr(error, 'strerror', None) or error}") from None


def write_program(program: Program, file: BinaryIO) -> None:
    """Writes a program to an open file, from where it stands.

    Raises:
        OSError: it cannot be written.
    """
    tries = [trie for sites in program.sites.values() for trie in (sites.domains, sites.urls)]
    # Where the tries stand depends on the length of the tables, in which that stands: so counted from the first one.
    places = _places(tries)
    tables = json.dumps(_encode_tables(program, places), sort_keys=True, separators=(",", ":")).encode()
    start = _first_page(len(tables))
    ends = (start + offset + length for offset, length, _ in places if length)
    end = max(ends, default=_HEADER_SIZE + len(tables))
    numbers = _NUMBERS.pack(MAGIC, VERSION, end, len(tables))
    file.write(numbers + _DIGEST.pack(crc32(tables, crc32(numbers))) + tables)
    at = _HEADER_SIZE + len(tables)
    for (offset, length, _), trie in zip(places, tries, strict=True):
        if length:
            file.write(bytes(start + offset - at))
            file.write(trie)
            at = start + offset + length


Place = tuple[int, int, int]
"""Offset behind the first page of tries, length, CRC-32."""


def _places(tries: Iterable[bytes | memoryview]) -> list[Place]:
    places, offset = [], 0
    for trie in tries:
        places.append((offset, len(trie), crc32(trie)))
        offset = _rounded_up(offset + len(trie))
    return places


def _first_page(tables_length: int) -> int:
    return _rounded_up(_HEADER_SIZE + tables_length)


def _rounded_up(offset: int) -> int:
    return -(-offset // PAGE) * PAGE


def _encode_tables(program: Program, places: list[Place]) -> dict[str, object]:
    sites = {
        name: [*places[2 * n : 2 * n + 2], list(s.regex), list(s.networks), list(s.ports)]
        for n, (name, s) in enumerate(program.sites.items())
    }
    return {
        "services": [[id_, *service] for id_, service in program.services.items()],
        "signatures": [_encode_signature(signature) for signature in program.signatures],
        "exceptions": program.exceptions,
        "bots": program.bots,
        "rules": [_encode_rule(rule) for rule in program.rules],
        "response": program.response._asdict(),
        "open_targets": sorted(program.open_targets),
        "audit": program.audit._asdict(),
        "site_lists": list(program.sites),
        "sites": sites,
        "schedules": [[s.name, s.zone, s.stretches] for s in program.schedules.values()],
        "files": program.files,
    }


def _encode_signature(s: Signature) -> list[object]:
    url = {**s.url._asdict(), "match": s.url.match.value} if s.url else None
    return [s.kind.value, s.value, s.service, s.flag, s.match.value, url]


def _encode_rule(rule: Rule) -> dict[str, object]:
    return {name: sorted(value) if isinstance(value, frozenset) else value for name, value in rule._asdict().items()}


# ---- reading --------------------------------------------------------------------------------------------------------


class Opened(NamedTuple):
    """A program file: all of it, and its tables, as they stand there."""

    name: str
    data: memoryview
    tables: bytes

    def trie(self, place: Place) -> memoryview:
        """The bytes of a trie."""
        start = _first_page(len(self.tables)) + place[0]
        return self.data[start : start + place[1]]


def load_program(path: "str | Path") -> Program:
    """Opens a program file. All of a small one is verified; of a large one header, lengths and tables.

    Raises:
        ImhelperError: it is none, or not a whole one, or cannot be read.
    """
    opened = _open(path)
    return _decode(opened, verify=len(opened.data) < MAPPED_FROM)


def map_program(file: BinaryIO, name: str) -> Program:
    """Reads a program from an open file, which may be closed then. `name` is for messages.

    Raises:
        ImhelperError: it is none, or not a whole one.
        OSError: it cannot be read.
    """
    return _decode(_map(file, name), verify=False)


def verify_program(path: "str | Path") -> Program:
    """Opens a program file, and holds every trie against its digest.

    Raises:
        ImhelperError: it is none, or not a whole one, or cannot be read.
    """
    return _decode(_open(path), verify=True)


def _open(path: "str | Path") -> Opened:
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            return _map(file, str(path))
    except (OSError, ValueError) as error:
        raise ImhelperError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None


def _decode(opened: Opened, *, verify: bool) -> Program:
    try:
        tables = json.loads(opened.tables)
        program = _decode_tables(tables, opened.trie)
    except (ValueError, TypeError, LookupError, AttributeError) as error:  # though the digest fits
        raise ImhelperError(f"{opened.name} is damaged: {error!r}; compile it again") from None
    for name, (*places, _regex, _networks, _ports) in tables["sites"].items() if verify else ():
        if any(crc32(opened.trie(place)) != place[2] for place in places):
            text = f"{opened.name} is damaged: the digest of site list '{name}' is wrong; compile it again"
            raise ImhelperError(text)
    return program


def _map(file: BinaryIO, name: str) -> Opened:
    size = os.fstat(file.fileno()).st_size
    if size < _HEADER_SIZE:
        raise ImhelperError(f"{name} is no whole program: it has {size} bytes only; compile it again")
    if size < MAPPED_FROM:
        file.seek(0)
        data = memoryview(file.read(size))
    else:
        import mmap

        data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    magic, version, length, tables_length = _NUMBERS.unpack_from(data)
    if magic != MAGIC:
        raise ImhelperError(f"{name} is no program of squid-imhelper, or was copied as text")
    if version != VERSION:
        age = "a newer" if version > VERSION else "an older"
        raise ImhelperError(
            f"{name} was compiled by {age} squid-imhelper (format {version}, not {VERSION}); compile it again"
        )
    if length != size or len(data) != size:
        raise ImhelperError(f"{name} is no whole program: it has {size} of {length} bytes; compile it again")
    tables = bytes(data[_HEADER_SIZE : _HEADER_SIZE + tables_length])
    (digest,) = _DIGEST.unpack_from(data, _NUMBERS.size)
    if digest != crc32(tables, crc32(data[: _NUMBERS.size])):
        raise ImhelperError(f"{name} is damaged: its digest does not fit; compile it again")
    return Opened(name, data, tables)


def _decode_tables(tables: Mapping[str, Any], trie: Callable[[Place], memoryview]) -> Program:
    sites = {name: tables["sites"][name] for name in tables["site_lists"]}
    return Program(
        services={id_: ServiceName(name, group) for id_, name, group in tables["services"]},
        signatures=tuple(map(_decode_signature, tables["signatures"])),
        exceptions=tuple((domain, service) for domain, service in tables["exceptions"]),
        bots=tuple((text, service) for text, service in tables["bots"]),
        rules=tuple(map(_decode_rule, tables["rules"])),
        response=Response(**tables["response"]),
        open_targets=frozenset((host, port) for host, port in tables["open_targets"]),
        audit=AuditSettings(**tables["audit"]),
        sites={
            name: SiteTables(trie(domains), trie(urls), _expressions(regex), _tuples(networks), tuple(ports))
            for name, (domains, urls, regex, networks, ports) in sites.items()
        },
        schedules={name: Schedule(name, zone, _tuples(stretches)) for name, zone, stretches in tables["schedules"]},
        files=tuple(tables["files"]),
    )


_KINDS: Final = {kind.value: kind for kind in Kind}
_MATCHES: Final = {match.value: match for match in Match}


def _decode_signature(row: list[Any]) -> Signature:
    kind, value, service, flag, match, url = row
    pattern = UrlPattern(**{**url, "match": _MATCHES[url["match"]]}) if url else None
    return Signature(_KINDS[kind], value, service, flag, _MATCHES[match], pattern)


def _expressions(rows: Iterable[list[Any]]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    return tuple((pattern, tuple(literals)) for pattern, literals in rows)


def _tuples(rows: Iterable[list[Any]]) -> tuple[Any, ...]:
    return tuple(map(tuple, rows))


_OF_RULE: Final[Mapping[str, Callable[[Any], Any]]] = {
    "clients": _tuples,
    "users": frozenset,
    "services": frozenset,
    "include": frozenset,
    "user_agents": tuple,
    "sites": tuple,
    "except_sites": tuple,
    "schedules": tuple,
}


def _decode_rule(values: dict[str, Any]) -> Rule:
    return Rule(
        **{
            name: value if value is None or name not in _OF_RULE else _OF_RULE[name](value)
            for name, value in values.items()
        }
    )
