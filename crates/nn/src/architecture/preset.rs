//! Architectures with a name. A preset is nothing but a text with some numbers left open.

use std::fmt::Write;

/// An architecture known by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Preset {
    /// The convolutional network of TensorFlow's first MNIST tutorials.
    Lenet,
    /// One hidden layer.
    Mlp,
    /// No hidden layer: logistic or linear regression.
    Linear,
    /// A residual network of 8 layers for small images, as CIFAR's in He 2016.
    Resnet8,
    /// The same of 20 layers.
    Resnet20,
    /// Inverted residual blocks for small images, as MobileNetV2 of M. Sandler and others,
    /// MobileNetV2: inverted residuals and linear bottlenecks, CVPR 2018, in four stages with a
    /// ReLU in place of its ReLU6: about 138,000 weights for ten
    /// classes.
    Mobilenet,
    /// A transformer over patches of small images, as in A. Dosovitskiy and others, An image is
    /// worth 16x16 words, ICLR 2021: patches of 4 x 4 pixels, 4 blocks of width 64 with 4 heads
    /// (the paper's smallest has 12 of width 768), and their mean instead of a class token: about
    /// 208,000 weights for ten classes and images of 32 x 32.
    VitTiny,
    /// Residual blocks for rows, as the ResNet of Y. Gorishniy and others, Revisiting deep
    /// learning models for tabular data, NeurIPS 2021.
    TabularResnet,
    /// [`Preset::Lenet`] for images, [`Preset::Mlp`] for rows of numbers.
    Auto,
}

impl Preset {
    /// All names.
    pub(crate) const NAMES: [&str; 9] = [
        "auto",
        "lenet",
        "mlp",
        "linear",
        "resnet8",
        "resnet20",
        "mobilenet",
        "vit_tiny",
        "tabular_resnet",
    ];

    /// The preset of this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        match name.trim() {
            "lenet" => Some(Preset::Lenet),
            "mlp" => Some(Preset::Mlp),
            "linear" => Some(Preset::Linear),
            "resnet8" => Some(Preset::Resnet8),
            "resnet20" => Some(Preset::Resnet20),
            "mobilenet" => Some(Preset::Mobilenet),
            "vit_tiny" => Some(Preset::VitTiny),
            "tabular_resnet" => Some(Preset::TabularResnet),
            "auto" => Some(Preset::Auto),
            _ => None,
        }
    }

    /// The preset that it stands for.
    pub(crate) fn resolved(self, has_images: bool) -> Self {
        match (self, has_images) {
            (Preset::Auto, true) => Preset::Lenet,
            (Preset::Auto, false) => Preset::Mlp,
            (preset, _) => preset,
        }
    }

    /// The preset as an architecture text; what is not given has the preset's default.
    pub(crate) fn text(
        self,
        filters: Option<&[u32]>,
        hidden: Option<u32>,
        dropout: Option<f64>,
        classes: usize,
    ) -> String {
        match self {
            Preset::Linear => return format!("dense({classes})"),
            Preset::Resnet8 => return resnet(1, filters, classes),
            Preset::Resnet20 => return resnet(3, filters, classes),
            Preset::Mobilenet => {
                return mobilenet(filters, dropout.unwrap_or(0.0), classes);
            }
            Preset::VitTiny => {
                return vit_tiny(hidden.unwrap_or(64), dropout.unwrap_or(0.0), classes);
            }
            Preset::TabularResnet => {
                let units = hidden.unwrap_or(128);
                return tabular_resnet(units, dropout.unwrap_or(0.0), classes);
            }
            Preset::Lenet | Preset::Mlp | Preset::Auto => {}
        }
        let mut text = String::new();
        if self != Preset::Mlp {
            for count in filters.unwrap_or(&[32, 64]) {
                // Writing to a string cannot fail.
                let _ = write!(text, "conv({count}, 5), relu, max_pool(2), ");
            }
        }
        let (units, probability) = match self {
            Preset::Lenet | Preset::Auto => (512, 0.5),
            _ => (128, 0.0),
        };
        let units = hidden.unwrap_or(units);
        let probability = dropout.unwrap_or(probability);
        let _ = write!(text, "dense({units}), relu, ");
        if probability > 0.0 {
            let _ = write!(text, "dropout({probability}), ");
        }
        let _ = write!(text, "dense({classes})");
        text
    }
}

