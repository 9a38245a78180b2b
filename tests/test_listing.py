"""`services`: one line for each, one in full, and JSON."""

import io
import json
from collections.abc import Callable

import pytest
from rich.console import Console

from squid_imhelper.base.model import Kind, Match, Service, Signature, UrlPattern
from squid_imhelper.offline import listing
from squid_imhelper.sources.catalogue import Catalogue

CHAT = Service(
    id="chat",
    name="The [Chat] Company",
    group="im",
    status="legacy",
    year=2006,
    note="Known to all.",
    collateral="Mail goes too.",
    hidden="Calls.",
    signatures=(
        Signature(Kind.HOST, "web.chat.example", "chat"),
        Signature(Kind.DOMAIN, "chat.example", "chat"),
        Signature(Kind.DOMAIN, "chat.test", "chat"),
        Signature(
            Kind.URL,
            "/gateway",
            "chat",
            match=Match.EXACT,
            url=UrlPattern("/gateway", Match.EXACT, query="a=1", method="POST"),
        ),
        Signature(Kind.DOMAIN, "cdn.example", "chat", "shared"),
        Signature(Kind.NETWORK, "192.0.2.0/24", "chat", "stale"),
    ),
    exceptions=("help.chat.example",),
    udp_ports=(3478, 3479),
)
BARE = Service("bare", "Bare", "im", "active", None, "", "", "", ())
CATALOGUE = Catalogue({"chat": CHAT, "bare": BARE}, {"im": "Messengers"})


def printed(show: Callable[[Console], None]) -> str:
    console = Console(file=io.StringIO(), width=120, color_system=None)
    show(console)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_json_has_these_keys_in_these_types() -> None:
    assert json.loads(listing.as_json([CHAT, BARE])) == [
        {
            "id": "chat",
            "name": "The [Chat] Company",
            "group": "im",
            "status": "legacy",
            "year": 2006,
            "visible": {"proxy": True, "sni": True, "decrypted": True, "firewall": True},
            "hidden": "Calls.",
            "collateral": "Mail goes too.",
        },
        {
            "id": "bare",
            "name": "Bare",
            "group": "im",
            "status": "active",
            "year": None,
            "visible": {"proxy": False, "sni": False, "decrypted": False, "firewall": False},
            "hidden": "",
            "collateral": "",
        },
    ]


def test_json_of_nothing_is_an_array() -> None:
    assert json.loads(listing.as_json([])) == []


def test_the_table_has_a_line_for_each_service(golden: Callable[[str, str], None]) -> None:
    golden("services.txt", printed(lambda console: listing.print_table([CHAT, BARE], console)))


def test_a_name_is_printed_as_it_is() -> None:
    assert "The [Chat] Company" in printed(lambda console: listing.print_table([CHAT], console))


@pytest.mark.parametrize(
    ("service", "name"),
    [pytest.param(CHAT, "service.txt", id="full"), pytest.param(BARE, "service-bare.txt", id="bare")],
)
def test_one_service_is_shown_in_full(golden: Callable[[str, str], None], service: Service, name: str) -> None:
    golden(name, printed(lambda console: listing.print_service(service, CATALOGUE, console)))
