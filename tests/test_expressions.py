"""Expressions: which texts one requires, when it is run at all, and what becomes of one that takes too long.

A text that is required and is not there switches an expression off without a word. So nothing is believed here of how
patterns are read: what `regex` finds must hold one of the texts, in tables and in patterns put together at random.
"""

import re
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from random import Random
from typing import Final, NamedTuple

import pytest
import regex
from hypothesis import assume, event, example, given, reject, settings
from hypothesis import strategies as st

from squid_imhelper.matching import expressions as expressions_module
from squid_imhelper.matching.expressions import (
    BURST,
    REST,
    TIMEOUT,
    Account,
    Expressions,
    ExpressionTimeoutError,
    required_literals,
)

NOW: Final = 1_700_000_000.0


def overlooked(pattern: str, text: str) -> bool:
    """Whether an expression is found in a text, and would not have been run for want of its literals."""
    literals = required_literals(pattern)
    return bool(literals) and not any(literal in text.lower() for literal in literals) and is_found(pattern, text)


def is_found(pattern: str, text: str) -> bool:
    try:
        return bool(regex.compile(pattern).search(text, timeout=0.2))
    except TimeoutError:
        return False


# ---- which texts are required ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        pytest.param("ab", "ab", {"ab"}, id="plain"),
        pytest.param("ChAt", "ChAt", {"chat"}, id="in lower case"),
        pytest.param(r"chat\.example", "chat.example", {"chat.example"}, id="an escaped point"),
        pytest.param(r"\x63\150\u0061\U00000074", "chat", {"chat"}, id="escapes of characters"),
        pytest.param(r"ab\08\n\t", "ab\0008\n\t", {"ab\0008\n\t"}, id="octal and control characters"),
        pytest.param(
            r"^https?://chat[0-9]+\.example\.net/", "http://chat7.example.net/", {".example.net/"}, id="a URL"
        ),
        pytest.param("ab.cdef", "ab cdef", {"cdef"}, id="the longer of two"),
        pytest.param("abcd.ef", "abcd ef", {"abcd"}, id="the longer of two, the first"),
        pytest.param(r"\Ach\Bat\b\.x\Z", "chat.x", {"chat.x"}, id="what stands between two characters"),
        pytest.param("[c]hat", "chat", {"chat"}, id="a class of one"),
        pytest.param("[^c]hat", "what", {"hat"}, id="all but one"),
        pytest.param("wh[aeiou]t", "what", {"wh"}, id="a class"),
        pytest.param("[]a]chat", "]chat", {"chat"}, id="a bracket in a class"),
        pytest.param("[^]a]chat", "xchat", {"chat"}, id="a bracket in a class of others"),
        pytest.param(r"[\]\d]chat", "1chat", {"chat"}, id="an escaped bracket in a class"),
        pytest.param(r"wh\wt", "what", {"wh"}, id="a category"),
        pytest.param("ch\u00e4tten", "ch\u00e4tten", {"tten"}, id="a letter that is not ASCII"),
        pytest.param("(chat)room", "chatroom", {"chatroom"}, id="a group"),
        pytest.param("(?P<name>chat)room", "chatroom", {"chatroom"}, id="a named group"),
        pytest.param("(?:ch(?:a(t)))room", "chatroom", {"chatroom"}, id="groups in groups"),
        pytest.param("(?>chat)room", "chatroom", {"chat"}, id="an atomic group"),
        pytest.param("chat|talk", "talk", {"chat", "talk"}, id="alternatives"),
        pytest.param("chat|ta(?:lk|ck)", "tack", {"chat", "ta"}, id="alternatives in alternatives"),
        pytest.param("(?:ab|cd)(?:efg|hij)", "abefg", {"efg", "hij"}, id="the better alternatives"),
        pytest.param("web(?:chat|talk)", "webtalk", {"chat", "talk"}, id="alternatives that say more"),
        pytest.param("chat|chit", "chit", {"ch"}, id="alternatives that begin alike"),
        pytest.param("chat|chatroom", "chat", {"chat"}, id="one alternative is the beginning of the other"),
        pytest.param("(?:chat|)room", "room", {"room"}, id="an empty alternative"),
        pytest.param("chats?room", "chatroom", {"chat"}, id="an option"),
        pytest.param("(?:chat)+", "chat", {"chat"}, id="once or more"),
        pytest.param("(?:chat)+?x", "chatx", {"chat"}, id="once or more, lazily"),
        pytest.param("(?:chat)++x", "chatx", {"chat"}, id="once or more, possessively"),
        pytest.param("(?:chat){2,3}+", "chatchat", {"chat"}, id="counted"),
        pytest.param("chat{2}room", "chattroom", {"room"}, id="the last letter counted"),
        pytest.param("chat{0}room", "charoom", {"room"}, id="the last letter not at all"),
        pytest.param("(?:web|chat{0,2})room", "webroom", {"room"}, id="optional and alternative"),
        pytest.param("(?=chat)chatroom", "chatroom", {"chatroom"}, id="a look ahead"),
        pytest.param("(?!webchat)room", "room", {"room"}, id="what must not come"),
        pytest.param("(?<=ab)cde", "abcde", {"cde"}, id="a look behind"),
        pytest.param("(?<!webchat)room", "room", {"room"}, id="what must not have been"),
        pytest.param(r"(ab)cde\1", "abcdeab", {"abcde"}, id="a back reference"),
        pytest.param("(?i)ChAt", "cHaT", {"chat"}, id="in any case"),
        pytest.param("(?i:ChAt)Room", "cHaTRoom", {"chatroom"}, id="a part in any case"),
        pytest.param("(?i)web(chat|talk)", "WEBTALK", {"chat", "talk"}, id="alternatives in any case"),
        pytest.param("|".join(f"[x]{n:02}" for n in range(50)), "x07", {f"{n:02}" for n in range(50)}, id="many"),
    ],
)
def test_required_literals(pattern: str, text: str, expected: set[str]) -> None:
    assert required_literals(pattern) == expected
    assert regex.search(pattern, text), "the example is none"
    assert any(literal in text.lower() for literal in expected)


