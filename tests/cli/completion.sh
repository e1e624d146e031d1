#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# bash's completion of the command: the words that the completion function offers for a line that is being typed, against
# what the command says of itself.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/../lib/tap.sh"
. "$SRC/tests/cli/lib.sh"

make_completion() {
    "$VIXDISK" help --json >help.json && "$VIXDISK" errors --json >errors.json &&
        "$SRC/tool/make-completion" help.json errors.json "$SRC/src/base/config.h" >completion
}
make_completion || { echo "not ok - the completion is made"; exit 1; }

# offers LINE: what is offered at the end of a line, sorted, in one line. readline makes a word of each "=".
cat >offers <<'SCRIPT'
. ./completion
[ "$(complete -p vixdisk)" = 'complete -F _vixdisk vixdisk' ] || exit 9
line=$1
mapfile -t COMP_WORDS < <(sed 's/=/ = /g; s/  */\n/g' <<<"$line")
COMP_CWORD=$((${#COMP_WORDS[@]} - 1)) COMP_LINE=$line COMP_POINT=${#line}
_vixdisk vixdisk "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\n' "${COMPREPLY[@]}" | sort | paste -sd ' '
SCRIPT
offers() {
    bash offers "$1"
}

is_offered() { # line expected-words
    local found
    found=$(offers "$1") || return
    echo "offered: $found"
    [ "$found" = "$2" ]
}

mkdir -p folder && touch disk.vmdk disk2.vmdk other.img 'two words.vmdk'
all() { # Python expression over the tables d: the words, sorted
    /usr/bin/python3 -c 'import json, subprocess, sys
d = json.load(open("help.json"))
c = {x["name"]: x for x in d["commands"]}
words = eval(sys.argv[1])
print(" ".join(subprocess.run(["sort"], input="\n".join(words) + "\n", text=True, capture_output=True).stdout.split()))' "$1"
}
try "all commands" is_offered 'vixdisk ' "$(all 'list(c) + ["--help", "--version"]')"
try "commands by their beginning" is_offered 'vixdisk com' "commit compare"
options_of_all() {
    local name
    for name in $(all 'list(c)'); do
        is_offered "vixdisk $name --" "$(all '["--" + o["name"] + ("" if o["kind"] in ("flag", "progress") else "=")
            for o in c["'"$name"'"]["options"]]')" || return
    done
}
try "the options of each command are those of its table" options_of_all
try "options by their beginning, behind operands" is_offered 'vixdisk convert a.vmdk --o' "--output-type= --output= --overwrite"
try "an alias has its command's options" is_offered 'vixdisk resize --geo' "--geometry"
try "types, behind a letter" is_offered 'vixdisk create -t vm' "vmfs vmfsSparse vmfsThin"
try "types and raw, behind =" is_offered 'vixdisk convert --type=' "$(all '["raw"] + [t["name"] for t in d["types"]]')"
try "types, behind a space" is_offered 'vixdisk convert --type r' "raw"
try "adapters" is_offered 'vixdisk create --adapter=' "buslogic ide lsilogic"
try "formats" is_offered 'vixdisk info -f ' "raw vmdk"
try "compression" is_offered 'vixdisk info --compress=f' "fastlz"
try "keys of the configuration" is_offered 'vixdisk info --set vixdisk.th' "vixdisk.threads="
try "an option whose value is free has nothing on offer" is_offered 'vixdisk create -s ' ""
try "files as operands" is_offered 'vixdisk info di' "disk.vmdk disk2.vmdk"
try "files as values of options" is_offered 'vixdisk create --backing=ot' "other.img"
try "names with blanks and folders" is_offered 'vixdisk rm ' "$(find . -mindepth 1 -maxdepth 1 -printf '%P\n' | sort | paste -sd ' ')"
try "the second operand" is_offered 'vixdisk compare other.img di' "disk.vmdk disk2.vmdk"
try "an option's value is no operand" is_offered 'vixdisk bench -d 4 ' "read write"
try "behind a choice, files" is_offered 'vixdisk bench read disk.' "disk.vmdk"
try "a key of the disk database is not guessed" is_offered 'vixdisk meta disk.vmdk ' ""
try "names of errors" is_offered 'vixdisk errors VIX_E_DISK_CAN' "VIX_E_DISK_CANTREPAIR VIX_E_DISK_CANTSHRINK"
try "commands, to help" is_offered 'vixdisk help sn' "snapshot"
try "behind --, files only" is_offered 'vixdisk info -- --' ""
try "a command that there is not" is_offered 'vixdisk none --' ""
try "shellcheck" shellcheck completion
