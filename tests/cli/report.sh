#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# --report: a page that is whole and needs nothing, figures that agree with the disks, names that are only text.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/../lib/tap.sh"
. "$SRC/tests/cli/lib.sh"

# page FILE EXPRESSION: over its tags, its text, and the values of attributes
page() {
    /usr/bin/python3 -c 'import html.parser, re, sys
class Reader(html.parser.HTMLParser):
    void = {"meta", "link", "br", "img"}
    def __init__(self):
        super().__init__()
        self.tags, self.texts, self.values, self.open, self.fine = set(), [], [], [], True
    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.values += [v for k, v in attrs if k != "xmlns"]
        self.fine = self.fine and not any(k.startswith("on") or k in ("src", "href") for k, v in attrs)
        self.open += [] if tag in self.void else [tag]
    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.open.pop()
    def handle_endtag(self, tag):
        self.fine = self.fine and self.open and self.open.pop() == tag
    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.texts.append(data)
r = Reader()
source = open(sys.argv[1], encoding="utf-8").read()
r.feed(source)
r.close()
text, tags = "".join(r.texts), r.tags
fine = r.fine and not r.open and "script" not in tags and "url(" not in source and "@import" not in source
ok = fine and eval("(" + sys.argv[2] + ")")
if not ok:
    print(fine, sorted(tags), text)
sys.exit(not ok)' "$1" "$2"
}

truncate -s 64M model
fill model 0 6291456 1
fill model 20971520 2097152 2
"$VIXDISK" convert -q -f raw -t monolithicSparse model base.vmdk

report() { # type: page and JSON of a conversion
    "$VIXDISK" convert --json --overwrite --report "$1.html" -t "$1" base.vmdk "to-$1" >"$1.json" &&
        json "$1.json" "d['command'] == 'convert' and d['from'] == 'base.vmdk' and d['to'] == 'to-$1' and
            d['virtual-size'] == 64 << 20 and d['data'] == 8 << 20 and d['holes'] == 56 << 20 and d['zeros'] == 0 and
            d['bytes-read'] >= 8 << 20 and d['seconds'] > 0 and d['wire-in'] == d['wire-out'] == d['retries'] == 0 and
            sorted(d['busy-percent']) == ['codec', 'network', 'read', 'write'] and
            all(0 <= p <= 100 for p in d['busy-percent'].values()) and d['busy-percent']['network'] == 0 and
            d['busy-percent']['write'] > 0 and 1 <= len(d['slowest']) <= 8 and
            all(a['ms'] >= b['ms'] for a, b in zip(d['slowest'], d['slowest'][1:])) and
            all(a['seconds'] <= b['seconds'] and a['bytes-read'] <= b['bytes-read'] for a, b in zip(d['samples'], d['samples'][1:]))" &&
        page "$1.html" "all(w in text for w in ('vixdisk convert: done', 'base.vmdk → to-$1', 'Capacity64 MiB', 'Data8 MiB',
            'What limits it', 'Before', 'After', 'Slowest requests', 'Throughput, mean')) and 'svg' in tags and 'There is no map' not in text"
}
for type in raw monolithicSparse twoGbMaxExtentFlat streamOptimized; do
    try "$type: page and JSON" report $type
done
written() { # what is told to be written is what was: 8 MiB of data; the records of the stream, and the end of the empty one
    json monolithicSparse.json "d['bytes-written'] == 8 << 20" && json raw.json "d['bytes-written'] == 8 << 20" &&
        json streamOptimized.json "abs($(stat -c %s to-streamOptimized) - d['bytes-written']) <= 65536"
}
try "bytes written" written
codec() { # at the highest level that is what takes the time; without compression nothing does
    "$VIXDISK" convert --json --overwrite -l 12 -t streamOptimized base.vmdk s.vmdk >12.json &&
        json 12.json "d['busy-percent']['codec'] == max(d['busy-percent'].values()) and 'ompressing' in d['limit']" &&
        json raw.json "d['busy-percent']['codec'] == 0"
}
try "compressing is told of" codec
inflating() { "$VIXDISK" convert --json --overwrite -t raw to-streamOptimized i.raw >i.json && json i.json "d['busy-percent']['codec'] > 0"; }
try "inflating is told of" inflating
from_pipe() { # no map of what is read once
    "$VIXDISK" convert --report pipe.html -f raw -s 64M -t monolithicSparse - p.vmdk < <(cat model) && "$VIXDISK" compare p.vmdk base.vmdk &&
        page pipe.html "'- → p.vmdk' in text and 'Before' not in text and 'After' in text"
}
try "from a pipe" from_pipe
same_copy() { cmp to-raw model && "$VIXDISK" compare to-streamOptimized base.vmdk; }
try "a report changes nothing of the copy" same_copy
quiet() { [ -z "$("$VIXDISK" convert --overwrite --report q.html -t raw base.vmdk q.raw 2>&1)" ]; }
try "a page without a word on the screen" quiet

failed() { # what went wrong is on the page too
    fails_with 1 'vixdisk: convert: to-raw: VIX_E_FILE_ALREADY_EXISTS .*' "$VIXDISK" convert --report f.html -t raw base.vmdk to-raw &&
        page f.html "'vixdisk convert: failed: VIX_E_FILE_ALREADY_EXISTS' in text and 'After' not in text"
}
try "a conversion that fails" failed
no_source() { ! "$VIXDISK" convert --report n.html -t raw nothere.vmdk n.raw 2>err && page n.html "'vixdisk convert: failed' in text"; }
try "a source that is not there" no_source

