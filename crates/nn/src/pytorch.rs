//! Whole training steps against PyTorch: every layer together with an optimizer.
//!
//! The images, labels and weights are the same simple functions of an index on both
//! sides. In PyTorch, with the weights in this crate's order:
//!
//! ```python
//! def parts_of(sizes):
//!     flat = (0.3 * np.sin(1.7 * np.arange(sum(sizes)))).astype(np.float32)
//!     return [torch.tensor(p, requires_grad=True)
//!             for p in np.split(flat, np.cumsum(sizes)[:-1])]
//! def kernel(p, k, c, f): return p.reshape(k, k, c, f).permute(3, 2, 0, 1)
//! def flat(h): return h.permute(0, 2, 3, 1).flatten(1)
//! def checksum(parts):
//!     w = torch.cat([p.detach() for p in parts]).double().numpy()
//!     return (w * np.cos(np.arange(len(w)))).sum()
//! pixels = torch.tensor([(i * 37 % 251) / 255 for i in range(5 * 64 * channels)])
//! x = pixels.reshape(5, 8, 8, channels).permute(0, 3, 1, 2)
//! y = torch.tensor([0, 1, 2, 0, 1])
//! ```

use std::ops::Range;

use crate::layers::PassMode;
use crate::loss::{Targets, cross_entropy};
use crate::network::Network;
use crate::optimizer::Optimizer;
use crate::{Hyperparameters, ImageShape};

/// What PyTorch found.
struct Expected<const N: usize> {
    /// Before the first step, and after each of two steps.
    losses: [f64; 3],
    /// Some weights after both steps: index and value.
    weights: [(usize, f32); N],
    checksum: f64,
    /// Weights that the checksum leaves out.
    unstable: Range<usize>,
}

#[track_caller]
fn check<const N: usize>(
    json: &serde_json::Value,
    channels: usize,
    expected: &Expected<N>,
) {
    let hyperparameters = Hyperparameters::from_json(json.as_object().unwrap()).unwrap();
    let image = ImageShape {
        height: 8,
        width: 8,
        channels,
    };
    let plan = hyperparameters.plan(image, 3).unwrap();
    let mut optimizer = Optimizer::new(&hyperparameters, plan.weights);
    let mut network = Network::new(plan, 5, 0).unwrap();
    network.set_weights(|index| (0.3 * (1.7 * index as f64).sin()) as f32);
    for (step, expected) in expected.losses.iter().enumerate() {
        for (index, value) in network.images_mut(5).iter_mut().enumerate() {
            *value = (index * 37 % 251) as f32 / 255.0;
        }
        network.forward(5, PassMode::Training);
        let (logits, slopes) = network.logits_and_slopes(5);
        let cost = cross_entropy(logits, Targets::plain(&[0, 1, 2, 0, 1]), Some(slopes));
        assert!(
            (cost.loss / 5.0 - expected).abs() < 2e-6,
            "step {step}: {cost:?}"
        );
        if step < 2 {
            network.backward(5);
            let (parameters, weights, gradients) = network.learn();
            let rate = hyperparameters.learning_rate;
            optimizer.step(parameters, weights, gradients, rate);
        }
    }
    let weights = network.weights();
    for (index, expected) in expected.weights {
        let actual = weights[index];
        assert!(
            (actual - expected).abs() < 5e-6,
            "weight {index}: {actual} {expected}"
        );
    }
    let stable = (0..weights.len()).filter(|n| !expected.unstable.contains(n));
    let terms = stable.map(|n| f64::from(weights[n]) * (n as f64).cos());
    let checksum: f64 = terms.sum();
    assert!(
        (checksum - expected.checksum).abs() < 5e-5,
        "checksum {checksum}"
    );
}

