"""Looking at memory: what a process is too short for is told, and nothing of the job is executed by it."""


def test_what_a_short_process_was_not_looked_at_for_is_told_with_counts(world):
    text = """
        import torch
        weight = torch.nn.Parameter(torch.zeros(3))
        optimizer = torch.optim.AdamW([weight])
        (weight * 2).sum().backward()
        optimizer.step()
    """
    job = world.run(text)
    assert job.code == 0, job.err
    (gap,) = [gap for gap in job.of("gap") if gap["what"].startswith("memory: ")]
    assert "modules were not looked at once more" in gap["why"] and "of them never" in gap["why"], gap


def test_an_object_that_would_run_code_when_it_is_asked_is_not_asked(world):
    text = """
        import sys, torch

        class Telling:
            def __getattribute__(self, name):
                print("asked for", name, file=sys.stderr)
                return object.__getattribute__(self, name)

            def __call__(self):
                pass

        telling = Telling()
        torch.optim.telling = telling
        weight = torch.nn.Parameter(torch.zeros(3))
        optimizer = torch.optim.AdamW([weight])
        for _ in range(40):
            (weight * 2).sum().backward()
            optimizer.step()
    """
    job = world.run(text)
    assert (job.code, job.err) == (0, ""), job.err
    facts = [fact for message in job.of("memory") for fact in message["facts"]]
    looked = {fact["module"] for fact in facts if fact["fact"] == "namespace"}
    assert {"__main__", "torch.optim"} <= looked, looked
