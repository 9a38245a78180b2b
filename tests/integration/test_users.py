"""Who asks: names that Squid learns by authentication or from a helper, in rules of a policy and in its own ACLs."""

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from real_squid import Network, Squid, rendered, wait_for

pytestmark = pytest.mark.squid
Start = Callable[..., Squid]
WHATSAPP = "http://web.whatsapp.com/"
TELEGRAM = "http://web.telegram.org/"
UNIX_GROUP = "/usr/lib/squid/ext_unix_group_acl"

NAMES = [
    pytest.param("ann", id="plain"),
    pytest.param("john smith", id="blank"),
    pytest.param('j. "bob" smith', id="quotes"),
    pytest.param("o'neill", id="apostrophe"),
    pytest.param("zoë müller", id="utf-8"),
    pytest.param("小明", id="utf-8-wide"),
    pytest.param("company\\ann", id="backslash"),
    pytest.param("ann%20b%", id="percent"),
    pytest.param("ann@example.org", id="at"),
    pytest.param("#ann,=+&<>", id="signs"),
    pytest.param("  ann ", id="blanks-around"),
]


def program(network: Network, name: str, text: str) -> Path:
    """A program that `proxy` can run."""
    path = network.folder / name
    path.write_text(text)
    path.chmod(0o755)
    return path


def basic_authentication(network: Network) -> str:
    """Every name is known, whatever the password."""
    login = program(network, "login", '#!/bin/sh\nwhile read -r channel rest; do printf "%s OK\\n" "$channel"; done\n')
    return (
        f"auth_param basic program {login}\nauth_param basic children 1 concurrency=5\n"
        "acl known proxy_auth REQUIRED\nhttp_access deny !known\n"
    )


def credentials(name: str) -> dict[str, str]:
    return {"Proxy-Authorization": "Basic " + base64.b64encode(f"{name}:secret".encode()).decode()}


def rule(users: str) -> str:
    return f'[[rule]]\nname = "these may not"\nusers = {users}\nservices = ["whatsapp"]\naction = "block"\n'


def toml(name: str) -> str:
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


# ---- rules with users -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def by_name(start_squid: Start, network: Network) -> Squid:
    """A policy with all of the names, but those that a blank at an end tells from others."""
    names = [str(case.values[0]) for case in NAMES]
    policy = network.folder / "by-name.toml"
    policy.write_text(rule(f"[{', '.join(map(toml, names))}]"))
    return start_squid(basic_authentication(network) + rendered(policy))


@pytest.mark.parametrize("name", NAMES)
def test_a_rule_knows_a_user_however_the_name_is_written(by_name: Squid, name: str) -> None:
    assert by_name.get(WHATSAPP, headers=credentials(name)).status == 403
    assert by_name.log()[0][-2:] == ["whatsapp", "these%20may%20not"]
    assert by_name.get(TELEGRAM, headers=credentials(name)).status == 200
    assert by_name.get(WHATSAPP, headers=credentials(f"{name}x")).status == 200
    assert [line[-1] for line in by_name.log()] == ["-", "-"]


def test_names_come_as_squid_knows_them_which_is_in_lower_case(by_name: Squid) -> None:
    """Unless `auth_param basic casesensitive on` says otherwise."""
    assert by_name.get(WHATSAPP, headers=credentials("ANN")).status == 403
    by_name.log()


def test_nobody_gets_in_without_a_name(by_name: Squid) -> None:
    assert by_name.get(WHATSAPP).status == 407
    assert by_name.log()[0][-2:] == ["-", "-"]


def test_users_from_a_file(start_squid: Start, network: Network) -> None:
    (network.folder / "sales.txt").write_text('# our sales people\nann\njohn smith\n\nzoë "z" müller\n')
    policy = network.folder / "by-file.toml"
    policy.write_text(rule('{ names = ["carl"], file = "sales.txt" }'))
    squid = start_squid(basic_authentication(network) + rendered(policy))

    def refused(name: str) -> bool:
        return squid.get(WHATSAPP, headers=credentials(name)).status == 403

    assert all(map(refused, ("ann", "john smith", 'zoë "z" müller', "carl")))
    assert not any(map(refused, ("john", "smith", "# our sales people", "dora")))
    new = network.folder / "sales.new"
    new.write_text("dora\n")
    new.replace(network.folder / "sales.txt")
    wait_for(lambda: refused("dora"), "the new file of names")
    assert refused("carl")
    assert not refused("ann")


def test_a_user_name_is_one_word_of_the_log(by_name: Squid) -> None:
    by_name.get(WHATSAPP, headers=credentials("zoë müller"))
    assert unquote(" ".join(by_name.log()[0]).split()[7]) == "zoë müller"


