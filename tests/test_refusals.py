"""What is refused because of the router's own settings, whatever the rules are."""

from dataclasses import replace

import pytest

from squid_imhelper.base.model import FirewallSettings
from squid_imhelper.firewall.refusals import check_router

WIRED = FirewallSettings(wan="eth0", lan="eth1")
REDIRECT = replace(WIRED, intercept="redirect")
CASES = [
    pytest.param(WIRED, [], id="nothing"),
    pytest.param(FirewallSettings(), [], id="nothing-said"),
    pytest.param(FirewallSettings(default="drop"), ["firewall"], id="drop-without-lan"),
    pytest.param(FirewallSettings(intercept="tproxy"), ["firewall"], id="interception-without-lan"),
    pytest.param(FirewallSettings(default="drop", intercept="tproxy"), ["firewall"] * 2, id="both"),
    pytest.param(FirewallSettings(masquerade=True), ["firewall"], id="masquerade-without-wan"),
    pytest.param(replace(WIRED, lan="eth0"), ["wan"], id="one-interface"),
    pytest.param(replace(WIRED, lan="eth+"), ["wan"], id="lan-holds-wan"),
    pytest.param(replace(WIRED, wan="e+"), ["wan"], id="wan-holds-lan"),
    pytest.param(replace(WIRED, lan="eth+", wan="e+"), ["wan"], id="both-hold-many"),
    pytest.param(replace(WIRED, lan="eth+", wan="ppp+"), [], id="two-kinds"),
    pytest.param(replace(WIRED, lan="eth1+", wan="eth0"), [], id="more-than-the-beginning"),
    pytest.param(replace(WIRED, lan="lo"), ["lan"], id="lan-is-loopback"),
    pytest.param(replace(WIRED, wan="lo"), ["wan"], id="wan-is-loopback"),
    pytest.param(replace(WIRED, lan="l+"), ["lan"], id="lan-holds-loopback"),
    pytest.param(replace(WIRED, intercept_http=3128), [], id="ports-that-are-not-used"),
    pytest.param(replace(REDIRECT, intercept_http=3128), ["proxy_ports"], id="port-of-the-proxy"),
    pytest.param(replace(REDIRECT, intercept_https=22, admin_ports=(22,)), ["admin_ports"], id="port-of-ssh"),
    pytest.param(replace(REDIRECT, intercept_http=80), ["intercept_ports"], id="port-of-http"),
    pytest.param(replace(REDIRECT, intercept_http=53), ["intercept_ports"], id="port-of-dns"),
    pytest.param(replace(WIRED, log_prefix=(("aim", "x" * 29),)), [], id="prefix"),
    pytest.param(replace(WIRED, log_prefix=(("aim", "x" * 30),)), ["aim"], id="prefix-too-long"),
]


@pytest.mark.parametrize(("settings", "places"), CASES)
def test_what_is_refused_and_where(settings: FirewallSettings, places: list[str]) -> None:
    found = list(check_router(settings, 29))
    assert [refusal.where[-1] for refusal in found] == places
    assert len({refusal.message for refusal in found}) == len(found)
