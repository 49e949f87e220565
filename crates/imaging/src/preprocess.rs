//! An image to the tensor that a model wants.

mod settings;

use std::borrow::Cow;

pub use settings::{Color, CropMode, Layout, Preprocess, ResizeMode};

use crate::crop::Placement;
use crate::image::byte_len;
use crate::resize::{Window, resize_window};
use crate::{Error, ImageRef};

impl Preprocess {
    /// How many numbers one image becomes.
    pub fn output_len(&self) -> usize {
        self.width as usize * self.height as usize * self.color.channels()
    }

    /// The shape of one image's tensor, without the batch dimension.
    pub fn output_shape(&self) -> [usize; 3] {
        let (width, height) = (self.width as usize, self.height as usize);
        match self.layout {
            Layout::Nchw => [self.color.channels(), height, width],
            Layout::Nhwc => [height, width, self.color.channels()],
        }
    }

    /// Resizes, crops and normalises: `out` gets `(pixel * scale - mean) / std`.
    ///
    /// Only pixels that survive the crop are computed. `out` must be as long as
    /// [`Preprocess::output_len`].
    pub fn apply(&self, image: ImageRef<'_>, out: &mut [f32]) -> Result<(), Error> {
        image.check()?;
        if out.len() != self.output_len() {
            return Err(Error::argument(format!(
                "the tensor of an image has {} elements, got room for {}",
                self.output_len(),
                out.len()
            )));
        }
        // Colour is dropped before resizing, as Pillow programs do; gray is repeated
        // after it, which gives the same numbers for a third of the work.
        let gray;
        let image = if self.color == Color::Gray {
            gray = image.to_gray();
            ImageRef {
                channels: 1,
                data: &gray,
                ..image
            }
        } else {
            image
        };
        let window = self.window(image.width, image.height)?;
        let pixels = self.resized(image, &window)?;
        self.normalize(&pixels, usize::from(image.channels), &window, out);
        Ok(())
    }

    /// The size after resizing, and where the tensor's pixels lie in it.
    fn window(&self, width: u32, height: u32) -> Result<Window, Error> {
        let target = (self.width, self.height);
        let resized = match (self.resize, self.resize_size, self.crop) {
            (ResizeMode::ShortestSide, size, _) => {
                shortest_side(width, height, size.unwrap_or(target.0.min(target.1)))?
            }
            (ResizeMode::Squash, Some(size), CropMode::Center) => (size, size),
            (ResizeMode::None, _, CropMode::Center) => (width, height),
            (ResizeMode::Squash | ResizeMode::None, _, _) => target,
        };
        match self.crop {
            CropMode::Center => Ok(Window {
                resized,
                across: Placement::center(resized.0, target.0),
                down: Placement::center(resized.1, target.1),
            }),
            CropMode::None if resized == target => Ok(Window {
                resized,
                across: Placement::whole(target.0),
                down: Placement::whole(target.1),
            }),
            CropMode::None => Err(Error::argument(format!(
                "an image of {width}x{height} pixels becomes {}x{} with resize \
                 'shortest_side', but the model wants {}x{}, set crop to 'center'",
                resized.0, resized.1, target.0, target.1
            ))),
        }
    }

    fn resized<'a>(
        &self,
        image: ImageRef<'a>,
        window: &Window,
    ) -> Result<Cow<'a, [u8]>, Error> {
        let whole = |placement: Placement, length| placement.length == length;
        if window.resized == (image.width, image.height)
            && whole(window.across, image.width)
            && whole(window.down, image.height)
        {
            return Ok(Cow::Borrowed(image.data));
        }
        let resized = resize_window(image, window, self.interpolation, self.antialias)?;
        Ok(Cow::Owned(resized.data))
    }

    /// Writes the pixels of the window, and black around it.
    fn normalize(
        &self,
        pixels: &[u8],
        channels: usize,
        window: &Window,
        out: &mut [f32],
    ) {
        let (width, height) = (self.width as usize, self.height as usize);
        let (columns, rows) =
            (window.across.length as usize, window.down.length as usize);
        let (left, top) = (window.across.to as usize, window.down.to as usize);
        let planes = self.color.channels();
        // Distance in `out` between channels and between neighbouring pixels.
        let (plane_step, pixel_step) = match self.layout {
            Layout::Nchw => (width * height, 1),
            Layout::Nhwc => (1, planes),
        };
        for plane in 0..planes {
            let scale = self.scale;
            let (mean, std) = (nth(&self.mean, plane), nth(&self.std, plane));
            let value = |pixel: u8| (f32::from(pixel) * scale - mean) / std;
            if (columns, rows) != (width, height) {
                let black = value(0);
                let plane_out = out[plane * plane_step..].iter_mut();
                plane_out
                    .step_by(pixel_step)
                    .take(width * height)
                    .for_each(|v| *v = black);
            }
            let channel = match self.color {
                Color::Bgr => 2 - plane,
                Color::Rgb | Color::Gray => plane,
            };
            let channel = channel.min(channels - 1);
            for row in 0..rows {
                let start =
                    plane * plane_step + ((top + row) * width + left) * pixel_step;
                let source =
                    &pixels[row * columns * channels..(row + 1) * columns * channels];
                let source = source.iter().skip(channel).step_by(channels);
                let target = out[start..].iter_mut().step_by(pixel_step);
                target.zip(source).for_each(|(v, &pixel)| *v = value(pixel));
            }
        }
    }
}

/// One number for all channels, or one a channel.
fn nth(values: &[f32], channel: usize) -> f32 {
    values
        .get(channel)
        .or(values.first())
        .copied()
        .unwrap_or_default()
}

/// torchvision's size for `Resize(size)`: the longer side is rounded down.
fn shortest_side(width: u32, height: u32, size: u32) -> Result<(u32, u32), Error> {
    let long = |long: u32, short: u32| {
        u32::try_from(u64::from(size) * u64::from(long) / u64::from(short)).map_err(
            |_| {
                Error::argument(format!(
                    "an image of {width}x{height} pixels is too narrow to resize its \
                 shortest side to {size}"
                ))
            },
        )
    };
    if width <= height {
        Ok((size, long(height, width)?))
    } else {
        Ok((long(width, height)?, size))
    }
}

impl Preprocess {
    /// Checks what the fields promise each other.
    fn validate(self) -> Result<Self, Error> {
        // A tensor of the size of a large image is fine, one beyond it is a typo.
        byte_len(self.width, self.height, 3)?;
        if self.resize_size == Some(0) {
            return Err(Error::argument("resize_size must be at least 1, got 0"));
        }
        let channels = self.color.channels();
        for (name, values) in [("mean", &self.mean), ("std", &self.std)] {
            if values.len() != 1 && values.len() != channels {
                return Err(Error::argument(format!(
                    "{name} must have 1 or {channels} values, got {}",
                    values.len()
                )));
            }
        }
        if let Some(zero) = self.std.iter().find(|std| **std == 0.0) {
            return Err(Error::argument(format!("std must not be 0, got {zero}")));
        }
        Ok(self)
    }
}