/// Three stages of blocks with two convolutions each, the image half as large from one to the
/// next.
fn resnet(blocks: usize, filters: Option<&[u32]>, classes: usize) -> String {
    let filters = filters.unwrap_or(&[16, 32, 64]);
    let first = filters.first().copied().unwrap_or(16);
    let mut text = format!("conv({first}, 3), batch_norm, relu, ");
    for (stage, count) in filters.iter().enumerate() {
        for block in 0..blocks {
            let stride = match stage > 0 && block == 0 {
                true => ", stride: 2",
                false => "",
            };
            // Writing to a string cannot fail.
            let _ = write!(
                text,
                "residual(conv({count}, 3{stride}), batch_norm, relu, conv({count}, 3), \
                 batch_norm), relu, "
            );
        }
    }
    let _ = write!(text, "global_avg_pool, dense({classes})");
    text
}

/// The text of a dropout that is followed by more layers, if there is one.
fn drop_out(probability: f64) -> String {
    match probability > 0.0 {
        true => format!("dropout({probability}), "),
        false => String::new(),
    }
}

/// A block without expansion, then two blocks a stage that are six times as wide inside as what
/// they are given, the image half as large from one stage to the next. A block whose shape stays
/// is added to what it was given.
fn mobilenet(filters: Option<&[u32]>, dropout: f64, classes: usize) -> String {
    let filters = filters.unwrap_or(&[16, 24, 32, 64]);
    let first = filters.first().copied().unwrap_or(16);
    let narrow = |stride: &str, count: u32| {
        format!(
            "depthwise_conv(3{stride}), batch_norm, relu, conv({count}, 1), batch_norm"
        )
    };
    let wide = |from: u32, stride: &str, count: u32| {
        let inside = from.saturating_mul(6);
        let narrow = narrow(stride, count);
        format!("conv({inside}, 1), batch_norm, relu, {narrow}")
    };
    let stem = first.saturating_mul(2);
    let mut text = format!("conv({stem}, 3), batch_norm, relu, {}, ", narrow("", first));
    for pair in filters.windows(2) {
        let (before, count) = (pair[0], pair[1]);
        let halving = wide(before, ", stride: 2", count);
        // Writing to a string cannot fail.
        let _ = write!(text, "{halving}, residual({}), ", wide(count, "", count));
    }
    let last = filters.last().copied().unwrap_or(first).saturating_mul(4);
    let drop = drop_out(dropout);
    let _ = write!(
        text,
        "conv({last}, 1), batch_norm, relu, global_avg_pool, {drop}dense({classes})"
    );
    text
}

/// Four blocks, each attention and then two layers for each patch, four times as wide inside.
fn vit_tiny(units: u32, dropout: f64, classes: usize) -> String {
    let inside = units.saturating_mul(4);
    let drop = match dropout > 0.0 {
        true => format!(", dropout({dropout})"),
        false => String::new(),
    };
    let block = format!(
        "residual(layer_norm, attention(4){drop}), residual(layer_norm, conv({inside}, 1), \
         gelu, conv({units}, 1){drop}), "
    );
    format!(
        "patches(4, {units}), positions, {}layer_norm, global_avg_pool, dense({classes})",
        block.repeat(4)
    )
}

/// Two blocks, each twice as wide inside.
fn tabular_resnet(units: u32, dropout: f64, classes: usize) -> String {
    let inside = 2 * units;
    let drop = drop_out(dropout);
    let block =
        format!("residual(batch_norm, dense({inside}), relu, {drop}dense({units})), ");
    format!("dense({units}), {block}{block}batch_norm, relu, dense({classes})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lenet_is_the_network_of_the_tutorial() {
        assert_eq!(
            Preset::Lenet.text(None, None, None, 10),
            "conv(32, 5), relu, max_pool(2), conv(64, 5), relu, max_pool(2), \
             dense(512), relu, dropout(0.5), dense(10)"
        );
    }

    #[test]
    fn mobilenet_adds_blocks_whose_shape_stays() {
        assert_eq!(
            Preset::Mobilenet.text(Some(&[2, 3]), None, Some(0.1), 5),
            "conv(4, 3), batch_norm, relu, depthwise_conv(3), batch_norm, relu, \
             conv(2, 1), batch_norm, conv(12, 1), batch_norm, relu, \
             depthwise_conv(3, stride: 2), batch_norm, relu, conv(3, 1), batch_norm, \
             residual(conv(18, 1), batch_norm, relu, depthwise_conv(3), batch_norm, relu, \
             conv(3, 1), batch_norm), conv(12, 1), batch_norm, relu, global_avg_pool, \
             dropout(0.1), dense(5)"
        );
    }

    #[test]
    fn a_preset_has_its_own_defaults() {
        assert_eq!(
            Preset::Mlp.text(None, None, None, 3),
            "dense(128), relu, dense(3)"
        );
        assert_eq!(
            Preset::Lenet.text(Some(&[4]), Some(8), Some(0.0), 3),
            "conv(4, 5), relu, max_pool(2), dense(8), relu, dense(3)"
        );
    }
}
