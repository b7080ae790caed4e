"""What happens between two steps: honest programs have no finding whatever they do there, and what begins later is found at its first step.

Few runs with much in each: a start under guard costs seconds.
"""

import json

import pytest
from conftest import gaps, words

OURS = (
    "gradient-changed",
    "clipping-differs",
    "loss-altered",
    "passes-miscounted",
    "mode-changed",
    "random-numbers-reused",
)

PROGRAM = """
    import random, torch
    import torch.utils.checkpoint

    torch.manual_seed(0)
    torch.set_num_threads(1)
    F = torch.nn.functional

    class Net(torch.nn.Module):
        def __init__(self, width=24, dropout=0.1, checkpointed=False):
            super().__init__()
            self.inner = torch.nn.Sequential(torch.nn.Linear(12, width), torch.nn.Tanh(), torch.nn.Dropout(dropout), torch.nn.Linear(width, width))
            self.out = torch.nn.Linear(width, 5)
            self.checkpointed = checkpointed
        def forward(self, x):
            if self.checkpointed:
                hidden = torch.utils.checkpoint.checkpoint(self.inner, x, use_reentrant=False)
            else:
                hidden = self.inner(x)
            return self.out(hidden)

    class WithLoss(Net):
        def forward(self, x, labels):
            logits = super().forward(x)
            return {"loss": F.cross_entropy(logits, labels), "logits": logits}

    def batch(size=8, dtype=torch.float32):
        return torch.randn(size, 12).to(dtype), torch.randint(0, 5, (size,))

    def train(steps=12, optimizer=None, model=None, accumulate=1, clip=None, between=lambda step: None, loss=F.cross_entropy,
              kind=torch.optim.AdamW, cast=None, dtype=torch.float32, make=None, after=lambda step: None, start=lambda step: None, **options):
        model = model if model is not None else Net().to(dtype)
        optimizer = optimizer or kind(model.parameters(), lr=0.01, **options)
        for step in range(1, steps + 1):
            start(step)
            optimizer.zero_grad()
            for part in range(accumulate):
                x, y = batch(dtype=dtype)
                now = cast(step) if callable(cast) else cast
                with torch.autocast("cpu", dtype=now or torch.bfloat16, enabled=now is not None):
                    value = loss(model(x), y)
                (value / accumulate if accumulate > 1 else value).backward()
            between(step)
            if clip is not None:
                torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
            optimizer.step()
            after(step)
        return model
"""

