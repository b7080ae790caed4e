"""What a load would do is known before it is done, and with `--refuse-dangerous` it is not done."""

import json

from conftest import rules, words

# Everything that loads, each with a payload that would leave a marker; then honest loads, which must work.
LOADS = """
    import io, os, pickle, sys
    from pickle import Unpickler, load as early_load
    import numpy, torch
    import torch.distributed.checkpoint as dcp

    marker = sys.argv[1]

    class Payload:
        def __reduce__(self):
            return (os.system, (f"touch {marker}",))

    torch.save({"w": torch.ones(3), "p": Payload()}, "bad.pt")
    torch.save({"p": Payload()}, "old.pt", _use_new_zipfile_serialization=False)
    data = pickle.dumps([1, Payload()])
    open("bad.pkl", "wb").write(data)
    numpy.save("bad.npy", numpy.array([Payload()], dtype=object), allow_pickle=True)

    attempts = {
        "torch.load": lambda: torch.load("bad.pt", weights_only=False),
        "torch.load of an open file": lambda: torch.load(open("bad.pt", "rb"), weights_only=False),
        "torch.load of bytes": lambda: torch.load(io.BytesIO(open("bad.pt", "rb").read()), weights_only=False),
        "torch.load of the old format": lambda: torch.load("old.pt", weights_only=False),
        "pickle.load": lambda: pickle.load(open("bad.pkl", "rb")),
        "pickle.load, imported early": lambda: early_load(open("bad.pkl", "rb")),
        "pickle.loads": lambda: pickle.loads(data),
        "Unpickler": lambda: Unpickler(io.BytesIO(data)).load(),
        "Unpickler in Python": lambda: pickle._Unpickler(io.BytesIO(data)).load(),
        "numpy.load": lambda: numpy.load("bad.npy", allow_pickle=True),
    }
    for name, attempt in attempts.items():
        try:
            attempt()
            print("LOADED", name)
        except RuntimeError as error:
            assert type(error).__name__ == "RefusedLoad", error
            assert "runs a command" in str(error), error
            print("refused", name)

    model = torch.nn.Linear(2, 2)
    torch.save({"model": model.state_dict(), "step": 3}, "good.pt")
    assert torch.load("good.pt")["step"] == 3
    assert pickle.loads(pickle.dumps({"a": torch.ones(2)}))["a"].sum() == 2
    dcp.save(model.state_dict(), checkpoint_id="sharded")
    dcp.load(model.state_dict(), checkpoint_id="sharded")
    data = torch.utils.data.TensorDataset(torch.arange(8.0))
    loader = torch.utils.data.DataLoader(data, batch_size=2, num_workers=1)
    print("sum", sum(batch[0].sum().item() for batch in loader))
"""


def test_nothing_dangerous_is_loaded_by_any_way_and_the_rest_is(world):
    marker = world.folder / "marker"
    job = world.script(LOADS)
    done = world.guarded(world.python, job, marker, options=["--refuse-dangerous"])
    assert done.code == 1, done
    lines = done.out.splitlines()
    assert sum(line.startswith("refused ") for line in lines) == 10, done
    assert "sum 28.0" in lines, done
    assert not marker.exists()
    view = world.show()
    assert set(rules(view)) == {"checkpoint-runs-code"}
    told = "\n".join(words(finding) for finding in view["findings"])
    assert "torch.load was not carried out" in told and str(world.folder / "bad.pt") in told


def test_without_it_a_load_is_recorded_with_what_it_would_do(world):
    job = world.script(
        """
        import os, torch

        class Asks:
            def __reduce__(self):
                return (os.getppid, ())

        torch.save({"p": Asks(), "w": torch.ones(2)}, "asks.pt")
        torch.save({"w": torch.ones(2), "step": 1}, "plain.pt")
        torch.load("plain.pt")
        torch.load("asks.pt", weights_only=False)
        """
    )
    done = world.guarded(world.python, job)
    assert done.code == 1, done
    view = world.show()
    (finding,) = view["findings"]
    assert finding["rule"] == "checkpoint-runs-code" and "asks.pt" in finding["path"]
    assert "nothing was held up" in words(finding)
    loads = {load["path"].rpartition("/")[2]: load for load in view["loads"] if load["kind"] == "checkpoint"}
    assert loads["plain.pt"]["inside"] == "no code"
    assert "getppid" in loads["asks.pt"]["inside"]
    assert json.dumps(view)


