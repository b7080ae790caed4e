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

    def __init__(self, sensor, recorder, models):
        self.sensor = sensor
        self.recorder = recorder
        # Roots that were seen; it is the recheck's.
        self.models = models
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
        module = sys.modules.get("torch.nn.parallel.distributed")
        if module is not None:
            for model in list(self.models.values()):
                if isinstance(model, module.DistributedDataParallel) and model.require_backward_grad_sync:
                    self.reduced = True

    def _place(self):
        """World, rank and size; `None` where there is no other."""
        module = sys.modules.get("torch.distributed.distributed_c10d")
        world = None if module is None else module.GroupMember.WORLD
        if world is not self.world:
            self.world, self.place, self.reduced = world, None, self.reduced and self.world is None
            self.optimizers.clear()
            if world is not None and world.size() > 1:
                self.place = (_key(world.size()), world.rank(), world.size())
        return self.place

    def _kind(self, optimizer, parameters, size):
        """Whether one `DistributedDataParallel` over the whole world holds all parameters, and whether its replicas may part."""
        known = self.optimizers.get(optimizer)
        count = (len(self.models), len(parameters))
        if known is None or known[0] != count:
            known = self.optimizers[optimizer] = (count, *self._holder(parameters, size))
        _, holder, whole = known
        model = None if holder is None else holder()
        return (whole, model is not None and self._averages(model))

    def _holder(self, parameters, size):
        module = sys.modules.get("torch.nn.parallel.distributed")
        if module is None:
            return None, False
        ids = {id(parameter) for parameter in parameters}
        for model in list(self.models.values()):
            if isinstance(model, module.DistributedDataParallel):
                ignored = model.parameters_to_ignore
                held = {id(parameter) for name, parameter in model.module.named_parameters() if name not in ignored}
                if ids & held:
                    # What is frozen is not reduced, and what delays its reduction has a rule of its own.
                    trained = all(parameter.requires_grad for parameter in parameters)
                    # Local SGD by hand steps without any reduction: then only habit tells whether there are replicas.
                    whole = self.reduced and ids <= held and trained and model.process_group.size() == size
                    return weakref.ref(model), whole
        return None, False

    def _averages(self, model):
        """Whether torch's own hook for local SGD stands in the place of the reduction."""
        hooks = model.__dict__.get("_comm_hooks")
        if not hooks:
            return False
        module = sys.modules.get("torch.distributed.algorithms.ddp_comm_hooks.post_localSGD_hook")
        return module is not None and any(hook is module.post_localSGD_hook for hook, _ in hooks)


def _key(size):
    """A number that the processes of one world share."""
    names = [os.environ.get(name, "") for name in SHARED]
    if not names[1]:
        # No address was given: a file or a store that the parent knows.
        names.append(str(os.getppid()))
    return crc32("\0".join([*names, str(size)]).encode())