HONEST = """
    # Accumulation, clipping, autocast, types, implementations.
    for number, dtype in enumerate((torch.float32, torch.float64, torch.bfloat16, torch.float16)):
        for foreach in (False, True):
            model = Net(dropout=0.0).to(dtype)
            optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, foreach=foreach)
            for step in range(12):
                optimizer.zero_grad()
                x, y = batch(dtype=dtype)
                F.cross_entropy(model(x).float(), y).backward()
                for limit, order in ((0.05, 2.0), (0.03, float("inf")), (100.0, 2.0), (0.02, 1.0)):
                    torch.nn.utils.clip_grad_norm_(model.parameters(), limit, order, foreach=foreach)
                torch.nn.utils.clip_grad_value_(model.parameters(), 1e-4, foreach=foreach)
                optimizer.step()
    train(accumulate=4, clip=0.1)
    train(cast=torch.bfloat16, clip=1e9)
    train(clip=0.05, kind=torch.optim.SGD)

    # A scaler that skips steps and grows; one whose gradients are unscaled by hand.
    for unscaling in (True, False):
        model = Net()
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
        scaler = torch.amp.GradScaler("cpu", init_scale=1000.0, growth_interval=4)
        for step in range(20):
            optimizer.zero_grad()
            x, y = batch()
            value = F.cross_entropy(model(x), y)
            scaler.scale(value if step != 9 else value * float("inf")).backward()
            if unscaling:
                scaler.unscale_(optimizer)
                torch.nn.utils.clip_grad_norm_(model.parameters(), 0.3)
            scaler.step(optimizer)
            scaler.update()
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    scale = 1024.0
    for step in range(60):
        optimizer.zero_grad()
        x, y = batch()
        scale = scale * 2 if step == 40 else scale
        (F.cross_entropy(model(x), y) * scale).backward()
        for p in model.parameters():
            p.grad.div_(scale)
        optimizer.step()

    # What programs do to their gradients themselves, from the start and begun late.
    def every(change, since=0):
        model = Net()
        def between(step):
            if step > since:
                for p in model.parameters():
                    change(p)
        train(model=model, between=between, steps=24)
    every(lambda p: p.grad.div_(4))
    every(lambda p: p.grad.add_(torch.randn_like(p) * 0.01))
    every(lambda p: p.grad.clamp_(-0.01, 0.01))
    every(lambda p: p.grad.clamp_(-0.01, 0.01), 9)
    every(lambda p: p.grad.zero_() if p.dim() == 1 else None, 9)
    every(lambda p: setattr(p, "grad", None) if p.dim() == 1 else None, 9)
    every(lambda p: p.grad.sub_(p.grad.mean()), 0)
    every(lambda p: p.grad.mul_(min(1.0, 0.02 / (p.grad.norm().item() + 1e-6))), 9)

    # Hooks on parameters: some that only read, begun late, and some that change gradients from the start, in place or not.
    def hooked(hook, since=0, **options):
        model = Net()
        handles = []
        def start(step):
            if step == since + 1:
                handles.extend(p.register_hook(lambda g, p=p: hook(g, p)) for p in model.parameters())
        train(model=model, start=start, steps=24, **options)
    norms = []
    hooked(lambda g, p: norms.append(g.norm().item()), 9, accumulate=2)
    masks = {}
    hooked(lambda g, p: g * masks.setdefault(p, torch.rand_like(p).round()), accumulate=2)
    hooked(lambda g, p: g.mul_(3), clip=0.1)
    table = torch.nn.Embedding(20, 12, sparse=True)
    table.weight.register_hook(lambda g: g * 2)
    optimizer = torch.optim.SGD(table.parameters(), lr=0.1)
    for step in range(12):
        optimizer.zero_grad()
        table(torch.randint(0, 20, (8,))).square().mean().backward()
        optimizer.step()
    def by_hand(limit, spikes):
        model = Net(dropout=0.0)
        def between(step):
            if step in spikes:
                for p in model.parameters():
                    p.grad.mul_(20)
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
        for step in range(30):
            optimizer.zero_grad()
            x, y = batch()
            (F.cross_entropy(model(x), y) * (20 if step in spikes else 1)).backward()
            norm = torch.linalg.vector_norm(torch.cat([p.grad.flatten() for p in model.parameters()]))
            if norm > limit:
                for p in model.parameters():
                    p.grad.mul_(limit / norm)
            optimizer.step()
    by_hand(5.0, (11, 19, 27))
    # Clipping that starts after a warm-up, and one that is scheduled.
    model = Net()
    train(model=model, steps=20, between=lambda step: step > 9 and torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1))
    model = Net()
    train(model=model, steps=20, between=lambda step: torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0 / step))
    # Each parameter for itself, with a generator, and shared ones twice.
    model = Net()
    train(model=model, between=lambda step: [torch.nn.utils.clip_grad_norm_(p, 0.01) for p in model.parameters()])
    model = Net()
    train(model=model, between=lambda step: torch.nn.utils.clip_grad_norm_([*model.parameters(), *model.out.parameters()], 0.01))
    model = Net()
    train(model=model, between=lambda step: torch.nn.utils.clip_grad_norm_((p for p in model.inner.parameters()), 0.01))

    # Losses of many kinds: returned by the model, weighted by tokens, with a part that grows, of another batch size at the end.
    model = WithLoss()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    for step in range(30):
        optimizer.zero_grad()
        size = 3 if step % 7 == 6 else 8
        parts = 2 if step % 7 == 6 else 4
        for _ in range(parts):
            x, y = batch(size)
            (model(x, labels=y)["loss"] / parts).backward()
        optimizer.step()
    def tokens(output, y):
        return F.cross_entropy(output, y, reduction="sum") / len(y)
    model = Net()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    for step in range(30):
        optimizer.zero_grad()
        x, y = batch(8 if step < 15 else 16)
        tokens(model(x), y).backward()
        optimizer.step()
    model = Net()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    for step in range(30):
        optimizer.zero_grad()
        x, y = batch()
        value = F.cross_entropy(model(x), y)
        if step > 10:
            value = value + 0.01 * step * sum((p ** 2).sum() for p in model.parameters())
        value.backward()
        if step % 10 != 9:
            optimizer.step()

    # Two optimizers against each other; a closure; frozen and thawed layers; an evaluation in between that seeds.
    one, two = Net(), Net()
    first, second = torch.optim.Adam(one.parameters(), lr=0.01), torch.optim.Adam(two.parameters(), lr=0.01)
    for step in range(12):
        x, y = batch()
        first.zero_grad()
        F.cross_entropy(one(x), y).backward()
        F.cross_entropy(one(two(x).detach().mean(1, keepdim=True) + x), y).backward()
        first.step()
        second.zero_grad()
        F.cross_entropy(one(two(x).mean(1, keepdim=True) + x), y).backward()
        second.step()
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    for step in range(12):
        def closure():
            optimizer.zero_grad()
            x, y = batch()
            value = F.cross_entropy(model(x), y)
            value.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1)
            return value
        optimizer.step(closure)
    model = Net()
    model.inner.requires_grad_(False)
    def thaw(step):
        if step == 8:
            model.inner.requires_grad_(True)
    def evaluate(step):
        if step % 3 == 0:
            torch.manual_seed(42)
            model.eval()
            with torch.no_grad():
                model(batch()[0])
            model(batch()[0])
            model.train()
    train(model=model, steps=30, start=thaw, after=evaluate)
    # Checkpointed activations; a loss that is no number and is left out; a batch that is tried again.
    train(model=Net(checkpointed=True), clip=0.1)
    model = Net()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    for step in range(30):
        optimizer.zero_grad()
        for part in range(2):
            x, y = batch()
            value = F.cross_entropy(model(x), y)
            if step == 20 and part == 1:
                continue
            value.backward()
        if step == 25:
            try:
                model(torch.randn(3, 3))
            except RuntimeError:
                pass
        optimizer.step()
    # Each step seeds for itself, with numbers that differ and with one.
    train(start=lambda step: torch.manual_seed(step))
    train(start=lambda step: torch.manual_seed(7))
    # Batches of another size whose gradients are divided by it; accumulation that becomes longer.
    model = Net()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    for step in range(60):
        optimizer.zero_grad()
        x, y = batch(3 if step % 10 == 9 else 8)
        F.cross_entropy(model(x), y, reduction="sum").backward()
        for p in model.parameters():
            p.grad.div_(len(y))
        optimizer.step()
    model = Net()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    for step in range(60):
        optimizer.zero_grad()
        parts = 2 if step < 12 else 4
        for _ in range(parts):
            x, y = batch()
            (F.cross_entropy(model(x), y) / parts).backward()
        optimizer.step()
    print("done")
"""

