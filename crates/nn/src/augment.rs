//! Random changes to the images of a training mini-batch.
//!
//! All movements of an image (shift, rotation, scale, mirror, elastic distortion) are one
//! map from its new places to its old ones, and the image is resampled once. It draws
//! from a stream of its own, as often for each image, whatever the image is. Nothing is
//! allocated once it is built.

use crate::dataset::scale;
use crate::hyperparameters::Augmentation;
use crate::random::Stream;
use crate::{Dataset, Error, ImageShape};

/// What moves a pixel is not carried farther than this many standard deviations.
const REACH: f32 = 3.0;

/// Makes changed images; what leaves an image is lost, what enters it is zero.
pub(crate) struct Augmenter {
    spec: Augmentation,
    shape: ImageShape,
    stream: Stream,
    /// The image with a border of zeros: one at the top and the left, two at the bottom
    /// and the right.
    padded: Vec<f32>,
    elastic: Option<Elastic>,
    /// Where the pixels of a row come from in `padded`: columns and rows.
    places: [Vec<f32>; 2],
}

/// Where a pixel comes from: `origin + right * column + down * row`, as (column, row).
struct Affine {
    origin: [f32; 2],
    right: [f32; 2],
    down: [f32; 2],
}

impl Augmenter {
    pub(crate) fn new(
        spec: &Augmentation,
        shape: ImageShape,
        seed: u64,
    ) -> Result<Self, Error> {
        spec.validate_for(shape)?;
        let moves = spec.moves();
        let padded = (shape.height + 3) * (shape.width + 3) * shape.channels;
        Ok(Self {
            spec: spec.clone(),
            shape,
            stream: Stream::new(seed, "augmentation"),
            padded: vec![0.0; if moves { padded } else { 0 }],
            elastic: (spec.elastic > 0.0).then(|| Elastic::new(spec, shape)),
            places: [vec![0.0; shape.width], vec![0.0; shape.width]],
        })
    }

    /// As [`Dataset::gather`], with each image changed.
    pub(crate) fn gather(&mut self, dataset: &Dataset, rows: &[u32], images: &mut [f32]) {
        let values = self.shape.values();
        for (&row, image) in rows.iter().zip(images.chunks_exact_mut(values)) {
            let pixels = dataset.image(row);
            if self.spec.moves() {
                self.pad(pixels);
                self.resample(image);
            } else {
                scale(pixels, image);
            }
            if self.spec.cutout > 0 {
                self.cut(image);
            }
        }
    }

    /// Copies an image into its border.
    fn pad(&mut self, pixels: &[u8]) {
        let channels = self.shape.channels;
        let values = self.shape.width * channels;
        let lines = self.padded.chunks_exact_mut(values + 3 * channels).skip(1);
        for (line, pixels) in lines.zip(pixels.chunks_exact(values)) {
            scale(pixels, &mut line[channels..channels + values]);
        }
    }

    fn resample(&mut self, image: &mut [f32]) {
        let affine = self.draw();
        if let Some(elastic) = &mut self.elastic {
            elastic.draw(&mut self.stream);
        }
        let ImageShape {
            height,
            width,
            channels,
        } = self.shape;
        let last = [(width + 1) as f32, (height + 1) as f32];
        for (row, line) in image.chunks_exact_mut(width * channels).enumerate() {
            for (axis, places) in self.places.iter_mut().enumerate() {
                let start = affine.origin[axis] + affine.down[axis] * row as f32;
                for (column, place) in places.iter_mut().enumerate() {
                    *place = start + affine.right[axis] * column as f32;
                }
                if let Some(elastic) = &mut self.elastic {
                    elastic.displace(axis, row, places);
                }
                for place in places {
                    // One pixel outside is in the border, and so is all that is farther.
                    *place = place.clamp(0.0, last[axis]);
                }
            }
            let [columns, rows] = &self.places;
            if channels == 1 {
                interpolate_grey(&self.padded, width + 3, [columns, rows], line);
            } else {
                let size = [width + 3, channels];
                interpolate(&self.padded, size, [columns, rows], line);
            }
        }
    }

    /// Draws the affine part of a movement.
    fn draw(&mut self) -> Affine {
        let ImageShape { height, width, .. } = self.shape;
        let spec = &self.spec;
        let stream = &mut self.stream;
        let mut symmetric = |limit: f64| match limit > 0.0 {
            true => limit as f32 * (2.0 * stream.unit() - 1.0),
            false => 0.0,
        };
        let angle = symmetric(spec.rotate).to_radians();
        let zoom = 1.0 / (1.0 + symmetric(spec.scale));
        let mut whole = |limit: u32| match limit > 0 {
            true => self.stream.below(2 * limit + 1) as f32 - limit as f32,
            false => 0.0,
        };
        let shift = [whole(spec.shift), whole(spec.shift)];
        let mirror = match spec.flip && self.stream.below(2) == 1 {
            true => -1.0,
            false => 1.0,
        };
        let (sine, cosine) = angle.sin_cos();
        let right = [mirror * zoom * cosine, zoom * sine];
        let down = [-mirror * zoom * sine, zoom * cosine];
        let centre = [(width as f32 - 1.0) / 2.0, (height as f32 - 1.0) / 2.0];
        let from = [centre[0] + shift[0], centre[1] + shift[1]];
        // The border adds one to both coordinates.
        let origin =
            [0, 1].map(|n| centre[n] + 1.0 - right[n] * from[0] - down[n] * from[1]);
        Affine {
            origin,
            right,
            down,
        }
    }

