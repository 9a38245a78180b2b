"""What is refused because of the router's own settings, whatever the rules are."""

import pytest

from squid_imhelper.base.model import FirewallSettings
from squid_imhelper.firewall.refusals import check_router

WIRED = FirewallSettings(wan="eth0", lan="eth1")
REDIRECT = WIRED._replace(intercept="redirect")
CASES = [
    pytest.param(WIRED, [], id="nothing"),
    pytest.param(FirewallSettings(), [], id="nothing-said"),
    pytest.param(FirewallSettings(default="drop"), ["firewall"], id="drop-without-lan"),
    pytest.param(FirewallSettings(intercept="tproxy"), ["firewall"], id="interception-without-lan"),
    pytest.param(FirewallSettings(default="drop", intercept="tproxy"), ["firewall"] * 2, id="both"),
    pytest.param(FirewallSettings(masquerade=True), ["firewall"], id="masquerade-without-wan"),
    pytest.param(WIRED._replace(lan="eth0"), ["wan"], id="one-interface"),
    pytest.param(WIRED._replace(lan="eth+"), ["wan"], id="lan-holds-wan"),
    pytest.param(WIRED._replace(wan="e+"), ["wan"], id="wan-holds-lan"),
    pytest.param(WIRED._replace(lan="eth+", wan="e+"), ["wan"], id="both-hold-many"),
    pytest.param(WIRED._replace(lan="eth+", wan="ppp+"), [], id="two-kinds"),
    pytest.param(WIRED._replace(lan="eth1+", wan="eth0"), [], id="more-than-the-beginning"),
    pytest.param(WIRED._replace(lan="lo"), ["lan"], id="lan-is-loopback"),
    pytest.param(WIRED._replace(wan="lo"), ["wan"], id="wan-is-loopback"),
    pytest.param(WIRED._replace(lan="l+"), ["lan"], id="lan-holds-loopback"),
    pytest.param(WIRED._replace(intercept_http=3128), [], id="ports-that-are-not-used"),
    pytest.param(REDIRECT._replace(intercept_http=3128), ["proxy_ports"], id="port-of-the-proxy"),
    pytest.param(REDIRECT._replace(intercept_https=22, admin_ports=(22,)), ["admin_ports"], id="port-of-ssh"),
    pytest.param(REDIRECT._replace(intercept_http=80), ["intercept_ports"], id="port-of-http"),
    pytest.param(REDIRECT._replace(intercept_http=53), ["intercept_ports"], id="port-of-dns"),
    pytest.param(WIRED._replace(log_prefix=(("aim", "x" * 29),)), [], id="prefix"),
    pytest.param(WIRED._replace(log_prefix=(("aim", "x" * 30),)), ["aim"], id="prefix-too-long"),
]


@pytest.mark.parametrize(("settings", "places"), CASES)
def test_what_is_refused_and_where(settings: FirewallSettings, places: list[str]) -> None:
    found = list(check_router(settings, 29))
    assert [refusal.where[-1] for refusal in found] == places
    assert len({refusal.message for refusal in found}) == len(found)
