"""What clients in the laboratory do: connections, datagrams and pings, and what becomes of them."""

import errno
import os
import select
import socket
import ssl
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from hosts import SINK, Host

ANSWERED, REFUSED, SILENT = "answered", "refused", "silent"
PATIENCE: Final = 1.0
"""Seconds after which what has not been answered is not going to be."""
LONG: Final = 15.0
"""For what is to be answered, on a busy machine."""
AT_ONCE: Final = 100
DHCP_SERVERS: Final = "ff02::1:2"
_SO_RCVBUFFORCE: Final = 33
_TOO_BIG: Final = 2


@dataclass(frozen=True)
class Probe:
    """A connection, or a datagram and its answer."""

    address: str
    port: int
    protocol: str = "tcp"


def tcp(ports: Iterable[int], *addresses: str) -> list[Probe]:
    return [Probe(address, port) for address in addresses for port in ports]


def udp(ports: Iterable[int], *addresses: str) -> list[Probe]:
    return [Probe(address, port, "udp") for address in addresses for port in ports]


def family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


_NO = {errno.ECONNREFUSED, errno.ECONNRESET, errno.EHOSTUNREACH, errno.EACCES}


def _try(probe: Probe, patience: float) -> str:
    kind = socket.SOCK_STREAM if probe.protocol == "tcp" else socket.SOCK_DGRAM
    with socket.socket(family(probe.address), kind) as client:
        client.settimeout(patience)
        try:
            client.connect((probe.address, probe.port))
            if probe.protocol == "udp":
                client.send(b"are you there?")
                client.recv(100)
        except TimeoutError:
            return SILENT
        except OSError as error:
            if error.errno not in _NO:
                raise
            return REFUSED
        return ANSWERED


def outcomes(host: Host, probes: Iterable[Probe], patience: float) -> dict[Probe, str]:
    """What becomes of each of them, all at once."""
    tries = {probe: host.submit(_try, probe, patience) for probe in probes}
    return {probe: tried.result() for probe, tried in tries.items()}


def expect(host: Host, probes: Iterable[Probe], outcome: str) -> None:
    """All of them end in this way."""
    found = outcomes(host, probes, PATIENCE if outcome == SILENT else LONG)
    assert found
    assert found == dict.fromkeys(found, outcome), host.name


class Connection:
    """A connection to an echo."""

    def __init__(self, host: Host, address: str, port: int) -> None:
        self._socket = host.call(socket.create_connection, (address, port), LONG)

    def alive(self) -> str:
        """Whether what is sent comes back."""
        self._socket.settimeout(PATIENCE)
        try:
            self._socket.sendall(b"still there?")
            return ANSWERED if self._socket.recv(100) else REFUSED
        except TimeoutError:
            return SILENT
        except ConnectionError:
            return REFUSED

    def wakes(self) -> str:
        """Whether what was sent before comes back after all."""
        self._socket.settimeout(LONG)
        return ANSWERED if self._socket.recv(100) else REFUSED

    def carries(self, count: int) -> bool:
        """Whether so many bytes come back."""
        self._socket.settimeout(LONG)
        sender = threading.Thread(target=self._socket.sendall, args=(bytes(count),))
        sender.start()
        try:
            while count and (data := self._socket.recv(1 << 16)):
                count -= len(data)
        except TimeoutError:
            return False
        finally:
            sender.join()
        return count == 0

    def close(self) -> None:
        self._socket.close()


def connect_many(host: Host, address: str, count: int, patience: float = LONG) -> int:
    """How many of so many connections, a hundred at once, are there whose SYN did not have to be sent again."""
    return host.call(connect_many_here, address, count, patience)


def connect_many_here(address: str, count: int, patience: float) -> int:
    """The same, in the namespace of this thread."""
    waiting: dict[int, socket.socket] = {}
    done: list[socket.socket] = []
    poll = select.poll()

    def collect(seconds: float) -> None:
        end = time.monotonic() + seconds
        while waiting and (left := end - time.monotonic()) > 0:
            for descriptor, _ in poll.poll(left * 1000):
                poll.unregister(descriptor)
                done.append(waiting.pop(descriptor))

    for first in range(0, count, AT_ONCE):
        collect(0.05 if first else 0)  # on a busy machine the lab itself would lose some of a thousand
        for _ in range(min(AT_ONCE, count - first)):
            client = socket.socket(family(address), socket.SOCK_STREAM)
            client.setblocking(False)
            client.connect_ex((address, SINK))
            waiting[client.fileno()] = client
            poll.register(client, select.POLLOUT)
    collect(patience)
    made = sum(map(_made_at_once, done))
    for client in (*done, *waiting.values()):
        client.close()
    return made


def _made_at_once(client: socket.socket) -> bool:
    information = client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
    sent_again = int.from_bytes(information[100:104], sys.byteorder)  # tcpi_total_retrans
    return sent_again == client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0


def reset_many(host: Host, server: Host, address: str, count: int) -> int:
    """How many of so many connections are seen by the server to be reset, when all are at once."""
    header = 0 if family(address) is socket.AF_INET6 else 20
    reset: set[int] = set()
    with server.call(socket.socket, family(address), socket.SOCK_RAW, socket.IPPROTO_TCP) as wire:
        wire.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 1 << 24)
        wire.bind((address, 0))
        wire.settimeout(PATIENCE)
        ports = host.call(_reset_many, address, count)
        with suppress(TimeoutError):
            while len(reset) < count:
                segment = wire.recv(1 << 12)[header:]
                if segment[13] & 4:  # RST
                    reset |= {int.from_bytes(segment[:2])} & ports
    return len(reset)