# What gives its bytes in some way of its own: each holds a payload first, then plain data, which must be loaded right.
STREAMS = """
    import bz2, gzip, io, mmap, os, pathlib, pickle, sys, tempfile
    import numpy, torch

    marker = sys.argv[1]

    class Payload:
        def __reduce__(self):
            return (os.system, (f"touch {marker}",))

    class Twice:
        '''Other bytes on the second read.'''
        def __init__(self, first, then):
            self.reads, self.inner, self.then = 0, io.BytesIO(first), then
        def seek(self, *where):
            self.reads += 1
            if self.reads > 1:
                self.inner = io.BytesIO(self.then)
            return self.inner.seek(*where)
        def __getattr__(self, name):
            return getattr(self.inner, name)

    class Decodes(io.BytesIO):
        '''What it gives is not what it holds.'''
        def read(self, size=-1):
            return bytes(byte ^ 1 for byte in super().read(size))
        def readline(self, size=-1):
            return self.read(size)
        def readinto(self, buffer):
            data = self.read(len(buffer))
            buffer[: len(data)] = data
            return len(data)

    class Bare:
        '''No `tell`, no `seek`.'''
        def __init__(self, data):
            inner = io.BytesIO(data)
            self.read, self.readline = inner.read, inner.readline

    def put(name, data):
        pathlib.Path(name).write_bytes(data)
        return name

    def mapped(data):
        with open(put("mapped", data), "rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def piped(data):
        reads, writes = os.pipe()
        os.write(writes, data)
        os.close(writes)
        return os.fdopen(reads, "rb")

    def temporary(data):
        file = tempfile.NamedTemporaryFile()
        file.write(data)
        file.seek(0)
        return file

    def written(data):
        file = open("written", "w+b")
        file.write(data)
        file.seek(0)
        return file

    def saved(data):
        file = io.BytesIO()
        torch.save(data, file)
        return file.getvalue()

    streams = {
        "a class without tell": Bare,
        "a pipe": piped,
        "gzip": lambda data: gzip.open(put("z.gz", gzip.compress(data))),
        "bz2": lambda data: bz2.open(put("z.bz2", bz2.compress(data))),
        "a mapping": mapped,
        "a class that decodes": lambda data: Decodes(bytes(byte ^ 1 for byte in data)),
        "a temporary file": temporary,
        "written and not flushed": written,
        "unbuffered": lambda data: open(put("raw", data), "rb", buffering=0),
        "a descriptor": lambda data: os.fdopen(os.open(put("fd", data), os.O_RDONLY), "rb"),
    }
    plain, payload = pickle.dumps([1, 2]), pickle.dumps(Payload())
    attempts = {f"pickle.load from {name}": (pickle.load, make) for name, make in streams.items()}
    attempts["pickle.loads of a view"] = (pickle.loads, memoryview)
    attempts["pickle.loads of a mutable"] = (pickle.loads, bytearray)
    attempts["pickle.loads of a mapping"] = (pickle.loads, mapped)
    once = {"a class without tell", "a pipe"}
    for name, (load, make) in attempts.items():
        for data in (payload, plain):
            try:
                got = load(make(data))
                assert data is plain and got == [1, 2], name
                print("loaded", name)
            except RuntimeError as error:
                assert type(error).__name__ == "RefusedLoad", error
                reason = "only once" if name.rpartition("from ")[2] in once else "runs a command"
                assert reason in str(error), (name, error)
                print("refused", name)

    good = saved({"w": torch.ones(3)})
    bad = saved({"p": Payload()})
    path = pathlib.Path(put("bad.pt", bad))
    for name, attempt in {
        "a pathlib.Path": lambda: torch.load(path, weights_only=False),
        "a path as bytes": lambda: numpy.load(os.fsencode(path), allow_pickle=True),
        "mmap": lambda: torch.load("bad.pt", mmap=True, weights_only=False),
        "a keyword": lambda: torch.load(f="bad.pt", weights_only=False),
        "a mapping": lambda: torch.load(mapped(bad), weights_only=False),
    }.items():
        try:
            attempt()
            print("LOADED", name)
        except RuntimeError as error:
            assert "runs a command" in str(error), (name, error)
    put("good.pt", good)
    for same in ("good.pt", pathlib.Path("good.pt"), io.BytesIO(good), open("good.pt", "rb"), gzip.open(put("g.gz", gzip.compress(good)))):
        assert torch.load(same)["w"].sum() == 3
    assert torch.load("good.pt", mmap=True)["w"].sum() == 3

    # Both are plain bytes to the guard, once; the second read would give the payload.
    assert pickle.load(Twice(plain, payload)) == [1, 2]
    # One after the other from one stream, and what follows the pickle is left where it is.
    for stream in (io.BytesIO(plain + plain + b"rest"), Decodes(bytes(byte ^ 1 for byte in plain + plain + b"rest")), open(put("two", plain + plain + b"rest"), "rb")):
        assert [pickle.load(stream), pickle.load(stream)] == [[1, 2], [1, 2]]
        assert stream.read() == b"rest"
    # Errors that are the job's own.
    for wrong, error in ((lambda: torch.load("gone.pt"), FileNotFoundError), (lambda: pickle.loads(3), TypeError),
                         (lambda: pickle.load(3), TypeError), (lambda: numpy.load("gone.npy", allow_pickle=True), FileNotFoundError)):
        try:
            wrong()
            print("NO ERROR")
        except error as known:
            assert getattr(known, "filename", None) in (None, "gone.pt", "gone.npy"), known
    print("over")
"""


