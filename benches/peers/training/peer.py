"""Trains one network in one framework and says how fast; run.py starts it.

    python3 peer.py VARIANT NETWORK MNIST

VARIANT is one of those below, NETWORK one of `NETWORKS`, MNIST the folder of MNIST's own
files. Once warm it prints `ready`. For each line on standard input it then trains for
that many seconds and prints images per second. One thread computes; a step is what users
write: a mini-batch of 64 gathered in random order, forward, backward, SGD with momentum.
"""

import gzip
import os
import sys
import time

# Before the frameworks are imported: their pools are made then.
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
    os.environ[name] = "1"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import numpy as np

BATCH = 64
RATE, MOMENTUM = 0.01, 0.9

NETWORKS = {
    # The network of the article, and of TensorFlow's first tutorials.
    "lenet": ["conv 32 5", "relu", "pool", "conv 64 5", "relu", "pool", "dense 512", "relu", "dropout", "dense 10"],
    "small": ["conv 8 5", "relu", "pool", "conv 16 5", "relu", "pool", "dense 64", "relu", "dropout", "dense 10"],
    "mlp": ["dense 128", "relu", "dense 10"],
    "vgg": ["conv 32 3", "norm", "relu", "conv 32 3", "norm", "relu", "pool",
            "conv 64 3", "norm", "relu", "conv 64 3", "norm", "relu", "pool",
            "dense 128", "relu", "dense 10"],
}


def images(folder):
    """Some training images in [0, 1], NHWC, and their labels.

    20,000 of them, so that all peers fit into memory at once; speed does not depend on it.
    """

    def payload(name, header):
        with gzip.open(os.path.join(folder, name)) as file:
            return np.frombuffer(file.read(), np.uint8)[header:]

    pixels = payload("train-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28, 1)[:20_000]
    labels = payload("train-labels-idx1-ubyte.gz", 8)[:20_000]
    return pixels.astype(np.float32) / 255, labels.astype(np.int64)


def tensorflow_step(layers, pixels, labels, jit):
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    keras = tf.keras
    make = {
        "conv": lambda n, k: keras.layers.Conv2D(int(n), int(k), padding="same"),
        "pool": lambda: keras.layers.MaxPool2D(2),
        "dense": lambda n: keras.layers.Dense(int(n)),
        "relu": keras.layers.ReLU,
        "norm": keras.layers.BatchNormalization,
        "dropout": lambda: keras.layers.Dropout(0.5),
    }
    model, flat = keras.Sequential([keras.Input((28, 28, 1))]), False
    for layer in layers:
        name, *sizes = layer.split()
        if name == "dense" and not flat:
            model.add(keras.layers.Flatten())
            flat = True
        model.add(make[name](*sizes))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    optimizer = keras.optimizers.SGD(RATE, momentum=MOMENTUM)
    optimizer.build(model.trainable_variables)
    pixels, labels = tf.constant(pixels), tf.constant(labels)

    @tf.function(jit_compile=jit)
    def train(x, y):
        with tf.GradientTape() as tape:
            value = loss(y, model(x, training=True))
        gradients = tape.gradient(value, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables))
        return value

    def step(rows):
        return float(train(tf.gather(pixels, rows), tf.gather(labels, rows)))

    return step


def torch_step(layers, pixels, labels, channels_last, compiled):
    import torch
    from torch import nn

    torch.set_num_threads(1)
    shape, modules = (1, 28, 28), []
    for layer in layers:
        name, *sizes = layer.split()
        sizes = [int(size) for size in sizes]
        if name == "dense" and len(shape) > 1:
            modules.append(nn.Flatten())
            shape = (int(np.prod(shape)),)
        if name == "conv":
            modules.append(nn.Conv2d(shape[0], sizes[0], sizes[1], padding="same"))
            shape = (sizes[0], *shape[1:])
        elif name == "pool":
            modules.append(nn.MaxPool2d(2))
            shape = (shape[0], shape[1] // 2, shape[2] // 2)
        elif name == "dense":
            modules.append(nn.Linear(shape[0], sizes[0]))
            shape = (sizes[0],)
        else:
            make = {"relu": nn.ReLU, "norm": lambda: nn.BatchNorm2d(shape[0]), "dropout": nn.Dropout}
            modules.append(make[name]())
    model = nn.Sequential(*modules)
    pixels, labels = torch.tensor(pixels).permute(0, 3, 1, 2).contiguous(), torch.tensor(labels)
    if channels_last:
        model = model.to(memory_format=torch.channels_last)
        pixels = pixels.contiguous(memory_format=torch.channels_last)
    run = torch.compile(model) if compiled else model
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE, momentum=MOMENTUM)

    def step(rows):
        rows = torch.from_numpy(rows)
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(run(pixels[rows]), labels[rows])
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


VARIANTS = {
    "tensorflow": lambda *data: tensorflow_step(*data, jit=False),
    "tensorflow-jit": lambda *data: tensorflow_step(*data, jit=True),
    "torch": lambda *data: torch_step(*data, channels_last=False, compiled=False),
    "torch-channels-last": lambda *data: torch_step(*data, channels_last=True, compiled=False),
    "torch-compile": lambda *data: torch_step(*data, channels_last=False, compiled=True),
    "torch-compile-channels-last": lambda *data: torch_step(*data, channels_last=True, compiled=True),
}


def main():
    variant, network, folder = sys.argv[1:]
    pixels, labels = images(folder)
    step = VARIANTS[variant](NETWORKS[network], pixels, labels)
    random = np.random.default_rng(1)
    order = random.permutation(len(labels))
    place = 0

    def rows():
        nonlocal order, place
        if place + BATCH > len(order):
            order, place = random.permutation(len(labels)), 0
        place += BATCH
        return order[place - BATCH : place]

    losses = [step(rows()) for _ in range(20)]
    print("ready", flush=True)
    for line in sys.stdin:
        end = time.perf_counter() + float(line)
        started, steps = time.perf_counter(), 0
        while time.perf_counter() < end:
            losses.append(step(rows()))
            steps += 1
        speed = steps * BATCH / (time.perf_counter() - started)
        # The loss shows that it learns: a fast step that does nothing would win.
        print(f"{speed:.1f} {np.mean(losses[-20:]):.4f}", flush=True)


if __name__ == "__main__":
    main()
