# SPDX-License-Identifier: BSD-3-Clause
"""For the tests of disks that are attached: Machine, a folder that stands for /sys and /dev of the machine that the
library runs in, and Proxy, that machine in the inventory of host.py, whose hardware ReconfigVM_Task changes. What is
attached appears in the folder as the kernel would have it: a device is a link to the disk's file. Written from
descriptions of sysfs and of the API."""
import os
import shutil
import threading
import time

from host_disks import string, text_of

UUID = "4233c48a-7874-9207-f6c6-131b895335ba"  # as vSphere has it
UUID_TURNED = "8AC43342-7478-0792-F6C6-131B895335BA"  # as Linux prints it, by newer tables
SERIAL = "VMware-42 33 c4 8a 78 74 92 07-f6 c6 13 1b 89 53 35 ba"
MAC = "00:50:56:01:02:03"
DISK_UUID = "6000C29a-0011-2233-4455-66778899aabb"
DISK_ID = "6000c29a001122334455" + "66778899aabb"


def local(tag):
    return tag.rpartition("}")[2]


def xsi_type(node):
    return (node.get("{http://www.w3.org/2001/XMLSchema-instance}type") or "").rpartition(":")[2]


def page83(id):
    """A vendor's text, then the id, as a virtual disk of VMware has them."""
    name = b"VMware  Virtual disk"
    body = bytes((2, 1, 0, len(name))) + name + bytes((1, 3, 0, len(id) // 2)) + bytes.fromhex(id)
    return bytes((0, 0x83, 0, len(body))) + body


class Machine:
    """The folder. .plug() and .unplug() are the hardware; how a disk appears is set by the members below."""

    def __init__(self, folder):
        self.folder = folder
        self.lock = threading.Lock()
        shutil.rmtree(folder, ignore_errors=True)
        self.tells_id = True  # disk.EnableUUID
        self.id = DISK_ID
        self.delay = 0.0
        self.appears = "once"  # or "twice", "never", "on scan"
        self.size_error = 0
        self.unit_error = 0
        self.holder = None
        self.letters = iter("bcdefghijklmnopqrstuvwxyz")
        self.put("sys/class/dmi/id/sys_vendor", "VMware, Inc.\n")
        self.put("sys/class/dmi/id/product_serial", SERIAL + "\n")
        self.put("sys/class/dmi/id/product_uuid", UUID_TURNED + "\n")
        self.put("sys/class/net/lo/address", "00:00:00:00:00:00\n")
        self.put("sys/class/net/eth0/address", MAC + "\n")
        self.put("sys/class/scsi_host/host0/proc_name", "ahci\n")
        self.put("sys/class/scsi_host/host0/scan", "")
        for n in range(2, 6):  # one for each bus
            self.put("sys/class/scsi_host/host%d/proc_name" % n, "vmw_pvscsi\n")
            self.put("sys/class/scsi_host/host%d/scan" % n, "")
        self.make("2:0:0:0", "sda", self.put("boot", bytes(1 << 20)), 1 << 20, "6000c29" + "0" * 25)

    def path(self, name):
        return os.path.join(self.folder, name)

    def put(self, name, data):
        path = self.path(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb" if isinstance(data, bytes) else "w") as file:
            file.write(data)
        return path

    def read(self, name):
        with open(self.path(name)) as file:
            return file.read()

    def gone(self, name):
        os.unlink(self.path(name))

    def make(self, address, name, file, size, id):
        os.makedirs(self.path("sys/block/%s/holders" % name))
        self.put("sys/block/%s/size" % name, "%d\n" % (size // 512))
        if self.holder:
            self.put("sys/block/%s/holders/%s" % (name, self.holder), "")
        os.makedirs(self.path("dev"), exist_ok=True)
        os.symlink(os.path.abspath(file), self.path("dev/" + name))
        new = "sys/bus/scsi/devices/.new"
        if id:
            self.put(new + "/wwid", "naa.%s\n" % id)
            self.put(new + "/vpd_pg83", page83(id))
        self.put(new + "/delete", "")
        os.makedirs(self.path(new + "/block/" + name))
        os.rename(self.path(new), self.path("sys/bus/scsi/devices/" + address))

    def scanned(self):
        return any(self.read("sys/class/scsi_host/host%d/scan" % n) == "- - -" for n in range(2, 6))

    def plug(self, bus, unit, file, size):
        if self.appears == "never":
            return
        thread = threading.Thread(target=self.appear, args=(bus, unit, file, size), daemon=True)
        thread.start()
        if not self.delay and self.appears != "on scan":
            thread.join()

    def appear(self, bus, unit, file, size):
        time.sleep(self.delay)
        while self.appears == "on scan" and not self.scanned():
            time.sleep(0.05)
        with self.lock:
            hosts = (bus, bus + 1) if self.appears == "twice" else (bus,)
            for n in hosts:
                self.make("%d:0:%d:0" % (2 + n, unit + self.unit_error), "sd" + next(self.letters), file,
                          size + self.size_error, self.id if self.tells_id else None)

    def unplug(self, bus, unit):
        """Whether the kernel was told to forget the device before."""
        told = True
        with self.lock:
            for address in os.listdir(self.path("sys/bus/scsi/devices")):
                if address != "2:0:0:0":
                    where = self.path("sys/bus/scsi/devices/" + address)
                    told = told and self.read("sys/bus/scsi/devices/%s/delete" % address) == "1"
                    for name in os.listdir(where + "/block"):
                        shutil.rmtree(self.path("sys/block/" + name))
                        os.unlink(self.path("dev/" + name))
                    shutil.rmtree(where)
        return told


class Proxy:
    """The machine in the inventory: vm-9, with a disk of its own at unit 0 of its first controller."""
    moref = "vm-9"

    def __init__(self, host, machine):
        self.host, self.machine = host, machine
        self.uuid = UUID
        self.disk_uuid = DISK_UUID  # of what is attached
        self.asked = []  # UUIDs that were looked for
        self.moves_to = None  # the unit that the server chooses in the place of what was asked for
        self.hides = ()  # keys of disks that it does not list
        self.controllers = {1000: ("ParaVirtualSCSIController", 0)}
        self.disks = {2000: dict(controller=1000, unit=0, file="[%s] vm9/boot.vmdk" % host.store, mode="persistent",
                                 size=1 << 20)}
        self.next_key = 2001
        self.faults = {"add": [], "remove": []}
        self.calls = []  # (operation, file, mode, unit) of disks, in order
        self.complaints = []
        self.macs = [MAC.upper()]
        host.proxy = self
        self.tell()

    def tell(self):
        """Puts the hardware as it is into the inventory."""
        host = self.host
        devices = "".join(
            '<VirtualDevice xsi:type="%s"><key>%d</key><controllerKey>100</controllerKey><busNumber>%d</busNumber>'
            "</VirtualDevice>" % (kind, key, bus) for key, (kind, bus) in self.controllers.items())
        devices += "".join('<VirtualDevice xsi:type="VirtualVmxnet3"><key>%d</key><macAddress>%s</macAddress>'
                           "</VirtualDevice>" % (4000 + n, mac) for n, mac in enumerate(self.macs))
        for key, disk in self.disks.items():
            if key in self.hides:
                continue
            uuid = "<uuid>%s</uuid>" % disk["uuid"] if disk.get("uuid") else ""
            devices += (
                '<VirtualDevice xsi:type="VirtualDisk"><key>%d</key><backing xsi:type="VirtualDiskFlatVer2BackingInfo">'
                "<fileName>%s</fileName><diskMode>%s</diskMode>%s%s</backing><controllerKey>%d</controllerKey>"
                "<unitNumber>%d</unitNumber><capacityInKB>%d</capacityInKB></VirtualDevice>"
                % (key, disk["file"], disk["mode"], uuid, disk.get("parent", ""), disk["controller"], disk["unit"],
                   disk["size"] // 1024))
        host.objects["VirtualMachine", self.moref] = dict(
            host.objects["VirtualMachine", host.vm],
            **{"name": string("proxy"),
               "runtime.powerState": '<val xsi:type="VirtualMachinePowerState">poweredOn</val>',
               "config.hardware.device": '<val xsi:type="ArrayOfVirtualDevice">%s</val>' % devices})

    def find(self, uuid):
        self.asked.append(uuid)
        return self.moref if uuid == self.uuid else None

    def attached(self):
        """Files of the disks beside its own."""
        return [disk["file"] for key, disk in self.disks.items() if key != 2000]

    def reconfigure(self, call):
        """The fault, or None."""
        if any(local(node.tag) == "fileOperation" for node in call.iter()):
            self.complaints.append("a fileOperation")
        made = {}
        for change in [node for node in call.iter() if local(node.tag) == "deviceChange"]:
            device = [node for node in change if local(node.tag) == "device"][0]
            operation = text_of(change, "operation")
            if xsi_type(device) != "VirtualDisk":
                key = 1000 + len(self.controllers)
                made[text_of(device, "key")] = key
                self.controllers[key] = (xsi_type(device), int(text_of(device, "busNumber")))
                continue
            fault = self.add(device, made) if operation == "add" else self.remove(device)
            self.tell()
            if fault:
                return fault
        self.tell()
        return None

    def next_fault(self, operation):
        return self.faults[operation].pop(0) if self.faults[operation] else None

    def add(self, device, made):
        backing = [node for node in device if local(node.tag) == "backing"][0]
        file, mode = text_of(backing, "fileName"), text_of(backing, "diskMode")
        controller, unit = text_of(device, "controllerKey"), int(text_of(device, "unitNumber"))
        controller = made.get(controller) or int(controller)
        self.calls.append(("add", file, mode, unit))
        fault = self.next_fault("add")
        if fault:
            return fault
        if unit == 7 or any(d["controller"] == controller and d["unit"] == unit for d in self.disks.values()):
            return "InvalidDeviceSpec"
        try:
            path = self.host.path_of(file)
        except Exception:
            return "FileNotFound"
        size = os.path.getsize(path)
        unit = unit if self.moves_to is None else self.moves_to
        self.disks[self.next_key] = dict(controller=controller, unit=unit, file=file, mode=mode, size=size,
                                         uuid=self.disk_uuid)
        self.next_key += 1
        self.machine.plug(self.controllers[controller][1], unit, path, size)
        return None

    def remove(self, device):
        key = int(text_of(device, "key"))
        self.calls.append(("remove", self.disks[key]["file"], self.disks[key]["mode"], self.disks[key]["unit"]))
        if key == 2000:
            self.complaints.append("the machine's own disk was to be removed")
        fault = self.next_fault("remove")
        if fault:
            return fault
        disk = self.disks.pop(key)
        if not self.machine.unplug(self.controllers[disk["controller"]][1], disk["unit"]):
            self.complaints.append("detached before the kernel was told")
        return None
