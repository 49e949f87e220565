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
    /// [`Preset::Lenet`] for images, [`Preset::Mlp`] for rows of numbers.
    Auto,
}

impl Preset {
    /// The preset of this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        match name.trim() {
            "lenet" => Some(Preset::Lenet),
            "mlp" => Some(Preset::Mlp),
            "linear" => Some(Preset::Linear),
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
        if self == Preset::Linear {
            return format!("dense({classes})");
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
            Preset::Mlp | Preset::Linear => (128, 0.0),
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
