#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# map --text and --svg: the same bytes for the same disk (tests/pictures/golden), XML whatever the names, no more than
# is asked for. VIXDISK_GOLDEN=write makes the kept pictures anew.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/../lib/tap.sh"
. "$SRC/tests/cli/lib.sh"

golden() { # name command...: what it prints is the kept picture
    local kept=$SRC/tests/pictures/golden/$1
    shift
    "$@" >"$TMP/.picture" || return 1
    if [ "${VIXDISK_GOLDEN:-}" = write ]; then
        cp "$TMP/.picture" "$kept"
    fi
    diff -u "$kept" "$TMP/.picture"
}
xml() { # file expression: over the tree, its texts and the paths of cells
    /usr/bin/python3 -c 'import sys, xml.etree.ElementTree as et
tree = et.parse(sys.argv[1]).getroot()
svg = "{http://www.w3.org/2000/svg}"
texts = ["".join(e.itertext()) for e in tree.iter(svg + "text")]
cells = [e for e in tree.iter(svg + "path") if e.find(svg + "title") is not None]
titles = [e.find(svg + "title").text for e in cells]
tags = {e.tag.replace(svg, "") for e in tree.iter()}
sys.exit(not eval("(" + sys.argv[2] + ")"))' "$1" "$2"
}

# 64 MiB: data in the base, some of it written anew in two children.
truncate -s 64M model
fill model 0 3145728 1
fill model 20971520 1048576 2
fill model $((64 * 1048576 - 65536)) 65536 3
"$VIXDISK" convert -q -f raw -t monolithicSparse model base.vmdk
"$VIXDISK" snapshot base.vmdk mid.vmdk
head -c 2M model | "$VIXDISK" write -q -o 30M mid.vmdk
"$VIXDISK" snapshot mid.vmdk top.vmdk
head -c 196608 model | "$VIXDISK" write -q -o 1M top.vmdk
head -c 64K model | "$VIXDISK" write -q -o 50M top.vmdk

export COLUMNS=48 LINES=12
try "as text" golden text.txt "$VIXDISK" map --text top.vmdk
try "a part as text" golden part.txt "$VIXDISK" map --text -o 16M -n 16M top.vmdk
try "no colours but on a terminal" test -z "$("$VIXDISK" map --text top.vmdk | tr -cd '\033')"
on_terminal() { script -qec "$*" /dev/null </dev/null; }
colored() { [ -n "$(TERM=xterm on_terminal "'$VIXDISK' map --text top.vmdk" | tr -cd '\033')" ]; }
no_color() { [ -z "$(TERM=xterm NO_COLOR=1 on_terminal "'$VIXDISK' map --text top.vmdk" | tr -cd '\033')" ]; }
dumb() { [ -z "$(TERM=dumb on_terminal "'$VIXDISK' map --text top.vmdk" | tr -cd '\033')" ]; }
half_blocks() { TERM=xterm on_terminal "'$VIXDISK' map --text top.vmdk" | grep -q '▀\|▄'; }
one_screen() { # neither way more lines or columns than there are
    "$VIXDISK" map --text top.vmdk >out && [ "$(wc -l <out)" -lt 12 ] &&
        [ "$(sed '$d' out | /usr/bin/python3 -c 'import sys; print(max(len(l.rstrip("\n")) for l in open(0, encoding="utf-8")))')" -le 48 ]
}
try "colours on a terminal" colored
try "half-blocks on a terminal" half_blocks
try "NO_COLOR" no_color
try "a terminal that is dumb" dumb
try "one screen" one_screen
unset COLUMNS LINES

try "as SVG" golden alloc.svg "$VIXDISK" map --svg - --cells 256 top.vmdk
try "the links" golden link.svg "$VIXDISK" map --svg - --cells 256 --color link top.vmdk
try "the links on Hilbert's curve" golden hilbert.svg "$VIXDISK" map --svg - --cells 256 --color link --curve hilbert top.vmdk
try "what has changed" golden changed.svg "$VIXDISK" map --svg - --cells 256 --color changed top.vmdk
try "what has changed since a link" golden since.svg "$VIXDISK" map --svg - --cells 256 --color changed --since base.vmdk top.vmdk
"$VIXDISK" convert -q -f raw -t monolithicFlat model flat.vmdk
try "zeros" golden zero.svg "$VIXDISK" map --svg - --cells 256 flat.vmdk
same_since() { "$VIXDISK" map --svg - --cells 256 --color changed --since 2 top.vmdk | cmp - "$SRC/tests/pictures/golden/since.svg"; }
try "a link by its number" same_since

