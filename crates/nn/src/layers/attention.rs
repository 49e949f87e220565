//! Multi-head self-attention over the pixels of an image or the steps of a series (A. Vaswani
//! and others, Attention is all you need, NIPS 2017).

use super::{Flow, Layer, Pass};
use crate::architecture::ActivationShape;
use crate::kernels::{
    Buffer, Matrix, Sum, add_rows, fill_rows, multiply, multiply_alone, softmax,
    softmax_slope,
};

/// Each pixel or step is a token, whose channels become a mean of what all tokens have to say,
/// weighed by how well they fit, once for each head.
///
/// Its weights are a matrix of channel by (query, key, value), then one bias for each of those,
/// then a matrix of channel by channel for what comes out, then one bias for each. They are the
/// transposed ones of `torch.nn.MultiheadAttention`.
pub(crate) struct Attention {
    tokens: usize,
    channels: usize,
    heads: usize,
    /// Queries, keys and values of each token.
    asked: Buffer,
    /// How much each token listens to each other, of each head.
    shares: Buffer,
    /// The means of values.
    heard: Buffer,
    of_asked: Buffer,
    of_heard: Buffer,
    /// The gradient of the shares of one head, of each image.
    of_shares: Buffer,
}

/// Numbers that attention keeps for an image, beside what comes out.
pub(crate) fn kept_values(shape: ActivationShape, heads: usize) -> usize {
    let tokens = shape.height * shape.width;
    let pairs = tokens.saturating_mul(tokens).saturating_mul(heads + 1);
    pairs.saturating_add(8 * shape.values())
}

impl Attention {
    /// For mini-batches of at most `rows` images; the heads divide the channels.
    pub(crate) fn new(shape: ActivationShape, heads: usize, rows: usize) -> Self {
        let (tokens, channels) = (shape.height * shape.width, shape.channels);
        let values = rows * tokens * channels;
        let pairs = rows * tokens * tokens;
        Self {
            tokens,
            channels,
            heads,
            asked: Buffer::zeros(3 * values),
            shares: Buffer::zeros(heads * pairs),
            heard: Buffer::zeros(values),
            of_asked: Buffer::zeros(3 * values),
            of_heard: Buffer::zeros(values),
            of_shares: Buffer::zeros(pairs),
        }
    }

    fn parts<'a>(&self, weights: &'a [f32]) -> Weights<'a> {
        let channels = self.channels;
        let (ask, rest) = weights.split_at(3 * channels * channels);
        let (ask_bias, rest) = rest.split_at(3 * channels);
        let (tell, tell_bias) = rest.split_at(channels * channels);
        Weights {
            ask: Matrix::new(ask, channels, 3 * channels),
            ask_bias,
            tell: Matrix::new(tell, channels, channels),
            tell_bias,
        }
    }

    /// One over the root of a head's channels.
    fn scale(&self) -> f32 {
        ((self.channels / self.heads) as f32).sqrt().recip()
    }
}

struct Weights<'a> {
    ask: Matrix<'a>,
    ask_bias: &'a [f32],
    tell: Matrix<'a>,
    tell_bias: &'a [f32],
}

/// The query, key and value of one head among those of all.
fn of_head(
    asked: &[f32],
    (tokens, channels): (usize, usize),
    (head, width): (usize, usize),
) -> [Matrix<'_>; 3] {
    [0, 1, 2].map(|kind| {
        let start = kind * channels + head * width;
        Matrix::strided(&asked[start..], tokens, width, 3 * channels)
    })
}

impl Layer for Attention {
    fn forward(
        &mut self,
        weights: &[f32],
        input: &[f32],
        output: &mut [f32],
        pass: Pass<'_>,
    ) {
        let (tokens, channels, heads) = (self.tokens, self.channels, self.heads);
        let (width, scale) = (channels / heads, self.scale());
        let weights = self.parts(weights);
        let all = input.len() / channels;
        let asked = &mut self.asked[..3 * input.len()];
        fill_rows(asked, weights.ask_bias);
        let input = Matrix::new(input, all, channels);
        multiply(asked, input, weights.ask, Sum::Add, pass.team);
        let images = asked
            .chunks_exact(3 * tokens * channels)
            .zip(self.shares.chunks_exact_mut(heads * tokens * tokens))
            .zip(self.heard.chunks_exact_mut(tokens * channels));
        pass.team.share(images, |((asked, shares), heard)| {
            let heads = shares.chunks_exact_mut(tokens * tokens);
            for (head, shares) in heads.enumerate() {
                let size = (tokens, channels);
                let [query, key, value] = of_head(asked, size, (head, width));
                multiply_alone(shares, tokens, query, key.transposed());
                softmax(shares, tokens, scale);
                let shares = Matrix::new(shares, tokens, tokens);
                multiply_alone(&mut heard[head * width..], channels, shares, value);
            }
        });
        fill_rows(output, weights.tell_bias);
        let heard = Matrix::new(&self.heard[..all * channels], all, channels);
        multiply(output, heard, weights.tell, Sum::Add, pass.team);
    }

