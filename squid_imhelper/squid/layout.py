"""FORMAT: what Squid was told to send, and how each field is read back.

The same tokens stand in `external_acl_type`, `url_rewrite_extras` and `logformat`: `%[quoting]code`, with the name of a
header in braces. The quoting decides whether a field can be read back exactly (format/Format.cc, assemble): `#` always;
none as far as a URL goes; `"`, `'` and `[` leave blanks bare, so that only the last field can have them.
"""

import re
from collections.abc import Callable, Mapping
from enum import Enum
from itertools import pairwise
from typing import Final, Literal, NamedTuple

from squid_imhelper.base.errors import ProtocolError
from squid_imhelper.base.memo import memoised
from squid_imhelper.base.urls import unquote

ABSENT: Final = b"-"

Field = Literal[
    "client", "method", "url", "host", "port", "path", "scheme", "user", "sni", "user_agent", "content_type",
    "destination", "destination_port",
]  # fmt: skip

# Format codes and what they tell (format/Token.cc); where two tell the same, the first one here is taken.
_CODES: Final[Mapping[str, Field]] = {
    ">a": "client", "SRC": "client",
    ">rm": "method", "rm": "method", "METHOD": "method",
    ">ru": "url", "URI": "url", "ru": "url",
    ">rd": "host", "rd": "host", "DST": "host",
    ">rP": "port", "rP": "port", "PORT": "port",
    ">rp": "path", "rp": "path", "PATH": "path",
    ">rs": "scheme", "rs": "scheme", "PROTO": "scheme",
    "un": "user", "ul": "user", "ue": "user", "LOGIN": "user", "EXT_USER": "user",
    "ssl::>sni": "sni",
    ">la": "destination", ">lp": "destination_port",
}  # fmt: skip
_HEADERS: Final[Mapping[str, Field]] = {"user-agent": "user_agent", "content-type": "content_type"}
_HEADER_CODES: Final = (">h", ">ha", ">", "<")
_CODE_RANK: Final = {code: n for n, code in enumerate((*_CODES, *_HEADER_CODES))}

# Codes that Squid knows (cf.data.pre, logformat; 5 to 7) and that tell nothing about messengers.
_SKIPPED: Final = (
    r"%|[<>]?(?:A|p|eui|la|lp|qos|nfmark|st|sh|h|ha|rm|ru|rp|rs|rd|rP|rv|Hs|a|pt|tt|sS|sH|Sh|Ss|bs)"
    r"|>handshake|sn|ts|tu|tl|tg|tr|dt|tS|busy_time|request_attempts|et|ea|ui|us|mt|note|err_code|err_detail|credentials|byte"
    r"|master_xaction|ACL|SRCPORT|SRCEUI48|SRCEUI64|MYADDR|MYPORT|EXT_LOG|EXT_TAG|TAG|IDENT"
    r"|USER_CERTCHAIN|USER_CERT(?:_\w+)?|USER_CA_CERT_\w+|CA_CERT_\w+"
    r"|(?:ssl|icap|adapt|proxy_protocol|transport|tls)::[<>]?[\w:>]+"
)
TOKEN: Final = re.compile(
    r"%(?P<quote>[\"'\[#/]?)(?P<width>-?[0-9.]*)(?P<before>\{[^}]*\})?"
    r"(?P<code>[<>]?[A-Za-z_]\w*(?:::[<>]?\w+){0,2}|[<>]|%)(?P<after>\{[^}]*\})?"
)

Decoder = Callable[[bytes], bytes]


_unquote: Final[Decoder] = memoised(unquote)


def _unescape_percent(value: bytes) -> bytes:
    return _unquote(value) if b"%" in value else value


def _unescape_backslashes(value: bytes) -> bytes:
    r"""Undoes `\"`, `\\`, `\n`, `\r`, `\t` (format/Quoting.cc, QuoteUrlEncodeUsername; String.cc, strwordquote)."""
    return re.sub(rb"\\(.)", lambda m: {b"n": b"\n", b"r": b"\r", b"t": b"\t"}.get(m[1], m[1]), value, flags=re.DOTALL)


def _unquote_shell(value: bytes) -> bytes:
    return _unescape_backslashes(value[1:-1] if value[:1] == b'"' else value)


def _unescape_mime(value: bytes) -> bytes:
    return _unquote(value.replace(b"\\\\", b"\\"))


