"""Steps recomputed outside the job: a clean training has no finding whatever its optimizer, a wrong step is found at once.

Few runs with much in each: a start under guard costs seconds.
"""

import json

import pytest
from conftest import gaps, rules, words

OURS = ("update-differs", "weights-changed-between-steps")

PROGRAM = """
    import itertools, sys, threading, torch

    torch.manual_seed(0)
    torch.set_num_threads(1)
    F = torch.nn.functional

    def mlp(width=24, dtype=torch.float32):
        layers = [torch.nn.Linear(12, width), torch.nn.Tanh(), torch.nn.Linear(width, width), torch.nn.Tanh(), torch.nn.Linear(width, 5)]
        return torch.nn.Sequential(*layers).to(dtype)

    def batch(model):
        dtype = next(model.parameters()).dtype
        return torch.randn(8, 12).to(dtype), torch.randn(8, 5).to(dtype)

    def train(model, optimizer, steps, before=lambda step: None, after=lambda step: None):
        for step in range(1, steps + 1):
            optimizer.zero_grad()
            x, y = batch(model)
            F.mse_loss(model(x), y).backward()
            before(step)
            optimizer.step()
            after(step)

"""

# Every class, implementation, type and switch that is rechecked, against torch itself.
MANY = """
    def grid():
        common = [dict(), dict(weight_decay=0.1), dict(maximize=True), dict(weight_decay=0.01, maximize=True)]
        for more in common:
            for way in (dict(foreach=False), dict(foreach=True), dict(fused=True)):
                for momentum in (dict(), dict(momentum=0.9), dict(momentum=0.9, dampening=0.2), dict(momentum=0.8, nesterov=True)):
                    yield torch.optim.SGD, dict(lr=0.05, **more, **way, **momentum)
                for kind in (torch.optim.Adam, torch.optim.AdamW):
                    for odd in (dict(), dict(amsgrad=True), dict(betas=(0.0, 0.9), eps=1e-3), dict(betas=(0.3, 0.5))):
                        yield kind, dict(lr=0.01, **more, **way, **odd)
                yield torch.optim.Adagrad, dict(lr=0.05, lr_decay=0.01, **more, **way)
            for way in (dict(foreach=False), dict(foreach=True)):
                for odd in (dict(), dict(momentum=0.7), dict(centered=True), dict(centered=True, momentum=0.5, alpha=0.4)):
                    yield torch.optim.RMSprop, dict(lr=0.01, **more, **way, **odd)
                yield torch.optim.Adamax, dict(lr=0.02, **more, **way)
        yield torch.optim.Adagrad, dict(lr=0.05, initial_accumulator_value=0.3)
        yield torch.optim.SGD, dict(lr=torch.tensor(0.03), momentum=0.9, foreach=False)
        yield torch.optim.AdamW, dict(lr=torch.tensor(0.003), foreach=False)

    steps = 0
    for number, (kind, options) in enumerate(grid()):
        dtype = (torch.float32, torch.float64, torch.bfloat16, torch.float32, torch.float16)[number % 5]
        model = mlp(dtype=dtype)
        optimizer = kind(model.parameters(), **options)
        train(model, optimizer, 5)
        steps += 5
    print("steps", steps)
"""

