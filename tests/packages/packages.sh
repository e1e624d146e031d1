#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Builds the Debian packages and looks at them, installs them in a root of Debian that has nothing else, and uses them
# there: the first example of README.md, debian/tests, nbdkit's vddk plugin, the service.
#   tests/packages/packages.sh [--all]     --all: also what takes longer, a compiler in the root and the RPM packages
# Needs root, for the root's sake.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/../lib/tap.sh"

export PATH=/usr/bin:/bin:/usr/sbin:/sbin
packages=$SRC/build/packages
root=$TMP/root
all=
[ "${1:-}" != --all ] || all=yes

if [ "$(id -u)" -ne 0 ]; then
    echo "not ok - the packages are tested by root"
    exit 1
fi

# The command's own /proc, and no process of it lives on.
in_root() {
    unshare --mount --pid --fork --kill-child --root="$root" --mount-proc \
        env -i PATH="$PATH" HOME=/root TMPDIR=/tmp LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive "$@"
}

#---- what is built

version=$(dpkg-parsechangelog -l "$SRC/debian/changelog" -S Version)
same_version() { grep -qE "^  version: '$version',\$" "$SRC/meson.build"; }
try "the packages have the source's version" same_version

# shellcheck disable=SC2016 # \1 & are what an address must not become
maintained() {
    mkdir -p copy/scripts && cp -r "$SRC/debian" "$SRC/rpm" copy && cp "$SRC/scripts/set-maintainer" copy/scripts &&
        ! copy/scripts/set-maintainer 'No Address' https://example.org/ && copy/scripts/set-maintainer 'A & \1 B <c@example.org>' 'https://example.org/?a&b' &&
        ! grep -r 'vixdisk\.invalid' copy/debian copy/rpm && [ "$(grep -rhoF 'A & \1 B <c@example.org>' copy | wc -l)" = 3 ] &&
        grep -qxF 'Homepage: https://example.org/?a&b' copy/debian/control && grep -qE '^URL: +https://example.org/\?a&b$' copy/rpm/vixdisk.spec &&
        dpkg-parsechangelog -l copy/debian/changelog -S Maintainer | grep -qxF 'A & \1 B <c@example.org>'
}
try "scripts/set-maintainer puts an address in all places" maintained

try "the packages build" "$SRC/scripts/make-packages"

# lintian does not like to be run by root, and says so.
lint() {
    lintian --info --display-info --pedantic --fail-on error,warning,info,pedantic \
        "$packages"/*.changes 2>&1
}
try "lintian finds nothing" lint

hardened() {
    local deb file folder
    for deb in "$packages"/*.deb; do
        folder=files/${deb##*/}
        mkdir -p "$folder"
        dpkg-deb -x "$deb" "$folder"
        while read -r file; do
            echo "$file"
            readelf -dW "$file" >dynamic
            readelf -lW "$file" >segments
            grep -q 'BIND_NOW\|FLAGS_1.*NOW' dynamic && grep -q GNU_RELRO segments && ! grep -q 'RPATH\|RUNPATH' dynamic &&
                grep -q 'GNU_STACK.* RW ' segments && ! grep -q TEXTREL dynamic || return 1
        done < <(find "$folder" -type f \( -name '*.so*' -o -perm -u+x \) -exec sh -c 'head -c 4 "$1" | grep -q ELF' sh {} \; -print)
    done
}
try "programs and libraries are hardened, and look for libraries in the system's folders only" hardened

#---- a root

tarball=$("$SRC/scripts/get-root") || { echo "not ok - there is a root to install in"; exit 1; }
unpack() { mkdir "$root" && tar -x -f "$tarball" -C "$root" && cp /etc/resolv.conf "$root/etc/" && mkdir -p "$root/build/packages"; }
try "a bare root is there" unpack
cp "$packages"/*.deb "$root/build/packages/"

# The command in the first line of README.md and its first two examples, as they are there.
# shellcheck disable=SC2016 # a backquote of Markdown's
sed -nE '1s/.*(apt install [^`]*\.deb)`.*/\1/p' "$SRC/README.md" >install
sed -nE 's/^    (vixdisk convert .*)$/\1/p' "$SRC/README.md" | sed -E 's/ +#.*//' >examples
if [ ! -s install ] || [ ! -s examples ]; then
    echo "not ok - README.md has examples"
    exit 1
fi
install_all() { in_root sh -exc "cd /; $(sed 's/^apt /apt-get -q -y /' install)"; }
try "README.md's installation: $(cat install)" install_all
readme() {
    in_root sh -exc "
        cd /tmp
        head -c 3000000 /usr/bin/perl >disk.img
        truncate -s 32M disk.img
        $(head -2 examples)
        vixdisk check export.vmdk"
    qemu-img compare -f raw -F vmdk "$root/tmp/disk.img" "$root/tmp/disk.vmdk" &&
        qemu-img compare -f raw -F vmdk "$root/tmp/disk.img" "$root/tmp/export.vmdk"
}
try "README.md's first example" readme

