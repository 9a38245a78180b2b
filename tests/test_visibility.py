"""What is seen of each messenger, and `docs/services.md`, which is held to the catalogue byte by byte."""

from pathlib import Path

import pytest

from squid_imhelper.base.model import Flag, Kind, Match, Service, Signature, UrlPattern
from squid_imhelper.offline.visibility import MEANS, as_markdown, mark
from squid_imhelper.sources.catalogue import Catalogue, load_catalogue

PAGE = Path(__file__).parent.parent / "docs" / "services.md"
SERVICES = load_catalogue().services


def sign(kind: Kind, value: str, flag: Flag = "") -> Signature:
    return Signature(kind, value, "chat", flag)


def path(**place: str | bool) -> Signature:
    return Signature(Kind.URL, "/chat", "chat", url=UrlPattern("/chat", Match.SEGMENT, **place))  # type: ignore[arg-type]


def service(*signatures: Signature, udp_ports: tuple[int, ...] = (), hidden: str = "", collateral: str = "") -> Service:
    return Service("chat", "Chat", "im", "active", None, "", collateral, hidden, signatures, udp_ports=udp_ports)


DOMAIN = sign(Kind.DOMAIN, "chat.example")
HOST = sign(Kind.HOST, "web.chat.example")
NETWORK = sign(Kind.NETWORK, "192.0.2.0/24")
PORT = sign(Kind.PORT, "1863")

MARKS = [
    pytest.param([], (), "no|no|no|no", id="nothing"),
    pytest.param([DOMAIN], (), "yes|yes|yes|no", id="a domain"),
    pytest.param([HOST], (), "yes|yes|yes|no", id="a host"),
    pytest.param([DOMAIN, NETWORK], (), "yes|yes|yes|yes", id="networks of its own"),
    pytest.param([DOMAIN, PORT], (), "yes|yes|yes|in part", id="a port is only its own way out"),
    pytest.param([DOMAIN], (3478,), "yes|yes|yes|in part", id="a UDP port, too"),
    pytest.param([DOMAIN, NETWORK, PORT], (), "yes|yes|yes|yes", id="networks and a port"),
    pytest.param([path(domain="social.example")], (), "no|no|yes|no", id="a path"),
    pytest.param([DOMAIN, path(domain="social.example")], (), "in part|in part|yes|no", id="a path at somebody else's"),
    pytest.param([HOST, path(host="social.example")], (), "in part|in part|yes|no", id="a path on another host"),
    pytest.param([DOMAIN, path(domain="web.chat.example")], (), "yes|yes|yes|no", id="a path below its own domain"),
    pytest.param([DOMAIN, path(domain="notchat.example")], (), "in part|in part|yes|no", id="a label is a label"),
    pytest.param([HOST, path(host="web.chat.example")], (), "yes|yes|yes|no", id="a path on its own host"),
    pytest.param([DOMAIN, path()], (), "yes|yes|yes|no", id="a path on any host is plain HTTP"),
    pytest.param([DOMAIN, path(in_networks=True)], (), "yes|yes|yes|no", id="a path on its own addresses"),
    pytest.param([sign(Kind.DOMAIN, "a.example", "shared")], (), "shared|shared|shared|no", id="a shared domain"),
    pytest.param([sign(Kind.PORT, "5222", "shared")], (), "shared|no|no|shared", id="a shared port"),
    pytest.param(
        [sign(Kind.NETWORK, "192.0.2.0/24", "stale"), sign(Kind.PORT, "1", "shared")], (),
        "stale, shared|no|no|stale, shared", id="two flags",
    ),
    pytest.param([DOMAIN, sign(Kind.PORT, "5222", "shared")], (), "yes|yes|yes|shared", id="own name, shared port"),
]  # fmt: skip


@pytest.mark.parametrize(("signatures", "udp_ports", "expected"), MARKS)
def test_mark(signatures: list[Signature], udp_ports: tuple[int, ...], expected: str) -> None:
    made = service(*signatures, udp_ports=udp_ports)
    assert "|".join(mark(made, means) for means in MEANS) == expected