def _as_is(value: bytes) -> bytes:
    return value


# What Squid's quoting modifier did, undone. Without a modifier a URL has been escaped as a URL is (rfc1738.c,
# RFC1738_ESCAPE_UNESCAPED): undoing that would also undo the client's own escapes, so a URL is read as it stands; and a
# user name has not been escaped at all.
_DECODERS: Final[Mapping[str, Decoder]] = {
    "": _unescape_percent,
    "#": _unescape_percent,
    "/": _unquote_shell,
    '"': _unescape_backslashes,
    "[": _unescape_mime,
    "'": _as_is,
}
_SENT_AS_IT_IS: Final = ("url", "path", "user")
_SHELL_WORD: Final = rb'(?s)"(?:\\.|[^"\\])*"|[^ ]+'


class Cell(NamedTuple):
    """Where a field stands: number of the word, and of the group in the word's pattern."""

    word: int
    group: int
    decode: Decoder


class Blanks(Enum):
    """Where blanks can stand inside of a field."""

    NOWHERE = "nowhere"
    QUOTED = "in fields that are then quoted"
    LAST = "in the last field"


_BLANKS_OF: Final = {'"': Blanks.LAST, "'": Blanks.LAST, "[": Blanks.LAST, "/": Blanks.QUOTED}


class Layout(NamedTuple):
    """What stands where in a line of words that are parted by blanks.

    `words` has the pattern of each word, None for a word that is one field; `cells` the fields of interest; `data` is
    the number of words before %DATA, which may be any number of words.
    """

    text: str
    words: tuple[re.Pattern[bytes] | None, ...]
    cells: Mapping[Field, Cell]
    data: int
    blanks: Blanks

    @property
    def warning(self) -> str:
        """What can be told at start about lines that will not fit; "" for nothing."""
        user = self.cells.get("user")
        if user is None or user.decode is not _as_is:
            return ""
        return (
            f"Squid does not escape the user name of {self.text}, which cannot be read when it holds a blank: use %#un"
        )


def parse_format(text: str) -> Layout:
    """Reads the FORMAT of an external_acl_type line, or of url_rewrite_extras.

    Raises:
        ProtocolError: a token that Squid does not know, or one that cannot be read back safely.
    """
    words: list[re.Pattern[bytes] | None] = []
    best: dict[Field, tuple[int, Cell]] = {}
    data = -1
    blanks = Blanks.NOWHERE
    for word in text.split():
        if blanks is Blanks.LAST:
            raise ProtocolError(f"--format: behind a field that leaves blanks bare nothing can be told apart: {word}")
        if word.endswith("DATA") and word not in ("%DATA", "%#DATA"):
            raise ProtocolError(f"--format: {word}: only %DATA and %#DATA can be read back")
        if word in ("%DATA", "%#DATA"):
            data = len(words)
            continue
        tokens = _parse_word(word)
        for group, token in enumerate(tokens, 1):
            blanks = _add_blanks(blanks, _BLANKS_OF.get(token["quote"], blanks), word)
            field = field_of(token)
            cell = Cell(len(words), group, decoder_of(field, token["quote"]))
            rank = _CODE_RANK.get(code_of(token), 0)
            if field is not None and (field not in best or rank < best[field][0]):
                best[field] = (rank, cell)
        words.append(None if len(tokens) == 1 and tokens[0][0] == word else _word_pattern(word, tokens))
    if not words:
        raise ProtocolError("--format: it names no field")
    if blanks is Blanks.LAST and data >= 0:
        raise ProtocolError("--format: %DATA cannot be told from a last field that leaves blanks bare")
    cells = {field: cell for field, (_, cell) in best.items()}
    return Layout(" ".join(text.split()), tuple(words), cells, len(words) if data < 0 else data, blanks)


def _add_blanks(before: Blanks, now: Blanks, word: str) -> Blanks:
    if before is Blanks.QUOTED and now is Blanks.LAST:
        raise ProtocolError(f"--format: {word} leaves blanks bare, and so cannot stand behind a field in quotes")
    return now


def parse_extras(text: str) -> Layout:
    """Reads url_rewrite_extras: as `parse_format`, but no field may hold a blank, since the URL before them may.

    Raises:
        ProtocolError: as `parse_format`.
    """
    layout = parse_format(text)
    if layout.blanks is not Blanks.NOWHERE:
        raise ProtocolError("--extras: only fields without a modifier, or with #, can be told from the URL before them")
    return layout


