"""The report's page in a real browser: searching, sorting, phones, and that what stands in a log does nothing there."""

import json
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from typing import Any

import pytest
from test_page import MONDAY, count, hostile_report, make_report

from squid_imhelper.dryrun.page import render_page
from squid_imhelper.dryrun.report import Report
from squid_imhelper.dryrun.tally import Case, Tally

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="needs chromium")

PHONE, DESK = 360, 1280
CASES, SHOWN = 400, 300
ATTACKS = (
    "<script>top.attacked = 1</script>",
    '"><img src="/attack" onerror="top.attacked = 2">',
    "</script></title></style><script>top.attacked = 3</script>",
    "<svg onload='top.attacked = 4'><iframe src='/attack'></iframe>",
    '<link rel="stylesheet" href="/attack"><meta http-equiv="refresh" content="0; url=/attack">',
    "javascript:top.attacked=5",
    "w" * 500,
)

DRIVER = """<!doctype html><link rel="icon" href="data:,"><body style="margin:0">
<iframe src="/report.html" style="border:0;width:WIDTHpx;height:900px"></iframe>
<script>
async function drive(frame) {
  const view = frame.contentWindow, page = frame.contentDocument;
  const painted = () => new Promise((done) => view.requestAnimationFrame(() => view.requestAnimationFrame(done)));
  const rows = () => [...page.querySelectorAll("#cases tbody tr")].filter((row) => row.getClientRects().length);
  const column = (n) => rows().map((row) => row.cells[n].textContent);
  const tools = page.querySelector("#cases .tools");
  const told = {};
  async function search(text, outcome) {
    tools.querySelector("input").value = text;
    tools.querySelector("input").dispatchEvent(new view.InputEvent("input"));
    tools.querySelector("select").value = outcome;
    tools.querySelector("select").dispatchEvent(new view.Event("change"));
    await painted();
    return [rows().length, tools.querySelector("output").value];
  }
  async function sorted(n) {
    page.querySelectorAll("#cases thead button")[n].click();
    await painted();
    const head = page.querySelectorAll("#cases thead th")[n];
    return [head.getAttribute("aria-sort"), column(n)];
  }
  told.searched = [];
  for (const each of SEARCHES) told.searched.push(await search(...each));
  await search("", "");
  told.all = page.querySelector("#cases .tools button").click() ?? (await search("", ""));
  told.sorted = [];
  for (const each of SORTS) told.sorted.push(await sorted(each));
  told.marked = page.querySelectorAll("#cases th[aria-sort]").length;
  told.overflow = page.documentElement.scrollWidth - page.documentElement.clientWidth;
  told.small = [...page.querySelectorAll("main button, main input, main select, main summary, nav a")]
    .map((each) => each.getBoundingClientRect().height).filter((height) => height && height < 44).length;
  told.charts = [...page.querySelectorAll("svg")].map((svg) => svg.getBoundingClientRect().width).filter(Boolean);
  told.elements = [...new Set([...page.querySelectorAll("*")].map((element) => element.localName))].sort();
  told.scripts = page.scripts.length;
  told.fetched = view.performance.getEntriesByType("resource").map((entry) => entry.name);
  told.attacked = window.attacked ?? null;
  return told;
}
const tell = (told) => fetch("/told", { method: "POST", body: JSON.stringify(told) });
const frame = document.querySelector("iframe");
frame.onload = () => drive(frame).then(tell, (error) => tell({ error: error.stack }));
</script>
"""


