"""Whether an optimizer's learning rates are those that its schedule set.

Torch's schedulers write the rates into the groups and keep what they wrote. Programs may write others afterwards; that they did not,
and then do, is told. A scheduler is known from its construction; it is held by a weak reference and never called.
"""

import functools
import weakref

# Schedulers of one optimizer that are known, and differences that are told.
KNOWN_MAX, TOLD_MAX = 16, 64
# Wrappers of an optimizer within each other.
WRAPPED_MAX = 4


class Schedules:
    """All schedulers of the process."""

    def __init__(self, sensor):
        self.sensor = sensor
        self.known = weakref.WeakKeyDictionary()
        self.told = 0

    def __reduce__(self):
        return (type(None), ())

    def made(self, scheduler, optimizer):
        """A scheduler was constructed."""
        for _ in range(WRAPPED_MAX):
            state = self.known.get(optimizer)
            if state is None:
                state = self.known[optimizer] = [0, []]
            if len(state[1]) < KNOWN_MAX:
                state[1].append(weakref.ref(scheduler))
            # A trainer's wrapper around the optimizer that makes the steps.
            optimizer = vars(optimizer).get("optimizer")
            if optimizer is None:
                break

    def parted(self, optimizer, rates):
        """Class and rates of the last scheduler whose rates are not the groups', and in how many steps on end they were."""
        state = self.known.get(optimizer)
        if state is None:
            return None
        last = None
        for reference in state[1]:
            scheduler = reference()
            set_rates = None if scheduler is None else getattr(scheduler, "_last_lr", None)
            if not isinstance(set_rates, list) or not all(type(rate) is float or type(rate) is int for rate in set_rates):
                continue
            if set_rates == rates:
                state[0] += 1
                return None
            last = (type(scheduler).__name__[:80], [float(rate) for rate in set_rates])
        if last is None or self.told >= TOLD_MAX:
            return None
        self.told += 1
        agreed, state[0] = state[0], 0
        return (*last, agreed)


def install(schedules, torch):
    """Stands behind the construction of each of torch's schedulers."""
    kind = torch.optim.lr_scheduler.LRScheduler
    made = kind.__init__

    @functools.wraps(made)
    def init(self, optimizer, *args, **kwargs):
        made(self, optimizer, *args, **kwargs)
        try:
            schedules.made(self, optimizer)
        except Exception as error:
            schedules.sensor.gap("learning rates that schedulers set", error)

    kind.__init__ = init
