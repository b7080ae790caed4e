"""The place of this process among those that train together, so that replicas can be held against each other elsewhere.

Read from `torch.distributed` when it is there and initialized, never brought about. What it costs when nothing changes is a look at
one attribute.
"""

import os
import sys
import weakref
from zlib import crc32

# Names of the environment that one world shares and another does not.
SHARED = ("MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT")


class Ranks:
    """Tells the recorder where it stands."""

    def __init__(self, sensor, recorder, recheck):
        self.sensor = sensor
        self.recorder = recorder
        # Roots that were seen.
        self.recheck, self.models = recheck, recheck.models
        # Those of them that reduce gradients, and how many roots there were when that was looked for.
        self.parallel, self.searched = [], None
        self.world = None
        self.place = None
        self.optimizers = weakref.WeakKeyDictionary()
        self.stood = None
        # Whether a backward pass of a DistributedDataParallel was one that reduces.
        self.reduced = False

    def __reduce__(self):
        return (type(None), ())

    def look(self, optimizer, parameters):
        """A step of `optimizer` is about to be recorded."""
        try:
            place = self._place()
            if place is not None:
                place = (*place, *self._kind(optimizer, parameters, place[2]))
            if place != self.stood:
                self.recorder.stand(place)
                self.stood = place
        except Exception as error:
            self.sensor.gap("place among the ranks", error)

    def backward_ends(self):
        """A backward pass is done: one inside `no_sync` reduced nothing."""
        if self.reduced:
            return
        if self.searched != self.recheck.changed:
            self.searched = self.recheck.changed
            module = sys.modules.get("torch.nn.parallel.distributed")
            models = () if module is None else list(self.models.values())
            self.parallel = [weakref.ref(model) for model in models if isinstance(model, module.DistributedDataParallel)]
        for reference in self.parallel:
            model = reference()
            if model is not None and model.require_backward_grad_sync:
                self.reduced = True

    def _place(self):
        """World, rank and size; `None` where there is no other."""
        module = sys.modules.get("torch.distributed.distributed_c10d")
        world = None if module is None else module.GroupMember.WORLD
        if world is not self.world:
            self.world, self.place, self.reduced = world, None, self.reduced and self.world is None
            self.optimizers.clear()
            if world is not None and world.size() > 1:
                self.place = (_key(module, world.size()), world.rank(), world.size())
        return self.place

    def _kind(self, optimizer, parameters, size):
        """Which parameters of one `DistributedDataParallel` over the whole world these are, and whether its replicas may part."""
        known = self.optimizers.get(optimizer)
        count = (len(self.models), len(parameters))
        if known is None or known[0] != count:
            known = self.optimizers[optimizer] = (count, *self._holder(optimizer, parameters, size))
        _, holder, held = known
        model = None if holder is None else holder()
        return (held, model is not None and self._averages(model))

    def _holder(self, optimizer, parameters, size):
        module = sys.modules.get("torch.nn.parallel.distributed")
        if module is None:
            return None, None
        ids = [id(parameter) for parameter in parameters]
        for model in list(self.models.values()):
            if isinstance(model, module.DistributedDataParallel):
                ignored = model.parameters_to_ignore
                named = enumerate(model.module.named_parameters())
                places = {id(parameter): number for number, (name, parameter) in named if name not in ignored}
                if not places.keys().isdisjoint(ids):
                    # What is frozen is not reduced. Local SGD by hand steps without any reduction: then only habit tells.
                    # A class of somebody else's may round or explore by its own random numbers.
                    trained = all(parameter.requires_grad for parameter in parameters)
                    trained = trained and type(optimizer).__module__.startswith("torch.")
                    whole = self.reduced and trained and model.process_group.size() == size and places.keys() >= set(ids)
                    held = crc32(repr([places[one] for one in ids]).encode()) if whole else None
                    return weakref.ref(model), held
        return None, None

    def _averages(self, model):
        """Whether torch's own hook for local SGD stands in the place of the reduction."""
        hooks = model.__dict__.get("_comm_hooks")
        if not hooks:
            return False
        module = sys.modules.get("torch.distributed.algorithms.ddp_comm_hooks.post_localSGD_hook")
        return module is not None and any(hook is module.post_localSGD_hook for hook, _ in hooks)


def _key(module, size):
    """A number that the processes of one world share and others do not."""
    parts = [os.environ.get(name, "") for name in SHARED]
    store = module._get_default_store()
    while isinstance(store, module.PrefixStore):
        store = store.underlying_store
    for name in ("host", "port", "path"):
        value = getattr(store, name, None)
        if isinstance(value, (str, int)):
            parts.append(str(value))
    if not parts[1] and len(parts) == len(SHARED):
        # Neither an address nor a file: all that is left is who started them.
        parts.append(str(os.getppid()))
    return crc32("\0".join([*parts, str(size)]).encode())
