//! What single layers need: their shapes, windows and weights, or why they do not fit.

use super::{Activation, ActivationShape, Init, LayerSpec, Padding, WrittenLayer};
use crate::kernels::Window;
use crate::layers::{Steps, attention_values, series};

/// More values per image than this are refused: a mini-batch holds them for each image.
pub(super) const MAX_VALUES: usize = 50_000_000;

/// The largest side of a max-pooling window: the winner's index must fit a byte.
const MAX_POOL: usize = 16;

/// The shape after a layer.
pub(super) fn output_shape(
    spec: LayerSpec,
    input: ActivationShape,
    window: Option<Window>,
) -> Result<ActivationShape, String> {
    let image = |channels| {
        let (height, width) = window.map_or((1, 1), |w| (w.out_height, w.out_width));
        ActivationShape {
            height,
            width,
            channels,
            flat: false,
        }
    };
    Ok(match spec {
        LayerSpec::Conv1d { filters, .. } => {
            let (steps, _) = series_steps(spec, input)?;
            series_shape(steps.output, filters)
        }
        LayerSpec::MaxPool1d { .. } => {
            let (steps, channels) = series_steps(spec, input)?;
            series_shape(steps.output, channels)
        }
        LayerSpec::Conv { filters, .. } => image(filters),
        LayerSpec::Patches { units, .. } => image(units),
        LayerSpec::Tokens { .. } if !input.flat => {
            return Err(format!(
                "it makes vectors of the numbers of a list, but gets {} x {} x {}; put \
                 flatten before it, or use patches",
                input.height, input.width, input.channels
            ));
        }
        LayerSpec::Tokens { units } => series_shape(input.channels, units),
        LayerSpec::Positions | LayerSpec::Attention { .. } if input.flat => {
            return Err(format!(
                "it needs patches, steps or other vectors, but gets a list of {} numbers; \
                 put tokens(units) before it, or put it before flatten and dense",
                input.channels
            ));
        }
        LayerSpec::Positions | LayerSpec::Attention { .. } => input,
        LayerSpec::DepthwiseConv { .. }
        | LayerSpec::MaxPool { .. }
        | LayerSpec::AvgPool { .. }
        | LayerSpec::GlobalAvgPool => image(input.channels),
        LayerSpec::Flatten => ActivationShape::vector(input.values()),
        LayerSpec::Dense { units } => ActivationShape::vector(units),
        LayerSpec::BatchNorm
        | LayerSpec::LayerNorm
        | LayerSpec::Dropout { .. }
        | LayerSpec::Activation(_)
        | LayerSpec::Residual
        | LayerSpec::Embed => input,
    })
}

/// Whether a layer holds more than [`MAX_VALUES`] numbers for an image.
pub(super) fn needs_too_much(
    spec: LayerSpec,
    input: ActivationShape,
    output: ActivationShape,
    window: Option<Window>,
) -> Result<bool, String> {
    let inside = match (spec, window) {
        (LayerSpec::Conv1d { kernel, .. }, _) => {
            let (steps, channels) = series_steps(spec, input)?;
            steps.output.saturating_mul(kernel).saturating_mul(channels)
        }
        (LayerSpec::Conv { .. } | LayerSpec::Patches { .. }, Some(window)) => {
            window.values() * window.positions()
        }
        (LayerSpec::Attention { heads }, _) => attention_values(input, heads),
        _ => 0,
    };
    let outputs = [output.height, output.width, output.channels];
    Ok(too_large(&outputs, MAX_VALUES) || inside > MAX_VALUES)
}

/// Weights that belong together, before they have a place among all.
pub(super) struct WeightGroup {
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) init: Init,
    pub(super) decays: bool,
}

impl WeightGroup {
    /// A matrix with its initial values in `-limit..limit`.
    fn matrix(rows: usize, columns: usize, limit: f32) -> Self {
        Self {
            rows,
            columns,
            init: Init::Uniform { limit },
            decays: true,
        }
    }

    /// A list of numbers that start out equal.
    fn list(columns: usize, value: f32) -> Self {
        Self {
            rows: 1,
            columns,
            init: Init::Constant(value),
            decays: false,
        }
    }
}

