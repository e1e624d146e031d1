#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# A real file system written by us in every type is the same disk to other programs: qemu-img, libvmdk, 7-Zip.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/../lib/tap.sh"
export PATH=/usr/bin:/bin:/usr/sbin:/sbin:$PATH

"$SRC/scripts/make-image" image 1024 "${VIXDISK_TEST_MIB:-300}"
sha256sum <image >image.sum

sum_agrees() { # file
    sha256sum <"$1" | cmp - image.sum
}
way_back() { # file
    rm -f back
    "$VIXDISK" convert --quiet -t raw "$1" back && cmp image back && sum_agrees back
}
holes_stay_holes() { # file: it takes no more space than the image and a twentieth
    local used limit
    used=$(($(stat -c '%b * %B' "$1")))
    limit=$(($(stat -c '%b * %B' image) * 21 / 20 + 1048576))
    echo "$used of at most $limit bytes"
    [ "$used" -le "$limit" ]
}
pyvmdk_agrees() { # file
    /usr/bin/python3 - "$1" <<'PYTHON' | cmp - image.sum
import hashlib, sys
import pyvmdk

handle = pyvmdk.handle()
handle.open(sys.argv[1])
handle.open_extent_data_files()
left = handle.get_media_size()
digest = hashlib.sha256()
while left > 0:
    data = handle.read_buffer(min(left, 4 << 20))
    assert data, "short read"
    digest.update(data)
    left -= len(data)
print(digest.hexdigest() + "  -")
PYTHON
}
seven_zip() { # file
    7zz t -bd "$1"
}

for type in monolithicSparse monolithicFlat twoGbMaxExtentSparse twoGbMaxExtentFlat vmfs vmfsThin streamOptimized; do
    disk=$type.vmdk
    try "$type: import" "$VIXDISK" convert --quiet -f raw -t "$type" image "$disk"
    try "$type: qemu-img compare says identical" qemu-img compare -f raw -F vmdk image "$disk"
    case $type in
        monolithicSparse | twoGbMaxExtentSparse | streamOptimized)
            try "$type: qemu-img check is clean" qemu-img check -f vmdk "$disk"
            ;;
    esac
    case $type in
        monolithicSparse | streamOptimized)
            try "$type: 7-Zip tests it without a complaint" seven_zip "$disk"
            try "$type: holes stay holes" holes_stay_holes "$disk"
            ;;
    esac
    case $type in
        vmfs*) ;; # libvmdk opens these, but reads flat extents of hosted disks only
        *) try "$type: libvmdk reads the same" pyvmdk_agrees "$disk" ;;
    esac
    try "$type: the way back" way_back "$disk"
    rm -f ./"$type"*
done
