"""Times linear layers and linear networks in f32 under ONNX Runtime, for `cargo xtask bench conv`.

Reads one JSON request per line from standard input and answers each with one JSON line on standard output, so that the
bench can alternate between its own runs and these within the same second. The first line that it prints says hello: the
version. Requests:

    {"do": "layer", "shape": {...}, "batch": 1, "threads": 1}      one bias-free convolution (or Gemm on a 1x1 plane)
    {"do": "network", "nodes": [...], "batch": 1, "threads": 1}    a whole network without its activations
    {"do": "time", "id": 0, "seconds": 0.05, "runs": 3}            runs it that long, at least so often; answers
                                                                   {"least", "median", "runs", "form", "call"}
    {"do": "profile", "id": 1, "runs": 20}                         seconds per kind of node, of a network
    {"do": "drop", "id": 0}

Answers carry "id" or the figures, or "error" with a text. Seconds everywhere.

What is done for the rival: weights are constants (so that ONNX Runtime may pre-pack them), all graph optimisations are
on, inputs and outputs are bound to buffers that are allocated once (hot caches), nothing is copied to or from Python. A
lone convolution in its blocked layout (NCHWc) pays for converting input and output, which a network pays only at its
ends; therefore every layer is also prepared without the layout optimisation, and the faster form counts ("form"). From
the seconds of a lone layer those of a call that computes next to nothing are subtracted, measured at the same moment
("call"): what Python and a session cost is paid once per network and not once per layer.

Shapes are those of conv-fast's ConvShape: in_channels, in_height, in_width, out_channels, kernel [rows, columns],
stride, padding [top, left, bottom, right], dilation, groups. Nodes of a network, each with "inputs" (indices of earlier
nodes): input {shape}, linear {shape}, add, concat {axis}, max_pool and average_pool {kernel, stride, padding}, slice
{start, step, size}, pad {before, after}, reshape {size}; the last node is the output, sizes carry a leading 1 that
becomes the batch. Weights are normal with variance 1/terms: values neither vanish nor overflow, and denormals, which
would slow a processor down, do not occur.
"""

import json
import os
import sys
import tempfile
import time

try:
    import numpy as np
    import onnx
    import onnxruntime as ort
    from onnx import TensorProto, helper, numpy_helper
except ImportError as error:
    print(json.dumps({"error": f"{error}: pip install onnxruntime onnx numpy"}), flush=True)
    sys.exit(3)

RNG = np.random.default_rng(20)


