"""Why there is no rule set: refusals, and those that `[firewall]` gives rise to, taken as a whole."""

from collections.abc import Iterator
from dataclasses import dataclass

from squid_imhelper.base.model import FirewallSettings
from squid_imhelper.firewall.wellknown import DHCP_SERVER, DNS, HTTP, HTTPS

_OF_OTHERS = {HTTP, HTTPS, DNS, DHCP_SERVER}


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why there is no rule set. `where` is the place in the policy, as keys and indices."""

    where: tuple[str | int, ...]
    message: str
    suggestion: str = ""


def check_router(settings: FirewallSettings, max_log_prefix: int) -> Iterator[Refusal]:
    """Yields what is wrong with the settings; prefixes have so many bytes at most."""
    yield from _interfaces(settings)
    yield from _ports(settings)
    for service, prefix in settings.log_prefix:
        if len(prefix) > max_log_prefix:
            message = f"iptables would cut the log prefix after {max_log_prefix} bytes; this one has {len(prefix)}"
            yield Refusal(("firewall", "log_prefix", service), message)


def _interfaces(settings: FirewallSettings) -> Iterator[Refusal]:
    for key, example, wanted, why in (
        ("lan", "eth1", settings.default == "drop", "default = 'drop' lets the LAN reach the proxy"),
        ("lan", "eth1", settings.intercept != "no", "interception takes what comes from the LAN"),
        ("wan", "eth0", settings.masquerade, "masquerade = true is for what leaves by the WAN"),
    ):
        if wanted and not getattr(settings, key):
            suggestion = f'say {key} = "{example}", or what it is called'
            yield Refusal(("firewall",), f"{why}, and '{key}' is not said", suggestion)
    if settings.lan and settings.wan and _same(settings.lan, settings.wan):
        yield Refusal(("firewall", "wan"), "'wan' and 'lan' are the same interface")
    for key, name in (("lan", settings.lan), ("wan", settings.wan)):
        if name and _same(name, "lo"):
            yield Refusal(("firewall", key), f"'{key}' is the loopback interface, which the router needs for itself")


def _same(first: str, second: str) -> bool:
    """Whether an interface can be both; a + at the end stands for whatever follows."""
    pairs = ((first, second), (second, first))
    return first == second or any(a.endswith("+") and b.rstrip("+").startswith(a[:-1]) for a, b in pairs)


def _ports(settings: FirewallSettings) -> Iterator[Refusal]:
    if settings.intercept == "no":
        return
    ports = {settings.intercept_http, settings.intercept_https}
    for key, taken, what in (
        ("proxy_ports", set(settings.proxy_ports), "one for clients that know it"),
        ("admin_ports", set(settings.admin_ports), "one by which the router is administered"),
        ("intercept_ports", _OF_OTHERS, "one that has its own meaning"),
    ):
        if both := ports & taken:
            message = f"port {min(both)} of Squid cannot be one for interception and {what}"
            yield Refusal(("firewall", key), message)
