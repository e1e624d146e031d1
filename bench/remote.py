# SPDX-License-Identifier: BSD-3-Clause
"""Rows of disks on a host, all over loopback: our client and vixdiskd; beside them nbdkit's file plugin and qemu-nbd
with nbdcopy, bare sockets, bare TLS. Servers run while their row does."""
import os
import re
import socket
import subprocess
import sys
import time

from data import GIB, HERE, MIB
from sides import Row, Run

BYTES = 2 * GIB  # of the disk that is copied
LINE_MBIT = 1000


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(port):
    for _ in range(500):
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.01)
    sys.exit("nothing listens on port %d" % port)


class Remote:
    def __init__(self, build, data, sides):
        self.build = build
        self.tool = os.path.join(build, "tool", "vixdisk")
        self.data = data
        self.sides = sides
        self.running = []
        self.daemon = None
        self.linked = set()

    def end_row(self):
        """Ends the servers of a row."""
        for child in self.running:
            child.terminate()
            child.wait()
        self.running = []

    def stop(self):
        """Ends every server."""
        self.end_row()
        if self.daemon is not None:
            self.daemon.terminate()
            self.daemon.wait()

    def start(self, argv):
        self.running.append(subprocess.Popen(argv, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL))

    # ---- our host ----

    def host(self):
        """Starts vixdiskd over a folder of its own."""
        if self.daemon is not None:
            return
        daemon = os.path.join(self.build, "daemon", "vixdiskd")
        folder = self.data.path("host")
        told = subprocess.check_output([daemon, "--init", folder, "--listen", "127.0.0.1", "--name", "127.0.0.1", "--port",
                                        "0", "--nfc-port", "0"], text=True)
        self.thumbprint = re.search(r"Thumbprint: (\S+)", told).group(1)
        self.store = os.path.join(folder, "datastore1", "vm1")
        log = open(os.path.join(folder, "log"), "w+")
        self.daemon = subprocess.Popen([daemon, "--config", os.path.join(folder, "vixdiskd.conf")],
                                       stdin=subprocess.DEVNULL, stderr=log)
        for _ in range(500):
            log.seek(0)
            ready = re.search(r"ready, https (\d+), nfc (\d+)", log.read())
            if ready:
                self.port, self.nfc_port = int(ready.group(1)), int(ready.group(2))
                return
            time.sleep(0.01)
        sys.exit("vixdiskd does not start")

    def put(self, path, *parts):
        """Makes a disk of the data one of the host's; returns how clients name it."""
        self.host()
        for file in (path, *parts):
            name = os.path.basename(file)
            if name not in self.linked:
                os.link(file, os.path.join(self.store, name))
                self.linked.add(name)
        return "[datastore1] vm1/" + os.path.basename(path)

    def full(self):
        return self.put(self.data.full_flat(), self.data.path("whole-flat.vmdk"))

    def image(self):
        return self.put(self.data.flat(), self.data.path("flat-flat.vmdk"))

    def target(self):
        """A disk to write to, every byte of it there."""
        self.host()
        def make(path):
            self.data.vixdisk("convert", "-q", "-f", "raw", "-t", "monolithicFlat", self.data.random(), path)
        return self.put(self.data.make("target.vmdk", make), self.data.path("target-flat.vmdk"))

    def options(self, transport, nfc_port=None, compress="none"):
        return ["--host", "127.0.0.1", "--port", str(self.port), "--nfc-port", str(nfc_port or self.nfc_port), "--user",
                "vixdisk", "--password-file", self.data.path("host/password"), "--thumbprint", self.thumbprint, "--vm",
                "[datastore1] vm1/vm1.vmx", "--transport", transport, "--compress", compress]

    def bench(self, disk, transport, size, count, depth, *more, **how):
        return [self.tool, "bench", "read", "-q", "--json", "-s", str(size), "-c", str(count), "-d", str(depth), *more,
                *self.options(transport, **how), disk]

    # ---- others ----

    def nbdkit(self):
        return os.path.join(subprocess.check_output([os.path.join(HERE, "..", "scripts", "get-nbdkit")],
                                                    text=True).strip(), "nbdkit")

    def secret(self):
        """Keys for the TLS of NBD."""
        def make(path):
            os.mkdir(path)
            with open(os.path.join(path, "keys.psk"), "w") as f:
                f.write("bench:" + os.urandom(32).hex() + "\n")
        return self.data.make("psk", make)

    def uri(self, port, tls):
        if not tls:
            return "nbd://127.0.0.1:%d" % port
        return "nbds://bench@127.0.0.1:%d/?tls-psk-file=%s/keys.psk" % (port, self.secret())

    def serve_file(self, path, tls):
        port = free_port()
        secure = ["--tls=require", "--tls-psk=%s/keys.psk" % self.secret()] if tls else []
        self.start([self.nbdkit(), "-f", "-i", "127.0.0.1", "-p", str(port), *secure, "file", path])
        wait_for(port)
        return self.uri(port, tls)

    def serve_vmdk(self, path, tls, writable=False):
        port = free_port()
        secure = ["--object", "tls-creds-psk,id=tls0,endpoint=server,dir=" + self.secret(), "--tls-creds",
                  "tls0"] if tls else []
        self.start(["qemu-nbd", "-f", "vmdk", "-b", "127.0.0.1", "-p", str(port), "-t", "-e", "16", *secure,
                    *([] if writable else ["-r"]), path])
        wait_for(port)
        return self.uri(port, tls)

    def out(self, who):
        return self.data.fresh("out-%s.raw" % who)

    def same(self, source, who="ours"):
        def check():
            subprocess.check_call(["cmp", source, self.data.path("out-%s.raw" % who)])
        return check

    # ---- rows ----

    def read(self, transport):
        def row():
            tls = transport == "nbdssl"
            disk, source = self.full(), self.data.random()
            theirs, limit = self.serve_vmdk(self.data.full_flat(), tls), self.serve_file(source, tls)
            return Row("%s: 2 GiB out of a remote disk (peer: qemu-nbd, limit: nbdkit file, both nbdcopy)" % transport,
                       lambda: self.sides.run([self.tool, "convert", "-q", "-t", "raw", *self.options(transport), disk,
                                               self.out("ours")]),
                       lambda: self.sides.run(["nbdcopy", theirs, self.out("peer")]),
                       lambda: self.sides.run(["nbdcopy", limit, self.out("limit")]), self.same(source), 1 / 0.9,
                       gib=BYTES / GIB)
        return row

    def write(self, transport):
        def row():
            tls = transport == "nbdssl"
            disk, source = self.target(), self.data.random()
            copy = self.data.convert("target-peer.vmdk", source, "-f", "raw", "-t", "monolithicFlat")
            raw = self.data.make("target.raw", lambda p: subprocess.check_call(["cp", source, p]))
            theirs, limit = self.serve_vmdk(copy, tls, True), self.serve_file(raw, tls)
            return Row("%s: 2 GiB into a remote disk (peer: qemu-nbd, limit: nbdkit file, both nbdcopy)" % transport,
                       self.sides.command(self.tool, "convert", "-q", "-f", "raw", "-t", "vmfs", "-n",
                                          *self.options(transport), source, disk),
                       self.sides.command("nbdcopy", "--flush", source, theirs),
                       self.sides.command("nbdcopy", "--flush", source, limit),
                       lambda: subprocess.check_call(["cmp", source, self.data.path("target-flat.vmdk")]), 1 / 0.9,
                       gib=BYTES / GIB)
        return row

    # ---- 4 GiB from file to file, beside a program that does nothing but send and receive ----

    def big(self, name, whole):
        """A disk of the host of 4 GiB, its extent the file of random bytes itself or (to be written to) another."""
        source = self.data.big()
        def make(path):
            self.data.vixdisk("create", "-q", "-t", "monolithicFlat", "-s", str(os.path.getsize(source)), path)
            if whole:
                extent = self.data.path(name + "-flat.vmdk")
                os.unlink(extent)
                os.link(source, extent)
        return self.put(self.data.make(name + ".vmdk", make), self.data.path(name + "-flat.vmdk"))

    def bare_copy(self, way):
        return lambda: self.sides.inner(os.path.join(self.build, "bench", "net_limit"), way, "4", self.data.big(),
                                        self.fresh_out("limit"))()

    def fresh_out(self, who):
        """The file that a side writes; those of the sides but ours do not stay, as memory holds them."""
        for other in ("peer", "limit"):
            self.data.fresh("out-%s.raw" % other)
        return self.out(who)

    def server_args(self, transport):
        return ["server=127.0.0.1", "port=%d" % self.port, "nfchostport=%d" % self.nfc_port, "user=vixdisk",
                "password=+" + self.data.path("host/password"), "thumbprint=" + self.thumbprint,
                "vm=[datastore1] vm1/vm1.vmx", "transports=" + transport]

    def copy_out(self, transport, way, plugin):
        def row():
            disk, source = self.big("big", True), self.data.big()
            theirs = self.serve_vmdk(self.data.path("big.vmdk"), way == "tls")
            def ours():
                to = self.fresh_out("ours")
                if plugin:
                    return self.sides.run(self.vddk("-r", *self.server_args(transport), "file=" + disk, "--run",
                                                    'nbdcopy "$uri" ' + to))
                return self.sides.run([self.tool, "convert", "-q", "-t", "raw", *self.options(transport), disk, to])
            return Row("%s: 4 GiB out of a remote disk into a file by %s (peer: qemu-nbd and nbdcopy, limit: a bare %s "
                       "copy of the file)" % (transport, "nbdkit vddk and nbdcopy" if plugin else "convert", way), ours,
                       lambda: self.sides.run(["nbdcopy", theirs, self.fresh_out("peer")]), self.bare_copy(way),
                       self.same(source), 1 / 0.6, gib=4)
        return row

    def copy_in(self, transport, way, plugin):
        def row():
            disk, source = self.big("blank", False), self.data.big()
            self.data.fresh("out-ours.raw")
            def make(path):
                self.data.vixdisk("create", "-q", "-t", "monolithicFlat", "-s", str(os.path.getsize(source)), path)
            def theirs():
                self.fresh_out("peer")
                make(self.data.fresh("out-peer.vmdk"))
                return self.serve_vmdk(self.data.path("out-peer.vmdk"), way == "tls", True)
            def ours():
                os.truncate(self.data.path("blank-flat.vmdk"), 0)
                os.truncate(self.data.path("blank-flat.vmdk"), os.path.getsize(source))
                if plugin:
                    return self.sides.run(self.vddk(*self.server_args(transport), "file=" + disk, "--run",
                                                    'nbdcopy --flush %s "$uri"' % source))
                return self.sides.run([self.tool, "convert", "-q", "-f", "raw", "-t", "vmfs", "-n",
                                       *self.options(transport), source, disk])
            def peer():
                uri = theirs()
                run = self.sides.run(["nbdcopy", "--flush", source, uri])
                self.end_row()
                self.fresh_out("peer")
                return run
            return Row("%s: a file of 4 GiB into a remote disk by %s (peer: qemu-nbd and nbdcopy, limit: a bare %s copy "
                       "of the file)" % (transport, "nbdkit vddk and nbdcopy" if plugin else "convert", way), ours, peer,
                       self.bare_copy(way),
                       lambda: subprocess.check_call(["cmp", source, self.data.path("blank-flat.vmdk")]), 1 / 0.6, gib=4)
        return row

    def line_rate(self, transport, limit, at_most):
        def row():
            return Row("%s: 2 GiB read, 1M, 16 at once (limit: one bare %s)" % (transport, limit),
                       self.sides.inner(*self.bench(self.full(), transport, MIB, BYTES // MIB, 16)), None,
                       self.sides.inner(os.path.join(self.build, "bench", "net_limit"), limit, str(BYTES // GIB)),
                       at_most=at_most, gib=BYTES / GIB)
        return row

    def small(self):
        disk = self.full()
        return Row("nbd: random 4K read, 32 at once (limit: the same one at a time)",
                   self.sides.inner(*self.bench(disk, "nbd", 4096, 50000, 32, "--random")), None,
                   self.sides.inner(*self.bench(disk, "nbd", 4096, 50000, 1, "--random")), at_most=0.2,
                   gib=50000 * 4096 / GIB)

    def line(self, delay_ms, mbit, to):
        """A long (of a round trip) or narrow line to a port: (process, port)."""
        child = subprocess.Popen([os.path.join(self.build, "bench", "line"), str(to), str(delay_ms), str(mbit)],
                                 stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return child, int(child.stdout.readline())

    def on_line(self, delay_ms, mbit, argv_of, to=None):
        """A side that runs over a line of its own, to the host's NFC port or another: (Run, bytes towards the client)."""
        child, port = self.line(delay_ms, mbit, to or self.nfc_port)
        run = self.sides.inner(*argv_of(port))()
        child.stdin.close()
        carried = int(child.stdout.readline())
        child.wait()
        return run, carried

    def latency(self, round_trip_ms, depth, work, at_most):
        count = 256
        window = os.path.join(self.build, "bench", "window")
        def row():
            disk = self.full()
            server = subprocess.Popen([window, "serve", str(MIB)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                      text=True)
            self.running.append(server)
            bare = int(server.stdout.readline())
            def ours():
                return self.on_line(round_trip_ms, 0, lambda port: self.bench(disk, "nbd", MIB, count, depth,
                                                                                  nfc_port=port))[0]
            def peer():
                return self.on_line(round_trip_ms, 0, lambda port: [window, "ask", str(port), str(MIB), str(count),
                                                                        "16"], bare)[0]
            def limit():
                return Run(count * round_trip_ms / 1000, 0, 0)
            return Row("nbd, %d ms round trip: %d reads of 1M, %s (peer: bare sockets, 16 at once; limit: one per round "
                       "trip)" % (round_trip_ms, count, work), ours, peer, limit, at_most=at_most, gib=count * MIB / GIB)
        return row

    def narrow(self, compress):
        def row():
            disk, carried = self.image(), []
            def ours():
                run, n = self.on_line(0, LINE_MBIT, lambda port: self.bench(disk, "nbd", MIB, 1024, 16, nfc_port=port,
                                                                            compress=compress))
                carried.append(n)
                return run
            def peer():
                return self.on_line(0, LINE_MBIT, lambda port: self.bench(disk, "nbd", MIB, 1024, 16, nfc_port=port))[0]
            def limit():
                return Run(carried[-1] * 8 / (LINE_MBIT * 1e6), 0, 0)
            return Row("%s: 1 GiB read over 1 Gbit/s (peer: without compression, limit: the line with these bytes)" %
                       compress, ours, peer, limit, lambda: "%.1f MiB carried" % (carried[-1] / MIB), 1 / 0.9, gib=1)
        return row

    def together(self, disks, handles):
        """Several at once, 2 GiB in all."""
        def row():
            share = BYTES // MIB // (disks * handles)
            names = [self.full()]
            while len(names) < disks:
                name = "disk%d" % len(names)
                def make(path):
                    self.data.vixdisk("convert", "-q", "-f", "raw", "-t", "monolithicFlat", self.data.image(), path)
                names.append(self.put(self.data.make(name + ".vmdk", make), self.data.path(name + "-flat.vmdk")))
            one = self.bench(names[0], "nbd", MIB, BYTES // MIB, 16)
            all_of_them = [self.bench(name, "nbd", MIB, share, 16) for name in names * handles]
            text = " & ".join(" ".join("'%s'" % word for word in argv) + " >/dev/null" for argv in all_of_them)
            return Row("nbd: 2 GiB from %d disks, %d handles each, at once (limit: one disk)" % (disks, handles),
                       self.sides.command("sh", "-c", text + " & wait"), None, self.sides.command(*one),
                       gib=BYTES / GIB)
        return row

    # ---- nbdkit with our library ----

    def tree(self):
        def make(path):
            subprocess.check_call(["meson", "install", "-C", self.build, "--no-rebuild", "--quiet", "--destdir", path],
                                  stdout=subprocess.DEVNULL)
        root = self.data.make("root", make)
        for folder, _, files in os.walk(root):
            if folder.endswith("/vixdisk/lib64"):
                return os.path.dirname(folder)
        return sys.exit("no tree was installed")

    def plugin(self, name, *args):
        """nbdkit with a plugin and its parameters; it tells the URI to --run."""
        return [self.nbdkit(), "-f", "--exit-with-parent", name, *args]

    def vddk(self, *args):
        """nbdkit's vddk plugin with our library. It offers a client one connection."""
        return self.plugin("vddk", "libdir=" + self.tree(), *args)

    def own(self, *args):
        """Our plugin. It offers several connections, as nbdkit's file plugin does."""
        return self.plugin(os.path.join(self.build, "nbdkit", "nbdkit-vixdisk-plugin.so"), *args)

    def beside_file(self, plugin, way, ours, peer, limit, check):
        """A row of a plugin that offers one connection has a second limit beside that of the file plugin: the same by
        one connection."""
        one = plugin == self.vddk
        return Row("nbdkit %s: 1 GiB sparse %s by nbdcopy (peer: qemu-nbd, limit: nbdkit file%s)"
                   % ("vddk" if one else "vixdisk", way, ", the second by one connection" if one else ""), ours, peer,
                   limit, check, 1 / 0.85, second=(lambda: limit("--connections=1")) if one else None)

    def plugin_out(self, plugin):
        def row():
            disk, image = self.data.sparse(), self.data.image()
            def limit(*options):
                copy = " ".join(["nbdcopy", *options, '"$uri"', self.out("limit")])
                return self.sides.run(self.plugin("file", image, "--run", copy))
            return self.beside_file(
                plugin, "out",
                lambda: self.sides.run(plugin("-r", "file=" + disk, "--run", 'nbdcopy "$uri" ' + self.out("ours"))),
                lambda: self.sides.run(["nbdcopy", "--", "[", "qemu-nbd", "-f", "vmdk", "-r", disk, "]",
                                        self.out("peer")]),
                limit, self.same(image))
        return row

    def plugin_in(self, plugin):
        def row():
            image = self.data.image()
            def fresh(name):
                path = self.data.fresh(name)
                self.data.vixdisk("create", "-q", "-s", str(os.path.getsize(image)), path)
                return path
            def ours():
                path = fresh("in-ours.vmdk")
                return self.sides.run(plugin("file=" + path, "--run",
                                             'nbdcopy --destination-is-zero --flush %s "$uri"' % image))
            def peer():
                path = fresh("in-peer.vmdk")
                return self.sides.run(["nbdcopy", "--destination-is-zero", "--flush", "--", image, "[", "qemu-nbd", "-f",
                                       "vmdk", path, "]"])
            def limit(*options):
                path = self.data.fresh("in-limit.raw")
                with open(path, "wb") as f:
                    f.truncate(os.path.getsize(image))
                copy = " ".join(["nbdcopy", "--destination-is-zero", "--flush", *options, image, '"$uri"'])
                return self.sides.run(self.plugin("file", path, "--run", copy))
            def check():
                subprocess.check_call(["qemu-img", "compare", "-q", "-f", "raw", "-F", "vmdk", image,
                                       self.data.path("in-ours.vmdk")])
            return self.beside_file(plugin, "in", ours, peer, limit, check)
        return row

    def rows(self):
        return {
            "plugin-out": self.plugin_out(self.own),
            "plugin-in": self.plugin_in(self.own),
            "vddk-out": self.plugin_out(self.vddk),
            "vddk-in": self.plugin_in(self.vddk),
            "nbd-read": self.read("nbd"),
            "nbd-write": self.write("nbd"),
            "nbdssl-read": self.read("nbdssl"),
            "nbdssl-write": self.write("nbdssl"),
            "nbd-line": self.line_rate("nbd", "socket", 1 / 0.6),
            "nbdssl-line": self.line_rate("nbdssl", "tls", 1 / 0.6),
            **{"%s-%s%s" % (name, transport, "-in" if way == self.copy_in else "-out"):
               way(transport, bare, name == "vddk")
               for name in ("copy", "vddk") for transport, bare in (("nbd", "socket"), ("nbdssl", "tls"))
               for way in (self.copy_out, self.copy_in)},
            "nbd-4k": self.small,
            "rtt-10": self.latency(10, 16, "16 at once", 1 / 12),
            "rtt-50": self.latency(50, 16, "16 at once", 1 / 12),
            "rtt-10-plain": self.latency(10, 1, "plain calls in order", 1 / 4),
            "rtt-50-plain": self.latency(50, 1, "plain calls in order", 1 / 4),
            "line-fastlz": self.narrow("fastlz"),
            "line-zlib": self.narrow("zlib"),
            "line-skipz": self.narrow("skipz"),
            "disks-4": self.together(4, 1),
            "disks-16": self.together(16, 1),
            "handles-4": self.together(1, 4),
        }
