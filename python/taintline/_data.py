"""What the loaders of torch read: which samples in which order, and what stood in a few of them.

Of a pass over the data is told what its order follows from, with the generator's state before the sampler asks it; of a batch its
indices and fingerprints of a few rows. The same samples are looked at in each pass. Nothing is drawn, and nothing is judged here.
"""

import functools
import os
import sys
import weakref

# Batches between two steps that are told, bytes of a row that are read, samples of a batch that are looked at.
BATCHES_MAX, ROW_BYTES_MAX, ROWS = 64, 1 << 20, 8
# Subsets within each other, indices of a batch and columns of a row that are told.
DEPTH_MAX, INDICES_MAX, COLUMNS_MAX = 4, 4096, 16
# The seed whose permutation says how this torch permutes, and its length.
KNOWN_SEED, KNOWN_LENGTH = 1234, 16


class Pass:
    """One pass over a data set."""

    def __init__(self, number, sampler_iter, workers):
        self.number, self.sampler_iter, self.workers = number, sampler_iter, workers
        self.description, self.subsets, self.columns = None, (), None
        # Whether workers deliver batches in the order in which they were asked for them.
        self.ordered = False
        self.batches, self.share, self.mask = 0, 1, 0
        # Indices of batches that workers were asked for and have not delivered, by number.
        self.waiting = {}


