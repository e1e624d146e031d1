# SPDX-License-Identifier: BSD-3-Clause
"""A client of SOAP and NFC that says exactly what a test wants it to say. Written from the protocols' descriptions
alone, see nfc.py. Standard library only."""
import base64
import hashlib
import http.client
import os
import re
import socket
import ssl
import struct
import xml.etree.ElementTree as ElementTree
from xml.sax.saxutils import escape

import nfc


class SoapFault(Exception):
    def __init__(self, status, kind, text):
        super().__init__("HTTP %d %s: %s" % (status, kind, text))
        self.status, self.kind, self.text = status, kind, text


def local(tag):
    return tag.rpartition("}")[2]


class Vim:
    """A session over HTTPS."""

    def __init__(self, host, port, timeout=20):
        self.host, self.port, self.cookie = host, port, None
        self.http = http.client.HTTPSConnection(host, port, timeout=timeout, context=nfc.any_server())

    def post(self, body, headers=()):
        """Status and body of the answer, whatever they are."""
        fields = {"Content-Type": "text/xml; charset=utf-8", "SOAPAction": '"urn:vim25/8.0.1.0"'}
        if self.cookie is not None:
            fields["Cookie"] = "vmware_soap_session=" + self.cookie
        fields.update(headers)
        self.http.request("POST", "/sdk", body.encode() if isinstance(body, str) else body, fields)
        answer = self.http.getresponse()
        text = answer.read()
        for field in answer.headers.get_all("Set-Cookie") or []:
            match = re.match(r"vmware_soap_session=([^;]*)", field)
            if match:
                self.cookie = match[1]
        return answer.status, text

    def call(self, method, this, inner="", namespace="urn:vim25"):
        """The response's element; SoapFault."""
        status, text = self.post(envelope(method, this, inner, namespace))
        body = None
        try:
            body = ElementTree.fromstring(text).find(".//{http://schemas.xmlsoap.org/soap/envelope/}Body")
        except ElementTree.ParseError:
            pass
        if body is None or len(body) == 0:
            raise SoapFault(status, "", text[:200].decode("latin-1"))
        first = body[0]
        if local(first.tag) != "Fault":
            if status != 200 or local(first.tag) != method + "Response":
                raise SoapFault(status, "", "an answer of the kind " + first.tag)
            return first
        detail = [node for node in first.iter() if local(node.tag) == "detail"]
        kind = ""
        if detail and len(detail[0]):
            of = detail[0][0]
            kind = of.get("{http://www.w3.org/2001/XMLSchema-instance}type") or local(of.tag)
            kind = re.sub(r"Fault$", "", kind.rpartition(":")[2])
        raise SoapFault(status, kind, "".join(node.text or "" for node in first if local(node.tag) == "faultstring"))

    def connect(self):
        """Reads what the server has."""
        answer = self.call("RetrieveServiceContent", ("ServiceInstance", "ServiceInstance"))
        self.content = {}
        for node in answer[0]:
            self.content[local(node.tag)] = (node.get("type"), node.text)
        self.about = {local(node.tag): node.text for node in answer.iter()}

    def login(self, user, password):
        self.connect()
        return self.call("Login", self.content["sessionManager"],
                         "<userName>%s</userName><password>%s</password><locale>en_US</locale>"
                         % (escape(user), escape(password)))

    def logout(self):
        self.call("Logout", self.content["sessionManager"])

    def properties(self, kind, value, *paths):
        """{path: element val}"""
        answer = self.call("RetrievePropertiesEx", self.content["propertyCollector"],
                           "<specSet><propSet><type>%s</type><all>false</all>%s</propSet><objectSet>"
                           '<obj type="%s">%s</obj><skip>false</skip></objectSet></specSet><options></options>'
                           % (kind, "".join("<pathSet>%s</pathSet>" % path for path in paths), kind, escape(value)))
        out = {}
        for props in answer.iter():
            if local(props.tag) == "propSet":
                fields = {local(node.tag): node for node in props}
                out[fields["name"].text] = fields["val"]
        return out

    def find_vm(self, path):
        """A machine by "[store] dir/x.vmx", in whichever datacenter; None."""
        datacenter = '<datacenter type="Datacenter">ha-datacenter</datacenter>'
        answer = self.call("FindByDatastorePath", self.content["searchIndex"], datacenter + "<path>%s</path>" % escape(path))
        return answer[0].text if len(answer) else None

    def machines(self):
        """{moref: name} of all machines."""
        view = self.call("CreateContainerView", self.content["viewManager"], '<container type="%s">%s</container>'
                         "<type>VirtualMachine</type><recursive>true</recursive>" % self.content["rootFolder"])[0].text
        answer = self.call(
            "RetrievePropertiesEx", self.content["propertyCollector"],
            "<specSet><propSet><type>VirtualMachine</type><all>false</all><pathSet>name</pathSet></propSet><objectSet>"
            '<obj type="ContainerView">%s</obj><skip>true</skip><selectSet '
            'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="TraversalSpec"><name>v</name>'
            "<type>ContainerView</type><path>view</path><skip>false</skip></selectSet></objectSet></specSet>"
            "<options></options>" % escape(view))
        found = {}
        for node in answer.iter():
            if local(node.tag) == "objects":
                moref = [child.text for child in node if local(child.tag) == "obj"][0]
                found[moref] = [val.text for val in node.iter() if local(val.tag) == "val"][0]
        self.call("DestroyView", ("ContainerView", view))
        return found

    def disks(self, vm):
        """{file name: key} of the machine's disks."""
        devices = self.properties("VirtualMachine", vm, "config.hardware.device")["config.hardware.device"]
        found = {}
        for device in devices:
            fields = {local(node.tag): node for node in device}
            if device.get("{http://www.w3.org/2001/XMLSchema-instance}type", "").endswith("VirtualDisk"):
                name = [node.text for node in fields["backing"] if local(node.tag) == "fileName"][0]
                found[name] = int(fields["key"].text)
        return found

    def ticket(self, method, inner):
        if "nfc" not in self.content:
            answer = self.call("RetrieveInternalContent", ("ServiceInstance", "ServiceInstance"))
            self.content["nfc"] = ("NfcService", [n.text for n in answer.iter() if local(n.tag) == "nfcService"][0])
        answer = self.call(method, self.content["nfc"], inner)
        return {local(node.tag): node.text for node in answer[0]}

    def read_ticket(self, vm):
        return self.ticket("NfcGetVmFiles", machine(vm))

    def write_ticket(self, vm, key):
        return self.ticket("NfcRandomAccessOpenDisk", machine(vm) + "<diskDeviceKey>%d</diskDeviceKey>" % key)

    def close(self):
        self.http.close()