def test_the_bytes_that_were_examined_are_the_bytes_that_are_loaded(world):
    marker = world.folder / "marker"
    done = world.guarded(world.python, world.script(STREAMS), marker, options=["--refuse-dangerous"])
    lines = done.out.splitlines()
    assert lines[-1:] == ["over"], done
    assert not marker.exists() and not any(line.startswith(("LOADED", "NO")) for line in lines), done
    assert sum(line.startswith("refused ") for line in lines) == 15, done
    assert sum(line.startswith("loaded ") for line in lines) == 11, done


def test_a_file_that_is_replaced_after_the_question_is_not_loaded(world):
    """The exchange is between the answer and the loader's own opening: the moment of a race, made certain."""
    job = world.script(
        """
        import io, os, pickle, sys
        import torch

        class Payload:
            def __reduce__(self):
                return (os.system, (f"touch {sys.argv[1]}",))

        torch.save({"p": Payload()}, "bad.pt")
        torch.save({"w": torch.ones(2)}, "w.pt")
        torch.save({"w": torch.ones(2)}, "same.pt")
        armed = []

        def exchange(event, args):
            # The loader opens by this name for reading; the guard does by the absolute one.
            if event == "open" and armed and args[0] in ("w.pt", "same.pt"):
                armed.pop()()

        sys.addaudithook(exchange)
        ways = {
            "renamed over": lambda: os.replace("bad.pt", "w.pt"),
            "written over": lambda: open("same.pt", "wb").write(open("kept.pt", "rb").read()),
        }
        open("kept.pt", "wb").write(open("bad.pt", "rb").read())
        for way, name in (("renamed over", "w.pt"), ("written over", "same.pt")):
            armed.append(ways[way])
            try:
                torch.load(name, weights_only=False)
                print("LOADED", way)
            except RuntimeError as error:
                assert "changed after it was examined" in str(error), error
                print("refused", way)
            assert not armed
        """
    )
    marker = world.folder / "marker"
    done = world.guarded(world.python, job, marker, options=["--refuse-dangerous"])
    assert done.out.splitlines() == ["refused renamed over", "refused written over"], done
    assert not marker.exists()