# ---- Squid's own ACLs, and ours with an argument --------------------------------------------------------------------

ONE_SERVICE = "acl messenger external imhelper"


def with_acl(lines: str, sales: str) -> str:
    """The lines of squid-conf, but that WhatsApp only is refused, and to sales only."""
    return (
        lines.replace(ONE_SERVICE, f"{sales}\nacl messenger_whatsapp external imhelper whatsapp")
        .replace("http_access deny messenger", "http_access deny sales messenger_whatsapp")
        .replace("ERR_MESSENGER messenger", "ERR_MESSENGER messenger_whatsapp")
    )


def test_proxy_auth_and_an_argument(start_squid: Start, network: Network) -> None:
    (network.folder / "sales").write_text('ann\njohn smith\nzoë "z" müller\n')
    sales = f'acl sales proxy_auth "{network.folder}/sales"'
    squid = start_squid(basic_authentication(network) + with_acl(rendered("built-in"), sales))
    for name in ("ann", "john smith", 'zoë "z" müller'):
        check_one_service_is_refused(squid, headers=credentials(name))
    for name in ("carl", "john", "ann smith"):
        check_nothing_is_refused(squid, headers=credentials(name))


WHOIS = """#!/bin/sh
while read -r address rest; do
    case "$address" in
        127.0.0.2) echo "OK user=ann group=sales" ;;
        127.0.0.3) echo "OK user=zo%C3%AB%20%22z%22%20m%C3%BCller group=sales" ;;
        *) echo "OK user=carl group=stores" ;;
    esac
done
"""


def whois(network: Network) -> str:
    """An external ACL that knows the user, and his group, by the client's address."""
    path = program(network, "whois", WHOIS)
    return (
        f"external_acl_type whois ttl=0 negative_ttl=0 cache=0 children-startup=1 %>a {path}\n"
        "acl known external whois\nhttp_access deny !known\n"
    )


@pytest.mark.parametrize(
    "sales", ['ext_user "{folder}/sales-by-address"', "note group sales"], ids=["ext_user", "group-note"]
)
def test_users_and_groups_of_another_external_acl_and_an_argument(
    start_squid: Start, network: Network, sales: str
) -> None:
    (network.folder / "sales-by-address").write_text('ann\nzoë "z" müller\n')
    acl = f"acl sales {sales.format(folder=network.folder)}"
    squid = start_squid(whois(network) + with_acl(rendered("built-in"), acl))
    check_one_service_is_refused(squid, client="127.0.0.2")
    check_one_service_is_refused(squid, client="127.0.0.3")
    check_nothing_is_refused(squid, client="127.0.0.4")


def test_a_policy_knows_the_users_of_another_external_acl(start_squid: Start, network: Network) -> None:
    policy = network.folder / "by-address.toml"
    policy.write_text(rule('["ann", \'zoë "z" müller\']'))
    squid = start_squid(whois(network) + rendered(policy))
    for client, status in (("127.0.0.2", 403), ("127.0.0.3", 403), ("127.0.0.4", 200)):
        assert squid.get(WHATSAPP, client=client).status == status
        assert squid.log()[0][-1] == ("these%20may%20not" if status == 403 else "-")


@pytest.mark.skipif(not Path(UNIX_GROUP).exists(), reason=f"this squid comes without {UNIX_GROUP}")
def test_a_group_helper_of_squids_own_and_an_argument(start_squid: Start, network: Network) -> None:
    """It knows the groups of this machine: `daemon` is in a group of that name."""
    group = (
        f"external_acl_type unix_group ttl=0 negative_ttl=0 cache=0 %LOGIN {UNIX_GROUP} -p\n"
        "acl sales external unix_group daemon"
    )
    squid = start_squid(basic_authentication(network) + with_acl(rendered("built-in"), group))
    check_one_service_is_refused(squid, headers=credentials("daemon"))
    check_nothing_is_refused(squid, headers=credentials("proxy"))


def check_one_service_is_refused(squid: Squid, **options: Any) -> None:
    assert squid.get(WHATSAPP, **options).status == 403
    assert squid.log()[0][-2:] == ["whatsapp", "-"]
    assert squid.get(TELEGRAM, **options).status == 200
    assert squid.log()[0][-2:] == ["-", "-"]


def check_nothing_is_refused(squid: Squid, **options: Any) -> None:
    for url in (WHATSAPP, TELEGRAM):
        assert squid.get(url, **options).status == 200
    assert {line[-2] for line in squid.log()} == {"-"}
