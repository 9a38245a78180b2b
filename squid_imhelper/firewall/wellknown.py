"""Numbers that every back end needs: ports and types by their RFCs, resolvers by their operators' own pages."""

from typing import Final

LOG_RATE: Final = 10
"""Lines a minute that a service may write into the kernel's log; what comes above that is dropped without a line."""
LOG_BURST: Final = 5

BURST: Final = 3
"""Seconds' worth of packets that a source may send at once before a limit counts."""

MARK: Final = 0x100
"""The firewall mark of what TPROXY hands to Squid, and its mask: one bit, so that others can use theirs."""

HTTP: Final = 80
HTTPS: Final = 443
DNS: Final = 53
DHCP_SERVER: Final = 67
DHCPV6_CLIENT: Final = 546
DHCPV6_SERVER: Final = 547
ENCRYPTED_DNS: Final = 853
"""DNS over TLS (RFC 7858) and over QUIC (RFC 9250)."""

QUIC: Final = ((HTTP, HTTP), (HTTPS, HTTPS))
CALLS: Final = ((3478, 3481), (5349, 5350), (19302, 19309))
"""STUN and TURN (RFC 8489, RFC 8656), with the further ports of Microsoft Teams, and those of Google Meet."""

ICMPV6_ERRORS: Final = (1, 2, 3, 4)
"""Unreachable, packet too big, time exceeded, parameter problem: nothing works for long without (RFC 4890, 4.3.1)."""
ICMPV6_NEIGHBOURS: Final = (130, 131, 132, 133, 134, 135, 136, 137, 143)
"""Multicast listeners, routers and neighbours of a link; conntrack does not know them (RFC 4890, 4.4.1)."""
ICMPV6_PING: Final = 128

RESOLVERS: Final = (
    "1.0.0.1", "1.1.1.1", "2606:4700:4700::1001", "2606:4700:4700::1111",  # Cloudflare
    "8.8.4.4", "8.8.8.8", "2001:4860:4860::8844", "2001:4860:4860::8888",  # Google
    "9.9.9.9", "149.112.112.112", "2620:fe::9", "2620:fe::fe",  # Quad9
    "94.140.14.14", "94.140.15.15", "2a10:50c0::ad1:ff", "2a10:50c0::ad2:ff",  # AdGuard
    "208.67.220.220", "208.67.222.222", "2620:119:35::35", "2620:119:53::53",  # OpenDNS
    "185.228.168.168", "185.228.169.168", "2a0d:2a00:1::", "2a0d:2a00:2::",  # CleanBrowsing
    "45.90.28.0/24", "45.90.30.0/24", "2a07:a8c0::/32", "2a07:a8c1::/32",  # NextDNS
    "76.76.2.0/24", "76.76.10.0/24", "2606:1a40::/48", "2606:1a40:1::/48",  # Control D
    "194.242.2.0/24", "2a07:e340::/48",  # Mullvad
)  # fmt: skip
"""Public resolvers that answer DNS over HTTPS at these addresses; a list that no one can keep whole."""