def test_a_link_that_leads_elsewhere_only_while_the_loader_opens_it_gains_nothing(world):
    """A cache of models is a folder of links. Each is put back before anything is looked up, so its path tells nothing."""
    job = world.script(
        """
        import builtins, gc, os, pathlib, sys
        import numpy, torch

        class Payload:
            def __reduce__(self):
                return (os.system, (f"touch {sys.argv[1]}",))

        torch.save({"p": Payload()}, "bad.pt")
        torch.save({"w": torch.ones(2)}, "good.pt")
        numpy.save("bad.npy", numpy.array([Payload()], dtype=object), allow_pickle=True)
        numpy.save("good.npy", numpy.array([{}], dtype=object), allow_pickle=True)

        def lead(link, target):
            os.symlink(target, "next")
            os.replace("next", link)

        honest, armed = builtins.open, []

        def exchange(name, *args, **kwargs):
            if not armed or os.fspath(name) != armed[-1]:
                return honest(name, *args, **kwargs)
            link = armed.pop()
            lead(link, f"bad{link[4:]}")
            try:
                return honest(name, *args, **kwargs)
            finally:
                lead(link, f"good{link[4:]}")

        builtins.open = exchange
        for link, load in {
            "link.pt": lambda: torch.load("link.pt", weights_only=False),
            "link.npy": lambda: numpy.load(pathlib.Path("link.npy"), allow_pickle=True),
        }.items():
            lead(link, f"good{link[4:]}")
            assert len(load()) == 1
            gc.collect()
            before = len(os.listdir("/proc/self/fd"))
            armed.append(link)
            try:
                load()
                print("LOADED", link)
            except RuntimeError as error:
                # numpy unpickles by a function that asks once more, about what is really open.
                assert ("runs a command" if link == "link.npy" else "changed after it was examined") in str(error), error
                print("refused", link)
            assert not armed and len(load()) == 1
            gc.collect()
            assert len(os.listdir("/proc/self/fd")) == before, "a descriptor is left"
        assert torch.load("link.pt", mmap=True)["w"].sum() == 2
        print("over")
        """
    )
    marker = world.folder / "marker"
    done = world.guarded(world.python, job, marker, options=["--refuse-dangerous"])
    assert done.out.splitlines() == ["refused link.pt", "refused link.npy", "over"], done
    assert not marker.exists()


def test_who_asks_in_the_depths_of_a_library_is_asked_for_too(world):
    """A data set that loads in a worker, a rank that was spawned, a pickle that loads another file, a folder's subfolder."""
    job = world.script(
        """
        import gzip, os, pickle, sys
        import torch, torch.distributed.checkpoint as dcp
        import torch.multiprocessing as multiprocessing

        class Payload:
            def __reduce__(self):
                return (os.system, (f"touch {sys.argv[1]}",))

        def refused(load, *args, **kwargs):
            try:
                load(*args, **kwargs)
                return "LOADED"
            except RuntimeError as error:
                return "refused" if "RefusedLoad" in str(type(error)) and "runs a command" in str(error) else repr(error)

        class Files(torch.utils.data.Dataset):
            def __len__(self):
                return 1
            def __getitem__(self, index):
                return refused(pickle.load, open("bad.pkl", "rb"))

        class Opens:
            def __setstate__(self, state):
                self.said = refused(pickle.load, open(state["path"], "rb"))

        class Sent:
            '''Opens its file again in each process; what it packs itself is the job's own too, code and all.'''
            def __getstate__(self):
                return pickle.dumps([os.getpid, pickle.loads])
            def __setstate__(self, packed):
                assert pickle.loads(packed) == [os.getpid, pickle.loads]
                self.said = [
                    refused(pickle.load, open("bad.pkl", "rb")),
                    refused(pickle.load, gzip.open("bad.gz")),
                    refused(pickle.Unpickler(open("bad.pkl", "rb")).load),
                ]

        def rank(index, sent):
            print("sent", *sent.said, flush=True)
            print("rank", refused(torch.load, "bad.pt", weights_only=False), flush=True)

        if __name__ == "__main__":
            open("bad.pkl", "wb").write(pickle.dumps(Payload()))
            torch.save({"p": Payload()}, "bad.pt")
            for workers in (0, 1):
                (said,) = torch.utils.data.DataLoader(Files(), batch_size=None, num_workers=workers)
                print("data", said, flush=True)
            gzip.open("bad.gz", "wb").write(pickle.dumps(Payload()))
            multiprocessing.spawn(rank, (Sent(),), nprocs=1)
            outer = Opens()
            outer.path = "bad.pkl"
            torch.save(outer, "outer.pt")
            print("nested", torch.load("outer.pt", weights_only=False).said, flush=True)
            dcp.save({"w": torch.ones(2), "note": "x"}, checkpoint_id="sharded")
            state = {"w": torch.zeros(2), "note": ""}
            dcp.load(state, checkpoint_id="sharded")
            assert state["w"].sum() == 2 and state["note"] == "x"
            os.makedirs("sharded/more")
            os.link("bad.pkl", "sharded/more/.hidden")
            print("folder", refused(dcp.load, state, checkpoint_id="sharded"), flush=True)
        """
    )
    marker = world.folder / "marker"
    done = world.guarded(world.python, job, marker, options=["--refuse-dangerous"])
    sent = "sent refused refused refused"
    wanted = ["data refused", "data refused", sent, "rank refused", "nested refused", "folder refused"]
    assert done.out.splitlines() == wanted, done
    assert not marker.exists()


