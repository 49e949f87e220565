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

/// The distance of two points that move pixels, in standard deviations of the Gaussian.
///
/// A sum of Gaussians at such distances is flat to 0.4 %.
const SPACING: f32 = 1.25;

/// How many points beyond the edge of an image move its pixels.
const REACH: usize = 2;

/// Makes randomly changed copies of images. What a movement takes out of the image is lost,
/// and what it brings in from outside is black.
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

/// The affine part of a movement, as it was drawn for one image.
struct Movement {
    /// In pixels: to the right and down.
    shift: [f32; 2],
    /// Clockwise, in degrees.
    angle: f32,
    /// How many times as large the image becomes.
    size: f32,
    mirrored: bool,
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

    pub(crate) fn stream(&mut self) -> &mut Stream {
        &mut self.stream
    }

    /// As [`Dataset::gather`], with each image changed.
    pub(crate) fn gather(&mut self, dataset: &Dataset, rows: &[u32], images: &mut [f32]) {
        let values = self.shape.values();
        for (&row, image) in rows.iter().zip(images.chunks_exact_mut(values)) {
            let pixels = dataset.image(row);
            if self.spec.moves() {
                self.pad(pixels);
                let affine = self.draw().inverse(self.shape);
                if let Some(elastic) = &mut self.elastic {
                    elastic.draw(&mut self.stream);
                }
                self.resample(&affine, image);
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

    /// Fills `image` from the padded one.
    fn resample(&mut self, affine: &Affine, image: &mut [f32]) {
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
                if let Some(elastic) = &self.elastic {
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

    fn draw(&mut self) -> Movement {
        let stream = &mut self.stream;
        let mut symmetric = |limit: f64| {
            if limit > 0.0 {
                limit as f32 * (2.0 * stream.unit() - 1.0)
            } else {
                0.0
            }
        };
        let angle = symmetric(self.spec.rotate);
        let size = 1.0 + symmetric(self.spec.scale);
        let limit = self.spec.shift;
        let mut whole = || {
            if limit > 0 {
                stream.below(2 * limit + 1) as f32 - limit as f32
            } else {
                0.0
            }
        };
        Movement {
            shift: [whole(), whole()],
            angle,
            size,
            mirrored: self.spec.flip && stream.below(2) == 1,
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

impl Movement {
    /// The places in the padded image that the pixels of a moved one come from. It turns
    /// and grows around its centre.
    fn inverse(&self, shape: ImageShape) -> Affine {
        let (sine, cosine) = self.angle.to_radians().sin_cos();
        let zoom = 1.0 / self.size;
        let mirror = if self.mirrored { -1.0 } else { 1.0 };
        let right = [mirror * zoom * cosine, -zoom * sine];
        let down = [mirror * zoom * sine, zoom * cosine];
        let centre =
            [shape.width, shape.height].map(|length| (length as f32 - 1.0) / 2.0);
        let from = [0, 1].map(|axis| centre[axis] + self.shift[axis]);
        // The border adds one to both coordinates.
        let origin = [0, 1].map(|axis| {
            centre[axis] + 1.0 - right[axis] * from[0] - down[axis] * from[1]
        });
        Affine {
            origin,
            right,
            down,
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
        let around = &padded[(top * stride as i32 + left) as usize..][..stride + 2];
        let above = around[0] + x * (around[1] - around[0]);
        let below = around[stride] + x * (around[stride + 1] - around[stride]);
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
/// The noise that is smoothed is drawn on a coarse grid and not for each pixel: so smooth
/// a field has no detail between the points of the grid, and costs a fraction. Its
/// variance is the same at every pixel, edges included.
struct Elastic {
    /// How far a point of the grid moves a line: lines by points.
    down: Vec<f32>,
    /// How far a point of the grid moves a column: points by columns.
    right: Vec<f32>,
    /// Points of the grid, downwards.
    rows: usize,
    /// The noise of both axes, smoothed to the right: points by columns for each axis.
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
            rows,
            smoothed: vec![0.0; 2 * rows * shape.width],
        }
    }

    fn draw(&mut self, stream: &mut Stream) {
        let width = self.smoothed.len() / (2 * self.rows);
        for line in self.smoothed.chunks_exact_mut(width) {
            line.fill(0.0);
            for right in self.right.chunks_exact(width) {
                let noise = 2.0 * stream.unit() - 1.0;
                for (sum, weight) in line.iter_mut().zip(right) {
                    *sum += noise * weight;
                }
            }
        }
    }

    /// Adds the displacements of one line along one axis.
    fn displace(&self, axis: usize, line: usize, places: &mut [f32]) {
        let rows = self.rows;
        let noise = &self.smoothed[axis * rows * places.len()..];
        let weights = &self.down[line * rows..(line + 1) * rows];
        for (noise, weight) in noise.chunks_exact(places.len()).zip(weights) {
            for (place, noise) in places.iter_mut().zip(noise) {
                *place += weight * noise;
            }
        }
    }
}

/// Gaussians around the points of a grid, seen from each of `length` pixels: pixels by
/// points, the squares of a pixel's weights summing to 1.
fn basis(length: usize, sigma: f32) -> (Vec<f32>, usize) {
    let spacing = SPACING * sigma;
    let points = (length as f32 / spacing).ceil() as usize + 2 * REACH;
    let mut weights = Vec::with_capacity(length * points);
    for pixel in 0..length {
        let weight = |point: usize| {
            let place = (point as f32 - REACH as f32 + 0.5) * spacing;
            let distance = (pixel as f32 - place) / sigma;
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

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: ImageShape = ImageShape {
        height: 5,
        width: 5,
        channels: 1,
    };

    fn augmenter(spec: &Augmentation, shape: ImageShape) -> Augmenter {
        Augmenter::new(spec, shape, 1).unwrap()
    }

    fn pixels(shape: ImageShape) -> Vec<u8> {
        dataset(shape).image(0).to_vec()
    }

    fn dataset(shape: ImageShape) -> Dataset {
        let pixels = (0..shape.values())
            .map(|n| (n * 97 % 251 + 1) as u8)
            .collect();
        let names = vec!["a".to_owned(), "b".to_owned()];
        Dataset::new(shape, pixels, vec![0], names).unwrap()
    }

    /// Moves the image of [`dataset`], given as its pixels of 1 to 255 and back.
    fn moved(movement: &Movement, shape: ImageShape) -> Vec<u8> {
        let spec = Augmentation {
            flip: true,
            ..Augmentation::default()
        };
        let mut augmenter = augmenter(&spec, shape);
        augmenter.pad(&pixels(shape));
        let mut image = vec![9.0; shape.values()];
        augmenter.resample(&movement.inverse(shape), &mut image);
        image
            .iter()
            .map(|value| (value * 255.0).round() as u8)
            .collect()
    }

    const STILL: Movement = Movement {
        shift: [0.0; 2],
        angle: 0.0,
        size: 1.0,
        mirrored: false,
    };

    #[track_caller]
    fn check(movement: &Movement, from: impl Fn(usize, usize) -> Option<(usize, usize)>) {
        for channels in [1, 3] {
            let shape = ImageShape { channels, ..SHAPE };
            let (old, new) = (pixels(shape), moved(movement, shape));
            for (n, new) in new.iter().enumerate() {
                let (place, channel) = (n / channels, n % channels);
                let expected = from(place % 5, place / 5)
                    .map_or(0, |(x, y)| old[(y * 5 + x) * channels + channel]);
                assert_eq!(*new, expected, "value {n} of {channels} channels");
            }
        }
    }

    #[test]
    fn what_does_not_move_is_the_same() {
        check(&STILL, |x, y| Some((x, y)));
    }

    #[test]
    fn a_shift_is_to_the_right_and_down() {
        let shift = [1.0, 2.0];
        let from = |x: usize, y: usize| Some((x.checked_sub(1)?, y.checked_sub(2)?));
        check(&Movement { shift, ..STILL }, from);
    }

    #[test]
    fn a_quarter_turn_is_clockwise() {
        check(
            &Movement {
                angle: 90.0,
                ..STILL
            },
            |x, y| Some((y, 4 - x)),
        );
    }

    #[test]
    fn a_mirror_changes_left_and_right() {
        let mirrored = true;
        check(&Movement { mirrored, ..STILL }, |x, y| Some((4 - x, y)));
    }

    #[test]
    fn growing_keeps_the_centre() {
        let image = moved(&Movement { size: 2.0, ..STILL }, SHAPE);
        let old = pixels(SHAPE);
        // Two pixels from the centre are now what was one from it.
        assert_eq!([image[12], image[10], image[2]], [old[12], old[11], old[7]]);
    }

    #[test]
    fn the_same_seed_gives_the_same_images_and_each_is_another() {
        let spec = Augmentation {
            shift: 1,
            rotate: 20.0,
            scale: 0.1,
            flip: true,
            elastic: 0.5,
            cutout: 2,
            ..Augmentation::default()
        };
        let mut images = [[9.0; 50]; 2];
        for images in &mut images {
            let mut augmenter = augmenter(&spec, SHAPE);
            augmenter.gather(&dataset(SHAPE), &[0, 0], images);
        }
        assert_eq!(images[0], images[1]);
        assert_ne!(images[0][..25], images[0][25..]);
        assert!(images[0].iter().all(|value| (0.0..=1.0).contains(value)));
    }

    // The covariance of noise smoothed by a Gaussian is a Gaussian of sqrt(2) its width.
    #[test]
    fn displacements_have_the_size_and_the_smoothness_that_was_asked_for() {
        let spec = Augmentation {
            elastic: 1.5,
            elastic_sigma: 3.0,
            ..Augmentation::default()
        };
        let mut elastic = Elastic::new(
            &spec,
            ImageShape {
                height: 9,
                width: 28,
                channels: 1,
            },
        );
        let mut stream = Stream::new(3, "test");
        for (line, column) in [(0, 0), (4, 13), (8, 20)] {
            let mut sums = [0.0; 3];
            for _ in 0..20_000 {
                elastic.draw(&mut stream);
                let mut places = [0.0; 28];
                elastic.displace(1, line, &mut places);
                let other = places[column + 3];
                let places = places.map(f64::from);
                sums[0] += places[column];
                sums[1] += places[column].powi(2);
                sums[2] += places[column] * f64::from(other);
            }
            let [mean, variance, covariance] = sums.map(|sum| sum / 20_000.0);
            assert!(mean.abs() < 0.05, "{mean}");
            assert!((variance - 2.25).abs() < 0.1, "{variance}");
            let expected = 2.25 * (-0.25_f64).exp();
            assert!(
                (covariance - expected).abs() < 0.1,
                "{covariance} {expected}"
            );
        }
    }

    #[test]
    fn cutout_blackens_a_square_that_may_leave_the_image() {
        let spec = Augmentation {
            cutout: 3,
            ..Augmentation::default()
        };
        let shape = ImageShape {
            height: 6,
            width: 7,
            channels: 2,
        };
        let (mut augmenter, dataset) = (augmenter(&spec, shape), dataset(shape));
        let mut seen = [false; 10];
        for _ in 0..200 {
            let mut image = [9.0; 84];
            augmenter.gather(&dataset, &[0], &mut image);
            let black: Vec<usize> = (0..84).filter(|&n| image[n] == 0.0).collect();
            let sides = |place: fn(usize) -> usize| {
                let places = black.iter().map(|&n| place(n));
                places.clone().max().unwrap() - places.min().unwrap() + 1
            };
            let (width, height) = (sides(|n| n / 2 % 7), sides(|n| n / 14));
            assert_eq!(black.len(), 2 * width * height, "{black:?}");
            seen[width * height] = true;
        }
        // Two is left at an edge, four in a corner.
        assert_eq!(
            seen,
            [4, 6, 9].into_iter().fold([false; 10], |mut all, n| {
                all[n] = true;
                all
            })
        );
    }
}
