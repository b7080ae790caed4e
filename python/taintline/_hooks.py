"""Where the sensor touches torch: the whole list, in one place."""

import functools
import sys

from . import _checkpoints, _data, _files, _forward, _memory, _metrics, _native, _passes, _schedules, _spans, _steps


def install(sensor, torch):
    """Sets all hooks. One that cannot be set is a gap and leaves the others."""
    attempts = [
        ("opened files", lambda: _files.install(sensor)),
        ("checkpoints", lambda: _checkpoints.install(sensor, torch)),
        ("steps", lambda: _train(sensor, torch)),
    ]
    for what, attempt in attempts:
        try:
            attempt()
        except Exception as error:
            sensor.gap(what, error)


def _train(sensor, torch):
    steps = _steps.Steps(sensor, torch, _native.Recorder(), _spans.Spans(torch))
    sensor.memory = _memory.Memory(sensor, torch, steps.known)
    optimizer = sys.modules["torch.optim.optimizer"]
    optimizer.register_optimizer_step_pre_hook(steps.before_step)
    optimizer.register_optimizer_step_post_hook(steps.after_step)
    _wrap_backward(steps, torch)
    _wrap_clip(steps, torch)
    _passes.wrap(steps.passes, torch, sys.modules["torch.nn.utils.clip_grad"])
    steps.roots = _forward.Roots(sensor, torch, steps)
    steps.roots.search()
    _wrap_groups(steps, optimizer.Optimizer)
    sensor.recheck, sensor.device = steps.recheck, steps.device
    _wrap_loads(steps.recheck, optimizer.Optimizer)
    _wrap_loads(steps.recheck, torch.nn.Module)
    _schedules.install(steps.schedules, torch)
    steps.data = sensor.data = _data.Data(sensor, torch, steps.recorder, steps.spans)
    steps.data.standing = steps.replay
    _data.install(steps.data)
    _metrics.install(sensor, steps.recorder)
    sensor.watcher_add("torch._dynamo.eval_frame", steps.roots.compiled_module)


def _wrap_groups(steps, kind):
    """A new optimizer is a sign of a new model: its root is looked for before its first step."""
    add = kind.add_param_group

    @functools.wraps(add)
    def add_param_group(self, *args, **kwargs):
        steps.roots.search()
        steps.sensor.memory.pulse()
        return add(self, *args, **kwargs)

    kind.add_param_group = add_param_group


def _wrap_loads(recheck, kind):
    """What is loaded into a model or an optimizer is no change that nobody made."""
    load = kind.load_state_dict

    @functools.wraps(load)
    def load_state_dict(self, *args, **kwargs):
        try:
            return load(self, *args, **kwargs)
        finally:
            recheck.loading(self)

    kind.load_state_dict = load_state_dict


def _wrap_backward(steps, torch):
    backward = torch.autograd.backward
    compiling = torch.compiler.is_compiling

    @functools.wraps(backward)
    def wrapper(tensors, *args, **kwargs):
        if compiling() or steps.in_backward:
            return backward(tensors, *args, **kwargs)
        steps.backward_starts(tensors, args, kwargs)
        try:
            return backward(tensors, *args, **kwargs)
        finally:
            steps.backward_ends()

    torch.autograd.backward = wrapper


def _wrap_clip(steps, torch):
    module = sys.modules["torch.nn.utils.clip_grad"]
    clip = module.clip_grad_norm_
    compiling = torch.compiler.is_compiling

    @functools.wraps(clip)
    def wrapper(*args, **kwargs):
        norm = clip(*args, **kwargs)
        if not compiling():
            steps.clipped(norm)
        return norm

    module.clip_grad_norm_ = wrapper
    torch.nn.utils.clip_grad_norm_ = wrapper
