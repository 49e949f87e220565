//! Decoded pixels, owned and borrowed.

use std::borrow::Cow;

use crate::{Error, MAX_PIXELS};

/// Decoded pixels: 8 bits a channel, interleaved, rows from top to bottom (HWC).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Pixels in a row.
    pub width: u32,
    /// Pixels in a column.
    pub height: u32,
    /// 1 for gray, 3 for RGB.
    pub channels: u8,
    /// `height * width * channels` bytes.
    pub data: Vec<u8>,
}

/// Borrowed pixels, laid out as in [`Image`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageRef<'a> {
    /// Pixels in a row.
    pub width: u32,
    /// Pixels in a column.
    pub height: u32,
    /// 1 for gray, 3 for RGB.
    pub channels: u8,
    /// `height * width * channels` bytes.
    pub data: &'a [u8],
}

impl Image {
    /// Borrows the pixels.
    pub fn as_ref(&self) -> ImageRef<'_> {
        ImageRef {
            width: self.width,
            height: self.height,
            channels: self.channels,
            data: &self.data,
        }
    }

    /// A black image.
    pub(crate) fn black(width: u32, height: u32, channels: u8) -> Result<Self, Error> {
        let data = vec![0; byte_len(width, height, channels)?];
        Ok(Image {
            width,
            height,
            channels,
            data,
        })
    }
}

impl<'a> ImageRef<'a> {
    /// Checks that the pixels are as many as the size says.
    ///
    /// The fields are public and often come from a table, so every function of this
    /// crate that takes an image checks it first.
    pub fn check(&self) -> Result<(), Error> {
        let Self {
            width,
            height,
            channels,
            data,
        } = *self;
        if !matches!(channels, 1 | 3) {
            return Err(Error::argument(format!(
                "an image has 1 channel (gray) or 3 (RGB), got {channels}"
            )));
        }
        let expected = byte_len(width, height, channels)?;
        if data.len() != expected {
            return Err(Error::argument(format!(
                "an image of {width}x{height} pixels with {channels} channels has \
                 {expected} bytes of data, got {}",
                data.len()
            )));
        }
        Ok(())
    }

    /// Copies the pixels.
    pub fn to_image(&self) -> Image {
        Image {
            width: self.width,
            height: self.height,
            channels: self.channels,
            data: self.data.to_vec(),
        }
    }

    /// The image with 3 channels; gray is repeated. Copies only when it must.
    pub fn to_rgb(&self) -> Cow<'a, [u8]> {
        if self.channels == 3 {
            return Cow::Borrowed(self.data);
        }
        Cow::Owned(self.data.iter().flat_map(|&gray| [gray; 3]).collect())
    }

    /// The image with 1 channel: ITU-R 601-2 luma in Pillow's fixed-point arithmetic.
    /// Copies only when it must.
    pub fn to_gray(&self) -> Cow<'a, [u8]> {
        if self.channels == 1 {
            return Cow::Borrowed(self.data);
        }
        Cow::Owned(self.data.as_chunks::<3>().0.iter().map(luma).collect())
    }
}

/// The luma of a pixel in the fixed-point arithmetic of Pillow: `L24(rgb) + 0x8000 >> 16`.
pub(crate) fn luma([red, green, blue]: &[u8; 3]) -> u8 {
    let sum = u32::from(*red) * 19_595
        + u32::from(*green) * 38_470
        + u32::from(*blue) * 7_471
        + 0x8000;
    // The weights sum to 1 << 16, so the result fits.
    (sum >> 16) as u8
}

/// How many bytes an image has. Fails where a side is 0 or the number of bytes is absurd.
pub(crate) fn byte_len(width: u32, height: u32, channels: u8) -> Result<usize, Error> {
    if width == 0 || height == 0 {
        return Err(Error::argument(format!(
            "an image must be at least 1x1 pixels, got {width}x{height}"
        )));
    }
    let pixels = u64::from(width) * u64::from(height);
    if pixels > MAX_PIXELS {
        return Err(Error::TooLarge {
            width,
            height,
            limit: MAX_PIXELS,
        });
    }
    // At most three times the limit: fits any platform with 32-bit addresses.
    Ok(pixels as usize * usize::from(channels))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_of_another_length_is_refused() {
        let image = ImageRef {
            width: 2,
            height: 2,
            channels: 3,
            data: &[0; 11],
        };
        assert_eq!(
            image.check().unwrap_err().to_string(),
            "an image of 2x2 pixels with 3 channels has 12 bytes of data, got 11"
        );
    }

    #[test]
    fn two_channels_are_refused() {
        let image = ImageRef {
            width: 1,
            height: 1,
            channels: 2,
            data: &[0; 2],
        };
        assert_eq!(image.check().unwrap_err().code(), "INVALID_ARGUMENT");
    }

    // Image.new("RGB", (1, 1), (r, g, b)).convert("L").getpixel((0, 0))
    #[test]
    fn luma_is_pillows() {
        let data = [255, 0, 0, 0, 255, 0, 0, 0, 255, 255, 255, 255, 10, 20, 30];
        let image = ImageRef {
            width: 5,
            height: 1,
            channels: 3,
            data: &data,
        };
        assert_eq!(image.to_gray().as_ref(), [76, 150, 29, 255, 18]);
    }
}
