r"""A `logformat` of squid.conf, read backwards: from its definition to a pattern that takes a line of the log apart.

The tokens are those of FORMAT (`layout`), with three differences. Text between them may be anything. A token may have a
width, and is then padded with blanks or zeros. And where a token has no quoting modifier, it is quoted by where it
stands: between quotation marks with backslashes, in brackets as MIME headers are (format/Token.cc, Token::parse).
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from squid_imhelper.base.errors import ProtocolError
from squid_imhelper.squid.layout import TOKEN, Decoder, Field, code_of, decoder_of, field_of, is_known

LogField = Field | Literal["seconds", "milliseconds", "local_time", "duration", "tag", "status", "service", "rule"]
"""What a line of a log tells besides what Squid tells a helper. `service` and `rule` are what a helper had answered."""

# Format codes that only a log has a use for (format/Token.cc; cf.data.pre, logformat).
_LOG_CODES: Final[Mapping[str, LogField]] = {
    "ts": "seconds", "tu": "milliseconds", "tl": "local_time", "tg": "local_time",
    "tr": "duration", "Ss": "tag", ">Hs": "status", "Hs": "status", "<Hs": "status",
    "et": "service", "ea": "rule",
}  # fmt: skip
_NOTES: Final[Mapping[str, LogField]] = {"tag": "service", "log": "rule"}
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
class LogCell:
    """Where a field stands in the pattern, and how it is read."""

    group: int
    decode: Decoder


@dataclass(frozen=True, slots=True)
class LogLayout:
    """A pattern for a whole line, and the fields of interest.

    `time_format` is that of %tl, "" for Squid's own; `in_utc` says that it is a %tg, which tells no offset.
    """

    pattern: re.Pattern[bytes]
    cells: Mapping[LogField, LogCell]
    time_format: str = ""
    in_utc: bool = False

    def read(self, line: bytes) -> dict[LogField, bytes] | None:
        """Returns the fields of a line that have a value, decoded; None where the line does not fit."""
        found = self.pattern.fullmatch(line)
        if found is None:
            return None
        values = ((field, found[cell.group].strip(b" "), cell.decode) for field, cell in self.cells.items())
        return {field: decode(value) for field, value, decode in values if value and value != b"-"}


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
    best: dict[LogField, tuple[int, LogCell]] = {}
    pieces = _pieces(definition.strip())
    for group, piece in enumerate(pieces, 1):
        token = piece.token
        if group > 1 and not piece.before:
            raise ProtocolError(f"--log-format: nothing stands between {token[0]} and the field before it")
        pattern += _literal(piece.before) + _group(piece)
        field = _field(token)
        rank = _RANK.get(code_of(token), 0)
        if field is not None and (field not in best or rank < best[field][0]):
            best[field] = rank, LogCell(group, _decoder(token, field, piece.quote))
            if field == "local_time":
                in_utc = code_of(token) == "tg"
                time_format = (token["before"] or token["after"] or "")[1:-1] or (_UTC_TIME if in_utc else "")
    if not {"url", "host"} & best.keys():
        raise ProtocolError("--log-format: it has no %ru, so that it does not tell where requests go")
    whole = rf"[ \t]*+{pattern}{_literal(pieces[-1].after)}[ \t]*"
    cells = {field: cell for field, (_, cell) in best.items()}
    return LogLayout(re.compile(whole.encode("utf-8", "surrogateescape"), re.DOTALL), cells, time_format, in_utc)


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


def _group(piece: _Piece) -> str:
    code = code_of(piece.token)
    ends_alone = piece.after.startswith(_ENDS.get(piece.quote, _BLANKS)) or not piece.after
    pattern = _VALUES[piece.quote].alone if ends_alone else _followed(piece)
    if code in ("tl", "tg"):
        pattern = ".{1,64}?"
    elif _NUMBERS.fullmatch(code):
        pattern = "-?[0-9.]*" if code != "ts" else "[0-9]+"
    if not piece.token["width"]:
        return f"({pattern})"
    before = "" if piece.before.endswith(_BLANKS) else " *+"
    after = "" if piece.after.startswith(_BLANKS) else " *+"
    return f"{before}({pattern}){after}"


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


def _decoder(token: re.Match[str], field: LogField, quote_mark: str) -> Callable[[bytes], bytes]:
    """What a helper answered was percent-encoded by it, and again by a modifier; the rest is as in FORMAT."""
    known = field_of(token)
    return decoder_of(known if known == field else None, quote_mark)