# What a training may do without being wrong.
HONEST = """
    # Accumulation, clipping, a schedule, a frozen layer, one that is thawed later, a group that is added.
    model = mlp()
    model[0].requires_grad_(False)
    optimizer = torch.optim.AdamW([*model[0].parameters(), *model[2].parameters()], lr=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 40)
    for step in range(20):
        optimizer.zero_grad()
        for _ in range(2):
            x, y = batch(model)
            (F.mse_loss(model(x), y) / 2).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        optimizer.step()
        schedule.step()
        if step == 8:
            model[0].requires_grad_(True)
        if step == 12:
            optimizer.add_param_group({"params": list(model[4].parameters()), "lr": 0.1})

    # A closure, as some trainers pass it; one of LBFGS.
    model = mlp()
    for optimizer in (torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), torch.optim.LBFGS(model.parameters(), max_iter=3)):
        def closure():
            optimizer.zero_grad()
            x, y = batch(model)
            loss = F.mse_loss(model(x), y)
            loss.backward()
            return loss
        for _ in range(5):
            optimizer.step(closure)

    # Two optimizers in turn, then two with the same parameters; a state that is loaded; a state that goes to zero with its program.
    one, two = mlp(), mlp()
    first, second = torch.optim.AdamW(one.parameters(), lr=0.01), torch.optim.SGD(two.parameters(), lr=0.1)
    for _ in range(6):
        train(one, first, 1)
        train(two, second, 2)
    third = torch.optim.SGD(one.parameters(), lr=0.001)
    for _ in range(6):
        train(one, first, 1)
        train(one, third, 1)
    saved = {name: value.clone() for name, value in two.state_dict().items()}
    state = second.state_dict()
    for _ in range(4):
        train(two, second, 2)
        two.load_state_dict(saved)
        second.load_state_dict(state)

    # Scaled gradients whose steps are left out, bf16 autocast, embeddings, sparse, shared and tied weights, NaN.
    model = mlp()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    scaler = torch.amp.GradScaler("cpu", init_scale=64.0, growth_interval=2)
    for step in range(8):
        optimizer.zero_grad()
        x, y = batch(model)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = F.mse_loss(model(x).float(), y)
        scaler.scale(loss if step != 3 else loss * float("inf")).backward()
        scaler.unscale_(optimizer)
        scaler.step(optimizer)
        scaler.update()
    for optimizer in (torch.optim.SGD(model.parameters(), lr=0.01, fused=True),):
        scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
        for step in range(4):
            optimizer.zero_grad()
            x, y = batch(model)
            scaler.scale(F.mse_loss(model(x), y)).backward()
            scaler.step(optimizer)
            scaler.update()

    class Words(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.sparse = torch.nn.Embedding(50, 12, sparse=True)
            self.bound = torch.nn.Embedding(50, 12, max_norm=0.5)
            self.out = torch.nn.Linear(12, 50)
            self.view = torch.nn.Parameter(self.out.weight.data[:5])
            self.tied = torch.nn.Embedding(50, 12)
            self.tied.weight = self.out.weight
            self.empty = torch.nn.Parameter(torch.empty(0))
            self.conv = torch.nn.Parameter(torch.randn(4, 3, 5, 5).to(memory_format=torch.channels_last))
        def forward(self, x):
            hidden = self.sparse(x) + self.bound(x) + self.tied(x) + self.view.sum() * self.conv.sum() * 1e-3
            return self.out(hidden)

    model = Words()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(12):
        optimizer.zero_grad()
        x = torch.randint(0, 50, (16,))
        F.cross_entropy(model(x), x).backward()
        optimizer.step()
    model = mlp()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    train(model, optimizer, 6, before=lambda step: model[0].weight.grad.fill_(float("nan")) if step == 4 else None)

    # Weights that a program clips, its own optimizer, hooks of its own, other threads that read.
    model = mlp()
    train(model, torch.optim.RMSprop(model.parameters(), lr=0.01), 6, after=lambda step: [p.data.clamp_(-0.05, 0.05) for p in model.parameters()])

    class Mine(torch.optim.SGD):
        def step(self, closure=None):
            with torch.no_grad():
                for group in self.param_groups:
                    for p in group["params"]:
                        p.add_(p.grad.sign(), alpha=-group["lr"])

    train(model, Mine(model.parameters(), lr=0.01), 3)
    hooked = torch.optim.SGD(model.parameters(), lr=0.01)

    def halve(optimizer, args, kwargs):
        for p in model.parameters():
            p.grad.mul_(0.5)

    hooked.register_step_pre_hook(halve)
    train(model, hooked, 3)
    meta = torch.nn.Linear(3, 3, device="meta")
    meta.weight.grad = torch.empty(3, 3, device="meta")
    torch.optim.SGD(meta.parameters(), lr=0.1).step()
"""

