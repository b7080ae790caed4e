"""What a loader is given, and whether it still is what was examined.

A file is asked about by an open descriptor, and told again from what the kernel says about it: device, inode, size and
both times. Whatever gives its bytes in a way of its own (a stream that decodes, a mapping, a class of the job) is read
once, and the loader gets those very bytes. What can be read only once cannot be examined before it is loaded, and is
unfit. Why something is loaded, and what the answer is, this does not know.
"""

import io
import os
import stat

# Bytes of a stream without a file that are examined.
BYTES_MAX = 1 << 30


class Unfit(Exception):
    """It cannot be examined; the message says why."""


class Target:
    """Something to be loaded. `given` is what its loader gets; `ask` says what is asked about."""

    # Whether what its loader itself looks up was examined with it.
    whole = True
    identity = None

    def __init__(self, given, name):
        self.given, self.name = given, name

    def changed(self, under_way):
        """Whether it is no longer what was asked about: at a look-up of a load that is under way, or after it."""
        return False

    def covers(self, inner, restricted, asker):
        """Whether a load of `inner`, or of bytes in memory if that is `None`, within this load needs no question of its own.

        `asker` is the module of the loader that does it, `None` if code of the job stands between: that may read anything,
        this very file at another place too. A loader reads on in what it was given, decodes that, or loads
        a storage that stands in the program and was examined with it; whatever else it opens is another file.
        """
        if not asker or inner is None or isinstance(inner, (str, bytes, os.PathLike)):
            return False
        descriptor = _plain(inner)
        if descriptor is not None:
            return _identity(os.fstat(descriptor)) == self.identity
        return inner is self.given or asker == "torch.storage" or asker.startswith("joblib.")

    def answered(self):
        """The answer is there."""

    def done(self):
        """The load was carried out."""

    def over(self):
        """It was loaded, or refused."""


class Own(Target):
    """What processes of the job send to each other, and the bytes that are packed in it."""

    def covers(self, inner, restricted, asker):
        return inner is None or type(inner) is io.BytesIO


class Nothing(Target):
    """Nothing that could be loaded, as far as can be seen: its loader says so. If it loads all the same, each name is asked about."""

    whole = False

    def covers(self, inner, restricted, asker):
        return False


class File(Target):
    """A regular file that is open: the loader gets what was examined."""

    def __init__(self, given, name, descriptor, offset=0):
        super().__init__(given, name)
        self.descriptor, self.offset = descriptor, offset
        self.identity = _identity(os.fstat(descriptor))

    def ask(self):
        return {"descriptor": self.descriptor, "offset": self.offset}

    def changed(self, under_way):
        # The loader may have closed what it had read.
        return not self.given.closed and not self._is_open_as(self.descriptor)

    def _is_open_as(self, descriptor):
        try:
            return _identity(os.fstat(descriptor)) == self.identity
        except OSError:
            return False


class Named(File):
    """A regular file by its path, which the loader opens once more: a path can lead elsewhere for that moment.

    It gets no file in the place of the path, because loaders do other things with one (mapping, names in errors, old forms in
    several files). So what it has open is looked at.
    """

    def __init__(self, given, path, descriptor):
        super().__init__(given, path, descriptor)
        self.opened = None

    def changed(self, under_way):
        try:
            if not under_way:
                return _identity(os.stat(self.name)) != self.identity
            if self.opened is None or not self._is_open_as(self.opened):
                known = map(int, os.listdir("/proc/self/fd"))
                self.opened = next((it for it in known if it != self.descriptor and self._is_open_as(it)), None)
            return self.opened is None
        except OSError:
            return True

    def over(self):
        os.close(self.descriptor)


class Folder(Target):
    """A checkpoint in many files. Each pickle in it is asked about once more, when it is loaded."""

    whole = False

    def __init__(self, given, name, path):
        super().__init__(given, name)
        self.path = path

    def ask(self):
        return {"path": self.path}

    def covers(self, inner, restricted, asker):
        # Tensors by the thousand, which torch's own restricted unpickler reads; never another file.
        return restricted and not isinstance(inner, (str, bytes, os.PathLike)) and _plain(inner) is None


