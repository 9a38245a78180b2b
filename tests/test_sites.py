"""Site lists at work: the tries find what a slow loop over entries finds, and the same list makes the same bytes."""

import gc
import hashlib
import ipaddress
import mmap
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from squid_imhelper.base.addresses import merge, parse_interval
from squid_imhelper.base.model import Evidence, Interval, Request, SiteList
from squid_imhelper.base.urls import Target, normalise_host, normalise_path, parse_connect, parse_url
from squid_imhelper.matching.program import SiteTables
from squid_imhelper.matching.sites import LONGEST_NAME, AddressSet, Sites, any_evidence, compile_site_list
from squid_imhelper.sources.listfiles import site_url

NOW = 1_795_426_200.0


def intervals(*literals: str) -> tuple[Interval, ...]:
    return merge(parse_interval(literal)[0] for literal in literals)


def url_entry(host: str, port: int | None, path: str) -> str:
    """A URL as a list file or a policy would have it."""
    return site_url(Target("http", host, port, path, ""), with_port=port is not None)


def ask(url: str) -> Request:
    target = parse_url(url) if "://" in url else parse_connect(url)
    return Request(target, (target.host,))


def found(sites: SiteList, request: Request) -> str | None:
    """The evidence for the first name of a request, in one text."""
    evidence = Sites(compile_site_list(sites)).evidence(request, request.names[0], NOW)
    return " ".join(evidence) if evidence else None


# ---- named cases ----------------------------------------------------------------------------------------------------

WWW = SiteList("s", hosts=("www.example.org",))
DOMAIN = SiteList("s", domains=("example.org",))
CASES = [
    (DOMAIN, "http://example.org/", "site example.org"),
    (DOMAIN, "http://a.b.example.org/x?y", "site example.org"),
    (DOMAIN, "example.org:443", "site example.org"),
    (DOMAIN, "http://xexample.org/", None),
    (DOMAIN, "http://x-example.org/", None),
    (DOMAIN, "http://example.orgx/", None),
    (DOMAIN, "http://example.org.evil.example/", None),
    (DOMAIN, "http://org/", None),
    (DOMAIN, "http://example.net/example.org/", None),
    (DOMAIN._replace(domains=("example.org", "b.example.org")), "http://a.b.example.org/", "site b.example.org"),
    (DOMAIN._replace(domains=("org", "xexample.org")), "http://example.org/", "site org"),
    (WWW, "http://www.example.org/", "site www.example.org"),
    (WWW, "http://a.www.example.org/", None),
    (WWW, "http://example.org/", None),
    (WWW, "http://wwww.example.org/", None),
    (WWW, "http://www.example.org.evil.example/", None),
    (WWW, "http://x!.www.example.org/", None),
    (WWW, "http://!.www.example.org/", None),
    (WWW, "http://x$&'()*+,;=~_-.www.example.org/", None),
    (SiteList("s", hosts=("x!.example.org",)), "http://x!.example.org/", "site x!.example.org"),
    (SiteList("s", hosts=("192.0.2.1",)), "http://192.0.2.1/", "site 192.0.2.1"),
    (SiteList("s", hosts=("192.0.2.1",)), "http://192.0.2.11/", None),
    (SiteList("s", hosts=("192.0.2.1",)), "http://[::ffff:192.0.2.1]/", "site 192.0.2.1"),
    (SiteList("s", hosts=("2001:db8::1",)), "http://[2001:DB8:0::1]/", "site 2001:db8::1"),
    (SiteList("s", hosts=("2001:db8::1",)), "http://[2001:db8::1:1]/", None),
]


@pytest.mark.parametrize(
    ("sites", "url", "evidence"),
    [pytest.param(*case, id=f"{case[0].domains or case[0].hosts} {case[1]}") for case in CASES],
)
def test_names(sites: SiteList, url: str, evidence: str | None) -> None:
    """A domain stands for all below it, a host for itself alone."""
    assert found(sites, ask(url)) == evidence