/// The weights of a layer, in the order that the layer documents.
pub(super) fn weight_groups(
    spec: LayerSpec,
    input: ActivationShape,
    following: &[WrittenLayer],
) -> Result<Vec<WeightGroup>, String> {
    let channels = input.channels;
    // Of a matrix: its rows and columns, and how many windows see a value.
    let (rows, columns, window) = match spec {
        LayerSpec::Conv {
            filters,
            kernel,
            groups,
            ..
        } => {
            if !channels.is_multiple_of(groups) || !filters.is_multiple_of(groups) {
                return Err(format!(
                    "its {groups} groups must divide the {channels} channels that it gets \
                     and its {filters} filters; change one of them"
                ));
            }
            let rows = kernel * kernel * (channels / groups);
            let limit = limit(rows, filters / groups * kernel * kernel, following);
            return Ok(vec![
                WeightGroup::matrix(rows, filters, limit),
                WeightGroup::list(filters, 0.0),
            ]);
        }
        LayerSpec::DepthwiseConv { kernel, .. } => {
            let taps = kernel * kernel;
            return Ok(vec![
                WeightGroup::matrix(taps, channels, limit(taps, taps, following)),
                WeightGroup::list(channels, 0.0),
            ]);
        }
        LayerSpec::Patches { size, units } => (size * size * channels, units, 1),
        LayerSpec::Positions => {
            // A deviation of 0.02.
            let limit = 0.02 * 3.0_f32.sqrt();
            let pixels = input.height * input.width;
            let mut group = WeightGroup::matrix(pixels, channels, limit);
            group.decays = false;
            return Ok(vec![group]);
        }
        LayerSpec::Tokens { units } => {
            let limit = (units as f32).sqrt().recip();
            let factors = WeightGroup::matrix(channels, units, limit);
            let mut shifts = WeightGroup::matrix(channels, units, limit);
            shifts.decays = false;
            return Ok(vec![factors, shifts]);
        }
        LayerSpec::Attention { heads } => return attention_groups(channels, heads),
        LayerSpec::Conv1d {
            filters, kernel, ..
        } => {
            let (_, channels) = series_steps(spec, input)?;
            (kernel * channels, filters, kernel)
        }
        LayerSpec::Dense { units } => (input.values(), units, 1),
        LayerSpec::BatchNorm | LayerSpec::LayerNorm => {
            return Ok(vec![
                WeightGroup::list(channels, 1.0),
                WeightGroup::list(channels, 0.0),
            ]);
        }
        _ => return Ok(Vec::new()),
    };
    Ok(vec![
        WeightGroup::matrix(rows, columns, limit(rows, columns * window, following)),
        WeightGroup::list(columns, 0.0),
    ])
}

/// The matrix and the bias of queries, keys and values, then those of what comes out, with the
/// limits of Glorot.
fn attention_groups(channels: usize, heads: usize) -> Result<Vec<WeightGroup>, String> {
    if !channels.is_multiple_of(heads) {
        return Err(format!(
            "its {heads} heads must divide the {channels} channels that it gets; change \
             one of them"
        ));
    }
    let glorot = |outputs: usize| (6.0 / (channels + outputs) as f32).sqrt();
    let asked = channels.saturating_mul(3);
    Ok(vec![
        WeightGroup::matrix(channels, asked, glorot(asked)),
        WeightGroup::list(asked, 0.0),
        WeightGroup::matrix(channels, channels, glorot(channels)),
        WeightGroup::list(channels, 0.0),
    ])
}

/// The windows of a layer along a series, and the channels of the series.
pub(crate) fn series_steps(
    spec: LayerSpec,
    input: ActivationShape,
) -> Result<(Steps, usize), String> {
    let (size, padding) = match spec {
        LayerSpec::Conv1d {
            kernel,
            stride,
            padding,
            ..
        } => ((kernel, stride), padding),
        LayerSpec::MaxPool1d { size, stride } => ((size, stride), Padding::Valid),
        _ => return Err("it does not go along a series".to_owned()),
    };
    let Some((steps, channels)) = series(input) else {
        return Err(format!(
            "it goes along a series, a list of numbers or an image of one row, and not over \
             {} x {}; use conv",
            input.height, input.width
        ));
    };
    match Steps::new(steps, size, padding) {
        Some(windows) => Ok((windows, channels)),
        None => Err(format!(
            "its window of {} is longer than the series, which has {steps} steps here",
            size.0
        )),
    }
}

fn series_shape(steps: usize, channels: usize) -> ActivationShape {
    ActivationShape {
        height: 1,
        width: steps,
        channels,
        flat: false,
    }
}

