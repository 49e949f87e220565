"""Writes the tiny ONNX models beside this file.

Run:  python make.py        (needs the package onnx)
"""

import struct
from pathlib import Path

from onnx import TensorProto, checker, helper

HERE = Path(__file__).parent


def tensor(name, shape, kind=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


def write(
    name,
    nodes,
    inputs,
    outputs,
    constants=(),
    metadata=None,
    opsets={"": 17},
    ir=8,
    check=True,
):
    graph = helper.make_graph(nodes, name, inputs, outputs, initializer=list(constants))
    model = helper.make_model(
        graph,
        producer_name="make.py",
        ir_version=ir,
        opset_imports=[helper.make_opsetid(*opset) for opset in opsets.items()],
    )
    helper.set_model_props(model, metadata or {})
    if check:
        checker.check_model(model)
    (HERE / f"{name}.onnx").write_bytes(model.SerializeToString())


SQUASHED = {
    "image.width": "2",
    "image.height": "2",
    "image.resize": "squash",
    "image.scale": "0.00392156862745098",
}


def head(name, nodes, dims, constants=(), metadata={}):
    """A network whose last operators are `nodes`, after `means`, a channel's mean from 0
    to 1, and `tens`, ten times that."""
    write(
        name,
        [
            helper.make_node("GlobalAveragePool", ["image"], ["pooled"]),
            helper.make_node("Flatten", ["pooled"], ["means"]),
            helper.make_node("Mul", ["means", "ten"], ["tens"]),
            *nodes,
        ],
        [tensor("image", ["batch", 3, 2, 2])],
        [tensor("y", dims)],
        [helper.make_tensor("ten", TensorProto.FLOAT, [], [10.0]), *constants],
        {**SQUASHED, **metadata},
    )


def heads():
    """What the last operators say about an output."""
    node = helper.make_node
    three, one = ["batch", 3], ["batch", 1]
    floats = lambda name, dims, values: helper.make_tensor(
        name, TensorProto.FLOAT, dims, values
    )
    integers = lambda name, values: helper.make_tensor(
        name, TensorProto.INT64, [len(values)], values
    )
    mean = node("ReduceMean", ["means"], ["mean"], axes=[1], keepdims=1)
    yes_and_no = {"labels": "no\nyes"}
    head("sigmoid1", [mean, node("Sigmoid", ["mean"], ["y"])], one)
    head("yes_or_no", [mean, node("Sigmoid", ["mean"], ["y"])], one, (), yes_and_no)
    head(
        "sigmoid_of_rank_1",
        [mean, node("Sigmoid", ["mean"], ["p"]), node("Squeeze", ["p", "one"], ["y"])],
        ["batch"],
        [integers("one", [1])],
        yes_and_no,
    )
    head("mean1", [mean, node("Identity", ["mean"], ["y"])], one)
    head(
        "logit1",
        [node("Gemm", ["means", "w", "b"], ["y"])],
        one,
        [floats("w", [3, 1], [2.0, 0.0, -2.0]), floats("b", [1], [0.0])],
        yes_and_no,
    )
    head("softmax1", [mean, node("Softmax", ["mean"], ["y"])], one)
    head("independent", [node("Sigmoid", ["tens"], ["y"])], three)
    head("hard_sigmoid", [node("HardSigmoid", ["tens"], ["y"], alpha=0.05)], three)
    head(
        "log_softmax",
        [
            node("LogSoftmax", ["tens"], ["a"]),
            node("Identity", ["a"], ["b"]),
            node("Reshape", ["b", "shape"], ["y"]),
        ],
        three,
        [integers("shape", [-1, 3])],
    )
    # The metadata are wrong, and would have softmax applied twice.
    head("softmax", [node("Softmax", ["tens"], ["y"])], three, (), {"output.kind": "logits"})
    # As Ultralytics writes the names of classes.
    names = {"names": "{0: 'red', 1: 'it\\'s green', 2: \"blue, 'navy'\"}"}
    head("names", [node("Softmax", ["tens"], ["y"])], three, (), names)
    head(
        "sorted",
        [node("TopK", ["tens", "k"], ["y", "places"])],
        three,
        [integers("k", [3])],
    )
    # The last dense layer is a convolution of one place, before the mean over places.
    write(
        "pooled",
        [
            node("Sigmoid", ["image"], ["features_of_places"]),
            node("Conv", ["features_of_places", "w"], ["classes_of_places"]),
            node("GlobalAveragePool", ["classes_of_places"], ["p"]),
            node("Flatten", ["p"], ["y"]),
        ],
        [tensor("image", ["batch", 3, 2, 2])],
        [tensor("y", ["batch", 2])],
        [floats("w", [2, 3, 1, 1], [1.0, 2.0, 3.0, -1.0, 0.0, 1.0])],
        {**SQUASHED, "labels": "warm\ncold", "codes": "w1\nw2"},
    )
    head(
        "grid",
        [node("Sigmoid", ["image"], ["y"])],
        ["batch", 3, 2, 2],
    )


def shapes_and_types():
    """Inputs and outputs that are not a list of numbers of known length."""
    node = helper.make_node
    write(
        "dynhw",
        [
            node("GlobalAveragePool", ["image"], ["pooled"]),
            node("Flatten", ["pooled"], ["y"]),
        ],
        [tensor("image", ["batch", 3, "height", "width"])],
        [tensor("y", ["batch", 3])],
        metadata=SQUASHED,
    )
    relu = [node("Relu", ["x"], ["y"])]
    write("noshape", relu, [tensor("x", None)], [tensor("y", None)], check=False)
    write("scalar", relu, [tensor("x", [])], [tensor("y", [])])
    maps = helper.make_sequence_type_proto(
        helper.make_map_type_proto(
            TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, None)
        )
    )
    write(
        "zipmap",
        [
            node(
                "LinearClassifier",
                ["x"],
                ["label", "scores"],
                domain="ai.onnx.ml",
                coefficients=[1.0, 0.0, 0.0, 1.0],
                intercepts=[0.0, 0.0],
                classlabels_ints=[7, 9],
                post_transform="SOFTMAX",
            ),
            node("ZipMap", ["scores"], ["maps"], domain="ai.onnx.ml", classlabels_int64s=[7, 9]),
        ],
        [tensor("x", ["batch", 2])],
        [
            tensor("label", ["batch"], TensorProto.INT64),
            helper.make_value_info("maps", maps),
        ],
        opsets={"": 17, "ai.onnx.ml": 1},
    )


