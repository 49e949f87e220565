//! The filters of resizing: how much each old pixel counts for a new one.

use std::f64::consts::PI;
use std::str::FromStr;

use crate::Error;

/// A filter of resizing. Making an image smaller widens the filter by the same factor, so
/// that it covers all old pixels; libraries call that antialiasing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Filter {
    /// The nearest pixel, without any weighing.
    Nearest,
    /// A triangle, over 2 pixels.
    #[default]
    Bilinear,
    /// A cubic with a = -0.5, over 4 pixels.
    Bicubic,
    /// A windowed sinc, over 6 pixels.
    Lanczos3,
}

impl Filter {
    /// The name in lower case, as used in SQL.
    pub fn name(self) -> &'static str {
        match self {
            Filter::Nearest => "nearest",
            Filter::Bilinear => "bilinear",
            Filter::Bicubic => "bicubic",
            Filter::Lanczos3 => "lanczos3",
        }
    }

    /// How many pixels on each side the filter reaches when it is not widened.
    pub(crate) fn support(self) -> f64 {
        match self {
            Filter::Nearest => 0.5,
            Filter::Bilinear => 1.0,
            Filter::Bicubic => 2.0,
            Filter::Lanczos3 => 3.0,
        }
    }

    /// The weight of a pixel at the distance `x`, as `Resample.c` of Pillow has it.
    pub(crate) fn weight(self, x: f64, antialias: bool) -> f64 {
        let x = x.abs();
        match self {
            Filter::Nearest => f64::from(x < 0.5),
            Filter::Bilinear => (1.0 - x).max(0.0),
            Filter::Bicubic if antialias => cubic(x, -0.5),
            // That of OpenCV and of PyTorch without antialiasing.
            Filter::Bicubic => cubic(x, -0.75),
            Filter::Lanczos3 if x < 3.0 => sinc(x) * sinc(x / 3.0),
            Filter::Lanczos3 => 0.0,
        }
    }
}

fn cubic(x: f64, a: f64) -> f64 {
    if x < 1.0 {
        ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * a
    } else {
        0.0
    }
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 {
        1.0
    } else {
        (x * PI).sin() / (x * PI)
    }
}

impl FromStr for Filter {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        match name.to_ascii_lowercase().as_str() {
            "nearest" => Ok(Filter::Nearest),
            "bilinear" => Ok(Filter::Bilinear),
            "bicubic" => Ok(Filter::Bicubic),
            "lanczos3" | "lanczos" => Ok(Filter::Lanczos3),
            _ => Err(Error::argument(format!(
                "filter must be nearest, bilinear, bicubic or lanczos3, got '{name}'"
            ))),
        }
    }
}