# shellcheck disable=SC2016 # for the shell in the root
enabled_nothing() {
    in_root sh -exc 'getent passwd vixdiskd | grep ":/var/lib/vixdiskd:/usr/sbin/nologin$"
        test ! -e /etc/systemd/system/multi-user.target.wants/vixdiskd.service
        test "$(readlink -f /usr/lib/vmware-vix-disklib)" = /usr/lib/$(dpkg --print-architecture | sed s/amd64/x86_64/ | sed s/arm64/aarch64/)-linux-gnu/vmware-vix-disklib'
}
try "the host has a user and is not started; the kit is where VMware puts it" enabled_nothing

#---- debian/tests

mkdir "$root/tests"
cp "$SRC"/debian/tests/* "$root/tests/"
depends() { # test: its packages, @ left out, since ours are installed
    awk -v RS= -v name="$1" '$0 ~ "Tests: " name "\n" { print }' "$SRC/debian/tests/control" |
        sed -n 's/^Depends: //p' | tr ',' ' '
}
tests='command kit host nbd'
[ -z "$all" ] || tests+=' build'
list=
for test in $tests; do
    list+=" $(depends "$test")"
done
# shellcheck disable=SC2086 # words
need() { in_root apt-get -q -y install --no-install-recommends $list; }
try "what debian/tests depend on" need
for test in $tests; do
    try "debian/tests/$test" in_root "/tests/$test"
done

#---- nbdkit's vddk plugin, which Debian 12 has not

if [ "$(uname -m)" = x86_64 ]; then
    nbdkit_dir=$("$SRC/scripts/get-nbdkit") || { echo "not ok - nbdkit can be built"; exit 1; }
    # Its wrapper knows it by the path of its folder.
    mkdir -p "$root$nbdkit_dir"
    mount --bind "$nbdkit_dir" "$root$nbdkit_dir" || exit 1
    # shellcheck disable=SC2317 # called at the end
    cleanup() { umount "$root$nbdkit_dir"; }
    vddk() {
        # shellcheck disable=SC2016 # nbdkit's shell expands $uri
        in_root sh -exc '
            cd /tmp
            nbdkit=$1/nbdkit
            "$nbdkit" vddk libdir=/usr/lib/vmware-vix-disklib --dump-plugin | grep vddk_dll=
            "$nbdkit" -U - -r vddk libdir=/usr/lib/vmware-vix-disklib /tmp/disk.vmdk --run '\''nbdcopy "$uri" vddk.img'\''
            cmp disk.img vddk.img' sh "$nbdkit_dir"
    }
    try "nbdkit's vddk plugin with the installed kit" vddk
    cleanup
    unset -f cleanup
else
    skip "nbdkit's vddk plugin" "upstream builds it for x86-64 only"
fi

#---- the service

unit=$root/lib/systemd/system/vixdiskd.service
verify() { systemd-analyze verify --root="$root" --man=no vixdiskd.service 2>&1 | tee out; ! grep vixdiskd out; }
try "systemd takes the unit" verify
exposure() { systemd-analyze security --offline=yes --threshold=20 "$unit"; }
try "the unit's exposure is at most 2.0" exposure

#---- RPM

spec=$SRC/rpm/vixdisk.spec
same_rpm_version() { grep -qE "^Version: +$version\$" "$spec"; }
try "the RPM spec has the source's version" same_rpm_version
rpm_spec() { rpmspec --load="$SRC/tests/packages/fedora.macros" -P "$spec"; }
try "rpmspec takes the RPM spec" rpm_spec
lint_spec() { rpmlint --strict -r "$SRC/rpm/vixdisk.rpmlintrc" "$spec"; }
try "rpmlint finds nothing in it" lint_spec
# With --all, by Debian's rpm and the macros above in the place of Fedora's.
rpms() {
    mkdir -p rpm/SOURCES && git -C "$SRC" ls-files -z | tar -c -C "$SRC" --null --no-recursion -T - \
        --transform "s,^,vixdisk-$version/,S" -J -f "$TMP/rpm/SOURCES/vixdisk-$version.tar.xz" &&
        rpmbuild --load="$SRC/tests/packages/fedora.macros" --nodeps -bb --define "_topdir $TMP/rpm" \
            --define "_smp_mflags -j$(nproc)" "$spec" && ls rpm/RPMS/*/*.rpm
}
if [ -n "$all" ]; then
    try "rpmbuild makes the RPM packages" rpms
fi

#---- and away

# shellcheck disable=SC2016
purge() {
    in_root sh -exc 'apt-get -q -y purge libvixdisklib8 libvixdisklib-dev vixdisk vixdiskd vixdisk-vddk-tree nbdkit-plugin-vixdisk
        test ! -e /usr/lib/vmware-vix-disklib
        test -z "$(find / -xdev -iname "*vixdisk*" -not -path "/tests/*" -not -path "/build/*" -not -path "/tmp/*" -not -path "/var/lib/vixdiskd*" \
            -not -path "/root/.cache/*")"'
}
try "nothing is left when they are removed" purge
