#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""HotAdd and SAN on hardware that Linux takes for VMware's: a guest of QEMU with PVSCSI controllers and VMware's DMI data
runs the library; the host of tests/remote, outside, attaches and detaches disks by QEMU's monitor. A LUN with a volume of
VMFS is there by two paths, with and without the kernel's multipath device over them.   guest.py KERNELFOLDER"""
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys

here = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(here, "..", "remote"), os.path.join(here, "..", "lib")]
import proxy as proxies
import san
import tap
from driving import *
from vmfs_image import bytes_of, put_bytes

SIZE = 4 * MIB
WWN = "6000c29abcdef012"  # QEMU's are of 64 bits
LUN = "600508b1001c5e01"
PATIENCE = 900


class Lab(san.Lab):
    """The LUN, whose disk has the bytes that NFC gives of it; the machine is the guest's, the hardware the host's."""

    def machine(self):
        pass

    def ordinary(self, v):
        v.resident("vm1/disk.vmdk", san.descriptor("disk-flat.vmdk"))
        v.blocks("vm1/disk-flat.vmdk", SIZE, san.kinds(SIZE // MIB),
                 data_of=lambda index: self.place.data[index * MIB:(index + 1) * MIB])


class Qemu:
    """The machine, in the place of a folder: .plug() and .unplug() go to the monitor."""

    def __init__(self, place, kernel, initrd, lun):
        self.socket, self.serial, self.console = place.path("qmp"), place.path("serial"), place.path("console")
        self.place, self.stream, self.said = place, None, []
        boot = place.write("boot.img", bytes(MIB))
        self.process = subprocess.Popen(
            ["qemu-system-x86_64", "-M", "q35", "-accel", "tcg", "-m", "512", "-nographic", "-nodefaults", "-no-reboot",
             "-kernel", kernel, "-initrd", initrd, "-append", "console=ttyS0 panic=-1 no_timer_check",
             "-smbios", "type=1,manufacturer=VMware,, Inc.,uuid=" + proxies.UUID_TURNED.lower(),
             "-netdev", "user,id=n0", "-device", "e1000,netdev=n0,mac=" + proxies.MAC, "-device", "pvscsi,id=s0",
             "-drive", "if=none,id=boot,format=raw,file=" + boot, "-device", "scsi-hd,bus=s0.0,scsi-id=0,drive=boot",
             "-blockdev", "driver=raw,node-name=lun,file.driver=file,file.locking=off,file.filename=" + lun,
             *self.path_to_lun(1), *self.path_to_lun(2),
             "-serial", "file:" + self.console, "-serial", "file:" + self.serial,
             "-qmp", "unix:%s,server=on,wait=off" % self.socket])

    @staticmethod
    def path_to_lun(number):
        return ("-device", "pvscsi,id=s%d" % number, "-device",
                "scsi-hd,bus=s%d.0,scsi-id=0,drive=lun,share-rw=on,vendor=VMware,wwn=0x%s" % (number, LUN))

    def ask(self, command, **arguments):
        if self.stream is None:
            connection = socket.socket(socket.AF_UNIX)
            connection.connect(self.socket)
            self.stream = connection.makefile("rw")
            self.stream.readline()
            self.ask("qmp_capabilities")
        json.dump({"execute": command, "arguments": arguments}, self.stream)
        self.stream.write("\n")
        self.stream.flush()
        while True:
            answer = json.loads(self.stream.readline())
            if "event" not in answer:
                assert "return" in answer, answer
                return answer["return"]

    def plug(self, bus, unit, file, size):
        read_only = self.place.proxy.calls[-1][2] != "persistent"
        self.ask("blockdev-add", **{"driver": "raw", "node-name": "node%d" % unit, "read-only": read_only,
                                    "file": {"driver": "file", "filename": file, "locking": "off"}})
        name = {"wwn": int(WWN, 16)} if read_only else {}  # without disk.EnableUUID a device does not tell its id
        self.ask("device_add", **{"driver": "scsi-hd", "bus": "s0.0", "scsi-id": unit, "drive": "node%d" % unit,
                                  "id": "disk%d" % unit, "vendor": "VMware", **name})

    def unplug(self, bus, unit):
        self.ask("device_del", id="disk%d" % unit)
        for _ in range(100):  # the node is free when the device has gone
            try:
                self.ask("blockdev-del", **{"node-name": "node%d" % unit})
                return True
            except AssertionError:
                time.sleep(0.1)
        return False

    def run(self):
        """What the script has said, up to the end of the machine."""
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        with open(self.serial, errors="replace") as file:
            lines = file.read().replace("\r", "").splitlines()
        if not lines or not lines[-1].startswith("END"):
            with open(self.console, errors="replace") as file:
                raise AssertionError("\n".join(lines + ["---- console"] + file.read().splitlines()[-40:]))
        return lines


def libraries_of(*files):
    """Files that the dynamic linker loads for some others, by the paths that it looks for."""
    found = set()
    for file in files:
        for line in subprocess.run(["ldd", file], capture_output=True, text=True, check=True).stdout.splitlines():
            for word in line.split():
                if word.startswith("/"):
                    found.add(word)
    return found


def make_initrd(place, kernel, script):
    """A first file system of busybox, the client of the library, and all that these load."""
    top = place.path("initrd")
    driven = build + "/tests/remote/driven"
    curl = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True, check=True).stdout
    curl = re.search(r"libcurl\.so\.4 .*x86-64.* => (\S+)", curl)[1]
    for folder in ("bin", "modules"):
        os.makedirs(os.path.join(top, folder))
    for file in libraries_of(driven, curl, "/sbin/dmsetup") | {curl}:
        to = top + (file if file.startswith(("/lib", "/usr")) else "/lib/" + os.path.basename(file))
        os.makedirs(os.path.dirname(to), exist_ok=True)
        shutil.copy(os.path.realpath(file), to)
    shutil.copy("/bin/busybox", top + "/bin/busybox")
    os.symlink("busybox", top + "/bin/sh")
    shutil.copy(driven, top + "/bin/driven")
    shutil.copy("/sbin/dmsetup", top + "/bin/dmsetup")
    shutil.copytree(kernel + "/modules", top + "/modules", dirs_exist_ok=True)
    shutil.copy(os.path.join(here, "init"), top + "/init")
    os.chmod(top + "/init", 0o755)
    place.write("initrd/password", place.host.password)
    place.write("initrd/config", "vixdisk.hotadd.deviceTimeoutMs = 60000\n")
    for number in (1, 2):
        place.write("initrd/config-tree%d" % number, "vixdisk.hostRoot = /tree%d\n" % number)
    place.write("initrd/piece", place.piece)
    place.write("initrd/script", script)
    names = subprocess.run(["find", "."], cwd=top, capture_output=True, check=True).stdout
    image = subprocess.run(["cpio", "-o", "-H", "newc", "--quiet"], cwd=top, input=names, capture_output=True, check=True)
    return place.write("initrd.img", image.stdout)