NOTHING_REQUIRED: Final = [
    pytest.param("", "x", id="an empty pattern"),
    pytest.param("a", "a", id="a single character"),
    pytest.param("a.b.c", "axbxc", id="single characters"),
    pytest.param("chat|", "x", id="an empty alternative at the end"),
    pytest.param("|chat", "x", id="an empty alternative at the start"),
    pytest.param("chat||talk", "x", id="an empty alternative between"),
    pytest.param("chat|a|talk", "a", id="a short alternative"),
    pytest.param("(?:chat|[a-z]+)", "x", id="an alternative that is a class"),
    pytest.param("(?:chat)*", "x", id="any number"),
    pytest.param("(?:chat)?", "x", id="optional"),
    pytest.param("(?:chat){0,3}", "x", id="none to three"),
    pytest.param("(?:chat){,3}", "x", id="up to three"),
    pytest.param("(?:chat){0}", "x", id="none"),
    pytest.param("(?:(?:chat)+)*", "x", id="any number of once or more"),
    pytest.param(".*", "x", id="anything"),
    pytest.param("(?=chat)", "chat", id="only a look ahead"),
    pytest.param("(?!chat)", "x", id="only a look at what must not come"),
    pytest.param("(?<=chat)", "chat", id="only a look behind"),
    pytest.param("\u00e4\u00f6\u00fc", "\u00e4\u00f6\u00fc", id="not ASCII"),
    pytest.param("|".join(f"[x]{n:02}" for n in range(51)), "x07", id="too many alternatives"),
]


@pytest.mark.parametrize(("pattern", "text"), NOTHING_REQUIRED)
def test_nothing_is_required(pattern: str, text: str) -> None:
    assert required_literals(pattern) == frozenset()
    assert regex.search(pattern, text), "the example is none"