class Data:
    """Called by the loaders."""

    def __init__(self, sensor, torch, recorder, spans):
        self.sensor, self.torch, self.recorder, self.spans = sensor, torch, recorder, spans
        data = sys.modules["torch.utils.data"]
        self.samplers = data.sampler
        self.distributed = sys.modules["torch.utils.data.distributed"].DistributedSampler
        self.subset = data.Subset
        self.worker = sys.modules["torch.utils.data._utils.worker"]
        self.kinds = sys.modules["torch.utils.data.dataloader"]._DatasetKind
        self.passes = weakref.WeakKeyDictionary()
        self.by_fetcher = weakref.WeakKeyDictionary()
        self.sets = {}
        self.count = self.told = 0
        # The replay, where this is one: batches of steps that are not computed are not told.
        self.standing = None
        # Which samples are looked at is nobody's business.
        self.key = int.from_bytes(os.urandom(8), "little") | 1
        generator = torch.Generator().manual_seed(KNOWN_SEED)
        self.known = torch.randperm(KNOWN_LENGTH, generator=generator).tolist()

    def __reduce__(self):
        return (type(None), ())

    def forked(self):
        """This is a child: its passes are its own."""
        self.passes = weakref.WeakKeyDictionary()
        self.by_fetcher = weakref.WeakKeyDictionary()
        self.count = self.told = 0

    def stepped(self):
        """A step was told."""
        self.told = 0

    # Hooks

    def asking(self, iterator):
        """A loader is about to ask its sampler: a new pass begins with the first time."""
        if self.worker._worker_info is not None or iterator._dataset_kind != self.kinds.Map:
            return
        known = self.passes.get(iterator)
        if known is None or known.sampler_iter is not iterator._sampler_iter:
            known = self.passes[iterator] = self._begin(iterator)
            fetcher = getattr(iterator, "_dataset_fetcher", None)
            if fetcher is not None:
                self.by_fetcher[fetcher] = known

    def asked(self, iterator, indices):
        """The sampler has answered; with workers, the batch comes later."""
        known = self.passes.get(iterator)
        if known is None or not known.workers:
            return
        if known.ordered:
            known.waiting[iterator._send_idx] = indices
        else:
            self._tell(known, indices, None)

    def delivered(self, iterator, batch):
        """Workers have read a batch, and it is given to the program."""
        known = self.passes.get(iterator)
        if known is None or not known.ordered:
            return
        indices = known.waiting.pop(iterator._rcvd_idx - 1, None)
        if indices is not None:
            self._tell(known, indices, batch)

    def fetched(self, fetcher, indices, batch):
        """A batch was read in this process."""
        known = self.by_fetcher.get(fetcher)
        if known is not None:
            self._tell(known, indices, batch)

    # A pass

    def _begin(self, iterator):
        known = Pass(self.count, iterator._sampler_iter, iterator._num_workers > 0)
        self.count += 1
        sampler, size = iterator._index_sampler, 1
        if type(sampler) is self.samplers.BatchSampler:
            size, sampler = sampler.batch_size, sampler.sampler
        elif iterator._auto_collation:
            # A batch sampler of the job's own.
            size = 0
        if iterator._num_yielded:
            # It was under way when this process began.
            size = 0
        known.subsets, base = self._bases(iterator._dataset)
        known.share = max(1, size // ROWS)
        order = self._order(sampler, size)
        known.description = (self._set(base), size, order, self.known, known.workers)
        known.ordered = known.workers and getattr(iterator, "_in_order", True) and hasattr(iterator, "_send_idx") and hasattr(iterator, "_rcvd_idx")
        if known.workers and not known.ordered:
            self.sensor.gap("samples that worker processes read", "they come as they are ready: their order is looked at, what they hold is not")
        return known

    def _order(self, sampler, size):
        """Kind, length, state, numbers and class, as the recorder takes them."""
        kind = type(sampler)
        if size == 0:
            return (3, 0, None, (0, 0, 0, 0), _name(kind))
        if kind is self.samplers.SequentialSampler:
            return (0, len(sampler.data_source), None, (0, 0, 0, 0), "")
        if kind is self.samplers.RandomSampler and not sampler.replacement:
            given = sampler.generator is not None
            generator = sampler.generator if given else self.torch.default_generator
            if generator.device.type == "cpu":
                state = generator.get_state()
                return (1, len(sampler.data_source), bytes(state.numpy()) if _has_numpy() else bytes(state.tolist()), (int(given), 0, 0, 0), "")
        if kind is self.distributed:
            numbers = (sampler.seed + sampler.epoch, int(sampler.shuffle) | int(sampler.drop_last) << 1, sampler.num_replicas, sampler.rank)
            return (2, len(sampler.dataset), None, numbers, "")
        return (3, 0, None, (0, 0, 0, 0), _name(kind))

    def _bases(self, dataset):
        """The data set behind torch's subsets, and their indices from the outermost on."""
        subsets = []
        while type(dataset) is self.subset and len(subsets) < DEPTH_MAX:
            subsets.append(dataset.indices)
            dataset = dataset.dataset
        return tuple(subsets), dataset

    def _set(self, dataset):
        """The number of a data set; another object, or one of another length, is another."""
        try:
            length = len(dataset)
        except Exception:
            length = None
        known = self.sets.get(id(dataset))
        if known is None or known[0]() is not dataset or known[1] != length:
            try:
                reference = weakref.ref(dataset)
            except TypeError:
                # A list: it is held here, so that its number stays its own.
                reference = functools.partial(_itself, dataset)
            known = self.sets[id(dataset)] = (reference, length, len(self.sets))
        return known[2]

    # A batch

    def _tell(self, known, indices, batch):
        number = known.batches
        known.batches += 1
        if self.standing is not None and self.standing.stands is not None:
            return
        if self.told >= BATCHES_MAX or self.sensor.ended:
            if self.told == BATCHES_MAX:
                self.sensor.gap("batches as they are read", f"more than {BATCHES_MAX} between two steps are not told")
                self.told += 1
            return
        indices = indices if isinstance(indices, list) else [indices]
        if len(indices) > INDICES_MAX or not all(type(index) is int for index in indices):
            self.sensor.gap("batches as they are read", f"their indices are no list of at most {INDICES_MAX} whole numbers")
            return
        self.told += 1
        bases = indices
        for subset in known.subsets:
            bases = [int(subset[index]) for index in bases]
        columns = None if batch is None else self._columns(batch, len(indices))
        names = None
        if columns:
            told = [(name, kind, size) for name, kind, _, _, size in columns]
            if told != known.columns:
                names = known.columns = told
        described, known.description = known.description, None
        places = [(address, stride, size) for _, _, address, stride, size in columns or ()]
        self.recorder.reading(known.number, described, number, indices, bases, names, places, (self.key, known.share))

    def _columns(self, batch, rows):
        """Name, type, address, distance and bytes of the rows of each tensor of the batch."""
        if isinstance(batch, self.spans.Tensor):
            items = [("", batch)]
        elif isinstance(batch, (list, tuple)):
            items = [(str(number), value) for number, value in enumerate(batch[:COLUMNS_MAX])]
        elif hasattr(batch, "items"):
            items = [(str(name)[:40], value) for name, value in list(batch.items())[:COLUMNS_MAX]]
        else:
            return None
        columns = []
        for name, value in items:
            if type(value) not in self.spans.plain or not value.is_cpu or value.layout is not self.spans.strided:
                continue
            if not value.dim() or value.shape[0] != rows or not value.is_contiguous() or not value.numel():
                continue
            size = value.nbytes // rows
            if size <= ROW_BYTES_MAX:
                columns.append((name, str(value.dtype).removeprefix("torch."), value.data_ptr(), size, size))
        return columns


def install(data):
    """Stands before and behind what a loader asks its sampler and its data set."""
    loader = sys.modules["torch.utils.data.dataloader"]._BaseDataLoaderIter
    fetcher = sys.modules["torch.utils.data._utils.fetch"]._MapDatasetFetcher
    ask, fetch = loader._next_index, fetcher.fetch
    sensor = data.sensor

    @functools.wraps(ask)
    def next_index(self):
        try:
            data.asking(self)
        except Exception as error:
            sensor.gap("passes over data", error)
        indices = ask(self)
        try:
            data.asked(self, indices)
        except Exception as error:
            sensor.gap("batches as they are read", error)
        return indices

    @functools.wraps(fetch)
    def fetched(self, possibly_batched_index):
        batch = fetch(self, possibly_batched_index)
        try:
            data.fetched(self, possibly_batched_index, batch)
        except Exception as error:
            sensor.gap("batches as they are read", error)
        return batch

    loader._next_index, fetcher.fetch = next_index, fetched
    _stand_behind_workers(data)


def _stand_behind_workers(data):
    workers = sys.modules["torch.utils.data.dataloader"]._MultiProcessingDataLoaderIter
    deliver, sensor = workers._next_data, data.sensor

    @functools.wraps(deliver)
    def next_data(self):
        batch = deliver(self)
        try:
            data.delivered(self, batch)
        except Exception as error:
            sensor.gap("batches as they are read", error)
        return batch

    workers._next_data = next_data


def _itself(value):
    return value


def _name(kind):
    return f"{kind.__module__}.{kind.__qualname__}"[:120]


def _has_numpy():
    return "numpy" in sys.modules