/// The layer that gives the input of a residual block the shape of its output: a convolution
/// of single pixels with a stride, or a dense layer.
pub(super) fn projection(
    input: ActivationShape,
    output: ActivationShape,
) -> Option<LayerSpec> {
    if input.flat {
        return Some(LayerSpec::Dense {
            units: output.channels,
        });
    }
    let fits = |stride: &usize| {
        input.height.div_ceil(*stride) == output.height
            && input.width.div_ceil(*stride) == output.width
    };
    let stride = (1..=MAX_POOL).find(fits)?;
    Some(LayerSpec::Conv {
        filters: output.channels,
        kernel: 1,
        stride,
        padding: Padding::Same,
        groups: 1,
    })
}

/// Half the width of a layer's initial distribution.
///
/// He's (`keras.initializers.HeUniform`) before ReLU and GELU, which halve the variance;
/// Glorot's (`keras.initializers.GlorotUniform`, the default in Keras) otherwise.
fn limit(fan_in: usize, fan_out: usize, following: &[WrittenLayer]) -> f32 {
    let activation = following.iter().find_map(|layer| match layer.spec {
        LayerSpec::Activation(activation) => Some(Some(activation)),
        LayerSpec::Conv { .. }
        | LayerSpec::Conv1d { .. }
        | LayerSpec::DepthwiseConv { .. }
        | LayerSpec::Patches { .. }
        | LayerSpec::Tokens { .. }
        | LayerSpec::Attention { .. }
        | LayerSpec::Dense { .. }
        | LayerSpec::Residual => Some(None),
        _ => None,
    });
    match activation.flatten() {
        Some(Activation::Relu | Activation::Gelu) => (6.0 / fan_in as f32).sqrt(),
        _ => (6.0 / (fan_in + fan_out) as f32).sqrt(),
    }
}

/// Whether the product of `factors` exceeds `limit`.
pub(super) fn too_large(factors: &[usize], limit: usize) -> bool {
    factors
        .iter()
        .try_fold(1_usize, |product, factor| product.checked_mul(*factor))
        .is_none_or(|product| product > limit)
}

/// The window of a convolution or a pooling layer.
pub(super) fn window(
    spec: LayerSpec,
    input: ActivationShape,
) -> Result<Option<Window>, String> {
    let (size, stride, padding) = match spec {
        LayerSpec::Conv {
            kernel,
            stride,
            padding,
            ..
        }
        | LayerSpec::DepthwiseConv {
            kernel,
            stride,
            padding,
        } => (kernel, stride, padding),
        LayerSpec::MaxPool { size, .. } if size > MAX_POOL => {
            return Err(format!("the size must be at most {MAX_POOL}, got {size}"));
        }
        LayerSpec::MaxPool { size, stride } | LayerSpec::AvgPool { size, stride } => {
            (size, stride, Padding::Valid)
        }
        LayerSpec::Patches { size, .. } => (size, size, Padding::Valid),
        LayerSpec::GlobalAvgPool => (1, 1, Padding::Valid),
        _ => return Ok(None),
    };
    let ActivationShape {
        height,
        width,
        channels,
        flat,
    } = input;
    if flat {
        return Err(format!(
            "it needs an image, but gets a vector of {channels} values; put it before \
             flatten and dense"
        ));
    }
    if spec == LayerSpec::GlobalAvgPool {
        return Ok(None);
    }
    let has_rest = !height.is_multiple_of(size) || !width.is_multiple_of(size);
    if matches!(spec, LayerSpec::Patches { .. }) && has_rest {
        return Err(format!(
            "its patches of {size} x {size} do not cover {height} x {width}; give a size \
             that divides both"
        ));
    }
    let smaller = size > height || size > width;
    if smaller && (padding == Padding::Valid || size > 1_000) {
        return Err(format!(
            "its input is {height} x {width}, smaller than its window of {size} x {size}; \
             use a smaller window or fewer layers before it"
        ));
    }
    let (out_height, pad_top) = steps(height, size, stride, padding);
    let (out_width, pad_left) = steps(width, size, stride, padding);
    Ok(Some(Window {
        in_height: height,
        in_width: width,
        channels,
        size,
        stride,
        pad_top,
        pad_left,
        out_height,
        out_width,
    }))
}

/// The number of window positions along one side, and the padding before it.
fn steps(length: usize, size: usize, stride: usize, padding: Padding) -> (usize, usize) {
    match padding {
        Padding::Valid => ((length - size) / stride + 1, 0),
        Padding::Same => {
            let steps = length.div_ceil(stride);
            let pad = ((steps - 1) * stride + size).saturating_sub(length);
            (steps, pad / 2)
        }
    }
}
