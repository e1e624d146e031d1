# SPDX-License-Identifier: BSD-3-Clause
"""NFC on the wire, written from the protocol's description alone: what host.py and client.py share.

Nothing here comes from the C sources or calls them: the tests that use it set one reading of the protocol against
another. Standard library only."""
import hashlib
import socket
import ssl
import struct
import subprocess
import time
import zlib

MAGIC = 0xA100DA7A
CLASSIC = 264  # bytes of every classic message

# Classic messages
SESSION_COMPLETE, CLASSIC_ERROR, SESSION_PARAMS, FILEOP_STATUS, CLIENT_RANDOM = 4, 20, 33, 36, 43
VERSION, AIO_SESSION_OPEN, CONNECTION_DATA, SESSION_FEATURES = 51, 52, 54, 55

# AIO messages
ERROR, OPEN_SESSION, CLOSE_SESSION, OPEN_FILE, CLOSE_FILE, IO = 1, 2, 3, 4, 5, 7
SET_SOCK_OPTS, GET_FILE_INFO, DDB_GET, ALLOCATED, SET_RES_POOL = 9, 10, 11, 13, 22
# Extensions of vixdiskd, announced by a word in the banner
EXTENSION_WORD = "OVDX1 supported"
EXT_FLUSH, EXT_DDB_SET, EXT_DDB_ENUM, EXT_CREATE = 0x4F560001, 0x4F560002, 0x4F560003, 0x4F560004
REMOVE = 0xFFFFFFFF  # length of a value: the key is taken away

NONE, ZLIB, FASTLZ, SKIPZ = 0, 1, 2, 3
BAD_PARAMETER, NO_MEMORY, UNSUPPORTED, PERMISSION = 2, 5, 7, 11
OPEN_READ, OPEN_WRITE = 0x1E, 0x1A
BUFFER = 65536  # bytes of a fragment if the client does not ask for another size


class Ended(Exception):
    """The peer has ended the connection."""


class Cut(Exception):
    """This end has cut the connection on purpose."""


class Refused(Exception):
    """The peer has answered with an error: .code and .text."""

    def __init__(self, code, text):
        super().__init__("%s %s" % (code, text))
        self.code, self.text = code, text


# ---- the connection ----

class Wire:
    """A TCP connection on which TLS begins and is dropped again without a word, one thread at a time."""

    def __init__(self, sock):
        self.sock = sock
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.tls = None
        self.clear = b""  # came, not yet taken: of the lowest layer
        self.bytes_out = 0
        self.cut_at = None  # so many bytes of the TCP stream are sent, then the connection is cut
        self.drip = 0  # seconds between single bytes

    def raw_send(self, data):
        if self.cut_at is not None and self.bytes_out + len(data) >= self.cut_at:
            self.sock.sendall(data[:self.cut_at - self.bytes_out])
            self.bytes_out = self.cut_at
            self.close()
            raise Cut()
        if self.drip:
            for byte in data:
                self.sock.sendall(bytes([byte]))
                time.sleep(self.drip)
        else:
            self.sock.sendall(data)
        self.bytes_out += len(data)

    def raw_recv(self):
        data = self.sock.recv(262144)
        if not data:
            raise Ended()
        return data

    def start_tls(self, context, server_side=False):
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(self.incoming, self.outgoing, server_side=server_side)
        if self.clear:
            self.incoming.write(self.clear)
            self.clear = b""
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self.flush_tls()
                self.incoming.write(self.raw_recv())
            except ssl.SSLError:
                self.flush_tls()  # the alert
                raise
        self.tls = tls
        self.flush_tls()

    def flush_tls(self):
        if self.outgoing.pending:
            self.raw_send(self.outgoing.read())

    def drop_tls(self):
        """No close_notify; what has come after the last record that was read belongs to the layer below."""
        if self.tls.pending():
            raise AssertionError("%d bytes of TLS were left unread" % self.tls.pending())
        self.clear = self.incoming.read()
        self.tls = None

    def peer_certificate(self):
        return self.tls.getpeercert(True)

    def send(self, data):
        if self.tls is None:
            self.raw_send(data)
            return
        view = memoryview(data)
        while view:
            view = view[self.tls.write(view):]
            self.flush_tls()

    def some(self, most):
        """At least one byte, at most so many."""
        if self.tls is None:
            if not self.clear:
                self.clear = self.raw_recv()
            data, self.clear = self.clear[:most], self.clear[most:]
            return data
        while True:
            try:
                data = self.tls.read(most)
                if not data:
                    raise Ended()
                return data
            except ssl.SSLWantReadError:
                self.flush_tls()
                self.incoming.write(self.raw_recv())
            except ssl.SSLZeroReturnError:
                raise Ended() from None

    def recv(self, count):
        pieces, left = [], count
        while left:
            pieces.append(self.some(left))
            left -= len(pieces[-1])
        return b"".join(pieces)

    def line(self, limit=1024):
        """A line of authd, taken byte by byte, without CR LF."""
        line = b""
        while not line.endswith(b"\n"):
            if len(line) >= limit:
                raise ValueError("a line of more than %d bytes" % limit)
            line += self.some(1)
        return line.rstrip(b"\r\n").decode("latin-1")

    def waiting(self):
        """Whether bytes are there to be taken now."""
        if self.clear or self.tls and (self.tls.pending() or self.incoming.pending):
            return True
        timeout = self.sock.gettimeout()
        self.sock.settimeout(0)
        try:
            return len(self.sock.recv(1, socket.MSG_PEEK)) == 1
        except (BlockingIOError, OSError):
            return False
        finally:
            self.sock.settimeout(timeout)

    def close(self):
        try:
            self.sock.close()
        except OSError:
            pass


