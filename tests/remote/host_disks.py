# SPDX-License-Identifier: BSD-3-Clause
"""What host.py's SOAP face does with disks that belong to no machine: VirtualDiskManager, FileManager, their tasks; and
the objects of its inventory beside the machine."""
import os
import threading


def text_of(node, name):
    for child in node:
        if child.tag.rpartition("}")[2] == name:
            return child.text or ""
    return ""


def string(text):
    return '<val xsi:type="xsd:string">%s</val>' % text


SNAPSHOT = ('<%(tag)s><snapshot type="VirtualMachineSnapshot">%(moref)s</snapshot><name>%(name)s</name>'
            '<description></description><createTime>2026-01-01T00:00:00Z</createTime><state>poweredOff</state>%(below)s'
            '</%(tag)s>')


DEVICES = (
    '<val xsi:type="ArrayOfVirtualDevice">'
    '<VirtualDevice xsi:type="ParaVirtualSCSIController"><key>1000</key><controllerKey>100</controllerKey>'
    '<busNumber>0</busNumber></VirtualDevice>'
    '<VirtualDevice xsi:type="VirtualDisk"><key>2000</key><deviceInfo><label>Hard disk 1</label><summary>x</summary>'
    '</deviceInfo><backing xsi:type="VirtualDiskFlatVer2BackingInfo"><fileName>[%s] vm1/disk.vmdk</fileName>'
    '<datastore type="Datastore">datastore-1</datastore><diskMode>persistent</diskMode>'
    '<thinProvisioned>true</thinProvisioned><uuid>6000C29a-0011-2233-4455-66778899aabb</uuid>'
    '<contentId>%s</contentId></backing><controllerKey>1000</controllerKey><unitNumber>0</unitNumber>'
    '<capacityInKB>%d</capacityInKB></VirtualDevice></val>')


def capacity_kib(host):
    flat = os.path.join(host.folder, host.store, "vm1", "disk-flat.vmdk")
    for path in (flat, flat.replace("-flat", "")):
        if os.path.isfile(path):
            return os.path.getsize(path) // 1024
    return 1024


def list_of(kind, value):
    return ('<val xsi:type="ArrayOfManagedObjectReference"><ManagedObjectReference type="%s" '
            'xsi:type="ManagedObjectReference">%s</ManagedObjectReference></val>' % (kind, value))


def objects(host):
    """The properties of all objects, as XML: a machine, its host, a datacenter, a datastore, and two snapshots, of which
    the first has the machine's disk and the second has none."""
    below = SNAPSHOT % dict(tag="childSnapshotList", moref="snapshot-45", name="second", below="")
    tree = SNAPSHOT % dict(tag="rootSnapshotList", moref="snapshot-44", name="first%2fone", below=below)
    devices = DEVICES % (host.store, host.content_id, capacity_kib(host))
    system = "host-21" if host.vcenter else "ha-host"
    manager = "SessionManager" if host.vcenter else "ha-sessionmgr"
    return {
        ("VirtualMachine", host.vm): {
            "name": string("vm1"),
            "runtime.powerState": '<val xsi:type="VirtualMachinePowerState">poweredOff</val>',
            "runtime.host": '<val type="HostSystem" xsi:type="ManagedObjectReference">%s</val>' % system,
            "config.hardware.device": devices,
            "config.changeTrackingEnabled": '<val xsi:type="xsd:boolean">false</val>',
            "config.files.vmPathName": string("[%s] vm1/vm1.vmx" % host.store),
            "datastore": list_of("Datastore", "datastore-1"),
            "snapshot": '<val xsi:type="VirtualMachineSnapshotInfo"><currentSnapshot type="VirtualMachineSnapshot">'
                        "snapshot-45</currentSnapshot>%s</val>" % tree},
        ("VirtualMachineSnapshot", "snapshot-44"): {"config.hardware.device": devices},
        ("VirtualMachineSnapshot", "snapshot-45"): {
            "config.hardware.device": '<val xsi:type="ArrayOfVirtualDevice"></val>'},
        ("HostSystem", system): {"name": string("127.0.0.1")},
        ("Datacenter", "datacenter-2"): {"name": string("DC0"), "datastore": list_of("Datastore", "datastore-1")},
        ("Datastore", "datastore-1"): {
            "name": string(host.store),
            "summary": '<val xsi:type="DatastoreSummary"><name>%s</name><url>ds:///vmfs/volumes/1/</url>'
                       "<capacity>1099511627776</capacity><freeSpace>1073741824</freeSpace><accessible>true</accessible>"
                       "<type>VMFS</type></val>" % host.store},
        ("SessionManager", manager): {
            "currentSession": '<val xsi:type="UserSession"><key>52</key><userName>x</userName></val>'},
    }


