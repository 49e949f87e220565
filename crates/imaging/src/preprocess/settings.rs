//! What a model says about its input, as text.

use std::collections::BTreeMap;
use std::fmt;

use crate::{Error, Filter};

/// What stands before every key in a model's metadata.
const PREFIX: &str = "image.";

/// What happens to an image before a model sees it.
///
/// It is written to the metadata of a model file, so that the file alone is enough
/// to use the model.
#[derive(Debug, Clone, PartialEq)]
pub struct Preprocess {
    /// The channels and their order.
    pub color: Color,
    /// The order of the tensor's axes.
    pub layout: Layout,
    /// Width of the tensor.
    pub width: u32,
    /// Height of the tensor.
    pub height: u32,
    /// How the size is changed before the crop.
    pub resize: ResizeMode,
    /// The side to resize to, where it is not the tensor's.
    pub resize_size: Option<u32>,
    /// The filter of the resizing.
    pub interpolation: Filter,
    /// Whether downscaling widens the filter, as Pillow does and OpenCV does not.
    pub antialias: bool,
    /// Whether a JPEG much larger than the tensor may be decoded at a fraction of its
    /// size. Without it pixels are Pillow's, with it nearly so.
    pub scaled_decode: bool,
    /// What is cut off after resizing.
    pub crop: CropMode,
    /// Pixels, 0 to 255, are multiplied by this first.
    pub scale: f32,
    /// Subtracted after scaling; one number, or one a channel in the order of `color`.
    pub mean: Vec<f32>,
    /// Divides the difference; one number, or one a channel in the order of `color`.
    pub std: Vec<f32>,
}

/// A choice that is written as a word.
macro_rules! choice {
    (
        $(#[$doc:meta])* $name:ident, $key:literal:
        $($(#[$variant_doc:meta])* $variant:ident = $text:literal),+
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$variant_doc])* $variant),+
        }

        impl $name {
            /// The word it is written as.
            pub fn name(self) -> &'static str {
                match self {
                    $($name::$variant => $text),+
                }
            }

            fn parse(text: &str) -> Result<Self, Error> {
                $(if $text.eq_ignore_ascii_case(text) {
                    return Ok($name::$variant);
                })+
                let names = [$($text),+].join(", ");
                let key = $key;
                Err(Error::argument(format!("{key} must be one of {names}, got '{text}'")))
            }
        }
    };
}

choice! {
    /// The channels of a tensor.
    Color, "color":
    /// Red, green, blue.
    Rgb = "RGB",
    /// Blue, green, red, as OpenCV has them.
    Bgr = "BGR",
    /// One channel of luma.
    Gray = "L"
}

choice! {
    /// The order of a tensor's axes.
    Layout, "layout":
    /// Channels, rows, columns.
    Nchw = "NCHW",
    /// Rows, columns, channels.
    Nhwc = "NHWC"
}

choice! {
    /// How the size of an image is changed before the crop.
    ResizeMode, "resize":
    /// The shortest side becomes `resize_size`, proportions stay.
    ShortestSide = "shortest_side",
    /// Both sides are set, proportions change.
    Squash = "squash",
    /// Images have the right size already. With crop `none` an image of another size
    /// is squashed, with crop `center` it is only cropped.
    None = "none"
}

choice! {
    /// What is cut off after resizing.
    CropMode, "crop":
    /// The borders, or black borders are added.
    Center = "center",
    /// Nothing.
    None = "none"
}

impl Color {
    /// How many channels.
    pub fn channels(self) -> usize {
        match self {
            Color::Rgb | Color::Bgr => 3,
            Color::Gray => 1,
        }
    }
}

impl Preprocess {
    /// The keys, without their prefix.
    pub const KEYS: [&str; 13] = [
        "color",
        "layout",
        "width",
        "height",
        "resize",
        "resize_size",
        "interpolation",
        "antialias",
        "scaled_decode",
        "crop",
        "scale",
        "mean",
        "std",
    ];

    /// RGB pixels of 0 to 255 in NCHW; images of another size are squashed.
    pub fn new(width: u32, height: u32) -> Result<Self, Error> {
        Self::default_of(width, height).validate()
    }

    /// What the metadata of a model says, or `None` when it says nothing of images.
    /// Keys of others are ignored, so that a later version can add some.
    pub fn from_metadata(
        metadata: &BTreeMap<String, String>,
    ) -> Result<Option<Self>, Error> {
        let settings: Vec<(&str, &str)> = metadata
            .iter()
            .filter_map(|(key, value)| Some((key.strip_prefix(PREFIX)?, value.as_str())))
            .filter(|(key, _)| Self::KEYS.contains(key))
            .collect();
        if settings.is_empty() {
            return Ok(None);
        }
        for needed in ["width", "height"] {
            if !settings.iter().any(|(key, _)| *key == needed) {
                return Err(Error::argument(format!(
                    "the model's metadata has no {PREFIX}{needed}, pass {needed} as an \
                     option"
                )));
            }
        }
        Self::default_of(1, 1).with_options(settings).map(Some)
    }