@contextmanager
def served(files: dict[str, str]) -> Iterator[tuple[str, list[str], Queue[bytes]]]:
    """The files on a port of this machine, the list of what is asked for, and what is sent there."""
    asked: list[str] = []
    sent: Queue[bytes] = Queue()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.answer(files.get(self.path, "").encode())

        def do_POST(self) -> None:
            sent.put(self.rfile.read(int(self.headers["Content-Length"])))
            self.answer(b"thanks")

        def answer(self, body: bytes) -> None:
            self.send_response(200 if body else 404)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/", asked, sent
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def browser(url: str, folder: Path) -> Iterator[None]:
    """A browser that shows a page, and finds no other host than this one."""
    options = ("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")
    lonely = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
    words = [str(BROWSER), *options, lonely, "--enable-logging=stderr", f"--user-data-dir={folder}/profile", url]
    with (folder / "stderr").open("wb") as log:
        process = subprocess.Popen(words, stdout=log, stderr=log, start_new_session=True)
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def drive(
    report: Report, width: int, folder: Path, searches: Sequence[tuple[str, str]] = (), sorts: Sequence[int] = ()
) -> dict[str, Any]:
    """Opens the page in a window of this width, does what is asked for, and returns what was seen."""
    driver = DRIVER.replace("WIDTH", str(width))
    driver = driver.replace("SEARCHES", json.dumps(searches)).replace("SORTS", json.dumps(sorts))
    with served({"/": driver, "/report.html": render_page(report, "1")}) as (url, asked, sent), browser(url, folder):
        told: dict[str, Any] = json.loads(sent.get(timeout=60))
    assert "error" not in told, told
    assert asked == ["/", "/report.html"]
    assert "Content Security Policy" not in (folder / "stderr").read_text("utf-8", "replace")
    return told


def office() -> Report:
    """A blocked request of each of many hosts, the n-th n times, and one that is monitored."""
    tally = Tally()
    for n in range(CASES):
        case = Case("whatsapp", "no messengers", f"10.0.0.{n % 20}", f"h{n}.whatsapp.net")
        count(
            tally, "blocked", case, MONDAY + n * 3600, f"https://h{n}.whatsapp.net/{'x' * 190}", "domain whatsapp.net"
        )
        tally.outcomes["blocked"].rows[case].count = n + 1
    count(tally, "monitored", Case("slack", "watched", "10.0.0.3", "slack.com"), url="https://slack.com/")
    return make_report(tally)


def test_searching_and_sorting(tmp_path: Path) -> None:
    searches = [("", ""), ("SLACK", ""), ("h12", ""), ("10.0.0.3 h3.", ""), ("", "monitored"), ("h12", "monitored")]
    told = drive(office(), DESK, tmp_path, searches, [5, 5, 3, 4])
    few = [[number, f"{number} of 401"] for number in (1, 11, 1, 1, 0)]
    assert told["searched"] == [[SHOWN, f"401 of 401, the first {SHOWN} shown"], *few]
    assert told["all"] == [401, "401 of 401"]
    (down, counts), (up, counts_again), (text, clients), (_, hosts) = told["sorted"]
    assert (down, up, text) == ("descending", "ascending", "ascending")
    numbers = [int(number) for number in counts]
    assert numbers == sorted(numbers, reverse=True)
    assert [int(number) for number in counts_again] == sorted(numbers)
    assert clients == sorted(clients, key=lambda client: int(client.rpartition(".")[2]))
    assert hosts[:3] == ["h0.whatsapp.net", "h1.whatsapp.net", "h2.whatsapp.net"]
    assert told["marked"] == 1


@pytest.mark.parametrize("width", [PHONE, 768, DESK])
def test_nothing_is_wider_than_the_window(width: int, tmp_path: Path) -> None:
    told = drive(office(), width, tmp_path)
    assert told["overflow"] == 0
    assert told["small"] == 0
    assert told["charts"]
    assert max(told["charts"]) <= width


@pytest.mark.parametrize("attack", ["".join(ATTACKS), "".join(reversed(ATTACKS))], ids=["forwards", "backwards"])
def test_what_stands_in_a_log_does_nothing(attack: str, tmp_path: Path) -> None:
    told = drive(hostile_report(attack), PHONE, tmp_path)
    assert told["overflow"] == 0
    assert told["attacked"] is None
    assert told["fetched"] == []
    assert told["scripts"] == 1
    assert not {"img", "iframe", "form", "object"} & set(told["elements"])
