"""What is recorded of a training, and that it is the same training."""

import math
import sys

TRAIN = """
    import hashlib, random, sys
    import numpy
    import torch
    from torch import nn

    torch.manual_seed(7)
    random.seed(7)
    numpy.random.seed(7)
    torch.set_num_threads(1)

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.drop, self.last = nn.Linear(8, 16), nn.Dropout(0.2), nn.Linear(16, 4)

        def forward(self, x, scale=None):
            y = self.last(self.drop(torch.relu(self.first(x))))
            return y if scale is None else y * scale

    def digest(*modules):
        state = hashlib.sha256()
        for module in modules:
            for tensor in module.state_dict().values():
                state.update(tensor.numpy().tobytes())
        return state.hexdigest()
"""

TWO_OPTIMIZERS = (
    TRAIN
    + """
    import time
    for kind, options in ((torch.optim.AdamW, dict(lr=1e-2)), (torch.optim.SGD, dict(lr=1e-2, momentum=0.9))):
        model = Model()
        optimizer = kind(model.parameters(), **options)
        for step in range(6):
            for micro in range(2):
                x = torch.randn(5, 8)
                loss = model(x=x, scale=torch.full((1,), 2.0)).square().mean() / 2
                loss.backward()
                print(repr(loss.item()))
            norm = nn.utils.clip_grad_norm_(model.parameters(), 0.05)
            print(repr(norm.item()))
            optimizer.step()
            optimizer.zero_grad()
            # As long as a real step: of a shorter one a fingerprint may not have its share, and is left out now and then.
            time.sleep(0.1)
            model.eval()
            with torch.no_grad():
                model(torch.zeros(1, 8))
            model.train()
        print(digest(model), hashlib.sha256(bytes(torch.get_rng_state())).hexdigest())
        torch.save(model, kind.__name__ + ".pt")
        print(hashlib.sha256(open(kind.__name__ + ".pt", "rb").read()).hexdigest())
"""
)


def steps_of(messages):
    return [message for message in messages if message["type"] == "step"]


def same_each_time(step):
    """The step without what stands at random positions, and without times."""
    passes = {**step["passes"], "gradients": None}
    return {**step, "passes": passes, "phases": None, "sample": None, "waits": None}


def test_training_is_bit_identical_and_every_step_is_recorded(world):
    without = world.run(TWO_OPTIMIZERS, watched=False)
    job = world.run(TWO_OPTIMIZERS)
    assert job.code == 0 and job.err == without.err
    assert job.out == without.out

    steps = steps_of(job.said[0])
    assert [step["optimizer"] for step in steps] == [0] * 6 + [1] * 6
    assert [step["step"] for step in steps] == [1, 2, 3, 4, 5, 6] * 2
    assert [step["source"] for step in steps] == ["optimizer_state"] * 6 + ["counted"] * 6
    printed = [float(line) for line in job.out.splitlines() if " " not in line and len(line) < 40]
    for index, step in enumerate(steps):
        first, second, norm = printed[3 * index : 3 * index + 3]
        assert step["losses"] == [first, second]
        assert step["gradient_norm_before_clip"] == norm
        assert math.isclose(step["gradient_norm"], min(norm, 0.05), rel_tol=1e-3)
        assert step["learning_rates"] == [0.01]
        assert len(step["batches"]) == 2
    assert len({step["parameters"] for step in steps}) == 12
    assert len({step["optimizer_state"] for step in steps}) == 12
    assert len({batch for step in steps for batch in step["batches"]}) == 24
    assert len({step["rng"]["torch"] for step in steps}) == 12
    assert len({step["rng"]["python"] for step in steps}) == 1
    assert all(step["phases"][phase] > 0 for step in steps for phase in step["phases"])
    assert job.said[0][-1] == {"type": "bye", "dropped": 0, "exception": None}
    assert job.gaps() == []
    again = world.run(TWO_OPTIMIZERS)
    for mine, other in zip(steps, steps_of(again.said[0]), strict=True):
        # Positions and times are others each time, and nothing else is.
        assert mine["sample"]["values"] != other["sample"]["values"]
        assert same_each_time(mine) == same_each_time(other)