OTHERWISE: Final = [
    pytest.param("(?:chat){e<=1}", "chit", id="fuzzy matching"),
    pytest.param("(?:chat){i<=1,d<=1,s<=1}", "cht", id="fuzzy matching, by kind"),
    pytest.param("(?:chat){1i+1d<2}", "cht", id="fuzzy matching, by cost"),
    pytest.param("(?b)(?:chat){e}", "chit", id="fuzzy matching, the best"),
    pytest.param(r"chat\N{DIGIT ONE}{0}room", "chatroom", id="a named character"),
    pytest.param(r"\N{LATIN SMALL LETTER C}\N{LATIN SMALL LETTER A}", "ca", id="only named characters"),
    pytest.param(r"\p{Ll}\p{Ll}", "ab", id="a class of Unicode"),
    pytest.param(r"[\p{Ll}&&\p{L}]chat", "xchat", id="a class of Unicode in a class"),
    pytest.param(r"\pLchat", "xchat", id="a class of Unicode without braces"),
    pytest.param("(?V1)[[a-z]--[c]]hat", "what", id="a difference of sets"),
    pytest.param("(?V1)[[a-z]&&[w]]hat", "what", id="a common part of sets"),
    pytest.param("(?V1)[a-z||0-9]hat", "7hat", id="a union of sets"),
    pytest.param("[[:alpha:]]chat", "xchat", id="a class of POSIX"),
    pytest.param("[^[:digit:]]chat", "xchat", id="a negated class of POSIX"),
    pytest.param("[[:^digit:]]chat", "xchat", id="a class of POSIX, negated inside"),
    pytest.param("[_[:alnum:]]chat", "xchat", id="a class of POSIX behind a character"),
    pytest.param("[a-z[:digit:]]chat", "7chat", id="a class of POSIX behind a range"),
    pytest.param("[.[:digit:]-]chat", "-chat", id="a class of POSIX between characters"),
    pytest.param("[^/[:space:]]+chat", "xchat", id="a class of POSIX, repeated"),
    pytest.param("(?i)[x[:digit:]]CHAT", "7chat", id="a class of POSIX in any case"),
    pytest.param("(?x) ch at # [a]", "chat", id="blanks and comments"),
    pytest.param("(?x:ch at)", "chat", id="blanks in a group"),
    pytest.param("(?ix) ch\x1cat", "chat", id="a separator that is a blank"),
    pytest.param("(?ix: ch\x1dat )", "chat", id="a separator that is a blank, in a group"),
    pytest.param("(?ix)ab ca\x85*", "abc", id="a repeated character behind a blank of Unicode"),
    pytest.param("(?#chat)ab(?#talk)c", "abc", id="a comment"),
    pytest.param("(?<name>chat|x)", "x", id="a group named in the other way"),
    pytest.param("(?|(chat)|(x))", "x", id="a branch reset"),
    pytest.param("(?P<name>a|chat)(?P=name)", "aa", id="a named back reference"),
    pytest.param(r"(?P<name>a|chat)\g<name>", "aa", id="a named back reference, in the other way"),
    pytest.param("(?P<n>a)|(?P<n>chat)", "a", id="two groups of a name"),
    pytest.param("(chat)?(?(1)room|talk)", "talk", id="a condition"),
    pytest.param("(?(DEFINE)(?P<n>chat))(?&n)|x", "x", id="a definition"),
    pytest.param("a(?:b(?R)?c)?d", "ad", id="a recursion"),
    pytest.param("(a|b)chat(?1)", "achatb", id="a call of a group"),
    pytest.param(r"chat\Kroom", "chatroom", id="a match that starts later"),
    pytest.param(r"\Gchat", "chat", id="where the search began"),
    pytest.param(r"\mchat\M", "chat", id="the ends of a word"),
    pytest.param(r"chat\R", "chat\n", id="the end of a line"),
    pytest.param(r"chat\X", "chatx", id="a grapheme"),
    pytest.param(r"chat\hroom", "chat room", id="a blank"),
    pytest.param("(?r)chat", "chat", id="backwards"),
    pytest.param("chat(?i)room", "chatROOM", id="in any case from the middle on"),
    pytest.param("(?iL)chat", "CHAT", id="by the locale"),
    pytest.param("(?fi)stra\u00dfe", "STRASSE", id="two letters for one"),
    pytest.param("(?V1i)\ufb03", "ffi", id="three letters for one"),
    pytest.param("(?:chat|x){1,}+(*PRUNE)", "x", id="a verb"),
    pytest.param("chat{,2}", "cha", id="no more than two"),
    pytest.param("chat{ 0 }", "chat{ 0 }", id="a count with blanks, which is none"),
]


@pytest.mark.parametrize(("pattern", "text"), OTHERWISE)
def test_what_regex_reads_in_its_own_way_is_not_overlooked(pattern: str, text: str) -> None:
    assert regex.search(pattern, text), "the example is none"
    assert not overlooked(pattern, text), required_literals(pattern)


def test_a_named_list_is_not_overlooked() -> None:
    """It cannot stand in a policy, since nothing gives it its words."""
    assert regex.search(r"\L<words>", "chat", words=["chat"])
    assert required_literals(r"\L<words>") == frozenset()


@pytest.mark.parametrize(
    "pattern", ["(", "chat)", "[a", "*chat", "chat{2,1}", "\\", "(?P<n>chat)(?P<n>x)", "(?ia)(?iu)chat"]
)
def test_a_pattern_that_is_none_requires_nothing(pattern: str) -> None:
    assert required_literals(pattern) == frozenset()