# An object of the job's own class that loads more while it is loaded, in every way that there is; then the nested loads
# that the frameworks themselves do, which are a part of what was examined.
NESTED = """
    import bz2, gzip, io, os, pickle, shutil, sys, tarfile, tempfile
    import numpy, torch
    from numpy.lib.format import read_array
    try:
        import joblib
    except ImportError:
        joblib = None

    marker = sys.argv[1]

    class Payload:
        def __reduce__(self):
            return (os.system, (f"touch {marker}",))

    class Own(pickle.Unpickler):
        def find_class(self, module, name):
            return super().find_class(module, name)

    def put(name, data):
        with open(name, "wb") as file:
            file.write(data)
        return name

    def temporary(data):
        file = tempfile.NamedTemporaryFile()
        file.write(data)
        file.seek(0)
        return file

    def saved():
        file = io.BytesIO()
        torch.save(Payload(), file)
        return file.getvalue()

    payload = pickle.dumps(Payload())
    array = io.BytesIO()
    numpy.save(array, numpy.array([Payload()], dtype=object), allow_pickle=True)
    put("array.npy", array.getvalue())
    hidden = pickle.dumps([1]) + payload
    inner = {
        "loads": lambda: pickle.loads(payload),
        "a stream in memory": lambda: pickle.load(io.BytesIO(payload)),
        "gzip": lambda: pickle.load(gzip.open(put("inner.gz", gzip.compress(payload)))),
        "bz2": lambda: pickle.load(bz2.open(put("inner.bz2", bz2.compress(payload)))),
        "a temporary file": lambda: pickle.load(temporary(payload)),
        "Unpickler": lambda: pickle.Unpickler(io.BytesIO(payload)).load(),
        "Unpickler in Python": lambda: pickle._Unpickler(io.BytesIO(payload)).load(),
        "an unpickler of its own": lambda: Own(open(put("inner.pkl", payload), "rb")).load(),
        "torch.load of bytes": lambda: torch.load(io.BytesIO(saved()), weights_only=False),
        "a storage": lambda: torch.storage._load_from_bytes(saved()),
        "an array": lambda: read_array(open("array.npy", "rb"), allow_pickle=True),
        "the loader's own file": lambda: pickle.load(at_the_end(open("outer.file", "rb"))),
    }

    def at_the_end(file):
        file.seek(-len(payload), os.SEEK_END)
        return file

    class Outer:
        def __init__(self, way):
            self.way = way
        def __setstate__(self, state):
            try:
                inner[state["way"]]()
                print("LOADED", state["way"])
            except RuntimeError as error:
                assert type(error).__name__ == "RefusedLoad" and "runs a command" in str(error), error
                print("refused", state["way"])

    def each(way):
        torch.save(Outer(way), "outer.pt")
        torch.load("outer.pt", weights_only=False)
        pickle.loads(pickle.dumps(Outer(way)))
        if joblib:
            joblib.dump(Outer(way), "outer.joblib", compress=3)
            joblib.load("outer.joblib")

    for way in inner:
        if way != "the loader's own file":
            each(way)
    # What lies behind the program that a loader reads is no part of what was asked about.
    with open("outer.file", "wb") as file:
        pickle.dump(Outer("the loader's own file"), file)
        file.write(bytes(64) + payload)
    pickle.load(open("outer.file", "rb"))

    # The frameworks' own.
    tensors = {"w": torch.arange(6.0), "b": torch.ones(2), "s": torch.ones(2).to_sparse()}
    def same(other):
        return all(torch.equal(tensors[name].to_dense(), other[name].to_dense()) for name in tensors)

    for old in (False, True):
        torch.save(tensors, "honest.pt", _use_new_zipfile_serialization=not old)
        content = open("honest.pt", "rb").read()
        for given in ("honest.pt", io.BytesIO(content), gzip.open(put("honest.gz", gzip.compress(content)))):
            for only in (True, False):
                assert same(torch.load(given, weights_only=only))
                getattr(given, "seek", int)(0)
        with open("honest.pt", "rb") as file:
            assert same(torch.load(file, weights_only=False))
    assert same(pickle.loads(pickle.dumps(tensors)))
    objects = numpy.array([{"a": 1}, numpy.arange(3)], dtype=object)
    numpy.savez("objects.npz", objects=objects, numbers=numpy.arange(4))
    numpy.savez_compressed("compressed.npz", objects=objects)
    numpy.save("objects.npy", objects, allow_pickle=True)
    for name in ("objects.npz", "compressed.npz"):
        with numpy.load(name, allow_pickle=True) as archive:
            assert archive["objects"][0] == {"a": 1}
    content = open("objects.npy", "rb").read()
    for given in ("objects.npy", io.BytesIO(content), open("objects.npy", "rb"), gzip.open(put("npy.gz", gzip.compress(content)))):
        assert numpy.load(given, allow_pickle=True)[1][2] == 2
    for way in (0, 3, ("gzip", 3), ("bz2", 3), ("xz", 3)) if joblib else ():
        joblib.dump({"t": tensors["w"], "o": objects, "n": numpy.arange(5)}, "honest.joblib", compress=way)
        for given in ("honest.joblib", open("honest.joblib", "rb")):
            got = joblib.load(given)
            assert got["o"][0] == {"a": 1} and got["n"][4] == 4 and torch.equal(got["t"], tensors["w"]), way
    print("over with joblib" if joblib else "over")
"""


