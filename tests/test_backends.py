"""The table of languages: each writes a plan, and says what it can hold."""

import pytest
from arbitrary import CATALOGUE

from squid_imhelper.base.model import FirewallSettings, Policy, Rule
from squid_imhelper.firewall.backends import BACKENDS
from squid_imhelper.firewall.plan import plan_firewall

EVERY_SERVICE = Policy(
    "p",
    (Rule("x", "block", services=frozenset(CATALOGUE.services)),),
    firewall=FirewallSettings(wan="eth0", lan="eth1"),
)


def test_these_are_the_languages() -> None:
    assert {name: (backend.families, backend.max_log_prefix) for name, backend in BACKENDS.items()} == {
        "iptables": ((4,), 29),
        "ip6tables": ((6,), 29),
        "nftables": ((4, 6), 127),
    }


@pytest.mark.parametrize("name", ["iptables", "ip6tables", "nftables"])
@pytest.mark.parametrize("chains_only", [False, True])
def test_each_writes_a_plan_and_the_same_one_each_time(name: str, chains_only: bool) -> None:
    backend = BACKENDS[name]
    plan = plan_firewall(EVERY_SERVICE, CATALOGUE, backend.max_log_prefix)
    text = backend.write(plan, chains_only=chains_only)
    assert text == backend.write(plan, chains_only=chains_only)
    assert text.startswith("# Rules of squid-imhelper, from p: for `")
    assert text.endswith(("COMMIT\n", "}\n"))
    networks = {4: "149.154.160.0/20", 6: "2001:67c:4e8::/48"}
    for family, network in networks.items():
        assert (network in text) is (family in backend.families)
