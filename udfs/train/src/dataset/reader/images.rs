//! Images from encoded files, IMAGE structs, lists of numbers and text.

use std::sync::Arc;

use atoll_nn::ImageShape;
use atoll_udf_common::args::string_at;
use atoll_udf_common::image::{ImageColumn, ImageValue, coerce_image_type};
use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, Float32Type};
use datafusion::common::{Result, exec_datafusion_err, exec_err};

use super::{ColumnOptions, Images, Reader, at};

impl Reader {
    /// Files and IMAGEs. Like its siblings it returns the largest number before it was
    /// scaled; here nothing is, so nothing is told of it.
    pub(super) fn read_pixels(
        &self,
        column: &ArrayRef,
        images: &mut Images,
    ) -> Result<f32> {
        let function = self.subject.function;
        let wanted = coerce_image_type(function, column.data_type())?;
        let values = ImageColumn::try_new(function, &cast(column, &wanted)?)?;
        let unusable = |error: atoll_imaging::Error| {
            exec_datafusion_err!(
                "an image of {} cannot be used: {error}; find such rows with \
                 try_image_decode and leave them out",
                self.dataset()
            )
        };
        for row in 0..column.len() {
            match values.get(row) {
                Some(ImageValue::Decoded(image)) => {
                    image.check().map_err(|error| at(row, unusable(error)))?;
                    images.push(&image);
                }
                Some(encoded) => {
                    let image = encoded.decode();
                    let image = image.map_err(|error| at(row, unusable(error)))?;
                    images.push(&image.as_ref());
                }
                None => {
                    let problem = exec_datafusion_err!(
                        "an IMAGE of {} has a NULL field",
                        self.dataset()
                    );
                    return Err(at(row, problem));
                }
            }
        }
        Ok(0.0)
    }

    /// The rows whose files cannot be decoded, and why.
    pub(super) fn undecodable(&self, column: &ArrayRef) -> Result<Vec<(usize, String)>> {
        let function = self.subject.function;
        let wanted = coerce_image_type(function, column.data_type())?;
        let values = ImageColumn::try_new(function, &cast(column, &wanted)?)?;
        let problem = |row: usize| match values.get(row)? {
            ImageValue::Decoded(_) => None,
            encoded @ ImageValue::Encoded(_) => {
                let error = encoded.decode().err()?;
                Some((row, format!("{}: {error}", error.code())))
            }
        };
        Ok((0..column.len()).filter_map(problem).collect())
    }

    /// Lists of numbers.
    pub(super) fn read_lists(
        &self,
        column: &ArrayRef,
        images: &mut Images,
    ) -> Result<f32> {
        let item = Arc::new(Field::new_list_field(DataType::Float32, true));
        let lists = cast(column, &DataType::LargeList(item))?;
        let lists = lists.as_list::<i64>();
        let mut largest = 0.0_f32;
        for (row, list) in lists.iter().flatten().enumerate() {
            if list.null_count() > 0 {
                let problem = exec_datafusion_err!(
                    "an image of {} has NULL values",
                    self.dataset()
                );
                return Err(at(row, problem));
            }
            let numbers = list.as_primitive::<Float32Type>();
            let found = self.push_numbers(numbers.values(), images);
            largest = largest.max(found.map_err(|error| at(row, error))?);
        }
        Ok(largest)
    }

    /// Text with numbers between spaces, commas or brackets.
    pub(super) fn read_text(
        &self,
        column: &ArrayRef,
        images: &mut Images,
    ) -> Result<f32> {
        let mut largest = 0.0_f32;
        let between = |c: char| c.is_whitespace() || [',', ';', '[', ']'].contains(&c);
        for row in 0..column.len() {
            let text = string_at(column, row).unwrap_or_default();
            let numbers = text
                .split(between)
                .filter(|word| !word.is_empty())
                .map(|word| {
                    word.parse::<f32>().map_err(|_| {
                        exec_datafusion_err!(
                            "an image of {} must be numbers between spaces or commas, \
                             got '{word}'; pass files as bytes, such as the content \
                             column of read_blob",
                            self.dataset()
                        )
                    })
                })
                .collect::<Result<Vec<_>>>();
            let found = numbers.and_then(|numbers| self.push_numbers(&numbers, images));
            largest = largest.max(found.map_err(|error| at(row, error))?);
        }
        Ok(largest)
    }

    /// Adds an image of numbers; returns the largest of them.
    fn push_numbers(&self, numbers: &[f32], images: &mut Images) -> Result<f32> {
        let mut largest = 0.0_f32;
        let shape = self.shape_of(numbers.len())?;
        let scale = self.options.scale.unwrap_or(1.0) as f32;
        for &number in numbers {
            let value = (number * scale).round();
            if !(0.0..=255.0).contains(&value) {
                return exec_err!(
                    "pixels of {} must be from 0 to 255, got {number}; give a scale in \
                     the options, such as {{scale: 255}} for values from 0 to 1",
                    self.dataset()
                );
            }
            largest = largest.max(number);
            images.bytes.push(value as u8);
        }
        images.end(shape);
        Ok(largest)
    }

    /// The size of an image that is a list of `values` numbers: square, unless the
    /// options say more.
    fn shape_of(&self, values: usize) -> Result<ImageShape> {
        let ColumnOptions {
            height,
            width,
            channels,
            ..
        } = self.options;
        let channels = channels.unwrap_or(1);
        let pixels = values / channels;
        let (height, width) = match (height, width) {
            (Some(height), Some(width)) => (height, width),
            (Some(height), None) => (height, pixels / height),
            (None, Some(width)) => (pixels / width, width),
            (None, None) => (pixels.isqrt(), pixels.isqrt()),
        };
        let product = height
            .checked_mul(width)
            .and_then(|n| n.checked_mul(channels));
        if values == 0 || product != Some(values) {
            return exec_err!(
                "an image of {} has {values} values, which is not {height} x {width} x \
                 {channels} (height x width x channels); give height, width and channels \
                 in the options",
                self.dataset()
            );
        }
        Ok(ImageShape {
            height,
            width,
            channels,
        })
    }
}