// >>> p = parts_of([100, 4, 600, 6, 192, 8, 24, 3])   # channels = 1
// >>> optimizer = torch.optim.SGD([{"params": p[0::2], "weight_decay": 5e-4},
// ...     {"params": p[1::2], "weight_decay": 0}], lr=0.1, momentum=0.9)
// >>> for step in range(3):
// ...     h = F.conv2d(x, kernel(p[0], 5, 1, 4), p[1], padding="same")
// ...     h = F.max_pool2d(F.relu(h), 2)
// ...     h = F.conv2d(h, kernel(p[2], 5, 4, 6), p[3], padding="same")
// ...     h = flat(F.max_pool2d(F.relu(h), 2))
// ...     h = F.relu(h @ p[4].reshape(24, 8) + p[5])
// ...     loss = F.cross_entropy(h @ p[6].reshape(8, 3) + p[7], y); print(loss.item())
// ...     if step < 2: optimizer.zero_grad(); loss.backward(); optimizer.step()
#[test]
fn the_network_of_the_tutorial() {
    let json = serde_json::json!({
        "architecture": "lenet", "filters": [4, 6], "hidden": 8, "dropout": 0,
        "learning_rate": 0.1, "momentum": 0.9, "weight_decay": 5e-4,
    });
    check(
        &json,
        1,
        &Expected {
            losses: [1.224_186_9, 1.193_286_1, 1.155_867],
            weights: [
                (0, 0.010_749_222),
                (50, -0.052_903_56),
                (102, -0.165_391_39),
                (400, 0.275_661_74),
                (705, -0.300_847_26),
                (710, 0.176_996_45),
                (800, 0.091_409_1),
                (930, -0.221_487_88),
            ],
            checksum: 0.279_746_673,
            unstable: 0..0,
        },
    );
}

// >>> p = parts_of([54, 3, 3, 3, 48, 4, 12, 3])   # channels = 2
// >>> optimizer = torch.optim.AdamW([
// ...     {"params": [p[0], p[4], p[6]], "weight_decay": 0.01},
// ...     {"params": [p[1], p[2], p[3], p[5], p[7]], "weight_decay": 0}], lr=0.05)
// >>> mean, var = torch.zeros(3), torch.ones(3)
// >>> for step in range(3):
// ...     h = F.pad(x, (0, 1, 0, 1))   # Keras's "same" for stride 2
// ...     h = F.conv2d(h, kernel(p[0], 3, 2, 3), p[1], stride=2)
// ...     h = F.gelu(F.batch_norm(h, mean, var, p[2], p[3], training=True))
// ...     h = torch.tanh(flat(F.avg_pool2d(h, 2)) @ p[4].reshape(12, 4) + p[5])
// ...     loss = F.cross_entropy(h @ p[6].reshape(4, 3) + p[7], y); print(loss.item())
// ...     if step == 2: break
// ...     optimizer.zero_grad(); loss.backward()
// ...     torch.nn.utils.clip_grad_norm_(p, 0.1); optimizer.step()
#[test]
fn a_network_of_everything_else() {
    let json = serde_json::json!({
        "architecture": "conv(3, 3, stride: 2), batch_norm, gelu, avg_pool(2), dense(4), \
                         tanh, dense(3)",
        "optimizer": "adamw", "learning_rate": 0.05, "weight_decay": 0.01,
        "clip_norm": 0.1,
    });
    check(
        &json,
        2,
        &Expected {
            losses: [1.074_785, 1.048_479_2, 1.034_885_3],
            // Adam divides by the gradient's size, so the convolution's bias, which batch
            // norm makes meaningless, moves by its rounding errors.
            weights: [
                (0, -0.099_742_4),
                (30, 0.100_839_32),
                (58, -0.372_170_98),
                (61, -0.022_785_217),
                (70, -0.020_434_659),
                (112, 0.379_507_9),
                (127, 0.132_598_98),
            ],
            checksum: 0.285_869_494,
            unstable: 54..57,
        },
    );
}