URL_CASES = [
    (("example.org", None, "/chat"), "http://example.org/chat", True),
    (("example.org", None, "/chat"), "http://example.org/chat/", True),
    (("example.org", None, "/chat"), "http://example.org/chat/a/b?c", True),
    (("example.org", None, "/chat"), "http://example.org/chat?c", True),
    (("example.org", None, "/chat"), "http://www.example.org//chat", True),
    (("example.org", None, "/chat"), "https://example.org:8443/chat", True),
    (("example.org", None, "/chat"), "http://example.org/chatter", False),
    (("example.org", None, "/chat"), "http://example.org/cha", False),
    (("example.org", None, "/chat"), "http://example.org/Chat", False),
    (("example.org", None, "/chat"), "http://example.org/a/chat", False),
    (("example.org", None, "/chat"), "http://example.org/?/chat", False),
    (("example.org", None, "/chat"), "http://xexample.org/chat", False),
    (("example.org", None, "/chat"), "http://example.org.evil.example/chat", False),
    (("example.org", None, "/chat"), "example.org:443", False),
    (("example.org", None, "/"), "http://a.example.org/", True),
    (("example.org", None, "/"), "http://example.org/any/thing", True),
    (("example.org", None, "/"), "example.org:80", False),
    (("example.org", 8080, "/chat"), "http://www.example.org:8080/chat/a", True),
    (("example.org", 8080, "/chat"), "http://example.org/chat", False),
    (("example.org", 8080, "/chat"), "http://example.org:808/chat", False),
    (("example.org", 808, "/chat"), "http://example.org:8080/chat", False),
    (("example.org", 80, "/"), "http://example.org/a", True),
    (("example.org", 80, "/"), "https://example.org/a", False),
    (("192.0.2.1", None, "/chat"), "http://192.0.2.1/chat", True),
    (("192.0.2.1", None, "/chat"), "http://1.192.0.2.1.example/chat", False),
    (("2001:db8::1", None, "/chat"), "http://[2001:db8::1]:8080/chat", True),
    (("2001:db8::1", 8080, "/chat"), "http://[2001:db8::1]:8080/chat", True),
    (("2001:db8::1", 8080, "/chat"), "http://[2001:db8::1]/chat", False),
    (("2001:db8::1", 8080, "/chat"), "http://[2001:db8::1:8080]/chat", False),
    (("2001:db8::1:8080", None, "/chat"), "http://[2001:db8::1]:8080/chat", False),
    (("2001:db8::1:8080", None, "/chat"), "http://[2001:db8::1:8080]/chat", True),
]


@pytest.mark.parametrize(
    ("entry", "url", "expected"), [pytest.param(*case, id=f"{url_entry(*case[0])} {case[1]}") for case in URL_CASES]
)
def test_urls(entry: tuple[str, int | None, str], url: str, expected: bool) -> None:
    """On label boundaries on the left, on segment boundaries on the right; with a port, on that one only."""
    text = url_entry(*entry)
    assert found(SiteList("s", urls=(text,)), ask(url)) == (f"site {text}" if expected else None)


@pytest.mark.parametrize(
    ("left_out", "evidence"),
    [
        pytest.param(set(), "site example.org", id="domain"),
        pytest.param({"domains"}, "site example.org/chat", id="url"),
        pytest.param({"domains", "urls"}, "site 8080", id="port"),
        pytest.param({"domains", "urls", "ports"}, "regex chat", id="regex"),
        pytest.param({"domains", "urls", "ports", "regex"}, None, id="nothing"),
    ],
)
def test_the_cheap_entries_are_asked_first(left_out: set[str], evidence: str | None) -> None:
    entries = {"domains": ("example.org",), "urls": ("example.org/chat",), "ports": (8080,), "regex": ("chat",)}
    sites = SiteList("s", **{key: value for key, value in entries.items() if key not in left_out})
    assert found(sites, ask("http://www.example.org:8080/chat")) == evidence


def test_an_address_is_in_a_network_and_a_name_is_not() -> None:
    sites = SiteList("s", networks=intervals("192.0.2.0/24", "2001:db8::/32"))
    urls = ["http://192.0.2.9/", "http://[2001:db8::9]/", "http://192.0.3.9/", "http://192.0.2.9.example/"]
    assert [found(sites, ask(url)) for url in urls] == ["site 192.0.2.9", "site 2001:db8::9", None, None]


