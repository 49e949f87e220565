//! A square window that slides over an image: what convolution and pooling share.
//!
//! Images are in HWC order, so that one row of a window is contiguous.

/// A square window with its stride and padding, and the sizes of the images before and after
/// it.
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_larger_than_the_image_is_mostly_padding() {
        let window = Window {
            in_height: 1,
            in_width: 1,
            channels: 1,
            size: 5,
            stride: 1,
            pad_top: 2,
            pad_left: 2,
            out_height: 1,
            out_width: 1,
        };
        assert_eq!(window.pad_end(), (2, 2));
    }
}