class Memory(Target):
    """Bytes that are examined and then loaded, whatever gave them."""

    def __init__(self, given, name, content, source=None, position=0):
        super().__init__(given, name)
        if len(content) > BYTES_MAX:
            raise Unfit(f"{len(content)} bytes are more than are examined in memory: load it from a file")
        self.content, self.source, self.position = content, source, position
        self.descriptor = None

    def ask(self):
        self.descriptor = os.memfd_create("taintline", os.MFD_CLOEXEC)
        content = memoryview(self.content).cast("B")
        while content:
            content = content[os.write(self.descriptor, content) :]
        return {"descriptor": self.descriptor}

    def answered(self):
        if self.descriptor is not None:
            os.close(self.descriptor)

    def done(self):
        """What the loader did not read is still to be read from where the bytes came from."""
        if self.source is not None and not self.given.closed:
            self.source.seek(self.position + self.given.tell())


def of(target):
    """What is asked about before `target` is loaded. Raises `Unfit`, and whatever a class of the job raises."""
    if isinstance(target, (str, bytes, os.PathLike)):
        try:
            return _of_path(target)
        except (FileNotFoundError, NotADirectoryError):
            return Nothing(target, b"nothing")
    if not hasattr(target, "read"):
        return Nothing(target, b"nothing")
    name = getattr(target, "name", None)
    name = absolute(name) if isinstance(name, (str, bytes)) else b"a stream"
    descriptor = _plain(target)
    return _of_stream(target, name) if descriptor is None else _of_open(target, name, descriptor)


def of_bytes(content, name=b"bytes"):
    """What is asked about before these bytes are loaded."""
    if type(content) is not bytes:
        try:
            # A copy: what others may write to could be another between the answer and the load.
            content = bytes(memoryview(content))
        except TypeError:
            return Nothing(content, name)
    return Memory(content, name, content)


def absolute(path):
    """A path as bytes, from the root."""
    path = os.fsencode(path)
    return path if path.startswith(b"/") else os.path.join(os.getcwdb(), path)


def _of_path(target):
    path = absolute(target)
    # Without waiting for somebody who writes into a pipe.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        kind = os.fstat(descriptor).st_mode
        if stat.S_ISREG(kind):
            opened = Named(target, path, descriptor)
            descriptor = None
            return opened
    finally:
        if descriptor is not None:
            os.close(descriptor)
    if stat.S_ISDIR(kind):
        return Folder(target, path, path)
    raise Unfit("it is no regular file")


def _plain(target):
    """The descriptor of a regular file that is read as it is; `None` for what decodes, lies in memory or is a class of the job."""
    if type(target) not in (io.BufferedReader, io.BufferedRandom, io.FileIO) or target.closed:
        return None
    raw = getattr(target, "raw", target)
    if type(raw) is not io.FileIO:
        return None
    descriptor = raw.fileno()
    return descriptor if stat.S_ISREG(os.fstat(descriptor).st_mode) else None


def _of_open(target, name, descriptor):
    # What was read ahead, perhaps long ago, is what the loader gets first. (Looking writes out what is still to be written.)
    ahead = b"" if type(target) is io.FileIO else target.peek()
    opened = File(target, name, descriptor, target.tell())
    if os.pread(descriptor, len(ahead), opened.offset) != ahead:
        raise Unfit("the file changed after a part of it was read ahead")
    return opened


def _of_stream(target, name):
    if type(target) is io.BytesIO:
        return Memory(target, name, target.getvalue()[target.tell() :])
    try:
        position = target.tell()
        target.seek(position)
    except Exception as error:
        why = "it can be read only once, so it cannot be examined before it is loaded: load it from a file or from bytes"
        raise Unfit(f"{why} ({type(error).__name__})") from None
    content = target.read(BYTES_MAX + 1)
    target.seek(position)
    if isinstance(content, str):
        return Nothing(target, name)
    content = bytes(memoryview(content))
    return Memory(io.BytesIO(content), name, content, target, position)


def _identity(known):
    return known.st_dev, known.st_ino, known.st_size, known.st_mtime_ns, known.st_ctime_ns