def test_an_expression_sees_the_name_that_is_asked_for() -> None:
    """Not only the host of the URL: an SNI is a name, too."""
    sites = Sites(compile_site_list(SiteList("s", regex=(r"^sni\.example:443$",))))
    request = ask("192.0.2.1:443")
    assert sites.evidence(request, "sni.example", NOW) == Evidence("regex", r"^sni\.example:443$")
    assert sites.evidence(request, "192.0.2.1", NOW) is None


def test_of_several_lists_the_first_that_fits_is_told() -> None:
    lists = [Sites(compile_site_list(SiteList("s", domains=(name,)))) for name in ("other", "example", "a.example")]
    assert any_evidence(lists, ask("http://a.example/"), "a.example", NOW) == Evidence("site", "example")
    assert any_evidence(lists[:1], ask("http://a.example/"), "a.example", NOW) is None
    assert any_evidence([], ask("http://a.example/"), "a.example", NOW) is None


@pytest.mark.parametrize(
    ("name", "evidence"),
    [
        pytest.param("a." * 40_000 + "chat.example", "site chat.example", id="many labels"),
        pytest.param("a" * 80_000 + ".chat.example", "site chat.example", id="one label"),
        pytest.param("." * 80_000 + "chat.example", "site chat.example", id="dots"),
        pytest.param("a" * 80_000 + "chat.example", None, id="no boundary"),
        pytest.param("a" * (LONGEST_NAME - len("chat.example")) + "chat.example", None, id="cut off nowhere"),
        pytest.param("a" * (LONGEST_NAME - len("chat.example") + 1) + "chat.example", None, id="cut off by one"),
        pytest.param("chat.example." * 7_000 + "x", None, id="at the beginning"),
    ],
)
def test_of_a_name_longer_than_any_the_end_is_looked_up(name: str, evidence: str | None) -> None:
    """An SNI may have 60 KB."""
    sites = SiteList("s", domains=("chat.example",), hosts=("host.example",), urls=("url.example/chat",))
    target = parse_url("http://a.example/chat")
    assert found(sites, Request(target, (name,))) == evidence
    for other in ("host.example", "xurl.example"):
        assert found(sites, Request(target, ("a." * 40_000 + other,))) is None


# ---- the slow loop --------------------------------------------------------------------------------------------------


class Written(NamedTuple):
    """A site list as somebody thinks of it: URLs are (host, port or None, path), networks CIDRs."""

    domains: list[str]
    hosts: list[str]
    urls: list[tuple[str, int | None, str]]
    networks: list[str]
    ports: list[int]
    regex: list[str]

    def site_list(self) -> SiteList:
        return SiteList(
            "s",
            tuple(self.domains),
            tuple(self.hosts),
            tuple(url_entry(*url) for url in self.urls),
            tuple(self.regex),
            intervals(*self.networks),
            tuple(self.ports),
        )


def is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def labels_end(name: str, domain: str) -> bool:
    """Whether the labels of a name end in those of a domain; an address has none."""
    if is_address(name) or is_address(domain):
        return name == domain
    wanted = domain.split(".")
    return name.split(".")[-len(wanted) :] == wanted


def segments_begin(path: str, wanted: str) -> bool:
    """Whether a path is another one, or below it."""
    parts = [part for part in wanted.split("/") if part]
    return path.split("/")[1 : len(parts) + 1] == parts


def slowly(written: Written, request: Request, name: str) -> list[Evidence]:
    """What may be told as evidence, entry by entry; nothing where the request is not on the list."""
    target = request.target
    domains = [domain for domain in written.domains if labels_end(name, domain)]
    names = domains + [host for host in written.hosts if name == host]
    if names:
        return [Evidence("site", max(names, key=len))]
    urls = [
        Evidence("site", url_entry(host, port, path))
        for host, port, path in written.urls
        if labels_end(name, host)
        and port in (None, target.port)
        and target.path is not None
        and segments_begin(target.path, path)
    ]
    if urls:
        return urls
    if is_address(name) and any(ipaddress.ip_address(name) in ipaddress.ip_network(text) for text in written.networks):
        return [Evidence("site", name)]
    if target.port in written.ports:
        return [Evidence("site", str(target.port))]
    seen = target._replace(host=name).url
    return [Evidence("regex", pattern) for pattern in written.regex if re.search(pattern, seen)][:1]


