//! Parts of images.

use crate::{Error, Image, ImageRef};

/// Cuts out the rectangle whose upper left pixel is (`x`, `y`).
pub fn crop(
    image: ImageRef<'_>,
    x: u32,
    y: u32,
    width: u32,
    height: u32,
) -> Result<Image, Error> {
    image.check()?;
    let inside = |start: u32, length: u32, whole: u32| {
        start.checked_add(length).is_some_and(|end| end <= whole)
    };
    if !inside(x, width, image.width) || !inside(y, height, image.height) {
        return Err(Error::argument(format!(
            "a crop of {width}x{height} pixels at ({x}, {y}) reaches outside the image \
             of {}x{} pixels",
            image.width, image.height
        )));
    }
    let mut out = Image::black(width, height, image.channels)?;
    copy(image, (x, y), &mut out, (0, 0), (width, height));
    Ok(out)
}

/// Cuts out the middle, with black borders where the image is smaller.
///
/// Which pixel the middle is when it is between two is decided as torchvision's
/// `center_crop` decides it.
pub fn center_crop(image: ImageRef<'_>, width: u32, height: u32) -> Result<Image, Error> {
    image.check()?;
    let mut out = Image::black(width, height, image.channels)?;
    let across = Placement::center(image.width, width);
    let down = Placement::center(image.height, height);
    copy(
        image,
        (across.from, down.from),
        &mut out,
        (across.to, down.to),
        (across.length, down.length),
    );
    Ok(out)
}

/// Where the pixels of a centred crop come from and go to, along one axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Placement {
    /// First pixel of the image that is used.
    pub(crate) from: u32,
    /// Where it goes.
    pub(crate) to: u32,
    /// How many pixels.
    pub(crate) length: u32,
}

impl Placement {
    /// All pixels stay where they are.
    pub(crate) fn whole(length: u32) -> Self {
        Placement {
            from: 0,
            to: 0,
            length,
        }
    }

    pub(crate) fn center(image: u32, crop: u32) -> Self {
        if image <= crop {
            // torchvision pads (crop - image) // 2 before and the rest after.
            return Placement {
                from: 0,
                to: (crop - image) / 2,
                length: image,
            };
        }
        let excess = image - crop;
        // Python's round: a half goes to the even neighbour.
        let half = excess / 2;
        let from = half + (excess % 2) * (half % 2);
        Placement {
            from,
            to: 0,
            length: crop,
        }
    }
}

/// Copies a rectangle that lies inside both images.
fn copy(
    source: ImageRef<'_>,
    from: (u32, u32),
    target: &mut Image,
    to: (u32, u32),
    (width, height): (u32, u32),
) {
    let channels = usize::from(source.channels);
    let start = |image_width: u32, x: u32, y: u32| {
        (y as usize * image_width as usize + x as usize) * channels
    };
    let row = width as usize * channels;
    for y in 0..height {
        let source_row = start(source.width, from.0, from.1 + y);
        let target_row = start(target.width, to.0, to.1 + y);
        target.data[target_row..target_row + row]
            .copy_from_slice(&source.data[source_row..source_row + row]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gray(width: u32, height: u32) -> Image {
        let data = (0..width * height).map(|n| n as u8).collect();
        Image {
            width,
            height,
            channels: 1,
            data,
        }
    }

    #[test]
    fn a_crop_keeps_its_rows_together() {
        let cropped = crop(gray(4, 3).as_ref(), 1, 1, 2, 2).unwrap();
        assert_eq!(cropped.data, [5, 6, 9, 10]);
    }

    #[test]
    fn a_crop_outside_the_image_is_refused() {
        let error = crop(gray(4, 3).as_ref(), 3, 0, 2, 2).unwrap_err();
        assert_eq!(
            error.to_string(),
            "a crop of 2x2 pixels at (3, 0) reaches outside the image of 4x3 pixels"
        );
        assert!(crop(gray(4, 3).as_ref(), u32::MAX, 0, 2, 2).is_err());
    }

    // int(round((image - crop) / 2.0)), so 0.5 -> 0, 1.5 -> 2, 2.5 -> 2, 3.5 -> 4.
    #[test]
    fn the_middle_is_torchvisions() {
        let from = |image, crop| Placement::center(image, crop).from;
        assert_eq!(
            [from(5, 4), from(7, 4), from(9, 4), from(11, 4)],
            [0, 2, 2, 4]
        );
        assert_eq!(from(6, 4), 1);
    }

    // torchvision.transforms.functional.center_crop of a 1x2 image to (2, 3):
    // one row of padding below, one column after.
    #[test]
    fn a_smaller_image_is_padded_with_black() {
        let image = Image {
            width: 2,
            height: 1,
            channels: 1,
            data: vec![8, 9],
        };
        let cropped = center_crop(image.as_ref(), 3, 2).unwrap();
        assert_eq!(cropped.data, [8, 9, 0, 0, 0, 0]);
    }
}