# Lengths of records that hang on no version of a compressor: one byte again and again, bytes that do not compress.
truncate -s 8M plain
fill plain 0 1048576 4
head -c 1048576 /dev/zero | tr '\0' a | dd of=plain bs=1M seek=3 conv=notrunc status=none
"$VIXDISK" convert -q -f raw -t streamOptimized plain stream.vmdk
try "compression" golden ratio.svg "$VIXDISK" map --svg - --cells 64 --color ratio stream.vmdk
stored() { # what is told is the space of the records, which is the file but for its tables
    "$VIXDISK" map --svg r.svg --cells 16 --color ratio stream.vmdk &&
        xml r.svg '"stored in 0.8% of its length" in " ".join(titles) and "stored in 100.8% of its length" in " ".join(titles)'
}
try "compression in figures" stored

all_told() { # color curve: the titles cover the disk, once
    "$VIXDISK" map --svg all.svg --cells 65536 --color "$1" --curve "$2" top.vmdk &&
        xml all.svg '[(int(t.split()[1].rstrip(",")), int(t.split()[2])) for t in titles] and
            sum(int(t.split()[2]) for t in titles) == 64 << 20 and
            all(int(a.split()[1].rstrip(",")) + int(a.split()[2]) == int(b.split()[1].rstrip(",")) for a, b in zip(titles, titles[1:]))'
}
area() { # curve: squares and rectangles of the cells do not overlap and are as many as there are cells
    "$VIXDISK" map --svg all.svg --cells 4096 --curve "$1" top.vmdk && /usr/bin/python3 - all.svg <<'PYTHON'
import re, sys, xml.etree.ElementTree as et
svg = "{http://www.w3.org/2000/svg}"
seen = set()
for path in et.parse(sys.argv[1]).getroot().iter(svg + "path"):
    if path.find(svg + "title") is None:
        continue
    for x, y, w, h in re.findall(r"M(\d+) (\d+)h(\d+)v(\d+)h-\d+z", path.get("d")):
        for i in range(int(w)):
            for j in range(int(h)):
                place = (int(x) + i, int(y) + j)
                assert place not in seen, place
                seen.add(place)
assert len(seen) == 4096, len(seen)
PYTHON
}
for curve in rows hilbert; do
    for color in alloc link changed ratio; do
        try "$color, $curve: all of the disk is told" all_told $color $curve
    done
    try "$curve: every cell has a place of its own" area $curve
done
neighbours() { # one after the other on the curve: side by side in the picture
    head -c 64M /dev/zero >striped
    /usr/bin/python3 -c 'f = open("striped", "r+b")
for i in range(0, 1024, 2):
    f.seek(i << 16)
    f.write(b"x" * 65536)'
    "$VIXDISK" convert -q -f raw -t monolithicSparse --overwrite striped striped.vmdk
    "$VIXDISK" map --svg s.svg --cells 1024 --curve hilbert striped.vmdk && /usr/bin/python3 - s.svg <<'PYTHON'
import re, sys, xml.etree.ElementTree as et
svg = "{http://www.w3.org/2000/svg}"
places = [tuple(map(int, re.match(r"M(\d+) (\d+)", p.get("d")).groups()))
          for p in et.parse(sys.argv[1]).getroot().iter(svg + "path") if p.find(svg + "title") is not None]
assert len(places) == 1024 and places[0] == (0, 0)
assert all(abs(a[0] - b[0]) + abs(a[1] - b[1]) == 1 for a, b in zip(places, places[1:]))
PYTHON
}
try "Hilbert's curve goes from neighbour to neighbour" neighbours