SABOTAGE = """
    import torch.optim.adam as adam, torch.optim.sgd as sgd, torch.optim.adamw

    START = 6
    count = 0

    def sabotaged(module, name, change):
        original = getattr(module, name)
        def replaced(params, grads, *rest, **options):
            if steps_done + 1 >= START:
                return change(original, params, grads, rest, options)
            return original(params, grads, *rest, **options)
        setattr(module, name, replaced)
        return lambda: setattr(module, name, original)

    steps_done = 0

    def run(label, kind, module, name, change=None, between=None, **options):
        global steps_done
        steps_done = 0
        model = mlp()
        optimizer = kind(model.parameters(), **options)
        undo = sabotaged(module, name, change) if change else (lambda: None)
        for step in range(1, 10):
            optimizer.zero_grad()
            x, y = batch(model)
            F.mse_loss(model(x), y).backward()
            optimizer.step()
            steps_done = step
            if between and step >= START - 1:
                thread = threading.Thread(target=between, args=(model, optimizer))
                thread.start()
                thread.join()
        undo()

    def rate(original, params, grads, rest, options):
        return original(params, grads, *rest, **{**options, "lr": options["lr"] * 1.5})

    def undecayed(original, params, grads, rest, options):
        return original(params, grads, *rest, **{**options, "weight_decay": 0.0})

    def coefficient(original, params, grads, rest, options):
        return original(params, grads, *rest, **{**options, "beta1": 0.5})

    def second(original, params, grads, rest, options):
        return original(params, grads, *rest, **{**options, "beta2": 0.9})

    def forgotten(original, params, grads, rest, options):
        for average in rest[0]:
            average.zero_()
        return original(params, grads, *rest, **options)

    def skipped(original, params, grads, rest, options):
        return None

    def flipped(original, params, grads, rest, options):
        return original(params, [-grad for grad in grads], *rest, **options)

    def half(original, params, grads, rest, options):
        return original(params, [-grad if grad.dim() == 2 else grad for grad in grads], *rest, **options)

    def noisy(original, params, grads, rest, options):
        original(params, grads, *rest, **options)
        for param in params:
            param.add_(torch.randn_like(param) * 1e-4)

    def overwritten(original, params, grads, rest, options):
        for grad in grads:
            grad.mul_(-1)
        return original(params, grads, *rest, **options)

    def touched(model, optimizer):
        model[2].weight.detach().numpy()[:] += 0.01

    def emptied(model, optimizer):
        for state in optimizer.state.values():
            state["exp_avg"].zero_()

    W, S = torch.optim.AdamW, torch.optim.SGD
    single = dict(lr=0.01, weight_decay=0.1)
    CASES = [
        ("rate", W, adam, "_single_tensor_adam", rate, None, single),
        ("undecayed", W, adam, "_single_tensor_adam", undecayed, None, single),
        ("coefficient", W, adam, "_multi_tensor_adam", coefficient, None, dict(single, foreach=True)),
        ("second", W, adam, "_single_tensor_adam", second, None, single),
        ("forgotten", W, adam, "_single_tensor_adam", forgotten, None, single),
        ("skipped", W, adam, "_fused_adam", skipped, None, dict(single, fused=True)),
        ("flipped", W, adam, "_single_tensor_adam", flipped, None, single),
        ("half", W, adam, "_single_tensor_adam", half, None, single),
        ("noisy", W, adam, "_single_tensor_adam", noisy, None, single),
        ("overwritten", W, adam, "_single_tensor_adam", overwritten, None, single),
        ("touched", W, None, None, None, touched, single),
        ("emptied", W, None, None, None, emptied, single),
        ("sgd-flipped", S, sgd, "_single_tensor_sgd", flipped, None, dict(lr=0.1)),
        ("sgd-rate", S, sgd, "_single_tensor_sgd", rate, None, dict(lr=0.1, momentum=0.9)),
        ("sgd-skipped", S, sgd, "_single_tensor_sgd", skipped, None, dict(lr=0.1, momentum=0.9)),
    ]
    for label, kind, module, name, change, between, options in CASES:
        run(label, kind, module, name, change, between, **options)
        print("case", label, flush=True)
"""


def ours(view):
    return [finding for finding in view["findings"] if finding["rule"] in OURS]


def rechecked(view):
    """Steps that carry a sample."""
    return [step for rank in view["ranks"] for step in rank["steps"] if step.get("sample")]