def test_a_resumed_run_goes_on_counting(world):
    text = (
        TRAIN
        + """
    import os
    model = Model()
    optimizer = torch.optim.AdamW(model.parameters())
    if os.path.exists("state.pt"):
        state = torch.load("state.pt")
        model.load_state_dict(state["model"]); optimizer.load_state_dict(state["optimizer"])
    for step in range(3):
        model(torch.randn(5, 8)).square().mean().backward()
        optimizer.step(); optimizer.zero_grad()
    torch.save(dict(model=model.state_dict(), optimizer=optimizer.state_dict()), "state.pt")
"""
    )
    first, second = world.run(text), world.run(text)
    assert [step["step"] for step in first.of("step")] == [1, 2, 3]
    assert [step["step"] for step in second.of("step")] == [4, 5, 6]
    path = str(world.folder / "state.pt")
    assert first.of("saved") == [{"type": "saved", "path": path, "step": 3, "way": "torch"}]
    assert second.of("loading") == [{"type": "loading", "path": path, "step": None, "way": "torch"}]
    assert second.of("saved")[0]["step"] == 6


def test_two_models_that_train_each_other_are_both_seen(world):
    text = (
        TRAIN
        + """
    import random
    class Critic(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 1)
        def forward(self, batch):
            return self.layer(batch["x"])
    maker, critic = Model(), Critic()
    opt_m, opt_c = torch.optim.Adam(maker.parameters()), torch.optim.Adam(critic.parameters())
    for step in range(5):
        random.random()
        made = maker(torch.randn(3, 8))
        (critic({"x": torch.randn(3, 4)}) - critic({"x": made.detach()})).mean().backward()
        opt_c.step(); opt_c.zero_grad()
        critic({"x": maker(torch.randn(3, 8))}).mean().backward()
        opt_m.step(); opt_m.zero_grad(); opt_c.zero_grad()
"""
    )
    job = world.run(text)
    assert job.code == 0, job.err
    assert job.gaps() == []
    steps = steps_of(job.said[0])
    assert [step["optimizer"] for step in steps] == [0, 1] * 5
    # Once both are known, the critic's step has three forward passes and the maker's has two.
    assert [len(step["batches"]) for step in steps[4:]] == [3, 2] * 3
    assert len({step["rng"]["python"] for step in steps}) == 5


def test_what_is_saved_copied_and_compiled_knows_nothing_of_us(world):
    text = (
        TRAIN
        + """
    import copy, inspect, io, pickle
    model = Model()
    optimizer = torch.optim.AdamW(model.parameters())
    def step(net):
        loss = net(torch.randn(5, 8)).square().mean()
        loss.backward(); optimizer.step(); optimizer.zero_grad()
    for _ in range(3):
        step(model)
    assert b"taintline" not in pickle.dumps(model) + pickle.dumps(optimizer)
    assert not model._forward_hooks and not model._forward_pre_hooks
    twin = copy.deepcopy(model)
    assert twin(torch.zeros(1, 8)).shape == (1, 4)
    for function in (torch.save, torch.load, torch.autograd.backward, nn.utils.clip_grad_norm_):
        assert pickle.loads(pickle.dumps(function)) is function
        assert list(inspect.signature(function).parameters) == list(inspect.signature(function.__wrapped__).parameters)
    traced = torch.jit.trace(model.eval(), torch.zeros(2, 8))
    assert "clone" not in str(traced.graph) and "contiguous" not in str(traced.graph)
    model.train()
    import warnings
    warnings.simplefilter("error")
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    for _ in range(2):
        step(compiled)
    fresh = Model()
    optimizer = torch.optim.SGD(fresh.parameters(), lr=0.1)
    step(torch.compile(fresh, backend="eager", fullgraph=True))
    fresh.compile(backend="eager", fullgraph=True)
    step(fresh)
    @torch.compile(backend="eager", fullgraph=True)
    def loss_of(x):
        return fresh(x).square().mean()
    loss_of(torch.randn(5, 8)).backward()
    optimizer.step()
    torch.compile(optimizer.step, backend="eager")()
    print("done")
"""
    )
    job = world.run(text)
    assert (job.out, job.code) == ("done\n", 0), job.err
    steps = steps_of(job.said[0])
    assert [step["step"] for step in steps if step["optimizer"] == 0] == [1, 2, 3, 4, 5]
    assert all(step["batches"] for step in steps[:7])


