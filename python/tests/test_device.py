"""Steps whose numbers lie on an accelerator, with the processor in its place: they are told late, whole and in order."""

TRAINING = """
    import sys, torch
    torch.manual_seed(3)
    model = torch.nn.Sequential(torch.nn.Linear(40, 70), torch.nn.Dropout(0.1), torch.nn.Linear(70, 3))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    for step in range(8):
        model(torch.randn(5, 40)).square().mean().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step(); optimizer.zero_grad()
        if step == 4:
            torch.save(model.state_dict(), "model.pt")
    print(sum(parameter.sum().item() for parameter in model.parameters()))
"""


def test_a_held_step_is_told_before_what_came_behind_it(world):
    without = world.run(TRAINING, watched=False)
    job = world.run(TRAINING, TAINTLINE_DEVICE="cpu+steps")
    assert (job.code, job.out) == (0, without.out)
    told = [(message["type"], message.get("step")) for message in job.said[0] if message["type"] in ("step", "saved", "bye")]
    steps = [("step", number) for number in range(1, 9)]
    assert told == [*steps[:5], ("saved", 5), *steps[5:], ("bye", None)]


def test_prints_tell_weights_apart_in_every_bit(world):
    text = """
    import sys, torch
    sys.path.insert(0, SENSOR)
    from taintline import _device, _spans

    spans = _spans.Spans(torch)
    device = _device.Device(None, torch, spans, None)

    def printed(tensor):
        sums = device.sums([tensor])
        (place,) = device.places.values()
        frames = place.seal()
        for frame in frames:
            assert not frame.arrived() and frame.arrived()
        return _device._bytes(sums)

    for kind, count in ((torch.float32, 5), (torch.float32, 100_003), (torch.bfloat16, 70_001), (torch.float64, 4_099), (torch.uint8, 9_001)):
        tensor = (torch.rand(count) * 100).to(kind)
        first = printed(tensor)
        assert printed(tensor.clone()) == first
        for place in torch.randint(0, count, (20,)).tolist() + [0, count - 1]:
            other = tensor.clone()
            other.view(torch.uint8)[place * kind.itemsize] ^= 1
            assert printed(other) != first, (kind, place)
        if kind.is_floating_point:
            assert printed(-tensor) != first
        other = tensor.clone()
        one, two = 1, count - 2
        other[one], other[two] = tensor[two].item(), tensor[one].item() + 1
        assert printed(other) != first
        other[one], other[two] = tensor[two].item(), tensor[one].item()
        assert (printed(other) == first) == bool(tensor[one] == tensor[two]), kind
    matrix = torch.rand(300, 500)
    assert printed(matrix.t()) == printed(matrix)
    print("fine")
    """
    job = world.run(text.replace("SENSOR", repr(str(world.sensor))), watched=False, TAINTLINE_DEVICE="cpu")
    assert (job.code, job.out) == (0, "fine\n"), job.err


def test_numbers_that_a_counting_generator_draws_are_told(world):
    text = TRAINING.replace(
        "    for step in range(8):",
        """
    # An accelerator's generator: a seed and a place, which a forward pass moves on by 12.
    device = sys.modules["taintline._sensor"]._sensor.device
    state = torch.zeros(16, dtype=torch.uint8)
    device.generators = lambda: [state.clone()]
    def forward(x, inner=model.forward):
        state[8] += 12
        return inner(x)
    model.forward = forward
    for step in range(8):""",
    )
    job = world.run(text, TAINTLINE_DEVICE="cpu")
    assert job.code == 0, job.err
    steps = job.of("step")
    drawn = [step["passes"]["drawn"] for step in steps if "drawn" in step["passes"]]
    # What dropout draws on the processor, and that.
    assert drawn and all(drawn[0] == one for one in drawn) and drawn[0][1] > 12
    plain = world.run(TRAINING, TAINTLINE_DEVICE="cpu").of("step")
    assert plain[-1]["passes"]["drawn"][1] == drawn[0][1] - 12
    assert len({step["rng"]["device"] for step in steps if "device" in step["rng"]}) > 5
