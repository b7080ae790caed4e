"""What is told of files, checkpoints and the network."""

import os


def test_checkpoints_are_told_by_whatever_name_they_are_given(world):
    text = """
        import io, os, pathlib, torch
        state = {"weight": torch.ones(3)}
        torch.save(state, "text.pt")
        torch.save(state, pathlib.Path("path.pt"))
        with open("file.pt", "wb") as file:
            torch.save(obj=state, f=file)
            assert os.path.getsize("file.pt") > 0
        torch.save(state, io.BytesIO())
        torch.save(state, "last.tmp")
        os.replace("last.tmp", "last.pt")
        torch.load("text.pt")
        torch.load(f=pathlib.Path("path.pt"))
        with open("file.pt", "rb") as file:
            torch.load(file)
        os.chdir("/")
        try:
            torch.load("gone.pt")
        except FileNotFoundError as error:
            print(error.filename)
        strange = os.fsencode(os.environ["FOLDER"]) + b"/caf\\xe9\\n.pt"
        torch.save(state, os.fsdecode(strange))
        open(strange, "rb").close()
    """
    job = world.run(text, FOLDER=str(world.folder))
    assert (job.out, job.code) == ("gone.pt\n", 0), job.err
    here = str(world.folder)
    strange = here + "/caf\\xe9\\x0a.pt"
    saved = [message["path"] for message in job.of("saved")]
    assert saved == [f"{here}/{name}.pt" for name in ("text", "path", "file")] + [f"{here}/last.tmp", strange]
    loading = [message["path"] for message in job.of("loading")]
    assert loading == [f"{here}/{name}.pt" for name in ("text", "path", "file")] + ["/gone.pt"]
    assert {"type": "renamed", "from": f"{here}/last.tmp", "to": f"{here}/last.pt"} in job.of("renamed")
    assert {"type": "opened", "path": strange, "write": False} in job.of("opened")
    assert job.gaps() == []


def test_files_are_told_once_for_each_mode_and_again_when_replaced(world):
    (world.folder / "data.txt").write_text("x")
    text = """
        import io, os, pathlib, torch
        for _ in range(3):
            open("data.txt").close()
            io.FileIO("data.txt").close()
            os.close(os.open(pathlib.Path("data.txt"), os.O_RDONLY))
        os.close(os.open(b"new.txt", os.O_WRONLY | os.O_CREAT))
        open("data.txt", "r+").close()
        open(os.open(".", os.O_RDONLY), closefd=True) if False else None
        try:
            open("missing.txt")
        except FileNotFoundError:
            pass
        open("/dev/null").close(); open("/proc/self/stat").close(); open(os.__file__).close(); open(0, closefd=False)
        os.replace("new.txt", "data.txt")
        open("data.txt").close()
    """
    job = world.run(text)
    assert job.code == 0, job.err
    here = str(world.folder)
    told = [(os.path.basename(m["path"]), m["write"]) for m in job.of("opened") if m["path"].startswith(here)]
    assert told == [("data.txt", False), ("new.txt", True), ("data.txt", True), ("data.txt", False)]
    assert not any(m["path"].startswith(("/proc", "/dev")) or m["path"] == os.__file__ for m in job.of("opened"))


def test_the_network_is_told_without_secrets_and_this_machine_is_not(world):
    text = """
        import socket, urllib.request, torch
        for url in ("http://me:secret@127.0.0.1:9/a?token=secret#secret", "http://me:secret@203.0.113.7:9/b?token=secret"):
            for _ in range(2):
                try:
                    urllib.request.urlopen(url, timeout=0.05)
                except OSError:
                    pass
        socket.getaddrinfo("localhost", 80)
        server = socket.create_server(("127.0.0.1", 0))
        socket.create_connection(server.getsockname()).close()
    """
    job = world.run(text)
    assert job.code == 0, job.err
    targets = [message["target"] for message in job.of("network")]
    assert "http://203.0.113.7:9/b" in targets and "203.0.113.7:9" in targets
    assert "secret" not in str(targets) and len(targets) == len(set(targets))
    assert [target for target in targets if "127.0.0.1" in target] == ["http://127.0.0.1:9/a"]


def test_safetensors_are_told(world):
    text = """
        import torch
        from safetensors import safe_open
        from safetensors.torch import load_file, save_file
        save_file({"weight": torch.ones(3)}, "a.safetensors")
        load_file("a.safetensors")
        with safe_open("a.safetensors", framework="pt") as file:
            assert isinstance(file, safe_open)
            print(list(file.keys()))
    """
    job = world.run(text)
    assert (job.out, job.code) == ("['weight']\n", 0), job.err
    path = str(world.folder / "a.safetensors")
    assert [m["path"] for m in job.of("saved")] == [path] and job.of("saved")[0]["way"] == "safetensors"
    assert [m["path"] for m in job.of("loading")] == [path, path]


def test_distributed_checkpoints_are_told_as_folders(world):
    text = """
        import torch
        import torch.distributed.checkpoint as dcp
        state = {"weight": torch.ones(3)}
        dcp.save(state, checkpoint_id="folder")
        dcp.load(state, storage_reader=dcp.FileSystemReader("folder"))
    """
    job = world.run(text)
    assert job.code == 0, job.err
    path = str(world.folder / "folder")
    assert [(m["path"], m["way"]) for m in job.of("saved")] == [(path, "distributed")]
    assert [(m["path"], m["way"]) for m in job.of("loading")] == [(path, "distributed")]


def test_checkpoints_that_lightning_writes_are_told(world):
    text = """
        import lightning
        import torch
        from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
        checkpoint = TorchCheckpointIO()
        checkpoint.save_checkpoint({"weight": torch.ones(3)}, "folder/a.ckpt")
        print(checkpoint.load_checkpoint("folder/a.ckpt", weights_only=True)["weight"].sum().item())
    """
    job = world.run(text)
    assert (job.out, job.code) == ("3.0\n", 0), job.err
    path = str(world.folder / "folder/a.ckpt")
    assert [(m["path"], m["way"]) for m in job.of("saved")] == [(path, "torch")]
    assert [m["path"] for m in job.of("loading")] == [path]