    fn backward(
        &mut self,
        flow: Flow<'_>,
        input_gradient: Option<&mut [f32]>,
        gradients: &mut [f32],
    ) {
        let (tokens, channels, heads) = (self.tokens, self.channels, self.heads);
        let (width, scale, team) = (channels / heads, self.scale(), flow.team);
        let weights = self.parts(flow.weights);
        let all = flow.input.len() / channels;
        let (of_ask, rest) = gradients.split_at_mut(3 * channels * channels);
        let (of_ask_bias, rest) = rest.split_at_mut(3 * channels);
        let (of_tell, of_tell_bias) = rest.split_at_mut(channels * channels);

        of_tell_bias.fill(0.0);
        add_rows(flow.output_gradient, of_tell_bias);
        let slopes = Matrix::new(flow.output_gradient, all, channels);
        let heard = Matrix::new(&self.heard[..all * channels], all, channels);
        multiply(of_tell, heard.transposed(), slopes, Sum::Overwrite, team);
        let of_heard = &mut self.of_heard[..all * channels];
        let tell = weights.tell.transposed();
        multiply(of_heard, slopes, tell, Sum::Overwrite, team);

        let images = of_heard
            .chunks_exact(tokens * channels)
            .zip(self.asked.chunks_exact(3 * tokens * channels))
            .zip(self.shares.chunks_exact(heads * tokens * tokens))
            .zip(self.of_asked.chunks_exact_mut(3 * tokens * channels))
            .zip(self.of_shares.chunks_exact_mut(tokens * tokens));
        team.share(images, |((((of_heard, asked), shares), to), of_shares)| {
            for (head, shares) in shares.chunks_exact(tokens * tokens).enumerate() {
                let size = (tokens, channels);
                let [query, key, value] = of_head(asked, size, (head, width));
                let of_heard = &of_heard[head * width..];
                let of_heard = Matrix::strided(of_heard, tokens, width, channels);
                multiply_alone(of_shares, tokens, of_heard, value.transposed());
                softmax_slope(of_shares, shares, tokens, scale);
                let shares = Matrix::new(shares, tokens, tokens);
                let of_scores = Matrix::new(of_shares, tokens, tokens);
                let products = [
                    (of_scores, key),
                    (of_scores.transposed(), query),
                    (shares.transposed(), of_heard),
                ];
                for (kind, (left, right)) in products.into_iter().enumerate() {
                    let start = kind * channels + head * width;
                    multiply_alone(&mut to[start..], 3 * channels, left, right);
                }
            }
        });

        let of_asked = &self.of_asked[..3 * all * channels];
        of_ask_bias.fill(0.0);
        add_rows(of_asked, of_ask_bias);
        let of_asked = Matrix::new(of_asked, all, 3 * channels);
        let input = Matrix::new(flow.input, all, channels);
        multiply(of_ask, input.transposed(), of_asked, Sum::Overwrite, team);
        if let Some(target) = input_gradient {
            let ask = weights.ask.transposed();
            multiply(target, of_asked, ask, Sum::Overwrite, team);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradients::check_layer;
    use crate::kernels::{Team, at_each_level};
    use crate::layers::PassMode;

    #[test]
    fn gradients() {
        check_layer("attention(1)", (1, 3, 2));
        check_layer("attention(2)", (2, 2, 4));
    }

    // >>> m = torch.nn.MultiheadAttention(4, 2, batch_first=True)
    // >>> w = torch.tensor((0.5 * np.sin(1.7 * np.arange(80))).astype(np.float32))
    // >>> m.in_proj_weight.copy_(w[:48].reshape(4, 12).T); m.in_proj_bias.copy_(w[48:60])
    // >>> m.out_proj.weight.copy_(w[60:76].reshape(4, 4).T); m.out_proj.bias.copy_(w[76:])
    // >>> x = torch.tensor([(i * 5 % 7) / 3.0 - 1.0 for i in range(12)]).reshape(1, 3, 4)
    // >>> m(x, x, x)[0].flatten().tolist()
    #[test]
    fn pytorch_agrees() {
        let expected = [
            -0.006_378_8,
            -0.177_675_63,
            0.052_163_9,
            0.164_233_62,
            0.098_897_19,
            -0.084_002_94,
            -0.077_250_57,
            0.103_909_58,
            0.145_232_59,
            -0.047_295_302,
            -0.133_045_08,
            0.081_579_566,
        ];
        let shape = ActivationShape {
            height: 1,
            width: 3,
            channels: 4,
            flat: false,
        };
        let weight = |n: usize| (0.5 * (1.7 * n as f64).sin()) as f32;
        let weights: Vec<f32> = (0..80).map(weight).collect();
        let input: Vec<f32> = (0..12).map(|i| (i * 5 % 7) as f32 / 3.0 - 1.0).collect();
        at_each_level(|level| {
            let (mut output, team) = ([9.0; 12], Team::new(1));
            let pass = Pass::alone(PassMode::Inference, &team);
            Attention::new(shape, 2, 1).forward(&weights, &input, &mut output, pass);
            for (actual, expected) in output.iter().zip(expected) {
                assert!((actual - expected).abs() < 1e-6, "{level:?} {output:?}");
            }
        });
    }
}