class Model:
    """An ONNX model under construction."""

    def __init__(self, batch):
        self.batch, self.nodes, self.constants, self.sizes, self.names = batch, [], [], [], []
        self.inputs = []

    def constant(self, array):
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def push(self, kind, inputs, size, **attributes):
        """Appends an operation; `size` is its output's, batch included."""
        name = f"t{len(self.names)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        self.names.append(name)
        self.sizes.append(list(size))

    def input(self, size):
        name = f"t{len(self.names)}"
        self.inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, size))
        self.names.append(name)
        self.sizes.append(list(size))

    def linear(self, at, s):
        terms = s["in_channels"] // s["groups"] * s["kernel"][0] * s["kernel"][1]
        flat = (s["in_height"], s["in_width"], s["groups"]) == (1, 1, 1) and s["kernel"] == [1, 1]
        size = [s["out_channels"], s["in_channels"] // s["groups"], *s["kernel"]]
        weights = RNG.standard_normal(size, dtype=np.float32) / np.float32(terms**0.5)
        source = self.names[at]
        if flat:
            if len(self.sizes[at]) != 2:
                self.push("Flatten", [source], [self.batch, s["in_channels"]], axis=1)
                source = self.names[-1]
            weights = self.constant(weights.reshape(s["out_channels"], s["in_channels"]))
            self.push("Gemm", [source, weights], [self.batch, s["out_channels"]], transB=1)
            return
        extent = [s["in_height"], s["in_width"]]
        out = [
            (extent[i] + s["padding"][i] + s["padding"][i + 2] - (s["kernel"][i] - 1) * s["dilation"][i] - 1)
            // s["stride"][i]
            + 1
            for i in range(2)
        ]
        self.push(
            "Conv",
            [source, self.constant(weights)],
            [self.batch, s["out_channels"], *out],
            kernel_shape=s["kernel"],
            strides=s["stride"],
            pads=s["padding"],
            dilations=s["dilation"],
            group=s["groups"],
        )

    def pool(self, kind, at, node):
        batch, channels, height, width = self.sizes[at]
        extent, pads = [height, width], node["padding"]
        out = [
            (extent[i] + pads[i] + pads[i + 2] - node["kernel"][i]) // node["stride"][i] + 1 for i in range(2)
        ]
        self.push(
            kind,
            [self.names[at]],
            [batch, channels, *out],
            kernel_shape=node["kernel"],
            strides=node["stride"],
            pads=pads,
        )

    def bytes(self):
        output = helper.make_tensor_value_info(self.names[-1], TensorProto.FLOAT, self.sizes[-1])
        graph = helper.make_graph(self.nodes, "bench", self.inputs, [output], self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        onnx.checker.check_model(model)
        return model.SerializeToString()


class Session:
    """A model ready to run on buffers of its own."""

    def __init__(self, model, threads, layout=True, profile=None):
        options = ort.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        levels = ort.GraphOptimizationLevel
        options.graph_optimization_level = levels.ORT_ENABLE_ALL if layout else levels.ORT_ENABLE_EXTENDED
        options.log_severity_level = 3
        if profile is not None:
            options.enable_profiling, options.profile_file_prefix = True, profile
        self.session = ort.InferenceSession(model.bytes(), options, providers=["CPUExecutionProvider"])
        self.binding = self.session.io_binding()
        size = model.sizes[0]
        values = RNG.standard_normal(size, dtype=np.float32)
        # The values are kept: bound buffers are borrowed.
        self.values = [
            ort.OrtValue.ortvalue_from_numpy(values),
            ort.OrtValue.ortvalue_from_numpy(np.zeros(model.sizes[-1], dtype=np.float32)),
        ]
        self.binding.bind_ortvalue_input(model.names[0], self.values[0])
        self.binding.bind_ortvalue_output(model.names[-1], self.values[1])
        self.run()

    def run(self):
        self.session.run_with_iobinding(self.binding)

    def time(self, seconds, runs=3):
        """Seconds of every run within about `seconds`, at least `runs`."""
        run, clock, times = self.session.run_with_iobinding, time.perf_counter_ns, []
        run(self.binding)
        end = clock() + int(seconds * 1e9)
        while True:
            start = clock()
            run(self.binding)
            stop = clock()
            times.append(stop - start)
            if stop >= end and len(times) >= runs:
                return [t / 1e9 for t in times]


class Entry:
    """A prepared request: its forms by name."""

    def __init__(self, model, threads, lone):
        self.model, self.threads = model, threads
        self.forms = {"blocked": Session(model, threads)}
        self.empty = Session(nothing(), threads) if lone else None
        # Matrix products have no layout to choose.
        if lone and any(node.op_type == "Conv" for node in model.nodes):
            self.forms["planes"] = Session(model, threads, layout=False)

    def time(self, seconds, runs):
        """Least and median seconds of the fastest form."""
        best = None
        for form, session in self.forms.items():
            times = sorted(session.time(seconds / len(self.forms), runs))
            if best is None or times[0] < best["least"]:
                median = times[len(times) // 2]
                best = {"least": times[0], "median": median, "runs": len(times), "form": form, "call": 0.0}
        if self.empty is not None:
            call = min(self.empty.time(min(seconds / 4, 0.005)))
            best["call"] = call
            for key in ("least", "median"):
                best[key] = max(best[key] - call, 0.0)
        return best

    def profile(self, runs):
        """Mean seconds of a run by kind of node, after five warm ones."""
        with tempfile.TemporaryDirectory() as folder:
            session = Session(self.model, self.threads, profile=os.path.join(folder, "profile"))
            for _ in range(runs + 4):
                session.run()
            with open(session.session.end_profiling()) as file:
                events = [event for event in json.load(file) if event.get("cat") == "Node"]
        events = [event for event in events if event["name"].endswith("_kernel_time")]
        each = {}
        for event in events:
            each.setdefault((event["args"]["op_name"], event["name"]), []).append(event["dur"])
        kinds = {}
        for (kind, _), times in each.items():
            # The clock of the profile ticks in microseconds, rounded down.
            times = sorted(times[5:])
            kept = times[: max(1, len(times) // 2)]
            kinds[kind] = kinds.get(kind, 0.0) + (sum(kept) / len(kept) + 0.5) * 1e-6
        return kinds


def lone(shape, batch):
    model = Model(batch)
    flat = (shape["in_height"], shape["in_width"], shape["groups"]) == (1, 1, 1) and shape["kernel"] == [1, 1]
    plane = [] if flat else [shape["in_height"], shape["in_width"]]
    model.input([batch, shape["in_channels"], *plane])
    model.linear(0, shape)
    return model


def network(nodes, batch):
    """The model of a list of nodes. Some of them become two operations: `place` says where each is."""
    model, place = Model(batch), []
    for node in nodes:
        kind = node["op"]
        at = [place[i] for i in node.get("inputs", [])]
        names, sizes = [model.names[i] for i in at], [model.sizes[i] for i in at]
        if kind == "input":
            model.input([batch, *node["shape"][1:]])
        elif kind == "linear":
            model.linear(at[0], node["shape"])
        elif kind == "add":
            model.push("Add", names, sizes[0])
        elif kind == "concat":
            size = list(sizes[0])
            size[node["axis"]] = sum(other[node["axis"]] for other in sizes)
            model.push("Concat", names, size, axis=node["axis"])
        elif kind == "max_pool":
            model.pool("MaxPool", at[0], node)
        elif kind == "average_pool":
            model.pool("AveragePool", at[0], node)
        elif kind == "slice":
            axes = list(range(1, len(sizes[0])))
            start, step, count = (node[key] for key in ("start", "step", "size"))
            ends = [start[a] + (count[a] - 1) * step[a] + 1 for a in axes]
            lists = [[start[a] for a in axes], ends, axes, [step[a] for a in axes]]
            constants = [model.constant(np.array(values, dtype=np.int64)) for values in lists]
            model.push("Slice", [names[0], *constants], [batch, *count[1:]])
        elif kind == "pad":
            pads = model.constant(np.array(node["before"] + node["after"], dtype=np.int64))
            size = [n + b + a for n, b, a in zip(sizes[0], node["before"], node["after"])]
            model.push("Pad", [names[0], pads], size)
        elif kind == "reshape":
            size = [batch, *node["size"][1:]]
            model.push("Reshape", [names[0], model.constant(np.array(size, dtype=np.int64))], size)
        else:
            raise ValueError(f"unknown node {kind}")
        place.append(len(model.names) - 1)
    return model


def nothing():
    """A model whose arithmetic is one element's."""
    model = Model(1)
    model.input([1, 1])
    model.push("Relu", [model.names[0]], [1, 1])
    return model


def serve():
    entries, count = {}, 0
    print(json.dumps({"onnxruntime": ort.__version__}), flush=True)
    for line in sys.stdin:
        try:
            request = json.loads(line)
            what = request["do"]
            if what in ("layer", "network"):
                batch, threads = request["batch"], request["threads"]
                model = lone(request["shape"], batch) if what == "layer" else network(request["nodes"], batch)
                entries[count] = Entry(model, threads, what == "layer")
                answer, count = {"id": count}, count + 1
            elif what == "time":
                answer = entries[request["id"]].time(request["seconds"], request["runs"])
            elif what == "profile":
                answer = {"kinds": entries[request["id"]].profile(request["runs"])}
            elif what == "drop":
                del entries[request["id"]]
                answer = {"id": request["id"]}
            else:
                answer = {"error": f"unknown request {what}"}
        except Exception as error:  # Whatever it is, the bench has to hear of it.
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    serve()
