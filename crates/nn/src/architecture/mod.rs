//! The layers of a network: as text, as a list, and as a plan with all shapes.
//!
//! Nothing here computes. A [`Plan`] says what each layer's shapes and weights are, for
//! the [network](crate::network) that runs it and for the ONNX file that describes it.

mod fit;
mod parse;
mod plan;
mod preset;

pub(crate) use fit::series_steps;
pub(crate) use parse::parse;
pub(crate) use plan::{ActivationShape, Init, Plan, PlannedLayer, PlannedParameter};
pub(crate) use preset::Preset;

/// One layer as written, and where it was written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct WrittenLayer {
    pub(crate) spec: LayerSpec,
    /// The 1-based column of its name in the architecture text.
    pub(crate) position: usize,
    /// The layers of a residual block.
    pub(crate) body: Vec<WrittenLayer>,
}

/// What a layer does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum LayerSpec {
    Conv {
        filters: usize,
        kernel: usize,
        stride: usize,
        padding: Padding,
        /// Parts of the channels that have filters of their own.
        groups: usize,
    },
    /// A convolution of each channel alone.
    DepthwiseConv {
        kernel: usize,
        stride: usize,
        padding: Padding,
    },
    MaxPool {
        size: usize,
        stride: usize,
    },
    AvgPool {
        size: usize,
        stride: usize,
    },
    /// A convolution along a series.
    Conv1d {
        filters: usize,
        kernel: usize,
        stride: usize,
        padding: Padding,
    },
    /// Pooling along a series.
    MaxPool1d {
        size: usize,
        stride: usize,
    },
    GlobalAvgPool,
    /// A vector for each square of an image, none of which overlap.
    Patches {
        size: usize,
        units: usize,
    },
    /// A vector for each number of a row.
    Tokens {
        units: usize,
    },
    /// A learned vector for each place of an image or a series.
    Positions,
    /// Each pixel or step as a mean of all, weighed by how well they fit.
    Attention {
        heads: usize,
    },
    LayerNorm,
    BatchNorm,
    Dropout {
        probability: f32,
    },
    Activation(Activation),
    Flatten,
    Dense {
        units: usize,
    },
    /// Layers whose result is added to what they were given.
    Residual,
    /// Vectors for the texts of mixed columns, of whatever lengths the columns ask for. No
    /// text names it: it comes first where the data asks for it.
    Embed,
}

impl LayerSpec {
    /// The layer's name in an architecture text.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            LayerSpec::Conv { .. } => "conv",
            LayerSpec::DepthwiseConv { .. } => "depthwise_conv",
            LayerSpec::MaxPool { .. } => "max_pool",
            LayerSpec::AvgPool { .. } => "avg_pool",
            LayerSpec::Conv1d { .. } => "conv1d",
            LayerSpec::MaxPool1d { .. } => "max_pool1d",
            LayerSpec::Patches { .. } => "patches",
            LayerSpec::Tokens { .. } => "tokens",
            LayerSpec::Positions => "positions",
            LayerSpec::Attention { .. } => "attention",
            LayerSpec::LayerNorm => "layer_norm",
            LayerSpec::GlobalAvgPool => "global_avg_pool",
            LayerSpec::BatchNorm => "batch_norm",
            LayerSpec::Dropout { .. } => "dropout",
            LayerSpec::Activation(activation) => activation.name(),
            LayerSpec::Flatten => "flatten",
            LayerSpec::Dense { .. } => "dense",
            LayerSpec::Residual => "residual",
            LayerSpec::Embed => "embedding",
        }
    }
}

/// What a convolution does at the edges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Padding {
    /// Zeros are added so that the result has `ceil(length / stride)` rows and columns.
    /// An odd number of them puts the extra one at the bottom and the right, as in Keras.
    Same,
    /// Nothing is added: the window stays inside the image.
    Valid,
}

/// A function of each value alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Activation {
    Relu,
    Tanh,
    Sigmoid,
    /// The exact form `x * Phi(x)`, not its tanh approximation.
    Gelu,
    /// `x * sigmoid(x)`, also called swish.
    Silu,
    /// `x`, or a hundredth of it below zero.
    LeakyRelu,
}

impl Activation {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Activation::Relu => "relu",
            Activation::Tanh => "tanh",
            Activation::Sigmoid => "sigmoid",
            Activation::Gelu => "gelu",
            Activation::Silu => "silu",
            Activation::LeakyRelu => "leaky_relu",
        }
    }
}