labels = st.sampled_from(["a", "b", "ab", "ba", "a-b"])
plain_names = st.lists(labels, min_size=1, max_size=4).map(".".join)
addresses = st.sampled_from(
    ["192.0.2.1", "192.0.2.11", "2.192.0.2", "92.0.2.1", "2001:db8::1", "2001:db8::11", "2001:db8::1:80", "::1"]
)
ports = st.sampled_from([8, 80, 443, 808, 8080])
segments = st.lists(st.sampled_from(["a", "b", "ab"]), max_size=3)
lists = st.builds(
    Written,
    domains=st.lists(plain_names, max_size=3),
    hosts=st.lists(st.one_of(plain_names, addresses), max_size=3),
    urls=st.lists(
        st.tuples(
            st.one_of(plain_names, plain_names, addresses),
            st.one_of(st.none(), ports),
            segments.map(lambda parts: "/" + "/".join(parts)),
        ),
        max_size=3,
    ),
    networks=st.lists(st.sampled_from(["192.0.2.0/30", "192.0.2.11/32", "2001:db8::/124"]), max_size=2),
    ports=st.lists(ports, max_size=1),
    regex=st.lists(st.sampled_from(["^http://a", r"a\.b[:/]", r"^b:443$", "/ab/"]), max_size=2),
)
NEAR_NAMES = (
    lambda name: name,
    lambda name: f"a.{name}",
    lambda name: f"a{name}",
    lambda name: f"a-{name}",
    lambda name: f"{name}a",
    lambda name: f"{name}.a",
    lambda name: name[1:],
    lambda name: name[:-1],
    lambda name: name.partition(".")[2],
    lambda name: "a." * 600 + name,
    lambda name: "a" * 1100 + name,
    lambda name: "a" * 1100 + "." + name,
)
NEAR_PATHS = (
    lambda path: path,
    lambda path: f"{path}/",
    lambda path: f"{path}/a",
    lambda path: f"{path}a",
    lambda path: f"{path}/a" * 300,
    lambda path: f"/a{path}",
    lambda path: path[:-1],
    str.upper,
    lambda path: None,
)


@st.composite
def questions(draw: st.DrawFn, written: Written) -> Request:
    """A request for one of the entries, or nearly."""
    hosts = [*written.domains, *written.hosts, *(host for host, _, _ in written.urls)]
    name = draw(
        st.one_of(st.sampled_from(hosts), plain_names, addresses) if hosts else st.one_of(plain_names, addresses)
    )
    if not is_address(name):
        name = draw(st.sampled_from(NEAR_NAMES))(name).strip(".") or "a"
    own = [path for _, _, path in written.urls]
    path = draw(st.sampled_from(NEAR_PATHS))(draw(st.sampled_from([*own, "/", "/ab"])))
    own_ports = [port for _, port, _ in written.urls if port]
    port = draw(st.one_of(st.sampled_from([*own_ports, 80]), ports, st.none()))
    normal = None if path is None else normalise_path(path or "/")
    return Request(
        Target("" if normal is None else "http", name, port, normal, draw(st.sampled_from(["", "/ab/"]))), (name,)
    )


@given(st.data(), lists)
@settings(max_examples=700)
def test_the_tries_find_what_a_slow_loop_finds(data: st.DataObject, written: Written) -> None:
    sites = Sites(compile_site_list(written.site_list()))
    for _ in range(4):
        request = data.draw(questions(written))
        expected = slowly(written, request, request.names[0])
        evidence = sites.evidence(request, request.names[0], NOW)
        assert evidence in (expected or [None])


@given(st.text("ab.!/:-_~$&'()*+,;=%", min_size=1, max_size=8), st.sampled_from(["a", "a.b", "b.a"]))
@example("b!.a", "a")
@example("!.a", "a")
def test_hosts_and_domains_agree_with_the_loop_on_odd_names(text: str, entry: str) -> None:
    """Squid lets through what no DNS would serve."""
    name = normalise_host(text)
    request = Request(Target("http", name, 80, "/", ""), (name,))
    assert (found(SiteList("s", hosts=(entry,)), request) is not None) == (name == entry)
    assert (found(SiteList("s", domains=(entry,)), request) is not None) == labels_end(name, entry)


# ---- tables ---------------------------------------------------------------------------------------------------------