@given(st.text("(|)", max_size=40) | st.text("ab(?:i)[^]{}0123,*+|\\xw<>P=!-#& "))
@example("(" * 2000 + ")" * 2000)
@example("a{99999999999999999999}")
def test_any_pattern_is_read_without_a_fault(pattern: str) -> None:
    assert all(len(literal) > 1 and literal == literal.lower() for literal in required_literals(pattern))


# ---- patterns at random ---------------------------------------------------------------------------------------------


class Piece(NamedTuple):
    """A pattern, and a text in which it is (nearly always) found."""

    pattern: str
    text: str


def pieces(*rows: str) -> list[Piece]:
    """Reads `pattern text`, the text without a blank; without a text it fits between two characters."""
    return [Piece(*(row.rsplit(" ", 1) if " " in row else (row, ""))) for row in rows]


ATOMS: Final = pieces(
    ". x", r"\d 7", r"\w b", r"\D c", r"\W /", "[ab] b", "[a-c] c", "[^a] b", "[a] a", "[]a] ]", "[^]a] b", r"[\d.] .",
    r"[\]] ]", "[^[] a", "[[] [", "[#a] #", "[(?x] x", "[b{2}] 2", r"\x61 a", r"\141 a", r"\u0061 a", r"\- -", r"\/ /",
    "^", "$", r"\b", r"\B", r"\A", r"\Z", "(?:)", "()", "(?=)", "(?!bc)", "(?<!ab)", "(?<=)",
)  # fmt: skip
FOREIGN: Final = pieces(
    r"\m", r"\M", r"\G", r"\K", "(?#ab)", "(?i)", "(?r)", r"\X a", r"\N a", r"\N{DIGIT ONE} 1", r"\p{Ll} a",
    "[[:alpha:]] b", "[[:^digit:]] b", "[a[:digit:]] 7", "[^[:digit:]] b", "[^/[:space:]] b", "(?:ab){e<=1} b",
    "(?:ab){,2}", "(?<n>ab) ab", "(?P<n>ab)(?P=n) abab", "(?|(ab)|c) c", "(ab)?(?(1)a|c) c", "(?x: ab a) aba",
    "(?(?=x)ab|c) c", "(?:x(?R)y)?", "(?s-i:ab) ab",
)  # fmt: skip
"""What Python's own `re` does not know, or knows as something else."""
FLAGS: Final = ("", "", "", "(?i)")
RARE_FLAGS: Final = (
    "(?ix)", "(?ix)", "(?is)", "(?ia)", "(?s)", "(?m)", "(?x)", "(?V1)", "(?r)", "(?fi)", "(?b)", "(?V1i)", "(?iw)",
)  # fmt: skip
BLANKS: Final = ("", " ", "\n", " # ab\n", "\t\x0b", "\x1c", "\x85", "\u2003")
GROUPS: Final = (
    "(?:{})", "({})", "(?>{})", "(?P<name>{})", "(?i:{})", "(?is:{})", "(?={}).*", "(?:{}|)", "(?:|{})", "(?:zz|{})",
    "(?:{}|[a-c]b)", "(?:(?:{})|a)", "(?!{}z)",
)  # fmt: skip
REPEATS: Final = (
    ("", 1), ("", 1), ("*", 0), ("*", 2), ("+", 1), ("+", 2), ("?", 0), ("?", 1), ("{2}", 2), ("{0}", 0), ("{1,2}", 2),
    ("{0,2}", 0), ("{1,}", 1),
)  # fmt: skip


@st.composite
def literals(draw: st.DrawFn) -> Piece:
    text = draw(st.text("abcAB7./:-_ #", min_size=2, max_size=5))
    return Piece(re.escape(text), text)


@st.composite
def groups(draw: st.DrawFn, depth: int) -> Piece:
    """Pieces side by side, or one of some alternatives, in a group with a count; lazy, greedy or possessive."""
    inner = draw(st.lists(any_piece(depth), min_size=1, max_size=3))
    if draw(st.integers(0, 2)):
        pattern, text = "".join(piece.pattern for piece in inner), "".join(piece.text for piece in inner)
    else:
        pattern, text = "|".join(piece.pattern for piece in inner), draw(st.sampled_from(inner)).text
    count, times = draw(st.sampled_from(REPEATS))
    manner = draw(st.sampled_from(("", "", "?", "+"))) if count else ""
    return Piece(draw(st.sampled_from(GROUPS)).format(pattern) + count + manner, text * times)


def any_piece(depth: int) -> st.SearchStrategy[Piece]:
    return st.one_of(literals(), st.sampled_from(ATOMS), *([groups(depth - 1)] if depth else []))


