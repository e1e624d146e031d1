#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Pictures and reports in headless Chromium, in light and in dark: no text outside its picture or over another, nothing
wider than the page, text that stands out from what is behind it, and pixels that show it.

usage: browser.py FILE..."""
import json
import os
import re
import struct
import subprocess
import sys
import tempfile
import zlib

WIDTH = 1200
NARROW = 500  # the narrowest window that headless Chromium makes
TEXT_CONTRAST = 4.5  # WCAG AA
MARK_CONTRAST = 1.25  # cells that hold data, from those that hold nothing

MEASURE = r"""
const lum = c => { const v = c.map(x => x / 255).map(x => x <= .03928 ? x / 12.92 : ((x + .055) / 1.055) ** 2.4);
                   return .2126 * v[0] + .7152 * v[1] + .0722 * v[2]; };
const rgb = s => (s.match(/[\d.]+/g) || []).slice(0, 3).map(Number);
const contrast = (a, b) => { const x = lum(rgb(a)), y = lum(rgb(b)); return (Math.max(x, y) + .05) / (Math.min(x, y) + .05); };
const told = {overflow: [], outside: [], overlap: [], faint: [], alike: [], texts: 0};
const root = document.documentElement;
if (root.scrollWidth > innerWidth) told.overflow.push(root.scrollWidth);
for (const svg of document.querySelectorAll('svg')) {
  const frame = svg.getBoundingClientRect();
  const bg = svg.querySelector('.bg');
  const behind = bg ? getComputedStyle(bg).fill : getComputedStyle(document.body).backgroundColor;
  const boxes = [];
  for (const text of svg.querySelectorAll('text')) {
    const box = text.getBoundingClientRect(), words = text.textContent.slice(0, 40);
    told.texts++;
    if (box.left < frame.left - .5 || box.right > frame.right + .5 || box.top < frame.top - .5 || box.bottom > frame.bottom + .5)
      told.outside.push(words);
    for (const other of boxes)
      if (Math.min(box.right, other.box.right) - Math.max(box.left, other.box.left) > 1 &&
          Math.min(box.bottom, other.box.bottom) - Math.max(box.top, other.box.top) > 4) told.overlap.push([words, other.words]);
    boxes.push({box, words});
    const ratio = contrast(getComputedStyle(text).fill, behind);
    if (ratio < TEXT) told.faint.push([words, ratio]);
  }
  const hole = svg.querySelector('rect.h');
  if (hole) for (const mark of svg.querySelectorAll('rect.s:not(.h)')) {
    const ratio = contrast(getComputedStyle(mark).fill, getComputedStyle(hole).fill);
    if (ratio < MARK) told.alike.push([mark.getAttribute('class'), ratio]);
  }
}
for (const e of document.querySelectorAll('h1,h2,p,dt,dd,td,th,span,figcaption')) {
  if (e.closest('svg') || !e.textContent.trim()) continue;
  told.texts++;
  let behind = e;
  while (behind && /rgba\(0, 0, 0, 0\)|transparent/.test(getComputedStyle(behind).backgroundColor)) behind = behind.parentElement;
  const ratio = contrast(getComputedStyle(e).color, behind ? getComputedStyle(behind).backgroundColor : 'rgb(255,255,255)');
  if (ratio < TEXT) told.faint.push([e.textContent.slice(0, 40), ratio]);
  if (e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).display !== 'inline') told.overflow.push(e.textContent.slice(0, 40));
}
document.title = 'TOLD' + JSON.stringify(told) + 'END';
""".replace("TEXT)", "%g)" % TEXT_CONTRAST).replace("MARK)", "%g)" % MARK_CONTRAST)


def chromium(folder, dark, width, *arguments):
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
             "--disable-component-update", "--disable-sync", "--hide-scrollbars", "--user-data-dir=" + os.path.join(folder, "profile"),
             "--window-size=%d,1400" % width, "--blink-settings=preferredColorScheme=%d" % (0 if dark else 1)]
    return subprocess.run(["chromium", *flags, *arguments], check=True, capture_output=True, timeout=100).stdout.decode()


def wrap(source):
    """A page of a picture or report, with the measuring script at its end; an SVG as in a page that shows it."""
    if "<html" in source:
        return source.replace("</body>", "<script>%s</script></body>" % MEASURE)
    return ("<!DOCTYPE html><meta charset=utf-8><style>body{margin:0}svg{display:block;width:100%%}</style><body>%s<script>%s</script>"
            "</body>" % (source, MEASURE))


def pixels(path):
    """Rows of an 8-bit RGB or RGBA PNG: list of bytes, and bytes for each pixel."""
    with open(path, "rb") as f:
        data = f.read()
    at, packed = 8, b""
    while at < len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        body = data[at + 8:at + 8 + length]
        at += 12 + length
        if kind == b"IHDR":
            width, height, depth, color = struct.unpack_from(">IIBB", body)
            assert depth == 8 and color in (2, 6), (depth, color)
            size = 3 if color == 2 else 4
        elif kind == b"IDAT":
            packed += body
    raw, rows, last = zlib.decompress(packed), [], bytes(width * size)
    for y in range(height):
        kind, row = raw[y * (width * size + 1)], bytearray(raw[y * (width * size + 1) + 1:(y + 1) * (width * size + 1)])
        for x in range(len(row) if kind else 0):
            a, b, c = row[x - size] if x >= size else 0, last[x], last[x - size] if x >= size else 0
            p = a + b - c
            paeth = a if abs(p - a) <= abs(p - b) and abs(p - a) <= abs(p - c) else b if abs(p - b) <= abs(p - c) else c
            row[x] = row[x] + (0, a, b, (a + b) // 2, paeth)[kind] & 255
        rows.append(bytes(row))
        last = rows[-1]
    return rows, size


def result(name, good, why=""):
    print("%s - %s" % ("ok" if good else "not ok", name))
    if not good:
        print("# %s" % why)


def look(folder, files, dark):
    """All files in one page of frames, so that the browser starts once."""
    frames, told = [], {}
    for index, file in enumerate(files):
        with open(file, encoding="utf-8") as f:
            page = wrap(f.read())
        for width in (WIDTH, NARROW):
            path = os.path.join(folder, "%d-%d.html" % (index, width))
            with open(path, "w", encoding="utf-8") as f:
                f.write(page.replace("document.title =", "parent.postMessage([%d,%d,'TOLD'+JSON.stringify(told)],'*');//" %
                                     (index, width)))
            frames.append('<iframe src="%s" width=%d height=1400></iframe>' % (os.path.basename(path), width))
    outer = os.path.join(folder, "all.html")
    with open(outer, "w", encoding="utf-8") as f:
        f.write("<!DOCTYPE html><meta charset=utf-8><pre id=told></pre><script>onmessage = e => told.append(e.data.join('|') + '\\n');"
                "</script>" + "".join(frames))
    dom = chromium(folder, dark, WIDTH, "--virtual-time-budget=10000", "--dump-dom", "file://" + outer)
    for index, width, found in re.findall(r"(\d+)\|(\d+)\|TOLD(\{.*\})", dom.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")):
        told[int(index), int(width)] = json.loads(found)
    return told


def main():
    files = sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix="vixdisk-browser-") as folder:
        for dark in (False, True):
            scheme = "dark" if dark else "light"
            told = look(folder, files, dark)
            for index, file in enumerate(files):
                for width in (WIDTH, NARROW):
                    t = told.get((index, width), {})
                    bad = [key for key in ("overflow", "outside", "overlap", "faint", "alike") if t.get(key) != []]
                    result("%s, %s, %d wide" % (os.path.basename(file), scheme, width), t.get("texts", 0) > 3 and not bad, t)
        for dark, ground in ((False, (255, 255, 255)), (True, (13, 17, 23))):
            shot = os.path.join(folder, "shot.png")
            report = next(file for file in files if file.endswith("convert.html"))
            chromium(folder, dark, WIDTH, "--screenshot=" + shot, "file://" + os.path.abspath(report))
            rows, size = pixels(shot)
            seen = {}
            for row in rows[::2]:
                for x in range(0, len(row), 2 * size):
                    seen[row[x:x + 3]] = seen.get(row[x:x + 3], 0) + 1
            most = max(seen, key=seen.get)
            name = "the report is painted, %s" % ("dark" if dark else "light")
            result(name, most == bytes(ground) and len(seen) > 30 and seen[most] < len(rows) * WIDTH / 4 * .97,
                   (most, len(seen)))
    print("# %d pages in light and dark" % len(files))


if __name__ == "__main__":
    main()
