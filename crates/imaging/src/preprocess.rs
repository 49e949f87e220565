//! From an image, or the bytes of its file, to the tensor that a model wants: resize, crop,
//! normalise.

mod settings;

pub use settings::{Color, CropMode, Layout, Preprocess, ResizeMode};

use crate::crop::Placement;
use crate::decode::{DecodeRequest, Pixels, decode_wanted};
use crate::image::byte_len;
use crate::jpeg::DecodedPart;
use crate::resize::{Extent, NewRow, Sink, Window, resize_rows, under};
use crate::rows::{Gray, RowSource};
use crate::{DecodeOptions, Error, Filter, ImageRef};

/// How many times larger than after resizing an image must still be when it is decoded at a
/// half or a quarter of its size.
///
/// A decoder that scales averages blocks of 2x2 or 4x4 pixels. Where the image is still at
/// least twice too large, the resize filter averages over more pixels than such a block has,
/// so that the two ways differ by rounding only; `tests/` measures how much.
const SCALED_MARGIN: u32 = 2;

impl Preprocess {
    /// How many numbers one image becomes: width times height times channels.
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

    /// Resizes, crops and normalises an image: `out` gets `(pixel * scale - mean) / std`.
    ///
    /// `out` is `[channels, height, width]` or `[height, width, channels]`, as
    /// [`Preprocess::layout`] says, and must have the length of [`Preprocess::output_len`].
    /// Only pixels that survive the crop are computed.
    ///
    /// ```
    /// use atoll_imaging::{ImageRef, Preprocess};
    ///
    /// # fn main() -> Result<(), atoll_imaging::Error> {
    /// let settings = Preprocess::new(2, 2)?.with_options([("scale", "0.5")])?;
    /// let pixels = [255; 4 * 4 * 3];
    /// let white = ImageRef {
    ///     width: 4,
    ///     height: 4,
    ///     channels: 3,
    ///     data: &pixels,
    /// };
    /// let mut out = vec![0.0; settings.output_len()];
    /// settings.apply(white, &mut out)?;
    /// assert_eq!(out, [127.5; 12]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// If the length of the pixels or of `out` does not fit.
    pub fn apply(&self, image: ImageRef<'_>, out: &mut [f32]) -> Result<(), Error> {
        image.check()?;
        let source = Extent::whole(image);
        self.apply_part(image, (image.width, image.height), source, out)
    }

    /// Decodes the bytes of a file, turns the image as its EXIF orientation says, and does
    /// the same as [`Preprocess::apply`] with it.
    ///
    /// With [`Preprocess::scaled_decode`] a JPEG that is much larger than the tensor is
    /// decoded at a half or a quarter of its size, which costs half the time
    /// and a fraction of the memory.
    pub fn apply_file(
        &self,
        bytes: &[u8],
        options: &DecodeOptions,
        out: &mut [f32],
    ) -> Result<(), Error> {
        let decoded = decode_wanted(bytes, options, |width, height| DecodeRequest {
            least: self.smallest_source(width, height),
            part: self.part_seen(width, height),
        })?;
        let (size, extent) = (decoded.size, decoded.extent);
        match decoded.pixels {
            Pixels::Image(image) => self.apply_part(image.as_ref(), size, extent, out),
            Pixels::Planes(planes) => self.apply_part(planes, size, extent, out),
        }
    }

    /// How small an image may be decoded without changing the tensor noticeably.
    fn smallest_source(&self, width: u32, height: u32) -> Option<(u32, u32)> {
        // Filters that do not weigh all pixels see others when some are missing.
        if !self.scaled_decode || !self.antialias || self.interpolation == Filter::Nearest
        {
            return None;
        }
        let (width, height) = self.resized_size(width, height).ok()?;
        let least = |side: u32| side.checked_mul(SCALED_MARGIN);
        least(width).zip(least(height))
    }

    /// The pixels of an image that the tensor depends on.
    fn part_seen(&self, width: u32, height: u32) -> Option<DecodedPart> {
        // Positions of this filter are counted from the first pixel.
        if self.interpolation == Filter::Nearest {
            return None;
        }
        let source = Extent {
            left: 0.0,
            top: 0.0,
            width: f64::from(width),
            height: f64::from(height),
        };
        let window = self.window((width, height), source).ok()?;
        let part = window.part();
        Some(DecodedPart {
            columns: under(
                width,
                (part.left, part.width),
                window.across.length,
                self.interpolation,
            ),
            rows: under(
                height,
                (part.top, part.height),
                window.down.length,
                self.interpolation,
            ),
        })
    }

    /// The same for an image of `size` whose pixels may have been decoded smaller.
    fn apply_part(
        &self,
        mut image: impl RowSource,
        size: (u32, u32),
        source: Extent,
        out: &mut [f32],
    ) -> Result<(), Error> {
        if out.len() != self.output_len() {
            return Err(Error::argument(format!(
                "the tensor of an image has {} elements, got room for {}",
                self.output_len(),
                out.len()
            )));
        }
        let window = self.window(size, source)?;
        // Colour is dropped before resizing, as Pillow programs do; gray is repeated
        // after it, which gives the same numbers for a third of the work.
        if self.color == Color::Gray {
            self.resize_and_normalize(&mut Gray::of(image), &window, out);
        } else {
            self.resize_and_normalize(&mut image, &window, out);
        }
        Ok(())
    }

