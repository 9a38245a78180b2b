"""Lines as rows: taken apart and put together again they are the same, and a part means what it means in its line."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from lines import ASKINGS, Asking, blocks

from squid_imhelper.base.errors import ImhelperError
from squid_imhelper.squid.rows import HEAD, Row, Rows, end_of, plain_root, rows_of
from squid_imhelper.squid.wire import ACL, REWRITE, LineBuffer

NO_ROWS = {
    "arguments in the middle", "a composite URL", "quoted", "like a shell", "parts", "extras with arguments",
    "extras with names", "a host beside the URL",
}  # fmt: skip


def rows_for(asking: Asking) -> Rows | None:
    layout = asking.interface.parse_layout(asking.fields)
    return rows_of(layout, channels=asking.channels, rewriter=asking.interface is REWRITE)


def joined(rows: Rows, row: Row) -> bytes:
    channel, before, place, head, rest, after, odd = row
    if not place:
        return odd
    return b"".join((channel, rows.behind_channel, before, place, head, rest, b" ", after))


def default_rows(*, channels: bool = True) -> Rows:
    rows = rows_for(ASKINGS["default"]._replace(channels=channels))
    assert rows is not None
    return rows


@pytest.mark.parametrize("name", ASKINGS)
def test_which_layouts_can_be_read_as_rows(name: str) -> None:
    """Only those whose URL is a word of its own and all that says where to, with any arguments at the end."""
    assert (rows_for(ASKINGS[name]) is None) == (name in NO_ROWS)


READABLE = [pytest.param(asking, id=name) for name, asking in ASKINGS.items() if name not in NO_ROWS]


@pytest.mark.parametrize("asking", READABLE)
@given(data=st.data())
def test_rows_put_together_are_the_block(asking: Asking, data: st.DataObject) -> None:
    rows = rows_for(asking)
    assert rows is not None
    lines = data.draw(blocks(asking))
    assert [joined(rows, row) for row in rows.read(b"".join(line + b"\n" for line in lines))] == lines


@pytest.mark.parametrize("channels", [True, False])
@given(block=st.binary(max_size=200))
@example(block=b"")
@example(block=b"\n\n")
@example(block=b"7 a b http://c/ d - -\n\r\n")
@example(block=b"7 a b c:1 \n")
def test_rows_of_any_bytes_are_its_lines(channels: bool, block: bytes) -> None:
    rows = default_rows(channels=channels)
    whole = LineBuffer().feed(block + b"\n")
    found = [joined(rows, row) for row in rows.read(whole)]
    assert found == whole.split(b"\n")[:-1]


@pytest.mark.parametrize(
    ("line", "row"),
    [
        pytest.param(
            b"7 10.0.0.1 GET http://a.test:81/abcdefgh?x=1 UA%20x - -",
            (b"7", b"10.0.0.1 GET ", b"http://a.test:81", b"/abcdef", b"gh?x=1", b"UA%20x - -", b""),
            id="a URL",
        ),
        pytest.param(
            b"7 10.0.0.1 GET http://a.test - - -",
            (b"7", b"10.0.0.1 GET ", b"http://a.test", b"", b"", b"- - -", b""),
            id="no path",
        ),
        pytest.param(
            b"7 10.0.0.1 GET http://a.test/ - - -",
            (b"7", b"10.0.0.1 GET ", b"http://a.test", b"/", b"", b"- - -", b""),
            id="a short path",
        ),
        pytest.param(
            b"7 10.0.0.1 CONNECT a.test:443 - - -",
            (b"7", b"10.0.0.1 CONNECT ", b"a.test:443", b"", b"", b"- - -", b""),
            id="a tunnel",
        ),
        pytest.param(
            b"18446744073709551615 a b c:1 \xff\x00 \r",
            (b"18446744073709551615", b"a b ", b"c:1", b"", b"", b"\xff\x00 \r", b""),
            id="any bytes behind",
        ),
        *(
            pytest.param(line, (b"",) * 6 + (line,), id=name)
            for name, line in {
                "nothing": b"",
                "no channel": b"10.0.0.1 GET http://a.test/ - - -",
                "a long channel": b"1" * 21 + b" 10.0.0.1 GET http://a.test/ - - -",
                "two blanks": b"7 10.0.0.1  GET http://a.test/ - - -",
                "a blank in front": b" 7 10.0.0.1 GET http://a.test/ - - -",
                "a tab": b"7\t10.0.0.1 GET http://a.test/ - - -",
                "raw bytes in front": b"7 10.0.0.1 G\xc3\xa4T http://a.test/ - - -",
                "raw bytes in the path": b"7 10.0.0.1 GET http://a.test/\xff - - -",
                "an escape in the host": b"7 10.0.0.1 GET http://a%2etest/ - - -",
                "userinfo": b"7 10.0.0.1 GET http://u@a.test/ - - -",
                "an address in brackets": b"7 10.0.0.1 GET http://%5B::1%5D/ - - -",
                "a query behind the host": b"7 10.0.0.1 GET http://a.test?x - - -",
                "a backslash": b"7 10.0.0.1 GET http://a.test\\x - - -",
                "another scheme": b"7 10.0.0.1 GET ftp://a.test/ - - -",
                "a scheme in capitals": b"7 10.0.0.1 GET HTTP://a.test/ - - -",
                "a tunnel with a path": b"7 10.0.0.1 CONNECT a/.slack.com:443 - - -",
                "ssl_bump": b"7 :: NONE ://10.0.0.1:443 - - -",
                "no host": b"7 10.0.0.1 GET http:/// - - -",
                "nothing behind": b"7 10.0.0.1 GET http://a.test/",
            }.items()
        ),
    ],
)
def test_what_becomes_of_a_line(line: bytes, row: Row) -> None:
    """What is written in an unusual way stays whole."""
    assert default_rows().read(line + b"\n") == [row]


@pytest.mark.parametrize("length", range(HEAD + 3))
def test_where_a_path_is_cut(length: int) -> None:
    path = b"/" + b"x" * length
    ((_, _, _, head, rest, _, _),) = default_rows().read(b"7 a b http://c" + path + b" -\n")
    assert (head, rest) == (path[:HEAD], path[HEAD:])


_labels = st.sampled_from(
    [
        "a",
        "www",
        "example",
        "test",
        "com",
        "xn--a",
        "xn--e1afmkfd",
        "b_c",
        "-",
        "_",
        "0",
        "7",
        "0x7f",
        "1e",
        "x1",
        "",
        "A",
        "a" * 70,
    ]
)
_hosts = st.lists(_labels, min_size=1, max_size=5).map(".".join)
_ports = st.sampled_from(
    ["", "", ":80", ":443", ":1", ":0", ":00", ":080", ":9999", ":10000", ":65535", ":99999", ":", ":a", ":1:2"]
)
_places = st.builds("{}{}{}".format, st.sampled_from(["http://", "https://", ""]), _hosts, _ports)


@given(place=_places)
@example(place="http://www.example.com")
@example(place="https://www.example.com:80")
@example(place="www.example.com:443")
@example(place="http://example.com")
@example(place="http:80")
@example(place="WWW.xn--zz.example.com:443")
@example(place="..example.com:80")
def test_a_plain_end_is_that_of_the_host(place: str) -> None:
    raw = place.encode()
    root = plain_root(end_of(raw))
    rows = default_rows().read(b"7 a b " + raw + b" -\n")
    if root is None or rows[0][2] != raw:  # a line of another kind
        return
    target = ACL.decode(raw + b" -", ACL.parse_layout("%>ru"), False).request.target
    assert target.host == root or target.host.endswith(f".{root}")
    assert target.port in (80, 443)
    assert (target.path is None) == (b"://" not in raw)


@pytest.mark.parametrize(
    ("place", "root"),
    [
        pytest.param(b"http://www.example.com", "example.com", id="a-URL"),
        pytest.param(b"https://a-b.c_d.example:443", "c_d.example", id="a-port"),
        pytest.param(b"www.a.example.com:443", "example.com", id="a-tunnel"),
        pytest.param(b"WWW.example.com:443", "example.com", id="capitals-before-it"),
        pytest.param(b"www.Example.com:443", None, id="capitals"),
        pytest.param(b"10.0.0.1:443", None, id="an-address"),
        pytest.param(b"http://a.test:8080", None, id="another-port"),
        pytest.param(b"http://a.xn--p1ai", None, id="a-name-in-ASCII"),
        pytest.param(b"http://host", None, id="one-label"),
    ],
)
def test_which_ends_are_plain(place: bytes, root: str | None) -> None:
    assert plain_root(end_of(place)) == root


@pytest.mark.parametrize("asking", READABLE)
@given(data=st.data())
def test_a_part_means_in_a_probe_what_it_means_in_its_line(asking: Asking, data: st.DataObject) -> None:
    """As far as the probe fits: who asks, with what, and where to."""
    rows = rows_for(asking)
    assert rows is not None
    layout = asking.interface.parse_layout(asking.fields)
    block = b"".join(line + b"\n" for line in data.draw(blocks(asking)))
    for row in rows.read(block):
        _, before, place, head, rest, after, _ = row
        if not place or not rows.fits(after):
            continue
        try:
            query = asking.interface.decode(before + place + head + rest + b" " + after, layout, asking.intercepted)
            probe = asking.interface.decode(rows.probe.line(before, place, after), layout, asking.intercepted)
            alone = asking.interface.decode(rows.probe.line(before), layout, asking.intercepted).request
        except ImhelperError:
            continue
        if (query.request.target.path is None) != (b"://" not in place):  # CONNECT to a URL has another host
            continue
        assert probe.arguments == query.arguments
        one, other = query.request, probe.request
        assert one._replace(target=other.target) == other
        assert (one.target.host, one.target.port) == (other.target.host, other.target.port)
        told = [
            value for value in (alone.client, alone.user, alone.user_agent, alone.content_type) if value is not None
        ]
        assert set(told) <= {one.client, one.user, one.user_agent, one.content_type}
