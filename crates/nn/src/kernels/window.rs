//! A square window that slides over an image: what convolution and pooling share.
//!
//! Images are in HWC order, so that one row of a window is contiguous.

use std::ops::Range;

/// A window's size, its steps, and the images it leads from and to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) in_height: usize,
    pub(crate) in_width: usize,
    pub(crate) channels: usize,
    pub(crate) size: usize,
    pub(crate) stride: usize,
    pub(crate) pad_top: usize,
    pub(crate) pad_left: usize,
    pub(crate) out_height: usize,
    pub(crate) out_width: usize,
}

impl Window {
    /// The number of positions, which is the number of pixels of the result.
    pub(crate) fn positions(&self) -> usize {
        self.out_height * self.out_width
    }

    /// The number of values under the window.
    pub(crate) fn values(&self) -> usize {
        self.size * self.size * self.channels
    }

    /// Whether a window is exactly one pixel, so that no values need to be moved.
    pub(crate) fn is_pointwise(&self) -> bool {
        self.size == 1 && self.stride == 1
    }

    /// The rows below and columns to the right that padding adds.
    pub(crate) fn pad_end(&self) -> (usize, usize) {
        let missing = |out: usize, pad: usize, size: usize| {
            ((out - 1) * self.stride + self.size).saturating_sub(pad + size)
        };
        (
            missing(self.out_height, self.pad_top, self.in_height),
            missing(self.out_width, self.pad_left, self.in_width),
        )
    }

    /// The rows of the window at output row `y` that lie inside the image.
    fn inside_rows(&self, y: usize) -> Range<usize> {
        inside(y * self.stride, self.pad_top, self.size, self.in_height)
    }

    /// The columns of the window at output column `x` that lie inside the image.
    fn inside_columns(&self, x: usize) -> Range<usize> {
        inside(x * self.stride, self.pad_left, self.size, self.in_width)
    }
}

/// The part of `0..size` that lies inside an image of `length` when the window starts at
/// `start - pad`.
fn inside(start: usize, pad: usize, size: usize, length: usize) -> Range<usize> {
    let first = pad.saturating_sub(start).min(size);
    let last = (length + pad).saturating_sub(start).min(size);
    first..last.max(first)
}

/// Writes the values under each window position as one row of `columns`.
pub(crate) fn im2col(window: &Window, image: &[f32], columns: &mut [f32]) {
    let channels = window.channels;
    let line = window.size * channels;
    let mut targets = columns.chunks_exact_mut(window.values());
    for y in 0..window.out_height {
        let rows = window.inside_rows(y);
        for (x, target) in (0..window.out_width).zip(&mut targets) {
            let inside = window.inside_columns(x);
            for (ky, target) in target.chunks_exact_mut(line).enumerate() {
                if !rows.contains(&ky) {
                    target.fill(0.0);
                    continue;
                }
                let row = y * window.stride + ky - window.pad_top;
                let column = x * window.stride + inside.start - window.pad_left;
                let source = (row * window.in_width + column) * channels;
                target[..inside.start * channels].fill(0.0);
                target[inside.end * channels..].fill(0.0);
                target[inside.start * channels..inside.end * channels]
                    .copy_from_slice(&image[source..source + inside.len() * channels]);
            }
        }
    }
}

/// Adds each row of `columns` to the values under its window position: the transpose of
/// [`im2col`].
pub(crate) fn col2im(window: &Window, columns: &[f32], image: &mut [f32]) {
    let channels = window.channels;
    let line = window.size * channels;
    let mut sources = columns.chunks_exact(window.values());
    for y in 0..window.out_height {
        let rows = window.inside_rows(y);
        for (x, source) in (0..window.out_width).zip(&mut sources) {
            let inside = window.inside_columns(x);
            for ky in rows.clone() {
                let row = y * window.stride + ky - window.pad_top;
                let column = x * window.stride + inside.start - window.pad_left;
                let target = (row * window.in_width + column) * channels;
                let from = ky * line + inside.start * channels;
                let length = inside.len() * channels;
                let values = &source[from..from + length];
                for (sum, value) in image[target..target + length].iter_mut().zip(values)
                {
                    *sum += value;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(size: usize, stride: usize, pad: usize, out: usize) -> Window {
        Window {
            in_height: 3,
            in_width: 3,
            channels: 1,
            size,
            stride,
            pad_top: pad,
            pad_left: pad,
            out_height: out,
            out_width: out,
        }
    }

    const IMAGE: [f32; 9] = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0];

    #[test]
    fn windows_without_padding() {
        let mut columns = [0.0; 16];
        im2col(&window(2, 1, 0, 2), &IMAGE, &mut columns);
        let expected = [1, 2, 4, 5, 2, 3, 5, 6, 4, 5, 7, 8, 5, 6, 8, 9];
        assert_eq!(columns, expected.map(|n| n as f32));
    }

    #[test]
    fn padding_is_zero_and_overwrites_what_was_there() {
        let mut columns = [9.0; 36];
        im2col(&window(3, 2, 1, 2), &IMAGE, &mut columns);
        let corners = [
            [0, 0, 0, 0, 1, 2, 0, 4, 5],
            [0, 0, 0, 2, 3, 0, 5, 6, 0],
            [0, 4, 5, 0, 7, 8, 0, 0, 0],
            [5, 6, 0, 8, 9, 0, 0, 0, 0],
        ];
        assert_eq!(
            columns.to_vec(),
            corners
                .concat()
                .iter()
                .map(|n| *n as f32)
                .collect::<Vec<_>>()
        );
    }

    #[test]
    fn col2im_counts_how_many_windows_cover_a_pixel() {
        let mut image = [0.0; 9];
        col2im(&window(3, 2, 1, 2), &[1.0; 36], &mut image);
        let expected = [1, 2, 1, 2, 4, 2, 1, 2, 1];
        assert_eq!(image, expected.map(|n| n as f32));
    }

    #[test]
    fn a_window_larger_than_the_image_is_mostly_padding() {
        let window = Window {
            in_height: 1,
            in_width: 1,
            ..window(5, 1, 2, 1)
        };
        assert_eq!(window.pad_end(), (2, 2));
        let mut columns = [9.0; 25];
        im2col(&window, &[7.0], &mut columns);
        assert_eq!(columns[12], 7.0);
        assert_eq!(columns.iter().sum::<f32>(), 7.0);
    }
}