KNOWN = [
    pytest.param("telegram", "yes|yes|yes|yes", id="has networks of its own"),
    pytest.param("microsoft_teams", "yes|yes|yes|yes", id="too"),
    pytest.param("msn_messenger", "yes|yes|yes|in part", id="falls back to HTTP"),
    pytest.param("qq", "yes|yes|yes|in part", id="falls back from UDP to TCP"),
    pytest.param("messenger", "in part|in part|yes|shared", id="facebook.com/messages is a path"),
    pytest.param("instagram_direct", "in part|in part|yes|no", id="instagram.com/direct is a path"),
    pytest.param("google_chat", "in part|in part|yes|no", id="mail.google.com/chat is a path"),
    pytest.param("vk_messenger", "in part|in part|yes|shared", id="vk.com/im is a path"),
    pytest.param("x_chat", "in part|in part|yes|no", id="x.com/messages is a path"),
    pytest.param("zoom_chat", "shared|shared|yes|shared", id="nothing but a path"),
    pytest.param("odnoklassniki", "shared|shared|yes|no", id="nothing but a path, too"),
    pytest.param("imessage_facetime", "shared|shared|shared|shared", id="nothing"),
    pytest.param("whatsapp", "yes|yes|yes|shared", id="own names, shared ports"),
    pytest.param("msn2go", "yes|yes|yes|stale", id="an address that is another's"),
]


@pytest.mark.parametrize(("name", "expected"), KNOWN)
def test_mark_of_known_services(name: str, expected: str) -> None:
    assert "|".join(mark(SERVICES[name], means) for means in MEANS) == expected


@pytest.mark.parametrize("name", SERVICES)
def test_a_mark_says_what_the_booleans_say(name: str) -> None:
    for means in MEANS:
        assert (mark(SERVICES[name], means) in ("yes", "in part")) is SERVICES[name].visible[means]


@pytest.mark.parametrize("name", [name for name in SERVICES if mark(SERVICES[name], "decrypted") != "yes"])
def test_what_decryption_does_not_show_says_why(name: str) -> None:
    assert SERVICES[name].hidden
    assert SERVICES[name].collateral


@pytest.mark.parametrize("name", [name for name in SERVICES if mark(SERVICES[name], "proxy") != "yes"])
def test_what_a_proxy_sees_in_part_says_what_goes_with_it(name: str) -> None:
    """Whoever reads `in part` looks for the rest."""
    assert SERVICES[name].hidden or SERVICES[name].collateral


def one(made: Service) -> str:
    return as_markdown(Catalogue({"chat": made}, {"im": "Messengers"}))


LINES = [
    pytest.param(service(DOMAIN), "| Chat | `chat` | yes | yes | yes | no |", id="a row"),
    pytest.param(
        service(sign(Kind.PORT, "5222", "shared")),
        "| Chat | `chat` | with `shared` | no | no | with `shared` |",
        id="what must be included",
    ),
    pytest.param(
        service(*(sign(Kind.PORT, str(port)) for port in (6660, 6661, 6662, 194)), udp_ports=(5, 6)),
        "| Chat | `chat` | yes | no | no | in part: TCP 194, 6660-6662; UDP 5-6 |",
        id="ports as ranges",
    ),
    pytest.param(
        service(NETWORK, PORT),
        "| Chat | `chat` | yes | no | no | yes: networks; TCP 1863 |",
        id="networks",
    ),
    pytest.param(
        service(DOMAIN, hidden="Calls.", collateral="Mail."),
        "- **Chat.** *Stays hidden:* Calls. *Also hit:* Mail.",
        id="remarks",
    ),
    pytest.param(service(DOMAIN, collateral="Mail."), "- **Chat.** *Also hit:* Mail.", id="one remark"),
    pytest.param(service(path(domain="a.example")), "By decryption only: Chat. Not even then: none.", id="decryption"),
    pytest.param(service(), "By decryption only: none. Not even then: Chat.", id="not at all"),
]


@pytest.mark.parametrize(("made", "line"), LINES)
def test_a_line_of_the_page(made: Service, line: str) -> None:
    assert line in one(made).splitlines()


def test_a_service_without_remarks_has_none() -> None:
    assert "**Chat.**" not in one(service(DOMAIN))


def test_docs_services_is_what_the_catalogue_says(request: pytest.FixtureRequest) -> None:
    page = as_markdown(load_catalogue())
    if request.config.getoption("--update-golden"):
        PAGE.write_bytes(page.encode())
    assert PAGE.read_bytes().decode() == page, "if that is meant: pytest --update-golden"
