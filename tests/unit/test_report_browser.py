"""The report's page in a real browser: its scripts run without a fault, and it fits a phone, the dark and paper.

Chromium is driven by its own command line. A script that a test adds to a copy of the page leaves what it found in the
document, which Chromium prints.
"""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from probe_fakes import tiny_backbone  # noqa: F401
from test_report_page import built, full  # noqa: F401

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")

FAULTS = """<script>window.faults = [];
addEventListener("error", (event) => faults.push(String(event.message)));
const tell = console.error; console.error = (...all) => { faults.push(all.join(" ")); tell(...all); };</script>"""
LEAVE = """<script>addEventListener("load", () => setTimeout(async () => {
const place = document.createElement("pre"); place.id = "found";
let found; try { found = await (async () => { %s })(); } catch (fault) { faults.push(String(fault)); }
place.textContent = JSON.stringify({found, faults}); document.body.append(place); }, 500));</script></body>"""


def browse(*flags: str, page: Path) -> str:
    """What Chromium prints."""
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", *flags]
    profile = f"--user-data-dir={page.parent / 'profile'}"
    done = subprocess.run(
        [*command, profile, page.as_uri()], capture_output=True, text=True, timeout=120, check=True
    )
    return done.stdout


def ask(page: Path, script: str, *flags: str) -> Any:
    """What the script's `return` gives in the page; no error may have been thrown or written to the console."""
    text = page.read_text().replace("<head>", "<head>" + FAULTS, 1)
    head, _, _ = text.rpartition("</body>")
    copy = page.with_name("asked.html")
    copy.write_text(head + LEAVE % script + "</html>")
    printed = browse("--dump-dom", "--virtual-time-budget=10000", *flags, page=copy)
    match = re.search(r'<pre id="found">(.*?)</pre>', printed, re.DOTALL)
    assert match, "the page's own script did not end"
    left = json.loads(html.unescape(match[1]))
    assert left["faults"] == []
    return left["found"]


@pytest.fixture
def page(tmp_path: Path, full: list[Path]) -> Path:  # noqa: F811
    built(tmp_path, *full, interactive=False)
    return tmp_path / "report" / "index.html"


def test_a_click_on_a_head_sorts_and_the_third_restores(page: Path) -> None:
    found = ask(
        page,
        """const table = document.querySelector("table.accuracies.sortable");
        const firsts = () => Array.from(table.tBodies).flatMap((body) => Array.from(body.rows))
          .filter((row) => !row.hidden).map((row) => row.cells[0].textContent.trim());
        const head = Array.from(table.tHead.rows[0].cells).find((cell) => cell.textContent === "conv1");
        const seen = [[firsts(), head.getAttribute("aria-sort")]];
        for (let click = 0; click < 3; click++) {
          head.querySelector("button").click();
          seen.push([firsts(), head.getAttribute("aria-sort")]); }
        return seen;""",
    )
    grouped = ["untrained networks", "random:alexnet32", "rotnet, one image", "runs/a<b"]
    best_first = ["runs/a<b", "random:alexnet32"]
    assert found == [
        [grouped, None],
        [best_first, "descending"],
        [best_first[::-1], "ascending"],
        [grouped, None],
    ]


def test_a_phone_scrolls_tables_and_never_the_page(page: Path) -> None:
    """A frame of a phone's width; the page inside says how wide it would be."""
    frame = page.with_name("phone.html")
    text = page.read_text()
    head, _, _ = text.rpartition("</body>")
    report = """<script>addEventListener("load", () => setTimeout(() => parent.postMessage(JSON.stringify({
      inner: innerWidth, wide: document.documentElement.scrollWidth,
      tables: Array.from(document.querySelectorAll(".scroll"), (box) => box.clientWidth)}), "*"), 200));</script>"""
    page.with_name("framed.html").write_text(head + report + "</body></html>")
    frame.write_text(
        """<body><iframe src="framed.html" width="390" height="844" style="border: 0"></iframe><script>
        addEventListener("message", (event) => {
          const place = document.createElement("pre"); place.id = "found";
          place.textContent = event.data; document.body.append(place); });</script></body>"""
    )
    printed = browse("--dump-dom", "--virtual-time-budget=10000", page=frame)
    match = re.search(r'<pre id="found">(.*?)</pre>', printed)
    assert match
    found = json.loads(match[1])
    assert found["inner"] == 390
    assert found["wide"] <= 390
    assert 0 < max(found["tables"]) <= 390


@pytest.mark.parametrize("dark", [False, True])
def test_text_stands_out_from_the_ground_by_day_and_night(page: Path, dark: bool) -> None:
    found = ask(
        page,
        """const style = getComputedStyle(document.body);
        return [style.color, style.backgroundColor].map((c) => c.match(/\\d+/g).slice(0, 3).map(Number));""",
        f"--blink-settings=preferredColorScheme={0 if dark else 1}",
    )
    text, ground = (sum(colour) / 3 for colour in found)
    assert (text > ground) == dark
    assert abs(text - ground) > 180


def test_it_can_be_printed(page: Path) -> None:
    paper = page.with_name("page.pdf")
    browse(f"--print-to-pdf={paper}", "--no-pdf-header-footer", page=page)
    assert paper.read_bytes().startswith(b"%PDF-")
    assert paper.stat().st_size > 20_000


def test_plots_that_answer_the_mouse_take_the_place_of_pictures(tmp_path: Path, full: list[Path]) -> None:  # noqa: F811
    pytest.importorskip("bokeh")
    built(tmp_path, *full, interactive=True)
    found = ask(
        tmp_path / "report" / "index.html",
        """await new Promise((done) => setTimeout(done, 2000));
        return Array.from(document.querySelectorAll(".plots"), (place) => [
          place.getBoundingClientRect().height > 100, document.getElementById(place.id + "-still").hidden]);""",
    )
    assert found == [[True, True]] * 3