SABOTAGE = """
    START = 8
    original = {"backward": torch.Tensor.backward, "clip": torch.nn.utils.clip_grad_norm_}
    generator = random.Random(5)

    def gradients(model, change):
        def between(step):
            if step >= START:
                for name, p in model.named_parameters():
                    change(name, p)
        return between

    def altered(change):
        model = Net()
        train(model=model, steps=16, between=gradients(model, change), clip=0.5)

    def sign(name, p): p.grad.neg_()
    def scale(name, p): p.grad.mul_(2.5)
    def noise(name, p): p.grad.add_(torch.randn_like(p) * 1e-3)
    def single(name, p): p.grad.neg_() if name == "out.weight" else None

    def half():
        model = Net()
        train(model=model, steps=30, between=gradients(model, lambda name, p: p.grad.mul_(0.5)))

    def rare():
        model = Net()
        def between(step):
            if step == START or step > START and generator.random() < 0.1:
                for p in model.parameters():
                    p.grad.neg_()
        train(model=model, steps=24, between=between)

    def behind_clip():
        model = Net()
        count = 0
        def clip(*args, **kwargs):
            nonlocal count
            count += 1
            norm = original["clip"](*args, **kwargs)
            if count >= START:
                for p in model.parameters():
                    p.grad.neg_()
            return norm
        torch.nn.utils.clip_grad_norm_ = clip
        try:
            train(model=model, clip=0.1)
        finally:
            torch.nn.utils.clip_grad_norm_ = original["clip"]

    def clip_off():
        model = Net()
        train(model=model, between=lambda step: step < START and torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1))

    def clip_limit():
        model = Net()
        train(model=model, between=lambda step: torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1 if step < START else 100.0))

    def clip_idle():
        model = Net()
        multiply = torch._foreach_mul_
        count = 0
        def idle(tensors, factor):
            nonlocal count
            count += 1
            if count < START:
                multiply(tensors, factor)
        torch._foreach_mul_ = idle
        try:
            train(model=model, clip=0.1, kind=torch.optim.SGD, foreach=False)
        finally:
            torch._foreach_mul_ = multiply

    def loss(times):
        count = 0
        def backward(self, *args, **kwargs):
            nonlocal count
            count += 1
            return original["backward"](self * times if count >= 2 * START - 1 else self, *args, **kwargs)
        torch.Tensor.backward = backward
        try:
            train(accumulate=2)
        finally:
            torch.Tensor.backward = original["backward"]

    def seeded():
        count = 0
        def backward(self, *args, **kwargs):
            nonlocal count
            count += 1
            return original["backward"](self, torch.tensor(-1.0)) if count >= START else original["backward"](self)
        torch.Tensor.backward = backward
        try:
            train()
        finally:
            torch.Tensor.backward = original["backward"]

    def dropped():
        count = 0
        def backward(self, *args, **kwargs):
            nonlocal count
            count += 1
            if count > 4 * (START - 1) and count % 4 == 0:
                return None
            return original["backward"](self, *args, **kwargs)
        torch.Tensor.backward = backward
        try:
            train(accumulate=4)
        finally:
            torch.Tensor.backward = original["backward"]

    def dropout():
        model = Net()
        def start(step):
            if step == START:
                model.inner[2].eval()
        train(model=model, start=start)

    def evaluating():
        model = Net()
        train(model=model, start=lambda step: model.eval() if step == START else None)

    def autocast():
        train(cast=lambda step: torch.bfloat16 if step >= START else None)

    def reset():
        dropout = F.dropout
        count = 0
        def drop(*args, **kwargs):
            nonlocal count
            count += 1
            if count >= START - 1:
                torch.manual_seed(3)
            return dropout(*args, **kwargs)
        F.dropout = drop
        try:
            train()
        finally:
            F.dropout = dropout

    def hooked(change):
        model = Net()
        def start(step):
            if step == START:
                for p in model.parameters():
                    p.register_hook(change)
        train(model=model, start=start, accumulate=2, clip=0.5)

    def scaler():
        model = Net()
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=1000)
        for step in range(1, 13):
            optimizer.zero_grad()
            x, y = batch()
            scaler.scale(F.cross_entropy(model(x), y)).backward()
            scaler.unscale_(optimizer)
            if step >= START:
                for p in model.parameters():
                    p.grad.mul_(-1)
            scaler.step(optimizer)
            scaler.update()

    CASES = {
        "sign": lambda: altered(sign), "scale": lambda: altered(scale), "noise": lambda: altered(noise), "single": lambda: altered(single),
        "half": half, "rare": rare, "behind-clip": behind_clip, "clip-off": clip_off, "clip-limit": clip_limit, "clip-idle": clip_idle,
        "loss": lambda: loss(3.0), "loss-sign": lambda: loss(-1.0), "seeded": seeded, "dropped": dropped, "dropout": dropout,
        "evaluating": evaluating, "autocast": autocast, "reset": reset, "scaler": scaler,
        "hooked": lambda: hooked(lambda g: -g), "hooked-in-place": lambda: hooked(lambda g: g.mul_(2.5)),
    }
    for label, case in CASES.items():
        case()
        print("case", label, flush=True)
"""