@st.composite
def patterns(draw: st.DrawFn) -> Piece:
    """Some pieces around a text; in some of them a foreign one is among them, or a flag is."""
    found = [*draw(st.lists(any_piece(2), max_size=3)), draw(literals()), *draw(st.lists(any_piece(2), max_size=2))]
    kind = draw(st.integers(0, 5))
    if kind == 0:
        found.insert(draw(st.integers(0, len(found))), draw(st.sampled_from(FOREIGN)))
    flags = draw(st.sampled_from(RARE_FLAGS if kind == 1 else FLAGS))
    blank = draw(st.sampled_from(BLANKS)) if "x" in flags else ""
    return Piece(flags + blank.join(piece.pattern for piece in found), "".join(piece.text for piece in found))


@settings(max_examples=500)
@given(
    piece=patterns(),
    change=st.sampled_from((str, str, str.swapcase, str.upper)),
    around=st.sampled_from((("", ""), ("", ""), ("a", "b"), ("/", ""), (" ", " "), ("", "7"))),
    typo=st.none() | st.none() | st.none() | st.tuples(st.integers(0, 20), st.text("abcX7/", max_size=1)),
)
def test_whatever_is_found_holds_a_required_literal(
    piece: Piece, change: Callable[[str], str], around: tuple[str, str], typo: tuple[int, str] | None
) -> None:
    """In a text made for the pattern, also with another case, with something around it, and with a typing error."""
    text = around[0] + change(piece.text) + around[1]
    if typo is not None:
        text = text[: typo[0]] + typo[1] + text[typo[0] + 1 :]
    try:
        found = is_found(piece.pattern, text)
    except regex.error:  # what cannot be repeated
        reject()
    event(f"found: {found}, requires: {bool(required_literals(piece.pattern))}")
    assert not overlooked(piece.pattern, text)


TOKENS: Final = (
    *"abAB71 :-[]{}^$.*+?|()\\<>=!#&~,/\n\x1c", "ab", "bc", "(?i)", "(?ix)", "(?i:", "(?is-x:", "(?:", "(?=", "(?!",
    "(?<=", "(?<!", "(?P<n>", "(?>", ")", ")", ")", "{2}", "{0}", "{1,}", "{0,1}", "++", "*+", "+?", "??", r"\b", r"\d",
    r"\W", r"\1", r"\x41", r"\101", r"\07", r"\12", r"\[", r"\]", "[ab]", "[^", "[a-", "[[:", ":]", "alpha:]", "&&",
    "--", "||",
)  # fmt: skip


@settings(max_examples=500)
@given(
    st.sampled_from(("", "(?i)", "(?ix)")),
    st.lists(st.sampled_from(TOKENS), max_size=9),
    st.randoms(use_true_random=False),
)
def test_a_heap_of_tokens_is_not_overlooked(flags: str, tokens: list[str], random: Random) -> None:
    """Most are no patterns; of the others some are found in what is left of them when characters are taken away."""
    pattern = flags + "".join(tokens)
    try:
        regex.compile(pattern)
    except regex.error:
        return
    for _ in range(5):
        text = "".join(c for c in pattern.removeprefix(flags) if random.random() < 0.7)
        assert not overlooked(pattern, text)


REAL: Final = [
    r"^https?://chat[0-9]+\.example\.net/",
    r"^https?://([a-z0-9-]+\.)*(web|www)?chat\d*\.example\.(com|net|org)(:\d+)?/",
    r"(?i)/(webmessenger|web-messenger|msgr)(/|\?|$)",
    r"^[a-z0-9.-]+:(1863|5190|5222)$",
    r"[?&]sid=[0-9a-f]{8}(&|$)",
    r"(?i)^http://[^/]+/gateway/gateway\.dll\?(Action|SessionID)=",
    r"(?:icq|aim|yahoo|msn)(?:-?(?:web|chat|im))+",
    r"/(?P<app>im|chat)/v\d+/(?:send|recv|poll)\.(?:php|aspx?|jsp)",
    r"(^|\.)(?:t|telegram)\.me(:443|/|$)",
    r"https?://(?=[^/]*chat)(?!.*support).*chat",
    r"\.(?:jpe?g|gif|png)\?.*\bim=1\b",
    r"(chat|talk)\.(?:\1)\.example",
]


