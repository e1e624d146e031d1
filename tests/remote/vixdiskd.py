# SPDX-License-Identifier: BSD-3-Clause
"""vixdiskd by an independent client: what it serves, whom it refuses, what it bears."""
import http.client
import os
import random
import re
import socket
import stat
import subprocess
import time

import client
import diskhost
import nfc
import tap

SEED = int(os.environ.get("VIXDISK_TEST_SEED", "4711"))
print("# seed %d" % SEED)
rng = random.Random(SEED)
KIB, MIB = 1024, 1024 * 1024
DISK = "[datastore1] vm1/vm1.vmdk"
COMPRESSIONS = {"none": nfc.NONE, "zlib": nfc.ZLIB, "fastlz": nfc.FASTLZ, "skipz": nfc.SKIPZ}


def equal(got, wanted, what=""):
    if got != wanted:
        raise AssertionError("%s: %.300r, not %.300r" % (what, got, wanted))


def true(good, what):
    if not good:
        raise AssertionError(what)


def qemu_img(*arguments):
    return subprocess.run(["qemu-img", *arguments], check=True, capture_output=True, text=True).stdout


def soap_refused(kind, test, *arguments):
    return tap.refused(client.SoapFault, kind, test, *arguments)


def nfc_refused(code, test, *arguments):
    return tap.refused(nfc.Refused, code, test, *arguments)


