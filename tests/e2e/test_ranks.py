"""Ranks held against each other: honest distributed trainings of several makes, and replicas that part.

One run has many small worlds, one after the other, each of two forked processes: a start of torch costs seconds.
"""

from conftest import gaps, words

OURS = ("replicas-differ", "ranks-share-batches")

PROGRAM = """
    import os, sys, traceback, torch
    import torch.distributed as dist
    from torch.nn.parallel import DistributedDataParallel as DDP
    from torch.distributed.optim import ZeroRedundancyOptimizer

    torch.set_num_threads(1)
    F = torch.nn.functional
    folder = sys.argv[1]

    def build(norm=False):
        torch.manual_seed(7)
        layers = [torch.nn.Linear(12, 16), *([torch.nn.BatchNorm1d(16)] if norm else []), torch.nn.Tanh(), torch.nn.Dropout(0.1), torch.nn.Linear(16, 5)]
        return torch.nn.Sequential(*layers)

    def batch(generator):
        return torch.randn(8, 12, generator=generator), torch.randn(8, 5, generator=generator)

    def train(rank, model, optimizer, steps=14, micro=1, before=lambda step: None, after=lambda step: None, seeds=lambda step, rank: rank):
        torch.manual_seed(100 + rank)
        generators = [torch.Generator().manual_seed(seed) for seed in (0, 1)]
        for step in range(1, steps + 1):
            optimizer.zero_grad()
            for part in range(micro):
                data = [batch(generator) for generator in generators]
                x, y = data[seeds(step, rank)]
                last = part + 1 == micro or not isinstance(model, DDP)
                if last:
                    F.mse_loss(model(x), y).backward()
                else:
                    with model.no_sync():
                        F.mse_loss(model(x), y).backward()
            before(step)
            optimizer.step()
            after(step)

    def world(name, body):
        pids = []
        for rank in (0, 1):
            pid = os.fork()
            if pid == 0:
                code = 1
                try:
                    dist.init_process_group("gloo", init_method=f"file://{folder}/{name}", rank=rank, world_size=2)
                    body(rank)
                    dist.barrier()
                    dist.destroy_process_group()
                    code = 0
                except BaseException:
                    traceback.print_exc()
                sys.stderr.flush()
                os._exit(code)
            pids.append(pid)
        print(name, *pids, flush=True)
        for pid in pids:
            if os.waitpid(pid, 0)[1]:
                sys.exit(f"{name} failed")

"""

HONEST = """
    def plain(rank):
        model = DDP(build())
        train(rank, model, torch.optim.AdamW(model.parameters(), lr=0.01))

    def accumulates(rank):
        model = DDP(build(norm=True))
        train(rank, model, torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), micro=3)

    def zero(rank):
        model = DDP(build())
        train(rank, model, ZeroRedundancyOptimizer(model.parameters(), optimizer_class=torch.optim.AdamW, lr=0.01))

    def local(rank):
        model = build()
        def average(step):
            if step % 4 == 0:
                with torch.no_grad():
                    for parameter in model.parameters():
                        dist.all_reduce(parameter)
                        parameter /= 2
        train(rank, model, torch.optim.SGD(model.parameters(), lr=0.1), before=average)

    def post_local(rank):
        from torch.distributed.algorithms.ddp_comm_hooks import post_localSGD_hook as post
        model = DDP(build())
        state = post.PostLocalSGDState(process_group=None, subgroup=dist.new_subgroups(group_size=1)[0], start_localSGD_iter=5)
        model.register_comm_hook(state, post.post_localSGD_hook)
        train(rank, model, torch.optim.SGD(model.parameters(), lr=0.1))

    def own_jobs(rank):
        torch.manual_seed(rank)
        model = torch.nn.Linear(12, 5)
        train(rank, model, torch.optim.SGD(model.parameters(), lr=0.1), steps=20)

    def by_hand(rank):
        model = build()
        def reduce(step):
            for parameter in model.parameters():
                dist.all_reduce(parameter.grad)
                parameter.grad /= 2
        train(rank, model, torch.optim.Adam(model.parameters(), lr=0.01), before=reduce)

    def uneven(rank):
        model = DDP(build())
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        with model.join():
            train(rank, model, optimizer, steps=10 + 3 * rank)

    def same_batches(rank):
        model = DDP(build())
        train(rank, model, torch.optim.SGD(model.parameters(), lr=0.1), seeds=lambda step, rank: 0)

    for body in (plain, accumulates, zero, local, post_local, own_jobs, by_hand, uneven, same_batches):
        world(body.__name__, body)
"""

