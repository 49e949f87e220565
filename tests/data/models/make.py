"""Writes the tiny ONNX models beside this file.

Run:  python make.py        (needs the package onnx)
"""

from pathlib import Path

from onnx import TensorProto, checker, helper

HERE = Path(__file__).parent


def tensor(name, shape, kind=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


def write(name, nodes, inputs, outputs, constants=(), metadata=None):
    graph = helper.make_graph(nodes, name, inputs, outputs, initializer=list(constants))
    model = helper.make_model(
        graph,
        producer_name="make.py",
        ir_version=8,
        opset_imports=[helper.make_opsetid("", 17)],
    )
    helper.set_model_props(model, metadata or {})
    checker.check_model(model)
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


if __name__ == "__main__":
    main()
