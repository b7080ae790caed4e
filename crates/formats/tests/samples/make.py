"""Makes the HDF5 files beside it: one in the old form, one in the new. Needs h5py and numpy.

    python make.py
"""

from pathlib import Path

import h5py
import numpy as np

HERE = Path(__file__).parent
MODEL = '{"class_name": "Sequential", "config": {"name": "m", "layers": [{"class_name": "Gate", "config": {}}]}}'


def old() -> None:
    """Symbol tables, messages in the header, a text in the global heap, bytes in another file."""
    with h5py.File(HERE / "old.h5", "w") as file:
        file.attrs["keras_version"] = "3.0"
        file.attrs["model_config"] = MODEL
        group = file.create_group("weights")
        group["kernel"] = np.arange(6, dtype="f4").reshape(2, 3)
        group["elsewhere"] = h5py.ExternalLink("../other.h5", "/x")
        group["again"] = h5py.SoftLink("/weights/kernel")
        file.create_dataset("spread", (4,), "i4", external=[("part.bin", 0, 16)])


def dense() -> None:
    """A user block, and so many attributes and links that both lie in fractal heaps."""
    with h5py.File(HERE / "dense.h5", "w", libver="latest", userblock_size=512) as file:
        for index in range(12):
            file.attrs[f"note{index}"] = index
        file.attrs["model_config"] = '{"class_name": "Gate", "config": {}}'
        for index in range(40):
            file[f"link{index}"] = h5py.SoftLink(f"/target{index}")
        file["out"] = h5py.ExternalLink("https://host/x.h5", "/y")
        file["d"] = np.arange(5, dtype="f8")


old()
dense()