# Names that would be markup, that are no UTF-8, that turn the writing round, that are long.
hostile() { # name: it is text, all of it or its ends
    "$VIXDISK" create -s 1M plain.vmdk && mv plain.vmdk "$1" && "$VIXDISK" map --svg h.svg --color link "$1" && ! grep -q '<script\|<b>' h.svg &&
        xml h.svg 'tags == {"svg", "title", "style", "rect", "text", "tspan", "g", "path"} and
            not any(c in t for t in texts for c in "\u202e\u0007\ufeff")' && rm "$1"
}
try "a name that is markup" hostile "<script>alert('1')<b>&amp;\"]]>.vmdk"
try "a name that is no UTF-8" hostile $'a\xff\xc0\x80\xed\xa0\x80b.vmdk'
try "a name with control characters" hostile $'a\x07\x1b[31m\nb\xe2\x80\xaegpj.vmdk'
try "a long name" hostile "$(printf 'W%.0s' {1..200}).vmdk"
plain_terminal() { "$VIXDISK" create -s 1M plain.vmdk && mv plain.vmdk $'a\x1b[31mb.vmdk' && [ -z "$("$VIXDISK" map --text $'a\x1b[31mb.vmdk' | tr -cd '\033')" ]; }
try "control characters of a name do not reach the terminal" plain_terminal

whole() { # a file that cannot be written leaves what was there
    echo old >kept.svg && chmod 640 kept.svg && "$VIXDISK" map --svg kept.svg top.vmdk && grep -q '</svg>' kept.svg &&
        [ "$(stat -c %a kept.svg)" = 640 ] && [ "$(files_like '*.tmp-*')" = 0 ] &&
        cp kept.svg before && (ulimit -f 1 && trap '' XFSZ && ! "$VIXDISK" map --svg kept.svg top.vmdk 2>err) &&
        grep -q 'kept.svg: VIX_E_FILE_ERROR' err && cmp kept.svg before && [ "$(files_like '*.tmp-*')" = 0 ]
}
try "a picture is written whole or not at all" whole
to_pipe() { "$VIXDISK" map --svg /dev/stdout top.vmdk | cmp - <("$VIXDISK" map --svg - top.vmdk); }
try "into a pipe" to_pipe
no_folder() { fails_with 1 'vixdisk: map: no/x.svg: VIX_E_FILE_NOT_FOUND .*' "$VIXDISK" map --svg no/x.svg top.vmdk; }
try "a folder that is not there" no_folder

try "a link that is not there" fails_with 2 'vixdisk: map: --since 3: the chain has no such link; .*' \
    "$VIXDISK" map --svg - --color changed --since 3 top.vmdk
try "a colour that is none" fails_with 2 'vixdisk: map: --color is alloc, .*' "$VIXDISK" map --svg - --color red top.vmdk
try "a curve that is none" fails_with 2 'vixdisk: map: --curve is rows or .*' "$VIXDISK" map --svg - --curve round top.vmdk
try "--color without --svg" fails_with 2 'vixdisk: map: .* go with --svg .*' "$VIXDISK" map --color link top.vmdk
try "--since without --color changed" fails_with 2 'vixdisk: map: --since goes with .*' "$VIXDISK" map --svg - --since 1 top.vmdk
try "--text and --svg" fails_with 2 'vixdisk: map: --text and --svg .*' "$VIXDISK" map --svg - --text top.vmdk
try "--text and --json" fails_with 2 'vixdisk: map: --text and --svg do not .*' "$VIXDISK" map --json --text top.vmdk
try "too many cells" fails_with 2 'vixdisk: map: .*65536.*' "$VIXDISK" map --svg - --cells 65537 top.vmdk
try "a raw image" "$VIXDISK" map -f raw --svg raw.svg model
no_stored() { fails_with 1 'vixdisk: map: model: VIX_E_NOT_SUPPORTED .*' "$VIXDISK" map -f raw --svg - --color ratio model; }
try "a raw image has no compressed grains" no_stored
damaged() { # the length of the first grain's record
    cp stream.vmdk bad.vmdk && poke bad.vmdk $((128 * 512 + 8)) ffffff7f &&
        fails_with 1 'vixdisk: map: bad.vmdk: VIX_E_DISK_NEEDSREPAIR .*allowed are 1 to 131072' "$VIXDISK" map --svg - --color ratio bad.vmdk
}
try "a record of a length that no grain has" damaged
