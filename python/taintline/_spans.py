"""Tensors to addresses that may be read, or the reason why not.

Only memory of this process whose bytes lie without holes is read, in the order in which they lie. A tensor is never
copied but for a batch's small views; no attribute of a foreign tensor class is asked before its kind is known.
"""

# Most bytes of a batch's tensor that are copied to be read in order.
COPY_BYTES_MAX = 64 << 20
# Deepest nesting of a batch's containers, and most tensors in it.
DEPTH_MAX = 3
TENSORS_MAX = 1024


class Unseen(Exception):
    """A tensor that cannot be read; the text says why."""


class Spans:
    """Reads tensors of one torch."""

    def __init__(self, torch):
        self.Tensor = torch.Tensor
        self.strided = torch.strided
        self.plain = frozenset((torch.Tensor, torch.nn.Parameter))
        self.ours = torch._C.DisableTorchFunctionSubclass
        self.layouts = (torch.channels_last, torch.channels_last_3d)
        self.kinds = {}

    def span(self, tensor):
        """Address and bytes of `tensor`; raises [`Unseen`]."""
        if type(tensor) not in self.plain:
            return self._foreign(tensor)
        if tensor.is_cpu and tensor.layout is self.strided and (tensor.is_contiguous() or self._dense(tensor)):
            return (tensor.data_ptr(), tensor.nbytes)
        raise Unseen(self._reason(tensor))

    def spans(self, tensors):
        """The spans of all `tensors`; raises [`Unseen`] for the first that cannot be read."""
        plain, strided = self.plain, self.strided
        spans = []
        for tensor in tensors:
            if type(tensor) in plain and tensor.is_cpu and tensor.layout is strided and tensor.is_contiguous():
                spans.append((tensor.data_ptr(), tensor.nbytes))
            else:
                spans.append(self.span(tensor))
        return spans

    def kind_spans(self, tensors):
        """As [`spans`], with the name of the elements; a part of a distributed tensor is no whole and is refused."""
        kinds = self.kinds
        spans = []
        for tensor in tensors:
            if type(tensor) not in self.plain and hasattr(tensor, "_local_tensor"):
                raise Unseen("it is a part of a distributed tensor")
            address, size = self.span(tensor)
            dtype = tensor.dtype
            name = kinds.get(dtype)
            if name is None:
                name = kinds[dtype] = str(dtype)
            spans.append((address, size, name))
        return spans

    def local(self, tensor):
        """`tensor`, or the part of a distributed one that lies here; raises [`Unseen`] for other classes."""
        if type(tensor) in self.plain:
            return tensor
        if isinstance(tensor, self.Tensor):
            with self.ours():
                local = getattr(tensor, "_local_tensor", None)
            if type(local) in self.plain:
                return local
        raise Unseen(f"a {type(tensor).__name__} is not read")

    def dense(self, tensor, copy):
        """A plain tensor, wherever it is, whose bytes lie without holes; else a copy of it if that is allowed and it is small, or [`Unseen`]."""
        if tensor.layout is not self.strided:
            raise Unseen(f"{tensor.layout} tensors are not read")
        if tensor.is_contiguous() or self._dense(tensor):
            return tensor
        if not copy or tensor.nbytes > COPY_BYTES_MAX:
            raise Unseen("a tensor does not lie in order")
        return tensor.detach().contiguous()

    def batch(self, *values):
        """The tensors in `values`, nested a few levels, copied where their bytes do not lie in order."""
        found = []
        self._collect(values, DEPTH_MAX, found)
        return [self._in_order(tensor) for tensor in found]

    def _collect(self, value, depth, found):
        if isinstance(value, self.Tensor):
            if len(found) >= TENSORS_MAX:
                raise Unseen(f"a batch has more than {TENSORS_MAX} tensors")
            found.append(value)
        elif depth and isinstance(value, (list, tuple)):
            for item in value[:TENSORS_MAX]:
                self._collect(item, depth - 1, found)
        elif depth and isinstance(value, dict):
            for item in list(value.values())[:TENSORS_MAX]:
                self._collect(item, depth - 1, found)
        elif depth and not isinstance(value, (type, str, bytes, int, float)):
            # A dataclass, or a mapping that is no dict, such as the batch of a tokenizer.
            fields = getattr(value, "__dataclass_fields__", None)
            if isinstance(fields, dict):
                self._collect([getattr(value, name, None) for name in fields], depth - 1, found)
            else:
                data = getattr(value, "__dict__", {}).get("data")
                if isinstance(data, dict):
                    self._collect(data, depth - 1, found)

    def _in_order(self, tensor):
        if type(tensor) not in self.plain or not tensor.is_cpu or tensor.layout is not self.strided:
            return tensor
        if tensor.is_contiguous() or self._dense(tensor):
            return tensor
        if tensor.nbytes > COPY_BYTES_MAX:
            raise Unseen("a large tensor of the batch does not lie in order")
        return tensor.detach().contiguous()

    def _dense(self, tensor):
        """Whether the bytes lie without holes, though in another order than the dimensions."""
        dimensions = tensor.dim()
        if dimensions == 2:
            return tensor.t().is_contiguous()
        if dimensions in (4, 5):
            return tensor.is_contiguous(memory_format=self.layouts[dimensions - 4])
        return False

    def _foreign(self, tensor):
        """A subclass of Tensor: the local part of a distributed one, or a plain one by another name."""
        if not isinstance(tensor, self.Tensor):
            raise Unseen(f"{type(tensor).__name__} is no tensor")
        with self.ours():
            local = getattr(tensor, "_local_tensor", None)
            if type(local) in self.plain:
                return self.span(local)
            if type(tensor).__torch_dispatch__ is not self.Tensor.__torch_dispatch__:
                raise Unseen(f"{type(tensor).__name__} has no memory of its own")
            if tensor.is_cpu and tensor.layout is self.strided and (tensor.is_contiguous() or self._dense(tensor)):
                return (tensor.data_ptr(), tensor.nbytes)
            raise Unseen(self._reason(tensor))

    def _reason(self, tensor):
        if not tensor.is_cpu:
            return f"tensors on {tensor.device.type} are not read"
        if tensor.layout is not self.strided:
            return f"{tensor.layout} tensors are not read"
        return "a tensor does not lie in order"
