#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The pictures of the README are what their script makes; a page of pictures and reports in a browser.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/../lib/tap.sh"
. "$SRC/tests/cli/lib.sh"

export PYTHONDONTWRITEBYTECODE=1
try "docs/pictures are what make pictures makes" "$SRC/scripts/make-pictures" --check "$VIXDISK"

truncate -s 64M model
fill model 0 6291456 1
fill model 20971520 2097152 2
head -c 1048576 /dev/zero | tr '\0' a | dd of=model bs=1M seek=40 conv=notrunc status=none
long=$(printf 'W%.0s' {1..120}).vmdk
"$VIXDISK" convert -q -f raw -t monolithicSparse model base.vmdk
"$VIXDISK" snapshot base.vmdk child.vmdk
head -c 3M model | "$VIXDISK" write -q -o 30M child.vmdk
"$VIXDISK" convert --report convert.html -t streamOptimized child.vmdk "$long"
"$VIXDISK" sync -q --report sync-full.html base.vmdk copy.img
"$VIXDISK" sync -q --report sync-changes.html --verify full child.vmdk copy.img
cp base.vmdk bad.vmdk && poke bad.vmdk 72 01
"$VIXDISK" check -q --report check.html bad.vmdk >/dev/null
mv child.vmdk "漢字-$long"
for curve in rows hilbert; do
    for color in alloc link changed ratio; do
        "$VIXDISK" map --svg $color-$curve.svg --color $color --curve $curve "漢字-$long"
    done
done
"$VIXDISK" map --svg ratio-stream.svg --color ratio "$long"
cp "$SRC"/docs/pictures/*.svg .
tell_why() { # line: what stands behind it
    grep -F -A1 -- "$1" browser.out
    false
}
if command -v chromium >/dev/null; then
    /usr/bin/python3 "$SRC/tests/pictures/browser.py" ./*.svg convert.html check.html sync-*.html >browser.out 2>&1
    # each line is a result of its own
    while IFS= read -r line; do
        case $line in
            "ok - "*) try "${line#ok - }" true ;;
            "not ok - "*) try "${line#not ok - }" tell_why "$line" ;;
        esac
    done <browser.out
    try "the browser has looked at all" grep -qx "# 15 pages in light and dark" browser.out
else
    try "chromium is there (scripts/setup check)" false
fi
