# SPDX-License-Identifier: BSD-3-Clause
# The usual words over meson and ninja. Builds are made under build/: release, asan, tsan.
#
#   make                 build the library and the command
#   make packages        Debian packages, into build/packages
#   make demo            install what is missing, build, show the main job on real data
#   make check           install what is missing, run every test
#   make check-packages  the packages in a bare root, and the RPM packages
#   make check-containerfile  install/image/Containerfile, built by buildah without a registry
#   make check-arm64     everything for arm64: cross-built, tests under QEMU, the tree, an image for both processors
#   make check-guest     hotadd and san in a guest of QEMU, on the hardware that Linux takes for VMware's
#   make lint            the checks of the source alone
#   make soak            [KILLS=N] [MINUTES=30] kill command and host at random moments, load the host, fail every
#                        call, lose the power at every moment
#   make differential    [SEEDS=1000] random disks, damaged too, read by ours and by qemu-img; every difference has a name
#   make helgrind        eight threads that mix all calls, under valgrind's helgrind; some minutes
#   make fuzz            [TIME=60] [TARGET=name] fuzz each target for so many seconds
#   make coverage        which lines of the source the tests run, and of what kind the others are; 20 minutes
#   make bench           [ROW=NAME...] compare the speed with others, and with what the machine can do
#   make curve           how times grow with capacity and grains; draws bench/curve.svg
#   make tree            the tree that travels, vmware-vix-disklib-distrib, as a folder and a tarball in build/dist
#   make image           the same as an OCI image for KubeVirt's importer and Forklift, build/dist/*.oci.tar
#   make pictures        draws docs/pictures anew: a chain, and the bars of the table in bench/README.md
#   make dist            the source of the last commit, build/dist/vixdisk-VERSION.tar.xz
#   make release         all of these in build/dist, with SHA256SUMS
#   make check-reproducible   the tree and the image twice, in two paths: the same bytes; some minutes
#   make install         [DESTDIR=] [PREFIX=/usr/local]
#   make clean

PREFIX ?= /usr/local
B = build/release
DIST = build/dist

.PHONY: all build packages demo check check-packages check-containerfile check-arm64 check-guest lint soak differential helgrind fuzz coverage bench bench-build curve pictures tree image dist release check-reproducible \
    install clean

all: build

build: $(B)/build.ninja
	ninja -C $(B)

$(B)/build.ninja:
	scripts/setup --check build
	meson setup $(B) --buildtype=release --prefix=$(abspath $(PREFIX))

packages:
	@scripts/setup packages
	@scripts/make-packages

demo:
	@scripts/setup demo
	@scripts/demo

check:
	@scripts/setup check
	@scripts/check

check-packages:
	@scripts/setup check
	@tests/packages/packages.sh --all

check-containerfile:
	@scripts/setup check containerfile
	@$(MAKE) --no-print-directory build
	@tests/tree/containerfile.sh

check-arm64:
	@scripts/setup check arm64
	@$(MAKE) --no-print-directory build
	@tests/arm64/arm64.sh

check-guest:
	@scripts/setup guest
	@$(MAKE) --no-print-directory build
	@VIXDISK=$(B)/tool/vixdisk tests/guest/guest.sh

lint:
	@scripts/setup check
	@scripts/check lint

soak:
	@scripts/setup check
	@$(MAKE) --no-print-directory build
	@VIXDISK=$(B)/tool/vixdisk tests/soak/kill9.py --kills $(or $(KILLS),500)
	@VIXDISK=$(B)/tool/vixdisk VIXDISKD=$(B)/daemon/vixdiskd tests/soak/host.py --kills $(or $(KILLS),500)
	@VIXDISK=$(B)/tool/vixdisk VIXDISKD=$(B)/daemon/vixdiskd tests/soak/host.py --minutes $(or $(MINUTES),30)
	@VIXDISK_FAULTS=all $(B)/tests/api/api_faults
	@VIXDISK_FAULTS=all $(B)/tests/api/api_net_faults $(B)/daemon/vixdiskd
	@VIXDISK_CRASH_SEEDS=20 $(B)/tests/unit/test_power_loss

differential:
	@scripts/setup check
	@$(MAKE) --no-print-directory build
	@VIXDISK=$(B)/tool/vixdisk tests/differential/run.py --seeds $(or $(SEEDS),1000) --jobs $$(nproc)

helgrind:
	@scripts/setup check
	@test -e build/helgrind/build.ninja || meson setup build/helgrind --buildtype=debugoptimized \
	    -Dc_args=-I$(CURDIR)/tests/helgrind
	@ninja -C build/helgrind
	@valgrind --tool=helgrind --quiet --error-exitcode=99 --suppressions=tests/helgrind/foreign.supp \
	    build/helgrind/tests/api/api_threads build/helgrind/daemon/vixdiskd 8

fuzz:
	@scripts/setup fuzz
	@$(MAKE) --no-print-directory build
	@scripts/fuzz --time $(or $(TIME),60) $(TARGET)

coverage:
	@scripts/setup check
	@nice scripts/coverage

bench-build:
	@scripts/setup bench
	@$(MAKE) --no-print-directory build
	@meson setup --reconfigure $(B) >/dev/null
	@ninja -C $(B)

bench: bench-build
	@PYTHONDONTWRITEBYTECODE=1 bench/run.py --build $(B) $(foreach row,$(ROW),--row $(row))

curve: bench-build
	@PYTHONDONTWRITEBYTECODE=1 bench/curve.py --build $(B) --svg bench/curve.svg

tree:
	@scripts/setup tree
	@scripts/make-tree $(DIST)

image: tree
	@scripts/make-oci $(DIST)/vixdisk-vddk-$$(scripts/version).$$(uname -m).oci.tar $(DIST)

dist:
	@mkdir -p $(DIST)
	git archive --prefix=vixdisk-$$(scripts/version)/ HEAD | xz -9 >$(DIST)/vixdisk-$$(scripts/version).tar.xz

release: image dist
	cd $(DIST) && sha256sum vixdisk-* >SHA256SUMS

check-reproducible:
	@scripts/setup tree
	@scripts/check-reproducible

pictures: build
	@scripts/make-pictures $(B)/tool/vixdisk

install: $(B)/build.ninja
	meson configure $(B) -Dprefix=$(abspath $(PREFIX))
	ninja -C $(B)
	DESTDIR=$(if $(DESTDIR),$(abspath $(DESTDIR))) meson install -C $(B) --no-rebuild
	@if [ -z "$(DESTDIR)" ] && [ "$$(id -u)" = 0 ]; then ldconfig; fi

clean:
	rm -rf build