@settings(max_examples=30)
@pytest.mark.parametrize("pattern", REAL)
@given(data=st.data())
def test_what_people_write_is_not_overlooked(pattern: str, data: st.DataObject) -> None:
    """Texts are made from the pattern as `re` reads it."""
    text = data.draw(st.from_regex(pattern, alphabet=st.characters(min_codepoint=32, max_codepoint=126)))
    assume(regex.search(pattern, text))  # no text is made for what is looked at ahead
    assert not overlooked(pattern, text)


# ---- which expressions are run --------------------------------------------------------------------------------------


def made(patterns: list[str], account: Account | None = None) -> Expressions:
    """Expressions as a program has them."""
    with_literals = [(pattern, tuple(required_literals(pattern))) for pattern in patterns]
    return Expressions(with_literals, account or Account(BURST))


class Spy:
    """Stands for `regex`: notes which expressions are run, and lets some of them take too long."""

    def __init__(self) -> None:
        self.run: list[str] = []
        self.slow: set[str] = set()

    def compile(self, pattern: str) -> "SpiedPattern":
        return SpiedPattern(self, pattern)

    def runs_of(self, expressions: Expressions, url: str, now: float = NOW) -> list[str]:
        """Which expressions one search runs, however it ends."""
        self.run.clear()
        with suppress(ExpressionTimeoutError):
            expressions.search(url, now)
        return list(self.run)


class SpiedPattern:
    """A compiled expression that tells when it is run."""

    def __init__(self, spy: Spy, pattern: str) -> None:
        self.pattern = pattern
        self._spy = spy

    def search(self, text: str, timeout: float) -> object:
        assert timeout == TIMEOUT
        self._spy.run.append(self.pattern)
        if self.pattern in self._spy.slow:
            raise TimeoutError
        return regex.search(self.pattern, text)


@pytest.fixture
def spy(monkeypatch: pytest.MonkeyPatch) -> Spy:
    spy = Spy()
    monkeypatch.setattr(regex, "compile", spy.compile)
    return spy


@pytest.mark.parametrize(
    ("patterns", "url", "expected"),
    [
        pytest.param(["chat", "talk"], "http://x.example/", [], id="no literal is there"),
        pytest.param(["chat", "talk"], "http://x.example/talk", ["talk"], id="one literal is there"),
        pytest.param(["chat", "talk"], "http://x.example/TALK", ["talk"], id="in capitals"),
        pytest.param(["CHAT"], "http://x.example/cHaT", ["CHAT"], id="a pattern in capitals"),
        pytest.param(["chat|talk"], "http://x.example/talk", ["chat|talk"], id="one of several literals"),
        pytest.param(["chat[0-9]x", "talk"], "http://chat.example/", ["chat[0-9]x"], id="a literal is no match"),
        pytest.param(["chat1", "chat2"], "http://x.example/chat", [], id="the beginning of a literal"),
        pytest.param(["webchat.z", "chat.z", "hat.z"], "http://a/chat", ["chat.z", "hat.z"], id="literals in literals"),
        pytest.param(["webc.z", "ebch.z", "at.z"], "http://webchat/", ["webc.z", "ebch.z", "at.z"], id="they overlap"),
        pytest.param(["chat1.x", "chat1.y"], "http://chat1/", ["chat1.x", "chat1.y"], id="two with one literal"),
        pytest.param(["[0-9]$", "."], "x", ["[0-9]$", "."], id="without literals, always"),
        pytest.param(["chat", "[0-9]$", "talk"], "http://x.example/", ["[0-9]$"], id="without literals, among others"),
        pytest.param(["talk$", "[0-9]$", "chat"], "http://talk.example/", ["talk$", "[0-9]$"], id="both, in order"),
        pytest.param(["[0-9]$", "talk$", "a?z"], "http://talk/", ["[0-9]$", "talk$", "a?z"], id="still in order"),
        pytest.param(
            ["chat", "talk"], "http://x.example/\u00e4", ["chat", "talk"], id="all where the URL is not ASCII"
        ),
        pytest.param([], "http://x.example/", [], id="no expressions"),
    ],
)
def test_an_expression_is_run_where_its_literal_is_seen(
    spy: Spy, patterns: list[str], url: str, expected: list[str]
) -> None:
    assert spy.runs_of(made(patterns), url) == expected


