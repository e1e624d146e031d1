# SPDX-License-Identifier: BSD-3-Clause
"""vixdiskd as root starts it, confined: whom it becomes, what it can still reach, what it makes, what it tells systemd."""
import ctypes
import os
import pwd
import re
import socket
import stat
import subprocess

import diskhost
import tap

USER = "nobody" if os.geteuid() == 0 else pwd.getpwuid(os.getuid()).pw_name
LANDLOCK = ctypes.CDLL(None).syscall(444, 0, 0, 1)  # the version that this kernel has


def equal(got, wanted, what=""):
    if got != wanted:
        raise AssertionError("%s: %.300r, not %.300r" % (what, got, wanted))


def true(good, what):
    if not good:
        raise AssertionError(what)


host = diskhost.DiskHost(user=USER)
os.chmod(host.folder, 0o755)
outside = os.path.join(host.folder, "outside")
os.mkdir(outside)
manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
manager.bind(os.path.join(host.folder, "notify"))
os.chmod(os.path.join(host.folder, "notify"), 0o666)
manager.settimeout(20)
host.start(NOTIFY_SOCKET=os.path.join(host.folder, "notify"))
status = open("/proc/%d/status" % host.process.pid, encoding="ascii").read()


def field(name):
    return re.search(r"^%s:\s*(.*)$" % name, status, re.M)[1].split()


def everything_belongs_to_the_user():
    for folder, _, names in os.walk(host.root):
        for path in [folder] + [os.path.join(folder, name) for name in names]:
            equal(os.lstat(path).st_uid, pwd.getpwnam(USER).pw_uid, path)


def rights_are_gone():
    uid, gid = (str(number) for number in pwd.getpwnam(USER)[2:4])
    equal(field("Uid"), [uid] * 4)
    equal(field("Gid"), [gid] * 4)
    if os.geteuid() == 0:
        true("0" not in field("Groups"), status)
        for name in ("CapPrm", "CapEff", "CapAmb"):
            equal(int(field(name)[0], 16), 0, name)
        true("runs as user nobody" in host.log(), host.log())
    equal(field("NoNewPrivs"), ["1"])


def confinement_is_told():
    said = re.search(r"confined by Landlock, version (\d+)", host.log())
    if LANDLOCK >= 2:
        equal(int(said[1]), LANDLOCK)
    else:
        true("not confined to the datastores" in host.log(), host.log())


def memory_is_not_dumped():
    limits = open("/proc/%d/limits" % host.process.pid, encoding="ascii").read()
    equal(re.search(r"Max core file size\s+(\S+)\s+(\S+)", limits).groups(), ("0", "0"))
    if os.geteuid() == 0:
        # what cannot be dumped belongs to root in /proc, and the user's other programs do not trace it
        equal(os.stat("/proc/%d/mem" % host.process.pid).st_uid, 0)


def what_it_makes_is_for_it_alone():
    vim = host.login()
    vim.call("MakeDirectory", vim.content["fileManager"],
             "<name>[datastore1] made</name><createParentDirectories>true</createParentDirectories>")
    vim.call("CreateVirtualDisk_Task", vim.content["virtualDiskManager"],
             "<name>[datastore1] made/d.vmdk</name><spec><diskType>thin</diskType><adapterType>lsiLogic</adapterType>"
             "<capacityKb>2048</capacityKb></spec>")
    vim.close()
    equal(stat.S_IMODE(os.stat(host.at("made")).st_mode) & 0o027, 0, "the folder")
    names = sorted(os.listdir(host.at("made")))
    equal(names, ["d-flat.vmdk", "d.vmdk"])
    for name in names:
        equal(stat.S_IMODE(os.stat(host.at("made", name)).st_mode) & 0o137, 0, name)


def systemd_is_told():
    words = [manager.recv(100) for _ in range(3)]
    equal(words[0], b"READY=1")
    equal(words[1:], [b"WATCHDOG=1"] * 2)
    host.stop()
    manager.setblocking(False)
    while words[-1] == b"WATCHDOG=1":
        words.append(manager.recv(100))
    equal(words[-1], b"STOPPING=1")


def unknown_users_are_refused():
    other = diskhost.DiskHost()
    said = diskhost.run("--init", os.path.join(other.folder, "x"), "--user", "no-such-user", status=1)
    true("no-such-user" in said, said)
    true(not os.path.exists(os.path.join(other.folder, "x")), "something was made")
    if os.geteuid() == 0:
        text = open(other.config, encoding="utf-8").read()
        with open(other.config, "w", encoding="utf-8") as file:
            file.write(text.replace("user = root", "user = no-such-user"))
        said = diskhost.run("--config", other.config, status=1)
        true("no-such-user" in said, said)


def drop_in(text):
    """The lines of a drop-in, several values of a key in a list."""
    lines = {}
    true(text.startswith("#") and text.splitlines()[1] == "[Service]", text)
    for line in text.splitlines()[2:]:
        key, value = line.split("=", 1)
        lines.setdefault(key, []).append(value)
    return lines


def drop_ins_fit():
    other = diskhost.DiskHost("memory-mib = 512\n", "[datastore read]\npath = %s\n[datastore odd]\npath = 50%% \\of it\n"
                              "writable = yes\n" % outside)
    os.mkdir(os.path.join(other.root, "50% \\of it"))
    lines = drop_in(diskhost.run("--drop-in", "--config", other.config))
    config, store = os.path.realpath(other.config), os.path.realpath(other.store)
    equal(lines["ExecStart"], ["", '"%s" --config "%s"' % (os.path.realpath(diskhost.PROGRAM), config)])
    equal(lines["ReadWritePaths"], ['"%s"' % store, '"%s/50%%%% \\\\of it"' % os.path.realpath(other.root)])
    equal(lines["MemoryHigh"], ["1536M"])
    equal(sorted(lines), ["ExecStart", "MemoryHigh", "ReadWritePaths"])
    verified(lines, other)


def verified(lines, other):
    """systemd's own reader takes it."""
    unit = os.path.join(other.folder, "vixdiskd.service")
    with open(unit, "w", encoding="utf-8") as file:
        file.write("[Service]\n" + "".join("%s=%s\n" % (key, value) for key in lines for value in lines[key]))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, timeout=60)
    equal([line for line in done.stderr.splitlines() if unit in line], [], done.stderr)


tap.check("what root sets up belongs to the user who serves", everything_belongs_to_the_user)
tap.check("the rights of root are gone", rights_are_gone)
tap.check("the log tells how it is confined", confinement_is_told)
tap.check("its memory is not dumped", memory_is_not_dumped)
tap.check("what it makes is not for all", what_it_makes_is_for_it_alone)
tap.check("systemd is told when it is ready, that it lives, and that it ends", systemd_is_told)
tap.check("a user who does not exist is refused", unknown_users_are_refused)
tap.check("a drop-in tells systemd of a configuration", drop_ins_fit)
tap.end()
