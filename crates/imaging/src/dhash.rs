//! A hash that hardly changes with an image: which parts are brighter than those beside
//! them (dHash; N. Krawetz, "Kind of Like That", 2013).

use crate::{Error, ImageRef};

/// Parts in a row, of which neighbours are compared.
const ACROSS: usize = 9;

/// Rows of parts.
const DOWN: usize = 8;

/// The difference hash of an image. Copies of other sizes, qualities and brightness have
/// hashes that differ in few of the 64 bits.
pub fn dhash(image: ImageRef<'_>) -> Result<u64, Error> {
    image.check()?;
    let (width, height) = (image.width as usize, image.height as usize);
    let mut means = [[0.0_f64; ACROSS]; DOWN];
    for (y, line) in means.iter_mut().enumerate() {
        for (x, mean) in line.iter_mut().enumerate() {
            // A part of a small image has at least one pixel.
            let part = |n: usize, count: usize, length: usize| {
                let start = n * length / count;
                start..((n + 1) * length / count).max(start + 1)
            };
            let (mut sum, mut pixels) = (0_u64, 0_u64);
            for row in part(y, DOWN, height) {
                for column in part(x, ACROSS, width) {
                    sum += grey(&image, row * width + column);
                    pixels += 1;
                }
            }
            *mean = sum as f64 / pixels as f64;
        }
    }
    let mut hash = 0;
    for line in means {
        for pair in line.windows(2) {
            hash = hash << 1 | u64::from(pair[0] < pair[1]);
        }
    }
    Ok(hash)
}

/// A thousand times the luma of a pixel (ITU-R 601).
fn grey(image: &ImageRef<'_>, pixel: usize) -> u64 {
    match image.channels {
        3 => {
            let rgb = &image.data[pixel * 3..pixel * 3 + 3];
            u64::from(rgb[0]) * 299 + u64::from(rgb[1]) * 587 + u64::from(rgb[2]) * 114
        }
        _ => u64::from(image.data[pixel]) * 1_000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Filter, Image, resize};

    /// Waves that no symmetry leaves as they are.
    fn waves(turn: f64) -> Image {
        let value = |n: usize| {
            let (y, x) = ((n / 64) as f64, (n % 64) as f64);
            ((x * 0.21 + turn).sin() + (y * 0.13 + x * 0.05).cos()).mul_add(60.0, 128.0)
        };
        Image {
            width: 64,
            height: 64,
            channels: 1,
            data: (0..64 * 64).map(|n| value(n) as u8).collect(),
        }
    }

    fn distance(a: &Image, b: &Image) -> u32 {
        (dhash(a.as_ref()).unwrap() ^ dhash(b.as_ref()).unwrap()).count_ones()
    }

    #[test]
    fn copies_are_near_and_others_far() {
        let image = waves(0.0);
        let smaller = resize(image.as_ref(), 40, 40, Filter::Bilinear).unwrap();
        assert!(distance(&image, &smaller) <= 3);
        let mut brighter = image.clone();
        brighter
            .data
            .iter_mut()
            .for_each(|value| *value = *value / 2 + 90);
        assert!(distance(&image, &brighter) <= 3);
        let rgb = Image {
            channels: 3,
            data: image.data.iter().flat_map(|value| [*value; 3]).collect(),
            ..image.clone()
        };
        assert_eq!(distance(&image, &rgb), 0);
        assert!(distance(&image, &waves(2.0)) > 10);
    }

    #[test]
    fn an_image_of_one_pixel_has_a_hash() {
        let image = ImageRef {
            width: 1,
            height: 1,
            channels: 1,
            data: &[7],
        };
        assert_eq!(dhash(image).unwrap(), 0);
    }
}
