"""How fast does the helper answer? A day of an office in small, through a pipe, whole process; every answer is checked.

python benchmarks/throughput.py [--lines N] [--runs N]
"""

import argparse
import random
import statistics
import subprocess
import sys
import time

AGENTS = [
    f"Mozilla%2F5.0%20(Windows%20NT%2010.0;%20Win64;%20x64)%20Chrome%2F{version}.0.0.0%20Safari%2F537.36"
    for version in range(100, 150)
]
WORDS = ("news", "shop", "mail", "maps", "static", "cdn", "images", "video", "api", "login", "media", "weather", "bank")
MESSENGERS = ["web.whatsapp.com", "web.telegram.org", "discord.com", "www.meebo.com", "teams.microsoft.com"]
HOSTS = [f"{a}.{b}{n}.example" for a in WORDS for b in WORDS for n in range(5)]


def workload(lines: int, seed: int = 2006) -> tuple[bytes, list[bytes]]:
    """Returns helper lines, one in fifty of them for a messenger, and the first word of each answer."""
    pick = random.Random(seed)  # noqa: S311  # the same day every time
    asked, expected = [], []
    for number in range(1, lines + 1):
        messenger = pick.random() < 0.02
        host = pick.choice(MESSENGERS) if messenger else pick.choice(HOSTS)
        client = f"10.0.{pick.randrange(4)}.{pick.randrange(1, 255)}"
        if pick.random() < 0.5:
            request = f"CONNECT {host}:443"
        else:
            request = f"GET http:%2F%2F{host}%2F{pick.choice(WORDS)}%2F{pick.randrange(100000)}"
        asked.append(f"{number} {client} {request} {pick.choice(AGENTS)} - -\n")
        expected.append(b"%d %s" % (number, b"OK" if messenger else b"ERR"))
    return "".join(asked).encode(), expected


def timed(data: bytes) -> tuple[float, bytes]:
    """Returns the seconds from start to end of a helper that is fed `data`, and what it answered."""
    command = [sys.executable, "-m", "squid_imhelper", "acl", "--policy", "built-in"]
    start = time.perf_counter()
    output = subprocess.run(command, input=data, capture_output=True, check=True).stdout  # noqa: S603  # our own program
    return time.perf_counter() - start, output


def main() -> int:
    """Measures, and prints medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=200_000)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    data, expected = workload(options.lines)
    first = data[: data.index(b"\n") + 1]
    start_up, whole = [], []
    for _ in range(options.runs):
        start_up.append(timed(first)[0])
        seconds, output = timed(data)
        whole.append(seconds)
        if [b" ".join(line.split(b" ")[:2]) for line in output.splitlines()] != expected:
            print("a wrong answer: this run counts for nothing", file=sys.stderr)
            return 1
    rate = options.lines / (statistics.median(whole) - statistics.median(start_up))
    print(f"{options.lines} lines, {options.runs} runs, every answer right")
    print(f"one line, start to end: {statistics.median(start_up) * 1000:.0f} ms (median)")
    print(f"lines a second after that: {rate:,.0f} (median)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
