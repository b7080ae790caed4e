from test_training import *
import test_start
def test_a(world):
    test_start.fake_torch(world)
    (world.folder / "mine.py").write_text("")
    job = world.run("import torch, mine")
    print(job.err, [f for m in job.of("modules") for f in m["files"] if "lib/python3" not in f], [g for g in job.of("gap")])
    assert 0
def test_b(world):
    job = world.run(TRAIN+"""
    model = Model()
    optimizer = torch.optim.AdamW(model.parameters())
    def step(net):
        loss = net(torch.randn(5, 8)).square().mean()
        loss.backward(); optimizer.step(); optimizer.zero_grad()
    for _ in range(3):
        step(model)
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    for _ in range(2):
        step(compiled)
    fresh = Model()
    optimizer = torch.optim.SGD(fresh.parameters(), lr=0.1)
    step(torch.compile(fresh, backend="eager", fullgraph=True))
    fresh.compile(backend="eager", fullgraph=True)
    step(fresh)
    """)
    print(job.err, [len(s["batches"]) for s in job.of("step")], job.of("gap"))
    assert 0