def mixed_bytes(length):
    """Bytes that compress in parts: random ones, zeros, text."""
    out = b""
    while len(out) < length:
        n = rng.randrange(1, 40 * KIB)
        out += rng.choice((rng.randbytes(n), bytes(n), b"a line of text\n" * (n // 15 + 1)))
    return out[:length]


def eventually(test, seconds=10):
    """The test's value once it no longer raises."""
    end = time.monotonic() + seconds
    while True:
        try:
            return test()
        except (nfc.Refused, AssertionError):
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


def make_disk(host, folder, name="x", size="4M", kind="monolithicSparse", fill=None):
    """A disk of qemu's in a machine's folder: its path in the datastore."""
    os.makedirs(host.at(folder), exist_ok=True)
    path = host.at(folder, name + ".vmdk")
    if fill is None:
        qemu_img("create", "-q", "-f", "vmdk", "-o", "subformat=" + kind, path, size)
    else:
        raw = os.path.join(host.folder, "fill.raw")
        with open(raw, "wb") as file:
            file.write(fill)
        qemu_img("convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=" + kind, raw, path)
    return "[datastore1] %s/%s.vmdk" % (folder, name)


# ---- the set-up ----

host = diskhost.DiskHost("login-delay-ms = 300\n")


def init_prints_what_to_do():
    true(re.search(r"^Thumbprint: ([0-9A-F]{2}:){19}[0-9A-F]{2}$", host.said, re.M), host.said)
    line = re.search(r"^ *vixdisk .*$", host.said, re.M)[0]
    for option in ("--host", "--port", "--nfc-port", "--user", "--password-file", "--thumbprint", "--vm", "--transport"):
        true(option in line, line)
    true(host.password not in host.said, "the password is shown")
    for name in ("password", "key.pem", "vixdiskd.conf"):
        equal(stat.S_IMODE(os.stat(os.path.join(host.root, name)).st_mode), 0o600, name)


def init_leaves_files_alone():
    before = {name: open(os.path.join(host.root, name), "rb").read() for name in ("password", "key.pem", "vixdiskd.conf")}
    diskhost.run("--init", host.root, status=1)
    other = os.path.join(host.folder, "other")
    os.makedirs(other)
    open(os.path.join(other, "key.pem"), "w").close()
    diskhost.run("--init", other, status=1)
    equal(sorted(os.listdir(other)), ["key.pem"], "what a failed --init leaves")
    for name, text in before.items():
        equal(open(os.path.join(host.root, name), "rb").read(), text, name)


def check_finds_faults():
    diskhost.run("--check", "--config", host.config)
    for line, word in (("[limits]\nconections = 3", "conections"), ("[limits]\nsessions = 0", "sessions"),
                       ("[datastore two]\npath = nowhere", "nowhere"), ("[server]\nport = 1", "once")):
        broken = os.path.join(host.root, "broken.conf")
        with open(broken, "w", encoding="utf-8") as file:
            file.write(open(host.config, encoding="utf-8").read() + "\n" + line + "\n")
        said = diskhost.run("--check", "--config", broken, status=1)
        true(word in said, said)
    diskhost.run("--no-such-option", status=2)
    true("no-memory-above" in diskhost.run("--test-knob", "nonsense", status=2), "knobs are not listed")


def users_are_added():
    diskhost.run("--add-user", "reader", "--read-only", "--config", host.config, text="se cret\n")
    diskhost.run("--add-user", "reader", "--config", host.config, text="x\n", status=1)
    diskhost.run("--add-user", "a/b", "--config", host.config, text="x\n", status=1)
    diskhost.run("--add-user", "empty", "--config", host.config, text="\n", status=1)
    true(diskhost.run("--hash-password", text="abc\n").startswith("$y$"), "no hash")


tap.check("--init prints a thumbprint and a command line, and hides its secrets", init_prints_what_to_do)
tap.check("--init changes no file that is there, and takes back what it made", init_leaves_files_alone)
tap.check("--check tells what is wrong with a configuration", check_finds_faults)
tap.check("users are added, their passwords read from standard input", users_are_added)
make_disk(host, "vm2")
host.start()
vim = host.login()
VM1, VM2 = vim.find_vm("[datastore1] vm1/vm1.vmx"), vim.find_vm("[datastore1] vm2/vm2.vmx")


# ---- SOAP ----

def only_the_content_is_open():
    stranger = client.Vim("127.0.0.1", host.port)
    stranger.connect()
    equal(stranger.about["apiType"], "HostAgent")
    for method, this in (("CurrentTime", ("ServiceInstance", "ServiceInstance")), ("NoSuchMethod", ("X", "x")),
                         ("FindByUuid", stranger.content["searchIndex"]), ("Logout", stranger.content["sessionManager"]),
                         ("RetrieveInternalContent", ("ServiceInstance", "ServiceInstance")),
                         ("NfcGetVmFiles", ("NfcService", "ha-nfc-service"))):
        soap_refused("NotAuthenticated", stranger.call, method, this)
    soap_refused("NotAuthenticated", stranger.properties, "VirtualMachine", VM1, "name")
    stranger.cookie = "0" * 40
    soap_refused("NotAuthenticated", stranger.call, "CurrentTime", ("ServiceInstance", "ServiceInstance"))
    stranger.http.request("GET", "/sdk/vimServiceVersions.xml")
    text = stranger.http.getresponse().read()
    true(b"<version>8.0.1.0</version>" in text, text)
    connection = stranger.http.sock
    soap_refused("NotAuthenticated", stranger.call, "CurrentTime", ("ServiceInstance", "ServiceInstance"))
    true(connection is not None and stranger.http.sock is connection, "each needs a connection of its own")
    for url, method, status in (("/", "GET", 404), ("/sdk", "GET", 405), ("/sdk/../etc/passwd", "GET", 404)):
        stranger.close()
        stranger.http.request(method, url)
        equal(stranger.http.getresponse().status, status, url)
    stranger.close()


def wrong_passwords_take_time():
    for user, password in (("vixdisk", "wrong"), ("nobody", host.password), ("", ""), ("reader", host.password),
                           ("vixdisk", "x" * 5000)):
        began = time.monotonic()
        soap_refused("InvalidLogin", host.login, user, password)
        true(time.monotonic() - began >= 0.3, "no delay")
    true('login of user "nobody" is refused' in host.log(), host.log())


def sessions_end():
    other = host.login()
    kept = other.cookie
    true(re.fullmatch(r'"[0-9a-f]{40}"', kept), kept)
    other.cookie = kept.strip('"')  # some programs hand it over so
    other.call("CurrentTime", ("ServiceInstance", "ServiceInstance"))
    equal(other.properties("SessionManager", "ha-sessionmgr", "currentSession")["currentSession"][1].text, "vixdisk")
    other.logout()
    other.cookie = kept
    soap_refused("NotAuthenticated", other.call, "CurrentTime", ("ServiceInstance", "ServiceInstance"))
    vim.call("CurrentTime", ("ServiceInstance", "ServiceInstance"))


def unknown_things_are_faults():
    soap_refused("MethodNotFound", vim.call, "PowerOnVM_Task", ("VirtualMachine", VM1))
    soap_refused("ManagedObjectNotFound", vim.properties, "VirtualMachine", "vm-0", "name")
    soap_refused("ManagedObjectNotFound", vim.properties, "VirtualMachineSnapshot", "snapshot-1", "config")
    soap_refused("ManagedObjectNotFound", vim.call, "CurrentTime", ("ServiceInstance", "Other"))
    soap_refused("ManagedObjectNotFound", vim.read_ticket, "vm-0")
    soap_refused("InvalidArgument", vim.write_ticket, VM1, 2001)
    equal(vim.find_vm("[datastore1] vm9/vm9.vmx"), None)
    for body in ("", "<a", "<a/>", "<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>", "<Envelope><Body/></Envelope>",
                 "<a>" * 5000):
        status, text = vim.post(body)
        equal(status, 500, body[:40])
        true(b"Fault" in text, text)


def machines_are_found():
    equal(vim.machines(), {VM1: "vm1", VM2: "vm2"})
    uuid = vim.properties("VirtualMachine", VM1, "config.uuid")["config.uuid"].text
    for method, inner in (("FindByInventoryPath", "<inventoryPath>/ha-datacenter/vm/vm1</inventoryPath>"),
                          ("FindByUuid", "<uuid>%s</uuid><vmSearch>true</vmSearch>" % uuid)):
        equal(vim.call(method, vim.content["searchIndex"], inner)[0].text, VM1, method)
    found = vim.properties("VirtualMachine", VM1, "runtime.powerState", "runtime.host", "datastore",
                           "config.files.vmPathName", "snapshot", "noSuchProperty")
    equal(found["runtime.powerState"].text, "poweredOff")
    equal((found["runtime.host"].get("type"), found["runtime.host"].text), ("HostSystem", "ha-host"))
    equal(found["datastore"][0].text, "datastore-1")
    equal(found["config.files.vmPathName"].text, "[datastore1] vm1/vm1.vmx")
    equal(set(found) & {"snapshot", "noSuchProperty"}, set())
    equal(vim.disks(VM1), {DISK: 2000})


def listings_come_in_parts():
    view = vim.call("CreateContainerView", vim.content["viewManager"],
                    '<container type="Folder">ha-folder-root</container><type>ManagedEntity</type>'
                    "<recursive>true</recursive>")[0].text
    answer = vim.call("RetrievePropertiesEx", vim.content["propertyCollector"],
                      "<specSet><propSet><type>ManagedEntity</type><pathSet>name</pathSet></propSet><objectSet>"
                      '<obj type="ContainerView">%s</obj><skip>true</skip><selectSet '
                      'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="TraversalSpec"><name>v</name>'
                      "<type>ContainerView</type><path>view</path></selectSet></objectSet></specSet>"
                      "<options><maxObjects>2</maxObjects></options>" % view)
    names = []
    while True:
        part = [node for node in answer.iter() if client.local(node.tag) == "objects"]
        true(1 <= len(part) <= 2, "%d objects" % len(part))
        names += [node.text for node in answer.iter() if client.local(node.tag) == "val"]
        token = [node.text for node in answer.iter() if client.local(node.tag) == "token"]
        if not token:
            break
        inner = "<token>%s</token>" % token[0]
        answer = vim.call("ContinueRetrievePropertiesEx", vim.content["propertyCollector"], inner)
        soap_refused("InvalidArgument", vim.call, "ContinueRetrievePropertiesEx", vim.content["propertyCollector"], inner)
    equal(sorted(names), sorted(["ha-datacenter", "vm", "host", "datastore", "localhost.", "localhost.", "datastore1",
                                 "vm1", "vm2"]))
    vim.call("DestroyView", ("ContainerView", view))
    soap_refused("ManagedObjectNotFound", vim.call, "DestroyView", ("ContainerView", view))


def traversals_are_followed():
    xsi = 'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type='
    again = "<selectSet><name>%s</name></selectSet>"
    answer = vim.call("RetrieveProperties", vim.content["propertyCollector"],
                      "<specSet><propSet><type>VirtualMachine</type><pathSet>name</pathSet></propSet><objectSet>"
                      '<obj type="Folder">ha-folder-root</obj><skip>false</skip>'
                      '<selectSet ' + xsi + '"TraversalSpec"><name>f</name><type>Folder</type><path>childEntity</path>'
                      "<skip>false</skip>" + again % "f" + again % "d" + again % "p" + "</selectSet>"
                      '<selectSet ' + xsi + '"TraversalSpec"><name>d</name><type>Datacenter</type><path>vmFolder</path>'
                      "<skip>false</skip>" + again % "f" + "</selectSet>"
                      '<selectSet ' + xsi + '"TraversalSpec"><name>p</name><type>ManagedEntity</type><path>parent</path>'
                      "<skip>false</skip>" + again % "f" + again % "p" + "</selectSet>"
                      "</objectSet></specSet>")
    equal(sorted(node.text for node in answer.iter() if client.local(node.tag) == "val"), ["vm1", "vm2"])


tap.check("without a login there is nothing but what the server is", only_the_content_is_open)
tap.check("a wrong name or password is refused, after a while", wrong_passwords_take_time)
tap.check("a session is its cookie, with or without quotes, until the logout", sessions_end)
tap.check("what is not known, or is no call, is answered with its fault", unknown_things_are_faults)
tap.check("machines are found by path, uuid and view", machines_are_found)
tap.check("a long listing comes in parts", listings_come_in_parts)
tap.check("traversals are followed, in circles too", traversals_are_followed)


# ---- disks ----

def raw_of(path):
    out = os.path.join(host.folder, "out.raw")
    qemu_img("convert", "-f", "vmdk", "-O", "raw", path, out)
    with open(out, "rb") as file:
        return file.read()


def write_and_read(kind, compression, ssl_data):
    name = make_disk(host, "rw", "%s-%d-%d" % (kind, compression, ssl_data), "6M", kind)
    image = bytearray(6 * MIB)
    vm = vim.find_vm("[datastore1] rw/rw.vmx")
    link = host.nfc()
    link.open(vim.write_ticket(vm, vim.disks(vm)[name]), name, ssl_data, write=True)
    equal(link.capacity, 6 * MIB)
    for _ in range(6):
        at = rng.randrange(0, 10 * KIB) * 512
        data = mixed_bytes(rng.randrange(1, 600) * 512)
        link.write(at, data, compression)
        image[at:at + len(data)] = data
    equal(link.read(0, 2 * MIB, compression), bytes(image[:2 * MIB]), "read on the same connection")
    link.flush()
    link.finish()
    link = host.nfc()
    link.open(vim.read_ticket(vm), name, ssl_data)
    for _ in range(4):
        at = rng.randrange(0, 10 * KIB) * 512
        length = rng.randrange(1, 1024) * 512
        equal(link.read(at, length, compression), bytes(image[at:at + length]), "%d at %d" % (length, at))
    link.finish()
    equal(raw_of(host.at("rw", "%s-%d-%d.vmdk" % (kind, compression, ssl_data))) == image, True, "qemu-img's bytes")


for count, (word, compression) in enumerate(COMPRESSIONS.items()):
    for ssl_data in (False, True):
        kind = ("monolithicSparse", "monolithicFlat", "twoGbMaxExtentSparse", "twoGbMaxExtentFlat")[count]
        tap.check("%s, %s, %s: written bytes are read back, and by qemu-img" % (kind, word, "nbdssl" if ssl_data else "nbd"),
                  write_and_read, kind, compression, ssl_data)


def many_requests_at_once():
    data = mixed_bytes(8 * MIB)
    name = make_disk(host, "many", "many", fill=data, kind="streamOptimized")
    vm = vim.find_vm("[datastore1] many/many.vmx")
    link = host.nfc()
    link.open(vim.read_ticket(vm), name)
    wanted, lengths = {}, {}
    for _ in range(40):
        at, length = rng.randrange(0, 14 * KIB) * 512, rng.randrange(1, 2048) * 512
        op_id = link.send_read(at, length, rng.choice(list(COMPRESSIONS.values())))
        wanted[op_id], lengths[op_id] = data[at:at + length], length
    equal(link.receive_reads(lengths) == wanted, True, "40 reads at once")
    nfc_refused(nfc.BAD_PARAMETER, link.read, 8 * MIB, 512)
    link.finish()
    nfc_refused((nfc.UNSUPPORTED, nfc.PERMISSION, 1), open_for_writing, vm, name)


def open_for_writing(vm, name):
    link = host.nfc()
    try:
        link.open(vim.write_ticket(vm, vim.disks(vm)[name]), name, write=True)
    except BaseException:
        link.close()
        raise
    return link


def allocated_blocks_are_told():
    data = bytearray(4 * MIB)
    for at in (0, 5 * 64 * KIB, 63 * 64 * KIB):
        data[at:at + 700] = rng.randbytes(700)
    name = make_disk(host, "alloc", fill=data)
    vm = vim.find_vm("[datastore1] alloc/alloc.vmx")
    link = host.nfc()
    link.open(vim.read_ticket(vm), name)
    equal([n for n, bit in enumerate(link.allocated(64 * KIB, 0, 64)) if bit], [0, 5, 63])
    equal(link.allocated(128 * KIB, 2 * 128 * KIB, 2), [True, False])
    nfc_refused(nfc.BAD_PARAMETER, link.allocated, 64 * KIB, 0, 65)
    link.finish()


def metadata_is_kept():
    name = make_disk(host, "meta")
    vm = vim.find_vm("[datastore1] meta/meta.vmx")
    link = open_for_writing(vm, name)
    equal(link.metadata("adapterType"), "ide")
    equal(link.metadata("no.such.key"), None)
    link.set_metadata("test.key", "a value")
    equal(link.metadata("test.key"), "a value")
    true("test.key" in link.metadata_keys() and "" not in link.metadata_keys(), link.metadata_keys())
    nfc_refused(nfc.UNSUPPORTED, link.set_metadata, "test.key", None)
    nfc_refused(nfc.BAD_PARAMETER, link.set_metadata, "bad", 'a"b\n')
    link.finish()
    true(b'ddb.test.key = "a value"' in open(host.at("meta", "x.vmdk"), "rb").read(64 * KIB), "not in the descriptor")
    link = host.nfc()
    link.open(vim.read_ticket(vm), name)
    nfc_refused(nfc.PERMISSION, link.set_metadata, "test.key", "other")
    link.finish()


def bases_of_clones_elsewhere_are_kept():
    base, clone = "[datastore1] golden/golden.vmdk", host.at("linked", "linked.vmdk")
    make_disk(host, "golden", "golden", fill=rng.randbytes(MIB))
    os.makedirs(host.at("linked"))
    qemu_img("create", "-q", "-f", "vmdk", "-b", "../golden/golden.vmdk", "-F", "vmdk", clone)
    before = open(host.at("golden", "golden.vmdk"), "rb").read()
    golden, linked = (vim.find_vm("[datastore1] %s/%s.vmx" % (name, name)) for name in ("golden", "linked"))
    store = '<ds type="Datastore">datastore-1</ds>'
    refused_open(nfc.PERMISSION, vim.write_ticket(golden, 2000), base, True)
    refused_open(nfc.PERMISSION, vim.ticket("NfcFileManagement", store), base, True)
    for method, inner in (("DeleteVirtualDisk_Task", "<name>%s</name>" % base),
                          ("MoveVirtualDisk_Task", "<sourceName>%s</sourceName><destName>[datastore1] golden/g.vmdk</destName>"
                           "<force>false</force>" % base),
                          ("ExtendVirtualDisk_Task", "<name>%s</name><newCapacityKb>8192</newCapacityKb>" % base)):
        equal(task(method, inner), "ResourceInUse", method)
    equal(open(host.at("golden", "golden.vmdk"), "rb").read(), before)
    open_for_writing(linked, "[datastore1] linked/linked.vmdk").finish()
    os.unlink(clone)
    open_for_writing(golden, base).finish()
    for _ in range(100):  # it is let go a moment later
        if task("DeleteVirtualDisk_Task", "<name>%s</name>" % base) is None:
            return
        time.sleep(0.05)
    raise AssertionError("the disk is still in use")


def chains_are_read_and_only_their_top_written():
    base = rng.randbytes(MIB)
    make_disk(host, "chain", "a", fill=base)
    qemu_img("create", "-q", "-f", "vmdk", "-b", "a.vmdk", "-F", "vmdk", host.at("chain", "b.vmdk"))
    vm = vim.find_vm("[datastore1] chain/chain.vmx")
    top, below = "[datastore1] chain/b.vmdk", "[datastore1] chain/a.vmdk"
    equal(list(vim.disks(vm)), [top])
    link = open_for_writing(vm, top)
    link.write(512, b"n" * 1024)
    equal(link.read(0, 4096), base[:512] + b"n" * 1024 + base[1536:4096])
    link.finish()
    link = host.nfc()
    key = vim.disks(vm)[top]
    link.open(vim.write_ticket(vm, key), below)
    equal(link.read(0, 4096), base[:4096], "the parent, for reading")
    link.finish()
    link = host.nfc()
    nfc_refused(nfc.PERMISSION, link.open, vim.write_ticket(vm, key), below, False, True)
    link.close()


tap.check("40 reads at once of a stream, of every compression; streams are not written", many_requests_at_once)
tap.check("allocated blocks are those that qemu wrote", allocated_blocks_are_told)
tap.check("keys of the disk database are read, set and listed", metadata_is_kept)
tap.check("chains are read whole, their top written, their parents only read", chains_are_read_and_only_their_top_written)


# ---- who may do what ----

def try_open(ticket, path, write=False):
    link = host.nfc()
    try:
        link.open(ticket, path, write=write)
    finally:
        link.close()


def refused_open(code, ticket, path, write=False):
    fault = nfc_refused(code, try_open, ticket, path, write)
    true(host.root not in fault.text and "/etc" not in fault.text.replace(path, ""), "tells too much: " + fault.text)
    return fault


def tickets_are_for_once():
    ticket = vim.read_ticket(VM1)
    try_open(ticket, DISK)
    nfc_refused(530, try_open, ticket, DISK)
    for session_id in ("", "52" + "0" * 34, ticket["sessionId"][:-1], "x" * 1000):
        tap.refused((nfc.Refused,) + client.GONE, (530, None), try_open, dict(ticket, sessionId=session_id), DISK)


def tickets_are_for_one_thing():
    refused_open(nfc.PERMISSION, vim.read_ticket(VM1), DISK, True)
    refused_open(nfc.PERMISSION, vim.read_ticket(VM1), "[datastore1] vm2/x.vmdk")
    refused_open(nfc.PERMISSION, vim.write_ticket(VM1, 2000), "[datastore1] vm2/x.vmdk", True)
    refused_open(nfc.PERMISSION, vim.write_ticket(VM1, 2000), "[datastore1] vm2/x.vmdk")
    extra = make_disk(host, "vm1", "extra")
    keys = vim.disks(VM1)
    refused_open(nfc.PERMISSION, vim.write_ticket(VM1, keys[DISK]), extra, True)
    refused_open(nfc.PERMISSION, vim.write_ticket(VM1, keys[DISK]), extra)
    try_open(vim.read_ticket(VM1), extra)
    read = vim.ticket("NfcRandomAccessOpenReadonly", client.machine(VM1) + "<diskDeviceKey>%d</diskDeviceKey>" % keys[DISK])
    refused_open(nfc.PERMISSION, read, DISK, True)
    os.remove(host.at("vm1", "extra.vmdk"))


def nothing_outside_can_be_named():
    store = '<ds type="Datastore">datastore-1</ds>'
    for path in ("[datastore1] ../../etc/passwd", "[datastore1] vm1/../../../password", "[datastore1] /etc/passwd",
                 "/etc/passwd", "[other] vm1/vm1.vmdk", "[datastore1]", "[datastore1] .", "vm1/vm1.vmdk",
                 "[datastore1] vm1/vm1.vmdk\x01", "[datastore1] " + "a/" * 2000 + "x.vmdk", "[../..] etc/passwd"):
        refused_open((nfc.BAD_PARAMETER, nfc.PERMISSION, 1), vim.read_ticket(VM1), path)
        refused_open((nfc.BAD_PARAMETER, nfc.PERMISSION, 1), vim.ticket("NfcFileManagement", store), path)
        refused_open((nfc.BAD_PARAMETER, nfc.PERMISSION, 1), vim.ticket("NfcFileManagement", store), path, True)


def links_lead_nowhere():
    outside = os.path.join(host.folder, "outside.vmdk")
    qemu_img("create", "-q", "-f", "vmdk", outside, "1M")
    os.makedirs(host.at("vm3"), exist_ok=True)
    make_disk(host, "vm3", "own")
    os.symlink(outside, host.at("vm3", "link.vmdk"))
    os.symlink(host.folder, host.at("vm4"))
    vm3 = vim.find_vm("[datastore1] vm3/vm3.vmx")
    equal(list(vim.disks(vm3)), ["[datastore1] vm3/own.vmdk"])
    equal(vim.find_vm("[datastore1] vm4/vm4.vmx"), None)
    store = '<ds type="Datastore">datastore-1</ds>'
    for path in ("[datastore1] vm3/link.vmdk", "[datastore1] vm4/outside.vmdk"):
        refused_open(nfc.PERMISSION, vim.read_ticket(vm3), path)
        refused_open(nfc.PERMISSION, vim.ticket("NfcFileManagement", store), path)
    os.remove(host.at("vm4"))
    os.remove(host.at("vm3", "link.vmdk"))


def descriptor(extent, parent=None):
    return ('# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=%s\ncreateType="monolithicFlat"\n%s%s\n'
            'ddb.adapterType = "ide"\n' % ("ffffffff" if parent is None else "87654321",
                                           "" if parent is None else 'parentFileNameHint="%s"\n' % parent, extent))


def descriptors_lead_nowhere():
    secret = os.path.join(host.folder, "secret")
    with open(secret, "wb") as file:
        file.write(b"secret" * 1000)
    os.makedirs(host.at("vm5"), exist_ok=True)
    os.symlink(secret, host.at("vm5", "link-flat.vmdk"))
    store = '<ds type="Datastore">datastore-1</ds>'
    up = os.path.relpath(secret, host.at("vm5"))
    for name, text in (("absolute", descriptor('RW 2 FLAT "%s" 0' % secret)), ("up", descriptor('RW 2 FLAT "%s" 0' % up)),
                       ("passwd", descriptor('RW 2 FLAT "/etc/passwd" 0')), ("link", descriptor('RW 2 FLAT "link-flat.vmdk" 0')),
                       ("device", descriptor('RW 2 FLAT "/dev/zero" 0')),
                       ("parent", descriptor('RW 2 ZERO', os.path.join(host.folder, "outside.vmdk")))):
        with open(host.at("vm5", name + ".vmdk"), "w", encoding="utf-8") as file:
            file.write(text)
        vm5 = vim.find_vm("[datastore1] vm5/vm5.vmx")
        path = "[datastore1] vm5/%s.vmdk" % name
        codes = (nfc.PERMISSION, 1, nfc.BAD_PARAMETER, nfc.UNSUPPORTED)
        for ticket in (vim.read_ticket(vm5), vim.ticket("NfcFileManagement", store)):
            fault = nfc_refused(codes, try_open, ticket, path)
            true(b"secretsecret" not in fault.text.encode() and "root:" not in fault.text, fault.text)
        os.remove(host.at("vm5", name + ".vmdk"))
    os.remove(host.at("vm5", "link-flat.vmdk"))


def parts_are_no_disks():
    with open(host.at("vm1", "vm1-flat.vmdk"), "r+b") as file:
        file.write(descriptor('RW 2 FLAT "../vm2/x.vmdk" 0').encode())  # what a guest could write
    store = '<ds type="Datastore">datastore-1</ds>'
    for ticket in (vim.read_ticket(VM1), vim.ticket("NfcFileManagement", store)):
        refused_open(nfc.PERMISSION, ticket, "[datastore1] vm1/vm1-flat.vmdk")
    equal(vim.disks(VM1), {DISK: 2000})
    with open(host.at("vm1", "vm1-flat.vmdk"), "r+b") as file:
        file.write(bytes(1024))


def readers_only_read():
    reader = host.login("reader", "se cret")
    soap_refused("NoPermission", reader.write_ticket, VM1, 2000)
    soap_refused("NoPermission", reader.call, "CreateVirtualDisk_Task", reader.content["virtualDiskManager"],
                 "<name>[datastore1] vm1/r.vmdk</name>")
    soap_refused("NoPermission", reader.call, "MakeDirectory", reader.content["fileManager"], "<name>[datastore1] r</name>")
    link = host.nfc()
    link.open(reader.read_ticket(VM1), DISK)
    link.read(0, 512)
    link.finish()
    refused_open(nfc.PERMISSION, reader.ticket("NfcFileManagement", '<ds type="Datastore">datastore-1</ds>'), DISK, True)
    reader.logout()


def one_writes_or_many_read():
    link = open_for_writing(VM1, DISK)
    for write in (False, True):
        ticket = vim.write_ticket(VM1, 2000) if write else vim.read_ticket(VM1)
        true("lock" in refused_open(1, ticket, DISK, write).text, "the text does not tell of the lock")
    link.finish()
    links = [host.nfc() for _ in range(3)]
    for link in links:
        link.open(vim.read_ticket(VM1), DISK)
    refused_open(1, vim.write_ticket(VM1, 2000), DISK, True)
    for link in links:
        link.finish()


def killed_clients_leave_no_lock():
    for ssl_data in (False, True):
        link = host.nfc()
        link.open(vim.write_ticket(VM1, 2000), DISK, ssl_data, write=True)
        link.write(0, b"k" * 4096)
        link.send_write(4096, b"half" * 65536)  # no answer is waited for
        link.wire.sock.close()
        eventually(lambda: open_for_writing(VM1, DISK)).finish()
    link = host.nfc()
    link.open(vim.read_ticket(VM1), DISK)
    equal(link.read(0, 4096), b"k" * 4096)
    link.finish()


tap.check("a ticket is good once, and no other word is one", tickets_are_for_once)
tap.check("a ticket opens what it is for: machine, disk, mode", tickets_are_for_one_thing)
tap.check("nothing outside a datastore can be named", nothing_outside_can_be_named)
tap.check("symbolic links are not followed", links_lead_nowhere)
tap.check("descriptors do not lead to extents and parents outside", descriptors_lead_nowhere)
tap.check("parts of disks are not opened as disks", parts_are_no_disks)
tap.check("a user who may only read does only that", readers_only_read)
tap.check("one writes, or many read", one_writes_or_many_read)
tap.check("a client that is killed leaves no lock, and what it wrote", killed_clients_leave_no_lock)


# ---- disks made and removed ----

def task(method, inner):
    moref = vim.call(method, vim.content["virtualDiskManager"], inner)[0].text
    found = vim.properties("Task", moref, "info.state", "info.error", "info")
    error = found.get("info.error")
    if found["info.state"].text == "success":
        equal(error, None)
        return None
    return error[0].get("{http://www.w3.org/2001/XMLSchema-instance}type")


def create(name, kind="thin", kib=2048):
    return task("CreateVirtualDisk_Task", "<name>%s</name><spec><diskType>%s</diskType><adapterType>lsiLogic</adapterType>"
                "<capacityKb>%d</capacityKb></spec>" % (name, kind, kib))


def disks_are_made_and_removed():
    make = vim.content["fileManager"]
    folder = "<name>[datastore1] new/sub</name><createParentDirectories>%s</createParentDirectories>"
    soap_refused("FileNotFound", vim.call, "MakeDirectory", make, folder % "false")
    vim.call("MakeDirectory", make, folder % "true")
    soap_refused("FileAlreadyExists", vim.call, "MakeDirectory", make, "<name>[datastore1] new</name>")
    soap_refused("InvalidDatastorePath", vim.call, "MakeDirectory", make, "<name>[datastore1] ../out</name>")
    for kind in ("thin", "preallocated", "eagerZeroedThick", "sparse2Gb", "thick2Gb", "sparseMonolithic", "flatMonolithic"):
        name = "[datastore1] new/%s.vmdk" % kind
        equal(create(name, kind), None, kind)
        equal(create(name, kind), "FileAlreadyExists", kind)
    for name, kind, kib, fault in (("[datastore1] new/a.vmdk", "rdm", 1, "NotSupported"), ("[datastore1] new/a.vmdk", "thin", 0, "InvalidArgument"),
                                   ("[datastore1] none/a.vmdk", "thin", 64, "FileNotFound"), ("[datastore1] new/a-flat.vmdk", "thin", 64, "InvalidDatastorePath"),
                                   ("[datastore1] new/a.txt", "thin", 64, "InvalidDatastorePath")):
        equal(create(name, kind, kib), fault, name)
    ticket = '<ds type="Datastore">datastore-1</ds>'
    link = host.nfc()
    link.open(vim.ticket("NfcFileManagement", ticket), "[datastore1] new/thin.vmdk", write=True)
    link.write(0, b"z" * MIB)
    equal(task("DeleteVirtualDisk_Task", "<name>[datastore1] new/thin.vmdk</name>"), "FileLocked")
    link.finish()
    equal(task("ExtendVirtualDisk_Task", "<name>[datastore1] new/thin.vmdk</name><newCapacityKb>8192</newCapacityKb>"), None)
    grown = raw_of(host.at("new", "thin.vmdk"))
    equal((len(grown), grown[:MIB] == b"z" * MIB, any(grown[MIB:])), (8 * MIB, True, False))
    for kind in ("thin", "preallocated", "sparse2Gb"):
        equal(task("DeleteVirtualDisk_Task", "<name>[datastore1] new/%s.vmdk</name>" % kind), None, kind)
        equal(task("DeleteVirtualDisk_Task", "<name>[datastore1] new/%s.vmdk</name>" % kind), "FileNotFound", kind)
    equal([name for name in os.listdir(host.at("new")) if name.startswith(("thin", "prealloc", "sparse2"))], [])
    equal(task("DeleteVirtualDisk_Task", "<name>[datastore1] chain/a.vmdk</name>"), "ResourceInUse")
    equal(task("DeleteVirtualDisk_Task", "<name>[datastore1] vm1/vm1-flat.vmdk</name>"), "CannotAccessFile")


def move(source, target, force="false"):
    return task("MoveVirtualDisk_Task", "<sourceName>%s</sourceName><destName>%s</destName><force>%s</force>"
                % (source, target, force))


def disks_are_moved():
    ticket = '<ds type="Datastore">datastore-1</ds>'
    os.makedirs(host.at("moved"))
    at = "[datastore1] moved/%s.vmdk"
    for name in ("a.part-0123abcd", "b", "sparse"):
        equal(create(at % name, "sparse2Gb" if name == "sparse" else "thin"), None)
    half = refused_open(1, vim.ticket("NfcFileManagement", ticket), at % "a.part-0123abcd")
    true("cut short" in half.text, half.text)
    link = host.nfc()
    link.open(vim.ticket("NfcFileManagement", ticket), at % "a.part-0123abcd", write=True)  # whoever makes it writes to it
    link.write(0, b"m" * MIB)
    equal(move(at % "a.part-0123abcd", at % "a"), "FileLocked")
    link.finish()
    for source, target, fault in (("none", "c", "FileNotFound"), ("b", "a.part-0123abcd", "FileAlreadyExists"),
                                  ("b", "b-flat", "InvalidDatastorePath"), ("b-flat", "c", "CannotAccessFile"),
                                  ("b", "none/c", "FileNotFound")):
        equal(move(at % source, at % target), fault, target)
    equal(move(at % "b", at % "a.part-0123abcd", "true"), "FileAlreadyExists")
    equal(move("[datastore1] chain/a.vmdk", at % "c"), "ResourceInUse")
    soap_refused("InvalidDatastorePath", move, at % "b", "[datastore1] ../c.vmdk")
    soap_refused("InvalidDatastorePath", move, at % "b", "")
    reader = host.login("reader", "se cret")
    soap_refused("NoPermission", reader.call, "MoveVirtualDisk_Task", reader.content["virtualDiskManager"],
                 "<sourceName>%s</sourceName><destName>%s</destName>" % (at % "b", at % "c"))
    reader.logout()
    equal(move(at % "a.part-0123abcd", at % "a"), None)
    equal(move(at % "sparse", "[datastore1] new/moved.vmdk"), None)
    equal(sorted(os.listdir(host.at("moved"))), ["a-flat.vmdk", "a.vmdk", "b-flat.vmdk", "b.vmdk"])
    equal(raw_of(host.at("moved", "a.vmdk")), b"m" * MIB + bytes(MIB))
    equal(len(raw_of(host.at("new", "moved.vmdk"))), 2 * MIB)


VIXDISK = os.environ.get("VIXDISK") or os.path.join(os.path.dirname(diskhost.PROGRAM), "../tool/vixdisk")


def copies_replace():
    """The command replaces a disk here as on a server of VMware."""
    data = random.Random(6).randbytes(MIB)
    with open(os.path.join(host.folder, "new.raw"), "wb") as file:
        file.write(data)
    with open(os.path.join(host.folder, "password"), "w", encoding="utf-8") as file:
        file.write(host.password + "\n")
    run = subprocess.run([VIXDISK, "convert", "--host", "127.0.0.1:%d" % host.port, "--user", "vixdisk",
                          "--password-file", os.path.join(host.folder, "password"), "--thumbprint", host.thumbprint,
                          "--overwrite", os.path.join(host.folder, "new.raw"), "[datastore1] moved/a.vmdk"],
                         capture_output=True, text=True, timeout=120)
    equal(run.returncode, 0, run.stderr)
    equal(raw_of(host.at("moved", "a.vmdk")), data)
    equal(sorted(os.listdir(host.at("moved"))), ["a-flat.vmdk", "a.vmdk", "b-flat.vmdk", "b.vmdk"])


tap.check("disks are made, written, grown and removed; folders are made", disks_are_made_and_removed)
tap.check("the base of a clone in another folder is kept as it is", bases_of_clones_elsewhere_are_kept)
tap.check("disks are moved", disks_are_moved)
tap.check("a copy replaces a disk", copies_replace)


# ---- the end, and the log ----

def secrets_are_not_logged():
    host.login().logout()
    log = host.log()
    true(host.password not in log and "se cret" not in log, "a password is in the log")
    ticket = vim.read_ticket(VM1)
    try_open(ticket, DISK)
    true(ticket["sessionId"] not in host.log(), "a ticket is in the log")
    true(vim.cookie.strip('"') not in host.log(), "a cookie is in the log")
    true(re.search(r"user vixdisk opened \[datastore1\] vm1/vm1.vmdk for reading", host.log()), "no line for an open")


def the_end_is_in_order():
    link = open_for_writing(VM1, DISK)
    data = rng.randbytes(MIB)
    link.write(0, data)
    idle = host.nfc()
    idle.greet()
    took = host.stop()
    true(took < 8, "%.1f s" % took)
    true("vixdiskd: ended" in host.log(), host.log())
    tap.refused((nfc.Refused,) + client.GONE, (None,), link.read, 0, 512)
    equal(raw_of(host.at("vm1", "vm1.vmdk"))[:MIB] == data, True, "what was written")


tap.check("passwords, cookies and tickets are in no log line", secrets_are_not_logged)
tap.check("SIGTERM ends it in order, with connections open", the_end_is_in_order)


# ---- limits ----

tight = diskhost.DiskHost("connections = 4\nhandshake-seconds = 2\nidle-seconds = 3\nrequest-body-kib = 4\nsessions = 2\n"
                          "ticket-seconds = 1\nlogin-delay-ms = 0\nsession-idle-seconds = 2\nhttp-connections = 8\n"
                          "connections-per-address = 6\nmemory-mib = 32\n").start()


def tickets_expire():
    user = tight.login()
    ticket = user.read_ticket(user.find_vm("[datastore1] vm1/vm1.vmx"))
    time.sleep(1.3)
    link = tight.nfc()
    nfc_refused(530, link.open, ticket, DISK)
    link.close()
    user.logout()


def sessions_are_counted_and_expire():
    users = [tight.login() for _ in range(2)]
    soap_refused("ResourceInUse", tight.login)
    time.sleep(2.3)
    tight.login().logout()
    users[0].close()  # the connection was idle for too long as well
    soap_refused("NotAuthenticated", users[0].call, "CurrentTime", ("ServiceInstance", "ServiceInstance"))


def connections_are_counted():
    links = [tight.nfc() for _ in range(4)]
    for link in links:
        true(link.wire.line().startswith("220 "), "no banner")
    fifth = tight.nfc()
    equal(fifth.wire.line(), "421 Too many connections")
    for link in links + [fifth]:
        link.close()

    def again():
        link = tight.nfc()
        line = link.wire.line()
        link.close()
        true(line.startswith("220 "), line)

    eventually(again)


def ended_within(link, low, high):
    """Seconds until the host ends a connection."""
    began = time.monotonic()
    tap.refused((nfc.Refused,) + client.GONE, (None,), lambda: [link.wire.recv(1) for _ in range(1000000)])
    took = time.monotonic() - began
    true(low <= took <= high, "ended after %.1f s" % took)


def silent_clients_are_ended():
    link = tight.nfc()
    link.wire.line()
    ended_within(link, 1, 5)
    user = tight.login()
    link = tight.nfc()
    link.open(user.read_ticket(user.find_vm("[datastore1] vm1/vm1.vmx")), DISK)
    ended_within(link, 2, 6)
    user.close()


def bodies_are_limited():
    user = client.Vim("127.0.0.1", tight.port)
    user.http.putrequest("POST", "/sdk")
    user.http.putheader("Content-Length", "5000")
    user.http.endheaders()
    equal(user.http.getresponse().status, 413)
    user.close()

    def in_pieces():
        user.http.request("POST", "/sdk", iter([b"x" * 3000] * 10), {"Content-Type": "text/xml"}, encode_chunked=True)
        user.http.getresponse()

    tap.refused((http.client.HTTPException,) + client.GONE, (None,), in_pieces)
    user.close()


def secure_socket():
    sock = socket.create_connection(("127.0.0.1", tight.port), 20)
    return nfc.any_server().wrap_socket(sock)


def slow_requests_are_ended():
    began = time.monotonic()
    sock = secure_socket()
    sock.sendall(b"POST /sdk HTTP/1.1\r\nHost: x\r\n")

    def drip():
        for _ in range(100):
            sock.sendall(b"X-A: b\r\n")
            time.sleep(0.2)

    tap.refused(client.GONE, (None,), drip)
    true(time.monotonic() - began < 8, "after %.1f s" % (time.monotonic() - began))
    sock.close()
    silent = socket.create_connection(("127.0.0.1", tight.port), 20)
    began = time.monotonic()
    while silent.recv(100):  # TLS may say why
        pass
    true(time.monotonic() - began < 8, "no handshake for %.1f s" % (time.monotonic() - began))
    silent.close()


def requests_are_served_meanwhile():
    socks = [socket.create_connection(("127.0.0.1", tight.port), 20) for _ in range(5)]
    began = time.monotonic()
    tight.login().logout()
    true(time.monotonic() - began < 2, "others wait")
    # of 7, 1 at least is one more than an address may have, whether those before have ended by now or not
    more = [socket.create_connection(("127.0.0.1", tight.port), 20) for _ in range(7)]
    true(b"" in [sock.recv(100) for sock in more], "more connections than an address may have")
    for sock in socks + more:
        sock.close()


tap.check("a ticket expires", tickets_expire)
tap.check("sessions are counted, and expire", sessions_are_counted_and_expire)
tap.check("NFC connections are counted", connections_are_counted)
tap.check("NFC clients that say nothing are ended, before and after the open", silent_clients_are_ended)
tap.check("a request that is too large is refused, told or not", bodies_are_limited)
tap.check("HTTPS clients that say nothing, or little at a time, are ended", slow_requests_are_ended)
tap.check("silent HTTPS clients keep nobody else from logging in, and are counted", requests_are_served_meanwhile)
tap.check("it ends in order after all that", tight.stop)


# ---- other set-ups ----

def datastores_are_read_only_by_default():
    other = diskhost.DiskHost(sections="[datastore two words]\npath = two\n")
    os.makedirs(os.path.join(other.root, "two", "vm"))
    qemu_img("create", "-q", "-f", "vmdk", os.path.join(other.root, "two", "vm", "d.vmdk"), "1M")
    other.start()
    user = other.login()
    vm = user.find_vm("[two words] vm/vm.vmx")
    fault = soap_refused("NoPermission", user.write_ticket, vm, 2000)
    true("only read" in fault.text, fault.text)
    link = other.nfc()
    link.open(user.read_ticket(vm), "[two words] vm/d.vmdk")
    equal(link.read(0, 512), bytes(512))
    link.finish()
    user.close()
    other.stop()


def memory_is_counted():
    other = diskhost.DiskHost("memory-mib = 16\n").start()
    user = other.login()
    vm = user.find_vm("[datastore1] vm1/vm1.vmx")
    links = [other.nfc() for _ in range(3)]
    tickets = [user.read_ticket(vm) for _ in range(3)]
    for link, ticket in list(zip(links, tickets))[:2]:
        link.open(ticket, DISK)
    nfc_refused(421, links[2].open, tickets[2], DISK)
    true("memory-mib" in other.wait_log(r"the ticket is not served: (.*)")[1], other.log())
    links[0].finish()
    last = other.nfc()
    eventually(lambda: last.open(tickets[2], DISK))  # the ticket is still good
    for link in (links[1], last):
        equal(link.read(0, MIB), bytes(MIB))
        link.finish()
    user.close()
    other.stop()


def old_hosts_can_be_acted():
    other = diskhost.DiskHost()
    data = mixed_bytes(2 * MIB)
    other.start("--test-knob", "reverse-fragments", "--test-knob", "random-fragments", "--test-knob", "shuffle-replies",
                "--test-knob", "no-sha256-word", "--test-knob", "no-extension-word", "--test-knob", "version=7")
    user = other.login()
    vm = user.find_vm("[datastore1] vm1/vm1.vmx")
    link = other.nfc()
    link.open(user.write_ticket(vm, 2000), DISK, True, True)
    equal((link.version, "SHA256" in link.banner, nfc.EXTENSION_WORD in link.banner), (7, False, False))
    link.write(0, data, nfc.ZLIB)
    equal(link.read(0, len(data), nfc.FASTLZ) == data, True, "the bytes")
    link.finish()
    user.close()
    other.stop()


tap.check("a datastore is only read unless the configuration says otherwise", datastores_are_read_only_by_default)
tap.check("memory is counted, and what is refused for it can be tried again", memory_is_counted)
tap.check("knobs make it act as an older host", old_hosts_can_be_acted)
tap.end()
