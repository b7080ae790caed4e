"""What loaders read, when worker processes do the reading."""

from conftest import gaps, words

OURS = ("sample-changed", "batch-order-differs", "batch-repeated")

PROGRAM = """
    import sys, torch
    from torch.utils.data import DataLoader, Dataset

    torch.manual_seed(3)
    torch.set_num_threads(1)

    class Table(Dataset):
        def __init__(self, noise):
            self.inputs, self.labels, self.noise = torch.randn(96, 6), torch.arange(96) % 4, noise

        def __len__(self):
            return len(self.inputs)

        def __getitem__(self, index):
            x = self.inputs[index]
            return x + torch.randn(6) if self.noise else x, self.labels[index]

    def train(table, workers, at_pass=lambda number: None, passes=5, **options):
        model = torch.nn.Linear(6, 4)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        loader = DataLoader(table, batch_size=8, shuffle=True, num_workers=workers, **options)
        for number in range(1, passes + 1):
            at_pass(number)
            for x, y in loader:
                optimizer.zero_grad()
                torch.nn.functional.cross_entropy(model(x), y).backward()
                optimizer.step()

"""

HONEST = """
    train(Table(False), 2)
    train(Table(True), 2)
    train(Table(False), 2, persistent_workers=True)
    train(Table(False), 1, in_order=False)
"""

WRONG = """
    table = Table(False)

    def shift(number):
        if number == 4:
            table.labels = (table.labels + (torch.arange(96) % 5 == 0)) % 4

    train(table, 2, shift)
"""


def run(world, text):
    done = world.guarded(world.python, world.script(PROGRAM + text))
    assert "Traceback" not in done.err, done
    view = world.show()
    return view, [finding for finding in view["findings"] if finding["rule"] in OURS]


def test_samples_that_workers_read_are_looked_at(world):
    view, found = run(world, HONEST)
    assert found == [], found
    told = gaps(view)
    assert "they come as they are ready" in told, told
    (rank,) = view["ranks"]
    rows = [reading for step in rank["steps"] for reading in step.get("readings", ())]
    assert sum("rows" in reading for reading in rows) >= 3 * 5 * 12, len(rows)


def test_a_label_that_changes_under_workers_is_found(world):
    _, found = run(world, WRONG)
    (finding,) = found
    assert finding["rule"] == "sample-changed" and 37 <= finding["step"] <= 48, finding
    assert "1" in words(finding)
