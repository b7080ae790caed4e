"""Positions that the supervisor reads from outside: who knows where the sensor looks and undoes himself there is found all the same."""

from conftest import gaps, rules, words
from test_recheck import PROGRAM

# What an insider in the process can do: he asks the sensor where it looks. Everywhere else each change is half as large again.
ADAPTIVE = """
    def adaptive(kind, name, steps, **options):
        module = sys.modules["torch.optim." + name]
        model = mlp()
        optimizer = kind(model.parameters(), lr=0.01, **options)
        update, now = getattr(module, name), [0]

        def tampered(params, *args, **kwargs):
            before = [p.clone() for p in model.parameters()]
            update(params, *args, **kwargs)
            if now[0] < 20:
                return
            look = sys.modules["taintline._sensor"]._sensor.recheck.looks[optimizer]
            known = dict(zip(look.drawn, look.sampler.positions()))
            for number, (p, old) in enumerate(zip(model.parameters(), before)):
                new = p + 0.5 * (p - old)
                for at in known.get(number, ()):
                    new.view(-1)[at] = p.view(-1)[at]
                p.copy_(new)

        setattr(module, name, tampered)
        try:
            train(model, optimizer, steps, before=lambda step: (now.__setitem__(0, step), time.sleep(0.01)))
        finally:
            setattr(module, name, update)

    import time
    adaptive(torch.optim.SGD, "sgd", 44, momentum=0.9, nesterov=True)
    adaptive(torch.optim.RMSprop, "rmsprop", 44)
    adaptive(torch.optim.Adagrad, "adagrad", 44)
    adaptive(torch.optim.Adamax, "adamax", 44)
    adaptive(torch.optim.Adam, "adam", 44, amsgrad=True, weight_decay=0.1)
"""

# Weights that are others while the program evaluates, and as they were when it goes on.
HONEST = """
    import time
    for kind, options in ((torch.optim.AdamW, dict()), (torch.optim.SGD, dict(momentum=0.9)), (torch.optim.RMSprop, dict(centered=True, momentum=0.5))):
        model = mlp()
        average = [p.detach().clone() for p in model.parameters()]
        optimizer = kind(model.parameters(), lr=0.01, **options)

        def after(step):
            with torch.no_grad():
                for mean, p in zip(average, model.parameters()):
                    mean.lerp_(p, 0.3)
                own = [p.clone() for p in model.parameters()]
                for p, mean in zip(model.parameters(), average):
                    p.copy_(mean)
                model(batch(model)[0])
                if step % 2:
                    time.sleep(0.03)
                for p, value in zip(model.parameters(), own):
                    p.copy_(value)

        train(model, optimizer, 40, after=after)
        train(model, optimizer, 40, before=lambda step: time.sleep(0.005))
"""


def test_who_undoes_himself_where_the_sensor_looks_is_found_from_outside(world):
    world.guarded(world.python, world.script(PROGRAM + ADAPTIVE))
    view = world.show()
    found = [finding for finding in view["findings"] if finding["rule"] == "update-differs"]
    told = [words(finding) for finding in found]
    for kind in ("SGD(", "RMSprop(", "Adagrad(", "Adamax(", "Adam("):
        (one,) = [text for text in told if f": {kind}" in text]
        assert "seen from outside" in one and "1.50 to 1.50" in one, one
    # A look that comes late falls out.
    assert all(finding["step"] in range(20, 44) for finding in found), found


def test_weights_that_are_swapped_between_two_steps_are_no_finding(world):
    done = world.guarded(world.python, world.script(PROGRAM + HONEST))
    view = world.show()
    assert rules(view) == [], view["findings"]
    assert done.code == 0, done
    assert "its memory may not be read" not in gaps(view)