def test_a_load_within_a_load_is_asked_about_unless_the_loader_itself_does_it(world):
    marker = world.folder / "marker"
    done = world.guarded(world.python, world.script(NESTED), marker, options=["--refuse-dangerous"])
    lines = done.out.splitlines()
    loaders = {"over": 2, "over with joblib": 3}.get(lines[-1] if lines else None)
    assert loaders, done
    assert not marker.exists() and not any(line.startswith("LOADED") for line in lines), done
    assert sum(line.startswith("refused ") for line in lines) == loaders * 11 + 1, done


def test_workers_of_joblib_are_the_jobs_own_and_what_they_load_is_asked_about(world):
    job = world.script(
        """
        import os, pickle, sys
        import joblib

        class Payload:
            def __reduce__(self):
                return (os.system, (f"touch {sys.argv[1]}",))

        def load(name):
            try:
                return pickle.load(open(name, "rb"))
            except RuntimeError as error:
                return "refused" if "runs a command" in str(error) else repr(error)

        if __name__ == "__main__":
            open("good.pkl", "wb").write(pickle.dumps("plain"))
            open("bad.pkl", "wb").write(pickle.dumps(Payload()))
            print(*joblib.Parallel(n_jobs=2)(joblib.delayed(load)(name) for name in ("good.pkl", "bad.pkl")))
        """
    )
    marker = world.folder / "marker"
    done = world.guarded(world.python, job, marker, options=["--refuse-dangerous"])
    assert done.out.splitlines() == ["plain refused"], done
    assert not marker.exists()


def test_without_an_answer_nothing_is_loaded(world):
    job = world.script(
        """
        import gc, pickle
        (guard,) = [known for known in gc.get_objects() if type(known).__name__ == "Guard"]
        guard.address = "/nowhere"
        try:
            pickle.loads(pickle.dumps([1]))
        except RuntimeError as error:
            print(error)
        """
    )
    done = world.guarded(world.python, job, options=["--refuse-dangerous"])
    assert "gave no answer" in done.out, done


def test_an_answer_that_comes_drop_by_drop_is_not_waited_for_for_ever(world):
    job = world.script(
        """
        import gc, json, pickle, socket, struct, sys, threading
        (guard,) = [known for known in gc.get_objects() if type(known).__name__ == "Guard"]
        sys.modules[type(guard).__module__].PATIENCE = 1.0
        guard.address = "drops"
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(guard.address)
        listener.listen()
        ended = threading.Event()

        def drip():
            with listener.accept()[0] as link:
                answer = json.dumps({"refuse": False, "why": ""}).encode()
                for byte in struct.pack("<I", len(answer)) + answer:
                    try:
                        link.sendall(bytes([byte]))
                    except OSError:
                        return
                    ended.wait(0.2)

        threading.Thread(target=drip).start()
        try:
            print("LOADED", pickle.loads(pickle.dumps([1])))
        except RuntimeError as error:
            print(error)
        ended.set()
        """
    )
    done = world.guarded(world.python, job, options=["--refuse-dangerous"])
    assert "gave no answer (TimeoutError" in done.out, done
