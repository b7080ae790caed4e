"""Sharded ranks (`fully_shard`): each rank's part of the parameters is rechecked, and parts that are replicas are held against each other."""

from conftest import gaps, words

# Two by two: parts across two ranks, replicas across two. Each training has an optimizer of its own.
PROGRAM = """
    import sys
    import torch, torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("replicate", "shard"))

    def train(after=lambda step, model: None, steps=24):
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(16, 33), torch.nn.Tanh(), torch.nn.Linear(33, 7))
        for layer in (model[0], model[2]):
            fully_shard(layer, mesh=mesh)
        fully_shard(model, mesh=mesh)
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
        torch.manual_seed(rank)
        for step in range(1, steps + 1):
            optimizer.zero_grad()
            model(torch.randn(8, 16)).square().mean().backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 0.05)
            optimizer.step()
            after(step, model)

    train()

    def moved(step, model):
        if step == 12 and rank == 3:
            with torch.no_grad():
                model[2].weight._local_tensor.add_(1e-3)

    train(moved)
    homes = [sys.modules["torch.optim.adam"], sys.modules["torch.optim.adamw"]]
    update, now = homes[0].adam, [0]

    def faster(*args, **kwargs):
        now[0] += 1
        if now[0] >= 12 and rank == 1:
            kwargs["lr"] *= 1.5
        return update(*args, **kwargs)

    for home in homes:
        home.adam = faster
    train()
    dist.barrier()
"""


def test_parts_are_rechecked_and_their_replicas_compared(world):
    script = world.script(PROGRAM)
    done = world.guarded(world.python, "-m", "torch.distributed.run", "--nproc-per-node", "4", script)
    view = world.show()
    assert view["outcome"] == "exit 0", done
    assert sum(len(rank["steps"]) for rank in view["ranks"]) == 4 * 72
    samples = [step.get("sample") for rank in view["ranks"] for step in rank["steps"]]
    assert sum(sample is not None for sample in samples) > 4 * 60
    assert "DTensor (rank" not in gaps(view).replace("it is a DTensor", "")
    found = {}
    for finding in view["findings"]:
        found.setdefault(finding["rule"], []).append(finding)
    # The function that was put in place of torch's is seen as well, where the process lives long enough.
    found.pop("function-replaced", None)
    assert set(found) == {"replicas-differ", "update-differs", "weights-changed-between-steps"}, found
    (update,) = found["update-differs"]
    assert (update["rank"], update["step"]) == (1, 12) and "1.50 × the expected one" in words(update), update
    (between,) = found["weights-changed-between-steps"]
    assert (between["rank"], between["step"]) == (3, 13) and "2.weight" in words(between), between
    assert min(finding["step"] for finding in found["replicas-differ"]) in (12, 13), found