def _reset_many(address: str, count: int) -> set[int]:
    clients = [socket.create_connection((address, SINK), LONG) for _ in range(count)]
    ports = {client.getsockname()[1] for client in clients}
    for client in clients:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("@ii", 1, 0))
    for client in clients:
        client.close()
    return ports


def ping(host: Host, address: str, count: int) -> int:
    """How many of so many pings at once are answered."""
    return host.call(_ping, address, count)


def _ping(address: str, count: int) -> int:
    if family(address) is socket.AF_INET6:
        protocol, request, reply, header = socket.getprotobyname("ipv6-icmp"), 128, 129, 0
    else:
        protocol, request, reply, header = socket.getprotobyname("icmp"), 8, 0, 20
    identity = os.urandom(2)
    answers: set[bytes] = set()
    with socket.socket(family(address), socket.SOCK_RAW, protocol) as client:
        client.settimeout(PATIENCE)
        for number in range(count):
            rest = identity + struct.pack("!H", number)
            checked = checksum(struct.pack("!BBH", request, 0, 0) + rest)  # of ICMPv6 the kernel does it itself
            client.sendto(struct.pack("!BBH", request, 0, checked) + rest, (address, 0))
        with suppress(TimeoutError):
            while len(answers) < count:
                packet = client.recv(1 << 12)[header:]
                if packet[0] == reply and packet[4:6] == identity:
                    answers.add(packet[6:8])
    return len(answers)


def checksum(data: bytes) -> int:
    """The Internet's checksum."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


def broadcast(host: Host, port: int) -> None:
    """Sends a datagram from nobody, port 68, to everybody, as one does who has no address yet and asks by DHCP."""
    body = b"who am I?" + bytes(1)
    udp_part = struct.pack("!HHHH", 68, port, 8 + len(body), 0) + body
    ends = bytes(4) + b"\xff" * 4
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp_part), 0, 0, 64, socket.IPPROTO_UDP, 0) + ends
    head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
    host.call(_send_frame, head + udp_part)


def _send_frame(packet: bytes) -> None:
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800)) as wire:
        wire.sendto(packet, ("eth0", 0x0800, 0, 0, b"\xff" * 6))


def multicast(host: Host, port: int) -> None:
    """Sends a datagram to all servers of DHCPv6 on the link, from the port of its clients."""
    host.call(_multicast, port)


def _multicast(port: int) -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as client:
        client.bind(("::", 546))
        client.sendto(b"who am I?", (DHCP_SERVERS, port, 0, socket.if_nametoindex("eth0")))


def _too_big(address: str) -> None:
    there = socket.inet_pton(socket.AF_INET6, address)
    about = (
        struct.pack("!IHBB", 6 << 28, 8, socket.IPPROTO_UDP, 64) + there * 2 + struct.pack("!HHHH", 5000, 5001, 8, 0)
    )
    with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.getprotobyname("ipv6-icmp")) as wire:
        wire.sendto(struct.pack("!BBHI", _TOO_BIG, 0, 0, 1280) + about, (address, 0))


class Listener:
    """A socket on the router that waits for datagrams, those to all servers of DHCPv6 too."""

    def __init__(self, host: Host, port: int) -> None:
        self.port = port
        self._socket = host.call(socket.socket, socket.AF_INET6, socket.SOCK_DGRAM)
        self._socket.bind(("::", port))
        group = socket.inet_pton(socket.AF_INET6, DHCP_SERVERS)
        device = host.call(socket.if_nametoindex, "eth1")
        self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group + struct.pack("@i", device))

    def hears(self, send: Callable[[Host, int], None], sender: Host, patience: float) -> bool:
        """Whether what is sent to this port comes here."""
        self._socket.settimeout(patience)
        send(sender, self.port)
        try:
            return bool(self._socket.recv(1 << 12))
        except TimeoutError:
            return False

    def close(self) -> None:
        self._socket.close()


def is_told(host: Host, sender: Host, address: str) -> bool:
    """Whether a host is told by another that a packet was too big: one that it does not remember."""
    with host.call(socket.socket, socket.AF_INET6, socket.SOCK_RAW, socket.getprotobyname("ipv6-icmp")) as wire:
        wire.settimeout(PATIENCE)
        sender.call(_too_big, address)
        with suppress(TimeoutError):
            while packet := wire.recv(1 << 12):
                if packet[0] == _TOO_BIG:
                    return True
    return False


def talk(host: Host, address: str, port: int, request: str) -> str:
    """Sends a request; returns all of the answer, which is nothing where the connection is reset."""
    return host.call(_talk, address, port, request.replace("\n", "\r\n").encode()).decode()


def _talk(address: str, port: int, request: bytes) -> bytes:
    answer = b""
    with suppress(ConnectionError), socket.create_connection((address, port), LONG) as client:
        client.sendall(request)
        while data := client.recv(1 << 16):
            answer += data
    return answer


def get(host: Host, url: str, address: str, port: int = 80, method: str = "GET") -> str:
    """Asks a host, or a proxy, for a page; returns status line, header and body."""
    name, _, path = url.removeprefix("http://").partition("/")
    target = f"/{path}" if port == 80 else url
    return talk(host, address, port, f"{method} {target} HTTP/1.1\nHost: {name}\nConnection: close\n\n")


def certificate_of(host: Host, address: str, name: str | None, port: int = 443) -> str:
    """The certificate that a client is shown when it asks for a name; nothing where there is no TLS to be had."""
    return host.call(_certificate_of, address, name, port)


def _certificate_of(address: str, name: str | None, port: int) -> str:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with (
        suppress(ConnectionError, ssl.SSLError),
        socket.create_connection((address, port), LONG) as client,
        context.wrap_socket(client, server_hostname=name) as inside,
    ):
        return ssl.DER_cert_to_PEM_cert(inside.getpeercert(binary_form=True) or b"")
    return ""