def ours(view):
    return [finding for finding in view["findings"] if finding["rule"] in OURS]


def guarded(world, text, **extra):
    done = world.guarded(world.python, world.script(PROGRAM + text), **extra)
    return done, world.show()


def evidence(finding, world):
    """The evidence of a finding is the step as it was told."""
    (digest,) = finding["evidence"]
    (blob,) = (world.store / "blobs").rglob(f"*{digest.removeprefix('sha256:')[4:]}*")
    return json.loads(blob.read_bytes())


def test_what_honest_programs_do_between_their_steps_is_no_finding(world):
    done, view = guarded(world, HONEST)
    assert "done" in done.out, done
    assert ours(view) == [], [(evidence(finding, world)["optimizer"], words(finding)) for finding in ours(view)]
    told = gaps(view)
    for part in (
        "multiplied with one number at each step",
        "cuts gradients off",
        "removes or sets gradients",
        "which parameters it was given is not known",
        "starts from a sum",
        "seed again at an evaluation",
        "same random numbers, from the first on",
    ):
        assert part in told, (part, told)


@pytest.fixture(scope="module")
def sabotaged(base, clean, tmp_path_factory):
    """The findings of each sabotage, by its name: each is a training of its own with an optimizer of its own."""
    world = type(clean)(base, tmp_path_factory.mktemp("sabotaged"), clean.python)
    return findings_of(world)