class Disks:
    """Mixed into the SOAP face."""
    lock = threading.Lock()

    def place(self, call, argument="name", datacenter="datacenter"):
        """The file of a path of a datastore, without the end that the kind of file gives it."""
        host = self.server.host
        method = call.tag.rpartition("}")[2]
        refusal = host.refusals.get((method, text_of(call, argument))) or host.refusals.get((method, None))
        if refusal:
            if refusal == "MethodNotFound":
                raise host.fault(refusal)
            return None, refusal
        store, _, name = text_of(call, argument).partition("]")
        if host.vcenter and text_of(call, datacenter) != "datacenter-2":
            return None, "InvalidArgument"
        if store != "[" + host.store or ".." in name:
            return None, "InvalidDatastorePath"
        return os.path.join(host.folder, host.store, name.strip()), None

    def task(self, fault=None):
        host = self.server.host
        with self.lock:
            host.task_count = getattr(host, "task_count", 0) + 1
            name = "task-%d" % host.task_count
            host.objects["Task", name] = {
                "info.state": '<val xsi:type="TaskInfoState">%s</val>' % ("error" if fault else "success")}
            if fault:
                host.objects["Task", name]["info.error"] = (
                    '<val xsi:type="LocalizedMethodFault"><fault xsi:type="%s"></fault><localizedMessage>A fault of the '
                    "kind %s</localizedMessage></val>" % (fault, fault))
        return '<returnval type="Task">%s</returnval>' % name

    def call_CreateVirtualDisk_Task(self, call):
        path, fault = self.place(call)
        if fault:
            return self.task(fault)
        spec = [node for node in call if node.tag.endswith("spec")][0]
        flat = path[:-len(".vmdk")] + "-flat.vmdk"
        self.server.host.created.append((text_of(spec, "diskType"), text_of(spec, "adapterType")))
        if not os.path.isdir(os.path.dirname(path)):
            return self.task("FileNotFound")
        if os.path.exists(flat) or os.path.exists(path):
            return self.task("FileAlreadyExists")
        with open(flat, "wb") as file:
            file.truncate(int(text_of(spec, "capacityKb")) * 1024)
        return self.task()

    def find(self, call, *arguments):
        path, fault = self.place(call, *arguments)
        if fault:
            return None, fault
        for name in (path[:-len(".vmdk")] + "-flat.vmdk", path):
            if os.path.isfile(name):
                return name, None
        return None, "FileNotFound"

    def call_DeleteVirtualDisk_Task(self, call):
        path, fault = self.find(call)
        if not fault:
            os.unlink(path)
        return self.task(fault)

    def call_MoveVirtualDisk_Task(self, call):
        path, fault = self.find(call, "sourceName", "sourceDatacenter")
        target, wrong = self.place(call, "destName", "destDatacenter")
        taken = not wrong and self.find(call, "destName", "destDatacenter")[0]
        fault = fault or wrong or ("FileAlreadyExists" if taken else None)
        if not fault:
            os.rename(path, target[:-len(".vmdk")] + ("-flat.vmdk" if path.endswith("-flat.vmdk") else ".vmdk"))
        return self.task(fault)

    def call_ExtendVirtualDisk_Task(self, call):
        path, fault = self.find(call)
        if not fault:
            os.truncate(path, int(text_of(call, "newCapacityKb")) * 1024)
        return self.task(fault)

    def call_MakeDirectory(self, call):
        path, fault = self.place(call)
        if fault or os.path.isdir(path):
            raise self.server.host.fault(fault or "FileAlreadyExists")
        os.makedirs(path)
        return ""