    /// Changes one setting; the key is one of [`Preprocess::KEYS`], the value is
    /// written as in the metadata, lists with commas.
    pub fn with_option(self, key: &str, value: &str) -> Result<Self, Error> {
        self.with_options([(key, value)])
    }

    /// Changes several settings at once, which may only be valid together.
    pub fn with_options<'a>(
        mut self,
        options: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, Error> {
        for (key, value) in options {
            self.set(key, value.trim())?;
        }
        self.validate()
    }

    /// The settings as metadata; [`Preprocess::from_metadata`] reads them back.
    pub fn to_metadata(&self) -> BTreeMap<String, String> {
        let numbers = |values: &[f32]| {
            values
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(",")
        };
        let mut settings = vec![
            ("color", self.color.name().to_string()),
            ("layout", self.layout.name().to_string()),
            ("width", self.width.to_string()),
            ("height", self.height.to_string()),
            ("resize", self.resize.name().to_string()),
            ("interpolation", self.interpolation.name().to_string()),
            ("antialias", self.antialias.to_string()),
            ("crop", self.crop.name().to_string()),
            ("scale", self.scale.to_string()),
            ("mean", numbers(&self.mean)),
            ("std", numbers(&self.std)),
        ];
        settings.extend(
            self.resize_size
                .map(|size| ("resize_size", size.to_string())),
        );
        // Only where it is not as usual, so that equal networks stay equal files.
        if !self.scaled_decode {
            settings.push(("scaled_decode", "false".to_string()));
        }
        settings
            .into_iter()
            .map(|(key, value)| (format!("{PREFIX}{key}"), value))
            .collect()
    }

    fn default_of(width: u32, height: u32) -> Self {
        Preprocess {
            color: Color::Rgb,
            layout: Layout::Nchw,
            width,
            height,
            resize: ResizeMode::None,
            resize_size: None,
            interpolation: Filter::Bilinear,
            antialias: true,
            scaled_decode: true,
            crop: CropMode::None,
            scale: 1.0,
            mean: vec![0.0],
            std: vec![1.0],
        }
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), Error> {
        match key {
            "color" => self.color = Color::parse(value)?,
            "layout" => self.layout = Layout::parse(value)?,
            "width" => self.width = side(key, value)?,
            "height" => self.height = side(key, value)?,
            "resize" => self.resize = ResizeMode::parse(value)?,
            "resize_size" => self.resize_size = Some(side(key, value)?),
            "interpolation" => self.interpolation = value.parse()?,
            "antialias" => self.antialias = flag(key, value)?,
            "scaled_decode" => self.scaled_decode = flag(key, value)?,
            "crop" => self.crop = CropMode::parse(value)?,
            "scale" => self.scale = number(key, value)?,
            "mean" => self.mean = list(key, value)?,
            "std" => self.std = list(key, value)?,
            _ => {
                return Err(Error::argument(format!(
                    "unknown preprocessing key '{key}', valid: {}",
                    Self::KEYS.join(", ")
                )));
            }
        }
        Ok(())
    }
}

impl fmt::Display for Preprocess {
    /// One line for people: `resize=squash, width=28, ...`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (key, value)) in self.to_metadata().iter().enumerate() {
            let comma = if n == 0 { "" } else { ", " };
            write!(f, "{comma}{}={value}", key.trim_start_matches(PREFIX))?;
        }
        Ok(())
    }
}

fn side(key: &str, value: &str) -> Result<u32, Error> {
    value.parse().map_err(|_| {
        Error::argument(format!(
            "{key} must be a whole number of pixels, got '{value}'"
        ))
    })
}

fn flag(key: &str, value: &str) -> Result<bool, Error> {
    match value.to_ascii_lowercase().as_str() {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(Error::argument(format!(
            "{key} must be true or false, got '{value}'"
        ))),
    }
}

fn number(key: &str, value: &str) -> Result<f32, Error> {
    match value.trim().parse::<f32>() {
        Ok(number) if number.is_finite() => Ok(number),
        _ => Err(Error::argument(format!(
            "{key} must be a finite number, got '{value}'"
        ))),
    }
}

fn list(key: &str, value: &str) -> Result<Vec<f32>, Error> {
    value.split(',').map(|value| number(key, value)).collect()
}