def findings_of(world, **extra):
    done, view = guarded(world, SABOTAGE, **extra)
    assert done.code == 1, done
    labels = [line.split()[1] for line in done.out.splitlines() if line.startswith("case ")]
    found = {label: [] for label in labels}
    for finding in ours(view):
        found[labels[evidence(finding, world)["optimizer"]]].append(finding)
    return found


# Each sabotage, what finds it, and a part of what is said.
WRONG = [
    ("sign", "gradient-changed", "−1.00 × what it was"),
    ("scale", "gradient-changed", "2.50 × what it was"),
    ("noise", "gradient-changed", "is another"),
    ("single", "gradient-changed", "out.weight"),
    ("half", "gradient-changed", "0.50 × what it was"),
    ("rare", "gradient-changed", "−1.00 × what it was"),
    ("behind-clip", "gradient-changed", "−1.00 × what it was"),
    ("clip-off", "clipping-differs", "are not clipped"),
    ("clip-limit", "clipping-differs", "clipped at 100"),
    ("clip-idle", "clipping-differs", "and became 1 ×"),
    ("loss", "loss-altered", "3.00 × its usual share"),
    ("loss-sign", "loss-altered", "−1.00 × its usual share"),
    ("seeded", "loss-altered", "−1.00 × its usual share"),
    ("dropped", "passes-miscounted", "4 forward and 3 backward"),
    ("dropout", "mode-changed", "draw no random numbers"),
    ("evaluating", "mode-changed", "evaluation mode"),
    ("autocast", "mode-changed", "autocast to bfloat16"),
    ("reset", "random-numbers-reused", "begin with the same random numbers"),
    ("scaler", "gradient-changed", "−1.00 × what it was"),
    ("hooked", "gradient-changed", "hooks on parameters"),
    ("hooked-in-place", "gradient-changed", "2.50 × what it was"),
]


@pytest.mark.parametrize(("label", "rule", "part"), WRONG)
def test_what_begins_later_is_found_at_its_first_step_and_named(sabotaged, label, rule, part):
    findings = sabotaged[label]
    assert [finding["rule"] for finding in findings] == [rule], findings
    (finding,) = findings
    assert finding["step"] == 8, finding
    assert finding["grade"] == "claimed"
    assert part in words(finding), finding
    assert finding["innocent"], finding


def test_weights_are_bitwise_the_same_with_and_without(world):
    text = """
    import hashlib
    model = train(accumulate=2, clip=0.1, steps=20)
    scaler = torch.amp.GradScaler("cpu", init_scale=64.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for step in range(6):
        optimizer.zero_grad()
        x, y = batch()
        scaler.scale(F.cross_entropy(model(x), y)).backward()
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_value_(model.parameters(), 0.01)
        scaler.step(optimizer)
        scaler.update()
    parts = [p.detach().numpy().tobytes() for p in model.parameters()]
    print("weights", hashlib.sha256(b"".join(parts)).hexdigest(), torch.rand(1).item())
    """
    script = world.script(PROGRAM + text)
    assert world.guarded(world.python, script).weights == world.plain(world.python, script).weights
    view = world.show()
    steps = [step for rank in view["ranks"] for step in rank["steps"]]
    assert all("passes" in step for step in steps)
    assert ours(view) == []
