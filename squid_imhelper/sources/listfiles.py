"""Site lists in files, in the formats in which block lists are published.

A line becomes entries of a site list, or is left out with the reason, which `lint` tells: no line is dropped silently.
What is taken is what these lists mean to the programs that they are written for:

    domains      a domain and its sub-domains, a line each; addresses and networks too
    urls         host/path, and all below the path
    squidguard   lines of a squidGuard domainlist or urllist; or the folder of a category
    hosts        0.0.0.0 name ...       these very names
    dnsmasq      address=/name/...      names and their sub-domains; also local= and server= without a server
    adblock      ||name^, ||name/path^  names and their sub-domains; everything with conditions is left out
    squid        .name, name            as dstdomain has it: with sub-domains, or that very name
    regex        an expression a line; "-i" and "+i" as in a file of url_regex
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final, Literal, NamedTuple

import regex

from squid_imhelper.base.addresses import merge, parse_interval
from squid_imhelper.base.errors import ImhelperError
from squid_imhelper.base.model import Interval, SiteList
from squid_imhelper.base.urls import Target, UrlError, normalise_address, normalise_host, normalise_path, parse_url
from squid_imhelper.sources.compressed import read_lines

Kind = Literal["domains", "hosts", "urls", "regex", "networks"]
Entry = tuple[Kind, str]
LineReader = Callable[[str], Iterable[Entry]]


class LeftOutError(ValueError):
    """A line that cannot be taken; the message is the reason, the same for all lines of its kind."""


class LeftOut(NamedTuple):
    """A line that was left out; `line` counts from 1."""

    path: str
    line: int
    text: str
    reason: str


@dataclass
class ListFile:
    """What a file holds: entries by kind, and what was left out."""

    entries: dict[Kind, list[str]] = field(default_factory=lambda: {k: [] for k in _KINDS})
    left_out: list[LeftOut] = field(default_factory=list)
    files: list[str] = field(default_factory=list)

    def site_list(self, name: str) -> SiteList:
        """The entries as a site list, each once, sorted."""
        unique = {kind: tuple(sorted(set(values))) for kind, values in self.entries.items()}
        networks: list[Interval] = [parse_interval(text)[0] for text in unique["networks"]]
        return SiteList(name, unique["domains"], unique["hosts"], unique["urls"], unique["regex"], merge(networks))


_KINDS: Final[tuple[Kind, ...]] = ("domains", "hosts", "urls", "regex", "networks")

_PLAIN_NAME: Final = re.compile(r"(?:[a-z0-9_](?:[a-z0-9_-]*)\.)+[a-z_][a-z0-9_-]*")
_NAME: Final = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*")
_WIDEST: Final = {4: 1 << 24, 6: 1 << 112}
"""Addresses of a /8 and of a /16; no larger block was ever given to one holder."""
_LONGEST_NAME: Final = 253
_COMMENT: Final = re.compile(r"(?:^|\s)#.*")
_SCHEME: Final = re.compile(r"https?://", re.IGNORECASE)
_NOWHERE: Final = re.compile(r"0\.0\.0\.0|127\.[\d.]+|::1?|0{1,4}(?::0{1,4}){7}", re.ASCII)
_DNSMASQ: Final = re.compile(r"(address|local|server)=/(.+)/([^/]*)")
_ADBLOCK: Final = re.compile(r"\|\|([^/^$|*]+)(/[^^$|*]*)?(?:\^\|?|\|)?(?:\$(.*))?")
_ADBLOCK_OPTIONS: Final = frozenset({"all", "important", "document", "doc"})
_SQUIDGUARD_PREFIX: Final = re.compile(r"(?:www|web|ftp)[0-9]*\.")
_COSMETIC: Final = re.compile(r"#@?[?$%]?@?#")


# ---- one function for each format ----------------------------------------------------------------------------------


def _domains(line: str) -> Iterable[Entry]:
    text = _COMMENT.sub("", line).strip()
    if not text:
        return ()
    if len(text) <= _LONGEST_NAME and _PLAIN_NAME.fullmatch(text):
        return (("domains", text),)
    return (_name_or_network("domains", text.removeprefix("*").removeprefix(".")),)


def _urls(line: str, prefix: re.Pattern[str] | None = None) -> Iterable[Entry]:
    text = _COMMENT.sub("", line).strip()
    if not text:
        return ()
    bare = _SCHEME.sub("", text, count=1)
    if "?" in bare or "#" in bare:
        raise LeftOutError("a query, which is not compared (a regex can look at it)")
    if "://" in bare or len(bare.split()) > 1:
        raise LeftOutError("no URL of http or https")
    try:
        target = parse_url(bare.removeprefix("."))
    except UrlError:
        raise LeftOutError("no URL of http or https") from None
    host = prefix.sub("", target.host, count=1) if prefix and prefix.match(target.host) else target.host
    if len(bare.partition("/")[0]) > _LONGEST_NAME:
        raise LeftOutError("no host name")
    address = normalise_address(host)
    if address is None:
        _name("domains", host)
    if target.path == "/" and not has_port(bare):  # the whole site, CONNECT too
        return (("hosts" if address else "domains", host),)
    return (("urls", site_url(target._replace(host=host), with_port=has_port(bare))),)


def has_port(url: str) -> bool:
    """Whether a URL without a scheme names a port."""
    return re.match(r"(?:[^/:]*|\[[^/]*\]):\d+(/|$)", url) is not None


def site_url(target: Target, *, with_port: bool) -> str:
    """Returns the "host/path" or "host:port/path" of a site list."""
    host = f"[{target.host}]" if ":" in target.host else target.host
    port = f":{target.port}" if with_port else ""
    return f"{host}{port}{normalise_path(target.path or '/').rstrip('/')}"


def _squidguard(line: str) -> Iterable[Entry]:
    text = _COMMENT.sub("", line).strip()
    return _urls(text, _SQUIDGUARD_PREFIX) if "/" in text else _domains(text)


def _hosts(line: str) -> Iterable[Entry]:
    address, *names = _COMMENT.sub("", line).split() or [""]
    if not address:
        return ()
    if not names or normalise_address(address) is None:
        raise LeftOutError("no address with names behind it")
    if not _NOWHERE.fullmatch(address):
        raise LeftOutError("a name that is sent to a real address, and not blocked")
    return _each(_name, "hosts", names)


def _dnsmasq(line: str) -> Iterable[Entry]:
    text = _COMMENT.sub("", line).strip() if not line.rstrip().endswith("/#") else line.strip()
    if not text or text.startswith("#"):
        return ()
    found = _DNSMASQ.fullmatch(text)
    if found is None:
        raise LeftOutError("another option of dnsmasq")
    option, names, to = found.groups()
    if to == "#" if option == "server" else to not in ("", "#") and not _NOWHERE.fullmatch(to):
        raise LeftOutError("a name that is sent to a real address, and not blocked")
    if option != "address" and to:
        raise LeftOutError("a name that is asked of another server, and not blocked")
    return _each(_name, "domains", [name.removeprefix("*").removeprefix(".") for name in names.split("/")])


def _adblock(line: str) -> Iterable[Entry]:
    text = line.strip()
    if not text or text.startswith("!") or (text.startswith("[") and text.endswith("]")):
        return ()
    if _COSMETIC.search(text):
        raise LeftOutError("a rule about what is shown of a page")
    if text.startswith("@@"):
        raise LeftOutError("an exception (put it into a list of its own, behind 'except_sites')")
    found = _ADBLOCK.fullmatch(text)
    if found is None:
        raise LeftOutError("a pattern that is no name at the beginning of a host")
    name, path, options = found.groups()
    if not set((options or "all").split(",")) <= _ADBLOCK_OPTIONS:
        raise LeftOutError("a condition that a proxy cannot see")
    return _urls(name + path) if path and path != "/" else (_name_or_network("domains", name),)


def _squid(line: str) -> Iterable[Entry]:
    words = _COMMENT.sub("", line).split()
    if words[:1] == ["acl"]:
        if words[2:3] != ["dstdomain"]:
            raise LeftOutError("another type of ACL")
        words = words[3:]
    return _each(_dstdomain, "hosts", words)


def _dstdomain(kind: Kind, word: str) -> Entry:
    if word.startswith("-"):
        raise LeftOutError("an option of dstdomain")
    return _name("domains", word.removeprefix(".")) if word.startswith(".") else _name_or_network(kind, word)


class _Regex:
    """Lines of expressions, with the option for case that holds from its line on."""

    def __init__(self, flags: str = "") -> None:
        self._flags = flags

    def __call__(self, line: str) -> Iterable[Entry]:
        text = line.strip()
        if not text or text.startswith("#"):
            return ()
        if text in ("-i", "+i"):
            self._flags = "(?i)" if text == "-i" else ""
            return ()
        try:
            regex.compile(self._flags + text)
        except (regex.error, ValueError, RecursionError, OverflowError):
            raise LeftOutError("no regular expression") from None
        return (("regex", self._flags + text),)


FORMATS: Final[dict[str, Callable[[], LineReader]]] = {
    "domains": lambda: _domains,
    "urls": lambda: _urls,
    "squidguard": lambda: _squidguard,
    "hosts": lambda: _hosts,
    "dnsmasq": lambda: _dnsmasq,
    "adblock": lambda: _adblock,
    "squid": lambda: _squid,
    "regex": _Regex,
}

_CATEGORY: Final[dict[str, Callable[[], LineReader]]] = {
    "domains": lambda: _domains,
    "urls": lambda: partial(_urls, prefix=_SQUIDGUARD_PREFIX),
    "expressions": lambda: _Regex("(?i)"),
}
"""The files in the folder of a category (squidGuard, UT1, Shallalist)."""


# ---- names ----------------------------------------------------------------------------------------------------------


def _name(kind: Kind, text: str) -> Entry:
    """Reads a host name.

    Raises:
        LeftOutError: it is none, or one of a single label.
    """
    if len(text) > _LONGEST_NAME:  # the beginning of such a one is not looked at
        raise LeftOutError("no host name")
    name = text if _PLAIN_NAME.fullmatch(text) else normalise_host(text)
    if normalise_address(name) is not None:
        raise LeftOutError("an address in the place of a name")
    if any(mark in text for mark in "/:") or "://" in text:
        raise LeftOutError("more than a host name")
    if not _NAME.fullmatch(name):
        raise LeftOutError("no host name")
    if "." not in name:
        raise LeftOutError("a whole top-level domain, or a bare host name")
    return kind, name


def _name_or_network(kind: Kind, text: str) -> Entry:
    """Reads a host name, an address (which is a host and nothing below it) or a network."""
    try:
        (version, first, last), note = parse_interval(text)
    except ValueError:
        return _name(kind, text)
    if note:
        raise LeftOutError("a network with host bits set")
    if last - first >= _WIDEST[version]:
        raise LeftOutError("a network wider than any that is one site's")
    address = normalise_address(text)
    return ("hosts", address) if address is not None and first == last else ("networks", text)


def _each(read: Callable[[Kind, str], Entry], kind: Kind, words: Iterable[str]) -> Iterator[Entry]:
    """Yields the entry of each word; the first one that has to be left out is told at the end."""
    reason: LeftOutError | None = None
    for word in words:
        try:
            yield read(kind, word)
        except LeftOutError as error:
            reason = reason or error
    if reason:
        raise reason


# ---- files ----------------------------------------------------------------------------------------------------------


def read_list(path: Path, format_name: str) -> ListFile:
    """Reads a list file, or of squidGuard's format a folder.

    Raises:
        ImhelperError: it cannot be read.
    """
    result = ListFile()
    for file, make_reader in _files(path, format_name):
        result.files.append(str(file.absolute()))
        _read_file(file, make_reader(), result)
    return result


def _files(path: Path, format_name: str) -> Iterator[tuple[Path, Callable[[], LineReader]]]:
    try:
        folder = format_name == "squidguard" and path.is_dir()
        there = [(path / name, reader) for name, reader in _CATEGORY.items() if folder and (path / name).is_file()]
    except OSError as error:
        raise ImhelperError(f"cannot read {path}: {error.strerror or error}") from None
    if not folder:
        yield path, FORMATS[format_name]
        return
    if not there:
        raise ImhelperError(f"cannot read {path}: there is no {', '.join(_CATEGORY)} in this folder")
    yield from there


def _read_file(path: Path, read: LineReader, result: ListFile) -> None:
    for number, line in enumerate(read_lines(path), 1):
        try:
            for kind, value in read(line):
                result.entries[kind].append(value)
        except LeftOutError as reason:
            result.left_out.append(LeftOut(str(path), number, line.strip()[:200], str(reason)))
