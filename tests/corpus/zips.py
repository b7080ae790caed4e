"""A ZIP writer that can lie in every field, because readers disagree about which field to believe."""

import struct
import zlib
from dataclasses import dataclass, field


@dataclass
class Entry:
    """One member; `lies` replaces header fields: `central_flags`, `local_flags`, `central_crc`, `local_crc`,
    `local_name`, `local_method`, `central_method`, `local_size`, `central_size`, `version`, `extra`."""

    name: str
    data: bytes
    deflate: bool = False
    lies: dict = field(default_factory=dict)

    def body(self):
        if not self.deflate:
            return self.data
        squeeze = zlib.compressobj(9, zlib.DEFLATED, -15)
        return squeeze.compress(self.data) + squeeze.flush()

    def lie(self, key, truth):
        return self.lies.get(key, truth)


def write(entries, comment=b"", prefix=b"", align=0):
    """The archive; with `align`, data start at multiples of it as torch writes them."""
    out = bytearray(prefix)
    central = bytearray()
    for entry in entries:
        body = entry.body()
        offset = len(out)
        name = entry.lie("local_name", entry.name).encode()
        extra = entry.lie("extra", b"")
        if align:
            free = -(offset + 30 + len(name) + 4) % align
            extra = b"FB" + struct.pack("<H", free) + b"Z" * free
        method = 8 if entry.deflate else 0
        crc = zlib.crc32(entry.data)
        out += struct.pack(
            "<IHHHHHIIIHH",
            0x04034B50,
            entry.lie("version", 20),
            entry.lie("local_flags", 0),
            entry.lie("local_method", method),
            0,
            0,
            entry.lie("local_crc", crc),
            entry.lie("local_size", len(body)),
            entry.lie("local_size", len(entry.data)),
            len(name),
            len(extra),
        )
        out += name + extra + body
        central += central_header(entry, offset, len(body), method, crc)
    start = len(out)
    out += central
    count = len(entries)
    out += struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, count, count, len(central), start, len(comment))
    return bytes(out + comment)


def central_header(entry, offset, size, method, crc):
    name = entry.name.encode()
    return (
        struct.pack(
            "<IHHHHHHIIIHHHHHII",
            0x02014B50,
            20,
            entry.lie("version", 20),
            entry.lie("central_flags", 0),
            entry.lie("central_method", method),
            0,
            0,
            entry.lie("central_crc", crc),
            entry.lie("central_size", size),
            len(entry.data),
            len(name),
            0,
            0,
            0,
            0,
            0,
            offset,
        )
        + name
    )


def read(data):
    """Entries of an honest archive."""
    import io
    import zipfile

    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return [Entry(info.filename, archive.read(info)) for info in archive.infolist()]
