//! Small versions of images, ready for a page.

use atoll_imaging::{
    DecodeOptions, Error, Filter, Format, Image, ImageRef, decode, encode, resize,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The longest side in pixels: sharp at 120 pixels on dense screens, and about 6 kB.
const SIDE: u32 = 176;
/// Images with sides up to this are drawings of few pixels, which stay sharp when they
/// are enlarged without smoothing.
const TINY: u32 = 64;

/// A small image as a data URL.
#[derive(Debug, Clone, PartialEq)]
pub struct Thumbnail {
    /// `data:image/...;base64,...`
    pub url: String,
    /// Pixels in a row.
    pub width: u32,
    /// Pixels in a column.
    pub height: u32,
    /// Whether it has so few pixels that each should be seen.
    pub tiny: bool,
}

impl Thumbnail {
    /// Of the bytes of a file.
    pub fn of_file(bytes: &[u8]) -> Result<Self, Error> {
        Self::of_image(decode(bytes, &DecodeOptions::default())?.as_ref())
    }

    /// Of pixels.
    pub fn of_image(image: ImageRef<'_>) -> Result<Self, Error> {
        image.check()?;
        let longest = image.width.max(image.height);
        if longest <= TINY {
            return Self::encoded(image, Format::Png, true);
        }
        if longest <= SIDE {
            return Self::encoded(image, Format::Jpeg, false);
        }
        let scaled = |side: u32| {
            let scaled = u64::from(side) * u64::from(SIDE) / u64::from(longest);
            u32::try_from(scaled).unwrap_or(SIDE).max(1)
        };
        let (width, height) = (scaled(image.width), scaled(image.height));
        let small = resize(image, width, height, Filter::Bilinear)?;
        Self::encoded(small.as_ref(), Format::Jpeg, false)
    }

    /// Of `height` x `width` x `channels` bytes; none if there are not as many.
    pub fn of_pixels(
        data: &[u8],
        (width, height): (u32, u32),
        channels: u8,
    ) -> Option<Self> {
        let image = ImageRef {
            width,
            height,
            channels,
            data,
        };
        Self::of_image(image).ok()
    }

    /// Of a square image of numbers, of which `white` is white; none if it is no square.
    pub fn of_numbers(numbers: &[f32], white: f32) -> Option<Self> {
        let side_of = |values: usize| (values as f64).sqrt().round() as u32;
        let gray = side_of(numbers.len());
        let is_gray = u64::from(gray) * u64::from(gray) == numbers.len() as u64;
        let side = if is_gray {
            gray
        } else {
            side_of(numbers.len() / 3)
        };
        let (height, width) = (side, side);
        let pixels = u64::from(height) * u64::from(width);
        let channels = match numbers.len() as u64 {
            0 => return None,
            n if n == pixels => 1,
            n if n == 3 * pixels => 3,
            _ => return None,
        };
        let white = if white > 0.0 { white } else { 1.0 };
        let image = Image {
            width,
            height,
            channels,
            data: numbers
                .iter()
                // A cast of a number outside 0 to 255 ends at 0 or 255, and NaN at 0.
                .map(|number| (number / white * 255.0).round() as u8)
                .collect(),
        };
        Self::of_image(image.as_ref()).ok()
    }

    fn encoded(image: ImageRef<'_>, format: Format, tiny: bool) -> Result<Self, Error> {
        let bytes = encode(image, format)?;
        let kind = format.name();
        Ok(Self {
            url: format!("data:image/{kind};base64,{}", STANDARD.encode(bytes)),
            width: image.width,
            height: image.height,
            tiny,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(width: u32, height: u32) -> (u32, u32, bool) {
        let image = Image {
            width,
            height,
            channels: 3,
            data: vec![7; (width * height * 3) as usize],
        };
        let thumbnail = Thumbnail::of_image(image.as_ref()).unwrap();
        (thumbnail.width, thumbnail.height, thumbnail.tiny)
    }

    #[test]
    fn proportions_stay() {
        assert_eq!(size(1_760, 880), (176, 88, false));
        assert_eq!(size(100, 150), (100, 150, false));
        assert_eq!(size(28, 28), (28, 28, true));
        assert_eq!(size(4_000, 1), (176, 1, false));
    }

    #[test]
    fn numbers_make_a_picture() {
        let numbers: Vec<f32> = (0..64u8).map(|n| f32::from(n % 17)).collect();
        let thumbnail = Thumbnail::of_numbers(&numbers, 16.0).unwrap();
        assert_eq!((thumbnail.width, thumbnail.height), (8, 8));
        assert!(thumbnail.url.starts_with("data:image/png;base64,"));
        assert_eq!(Thumbnail::of_numbers(&numbers[..63], 16.0), None);
        assert_eq!(Thumbnail::of_numbers(&[], 16.0), None);
    }

    #[test]
    fn bytes_that_are_no_image_are_an_error() {
        assert!(Thumbnail::of_file(b"<script>").is_err());
    }
}