def login(place):
    there = place.host
    return ["10.0.2.2", there.soap_port, 0, there.user, "/password", there.identity.sha1, "moref=" + there.vm]


def client(*calls):
    text = "".join("\t".join(str(word) for word in call) + "\n" for call in calls)
    return "cat >/calls <<'X'\n%sX\n" % text


def san_script(place):
    """The LUN by both paths, by one, by none, by what tells its id, and by the multipath device."""
    connect = ["connect"] + login(place) + ["san", 0, "-"]
    others = ["connect"] + login(place) + ["san:nbdssl", 0, "-"]
    look = [connect, ["open", DISK, READ_ONLY], ["read", 0, SIZE // SECTOR, "/out"], ["close"], ["disconnect"]]

    def run(name, config="/config"):
        return "echo %s; driven /san-log %s </calls; sed -n 's/.*LUN naa[^ :]* is /is /p' /san-log; sha256sum /out; " \
            "rm -f /san-log /out\n" % (name, config)

    multipath = ("echo \"0 $(cat /sys/block/sdb/size) multipath 0 0 1 1 round-robin 0 2 1 8:16 1 8:32 1\" | "
                 "dmsetup create --noudevsync --noudevrules -u mpath-3%s mpatha\n" % LUN)
    return (
        client(*look[:3], ["async", 0, SIZE // SECTOR, 7, "/again"], *look[3:], others[:8] + ["nbdssl", 0, "-"],
               ["open", DISK, READ_ONLY], ["read", 0, SIZE // SECTOR, "/nfc"], ["close"])
        + "echo WWID; cat /sys/block/sd[bc]/device/wwid\n"
        + run("PATHS") + "echo SUMS; sha256sum /again /nfc\n"
        + client(*look)
        + "mkdir -p /tree1/sys/block/sdc/device /tree1/dev /tree2/sys/block/sdc /tree2/dev/disk/by-id\n"
        + "cat /sys/block/sdc/device/vpd_pg83 >/tree1/sys/block/sdc/device/vpd_pg83\n"
        + "ln -s /dev/sdc /tree1/dev/sdc; ln -s /dev/sdc /tree2/dev/sdc\n"
        + "ln -s ../../sdc /tree2/dev/disk/by-id/wwn-0x%s\n" % LUN
        + run("PAGE", "/config-tree1") + run("UDEV", "/config-tree2")
        + "echo offline >/sys/block/sdb/device/state\n" + run("SECOND")
        + client(connect, ["open", DISK, READ_ONLY], ["sentence"], ["disconnect"], others, ["open", DISK, READ_ONLY])
        + "echo offline >/sys/block/sdc/device/state\n" + run("DEAD")
        + "echo running >/sys/block/sdb/device/state; echo running >/sys/block/sdc/device/state\n"
        + multipath + client(*look) + run("MULTIPATH")
        + "echo offline >/sys/block/sdb/device/state\n" + run("FAILOVER")
        + client(connect, ["open", DISK, 0], ["write", 99, 5, "/piece"], ["flush"], ["close"], ["disconnect"],
                 *look) + run("RESTORE")
        + "dmsetup remove --noudevsync mpatha; echo running >/sys/block/sdb/device/state\n")


def script_of(place):
    """The client's lines, as the shell of the guest hands them over."""
    connect = ["connect"] + login(place) + ["hotadd", 0, "-"]
    cleanup = ["cleanup"] + login(place) + ["-"]
    count = "ls /sys/block | grep -c sd\n"
    return (
        san_script(place) + "echo BEFORE; " + count
        + client(connect, ["open", DISK, READ_ONLY], ["read", 0, SIZE // SECTOR, "/out"], ["async", 0, SIZE // SECTOR, 64,
                 "/again"], ["write", 0, 1, "/piece"], ["close"], ["disconnect"])
        + "echo READ; driven /log /config </calls; sha256sum /out /again; " + count
        + client(connect, ["open", DISK, 0], ["write", 99, 5, "/piece"], ["flush"], ["close"], ["disconnect"])
        + "echo WRITE; driven /log /config </calls; " + count
        + client(connect, ["open", DISK, READ_ONLY])
        + "echo CRASH; (cat /calls; sleep 1000) | driven /log /config >/crash & sleep 12; cat /crash; killall -9 driven; "
        "killall sleep; " + count
        + client(cleanup, cleanup) + "echo CLEANUP; driven /log /config </calls; " + count
        + "ls /var/tmp/vixdisk-hotadd-0; echo LOG; cat /log\n")


def part(lines, name):
    """What follows a heading, up to the next."""
    out = lines[lines.index(name) + 1:]
    for n, line in enumerate(out):
        if line.isupper() and line.isalpha():
            return out[:n]
    return out


def guest(place, kernel):
    place.piece = os.urandom(5 * SECTOR)
    place.lab = Lab(place, 6)
    place.lab.datastore(names=["naa." + LUN])
    place.before = bytes_of(place.lab.volume.luns[0])
    place.machine = Qemu(place, kernel + "/vmlinuz", make_initrd(place, kernel, script_of(place)), place.lab.volume.luns[0])
    place.proxy = proxies.Proxy(place.host, place.machine)
    place.proxy.disk_uuid = WWN
    place.proxy.tell()
    lines = place.machine.run()
    try:
        judge_san(place, lines)
        judge(place, lines)
    except Exception:
        print("\n".join("# " + line for line in lines))
        raise


def judge_san(place, lines):
    digest = hashlib.sha256(place.data).hexdigest()
    opened = ["0\t", "0\tsan", "0\t"]
    out = digest + "  /out"
    tap.result(part(lines, "WWID") == ["naa." + LUN] * 2, "the LUN is there by two paths", lines)
    paths = part(lines, "PATHS")
    tap.result(paths == opened + ["0\t"] * 3 + ["0\t", "0\tnbdssl", "0\t", "0\t", "is /dev/sdb, one of 2", out],
               "a disk is read by the first path", paths)
    sums = part(lines, "SUMS")
    tap.result(sums == [digest + "  /again", digest + "  /nfc"], "in pieces too, and its bytes are those of NFC", sums)
    for name, node, count, what in (("PAGE", "sdc", 1, "a LUN is found by page 0x83 of the kernel"),
                                    ("UDEV", "sdc", 1, "and by a name of udev"),
                                    ("SECOND", "sdc", 2, "a path that is offline is passed over"),
                                    ("MULTIPATH", "dm-0", 1, "the multipath device is used, not a path below it"),
                                    ("FAILOVER", "dm-0", 1, "also with one path left")):
        got = part(lines, name)
        tap.result(got == opened + ["0\t"] * 2 + ["is /dev/%s, one of %d" % (node, count), out], what, got)
    dead = part(lines, "DEAD")
    tap.result(dead[0] == "0\t" and dead[1].split("\t")[0] not in ("0", "1") and "LUN naa." + LUN in dead[2]
               and dead[3:6] == ["0\t", "0\t", "0\tnbdssl"], "without any path it fails, and NFC takes over", dead)
    data = place.data[:99 * SECTOR] + place.piece + place.data[104 * SECTOR:]
    written = part(lines, "RESTORE")
    tap.result(written[:8] == ["0\t", "0\tsan", "0\t", "0\t", "0\t", "0\t", "0\t", "0\tsan"]
               and written[-1] == hashlib.sha256(data).hexdigest() + "  /out", "a disk is written by SAN", written)
    volume = place.lab.volume
    lun, at, _ = volume.where(volume.files["vm1/disk-flat.vmdk"].places[0])
    put_bytes(place.before, at + 99 * SECTOR, place.piece)
    tap.result(bytes_of(volume.luns[lun]) == place.before, "what was written is on the LUN, and nothing else is changed")


def judge(place, lines):
    digest = hashlib.sha256(place.data).hexdigest()
    tap.result(part(lines, "BEFORE") == ["3"], "the machine has its own disk, and the paths to the LUN", lines)
    read = part(lines, "READ")
    tap.result(read[:7] == ["0\t", "0\thotadd", "0\t", "0\t", "11\t", "0\t", "0\t"], "a disk is attached, read, detached",
               read)
    tap.result([line.split()[0] for line in read[7:9]] == [digest] * 2, "its bytes are those of the file", read)
    tap.result(read[9:] == ["3"], "its device is gone", read)
    write = part(lines, "WRITE")
    tap.result(write == ["0\t", "0\thotadd", "0\t", "0\t", "0\t", "0\t", "3"], "a disk is attached and written", write)
    expected = place.data[:99 * SECTOR] + place.piece + place.data[104 * SECTOR:]
    tap.result(place.flat_of("vm1/disk-flat.vmdk") == expected, "what was written is in the file, and nothing else")
    crash = part(lines, "CRASH")
    tap.result(crash == ["0\t", "0\thotadd", "4"], "a client that is killed leaves its disk attached", crash)
    clean = part(lines, "CLEANUP")
    tap.result(clean == ["0\t1 0", "0\t0 0", "3", "lock"], "Cleanup detaches it", clean)
    log = part(lines, "LOG")
    tap.result(any("known by its naa." + WWN in line for line in log), "the device was known by its id", log)
    tap.result(any("known by its address and size" in line for line in log), "or by its address", log)
    tap.result(place.proxy.attached() == [] and not place.proxy.complaints, "nothing is left", place.proxy.complaints)
    kinds = [call[0] for call in place.proxy.calls]
    tap.result(kinds == ["add", "remove"] * 3, "three disks were attached and detached", place.proxy.calls)


def main():
    with Place(SIZE, vcenter=False) as place:
        tap.check("a guest on QEMU's PVSCSI", guest, place, sys.argv[1])
    tap.end()


if __name__ == "__main__":
    sys.exit(main())
