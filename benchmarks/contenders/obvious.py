"""The helper that anybody would write first. It blocks what only looks like a messenger, and misses what does not.

python obvious.py FILE-OF-DOMAINS
"""

import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

names = Path(sys.argv[1]).read_text(encoding="ascii").split()
for line in sys.stdin:
    channel, _client, method, url, *_rest = line.split()
    url = unquote(url)
    host = urlsplit(url).hostname or "" if method != "CONNECT" else url.rpartition(":")[0]
    print(channel, "OK" if any(name in host for name in names) else "ERR", flush=True)