def test_tensors_that_cannot_be_read_are_gaps_and_the_rest_is_recorded(world):
    text = """
        import torch
        from torch import nn
        table = nn.Embedding(10, 4, sparse=True)
        optimizer = torch.optim.SparseAdam(table.parameters(), lr=torch.tensor(0.1))
        for step in range(2):
            table(torch.arange(12).reshape(3, 4).t()[:2, :]  % 10).sum().backward()
            optimizer.step(); optimizer.zero_grad()
        image = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
        image.odd = nn.Parameter(torch.zeros(4, 4, 4)[:, ::2])
        optimizer = torch.optim.SGD(image.parameters(), lr=0.1)
        image(torch.zeros(1, 3, 8, 8)).sum().backward()
        optimizer.step()
        print(float("nan") != image.bias.sum().item())
    """
    job = world.run(text)
    assert (job.out, job.code) == ("True\n", 0), job.err
    gaps = {gap["what"]: gap["why"] for gap in job.gaps()}
    assert set(gaps) == {
        "norm of the gradients",
        "parameters",
        "recheck of parameters: a tensor does not lie in order",
        "recheck of parameters: the gradient is on cpu, torch.sparse_coo",
        "recheck of updates by torch.optim.sparse_adam.SparseAdam",
    }, gaps
    assert "sparse" in gaps["norm of the gradients"]
    steps = steps_of(job.said[0])
    assert [step["step"] for step in steps] == [1, 2, 1]
    assert [len(step["batches"]) for step in steps] == [1, 1, 1]
    assert all("parameters" in step for step in steps[:2]) and "parameters" not in steps[2]


def test_a_training_that_diverges_is_recorded_to_the_end(world):
    text = """
        import torch
        weight = torch.nn.Parameter(torch.ones(3))
        optimizer = torch.optim.SGD([weight], lr=0.1)
        for factor in (float("inf"), float("nan")):
            (weight * factor).sum().backward()
            optimizer.step(); optimizer.zero_grad()
    """
    steps = world.run(text).of("step")
    assert [step["losses"] for step in steps] == [["Infinity"], ["NaN"]]
    assert [step["gradient_norm"] for step in steps] == ["Infinity", "NaN"]


def test_the_ranks_of_a_distributed_training_are_recorded_each(world):
    text = (
        TRAIN
        + """
    import torch.distributed as dist
    dist.init_process_group("gloo")
    model = nn.parallel.DistributedDataParallel(Model())
    optimizer = torch.optim.AdamW(model.parameters())
    for step in range(3):
        model(torch.randn(5, 8) + dist.get_rank()).square().mean().backward()
        optimizer.step(); optimizer.zero_grad()
    dist.barrier()
    dist.destroy_process_group()
"""
    )
    launcher = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    job = world.run(text, command=launcher)
    assert job.code == 0, job.err
    by_rank = {messages[0]["rank"]: messages for messages in job.said}
    assert set(by_rank) == {None, 0, 1}
    assert by_rank[0][0]["world_size"] == 2
    zero, one = steps_of(by_rank[0]), steps_of(by_rank[1])
    assert [step["step"] for step in zero] == [step["step"] for step in one] == [1, 2, 3]
    assert [step["parameters"] for step in zero] == [step["parameters"] for step in one]
    assert all(a["batches"] != b["batches"] and a["losses"] != b["losses"] for a, b in zip(zero, one))
    assert all(messages[-1]["type"] == "bye" for messages in job.said)