@pytest.mark.parametrize(
    ("patterns", "url", "expected"),
    [
        pytest.param(["chat", "talk"], "http://talk/chat", "chat", id="the order of the expressions, not of the URL"),
        pytest.param(["talk", "chat"], "http://talk/chat", "talk", id="the other order"),
        pytest.param([f"chat{n:02}" for n in range(99)], "chat96 chat64 chat01", "chat01", id="one of many"),
        pytest.param(["[a-z]+", "chat"], "http://chat/", "[a-z]+", id="first one without a literal"),
        pytest.param(["chat", "[a-z]+"], "http://chat/", "chat", id="first one with a literal"),
        pytest.param(["chat[0-9]", "chat"], "http://chat/", "chat", id="the literal alone is no match"),
        pytest.param(["^chat", "talk"], "http://chat/", None, id="none"),
        pytest.param(["Chat"], "http://chat/", None, id="the case counts"),
        pytest.param(["(?i)Chat"], "http://chat/", "(?i)Chat", id="unless it does not"),
        pytest.param(["(?i)chats"], "http://CHAT\u017f/", "(?i)chats", id="a letter whose lower case is another"),
        pytest.param([], "http://chat/", None, id="no expressions"),
    ],
)
def test_the_first_expression_that_is_found_is_told(patterns: list[str], url: str, expected: str | None) -> None:
    assert made(patterns).search(url, NOW) == expected


@given(
    st.lists(st.sampled_from(["ab", "b[ac]", "abc?", "(a|b)c", "[abc]", "cab|ba", "(?:ca)+b", "bb.a", "(?i)AAB"])),
    st.text("abcC"),
)
def test_what_is_found_is_what_one_after_the_other_would_find(patterns: list[str], text: str) -> None:
    expected = next((pattern for pattern in patterns if regex.search(pattern, text)), None)
    assert made(patterns).search(text, NOW) == expected


# ---- an expression that takes too long ------------------------------------------------------------------------------

SLOW: Final = "slow.*chat"
OTHER: Final = "other"
URL: Final = "http://slow.example/chat"


def test_an_expression_that_never_ends_is_stopped_and_told() -> None:
    """The real thing: twice the ways to match for each letter, and at the end none of them does."""
    pattern = "^https?://(?:a|a)+$"
    expressions = made([pattern])
    with pytest.raises(ExpressionTimeoutError, match="took too long") as raised:
        expressions.search(f"http://{'a' * 60}b", NOW)
    assert pattern in str(raised.value)
    assert expressions.search("http://aaab", NOW + REST) is None


def test_it_is_not_run_again_before_it_has_rested(spy: Spy) -> None:
    spy.slow = {SLOW}
    expressions = made([SLOW])
    assert spy.runs_of(expressions, URL) == [SLOW]
    assert spy.runs_of(expressions, URL) == []
    assert spy.runs_of(expressions, "http://slow.example/another/chat", NOW + REST / 2) == []
    assert spy.runs_of(expressions, URL, NOW + REST - 0.001) == []
    assert spy.runs_of(expressions, URL, NOW + REST) == [SLOW]
    assert spy.runs_of(expressions, URL, NOW + REST + 0.001) == [], "it rests again"
    assert spy.runs_of(expressions, URL, NOW + 2 * REST) == [SLOW]


def test_as_long_as_it_rests_a_url_with_its_literal_could_not_be_looked_at(spy: Spy) -> None:
    spy.slow = {SLOW}
    expressions = made([SLOW])
    for now in (NOW, NOW + REST / 2):
        with pytest.raises(ExpressionTimeoutError) as raised:
            expressions.search(URL, now)
        assert SLOW in str(raised.value)
    assert expressions.search("http://x.example/", NOW + REST / 2) is None, "no literal of it is there"


def test_a_resting_one_without_literals_holds_up_every_url(spy: Spy) -> None:
    spy.slow = {"[0-9]$"}
    expressions = made(["[0-9]$"])
    assert spy.runs_of(expressions, URL) == ["[0-9]$"]
    with pytest.raises(ExpressionTimeoutError):
        expressions.search("http://x.example/", NOW + REST / 2)


def test_after_its_rest_it_is_found_where_it_is_quick(spy: Spy) -> None:
    spy.slow = {SLOW}
    expressions = made([SLOW])
    assert spy.runs_of(expressions, URL) == [SLOW]
    spy.slow = set()
    with pytest.raises(ExpressionTimeoutError):
        expressions.search(URL, NOW + REST / 2)
    assert expressions.search(URL, NOW + REST) == SLOW


@pytest.mark.parametrize("back", [0.001, 1.0, REST, 3600.0, 1e9])
def test_a_clock_that_is_put_back_does_not_prolong_its_rest(spy: Spy, back: float) -> None:
    spy.slow = {SLOW}
    expressions = made([SLOW])
    assert spy.runs_of(expressions, URL, NOW) == [SLOW]
    assert spy.runs_of(expressions, URL, NOW - back) == [SLOW]
    assert spy.runs_of(expressions, URL, NOW - back) == [], "it rests by the new clock"
    assert spy.runs_of(expressions, URL, NOW - back + REST) == [SLOW]