    /// The size after resizing, and where the tensor's pixels lie in it.
    fn window(
        &self,
        (width, height): (u32, u32),
        source: Extent,
    ) -> Result<Window, Error> {
        let target = (self.width, self.height);
        let resized = self.resized_size(width, height)?;
        match self.crop {
            CropMode::Center => Ok(Window {
                source,
                resized,
                across: Placement::center(resized.0, target.0),
                down: Placement::center(resized.1, target.1),
            }),
            CropMode::None if resized == target => Ok(Window {
                source,
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

    fn resized_size(&self, width: u32, height: u32) -> Result<(u32, u32), Error> {
        let target = (self.width, self.height);
        match (self.resize, self.resize_size, self.crop) {
            (ResizeMode::ShortestSide, size, _) => {
                shortest_side(width, height, size.unwrap_or(target.0.min(target.1)))
            }
            (ResizeMode::Squash, Some(size), CropMode::Center) => Ok((size, size)),
            (ResizeMode::None, _, CropMode::Center) => Ok((width, height)),
            (ResizeMode::Squash | ResizeMode::None, _, _) => Ok(target),
        }
    }

    /// Writes the pixels of the window, and black around it.
    fn resize_and_normalize<R: RowSource>(
        &self,
        image: &mut R,
        window: &Window,
        out: &mut [f32],
    ) {
        let (width, height) = (self.width as usize, self.height as usize);
        let planes = self.color.channels();
        let (plane_step, pixel_step) = match self.layout {
            Layout::Nchw => (width * height, 1),
            Layout::Nhwc => (1, planes),
        };
        let mut tensor = TensorSink {
            out,
            width,
            origin: (window.across.to as usize, window.down.to as usize),
            plane_step,
            pixel_step,
            levels: (0..planes).map(|plane| self.levels(plane)).collect(),
            is_reversed: self.color == Color::Bgr,
        };
        let covered = (window.across.length as usize, window.down.length as usize);
        if covered != (width, height) {
            tensor.blacken(width * height);
        }
        let (filter, antialias) = (self.interpolation, self.antialias);
        resize_rows(image, window, filter, antialias, &mut tensor);
    }

    fn levels(&self, plane: usize) -> Levels {
        Levels {
            scale: self.scale,
            mean: nth(&self.mean, plane),
            std: nth(&self.std, plane),
        }
    }
}

/// Makes a tensor of resized rows.
struct TensorSink<'a> {
    out: &'a mut [f32],
    /// Pixels in a row.
    width: usize,
    /// Where the first resized column and row go.
    origin: (usize, usize),
    /// Distance between channels.
    plane_step: usize,
    /// Distance between neighbouring pixels.
    pixel_step: usize,
    /// One a channel.
    levels: Vec<Levels>,
    /// Whether the last channel comes first.
    is_reversed: bool,
}

impl TensorSink<'_> {
    fn blacken(&mut self, pixels: usize) {
        for (plane, levels) in self.levels.iter().enumerate() {
            let out = self.out[plane * self.plane_step..].iter_mut();
            let pixels = out.step_by(self.pixel_step).take(pixels);
            pixels.for_each(|value| *value = levels.of(0));
        }
    }
}

impl Sink for TensorSink<'_> {
    #[inline(always)]
    fn take(&mut self, row: NewRow<'_>) {
        let (left, top) = self.origin;
        let pixel = (top + row.y) * self.width + left + row.left;
        let last = row.planes.len() / row.width - 1;
        for (plane, levels) in self.levels.iter().enumerate() {
            let channel = if self.is_reversed { 2 - plane } else { plane };
            let pixels = &row.planes[channel.min(last) * row.width..][..row.width];
            let start = plane * self.plane_step + pixel * self.pixel_step;
            levels.write(pixels, self.pixel_step, &mut self.out[start..]);
        }
    }
}

/// How the pixels of one channel become numbers.
struct Levels {
    scale: f32,
    mean: f32,
    std: f32,
}

impl Levels {
    #[inline(always)]
    fn of(&self, pixel: u8) -> f32 {
        (f32::from(pixel) * self.scale - self.mean) / self.std
    }

    /// Writes every `step`th number of `out`.
    #[inline(always)]
    fn write(&self, pixels: &[u8], step: usize, out: &mut [f32]) {
        // Most models want neighbours, for which there are vectors, and divide by a power
        // of two, whose reciprocal gives the same numbers for less.
        let reciprocal = self.std.recip();
        let is_exact = self.std.to_bits() << 9 == 0 && reciprocal.is_normal();
        match (step, is_exact) {
            (1, true) => {
                for (value, pixel) in out.iter_mut().zip(pixels) {
                    let pixel = f32::from(*pixel);
                    *value = (pixel * self.scale - self.mean) * reciprocal;
                }
            }
            (1, false) => {
                for (value, pixel) in out.iter_mut().zip(pixels) {
                    *value = self.of(*pixel);
                }
            }
            _ => {
                for (value, pixel) in out.iter_mut().step_by(step).zip(pixels) {
                    *value = self.of(*pixel);
                }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_the_quotients_to_the_bit() {
        let pixels: Vec<u8> = (0..=255).collect();
        for std in [128.0, 0.5, -2.0, 0.229, 57.375, f32::MIN_POSITIVE, 1.7e38] {
            let levels = Levels {
                scale: 1.0 / 255.0,
                mean: 0.485,
                std,
            };
            let mut out = vec![0.0; 256];
            levels.write(&pixels, 1, &mut out);
            let quotients: Vec<f32> = pixels.iter().map(|p| levels.of(*p)).collect();
            assert_eq!(out, quotients, "{std}");
        }
    }
}