def machine(vm):
    return '<vm type="VirtualMachine">%s</vm>' % escape(vm)


def envelope(method, this, inner="", namespace="urn:vim25"):
    return ('<?xml version="1.0" encoding="UTF-8"?><Envelope xmlns="http://schemas.xmlsoap.org/soap/envelope/"><Body>'
            '<%s xmlns="%s"><_this type="%s">%s</_this>%s</%s></Body></Envelope>'
            % (method, namespace, this[0], escape(this[1]), inner, method))


class Nfc:
    """A connection to the NFC port, step by step; open() takes all steps."""

    def __init__(self, host, port, timeout=20):
        sock = socket.create_connection((host, port), timeout)
        self.wire = nfc.Wire(sock)
        self.op_id = -1
        self.tag = None
        self.handle = None

    # ---- authd ----

    def greet(self):
        """The banner and TLS."""
        self.banner = self.wire.line()
        if not self.banner.startswith("220 "):
            raise nfc.Refused(0, self.banner)
        self.wire.start_tls(nfc.any_server())
        self.certificate = self.wire.peer_certificate()

    def say(self, line):
        self.wire.send(line.encode() + b"\r\n")

    def ask(self, line):
        """The answer to a command; Refused unless it is 2xx."""
        self.say(line)
        answer = self.wire.line()
        if not answer.startswith("2"):
            raise nfc.Refused(int(answer[:3]), answer)
        return answer

    def authd(self, session_id, service):
        self.say("SESSION " + session_id)
        self.ask("BANNER ")
        if "SHA256 supported" in self.banner:
            tag = base64.b64encode(os.urandom(12)).decode() if service.endswith("ssl") else "PlainText"
            announced = self.ask("THUMBPRINT_SHA2 " + tag)[4:]
            if announced != nfc.colons(hashlib.sha256(self.certificate)):
                raise nfc.Refused(0, "announced is " + announced)
            self.tag = tag
        self.ask("PROXY " + service)
        self.wire.drop_tls()
        if service.endswith("ssl"):
            self.wire.start_tls(nfc.any_server())
            if self.wire.peer_certificate() != self.certificate:
                raise nfc.Refused(0, "another certificate")

    # ---- classic messages ----

    def expect(self, kind):
        message = self.wire.recv(nfc.CLASSIC)
        got, = struct.unpack_from("<I", message)
        if got == nfc.CLASSIC_ERROR:
            _, code, length = struct.unpack_from("<III", message, 4)
            raise nfc.Refused(code, self.wire.recv(min(length, 65536)).decode("latin-1"))
        if got != kind:
            raise nfc.Refused(0, "a message of type %d, not %d" % (got, kind))
        return message

    def classic(self):
        if self.tag:
            self.wire.send(nfc.classic(nfc.CLIENT_RANDOM, self.tag.encode()))
        self.wire.send(nfc.classic(nfc.SESSION_PARAMS))
        if struct.unpack_from("<I", self.expect(nfc.FILEOP_STATUS), 16)[0] != 1:
            raise nfc.Refused(0, "VERSION is not known")
        self.wire.send(nfc.classic(nfc.VERSION, struct.pack("<II", 11, 0)))
        self.version, = struct.unpack_from("<I", self.expect(nfc.VERSION), 4)
        if self.version >= 3:
            self.wire.send(nfc.classic(nfc.CONNECTION_DATA, struct.pack("<II", 4, 7), b"vddknbdmode"))
            self.wire.send(nfc.classic(nfc.SESSION_FEATURES, struct.pack("<I", 3)))
        self.wire.send(nfc.classic(nfc.AIO_SESSION_OPEN))
        self.expect(nfc.AIO_SESSION_OPEN)

    # ---- AIO ----

    def request(self, kind, payload=b"", extra=b""):
        self.op_id += 1
        self.wire.send(nfc.aio(kind, self.op_id, payload, extra))
        return self.op_id

    def answer(self, kind, op_id=None):
        """Payload of the answer to the last request; Refused with what ERROR says."""
        got, size, of = nfc.read_head(self.wire)
        payload = self.wire.recv(size)
        if got == nfc.ERROR:
            code, _, _, length = struct.unpack_from("<IIII", payload)
            raise nfc.Refused(code, self.wire.recv(length).decode("utf-8", "replace"))
        if (got, of) != (kind, self.op_id if op_id is None else op_id):
            raise nfc.Refused(0, "a message of type %d for %d" % (got, of))
        return payload

    def start(self, size=0, count=0):
        self.request(nfc.OPEN_SESSION, struct.pack("<IIII", 0, size, count, 0))
        self.answer(nfc.OPEN_SESSION)
        self.request(nfc.SET_SOCK_OPTS, bytes(12))
        self.answer(nfc.SET_SOCK_OPTS)
        self.request(nfc.SET_RES_POOL, struct.pack("<I", 1))
        self.answer(nfc.SET_RES_POOL)

    def open_file(self, path, flags):
        payload, path = nfc.open_file_request(path, flags)
        self.request(nfc.OPEN_FILE, payload, path)
        try:
            reply = self.answer(nfc.OPEN_FILE)
        except nfc.Refused:
            if self.answer(nfc.OPEN_FILE) != bytes(60):
                raise ValueError("a refused OPEN_FILE is not followed by a reply of zeros") from None
            raise
        status, self.handle = struct.unpack_from("<QQ", reply)
        self.capacity, = struct.unpack_from("<Q", reply, 28)
        if status:
            raise nfc.Refused(status, "status")
        return reply

    def session(self, ticket, service, size=0, count=0):
        """All up to AIO messages."""
        self.greet()
        self.authd(ticket["sessionId"], service)
        self.classic()
        self.start(size, count)

    def open(self, ticket, path, ssl_data=False, write=False, size=0, count=0):
        self.session(ticket, ticket["service"] + ("ssl" if ssl_data else ""), size, count)
        return self.open_file(path, nfc.OPEN_WRITE if write else nfc.OPEN_READ)

    def send_read(self, off, length, compression=nfc.NONE):
        head = struct.pack("<QIIQQIII", self.handle, 1, compression, off, length, length, length, 0)
        return self.request(nfc.IO, head)

    def receive_reads(self, lengths):
        """{opId: bytes} of reads on their way, of given {opId: length}; fragments in any order."""
        data = {op_id: bytearray(length) for op_id, length in lengths.items()}
        parts = {op_id: [] for op_id in lengths}
        left = sum(lengths.values())
        while left:
            kind, size, op_id = nfc.read_head(self.wire)
            payload = self.wire.recv(size)
            if kind == nfc.ERROR:
                code, _, _, length = struct.unpack_from("<IIII", payload)
                raise nfc.Refused(code, self.wire.recv(length).decode("utf-8", "replace"))
            status, direction, compression, _, total, at, length, extra = struct.unpack_from("<QIIQIIII", payload)
            if kind != nfc.IO or status or direction != 1 or total != lengths[op_id] or not length:
                raise ValueError("a fragment of %d: %r" % (op_id, payload))
            if at + length > total or any(at < b and a < at + length for a, b in parts[op_id]):
                raise ValueError("a fragment beyond its request, or over another")
            parts[op_id].append((at, at + length))
            data[op_id][at:at + length] = nfc.decompress(compression, self.wire.recv(extra), length)
            left -= length
        return {op_id: bytes(value) for op_id, value in data.items()}

    def read(self, off, length, compression=nfc.NONE):
        op_id = self.send_read(off, length, compression)
        return self.receive_reads({op_id: length})[op_id]

    def send_write(self, off, data, compression=nfc.NONE, buffer=nfc.BUFFER):
        self.op_id += 1
        for at in range(0, len(data), buffer):
            piece = data[at:at + buffer]
            kind, packed = nfc.compress(compression, piece)
            head = nfc.io_head(self.handle, True, kind, off, len(data), at, len(piece), len(packed))
            self.wire.send(nfc.aio(nfc.IO, self.op_id, head, packed))
        return self.op_id

    def write(self, off, data, compression=nfc.NONE, buffer=nfc.BUFFER):
        self.send_write(off, data, compression, buffer)
        status, direction, _, at, total, _, length, extra = struct.unpack_from("<QIIQIIII", self.answer(nfc.IO))
        if (status, direction, at, total, length, extra) != (0, 0, off, len(data), len(data), 0):
            raise ValueError("the answer to a write: %r" % ((status, direction, at, total, length, extra),))

    def allocated(self, chunk, start, count):
        self.request(nfc.ALLOCATED, struct.pack("<QQQQQQ", self.handle, 0, chunk, start, count, 0))
        chunks, = struct.unpack_from("<Q", self.answer(nfc.ALLOCATED), 32)
        bits = self.wire.recv((chunks + 31) // 32 * 4)
        return [bool(bits[n // 8] >> n % 8 & 1) for n in range(chunks)]

    def metadata(self, key):
        self.request(nfc.DDB_GET, struct.pack("<QII", self.handle, len(key), 0), key.encode())
        length, = struct.unpack_from("<I", self.answer(nfc.DDB_GET), 12)
        return self.wire.recv(length).decode() if length else None

    def set_metadata(self, key, value):
        length = nfc.REMOVE if value is None else len(value)
        self.request(nfc.EXT_DDB_SET, struct.pack("<QII", self.handle, len(key), length), (key + (value or "")).encode())
        self.answer(nfc.EXT_DDB_SET)

    def metadata_keys(self):
        self.request(nfc.EXT_DDB_ENUM, struct.pack("<Q", self.handle))
        count, length = struct.unpack_from("<II", self.answer(nfc.EXT_DDB_ENUM))
        keys = self.wire.recv(length).decode().split("\0")[:-1]
        if len(keys) != count:
            raise ValueError("%d keys, %d told" % (len(keys), count))
        return keys

    def flush(self):
        self.request(nfc.EXT_FLUSH, struct.pack("<Q", self.handle))
        self.answer(nfc.EXT_FLUSH)

    def finish(self):
        """Ends in order."""
        if self.handle is not None:
            self.request(nfc.CLOSE_FILE, struct.pack("<Q", self.handle))
            self.answer(nfc.CLOSE_FILE)
        self.request(nfc.CLOSE_SESSION, bytes(4))
        try:
            self.answer(nfc.CLOSE_SESSION)
            self.wire.send(nfc.classic(nfc.SESSION_COMPLETE))
        except (nfc.Ended, ConnectionError):
            pass  # a host may end at once
        self.wire.close()

    def close(self):
        self.wire.close()


GONE = (nfc.Ended, ConnectionError, ssl.SSLError, OSError)