// >>> p = parts_of([36, 4, 36, 4, 4, 4, 24, 6, 288, 3])   # channels = 2
// >>> optimizer = torch.optim.SGD([
// ...     {"params": [p[0], p[2], p[6], p[8]], "weight_decay": 5e-4},
// ...     {"params": [p[1], p[3], p[4], p[5], p[7], p[9]], "weight_decay": 0}],
// ...     lr=0.1, momentum=0.9)
// >>> for step in range(3):
// ...     h = F.conv2d(x, kernel(p[0], 3, 1, 4), p[1], padding="same", groups=2)
// ...     h = F.pad(F.relu(h), (0, 1, 0, 1))   # Keras's "same" for stride 2
// ...     h = F.conv2d(h, kernel(p[2], 3, 1, 4), p[3], stride=2, groups=4)
// ...     h = F.relu(F.batch_norm(h, None, None, p[4], p[5], training=True))
// ...     h = torch.tanh(F.conv2d(h, kernel(p[6], 1, 4, 6), p[7]))
// ...     loss = F.cross_entropy(flat(h) @ p[8].reshape(96, 3) + p[9], y)
// ...     if step < 2: optimizer.zero_grad(); loss.backward(); optimizer.step()
#[test]
fn groups_and_single_channels() {
    let json = serde_json::json!({
        "architecture": "conv(4, 3, groups: 2), relu, depthwise_conv(3, stride: 2), \
                         batch_norm, relu, conv(6, 1), tanh, dense(3)",
        "learning_rate": 0.1, "momentum": 0.9, "weight_decay": 5e-4,
    });
    check(
        &json,
        2,
        &Expected {
            losses: [1.132_903_34, 1.080_028_77, 1.039_467_81],
            // As above, batch norm makes the bias before it meaningless.
            weights: [
                (0, -0.009_665_8),
                (20, 0.156_219_65),
                (38, 0.350_884_68),
                (45, 0.271_188_68),
                (70, -0.113_524_78),
                (81, -0.194_296_37),
                (86, 0.287_341_9),
                (100, 0.090_955_69),
                (113, -0.146_907_26),
                (200, 0.190_614_28),
                (405, -0.136_573_75),
            ],
            checksum: 0.669_107_603,
            unstable: 76..80,
        },
    );
}

// >>> p = parts_of([256, 8, 32, 8, 8, 192, 24, 64, 8, 8, 8, 96, 12, 96, 8, 8, 8, 24, 3])
// >>> matrices = [0, 5, 7, 11, 13, 17]   # with a weight decay of 5e-4, the others without
// >>> optimizer = torch.optim.SGD(.., lr=0.1, momentum=0.9)   # channels = 2
// >>> for step in range(3):
// ...     h = F.conv2d(x, kernel(p[0], 4, 2, 8), p[1], stride=4)
// ...     h = h.permute(0, 2, 3, 1).reshape(5, 4, 8) + p[2].reshape(4, 8)
// ...     z = F.layer_norm(h, [8], p[3], p[4]).transpose(0, 1)
// ...     h = h + F.multi_head_attention_forward(z, z, z, 8, 2, p[5].reshape(8, 24).T, p[6],
// ...         None, None, False, 0.0, p[7].reshape(8, 8).T, p[8])[0].transpose(0, 1)
// ...     z = F.layer_norm(h, [8], p[9], p[10])
// ...     z = F.gelu(z @ p[11].reshape(8, 12) + p[12]) @ p[13].reshape(12, 8) + p[14]
// ...     h = F.layer_norm(h + z, [8], p[15], p[16]).mean(1)
// ...     loss = F.cross_entropy(h @ p[17].reshape(8, 3) + p[18], y)
// ...     if step < 2: optimizer.zero_grad(); loss.backward(); optimizer.step()
#[test]
fn attention_over_patches() {
    let json = serde_json::json!({
        "architecture": "patches(4, 8), positions, residual(layer_norm, attention(2)), \
                         residual(layer_norm, conv(12, 1), gelu, conv(8, 1)), layer_norm, \
                         global_avg_pool, dense(3)",
        "learning_rate": 0.1, "momentum": 0.9, "weight_decay": 5e-4,
    });
    check(
        &json,
        2,
        &Expected {
            losses: [1.174_015_05, 1.155_050_52, 1.124_999_05],
            weights: [
                (0, 0.000_094_28),
                (100, 0.099_886_73),
                (258, -0.282_458_34),
                (270, 0.093_744_83),
                (297, 0.234_365_25),
                (305, -0.041_246_35),
                (320, -0.144_983_26),
                (400, 0.296_429_8),
                (460, 0.076_127_51),
                (505, -0.224_423_93),
                (520, -0.279_991_4),
                (590, -0.220_137),
                (600, 0.255_379_6),
                (720, -0.281_684_2),
                (860, -0.274_295_12),
                (870, 0.131_165_77),
            ],
            checksum: 0.113_078_804,
            unstable: 0..0,
        },
    );
}