@pytest.mark.parametrize("patterns", [[SLOW, OTHER], [OTHER, SLOW], [SLOW, "[a-z]+$"]])
def test_another_one_that_is_found_wins(spy: Spy, patterns: list[str]) -> None:
    """In either order, and while the slow one rests, too."""
    spy.slow = {SLOW}
    expressions = made(patterns)
    other = next(pattern for pattern in patterns if pattern != SLOW)
    assert expressions.search(f"{URL}/other", NOW) == other
    assert expressions.search(f"{URL}/other", NOW + REST / 2) == other


def test_another_one_that_is_not_found_does_not_win(spy: Spy) -> None:
    spy.slow = {SLOW}
    expressions = made([SLOW, "chat[0-9]", "[A-Z]$"])
    with pytest.raises(ExpressionTimeoutError) as raised:
        expressions.search(URL, NOW)
    assert SLOW in str(raised.value)
    assert spy.run == [SLOW, "chat[0-9]", "[A-Z]$"]


def test_each_rests_by_itself(spy: Spy) -> None:
    spy.slow = {SLOW, OTHER}
    expressions = made([SLOW, OTHER])
    assert spy.runs_of(expressions, URL, NOW) == [SLOW]
    assert spy.runs_of(expressions, f"{URL}/other", NOW + REST / 2) == [OTHER]
    assert spy.runs_of(expressions, f"{URL}/other", NOW + REST) == [SLOW]
    assert spy.runs_of(expressions, f"{URL}/other", NOW + REST * 1.5) == [OTHER]


def test_two_lists_do_not_share_a_rest(spy: Spy) -> None:
    spy.slow = {SLOW}
    one, another = made([SLOW]), made([SLOW])
    assert spy.runs_of(one, URL) == [SLOW]
    assert spy.runs_of(another, URL) == [SLOW]


# ---- what they cost together ----------------------------------------------------------------------------------------


@pytest.fixture
def stopwatch(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Makes each search take this long."""
    ticks = count()

    def set_duration(seconds: float) -> None:
        monkeypatch.setattr(expressions_module.time, "perf_counter", lambda: next(ticks) * seconds)

    return set_duration


@pytest.mark.usefixtures("spy")
def test_who_takes_long_little_by_little_rests_too(stopwatch: Callable[[float], None]) -> None:
    expressions = made(["chat[0-9]"])
    stopwatch(TIMEOUT / 4)
    for _ in range(4):
        assert expressions.search("http://chat/", NOW) is None
    with pytest.raises(ExpressionTimeoutError, match="took too long"):
        expressions.search("http://chat/", NOW)
    assert expressions.search("http://chat/", NOW + REST) is None


@pytest.mark.usefixtures("spy")
def test_time_is_forgiven(stopwatch: Callable[[float], None]) -> None:
    expressions = made(["chat[0-9]"])
    stopwatch(TIMEOUT / 4)
    for n in range(100):
        assert expressions.search("http://chat/", NOW + n * REST / 4) is None


def test_all_together_they_cost_no_more_than_a_burst(spy: Spy, stopwatch: Callable[[float], None]) -> None:
    """Forty slow expressions for one URL take five turns, and then none for a while, those of other lists included."""
    patterns = [f"chat.{number}" for number in range(40)]
    spy.slow = set(patterns)
    account = Account(BURST)
    one, other = made(patterns, account), made(["talk.1"], account)
    stopwatch(TIMEOUT)
    assert len(spy.runs_of(one, "http://chat/")) == round(BURST / TIMEOUT)
    assert spy.runs_of(other, "http://talk/") == []
    assert spy.runs_of(other, "http://talk/", NOW + REST) == ["talk.1"]


def test_an_expression_is_compiled_when_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A list may have thousands, and a helper that takes one up is waited for."""
    compiled: list[str] = []
    compile_ = regex.compile
    monkeypatch.setattr(regex, "compile", lambda pattern: compiled.append(pattern) or compile_(pattern))
    expressions = made(["chat[0-9]", "talk[0-9]"])
    assert compiled == []
    assert expressions.search("http://chat1/", NOW) == expressions.search("http://chat1/", NOW) == "chat[0-9]"
    assert compiled == ["chat[0-9]"]