def too_new():
    """Versions that no ONNX Runtime knows yet."""
    relu = dict(
        nodes=[helper.make_node("Relu", ["x"], ["y"])],
        inputs=[tensor("x", ["batch", 2])],
        outputs=[tensor("y", ["batch", 2])],
        check=False,
    )
    write("opset_99", opsets={"": 99}, **relu)
    write("ml_opset_99", opsets={"": 17, "ai.onnx.ml": 99}, **relu)
    write("ir_99", ir=99, **relu)


def weights_elsewhere(name, location, length=48):
    """A model whose weights, the numbers from 0 to 11, are in another file."""
    weights = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4, 3])
    weights.data_location = TensorProto.EXTERNAL
    for key, value in [("location", location), ("offset", "0"), ("length", str(length))]:
        weights.external_data.add(key=key, value=value)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        name,
        [tensor("x", ["batch", 4])],
        [tensor("y", ["batch", 3])],
        initializer=[weights],
    )
    opsets = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, ir_version=8, opset_imports=opsets)
    (HERE / f"{name}.onnx").write_bytes(model.SerializeToString())


def main():
    write(
        "identity",
        [helper.make_node("Identity", ["x"], ["y"])],
        [tensor("x", ["batch", 3])],
        [tensor("y", ["batch", 3])],
    )
    write(
        "two_inputs",
        [
            helper.make_node("Add", ["a", "b"], ["sum"]),
            helper.make_node("Mul", ["a", "b"], ["product"]),
        ],
        [tensor("a", ["batch", 2]), tensor("b", ["batch", 2])],
        [tensor("sum", ["batch", 2]), tensor("product", ["batch", 2])],
    )
    write(
        "argmax",
        [helper.make_node("ArgMax", ["x"], ["class"], axis=1, keepdims=1)],
        [tensor("x", ["batch", 4])],
        [tensor("class", ["batch", 1], TensorProto.INT64)],
    )
    write(
        "twice",
        [helper.make_node("Add", ["ids", "ids"], ["twice"])],
        [tensor("ids", ["batch", "length"], TensorProto.INT64)],
        [tensor("twice", ["batch", "length"], TensorProto.INT64)],
    )
    write(
        "double",
        [helper.make_node("Neg", ["x"], ["y"])],
        [tensor("x", ["batch", 2], TensorProto.DOUBLE)],
        [tensor("y", ["batch", 2], TensorProto.DOUBLE)],
    )
    write(
        "bytes",
        [helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT)],
        [tensor("x", [1, 4], TensorProto.UINT8)],
        [tensor("y", [1, 4])],
    )
    for name, kind in [("half", TensorProto.FLOAT16), ("brain", TensorProto.BFLOAT16)]:
        write(
            name,
            [helper.make_node("Identity", ["x"], ["y"])],
            [tensor("x", ["batch", 2], kind)],
            [tensor("y", ["batch", 2], kind)],
        )
    # Text in, text and numbers out.
    write(
        "words",
        [
            helper.make_node("Identity", ["text"], ["same"]),
            helper.make_node("Shape", ["text"], ["shape"]),
        ],
        [tensor("text", ["batch", "words"], TensorProto.STRING)],
        [
            tensor("same", ["batch", "words"], TensorProto.STRING),
            tensor("shape", [2], TensorProto.INT64),
        ],
    )
    # Pixels as they are, NHWC and half floats out: how a network for a phone looks.
    write(
        "phone",
        [
            helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMean", ["pixels"], ["means"], axes=[1, 2], keepdims=0),
            helper.make_node("Div", ["means", "most"], ["shares"]),
            helper.make_node("Cast", ["shares"], ["logits"], to=TensorProto.FLOAT16),
        ],
        [tensor("image", [1, 2, 2, 3], TensorProto.UINT8)],
        [tensor("logits", [1, 3], TensorProto.FLOAT16)],
        [helper.make_tensor("most", TensorProto.FLOAT, [], [25.5])],
    )
    # The mini-batch of this model cannot be chosen: it is always four rows.
    write(
        "fixed_batch",
        [helper.make_node("ReduceSum", ["x", "axis"], ["total"], keepdims=1)],
        [tensor("x", [4, 3])],
        [tensor("total", [4, 1])],
        [helper.make_tensor("axis", TensorProto.INT64, [1], [1])],
    )
    # Its logits are ten times the mean of each channel, from 0 to 10, so that
    # a red image is red with a score of almost one.
    colours = dict(
        nodes=[
            helper.make_node("GlobalAveragePool", ["image"], ["pooled"]),
            helper.make_node("Flatten", ["pooled"], ["means"]),
            helper.make_node("Mul", ["means", "ten"], ["logits"]),
        ],
        inputs=[tensor("image", ["batch", 3, 2, 2])],
        constants=[helper.make_tensor("ten", TensorProto.FLOAT, [], [10.0])],
    )
    preprocessing = {
        "image.color": "RGB",
        "image.layout": "NCHW",
        "image.width": "2",
        "image.height": "2",
        "image.resize": "squash",
        "image.interpolation": "bilinear",
        "image.antialias": "true",
        "image.crop": "none",
        "image.scale": "0.00392156862745098",
        "image.mean": "0,0,0",
        "image.std": "1,1,1",
    }
    write(
        "colours",
        outputs=[tensor("logits", ["batch", 3]), tensor("means", ["batch", 3])],
        metadata={"labels": "red\ngreen\nblue", "output.kind": "logits", **preprocessing},
        **colours,
    )
    # The same network as exporters write it: nothing but the graph.
    write("bare_colours", outputs=[tensor("logits", ["batch", 3])], **colours)
    # A file that was cut off, as an interrupted download leaves it.
    whole = (HERE / "colours.onnx").read_bytes()
    (HERE / "truncated.onnx").write_bytes(whole[: len(whole) // 2])
    heads()
    shapes_and_types()
    too_new()
    (HERE / "external.onnx.data").write_bytes(struct.pack("<12f", *range(12)))
    weights_elsewhere("external", "external.onnx.data")
    weights_elsewhere("external_missing", "no_such.data")
    weights_elsewhere("external_outside", "../models/external.onnx.data")
    weights_elsewhere("external_short", "external.onnx.data", 52)


if __name__ == "__main__":
    main()
