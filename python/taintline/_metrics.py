"""Metrics that the program reports, where libraries take them to show or keep them.

Read behind everything that may have changed them on the way. Nothing is judged here.
"""

import functools

# What is kept of the names of metrics, and how many of one report are told.
MOST = 32


def install(sensor, recorder):
    metrics = Metrics(sensor, recorder)
    sensor.watcher_add("transformers.trainer_callback", lambda: metrics.transformers)
    sensor.watcher_add("lightning.fabric.loggers.csv_logs", lambda: metrics.lightning)
    sensor.watcher_add("lightning_fabric.loggers.csv_logs", lambda: metrics.lightning)
    sensor.watcher_add("torch.utils.tensorboard.writer", lambda: metrics.tensorboard)


class Metrics:
    """One for the process."""

    def __init__(self, sensor, recorder):
        self.sensor, self.recorder = sensor, recorder

    def __reduce__(self):
        return (type(None), ())

    def told(self, by, values):
        """`values` were given to `by`: those that are numbers."""
        try:
            for name, value in list(values.items())[:MOST]:
                # A tensor would have to be fetched, and is not what a log is given in the end.
                if type(value) in (int, float) and type(name) is str:
                    self.recorder.reported(by, name, float(value))
        except Exception as error:
            self.sensor.gap(f"metrics that are reported to {by}", error)

    def _wrap(self, owner, name, by, values):
        """`values(args, kwargs)` are the metrics that a call of `owner.name` was given."""
        original = getattr(owner, name)

        @functools.wraps(original)
        def wrapper(*args, **kwargs):
            result = original(*args, **kwargs)
            try:
                self.told(by, values(args, kwargs))
            except Exception as error:
                self.sensor.gap(f"metrics that are reported to {by}", error)
            return result

        setattr(owner, name, wrapper)

    def transformers(self, module):
        try:
            # Behind the callbacks: they have the same table and may write into it.
            self._wrap(module.CallbackHandler, "on_log", "transformers", lambda args, kwargs: kwargs["logs"] if "logs" in kwargs else args[4])
        except Exception as error:
            self.sensor.gap("metrics that are reported to transformers", error)

    def lightning(self, module):
        try:
            self._wrap(module._ExperimentWriter, "log_metrics", "lightning", lambda args, kwargs: args[1] if len(args) > 1 else kwargs["metrics_dict"])
        except Exception as error:
            self.sensor.gap("metrics that are reported to lightning", error)

    def tensorboard(self, module):
        try:

            def value(args, kwargs):
                name = args[1] if len(args) > 1 else kwargs["tag"]
                return {name: args[2] if len(args) > 2 else kwargs["scalar_value"]}

            self._wrap(module.SummaryWriter, "add_scalar", "tensorboard", value)
        except Exception as error:
            self.sensor.gap("metrics that are reported to tensorboard", error)
