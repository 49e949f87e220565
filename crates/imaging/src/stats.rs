//! Numbers that say whether there is anything to see in an image.

use crate::{Error, ImageRef};

/// The standard deviation of the luma of an image, from 0, where all pixels are alike, to
/// 127.5.
pub fn contrast(image: ImageRef<'_>) -> Result<f64, Error> {
    image.check()?;
    let gray = image.to_gray();
    let (mut sum, mut squares) = (0_u64, 0_u64);
    for pixel in gray.iter() {
        let pixel = u64::from(*pixel);
        sum += pixel;
        squares += pixel * pixel;
    }
    let count = gray.len() as f64;
    let mean = sum as f64 / count;
    Ok((squares as f64 / count - mean * mean).max(0.0).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(data: &[u8], expected: f64) {
        let image = ImageRef {
            width: data.len() as u32,
            height: 1,
            channels: 1,
            data,
        };
        assert!((contrast(image).unwrap() - expected).abs() < 1e-9);
    }

    #[test]
    fn contrast_is_a_standard_deviation() {
        check(&[7, 7, 7], 0.0);
        check(&[0, 255], 127.5);
        check(&[1, 2, 3, 4], 1.25_f64.sqrt());
    }
}