def guarded(world, text, **extra):
    done = world.guarded(world.python, world.script(PROGRAM + text), **extra)
    return done, world.show()


def test_the_example_is_rechecked_at_every_step_with_names_and_nothing_is_found(clean):
    steps = rechecked(clean.view)
    assert len(steps) == clean.view["steps"] == 6
    assert steps[0]["sample"]["optimizer"]["class"] == "AdamW"
    assert all(step["sample"].get("joined") for step in steps[1:])
    names = [tensor["name"] for step in steps for tensor in step["sample"].get("tensors", [])]
    assert any("weight" in name for name in names), names
    assert ours(clean.view) == []


def test_no_optimizer_of_torch_is_accused_in_any_implementation_or_type(world):
    done, view = guarded(world, MANY)
    assert done.code == 0, done
    assert ours(view) == []
    told = int(done.out.split("steps ")[1].split()[0])
    assert view["steps"] == told
    assert len(rechecked(view)) > 0.9 * told
    assert "cannot be read" not in gaps(view), gaps(view)


def test_what_an_honest_program_does_is_no_finding_and_what_is_not_covered_is_said(world):
    done, view = guarded(world, HONEST)
    assert done.code == 0, done
    assert ours(view) == [], ours(view)
    told = gaps(view)
    for part in (
        "LBFGS",
        "__main__.Mine",
        "sparse",
        "share memory",
        "max_norm",
        "several optimizers",
        "hooks of the optimizer",
        "a state was loaded there",
        "clipped to plus and minus",
        "unscale",
        "NaN",
        "meta",
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
        found[labels[optimizer_of(finding, world)]].append(finding)
    return found


def optimizer_of(finding, world):
    """The evidence of a finding is the step as it was told."""
    (digest,) = finding["evidence"]
    (blob,) = (world.store / "blobs").rglob(f"*{digest.removeprefix('sha256:')[4:]}*")
    return json.loads(blob.read_bytes())["optimizer"]


# Each sabotage, what finds it, and a part of what is said.
WRONG = [
    ("rate", OURS[0], "1.50 × the expected one"),
    ("undecayed", OURS[0], "without weight decay"),
    ("coefficient", OURS[0], "beta1=0.5, told was 0.9"),
    ("second", OURS[0], "beta2=0.9, told was 0.999"),
    ("forgotten", OURS[0], "forgot its momentum"),
    ("skipped", OURS[0], "nothing changed"),
    ("flipped", OURS[0], "−1.00 × the gradient"),
    ("half", OURS[0], "−1.00 × the gradient"),
    ("noisy", OURS[0], "is not the update"),
    ("overwritten", OURS[0], "changed inside the step"),
    ("touched", OURS[1], "2.weight["),
    ("emptied", OURS[1], "exp_avg"),
    ("sgd-flipped", OURS[0], "−1.00 ×"),
    ("sgd-rate", OURS[0], "1.50 × the expected one"),
    ("sgd-skipped", OURS[0], "nothing changed"),
]


@pytest.mark.parametrize(("label", "rule", "part"), WRONG)
def test_a_wrong_step_is_found_at_its_first_and_named(sabotaged, label, rule, part):
    findings = sabotaged[label]
    assert [finding["rule"] for finding in findings] == [rule], findings
    (finding,) = findings
    assert finding["step"] == 6, finding
    assert finding["grade"] == "claimed"
    assert part in words(finding), finding
    assert finding["innocent"], finding


def test_weights_are_bitwise_the_same_with_and_without_the_recheck(world):
    text = """
    import hashlib, random
    model = mlp()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    train(model, optimizer, 20)
    parts = [p.detach().numpy().tobytes() for p in model.parameters()]
    print("weights", hashlib.sha256(b"".join(parts)).hexdigest(), torch.rand(1).item(), random.random() * 0)
    """
    script = world.script(PROGRAM + text)
    assert world.guarded(world.python, script).weights == world.plain(world.python, script).weights
    assert rechecked(world.show())
    settings = world.folder / "settings.toml"
    settings.write_text("[record]\nrecheck_positions = 0\n")
    assert world.guarded(world.python, script, TAINTLINE_CONFIG=str(settings)).code == 0
    view = world.show()
    assert (rechecked(view), rules(view)) == ([], [])
    assert "the settings turn it off" in gaps(view)


# Optimizers of torch that have no rule here, and Muon, which has one for its state.
WITHOUT_RULE = """
    def without(kind, label, tampered=None, flat=False, **options):
        model = torch.nn.Sequential(*(layer for _ in range(4) for layer in (torch.nn.Linear(24, 24), torch.nn.Tanh())))
        parameters = [p for p in model.parameters() if flat or p.ndim == 2]
        optimizer = kind(parameters, lr=0.01, **options)
        target = torch.randn(24, 24)
        raw, now = kind.step.__wrapped__, [0]

        class Sub(kind):
            def step(self, closure=None):
                before = [p.detach().clone() for p in parameters]
                raw(self)
                with torch.no_grad():
                    for p, old in zip(parameters, before):
                        if tampered is not None and now[0] >= 90:
                            p.copy_(old + tampered * (p - old))

        if tampered is not None:
            optimizer = Sub(parameters, lr=0.01, **options)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 130)
        for step in range(1, 131):
            now[0] = step
            optimizer.zero_grad()
            x = torch.randn(8, 24)
            F.mse_loss(model(x), torch.tanh(x @ target)).backward()
            optimizer.step()
            schedule.step()
        print("case", label, flush=True)

    kinds = ((torch.optim.Muon, False), (torch.optim.Adafactor, True), (torch.optim.NAdam, True), (torch.optim.RAdam, True))
"""
CLEAN_WITHOUT_RULE = """
    for kind, flat in kinds:
        without(kind, kind.__name__, flat=flat)
    without(torch.optim.Muon, "adjusted", adjust_lr_fn="match_rms_adamw", nesterov=False, weight_decay=0.0)
    without(torch.optim.ASGD, "ASGD", flat=True)
    without(torch.optim.Rprop, "Rprop", flat=True)
"""
WRONG_WITHOUT_RULE = """
    for kind, flat in kinds:
        for times in (2.0, -1.0, 0.0):
            without(kind, f"{kind.__name__}{times}", tampered=times, flat=flat)

    # The momentum of Muon, by its rule: the gradient is another one inside the step.
    import torch.optim._muon as home
    inner = home.muon
    def reversed_(params, grads, *args, **kwargs):
        inner(params, [-grad for grad in grads] if count[0] > 20 else grads, *args, **kwargs)
        count[0] += 1
    count = [0]
    home.muon = reversed_
    without(torch.optim.Muon, "muon-reversed")
"""


def test_an_optimizer_without_a_rule_is_not_accused(world):
    done, view = guarded(world, WITHOUT_RULE + CLEAN_WITHOUT_RULE)
    assert done.code == 0, done
    assert ours(view) == [], [finding["what"] for finding in ours(view)]
    assert "only how far and which way its steps go" in gaps(view)


def test_an_optimizer_without_a_rule_is_held_to_what_it_did(world):
    done, view = guarded(world, WITHOUT_RULE + WRONG_WITHOUT_RULE)
    labels = [line.split()[1] for line in done.out.splitlines() if line.startswith("case ")]
    found = {label: [] for label in labels}
    for finding in ours(view):
        found[labels[optimizer_of(finding, world)]].append(finding)
    for label, findings in found.items():
        (finding,) = findings
        assert finding["rule"] == OURS[0], finding
        if label == "muon-reversed":
            assert finding["step"] == 22 and "−1.00 × the gradient" in finding["what"], finding
        else:
            part = {"2.0": "×", "1.0": "the other way", "0.0": "do not move"}[label[-3:]]
            assert part in finding["what"] and 90 <= finding["step"] <= 104, (label, finding)


# Optimizers that programs carry along, and one whose rule nobody knows.
CARRIED = """
    class Carried(torch.optim.Optimizer):
        \"\"\"AdamW as many write it: epsilon before the correction.\"\"\"

        twist = 1.0

        def __init__(self, parameters, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01):
            super().__init__(parameters, dict(lr=lr, betas=betas, eps=eps, weight_decay=weight_decay))

        @torch.no_grad()
        def step(self, closure=None):
            for group in self.param_groups:
                beta1, beta2 = group["betas"]
                for p in group["params"]:
                    state = self.state[p]
                    if not state:
                        state.update(step=0, exp_avg=torch.zeros_like(p), exp_avg_sq=torch.zeros_like(p))
                    state["step"] += 1
                    m, v, t = state["exp_avg"], state["exp_avg_sq"], state["step"]
                    p.mul_(1 - group["lr"] * group["weight_decay"])
                    m.mul_(beta1).add_(p.grad, alpha=1 - beta1)
                    v.mul_(beta2).addcmul_(p.grad, p.grad, value=1 - beta2)
                    size = group["lr"] * (1 - beta2**t) ** 0.5 / (1 - beta1**t)
                    p.addcdiv_(m, v.sqrt().add_(group["eps"]), value=-size * self.twist)

    class Lion(torch.optim.Optimizer):
        twist = 1.0

        def __init__(self, parameters, lr=1e-3, betas=(0.9, 0.99), weight_decay=0.1):
            super().__init__(parameters, dict(lr=lr, betas=betas, weight_decay=weight_decay))

        @torch.no_grad()
        def step(self, closure=None):
            for group in self.param_groups:
                beta1, beta2 = group["betas"]
                for p in group["params"]:
                    state = self.state[p]
                    if not state:
                        state["exp_avg"] = torch.zeros_like(p)
                    m = state["exp_avg"]
                    p.mul_(1 - group["lr"] * group["weight_decay"])
                    p.add_(m.clone().mul_(beta1).add(p.grad, alpha=1 - beta1).sign_(), alpha=-group["lr"] * self.twist)
                    m.mul_(beta2).add_(p.grad, alpha=1 - beta2)

    class Subclass(torch.optim.SGD):
        pass

    class Strange(torch.optim.Optimizer):
        def __init__(self, parameters, lr=1e-3, betas=(0.9, 0.99), eps=1e-8):
            super().__init__(parameters, dict(lr=lr, betas=betas, eps=eps))

        @torch.no_grad()
        def step(self, closure=None):
            for group in self.param_groups:
                for p in group["params"]:
                    state = self.state[p]
                    if not state:
                        state.update(step=0, exp_avg=torch.zeros_like(p), exp_avg_sq=torch.zeros_like(p))
                    state["step"] += 1
                    p.add_(torch.tanh(p.grad), alpha=-group["lr"])

    twist = 1.0 if len(sys.argv) < 2 else float(sys.argv[1])
    for kind in (Carried, Lion, Subclass, Strange):
        model = mlp()
        optimizer = kind(model.parameters(), lr=0.01)

        def before(step):
            # One step of another size, or weights moved by hand, long after its rule was learnt.
            if step == 60:
                optimizer.twist = twist
                if kind is Subclass:
                    with torch.no_grad():
                        model[0].weight.add_(0.01 * (twist - 1.0))

        def after(step):
            optimizer.twist = 1.0

        train(model, optimizer, 80, before, after)
"""


def test_the_rule_of_a_carried_optimizer_is_learnt(world):
    done = world.guarded(world.python, world.script(PROGRAM + CARRIED))
    view = world.show()
    assert done.code == 0 and not [it for it in view["findings"] if it["rule"] in OURS], view["findings"]
    told = gaps(view)
    assert "Strange" in told and "follows no rule that is known" in told, told
    assert "which rule it follows is learnt" in told, told


def test_a_carried_optimizer_is_held_to_its_rule(world):
    world.guarded(world.python, world.script(PROGRAM + CARRIED), "1.5")
    found = [it for it in world.show()["findings"] if it["rule"] in OURS]
    told = {(it["step"], name) for it in found for name in ("Carried", "Lion", "Subclass", "Strange") if name in words(it)}
    assert {(60, "Carried"), (60, "Lion"), (60, "Subclass")} <= told, found
    assert not any(name == "Strange" for _, name in told), found
    carried = next(it for it in found if "Carried" in words(it))
    assert "× the expected change" in carried["what"] and "its rule was learnt" in words(carried), carried
