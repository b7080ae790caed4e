"""Ranks that hang, told while they do; and honest silences, of which nothing is told."""

from conftest import gaps, words

# A silence is longer than what is looked into and the time between two looks. All worlds hang at the same time, for the tests' sake.
PROGRAM = """
    import datetime, os, sys, time, traceback, torch
    import torch.distributed as dist
    from torch.nn.parallel import DistributedDataParallel as DDP

    torch.set_num_threads(1)
    folder, SILENCE = sys.argv[1], 17

    def train(rank, at_step, steps=12):
        torch.manual_seed(7)
        model = DDP(torch.nn.Sequential(torch.nn.Linear(12, 16), torch.nn.Tanh(), torch.nn.Linear(16, 5)))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for step in range(1, steps + 1):
            optimizer.zero_grad()
            model(torch.randn(8, 12)).square().mean().backward()
            optimizer.step()
            at_step(rank, step)

    def behind(rank, step):
        if (rank, step) == (1, 8):
            time.sleep(SILENCE)

    def ahead(rank, step):
        # A barrier that one rank leaves out; it ends with a time-out.
        if step == 8 and rank != 2:
            dist.barrier(group=others)

    def works(rank, step):
        if (rank, step) == (0, 8):
            end = time.monotonic() + SILENCE
            while time.monotonic() < end:
                sum(range(10000))

    def over(rank, step):
        if step == 12:
            time.sleep(SILENCE)

    def start(body, size):
        global others
        pids = []
        for rank in range(size):
            pid = os.fork()
            if pid == 0:
                code = 1
                try:
                    dist.init_process_group("gloo", init_method=f"file://{folder}/{body.__name__}", rank=rank, world_size=size)
                    others = dist.new_group(timeout=datetime.timedelta(seconds=SILENCE))
                    train(rank, body)
                    dist.barrier()
                    code = 0
                except RuntimeError:
                    code = 0 if body is ahead else 1
                    if code:
                        traceback.print_exc()
                except BaseException:
                    traceback.print_exc()
                sys.stderr.flush()
                os._exit(code)
            pids.append(pid)
        print(body.__name__, *pids, flush=True)
        return pids

    waiting = [pid for body, size in ((behind, 2), (ahead, 3), (works, 2), (over, 2)) for pid in start(body, size)]
    if any([os.waitpid(pid, 0)[1] for pid in waiting]):
        sys.exit("a world failed")
"""


def test_a_rank_that_hangs_is_told_while_it_does(world):
    done = world.guarded(world.python, world.script(PROGRAM), world.folder)
    view = world.show()
    assert view["outcome"] == "exit 0", done
    names = {}
    for line in done.out.splitlines():
        name, *pids = line.split()
        names.update({pid: name for pid in pids})
    found = {}
    for finding in view["findings"]:
        if finding["rule"] == "rank-stalled":
            text = words(finding).replace(")", " ")
            name = next(names[word] for word in text.split() if word in names)
            assert name not in found, view["findings"]
            found[name] = finding
    assert set(found) == {"behind", "ahead"}, view["findings"]
    assert (found["behind"]["rank"], found["behind"]["step"]) == (1, 9), found
    assert "rank 1 stands still at step 9" in found["behind"]["what"]
    assert "backward pass" in words(found["behind"])
    assert found["ahead"]["rank"] == 2 and "gone on" in found["ahead"]["what"], found
    assert "waits of the other ranks" in gaps(view)