WRONG = """
    def reduced(model, rank, ruin):
        def reduce(step):
            for index, parameter in enumerate(model.parameters()):
                mine = parameter.grad.clone()
                dist.all_reduce(parameter.grad)
                parameter.grad /= 2
                if step >= 6 and rank == 1:
                    ruin(index, parameter, mine)
        return reduce

    def own_gradient(rank):
        model = DDP(build())
        def hook(state, bucket):
            state["calls"] += 1
            mine = bucket.buffer().clone()
            def kept(future):
                return mine if rank == 1 and state["calls"] >= 6 else future.value()[0] / 2
            return dist.all_reduce(bucket.buffer(), async_op=True).get_future().then(kept)
        model.register_comm_hook({"calls": 0}, hook)
        train(rank, model, torch.optim.AdamW(model.parameters(), lr=0.01))

    def scribbled(rank):
        model = DDP(build())
        def scribble(step):
            if step == 5 and rank == 1:
                with torch.no_grad():
                    model.module[3].weight[2, 3] += 1e-4
        train(rank, model, torch.optim.AdamW(model.parameters(), lr=0.01), after=scribble)

    def scaled(rank):
        model = build()
        train(rank, model, torch.optim.SGD(model.parameters(), lr=0.1), before=reduced(model, rank, lambda index, it, mine: it.grad.mul_(1.01)))

    def one_tensor(rank):
        model = build()
        def ruin(index, parameter, mine):
            if index == 2:
                parameter.grad.copy_(mine)
        train(rank, model, torch.optim.SGD(model.parameters(), lr=0.1), before=reduced(model, rank, ruin))

    def from_the_first(rank):
        model = DDP(build())
        def ruin(step):
            if rank == 1:
                for parameter in model.parameters():
                    parameter.grad.neg_()
        train(rank, model, torch.optim.SGD(model.parameters(), lr=0.1), before=ruin)

    def skips(rank):
        # Both stop reducing: neither hangs.
        model = DDP(build())
        torch.manual_seed(100 + rank)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for step in range(1, 15):
            optimizer.zero_grad()
            x, y = torch.randn(8, 12), torch.randn(8, 5)
            model.require_backward_grad_sync = step < 6
            F.mse_loss(model(x), y).backward()
            optimizer.step()

    def state_only(rank):
        model = DDP(build())
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
        def touch(step):
            if step == 5 and rank == 1:
                for group in optimizer.param_groups:
                    group["lr"] = 0.0
                optimizer.state[model.module[0].weight]["exp_avg"].mul_(2)
            elif step == 5:
                for group in optimizer.param_groups:
                    group["lr"] = 0.0
        train(rank, model, optimizer, after=touch)

    def same_data(rank):
        model = DDP(build())
        train(rank, model, torch.optim.SGD(model.parameters(), lr=0.1), steps=24, seeds=lambda step, rank: 0 if step >= 15 else rank)

    for body in (own_gradient, scribbled, scaled, one_tensor, from_the_first, skips, state_only, same_data):
        world(body.__name__, body)
"""

FIRST = {
    "own_gradient": 6,
    "scribbled": 6,
    "scaled": 6,
    "one_tensor": 6,
    "from_the_first": 1,
    "skips": 6,
    "state_only": 6,
    "same_data": 15,
}


def ours(view):
    return [finding for finding in view["findings"] if finding["rule"] in OURS]


def run(world, text):
    script = world.script(PROGRAM + text)
    done = world.guarded(world.python, script, world.folder)
    view = world.show()
    assert view["outcome"] == "exit 0", done
    names = {}
    for line in done.out.splitlines():
        name, *pids = line.split()
        names.update({pid: name for pid in pids})
    return view, names


def test_honest_ranks_have_no_finding(world):
    view, _ = run(world, HONEST)
    assert ours(view) == [], view["findings"]
    assert "never agreed" in gaps(view)
    assert "post_localSGD_hook" in gaps(view)


def test_replicas_that_part_are_found_at_their_first_step(world):
    view, names = run(world, WRONG)
    found = {}
    for finding in ours(view):
        pid = next(word for word in words(finding).split() if word in names)
        found.setdefault(names[pid], []).append(finding)
    assert set(found) == set(FIRST), found
    for name, findings in found.items():
        finding = findings[0]
        assert finding["step"] == FIRST[name], (name, finding)
        rule = "ranks-share-batches" if name == "same_data" else "replicas-differ"
        assert finding["rule"] == rule, (name, finding)
    assert "0.bias" not in words(found["scribbled"][0]), found["scribbled"]
    assert "optimizer state" in words(found["state_only"][0])
