# SPDX-License-Identifier: BSD-3-Clause
"""What host.py's SOAP face does with leases of disks: it tells the map that a test has made, and may fail in each call."""


def text_of(node, name):
    for child in node:
        if child.tag.rpartition("}")[2] == name:
            return child.text or ""
    return ""


class Leases:
    """host.leases; None: the server has no such manager. A disk's map: a list of mappings, each of a kind ("Scsi",
    "Vmfs"), an element, and extents (start, length, physical, "", "readOnly" or "lazyZero"), in units."""

    def __init__(self, fault, unit=1 << 20, timeout=None):
        self.fault = fault          # class of a fault
        self.unit, self.timeout = unit, timeout
        self.granularity, self.min_block = unit, unit
        self.maps, self.sizes = {}, {}
        self.ddb = {"ddb.adapterType": "lsilogic", "ddb.uuid": "60 00 C2 9a 00 11 22 33-44 55 66 77 88 99 aa bb"}
        self.page = 1 << 30         # units in an answer
        self.faults = {}            # by method, kinds in turn; the last one stays; "" is none
        self.names = ["urn:vim25"]  # namespaces that are known
        self.bad = {}               # by method, an answer in its place
        self.held = {}              # moref: path
        self.log = []
        self.count = 0

    def enter(self, method, call):
        name_space = call.tag.partition("}")[0].lstrip("{")
        self.log.append((method, text_of(call, "_this"), name_space))
        if name_space not in self.names:
            raise self.fault("MethodNotFound")
        kinds = self.faults.get(method, [])
        kind = kinds.pop(0) if len(kinds) > 1 else kinds[0] if kinds else ""
        if kind:
            raise self.fault(kind)

    def info(self, path, start, length):
        """A HostDiskBlockInfo; the order of the extents is that of the list."""
        length = min(length, self.page)
        out = "<size>%d</size><granularity>%d</granularity><minBlockSize>%d</minBlockSize><mapStart>%d</mapStart>" \
              "<mapLength>%d</mapLength>" % (self.sizes[path], self.granularity, self.min_block, start, length)
        for kind, element, extents in self.maps[path]:
            rows = ""
            for at, count, physical, flag in extents:
                low, high = max(at, start), min(at + count, start + length)
                if low < high:
                    rows += "<extent><logicalStart>%d</logicalStart><physicalStart>%d</physicalStart><length>%d</length>" \
                            "%s</extent>" % (low, physical + low - at, high - low, flag and "<%s>true</%s>" % (flag, flag))
            if rows:
                out += '<map xsi:type="HostDiskBlockInfo%sMapping"><element>%s</element>%s</map>' % (kind, element, rows)
        return out

    def take(self, call):
        path = text_of(call, "diskPath")
        if text_of(call, "snapshot") not in ("snapshot-44", "snapshot-45") or path not in self.maps:
            raise self.fault("LeaseFault")
        self.log.append(("read-only", text_of(call, "readOnly")))
        self.count += 1
        moref = "lease-%d" % self.count
        self.held[moref] = path
        options = "".join("<ddbOption><key>%s</key><value xsi:type=\"xsd:string\">%s</value></ddbOption>" % item
                          for item in self.ddb.items())
        timeout = "" if self.timeout is None else "<leaseTimeout>%d</leaseTimeout>" % self.timeout
        return ('<returnval><lease type="HostDiskManagerLease">%s</lease>%s<blockInfo>%s</blockInfo>%s</returnval>'
                % (moref, options, self.info(path, 0, 1), timeout))

    def of(self, call):
        moref = text_of(call, "_this")
        if moref not in self.held:
            raise self.fault("ManagedObjectNotFound")
        return moref

    def answer(self, method, call):
        self.enter(method, call)
        if method in self.bad:
            return self.bad[method]
        if method == "AcquireLeaseExt":
            return self.take(call)
        moref = self.of(call)
        if method == "LeaseMapDiskRegion":
            start, length = int(text_of(call, "mapStart")), int(text_of(call, "mapLength"))
            if start + length > self.sizes[self.held[moref]]:
                raise self.fault("OutOfBounds")
            return "<returnval>%s</returnval>" % self.info(self.held[moref], start, length)
        if method == "ReleaseLease":
            del self.held[moref]
        return ""


class LeaseCalls:
    """For the SOAP face."""

    def lease_call(self, method, call):
        host = self.server.host
        if host.leases is None:
            raise host.fault("MethodNotFound")
        with host.lock:
            return host.leases.answer(method, call)

    def call_AcquireLeaseExt(self, call):
        return self.lease_call("AcquireLeaseExt", call)

    def call_LeaseMapDiskRegion(self, call):
        return self.lease_call("LeaseMapDiskRegion", call)

    def call_RenewLease(self, call):
        return self.lease_call("RenewLease", call)

    def call_ReleaseLease(self, call):
        return self.lease_call("ReleaseLease", call)
