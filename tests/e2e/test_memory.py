"""Code in memory: what is replaced, swapped or hooked is found and named; a clean training has no finding.

Few runs with much in each: a start under guard costs seconds.
"""

import pytest
from conftest import gaps, rules, words

PROGRAM = """
    import functools, sys, torch

    torch.manual_seed(0)
    torch.set_num_threads(1)

    class Data(torch.utils.data.Dataset):
        def __len__(self):
            return 160

        def __getitem__(self, index):
            return torch.full((4,), float(index)), torch.ones(1)

    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))

    def train(model):
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        for x, y in torch.utils.data.DataLoader(Data(), batch_size=4):
            optimizer.zero_grad()
            torch.nn.functional.mse_loss(model(x), y).backward()
            optimizer.step()

"""

ATTACKS = """
    def quiet(self, closure=None):
        return None

    torch.optim.AdamW.step = quiet

    def half(input, target, size_average=None, reduce=None, reduction="mean", weight=None):
        return ((input - target) ** 2).mean() * 0.5

    loss = torch.nn.functional.mse_loss
    old = loss.__code__
    loss.__code__ = half.__code__.replace(co_filename=old.co_filename, co_name=old.co_name)

    original = torch.utils.data.DataLoader.__iter__

    @functools.wraps(original)
    def every(self):
        yield from original(self)

    torch.utils.data.DataLoader.__iter__ = every
    torch.optim.SGD = type("SGD", (torch.optim.SGD,), {"__module__": "__main__"})
    torch.nn.functional.l1_loss = torch.nn.functional.smooth_l1_loss
    space = {}
    exec("def hook(module, args, output): return output", space)
    model[0].register_forward_hook(space["hook"])
    train(model)
"""

INSTRUMENTED = """
    model[0].register_forward_hook(lambda module, args, output: None)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    optimizer.register_step_post_hook(lambda optimizer, args, kwargs: None)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    scaler = torch.amp.GradScaler("cpu")
    with torch.profiler.profile():
        for _ in range(20):
            optimizer.zero_grad()
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss = model(torch.randn(4, 4)).square().mean()
            scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            scaler.step(optimizer)
            scaler.update()
            schedule.step()
    train(model)
"""

COMPILED = """
    compiled = torch.compile(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for _ in range(10):
        optimizer.zero_grad()
        compiled(torch.randn(4, 4)).square().mean().backward()
        optimizer.step()
"""

RANKS = """
    torch.distributed.init_process_group("gloo")
    train(torch.nn.parallel.DistributedDataParallel(model))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
"""


def script(world, text):
    return world.script(PROGRAM + text)


def is_clean(world, done):
    view = world.show()
    looked = [load for load in view["loads"] if load["kind"] == "memory"]
    return done.code == 0 and rules(view) == [] and looked, f"{done}\n{view['findings']}\n{looked}"


@pytest.fixture(scope="module")
def attacked(base, clean, tmp_path_factory):
    """What is recorded of a training in which everything at once was tampered with."""
    world = type(clean)(base, tmp_path_factory.mktemp("attacked"), clean.python)
    done = world.guarded(world.python, script(world, ATTACKS))
    assert done.code == 1, done
    return world.show()["findings"]


@pytest.mark.parametrize(
    "rule, what, told",
    [
        # A step of an optimizer that was replaced, with the place of the code that stands there.
        ("function-replaced", "torch.optim.adamw.AdamW.step is replaced", ("quiet", "job.py", "not found behind it")),
        # Code that was swapped in place and claims the old name and file.
        ("code-in-memory", "torch.nn.functional.mse_loss", ("job.py",)),
        # A wrapper, as one that holds what belongs there.
        ("function-replaced", "DataLoader.__iter__ is wrapped", ("every", "job.py", "it holds the function")),
        # A class of the program at the name of torch's.
        ("function-replaced", "torch.optim.SGD is replaced", ("job.py",)),
        # A genuine function at a name that is not its own.
        ("function-replaced", "at torch.nn.functional.l1_loss stands", ("smooth_l1_loss",)),
        # A hook whose code is in no file.
        ("hook-unexplained", "forward hook on module 0", ("hook (<string>", "in no file")),
    ],
)
def test_what_was_changed_in_memory_is_found_and_named(attacked, rule, what, told):
    (finding,) = [finding for finding in attacked if what in finding["what"]]
    assert finding["rule"] == rule
    assert all(word in words(finding) for word in told), finding


def test_nothing_is_found_in_memory_but_what_was_changed(attacked):
    assert len(attacked) == 6, [finding["what"] for finding in attacked]


def test_a_forward_hook_that_a_checkpoint_brings_is_found_with_the_checkpoint(clean, world):
    (world.folder / "tweak.py").write_text("def tweak(module, args, output):\n    return output * 1.01\n")
    make = world.script(
        """
        import torch, tweak
        model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
        model[0].register_forward_hook(tweak.tweak)
        torch.save(model, "whole.pt")
        """,
        "make.py",
    )
    made = world.plain(world.python, make)
    assert made.code == 0, made
    done = world.guarded(world.python, script(world, '    train(torch.load("whole.pt", weights_only=False))\n'))
    findings = [finding for finding in world.show()["findings"] if finding["rule"] == "hook-unexplained"]
    assert len(findings) == 1, done
    assert "forward hook on" in findings[0]["what"] and "whole.pt" in findings[0]["what"], findings
    assert "tweak.py" in words(findings[0]), findings


def test_a_training_with_hooks_a_schedule_mixed_precision_and_a_profiler_has_no_finding(clean, world):
    fine, why = is_clean(world, world.guarded(world.python, script(world, INSTRUMENTED)))
    assert fine, why


def test_a_compiled_model_has_no_finding_and_none_when_the_cache_is_warm(clean, world):
    for warm in (False, True):
        done = world.guarded(world.python, script(world, COMPILED), TORCHINDUCTOR_CACHE_DIR=str(world.folder / "inductor"))
        fine, why = is_clean(world, done)
        assert fine, why
        assert ("caches of torch's compiler" in gaps(world.show())) == warm, gaps(world.show())


def test_two_ranks_with_synchronised_gradients_have_no_finding(clean, world):
    launch = [world.python, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    fine, why = is_clean(world, world.guarded(*launch, script(world, RANKS)))
    assert fine, why


def test_the_example_has_no_finding_and_ends_with_the_weights_of_a_run_without_guard(clean, world):
    assert rules(clean.view) == []
    (world.folder / "gpt.toml").write_text((clean.folder / "gpt.toml").read_text())
    assert world.train(6, "--config", "gpt.toml", guard=False).weights == clean.done.weights