# ---- certificates ----

class Identity:
    """A certificate of a server: files, digests, contexts."""

    def __init__(self, folder, name, bits=2048):
        self.cert, self.key = "%s/%s.crt" % (folder, name), "%s/%s.key" % (folder, name)
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:%d" % bits, "-nodes", "-keyout", self.key, "-out",
                        self.cert, "-days", "2", "-subj", "/CN=%s" % name, "-addext",
                        "subjectAltName=DNS:localhost,IP:127.0.0.1"], check=True, capture_output=True)
        der = ssl.PEM_cert_to_DER_cert(open(self.cert).read())
        self.sha1, self.sha256 = colons(hashlib.sha1(der)), colons(hashlib.sha256(der))
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        if bits < 2048:  # as old hosts: TLS 1.2, and a key that OpenSSL's level 2 refuses
            self.context.set_ciphers("DEFAULT:@SECLEVEL=1")
            self.context.maximum_version = ssl.TLSVersion.TLSv1_2
        self.context.load_cert_chain(self.cert, self.key)


def colons(digest):
    return ":".join("%02X" % byte for byte in digest.digest())


def any_server():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


# ---- messages ----

def classic(kind, body=b"", after=b""):
    return (struct.pack("<I", kind) + body).ljust(CLASSIC, b"\0") + after


def aio(kind, op_id, payload=b"", extra=b""):
    return struct.pack("<IIII", MAGIC, kind, len(payload), op_id) + payload + extra


def io_head(handle, write, compression, off, total, fragment_off, length, extra):
    return struct.pack("<QIIQIIIII", handle, 0 if write else 1, compression, off, total, fragment_off, length, extra, 0)


def open_file_request(path, flags):
    path = path.encode()
    return struct.pack("<IIIIII", len(path), 0, 0, 0, 2, flags).ljust(60, b"\0"), path


def open_file_reply(handle, flags, capacity, geometry, status=0):
    return struct.pack("<QQIIIQIIII", status, handle, 2, flags, 0, capacity, 512, *geometry).ljust(60, b"\0")


def read_head(wire):
    """The head of an AIO frame: type, size of the payload, opId."""
    magic, kind, size, op_id = struct.unpack("<IIII", wire.recv(16))
    if magic != MAGIC:
        raise ValueError("magic %#x" % magic)
    return kind, size, op_id


# ---- compression of fragments ----

def compress(kind, data):
    """(kind, bytes): kind 0 where the result would not be smaller."""
    packed = data
    if kind == ZLIB:
        packed = zlib.compress(data, 1)
    elif kind == FASTLZ and len(data) >= 16:
        packed = fastlz_compress(data)
    elif kind == SKIPZ:
        packed = skipz_compress(data)
    return (kind, packed) if len(packed) < len(data) else (NONE, data)


def decompress(kind, data, length):
    if kind == NONE:
        out = data
    elif kind == ZLIB:
        inflater = zlib.decompressobj()
        out = inflater.decompress(data, length + 1)
        if not inflater.eof or inflater.unused_data:
            raise ValueError("the stream of zlib does not end where it should")
    elif kind == FASTLZ:
        out = fastlz_decompress(data)
    elif kind == SKIPZ:
        out = skipz_decompress(data, length)
    else:
        raise ValueError("compression %d" % kind)
    if len(out) != length:
        raise ValueError("%d bytes in the place of %d" % (len(out), length))
    return out