MANY = SiteList(
    "many",
    domains=tuple(f"{n % 97}.{n}.example" for n in range(3000)),
    hosts=tuple(f"www.{n}.example.org" for n in range(500)),
    urls=tuple(f"{n % 13}.example/{n}/chat" for n in range(500)),
    regex=("never", "ever[0-9]"),
    networks=intervals("192.0.2.0/24"),
    ports=(1, 2),
)


def test_a_list_without_entries_is_nothing() -> None:
    assert compile_site_list(SiteList("s")) == SiteTables()
    assert found(SiteList("s"), ask("http://example.org/")) is None


def test_what_is_no_name_is_kept_as_it_is() -> None:
    tables = compile_site_list(MANY)
    assert tuple(pattern for pattern, _ in tables.regex) == MANY.regex
    assert (tables.networks, tables.ports) == (MANY.networks, MANY.ports)


@pytest.mark.parametrize("entry", [0, 1234, 2999])
def test_entries_of_a_long_list_are_found(entry: int) -> None:
    sites = Sites(compile_site_list(MANY))
    name = f"a.{entry % 97}.{entry}.example"
    assert sites.evidence(ask(f"http://{name}/"), name, NOW) == Evidence("site", name[2:])
    assert sites.evidence(ask(f"http://a{name[2:]}/"), f"a{name[2:]}", NOW) is None


@pytest.mark.parametrize("seed", ["0", "1", "4711"])
def test_the_same_list_makes_the_same_bytes_in_every_process(seed: str) -> None:
    code = (
        "import hashlib, sys; from test_sites import MANY, compile_site_list; "
        "print(*(hashlib.sha256(trie).hexdigest() for trie in compile_site_list(MANY)[:2]))"
    )
    path = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": path}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [hashlib.sha256(trie).hexdigest() for trie in compile_site_list(MANY)[:2]]
    assert compile_site_list(MANY) == compile_site_list(MANY._replace(name="another name"))


def test_a_policy_without_names_in_lists_does_without_tries() -> None:
    """What an office with ten rules does not use, its helper does not load."""
    code = (
        "import sys; from squid_imhelper.matching import sites; from squid_imhelper.base.model import SiteList; "
        "sites.Sites(sites.compile_site_list(SiteList('s', ports=(1,), regex=('a',)))); "
        "print('marisa_trie' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_tries_in_a_mapped_file_work_and_keep_it_alive(tmp_path: Path) -> None:
    """As those of a program file, of which nobody else keeps hold."""
    tables = compile_site_list(MANY)
    path = tmp_path / "tries"
    path.write_bytes(bytes(tables.domains) + bytes(4096 - len(tables.domains) % 4096) + bytes(tables.urls))
    with path.open("rb") as file:
        data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    at = len(data) - len(tables.urls)
    sites = Sites(tables._replace(domains=data[: len(tables.domains)], urls=data[at:]))
    del data
    path.unlink()
    gc.collect()
    assert sites.evidence(ask("http://a.0.0.example/"), "a.0.0.example", NOW) == Evidence("site", "0.0.example")
    url = ask("http://12.example/12/chat/a")
    assert sites.evidence(url, "12.example", NOW) == Evidence("site", "12.example/12/chat")


# ---- addresses ------------------------------------------------------------------------------------------------------

numbers = st.integers(0, 20)
spans = st.builds(lambda version, a, b: (version, min(a, b), max(a, b)), st.sampled_from([4, 6]), numbers, numbers)


@given(st.lists(spans, max_size=5), st.sampled_from([0, 4, 6]), numbers)
def test_address_set_is_a_loop_over_its_intervals(given_: list[Interval], version: int, number: int) -> None:
    expected = any(v == version and first <= number <= last for v, first, last in given_)
    assert ((version, number) in AddressSet(merge(given_))) is expected


@pytest.mark.parametrize(
    ("address", "inside"),
    [("255.255.255.255", True), ("0.0.0.0", False), ("::", True), ("::ffff", False), ("ffff::", False)],
)
def test_address_set_at_the_borders_of_the_versions(address: str, inside: bool) -> None:
    parsed = ipaddress.ip_address(address)
    assert ((parsed.version, int(parsed)) in AddressSet(intervals("255.0.0.0/8", "::/120"))) is inside