def _parse_word(word: str) -> list[re.Match[str]]:
    """Returns the tokens of a word, which may have other text around them."""
    tokens = list(TOKEN.finditer(word))
    if "%" in TOKEN.sub("", word):
        raise ProtocolError(f"--format: {word} is no format code")
    for token in tokens:
        _check_token(word, token)
    if any(one.end() == other.start() for one, other in pairwise(tokens)):
        raise ProtocolError(f"--format: in {word} nothing stands between two fields")
    return tokens


def _word_pattern(word: str, tokens: list[re.Match[str]]) -> re.Pattern[bytes]:
    """Returns a pattern with a group for each token of a word that is more than one token."""
    pattern, at = b"", 0
    for token in tokens:
        pattern += re.escape(word[at : token.start()].encode()) + b"([^ ]*?)"
        at = token.end()
    return re.compile(pattern + re.escape(word[at:].encode()))


def _check_token(word: str, token: re.Match[str]) -> None:
    code, quote_mark = code_of(token), token["quote"]
    if quote_mark in _BLANKS_OF and token[0] != word:
        raise ProtocolError(f"--format: {word} can hold blanks; such a field stands alone")
    if not is_known(token):
        raise ProtocolError(f"--format: Squid knows no format code {word}")
    if token["width"]:
        raise ProtocolError(f"--format: {word} has a width, which pads with blanks or cuts")
    if code == "ssl::>sni" and quote_mark not in ("#", "/"):
        raise ProtocolError("--format: a client can forge lines through an SNI that is not escaped: write %#ssl::>sni")


def is_known(token: re.Match[str]) -> bool:
    """Whether Squid knows such a token."""
    code = code_of(token)
    header = code in _HEADER_CODES and (token["before"] or token["after"])
    return bool(header) or code in _CODES or bool(re.fullmatch(_SKIPPED, code))


def code_of(token: re.Match[str]) -> str:
    """The code without what Squid takes for the same (format/Token.cc): `http::` in front, `tls::` for `ssl::`."""
    code = token["code"].removeprefix("http::")
    return f"ssl::{code.removeprefix('tls::')}" if code.startswith("tls::") else code


def field_of(token: re.Match[str]) -> Field | None:
    """What a token tells of a request, or None for nothing."""
    code = code_of(token)
    if code in _HEADER_CODES:
        name = (token["before"] or token["after"] or "")[1:-1].lower()
        return None if code == "<" else _HEADERS.get(name)
    return _CODES.get(code)


def decoder_of(field: Field | None, quote_mark: str) -> Decoder:
    """Returns what undoes a quoting modifier."""
    return _as_is if field in _SENT_AS_IT_IS and not quote_mark else _DECODERS[quote_mark]


Fields = dict[Field, bytes]


def split_words(line: bytes, layout: Layout) -> list[bytes]:
    """Returns the words of a line, those of %DATA at the end or in the middle among them."""
    if layout.blanks is Blanks.LAST:
        # Squid ends the line with %DATA: "-", or one argument; more could not be told from the field before.
        count = len(layout.words)
        words = line.split(b" ", count - 1)
        if len(words) == count:
            last, _, data = words[-1].rpartition(b" ")
            words[-1:] = [last, data] if last else [data]
        return words
    if layout.blanks is Blanks.QUOTED and b'"' in line:
        return re.findall(_SHELL_WORD, line)
    return line.split(b" ")


def read_fields(words: list[bytes], layout: Layout) -> Fields:
    """Returns the fields that are there, decoded, from the words without those of %DATA.

    Raises:
        ProtocolError: a word does not fit.
    """
    parts = [
        word if pattern is None else pattern.fullmatch(word) for word, pattern in zip(words, layout.words, strict=True)
    ]
    if None in parts:
        raise ProtocolError(f"{words[parts.index(None)][:60]!r} does not fit the layout {layout.text}")
    fields: Fields = {}
    for field, (number, group, decode) in layout.cells.items():
        part = parts[number]
        value = part[group] if isinstance(part, re.Match) else part
        if value and value != ABSENT:
            fields[field] = decode(value)
    return fields