    /// Blackens a square whose centre is anywhere in the image.
    fn cut(&mut self, image: &mut [f32]) {
        let ImageShape {
            height,
            width,
            channels,
        } = self.shape;
        let side = self.spec.cutout as usize;
        let range = |stream: &mut Stream, length: usize| {
            let start = stream.below(length as u32) as usize + side - side / 2;
            start.saturating_sub(side)..start.min(length)
        };
        let rows = range(&mut self.stream, height);
        let columns = range(&mut self.stream, width);
        for line in image
            .chunks_exact_mut(width * channels)
            .skip(rows.start)
            .take(rows.len())
        {
            line[columns.start * channels..columns.end * channels].fill(0.0);
        }
    }
}

/// Bilinear interpolation between pixels of `padded`, whose lines have `stride` values.
fn interpolate_grey(
    padded: &[f32],
    stride: usize,
    places: [&[f32]; 2],
    line: &mut [f32],
) {
    let [columns, rows] = places;
    for ((value, &column), &row) in line.iter_mut().zip(columns).zip(rows) {
        // Places are at least zero, so that the integer part is the floor.
        let (left, top) = (column as i32, row as i32);
        let (x, y) = (column - left as f32, row - top as f32);
        let first = top as usize * stride + left as usize;
        let above = &padded[first..first + 2];
        let below = &padded[first + stride..first + stride + 2];
        let above = above[0] + x * (above[1] - above[0]);
        let below = below[0] + x * (below[1] - below[0]);
        *value = above + y * (below - above);
    }
}

/// As [`interpolate_grey`], for pixels of several channels.
fn interpolate(
    padded: &[f32],
    [width, channels]: [usize; 2],
    places: [&[f32]; 2],
    line: &mut [f32],
) {
    let [columns, rows] = places;
    let pixels = line.chunks_exact_mut(channels);
    for ((pixel, &column), &row) in pixels.zip(columns).zip(rows) {
        let (left, top) = (column as i32, row as i32);
        let (x, y) = (column - left as f32, row - top as f32);
        let first = (top as usize * width + left as usize) * channels;
        let above = &padded[first..first + 2 * channels];
        let below = &padded[first + width * channels..][..2 * channels];
        for (channel, value) in pixel.iter_mut().enumerate() {
            let other = channel + channels;
            let above = above[channel] + x * (above[other] - above[channel]);
            let below = below[channel] + x * (below[other] - below[channel]);
            *value = above + y * (below - above);
        }
    }
}

/// Elastic distortion (Simard, Steinkraus and Platt 2003): a random displacement of each
/// pixel, smoothed by a Gaussian.
///
/// The noise that is smoothed is drawn on a grid with a spacing of the Gaussian's
/// standard deviation and not for each pixel. The displacements have the same covariance
/// to 1 in 10,000, because so smooth a field has no detail between the points of the
/// grid, and cost a fraction.
struct Elastic {
    /// How far a point of the grid moves a line: lines by points.
    down: Vec<f32>,
    /// How far a point of the grid moves a column: points by columns.
    right: Vec<f32>,
    /// The noise of both axes, one after the other: points by points.
    noise: Vec<f32>,
    points: [usize; 2],
    /// The noise of one line, smoothed downwards.
    smoothed: Vec<f32>,
}

impl Elastic {
    fn new(spec: &Augmentation, shape: ImageShape) -> Self {
        let sigma = spec.elastic_sigma as f32;
        let (down, rows) = basis(shape.height, sigma);
        let (right, columns) = basis(shape.width, sigma);
        // Uniform noise in -1..1 has a standard deviation of sqrt(1 / 3).
        let size = spec.elastic as f32 * 3.0_f32.sqrt();
        Self {
            down: down.iter().map(|weight| weight * size).collect(),
            right: transposed(&right, columns),
            noise: vec![0.0; 2 * rows * columns],
            points: [rows, columns],
            smoothed: vec![0.0; columns],
        }
    }

    fn draw(&mut self, stream: &mut Stream) {
        for noise in &mut self.noise {
            *noise = 2.0 * stream.unit() - 1.0;
        }
    }

    /// Adds the displacements of one line along one axis.
    fn displace(&mut self, axis: usize, line: usize, places: &mut [f32]) {
        let [rows, columns] = self.points;
        let noise = &self.noise[axis * rows * columns..][..rows * columns];
        let weights = &self.down[line * rows..(line + 1) * rows];
        self.smoothed.fill(0.0);
        for (noise, weight) in noise.chunks_exact(columns).zip(weights) {
            for (sum, noise) in self.smoothed.iter_mut().zip(noise) {
                *sum += weight * noise;
            }
        }
        let width = places.len();
        for (right, amount) in self.right.chunks_exact(width).zip(&self.smoothed) {
            for (place, weight) in places.iter_mut().zip(right) {
                *place += amount * weight;
            }
        }
    }
}

/// Gaussians around points with a spacing of `sigma`, seen from each of `length` pixels:
/// pixels by points, the squares of a pixel's weights summing to 1.
fn basis(length: usize, sigma: f32) -> (Vec<f32>, usize) {
    let points = (length as f32 / sigma + 2.0 * REACH).ceil() as usize + 1;
    let mut weights = Vec::with_capacity(length * points);
    for pixel in 0..length {
        let weight = |point: usize| {
            let distance = pixel as f32 / sigma - (point as f32 - REACH);
            (-0.5 * distance * distance).exp()
        };
        let squares: f32 = (0..points).map(|point| weight(point).powi(2)).sum();
        weights.extend((0..points).map(|point| weight(point) / squares.sqrt()));
    }
    (weights, points)
}

fn transposed(matrix: &[f32], columns: usize) -> Vec<f32> {
    (0..columns)
        .flat_map(|column| matrix.iter().skip(column).step_by(columns).copied())
        .collect()
}