no_place() { # found before the work
    fails_with 1 'vixdisk: convert: no/r.html: VIX_E_FILE_NOT_FOUND .*' "$VIXDISK" convert --report no/r.html -t raw base.vmdk x.raw && [ ! -e x.raw ]
}
try "a place that cannot be written" no_place
cut_short() { # the check is done, the page is not there, and that is said
    local status=0
    (ulimit -f 4 && trap '' XFSZ && "$VIXDISK" check --report cut.html base.vmdk >out 2>err) || status=$?
    [ $status -eq 8 ] && grep -q 'no problems' out && grep -q 'cut.html: VIX_E_FILE_ERROR' err && [ ! -e cut.html ] &&
        [ "$(files_like '*.tmp-*')" = 0 ]
}
try "a page that cannot be completed" cut_short
kept() { # the page that was there stays as it was
    echo old >kept.html && (ulimit -f 4 && trap '' XFSZ && ! "$VIXDISK" check -q --report kept.html base.vmdk 2>err) && [ "$(cat kept.html)" = old ]
}
try "a page that cannot be replaced" kept

# ---- check ----
sound() { "$VIXDISK" check --report c.html base.vmdk && page c.html "'vixdisk check: no problems' in text and 'Problems0' in text and 'Findings' not in text and 'The disk' in text"; }
try "check" sound
unsound() {
    cp base.vmdk bad.vmdk && poke bad.vmdk 72 01
    "$VIXDISK" check --json --report b.html bad.vmdk >b.json
    [ $? -eq 4 ] && json b.json "d['corruptions'] + d['notes'] >= 1" && page b.html "'problems are left' in text and 'Findings' in text"
}
try "check: findings" unsound

# ---- sync ----
synced() { # everything, then what the child has: 128 KiB of which 64 KiB are over a hole
    "$VIXDISK" sync --json --report s.html base.vmdk copy.img >s.json &&
        json s.json "d['mode'] == 'full' and d['activity']['bytes-read'] >= 8 << 20 and d['activity']['busy-percent']['write'] > 0" &&
        page s.html "all(w in text for w in ('vixdisk sync: done', 'base.vmdk → copy.img', 'Copiedeverything', 'no state of an earlier copy',
            'Capacity64 MiB', 'Data8 MiB', 'Source', 'Copy', 'What limits it', 'Slowest requests')) and 'copied in this run' not in text" || return
    "$VIXDISK" snapshot base.vmdk child.vmdk && head -c 65536 /dev/urandom >some && "$VIXDISK" write -q -o 1M child.vmdk <some &&
        "$VIXDISK" write -q -o 63M child.vmdk <some && "$VIXDISK" sync --report s.html child.vmdk copy.img >said &&
        grep -qx 'copy.img: changes, 2 areas; read 128 KiB, wrote 128 KiB, made 0 bytes zeros' said &&
        page s.html "all(w in text for w in ('Copiedchanges', 'Areas2', 'Changed128 KiB', 'Written to the copy128 KiB', 'copied in this run128 KiB'))"
}
try "sync: everything, and changes" synced
sync_failed() {
    fails_with 1 '.*VIX_E_FILE_NOT_FOUND.*' "$VIXDISK" sync --report s.html none.vmdk other.img &&
        page s.html "'failed: none.vmdk: VIX_E_FILE_NOT_FOUND' in text"
}
try "sync: one that fails" sync_failed
not_all() { "$VIXDISK" sync --no-full --report s.html base.vmdk copy.img; [ $? = 3 ] && page s.html "'vixdisk sync: everything would be copied' in text"; }
try "sync: everything would be copied" not_all

# ---- names ----
hostile() { # name: it is text, no markup
    cp base.vmdk "$1" && "$VIXDISK" convert --report h.html -t raw --overwrite "$1" "$1.raw" && "$VIXDISK" check -q --report k.html "$1" &&
        page h.html "not tags & {'script', 'b1', 'img'} and not any(c in text for c in '\u202e\x07')" &&
        page k.html "not tags & {'script', 'b1', 'img'}" && rm "$1" "$1.raw"
}
try "a name that is markup" hostile "<script>alert('1')<b1><img src=x onerror=y>&amp;\"]]>.vmdk"
text_stays() { cp base.vmdk 'a<b1>&lt;.vmdk' && "$VIXDISK" convert --report h.html -t raw 'a<b1>&lt;.vmdk' 't.raw' && page h.html "'a<b1>&lt;.vmdk → t.raw' in text"; }
try "and is shown as it is" text_stays
try "a name that is no UTF-8" hostile $'a\xff\xc0\x80\xed\xa0\x80b.vmdk'
try "a name with control characters" hostile $'a\x07\x1b[31m\nb\xe2\x80\xaegpj.vmdk'

try "page and JSON both on standard output" fails_with 2 'vixdisk: convert: --report - .*' "$VIXDISK" convert --json --report - -t raw base.vmdk o.raw
try "page and disk both on standard output" fails_with 2 'vixdisk: convert: --report - .*' "$VIXDISK" convert --report - -t raw base.vmdk -
