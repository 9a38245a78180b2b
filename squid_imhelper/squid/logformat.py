r"""A `logformat` of squid.conf, read backwards: from its definition to a pattern that takes a line of the log apart.

The tokens are those of FORMAT (`layout`), with three differences. Text between them may be anything. A token may have a
width, and is then padded with blanks or zeros. And where a token has no quoting modifier, it is quoted by where it
stands: between quotation marks with backslashes, in brackets as MIME headers are (format/Token.cc, Token::parse).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from squid_imhelper.base.errors import ProtocolError
from squid_imhelper.squid.layout import TOKEN, Decoder, Field, code_of, decoder_of, field_of, is_known

LogField = Field | Literal[
    "seconds", "milliseconds", "local_time", "duration", "tag", "status", "service", "rule", "bump_mode", "intercepted",
]  # fmt: skip
"""What a line of a log tells besides what Squid tells a helper. `service` and `rule` are what a helper had answered.

`bump_mode` is what became of TLS that Squid looked into; `intercepted` marks a client that knew of no proxy, so that
the destination is the server's.
"""

# Format codes that only a log has a use for (format/Token.cc; cf.data.pre, logformat).
_LOG_CODES: Final[Mapping[str, LogField]] = {
    "ts": "seconds", "tu": "milliseconds", "tl": "local_time", "tg": "local_time",
    "tr": "duration", "Ss": "tag", ">Hs": "status", "Hs": "status", "<Hs": "status",
    "et": "service", "ea": "rule", "ssl::bump_mode": "bump_mode",
}  # fmt: skip
_NOTES: Final[Mapping[str, LogField]] = {"tag": "service", "log": "rule", "imhelper_intercepted": "intercepted"}
_RANK: Final = {">ru": 0, "ru": 1, ">Hs": 0, "Hs": 1, "<Hs": 2, ">a": 0}

_UTC_TIME: Final = "%d/%b/%Y:%H:%M:%S"
"""Of %tg where a definition does not say otherwise (format/Format.cc)."""
_NUMBERS: Final = re.compile(r"t[sur]|dt|[<>]?(?:Hs|st|sh|sH|sS|p|lp|pt|tt)|rv")
_TEXT: Final = re.compile(r"[ \t]+|[^ \t]+")
_BLANKS: Final = (" ", "\t")


class _Value(NamedTuple):
    """The pattern of a value that goes up to where its quoting ends, and of one character of it before other text."""

    alone: str
    character: str


# A line of rubbish must not be tried in every way. So a value with other text behind it ends where that text stands
# first; where that would be at a blank inside of it, or inside of a URL, there are _ENDS_TRIED ends to choose from.
_QUOTED: Final = r'[^"\\]*+(?:\\.[^"\\]*+)*+'
_VALUES: Final[Mapping[str, _Value]] = {
    '"': _Value(_QUOTED, r'(?:[^"\\]|\\.)'),
    "[": _Value(r"[^\]]*+", r"[^\]]"),
    "'": _Value(".*+", "."),
    "/": _Value(rf'(?:"{_QUOTED}"|[^ \t]*+)', rf'(?:"{_QUOTED}"|[^ \t"\\]|\\.)'),
    "#": _Value(r"[^ \t]*+", r"[^ \t]"),
    "": _Value(r"[^ \t]*+", r"[^ \t]"),
}
_ENDS_TRIED: Final = 32
_ENDS: Final[Mapping[str, tuple[str, ...]]] = {'"': ('"',), "[": ("]",), "'": ()}


@dataclass(frozen=True, slots=True)
class LogLayout:
    """A pattern for a whole line, and what undoes the quoting of each of its groups, by the field that it is.

    `time_format` is that of %tl, "" for Squid's own; `in_utc` says that it is a %tg, which tells no offset.
    """

    pattern: re.Pattern[bytes]
    cells: Mapping[LogField, Decoder]
    time_format: str = ""
    in_utc: bool = False

    def read(self, line: bytes) -> dict[LogField, bytes] | None:
        """Returns the fields of a line that have a value, decoded; None where the line does not fit."""
        found = self.pattern.fullmatch(line)
        if found is None:
            return None
        fields = {}
        for (field, decode), value in zip(self.cells.items(), found.groups(), strict=True):
            text = decode(value)
            if text and text != b"-":
                fields[field] = text
        return fields


class _Piece(NamedTuple):
    """A token, the text around it, and the quoting that applies."""

    before: str
    token: re.Match[str]
    quote: str
    after: str


def parse_logformat(definition: str) -> LogLayout:
    """Reads a definition as it stands behind the name in a `logformat` line.

    Raises:
        ProtocolError: a token that Squid does not know, none that tells where a request goes, or two with nothing
            between them.
    """
    pattern, time_format, in_utc = "", "", False
    pieces = _pieces(definition.strip())
    best = _best(pieces)
    if not {"url", "host"} & best.keys():
        raise ProtocolError("--log-format: it has no %ru, so that it does not tell where requests go")
    cells: dict[LogField, Decoder] = {}
    for number, piece in enumerate(pieces):
        token, field = piece.token, _field(piece.token)
        if number and not piece.before:
            raise ProtocolError(f"--log-format: nothing stands between {token[0]} and the field before it")
        is_read = field is not None and best[field] is piece
        pattern += _literal(piece.before) + _group(piece, "(" if is_read else "(?:")
        if field is not None and is_read:
            cells[field] = _decoder(piece, field)
        if field == "local_time" and is_read:
            in_utc = code_of(token) == "tg"
            time_format = (token["before"] or token["after"] or "")[1:-1] or (_UTC_TIME if in_utc else "")
    whole = rf"[ \t]*+{pattern}{_literal(pieces[-1].after)}[ \t]*"
    return LogLayout(re.compile(whole.encode("utf-8", "surrogateescape"), re.DOTALL), cells, time_format, in_utc)


def _best(pieces: list[_Piece]) -> dict[LogField, _Piece]:
    """Of tokens that tell the same, the one that tells it best."""
    best: dict[LogField, _Piece] = {}
    for piece in sorted(pieces, key=lambda piece: _RANK.get(code_of(piece.token), 0)):
        if (field := _field(piece.token)) is not None:
            best.setdefault(field, piece)
    return best


def _pieces(definition: str) -> list[_Piece]:
    tokens = [token for token in TOKEN.finditer(definition) if code_of(token) != "%"]
    ends = [0, *(token.end() for token in tokens)]
    starts = [*(token.start() for token in tokens), len(definition)]
    texts = [definition[end:start].replace("%%", "\0") for end, start in zip(ends, starts, strict=True)]
    for text in texts:
        if "%" in text:
            raise ProtocolError(f"--log-format: Squid knows no format code {text[text.index('%') :][:20]}")
    pieces, state = [], ""
    for token, before, after in zip(tokens, texts, texts[1:], strict=False):
        if not is_known(token):
            raise ProtocolError(f"--log-format: Squid knows no format code {token[0][:20]}")
        state = _quoting(state, before)
        pieces.append(_Piece(before.replace("\0", "%"), token, token["quote"] or state, after.replace("\0", "%")))
    return pieces


def _quoting(state: str, text: str) -> str:
    for character in text:
        if character == '"' and state in ("", '"'):
            state = "" if state else '"'
        elif (character, state) == ("[", ""):
            state = "["
        elif (character, state) == ("]", "["):
            state = ""
    return state


def _literal(text: str) -> str:
    """Text between two fields; a run of blanks stands for any, since fields are padded."""
    return "".join(r"[ \t]++" if part.isspace() else re.escape(part) for part in _TEXT.findall(text))


def _group(piece: _Piece, start: str) -> str:
    code = code_of(piece.token)
    ends_alone = piece.after.startswith(_ENDS.get(piece.quote, _BLANKS)) or not piece.after
    pattern = _VALUES[piece.quote].alone if ends_alone else _followed(piece)
    if code in ("tl", "tg"):
        pattern = ".{1,64}?"
    elif _NUMBERS.fullmatch(code):
        pattern = "-?[0-9.]*" if code != "ts" else "[0-9]+"
    if not piece.token["width"]:
        return f"{start}{pattern})"
    before = "" if piece.before.endswith(_BLANKS) else " *+"
    after = "" if piece.after.startswith(_BLANKS) else " *+"
    return f"{before}{start}{pattern}){after}"


def _followed(piece: _Piece) -> str:
    """The pattern of a value up to the text behind it."""
    character, end = _VALUES[piece.quote].character, rf"(?= *{_literal(piece.after)})"
    shortest = f"(?>{character}*?{end})"
    if piece.after.startswith(_BLANKS) or field_of(piece.token) == "url":
        return f"{shortest}(?:(?>{character}+?{end})){{0,{_ENDS_TRIED}}}?"
    return shortest


def _field(token: re.Match[str]) -> LogField | None:
    if code_of(token) == "note":
        return _NOTES.get((token["before"] or token["after"] or "")[1:-1])
    return _LOG_CODES.get(code_of(token)) or field_of(token)


def _decoder(piece: _Piece, field: LogField) -> Decoder:
    """What undoes the quoting as in FORMAT, and the padding."""
    known = field_of(piece.token)
    decode = decoder_of(known if known == field else None, piece.quote)
    return (lambda value: decode(value.strip(b" "))) if piece.token["width"] else decode