def skipz_compress(data):
    out = [struct.pack("<II", len(data), 0)]
    at = 0
    while True:
        while at < len(data) and data[at] == 0:
            zeros = len(data[at:at + 4096]) - len(data[at:at + 4096].lstrip(b"\0"))
            at += zeros
        if at >= len(data):
            return b"".join(out)
        end = data.find(bytes(8), at)
        end = len(data) if end < 0 else end
        out.append(struct.pack("<II", at, end - at) + data[at:end])
        at = end


def skipz_decompress(data, length):
    total, reserved = struct.unpack_from("<II", data)
    if total != length or reserved:
        raise ValueError("a head of skipz with %d, %d" % (total, reserved))
    out, at, last = bytearray(length), 8, 0
    while at < len(data):
        off, run = struct.unpack_from("<II", data, at)
        if off < last or off + run > length or at + 8 + run > len(data):
            raise ValueError("a run of skipz at %d, %d bytes" % (off, run))
        out[off:off + run] = data[at + 8:at + 8 + run]
        last, at = off + run, at + 8 + run
    return bytes(out)


# FastLZ: instructions whose first byte has in its upper three bits 0 for literals (the rest: how many, less one), 1 to 6
# for a match of that length plus two, 7 for a longer one, whose length goes on in the next byte (level 2: bytes, as long
# as they are 255). The lower five bits, then a byte, are the distance less one. Level 2 writes distances from 8192 on as
# all ones and sixteen bits. The level less one stands in the upper bits of the first byte of all.

def fastlz_compress(data):
    level = 1 if len(data) < 65536 else 2
    near, longest = (8192, 264) if level == 1 else (8191, 1 << 30)
    out, held, seen, at = bytearray(), bytearray(), {}, 0

    def literals():
        for start in range(0, len(held), 32):
            piece = held[start:start + 32]
            out.append(len(piece) - 1)
            out.extend(piece)
        held.clear()

    while at < len(data):
        key = data[at:at + 4]
        found = seen.get(key, -1) if len(key) == 4 else -1
        seen[key] = at
        distance = at - found
        if at < 2 or found < 0 or distance > (near if level == 1 else near + 65535):
            held.append(data[at])
            at += 1
            continue
        length = match_length(data, found, at, longest)
        if distance > near and length < 5:
            held.append(data[at])
            at += 1
            continue
        literals()
        far = distance > near
        short = 31 << 8 | 255 if far else distance - 1
        count = length - 2
        out.append(min(count, 7) << 5 | short >> 8)
        if count >= 7:
            more = count - 7
            while level == 2 and more >= 255:
                out.append(255)
                more -= 255
            out.append(more)
        out.append(short & 255)
        if far:
            out.extend(struct.pack(">H", distance - near - 1))
        at += length
    literals()
    out[0] |= level - 1 << 5
    return bytes(out)


def match_length(data, first, second, longest):
    limit = min(len(data) - second, longest)
    length = step = 4
    while length < limit:  # longer and longer pieces, then shorter ones
        step = min(step * 2, limit - length)
        if data[first + length:first + length + step] == data[second + length:second + length + step]:
            length += step
            continue
        while step > 1:
            step //= 2
            if data[first + length:first + length + step] == data[second + length:second + length + step]:
                length += step
        if data[first + length] == data[second + length] and length < limit:
            step = 1
            continue
        break
    return min(length, limit)


def fastlz_decompress(data):
    level = (data[0] >> 5) + 1
    if level > 2:
        raise ValueError("level %d of FastLZ" % level)
    out, at, first = bytearray(), 0, True
    while at < len(data):
        control = data[at] & 31 if first else data[at]
        first = False
        at += 1
        if control < 32:
            if at + control + 1 > len(data):
                raise ValueError("literals beyond the end")
            out += data[at:at + control + 1]
            at += control + 1
            continue
        length, distance = (control >> 5) + 2, (control & 31) << 8
        if length == 9:
            while True:
                more = data[at]
                length += more
                at += 1
                if level == 1 or more != 255:
                    break
        low = data[at]
        at += 1
        distance += low + 1
        if level == 2 and low == 255 and control & 31 == 31:
            distance = struct.unpack_from(">H", data, at)[0] + 8191 + 1
            at += 2
        if distance > len(out):
            raise ValueError("a match before the beginning")
        while length:
            piece = out[len(out) - distance:][:length]
            out += piece
            length -= len(piece)
    return bytes(out)
