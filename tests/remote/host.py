#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""A host that a test can trust to be what it says, or make lie: the SOAP face of vCenter or of a lone ESXi over HTTPS,
authd, and NFC over a folder of flat files. Written from the protocols' descriptions alone, see nfc.py.

In a test: Host(folder, ...), with .hook set to make it misbehave, and .transcript of what the client sent. On its own:

  host.py FOLDER [--version 8] [--esx] [--tickets FILE] [--ready FILE]

prints one line of JSON with ports and thumbprint, and serves until it is killed. With --tickets FILE it has no SOAP face
of its own: it takes the tickets that a simulator writes to FILE, one a line: ID KIND VM KEY.

A disk "[store] dir/x.vmdk" is the file FOLDER/store/dir/x-flat.vmdk, or x.vmdk if that is all there is: its sectors."""
import argparse
import http.server
import json
import os
import random
import re
import select
import socket
import socketserver
import ssl
import struct
import sys
import threading
import time
import uuid
import xml.etree.ElementTree as ElementTree
from xml.sax.saxutils import escape

import host_disks
import host_lease
import nfc

# What releases of ESXi do: words of the banner, version of the library, VERSION known at all.
RELEASES = {
    "6.0": dict(sha256=False, nfcssl="NFCSSL supported", version=None, api="6.0"),
    "6.5": dict(sha256=False, nfcssl="NFCSSL supported", version=0, api="6.5"),
    "6.7": dict(sha256=False, nfcssl="NFCSSL supported", version=2, api="6.7"),
    "7.0": dict(sha256=False, nfcssl="NFCSSL supported/t", version=7, api="7.0"),
    "7.0.3": dict(sha256=True, nfcssl="NFCSSL supported/t", version=9, api="7.0.3.0"),
    "8": dict(sha256=True, nfcssl="NFCSSL supported/t", version=11, api="8.0.1.0"),
}


class Stall(Exception):
    """A hook raises it: the connection stays open, and nothing more is said."""


class Ticket:
    def __init__(self, kind, vm, key):
        self.kind, self.vm, self.key = kind, vm, key
        self.used = False
        self.made = time.monotonic()


class Disk:
    def __init__(self, path, read_only):
        self.file = os.open(path, os.O_RDONLY if read_only else os.O_RDWR)
        self.capacity = os.fstat(self.file).st_size

    def read(self, off, length):
        return os.pread(self.file, length, off)

    def write(self, off, data):
        if os.pwrite(self.file, data, off) != len(data):
            raise OSError("a short write")

    def allocated(self, chunk, start, count):
        bits = bytearray((count + 31) // 32 * 4)
        for n in range(count):
            if any(self.read(start + n * chunk, chunk)):
                bits[n // 8] |= 1 << n % 8
        return bytes(bits)

    def close(self):
        os.close(self.file)


class Session:
    """One connection to the NFC port. Every message it sends passes host.hook(label, bytes, session)."""

    def __init__(self, host, sock):
        self.host, self.wire = host, nfc.Wire(sock)
        self.release = host.release
        self.tag = self.ticket = self.disk = None
        self.service = ""
        self.buffer = nfc.BUFFER
        self.writes = {}
        self.requests = 0
        self.log = []
        self.wire.cut_at = host.cut_at
        sock.settimeout(host.patience)

    def note(self, *what):
        self.log.append(what)

    def send(self, label, data):
        if self.host.hook:
            data = self.host.hook(label, data, self)
        if data:
            self.wire.send(data)

    def tls(self, label):
        identity = self.host.identity
        if self.host.hook:
            identity = self.host.hook(label, identity, self)
        if isinstance(identity, bytes):  # in the place of a handshake
            self.wire.recv(1)
            self.wire.raw_send(identity)
            raise Stall()
        self.wire.start_tls(identity.context, server_side=True)

    # ---- authd ----

    def banner(self):
        words = ["SSL Required", "ServerDaemonProtocol:SOAP", "MKSDisplayProtocol:VNC ", "VMXARGS supported",
                 self.release["nfcssl"]]
        if self.release["sha256"]:
            words.append("SHA256 supported")
        return "220 VMware Authentication Daemon Version 1.10: %s\r\n" % ", ".join(words)

    def authd(self):
        self.send("banner", self.banner().encode())
        self.tls("tls1")
        self.note("tls1")
        while True:
            line = self.wire.line()
            word, _, rest = line.partition(" ")
            self.note("authd", word + " <id>" if word == "SESSION" else line)
            if word == "SESSION":
                self.session_id = rest
            elif word == "BANNER":
                self.send("BANNER", self.banner().encode())
            elif word == "THUMBPRINT_SHA2" and self.release["sha256"]:
                self.thumbprint(rest, self.host.identity.sha256)
            elif word == "PROXY":
                return self.proxy(rest)
            else:
                self.send("530", b"530 Please login with USER and PASS\r\n")

    def thumbprint(self, tag, answer):
        if not 1 <= len(tag) <= 128 or ":" in tag or " " in tag:
            self.send("THUMBPRINT_SHA2", b"501 Invalid arguments\r\n")
            return
        self.tag = tag
        self.send("THUMBPRINT_SHA2", ("200 %s\r\n" % answer).encode())

    def proxy(self, service):
        plain = service[:-3] if service.endswith("ssl") else service
        if plain != self.host.service:
            self.send("PROXY", b"500 Unknown service\r\n")
            raise nfc.Ended()
        self.ticket = self.host.take_ticket(self.session_id)
        if self.ticket is None:
            self.note("ticket refused")
            self.send("PROXY", b"530 Please login with USER and PASS\r\n")
            raise nfc.Ended()
        self.service = service
        self.send("PROXY", b"200 Connect ha-nfc%s\r\n" % (b"ssl" if service.endswith("ssl") else b""))
        self.wire.drop_tls()
        if service.endswith("ssl"):
            self.tls("tls2")
            self.note("tls2")
        return None

    # ---- classic messages ----

    def classic(self):
        """Until AIO begins; False if the client has ended the session."""
        while True:
            message = self.wire.recv(nfc.CLASSIC)
            # A real host leaves the rest of a record unread until the next one comes.
            surplus = self.wire.tls.pending() if self.wire.tls else 0
            kind, first, second = struct.unpack_from("<III", message)
            if kind == nfc.CLIENT_RANDOM:
                tag = message[4:].rstrip(b"\0").decode("latin-1")
                self.note("classic", kind)
                if tag != self.tag:
                    self.note("wrong tag")
                    self.send("classic 4", nfc.classic(nfc.SESSION_COMPLETE))
                    raise nfc.Ended()
            elif kind == nfc.CONNECTION_DATA:
                text = self.wire.recv(first), self.wire.recv(second)
                self.note("classic", kind, text[0].decode("latin-1"), text[1].decode("latin-1"))
                surplus = 0
            elif kind in (nfc.VERSION, nfc.SESSION_FEATURES):
                self.note("classic", kind, first)
            else:
                self.note("classic", kind)
            if surplus:
                self.note("surplus in the record of", kind, surplus)
            if kind == nfc.SESSION_PARAMS:
                known = 0 if self.release["version"] is None else 1
                self.send("classic 36", nfc.classic(nfc.FILEOP_STATUS, struct.pack("<IIHHI", 0, 0, 0, 0, known)))
            elif kind == nfc.VERSION:
                if self.release["version"] is None:
                    self.send("classic 4", nfc.classic(nfc.SESSION_COMPLETE))
                    raise nfc.Ended()
                self.send("classic 51", nfc.classic(nfc.VERSION, struct.pack("<II", self.release["version"], 0)))
            elif kind == nfc.AIO_SESSION_OPEN:
                self.send("classic 52", nfc.classic(nfc.AIO_SESSION_OPEN))
                return True
            elif kind == nfc.SESSION_COMPLETE:
                return False
            elif kind not in (nfc.CLIENT_RANDOM, nfc.CONNECTION_DATA, nfc.SESSION_FEATURES):
                self.send("classic 20", nfc.classic(nfc.CLASSIC_ERROR, struct.pack("<III", 1, 7, 8), b"unknown\0"))

    # ---- AIO ----

    def reply(self, kind, op_id, payload=b"", extra=b""):
        self.send("aio %d" % kind, nfc.aio(kind, op_id, payload, extra))

    def error(self, op_id, code, text):
        self.send("aio error", nfc.aio(nfc.ERROR, op_id, struct.pack("<IIII", code, 0, 0, len(text)), text.encode()))

    def open_session(self, op_id, payload):
        _, size, count, _ = struct.unpack_from("<IIII", payload)
        self.note("aio", nfc.OPEN_SESSION, len(payload), size, count)
        size = size or nfc.BUFFER
        if size * (count or 4) > 16 << 20 or size > 2 << 20:
            self.error(op_id, nfc.BAD_PARAMETER, "buffers of %d bytes" % size)
            return
        self.buffer = size
        self.reply(nfc.OPEN_SESSION, op_id, bytes(16))

    def sock_opts(self, op_id, payload):
        self.note("aio", nfc.SET_SOCK_OPTS, len(payload))
        self.reply(nfc.SET_SOCK_OPTS, op_id, struct.pack("<III", 1675000, 1675000, 1).ljust(len(payload), b"\0"))

    def res_pool(self, op_id, payload):
        self.note("aio", nfc.SET_RES_POOL, len(payload), struct.unpack_from("<I", payload)[0])
        self.reply(nfc.SET_RES_POOL, op_id, bytes(len(payload)))

    def open_file(self, op_id, payload):
        length, = struct.unpack_from("<I", payload)
        kind, flags = struct.unpack_from("<II", payload, 16)
        path = self.wire.recv(min(length, 4096)).decode()
        self.note("aio", nfc.OPEN_FILE, len(payload), kind, "%#x" % flags, path)
        read_only = bool(flags & 4)
        try:
            if not read_only and not self.ticket.kind.startswith("rw"):
                raise nfc.Refused(nfc.PERMISSION, "NfcAioProcessOpenFileMsg: permission check failed for file "
                                  "'%s', access = 1" % path)
            self.disk = Disk(self.host.path_of(path), read_only)
        except nfc.Refused as refused:
            self.error(op_id, refused.code, refused.text)
            self.reply(nfc.OPEN_FILE, op_id, bytes(60))
            return
        self.handle = 0xFFFFFFFF80000000 | random.randrange(1 << 31)
        geometry = (min(self.disk.capacity // 512 // 255 // 63, 65535), 255, 63)
        self.reply(nfc.OPEN_FILE, op_id, nfc.open_file_reply(self.handle, flags, self.disk.capacity, geometry))

    def close_file(self, op_id, payload):
        self.note("aio", nfc.CLOSE_FILE, len(payload))
        if self.disk:
            self.disk.close()
            self.disk = None
        self.reply(nfc.CLOSE_FILE, op_id, bytes(len(payload)))

    def close_session(self, op_id, payload):
        self.note("aio", nfc.CLOSE_SESSION, len(payload))
        self.reply(nfc.CLOSE_SESSION, op_id, bytes(len(payload)))

    def ddb_get(self, op_id, payload):
        key = self.wire.recv(struct.unpack_from("<I", payload, 8)[0]).decode()
        self.note("aio", nfc.DDB_GET, len(payload), key)
        value = self.host.database.get(key, "").encode()
        self.reply(nfc.DDB_GET, op_id, bytes(12) + struct.pack("<I", len(value)), value)

    def allocated(self, op_id, payload):
        _, _, chunk, start, count, _ = struct.unpack_from("<QQQQQQ", payload)
        self.note("aio", nfc.ALLOCATED, len(payload), chunk, start, count)
        if not chunk or chunk % 512 or start % chunk or start + count * chunk > self.disk.capacity:
            self.error(op_id, nfc.BAD_PARAMETER, "%d chunks of %d bytes at %d" % (count, chunk, start))
            return
        bits = self.disk.allocated(chunk, start, count)
        self.reply(nfc.ALLOCATED, op_id, bytes(32) + struct.pack("<QQ", count, 0), bits)

    # ---- IO ----

    def io(self, op_id, payload):
        handle, kind, compression, off, total, fragment, length, extra = struct.unpack_from("<QIIQIIII", payload)
        if handle != self.handle:
            raise ValueError("handle %#x" % handle)
        if kind & 1:
            self.note("aio", nfc.IO, len(payload), "read", off, total, compression)
            self.gather(op_id, off, total, compression)
        else:
            if extra > self.buffer + 65536:
                raise ValueError("an extra of %d bytes" % extra)
            data = nfc.decompress(compression, self.wire.recv(extra), length)
            self.note("aio", nfc.IO, len(payload), "write", off, total, fragment, length, compression)
            self.write(op_id, off, total, fragment, data)

    def write(self, op_id, off, total, fragment, data):
        arrived = self.writes.get(op_id, 0)
        if fragment != arrived or fragment + len(data) > total or not data or off % 512 or total % 512:
            raise ValueError("a fragment at %d, %d bytes of %d" % (fragment, len(data), total))
        self.disk.write(off + fragment, data)
        self.writes[op_id] = arrived + len(data)
        if self.writes[op_id] == total:
            del self.writes[op_id]
            self.count()
            self.send("io write", nfc.aio(nfc.IO, op_id, nfc.io_head(0, True, 0, off, total, 0, total, 0)))

    def count(self):
        self.requests += 1
        if self.host.hook:
            self.host.hook("request", self.requests, self)

    def gather(self, op_id, off, total, compression):
        """With host.shuffle, a few reads are answered at once, their fragments mixed."""
        self.held = getattr(self, "held", [])
        self.held.append((op_id, off, total, compression))
        if self.host.shuffle and len(self.held) < 8 and self.wire.waiting():
            return
        held, self.held = self.held, []
        frames = []
        for request in held:
            frames += self.fragments(*request)
        if self.host.shuffle:
            random.Random(len(frames)).shuffle(frames)
        for frame in frames:
            self.send("io read", frame)

    def fragments(self, op_id, off, total, compression):
        if off % 512 or total % 512 or not total or off + total > self.disk.capacity:
            self.error(op_id, nfc.BAD_PARAMETER, "a read of %d bytes at %d" % (total, off))
            return []
        if self.host.memory and total > self.host.memory:
            self.error(op_id, nfc.NO_MEMORY, "Failed to allocate the requested %d bytes" % (total + 24))
            return []
        self.count()
        frames, at = [], 0
        while at < total:
            length = min(self.buffer, total - at)
            data = self.disk.read(off + at, length)
            kind, packed = nfc.compress(compression, data)
            head = nfc.io_head(0, False, kind, off, total, at, length, len(packed))
            frames.append(nfc.aio(nfc.IO, op_id, head, packed))
            at += length
        if self.host.hook:
            frames = self.host.hook("fragments", frames, self)
        return frames

    HANDLERS = {nfc.OPEN_SESSION: open_session, nfc.SET_SOCK_OPTS: sock_opts, nfc.SET_RES_POOL: res_pool,
                nfc.OPEN_FILE: open_file, nfc.CLOSE_FILE: close_file, nfc.DDB_GET: ddb_get, nfc.ALLOCATED: allocated,
                nfc.IO: io}

    def run(self):
        try:
            self.authd()
            if self.classic():
                self.aio_until_end()
            self.note("end")
        except (nfc.Ended, nfc.Cut, ConnectionError):
            self.note("cut")
        except (socket.timeout, TimeoutError):
            self.note("patience")
        except Stall:
            self.stalled()
        except ssl.SSLError as fault:
            self.note("tls fails", str(fault.reason))
        except Exception as fault:  # the client has broken a rule: the test sees it in the transcript
            self.note("fault", "%s: %s" % (type(fault).__name__, fault))
        finally:
            if self.disk:
                self.disk.close()
            self.wire.close()

    def aio_until_end(self):
        while True:
            kind, size, op_id = nfc.read_head(self.wire)
            if size > 1 << 20:
                raise ValueError("a payload of %d bytes" % size)
            payload = self.wire.recv(size)
            if kind == nfc.CLOSE_SESSION:
                self.close_session(op_id, payload)
                self.classic()
                return
            handler = self.HANDLERS.get(kind)
            if handler:
                handler(self, op_id, payload)
                continue
            self.note("aio", kind, size)
            self.error(op_id, nfc.UNSUPPORTED, "unsupported message")
            if kind != nfc.GET_FILE_INFO:
                raise nfc.Ended()

    def stalled(self):
        """Until the client gives up, or the host's patience ends."""
        self.note("stall")
        try:
            self.wire.sock.settimeout(self.host.patience)
            while self.wire.sock.recv(65536):
                pass
        except OSError:
            pass


