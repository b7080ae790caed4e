"""Which module is the whole model, and what it is given.

The root is the outermost module that is called while gradients are recorded. It is found by torch's global hook before
forward passes, which is set only while a root is looked for. From then on the root's *class* gets a `__call__` of ours.
Rejected: hooks on the instance, because they would be written into the job's checkpoints with a pickled model and
copied with it; and a global hook for good, which costs a call per layer.
"""

import functools
import sys
import weakref


class Roots:
    """Finds the roots and stands before and behind their forward passes."""

    def __init__(self, sensor, torch, steps):
        self.sensor = sensor
        self.steps = steps
        self.compiling = torch.compiler.is_compiling
        self.recording = torch.is_grad_enabled
        # What we do to a batch must not get into the graph of `torch.jit.trace`.
        self.tracing = torch._C._is_tracing
        self.module = sys.modules["torch.nn.modules.module"]
        self.marked = set()
        self.handle = None
        self.wanted = False
        self.inside = False
        # The root that was called last.
        self.last = None

    def search(self):
        """Looks for roots until [`rest`]."""
        try:
            self.wanted = True
            self.arm()
        except Exception as error:
            self.sensor.gap("batches", error)

    def rest(self):
        """Looks no longer."""
        self.wanted = False
        self.disarm()

    def arm(self):
        if self.wanted and self.handle is None and not self.inside:
            self.handle = self.module.register_module_forward_pre_hook(self._found)

    def disarm(self):
        if self.handle is not None:
            self.handle.remove()
            self.handle = None

    def compiled_module(self):
        """`torch.compile` is about to exist: its module warns about global hooks, so it is a root from the start."""
        return lambda module: self._mark_guarded(module.OptimizedModule)

    def _mark_guarded(self, kind):
        try:
            self._mark(kind)
        except Exception as error:
            self.sensor.gap("batches", error)

    def _found(self, module, args):
        """Torch's hook before a forward pass: `module` is called, as the first one since we look."""
        if self.compiling():
            return
        try:
            if not self.recording() or self.steps.in_backward or self.tracing():
                return
            self.disarm()
            self.sensor.memory.hooks.seen_model(module)
            self.sensor.recheck.seen_model(module)
            kwargs = sys._getframe(1).f_locals.get("kwargs")
            self.steps.forward_starts(args, kwargs if isinstance(kwargs, dict) else {}, module, False)
            self._mark(type(module))
        except Exception as error:
            self.sensor.gap("batches", error)

    def enter(self, model, args, kwargs):
        """Before a call of the root `model`; answers whether it is the outermost one."""
        if self.inside or self.steps.in_backward or self.tracing():
            return False
        self.inside = True
        try:
            self.disarm()
            if self.last is None or self.last() is not model:
                self.last = weakref.ref(model)
                self.sensor.memory.hooks.seen_model(model)
                self.sensor.recheck.seen_model(model)
            self.steps.forward_starts(args, kwargs, model, True)
        except Exception as error:
            self.sensor.gap("batches", error)
        return True

    def leave(self):
        """Behind the call that [`enter`] answered yes to."""
        self.inside = False
        try:
            self.steps.forward_ends()
            self.arm()
        except Exception as error:
            self.sensor.gap("batches", error)

    def __reduce__(self):
        # A marked class that is pickled by value takes `None` along, and works without us.
        return (type(None), ())

    def _mark(self, kind):
        """Lets each call of a module of class `kind` come by here."""
        if kind in self.marked:
            return
        self.marked.add(kind)
        roots, compiling, recording = self, self.compiling, self.recording
        own = vars(kind).get("__call__")

        if own is None:

            def call(self, *args, **kwargs):
                if roots is None or compiling() or not recording() or not roots.enter(self, args, kwargs):
                    return super(kind, self).__call__(*args, **kwargs)
                try:
                    if roots.steps.stands():
                        return roots.steps.replay.stands.forward(super(kind, self).__call__, self, args, kwargs)
                    return super(kind, self).__call__(*args, **kwargs)
                finally:
                    roots.leave()

        else:

            def call(self, *args, **kwargs):
                if roots is None or compiling() or not recording() or not roots.enter(self, args, kwargs):
                    return own(self, *args, **kwargs)
                try:
                    if roots.steps.stands():
                        return roots.steps.replay.stands.forward(functools.partial(own, self), self, args, kwargs)
                    return own(self, *args, **kwargs)
                finally:
                    roots.leave()

        kind.__call__ = functools.wraps(kind.__call__)(call)
