"""Lines as rows: taken apart and put together again they are the same, and a part means what it means in its line."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from lines import ASKINGS, Asking, blocks

from squid_imhelper.base.errors import ImhelperError
from squid_imhelper.squid.rows import HEAD, Row, Rows, plain_targets, rows_of
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


@settings(max_examples=500)
@given(places=st.lists(_places, max_size=6))
@example(places=["http://www.example.com", "https://www.example.com:80", "http://example.com", "a.example:443"])
@example(places=["http:80", "https:80", "https://a.test:00", "a.test:0"])
@example(places=["WWW.xn--zz.example.com:443", "..example.com:80", "1.0x7f:80"])
def test_plain_targets_are_those_that_would_be_read(places: list[str]) -> None:
    """Each of them by itself, whatever stands beside it."""
    raw = [place.encode() for place in places]
    read = [place for place in raw if default_rows().read(b"7 a b " + place + b" -\n")[0][2] == place]
    found = plain_targets(read)
    assert found == [target for place in read for target in plain_targets([place])]
    for place, (host, port) in zip(read, found, strict=True):
        if not port:
            assert not host
            continue
        target = ACL.decode(place + b" -", ACL.parse_layout("%>ru"), False).request.target
        assert (target.host, target.port) == (host, port), place
        assert (target.path is None) == (b"://" not in place)


@pytest.mark.parametrize(
    ("place", "target"),
    [
        pytest.param(b"http://www.example.com", ("www.example.com", 80), id="a-URL"),
        pytest.param(b"https://www.example.com", ("www.example.com", 443), id="another-scheme"),
        pytest.param(b"https://a-b.c_d.example:8443", ("a-b.c_d.example", 8443), id="a-port"),
        pytest.param(b"http://-a.test:9999", ("-a.test", 9999), id="the-greatest-port"),
        pytest.param(b"www.a.example.com:443", ("www.a.example.com", 443), id="a-tunnel"),
        pytest.param(b"www.example.com:80", ("www.example.com", 80), id="a-tunnel-to-80"),
        pytest.param(b"http://a.test:80", ("", 0), id="the-port-of-its-scheme"),
        pytest.param(b"https://a.test:443", ("", 0), id="that-of-the-other"),
        pytest.param(b"http://a.test:10000", ("", 0), id="a-greater-port"),
        pytest.param(b"http://a.test:0", ("", 0), id="no-port"),
        pytest.param(b"http://a.test:080", ("", 0), id="a-port-spelt-otherwise"),
        pytest.param(b"a.test", ("", 0), id="a-tunnel-without-a-port"),
        pytest.param(b"http://www.Example.com", ("", 0), id="capitals"),
        pytest.param(b"10.0.0.1:443", ("", 0), id="an-address"),
        pytest.param(b"http://a.0x7f", ("", 0), id="an-address-spelt-otherwise"),
        pytest.param(b"http://a.xn--p1ai", ("", 0), id="a-name-in-ASCII"),
        pytest.param(b"http://xn--a.test", ("", 0), id="the-same-in-front"),
        pytest.param(b"http://host", ("", 0), id="one-label"),
        pytest.param(b"http://a.test.", ("", 0), id="a-dot-at-the-end"),
        pytest.param(b"http://a..test", ("", 0), id="an-empty-label"),
    ],
)
def test_which_places_are_plain(place: bytes, target: tuple[str, int]) -> None:
    """What is not is found out otherwise, and does not disturb its neighbours."""
    plain = b"http://plain.example"
    assert plain_targets([place]) == [target]
    assert plain_targets([plain, place, plain]) == [("plain.example", 80), target, ("plain.example", 80)]


def test_no_places_have_no_targets() -> None:
    assert plain_targets([]) == []


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
