"""The way of an accelerator's numbers (gathered there, copied, told a step later), with the processor in its place: what is honest has no
finding, what is wrong is found at the same step as ever. No accelerator is at hand: that one keeps its promises is not seen here.
"""

import pytest
import test_passes
import test_recheck
from conftest import gaps

# The last has the counts of steps there too, as fused optimizers do.
WAYS = ("cpu", "cpu+steps")


def test_what_is_honest_has_no_finding(world):
    programs = ((test_recheck, test_recheck.MANY), (test_recheck, test_recheck.HONEST), (test_passes, test_passes.HONEST))
    for way, (module, text) in zip((*WAYS[::-1], WAYS[1]), programs, strict=True):
        done, view = module.guarded(world, text, TAINTLINE_DEVICE=way)
        assert done.code == 0 or module is test_passes and "done" in done.out, done
        assert module.ours(view) == [], module.ours(view)
        assert "steps on an accelerator" not in gaps(view), gaps(view)
        assert "updates on an accelerator" not in gaps(view), gaps(view)
        if text is test_recheck.MANY:
            told = int(done.out.split("steps ")[1].split()[0])
            assert view["steps"] == told
            assert len(test_recheck.rechecked(view)) > 0.9 * told


@pytest.mark.parametrize(("way", "module"), [(WAYS[0], test_recheck), (WAYS[1], test_passes)])
def test_what_is_wrong_is_found_at_the_same_step(base, clean, tmp_path, way, module):
    world = type(clean)(base, tmp_path, clean.python)
    found = module.findings_of(world, TAINTLINE_DEVICE=way)
    for label, rule, part in module.WRONG:
        findings = found[label]
        assert [finding["rule"] for finding in findings] == [rule], (label, findings)
        assert findings[0]["step"] == (6 if module is test_recheck else 8), (label, findings)
        assert part in module.words(findings[0]), (label, findings)


def test_results_are_the_same_bit_for_bit_and_every_step_is_told(world):
    text = """
    import hashlib, random
    model = mlp()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, fused=True)
    train(model, optimizer, 30)
    torch.save(model.state_dict(), "model.pt")
    parts = [p.detach().numpy().tobytes() for p in model.parameters()]
    print("weights", hashlib.sha256(b"".join(parts)).hexdigest(), torch.rand(1).item(), random.random() * 0)
    """
    script = world.script(test_recheck.PROGRAM + text)
    plain = world.plain(world.python, script).weights
    assert world.guarded(world.python, script).weights == plain
    here = world.show()
    for way in WAYS:
        assert world.guarded(world.python, script, TAINTLINE_DEVICE=way).weights == plain
        there = world.show()
        (one,), (other,) = here["ranks"], there["ranks"]
        assert len(other["steps"]) == len(one["steps"]) == 30
        for mine, its in zip(one["steps"], other["steps"], strict=True):
            assert (mine["step"], mine["losses"], mine["rng"]["torch"]) == (its["step"], its["losses"], its["rng"]["torch"])
            assert mine["source"] == its["source"] == "optimizer_state"
            if "gradient_norm" in mine and "gradient_norm" in its:
                assert its["gradient_norm"] == pytest.approx(mine["gradient_norm"], rel=1e-5)
            assert its["sample"]["values"]
        assert any("gradient_norm" in step for step in other["steps"])
        prints = [step["parameters"] for step in other["steps"] if "parameters" in step]
        assert len(prints) > 1 and len(set(prints)) == len(prints)