# ---- the SOAP face ----

ENVELOPE = ('<?xml version="1.0" encoding="UTF-8"?>\n<soapenv:Envelope '
            'xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" xmlns:xsd="http://www.w3.org/2001/XMLSchema" '
            'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">\n<soapenv:Body>%s</soapenv:Body>\n'
            '</soapenv:Envelope>')


class Fault(Exception):
    def __init__(self, kind, text="", inner=""):
        super().__init__(kind)
        self.kind, self.text, self.inner = kind, text or "A fault of the kind " + kind, inner

    def xml(self):
        return ('<soapenv:Fault><faultcode>ServerFaultCode</faultcode><faultstring>%s</faultstring><detail>'
                '<%sFault xmlns="urn:vim25" xsi:type="%s">%s</%sFault></detail></soapenv:Fault>'
                % (escape(self.text), self.kind, self.kind, self.inner, self.kind))


def local(tag):
    return tag.rpartition("}")[2]


def child_text(node, name):
    for child in node:
        if local(child.tag) == name:
            return child.text or ""
    return None


def children(node, name):
    return [child for child in node if local(child.tag) == name]


def reference(name, kind, value):
    return '<%s type="%s">%s</%s>' % (name, kind, escape(value), name)


class Soap(host_disks.Disks, host_lease.LeaseCalls, http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # headers and body are written one after the other
    timeout = 30

    def log_message(self, *arguments):
        pass

    def setup(self):
        host = self.server.host
        identity = host.soap_identity
        if host.hook:
            identity = host.hook("soap tls", identity, self)
        self.request.settimeout(host.patience)
        self.request = identity.context.wrap_socket(self.request, server_side=True)
        super().setup()

    def answer(self, status, body, headers=()):
        host = self.server.host
        body = body.encode() if isinstance(body, str) else body
        self.send_response(status)
        self.send_header("Content-Type", "text/xml; charset=utf-8")
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        host.soap_log.append((self.path, status))

    def do_GET(self):
        host = self.server.host
        if self.path != "/sdk/vimServiceVersions.xml":
            self.answer(404, "")
            return
        self.answer(200, '<?xml version="1.0" encoding="UTF-8" ?>\n<namespaces version="1.0">\n <namespace>\n'
                    '  <name>urn:vim25</name>\n  <version>%s</version>\n  <priorVersions><version>6.5</version>'
                    '<version>6.0</version></priorVersions>\n </namespace>\n</namespaces>\n' % host.release["api"])

    def do_POST(self):
        host = self.server.host
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers, status = [], 200
        method = ""
        try:
            call = ElementTree.fromstring(body).find(".//{http://schemas.xmlsoap.org/soap/envelope/}Body")[0]
            method = local(call.tag)
            with host.lock:
                host.transcript.append(("soap", method, self.headers.get("SOAPAction"),
                                        "cookie" if self.headers.get("Cookie") else ""))
            inner = self.dispatch(method, call, headers)
            text = '<%sResponse xmlns="urn:vim25">%s</%sResponse>' % (method, inner, method)
        except Fault as fault:
            status, text = 500, fault.xml()
        text = ENVELOPE % text
        if not host.plain_xsi:
            # As another server writes it: declared on each element, and under another prefix.
            text = re.sub(r' xsi:type="', ' xmlns:XMLSchema-instance="http://www.w3.org/2001/XMLSchema-instance" '
                          'XMLSchema-instance:type="', text)
        if host.hook:
            hooked = host.hook("soap " + method, text, self)
            if isinstance(hooked, tuple):  # status, body
                status, text = hooked
            else:
                text = hooked
        if text is not None:
            self.answer(status, text, headers)

    def dispatch(self, method, call, headers):
        host = self.server.host
        if method == "RetrieveServiceContent":
            return host.service_content()
        if method == "Login":
            if child_text(call, "userName") != host.user or child_text(call, "password") != host.password:
                raise Fault("InvalidLogin", "Cannot complete login due to an incorrect user name or password.")
            cookie = '"%s"' % uuid.uuid4().hex
            with host.lock:
                host.cookies.add(cookie)
            headers.append(("Set-Cookie", "vmware_soap_session=%s; Path=/; HttpOnly; Secure" % cookie))
            return self.user_session()
        cookie = self.cookie()
        kept_back = host.keeps_back and method in ("RetrieveProperties", "RetrievePropertiesEx")
        if cookie not in host.cookies and not kept_back:
            raise Fault("NotAuthenticated", "The session is not authenticated.",
                        reference("object", "Folder", "group-d1") + "<privilegeId>System.View</privilegeId>")
        if method == "Logout":
            with host.lock:
                host.cookies.discard(cookie)
            return ""
        handler = getattr(self, "call_" + method, None)
        if handler is None:
            raise Fault("MethodNotFound", "The method %s is not found." % method)
        return handler(call)

    def cookie(self):
        for part in self.headers.get("Cookie", "").split(";"):
            name, _, value = part.strip().partition("=")
            if name == "vmware_soap_session":
                return value
        return None

    def user_session(self):
        return ('<returnval><key>52000000-0000-0000-0000-000000000001</key><userName>%s</userName><fullName>x</fullName>'
                '<loginTime>2026-01-01T00:00:00Z</loginTime></returnval>' % escape(self.server.host.user))

    def call_CurrentTime(self, call):
        return "<returnval>2026-01-01T00:00:00Z</returnval>"

    def call_SessionIsActive(self, call):
        return "<returnval>true</returnval>"

    def call_RetrieveInternalContent(self, call):
        manager = reference("diskManager", "HostDiskManager", "ha-disk-manager") if self.server.host.leases else ""
        return "<returnval>%s%s%s</returnval>" % (
            manager, reference("llProvisioningManager", "HostLowLevelProvisioningManager", "llprov"),
            reference("nfcService", "NfcService", self.server.host.nfc_service))

    def call_FindByInventoryPath(self, call):
        found = {"/DC0": ("Datacenter", "datacenter-2"), "DC0": ("Datacenter", "datacenter-2"),
                 "DC0/vm/vm1": ("VirtualMachine", self.server.host.vm)}.get(child_text(call, "inventoryPath"))
        return reference("returnval", *found) if found else ""

    def call_FindByDatastorePath(self, call):
        wanted = "[%s] vm1/vm1.vmx" % self.server.host.store
        return reference("returnval", "VirtualMachine", self.server.host.vm) if child_text(call, "path") == wanted else ""

    def call_FindByUuid(self, call):
        host = self.server.host
        if child_text(call, "uuid") == (host.instance_uuid if child_text(call, "instanceUuid") == "true" else host.uuid):
            return reference("returnval", "VirtualMachine", host.vm)
        proxy = host.proxy
        found = proxy.find(child_text(call, "uuid")) if proxy else None
        return reference("returnval", "VirtualMachine", found) if found else ""

    def call_ReconfigVM_Task(self, call):
        proxy = self.server.host.proxy
        if proxy is None or child_text(call, "_this") != proxy.moref:
            raise Fault("NotSupported")
        with self.server.host.lock:
            fault = proxy.reconfigure(call)
        return self.task(fault)

    def call_DisableMethods(self, call):
        host = self.server.host
        key = child_text(call, "entity"), child_text(children(call, "method")[0], "method")
        with host.lock:
            source = host.disabled.setdefault(key, child_text(call, "sourceId"))
        if source != child_text(call, "sourceId"):
            raise Fault("MethodAlreadyDisabledFault", "The method is disabled already.", "<sourceId>%s</sourceId>" % source)
        return ""

    def call_EnableMethods(self, call):
        host = self.server.host
        key = child_text(call, "entity"), child_text(call, "method")
        with host.lock:
            if host.disabled.get(key) == child_text(call, "sourceId"):
                del host.disabled[key]
        return ""

    def call_CreateContainerView(self, call):
        return reference("returnval", "ContainerView", "session[1]view-1")

    def call_DestroyView(self, call):
        return ""

    def properties(self, call):
        """ObjectContent of what is asked for."""
        out = []
        for spec in children(call, "specSet"):
            wanted = {}
            for props in children(spec, "propSet"):
                wanted[child_text(props, "type")] = [p.text for p in children(props, "pathSet")]
            for object_set in children(spec, "objectSet"):
                target = children(object_set, "obj")[0]
                kind, value = target.get("type"), target.text
                if kind == "ContainerView":
                    targets = [key for key in self.server.host.objects if key[0] in wanted]
                else:
                    targets = [(kind, value)]
                for target in targets:
                    out.append(self.object_content(target, wanted.get(target[0], [])))
        return out

    def object_content(self, target, paths):
        if self.cookie() not in self.server.host.cookies:
            return reference("obj", *target) + "".join(
                '<missingSet><path>%s</path><fault><fault xsi:type="NotAuthenticated">%s<privilegeId>System.Read'
                "</privilegeId></fault><localizedMessage>The session is not authenticated.</localizedMessage></fault>"
                "</missingSet>" % (path, reference("object", *target)) for path in paths)
        known = self.server.host.objects.get(target)
        if known is None:
            raise Fault("ManagedObjectNotFound", "The object '%s' has already been deleted or has not been completely "
                        "created" % target[1], reference("obj", *target))
        props = "".join("<propSet><name>%s</name>%s</propSet>" % (path, known[path]) for path in paths if path in known)
        return reference("obj", *target) + props

    def call_RetrieveProperties(self, call):
        return "".join("<returnval>%s</returnval>" % content for content in self.properties(call))

    def call_RetrievePropertiesEx(self, call):
        return self.page(self.properties(call))

    def call_ContinueRetrievePropertiesEx(self, call):
        contents = self.server.host.pages.pop(child_text(call, "token"), None)  # a token is good once
        if contents is None:
            raise Fault("InvalidArgument", "A specified parameter was not correct: token")
        return self.page(contents)

    def page(self, contents):
        """An answer with no more objects than fit, and a token for those that are left."""
        host = self.server.host
        if not contents:
            return ""
        size = host.page or len(contents)
        token = ""
        if len(contents) > size:
            name = uuid.uuid4().hex
            host.pages[name] = contents[size:]
            token = "<token>%s</token>" % name
        return "<returnval>%s%s</returnval>" % (token, "".join("<objects>%s</objects>" % c for c in contents[:size]))

    # ---- NfcService ----

    def ticket(self, kind, call):
        host = self.server.host
        vm = child_text(call, "vm")
        if vm is not None and vm != host.vm:
            raise Fault("ManagedObjectNotFound", "no such machine", reference("obj", "VirtualMachine", vm))
        session_id = host.issue(kind, vm, child_text(call, "diskDeviceKey"))
        where = "<host>127.0.0.1</host>" if host.vcenter else ""
        return ("<returnval>%s<port>%d</port><sslThumbprint>%s</sslThumbprint><service>%s</service>"
                "<serviceVersion>1.1</serviceVersion><sessionId>%s</sessionId></returnval>"
                % (where, host.nfc_port, host.identity.sha1, host.service, session_id))

    def call_NfcGetVmFiles(self, call):
        return self.ticket("ro-vm", call)

    def call_NfcRandomAccessOpenReadonly(self, call):
        return self.ticket("ro-disk", call)

    def call_NfcRandomAccessOpenDisk(self, call):
        hardware = self.server.host.objects["VirtualMachine", self.server.host.vm]["config.hardware.device"]
        if "<key>%s</key>" % child_text(call, "diskDeviceKey") not in hardware:
            raise Fault("InvalidArgument", "A specified parameter was not correct: diskDeviceKey")
        return self.ticket("rw-disk", call)

    def call_NfcFileManagement(self, call):
        if child_text(call, "ds") != "datastore-1":
            raise Fault("ManagedObjectNotFound", "no such datastore", reference("obj", "Datastore", "?"))
        return self.ticket("rw-store", call)

    def call_NfcGetServerNfcLibVersion(self, call):
        version = self.server.host.release["version"]
        if version is None:
            raise Fault("InvalidRequest")
        return "<returnval>%d</returnval>" % version


class SoapServer(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True

    def handle_error(self, request, client_address):
        pass  # a client that does not like the certificate


class Host:
    """Folder with the datastore FOLDER/store, virtual machine vm1 with the disk "[store] vm1/disk.vmdk"."""
    store, user, password = "store", "root@localos", "Pass<word>&-8f41c7"

    def __init__(self, folder, identity, release="8", vcenter=True, tickets=None, nfc_port=0, soap=True):
        self.folder, self.identity, self.soap_identity = folder, identity, identity
        self.release, self.vcenter = RELEASES[release], vcenter
        self.tickets_file = tickets
        self.service = "vpxa-nfc" if vcenter else "nfc"
        self.nfc_service = "nfcService" if vcenter else "ha-nfc-service"
        self.vm = "vm-57" if vcenter else "2"
        self.uuid = "564d6e1f-0000-1111-2222-333344445555"
        self.instance_uuid = "5034aa00-0000-1111-2222-333344445555"
        self.proxy = None  # the machine that the client runs in (proxy.py)
        self.content_id = "01234567"
        self.database = {"adapterType": "lsilogic", "uuid": "60 00 C2 9a 00 11 22 33-44 55 66 77 88 99 aa bb"}
        self.lock = threading.Lock()
        self.tickets, self.cookies = {}, set()
        self.sessions, self.transcript, self.soap_log = [], [], []
        self.plain_xsi = True
        self.ticket_life = 300
        self.patience = 30
        self.reset()
        self.listener = socket.create_server(("127.0.0.1", nfc_port), backlog=64)
        self.nfc_port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()
        self.soap = None
        self.soap_port = 0
        if soap:
            self.soap = SoapServer(("127.0.0.1", 0), Soap)
            self.soap.host = self
            self.soap_port = self.soap.server_address[1]
            threading.Thread(target=self.soap.serve_forever, args=(0.05,), daemon=True).start()
        self.make_inventory()

    def reset(self):
        """Behaves again."""
        self.hook = None
        self.shuffle = False
        self.memory = 0  # reads of more bytes are refused
        self.cut_at = None
        self.leases = None  # host_lease.Leases
        self.refusals = {}  # by method and a path that it names (None: any), the fault
        self.page = None  # objects of one answer; None: all
        self.pages = {}  # by token, what is left
        self.disabled = {}  # by machine and method, in whose name
        self.keeps_back = True  # who has no session is told so in the place of each property, not by a fault
        with self.lock:
            self.sessions, self.transcript = [], []
            self.cookies.clear()

    def stop(self):
        self.listener.close()
        if self.soap:
            self.soap.shutdown()
            self.soap.server_close()

    def accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            session = Session(self, sock)
            with self.lock:
                self.sessions.append(session)
            threading.Thread(target=session.run, daemon=True).start()

    # ---- disks and tickets ----

    def path_of(self, path):
        match = re.fullmatch(r"\[([^\]/]+)\] *(.+)\.vmdk", path)
        if not match or ".." in path.split("/"):
            raise nfc.Refused(nfc.BAD_PARAMETER, "no path of a datastore: '%s'" % path)
        base = os.path.join(self.folder, match[1], match[2])
        for name in (base + "-flat.vmdk", base + ".vmdk"):
            if os.path.isfile(name):
                return name
        raise nfc.Refused(1, "Could not find the file '%s'" % path)

    def issue(self, kind, vm, key):
        session_id = str(uuid.uuid4())
        with self.lock:
            self.tickets[session_id] = Ticket(kind, vm, key)
        return session_id

    def take_ticket(self, session_id):
        """Each once, within its life."""
        if self.tickets_file:
            with open(self.tickets_file) as file:
                for line in file:
                    word, kind, vm, key = line.split()
                    self.tickets.setdefault(word, Ticket(kind, vm, key))
        with self.lock:
            ticket = self.tickets.get(session_id)
            if ticket is None or ticket.used or time.monotonic() - ticket.made > self.ticket_life:
                return None
            ticket.used = True
            return ticket

    # ---- what the SOAP face tells ----

    def service_content(self):
        kind = "VirtualCenter" if self.vcenter else "HostAgent"
        names = (("rootFolder", "Folder", "group-d1", "ha-folder-root"),
                 ("propertyCollector", "PropertyCollector", "propertyCollector", "ha-property-collector"),
                 ("viewManager", "ViewManager", "ViewManager", "ViewManager"))
        later = (("sessionManager", "SessionManager", "SessionManager", "ha-sessionmgr"),
                 ("authorizationManager", "AuthorizationManager", "AuthorizationManager", "ha-authmgr"),
                 ("searchIndex", "SearchIndex", "SearchIndex", "ha-searchindex"),
                 ("fileManager", "FileManager", "FileManager", "ha-nfc-file-manager"),
                 ("virtualDiskManager", "VirtualDiskManager", "virtualDiskManager", "ha-vdiskmanager"))

        def references(rows):
            return "".join(reference(name, of, center if self.vcenter else lone) for name, of, center, lone in rows)
        about = ("<about><name>VMware %s</name><fullName>VMware %s %s build-1</fullName><vendor>VMware, Inc.</vendor>"
                 "<version>%s</version><build>1</build><apiType>%s</apiType><apiVersion>%s</apiVersion>"
                 "<instanceUuid>00000000-0000-0000-0000-00000000000a</instanceUuid></about>"
                 % (kind, kind, self.release["api"], self.release["api"], kind, self.release["api"]))
        return "<returnval>%s%s%s</returnval>" % (references(names), about, references(later))

    def make_inventory(self):
        self.objects = host_disks.objects(self)
        self.created = []  # type and adapter of new disks
        self.fault = Fault

    def nfc_logs(self):
        """What each NFC connection has noted."""
        with self.lock:
            return [list(session.log) for session in self.sessions]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--version", default="8", choices=RELEASES)
    parser.add_argument("--esx", action="store_true")
    parser.add_argument("--tickets")
    parser.add_argument("--identity", help="folder of the certificate", default=".")
    parser.add_argument("--nfc-port", type=int, default=0)
    arguments = parser.parse_args()
    identity = nfc.Identity(arguments.identity, "host")
    host = Host(arguments.folder, identity, arguments.version, not arguments.esx, arguments.tickets,
                arguments.nfc_port, soap=not arguments.tickets)
    print(json.dumps(dict(port=host.soap_port, nfc_port=host.nfc_port, thumbprint=identity.sha1,
                          sha256=identity.sha256, user=host.user, password=host.password, vm=host.vm)), flush=True)
    select.select([], [], [])


if __name__ == "__main__":
    sys.exit(main())
