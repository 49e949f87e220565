//! The hyperparameter `augmentation`: how training images are changed at random.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{check, read, refuse};
use crate::error::nearest;
use crate::{Error, ImageShape};

/// How the images of training mini-batches are changed at random, each time anew.
///
/// Images of the validation split are never changed. What enters an image from outside
/// is black.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Augmentation {
    /// Most pixels that an image moves in each direction, in whole pixels. Default 0.
    pub shift: u32,
    /// Most degrees that it turns either way. Default 0.
    pub rotate: f64,
    /// Most that it grows or shrinks: 0.1 is from 0.9 to 1.1 times. Default 0.
    pub scale: f64,
    /// Whether every second one is mirrored, left to right. Default false.
    pub flip: bool,
    /// Standard deviation of an elastic displacement (Simard 2003), in pixels. Default 0.
    pub elastic: f64,
    /// Standard deviation of the Gaussian that smooths the displacement, in pixels.
    /// Default 4.
    pub elastic_sigma: f64,
    /// Side of a square that is blackened (DeVries and Taylor 2017), in pixels; its
    /// centre is anywhere in the image. Default 0.
    pub cutout: u32,
}

const KEYS: &[&str] = &[
    "shift",
    "rotate",
    "scale",
    "flip",
    "elastic",
    "elastic_sigma",
    "cutout",
];

impl Default for Augmentation {
    fn default() -> Self {
        Self {
            shift: 0,
            rotate: 0.0,
            scale: 0.0,
            flip: false,
            elastic: 0.0,
            elastic_sigma: 4.0,
            cutout: 0,
        }
    }
}

impl Augmentation {
    /// The valid keys; the fields document them.
    pub fn keys() -> &'static [&'static str] {
        KEYS
    }

    /// Reads a JSON object; one that changes nothing is none.
    pub(super) fn from_json(value: &Value) -> Result<Option<Self>, Error> {
        let Some(map) = value.as_object() else {
            return refuse("augmentation", "a struct such as {shift: 2}", value);
        };
        let mut augmentation = Self::default();
        for (key, value) in map {
            if !KEYS.contains(&key.as_str()) {
                return Err(Error::UnknownHyperparameter {
                    key: name(key),
                    suggestion: nearest(key, KEYS.iter().copied()).map(str::to_owned),
                    valid: KEYS,
                });
            }
            if !value.is_null() {
                augmentation.set(key, value)?;
            }
        }
        augmentation.validate()?;
        Ok((augmentation.moves() || augmentation.cutout > 0).then_some(augmentation))
    }

    fn set(&mut self, key: &str, value: &Value) -> Result<(), Error> {
        let name = name(key);
        match key {
            "shift" => self.shift = read::count(&name, value)?,
            "rotate" => self.rotate = read::number(&name, value)?,
            "scale" => self.scale = read::number(&name, value)?,
            "flip" => self.flip = read::flag(&name, value)?,
            "elastic" => self.elastic = read::number(&name, value)?,
            "elastic_sigma" => self.elastic_sigma = read::number(&name, value)?,
            "cutout" => self.cutout = read::count(&name, value)?,
            // The caller has compared the key with the list of valid ones.
            _ => {}
        }
        Ok(())
    }

    /// Checks everything that can be checked without knowing the images.
    pub(super) fn validate(&self) -> Result<(), Error> {
        let degrees = |x: f64| (0.0..=180.0).contains(&x);
        check(
            &name("rotate"),
            self.rotate,
            "from 0 to 180 degrees",
            degrees,
        )?;
        let factor = |x: f64| (0.0..1.0).contains(&x);
        check(
            &name("scale"),
            self.scale,
            "at least 0 and less than 1",
            factor,
        )?;
        let pixels = |x: f64| (0.0..=1_000.0).contains(&x);
        check(
            &name("elastic"),
            self.elastic,
            "from 0 to 1000 pixels",
            pixels,
        )?;
        let smooth = |x: f64| (1.0..=1_000.0).contains(&x);
        let (key, value) = (name("elastic_sigma"), self.elastic_sigma);
        check(&key, value, "from 1 to 1000 pixels", smooth)
    }

    /// Checks that something remains of the images.
    pub(crate) fn validate_for(&self, shape: ImageShape) -> Result<(), Error> {
        self.validate()?;
        let ImageShape { height, width, .. } = shape;
        let shortest = height.min(width);
        for (key, pixels) in [("shift", self.shift), ("cutout", self.cutout)] {
            if pixels as usize >= shortest {
                let expected =
                    format!("less than {shortest} for images of {height} x {width}");
                return refuse(&name(key), &expected, &pixels);
            }
        }
        Ok(())
    }

    /// Whether pixels change their places.
    pub(crate) fn moves(&self) -> bool {
        let Self { shift, flip, .. } = *self;
        shift > 0 || flip || [self.rotate, self.scale, self.elastic] != [0.0; 3]
    }
}

/// What errors call a key.
fn name(key: &str) -> String {
    format!("augmentation.{key}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check_refused(json: &Value, expected: &str) {
        let error = Augmentation::from_json(json).unwrap_err();
        assert!(error.is_infeasible());
        assert!(error.to_string().starts_with(expected), "{error}");
    }

    #[test]
    fn every_key_can_be_set() {
        let json = json!({
            "shift": 2, "rotate": 10, "scale": 0.1, "flip": true, "elastic": 0.5,
            "elastic_sigma": 3, "cutout": 8,
        });
        let read = Augmentation::from_json(&json).unwrap().unwrap();
        let set = serde_json::to_value(&read).unwrap();
        let default = serde_json::to_value(Augmentation::default()).unwrap();
        for key in KEYS {
            assert_ne!(set[*key], default[*key], "{key}");
        }
        assert_eq!(set.as_object().unwrap().len(), KEYS.len());
        assert_eq!(Augmentation::from_json(&set).unwrap(), Some(read));
    }

    #[test]
    fn what_changes_nothing_is_none() {
        for json in [
            json!({}),
            json!({"shift": 0, "rotate": null, "elastic_sigma": 9}),
        ] {
            assert_eq!(Augmentation::from_json(&json).unwrap(), None);
        }
    }

    #[test]
    fn wrong_keys_types_and_values_are_refused() {
        check_refused(
            &json!({"rotat": 1}),
            "unknown hyperparameter 'augmentation.rotat', did you mean 'rotate'?",
        );
        check_refused(
            &json!(2),
            "augmentation must be a struct such as {shift: 2}, got 2",
        );
        check_refused(
            &json!({"rotate": 200}),
            "augmentation.rotate must be from 0 to 180 degrees, got 200",
        );
        check_refused(
            &json!({"scale": 1}),
            "augmentation.scale must be at least 0 and less than 1, got 1",
        );
        check_refused(
            &json!({"shift": -1}),
            "augmentation.shift must be an integer of at least 0, got -1",
        );
        check_refused(
            &json!({"elastic": 1, "elastic_sigma": 0}),
            "augmentation.elastic_sigma must be from 1 to 1000 pixels, got 0",
        );
    }

    #[test]
    fn something_must_remain_of_an_image() {
        let shape = ImageShape {
            height: 8,
            width: 6,
            channels: 1,
        };
        let shift = |shift| Augmentation {
            shift,
            ..Augmentation::default()
        };
        assert!(shift(5).validate_for(shape).is_ok());
        assert_eq!(
            shift(6).validate_for(shape).unwrap_err().to_string(),
            "augmentation.shift must be less than 6 for images of 8 x 6, got 6"
        );
    }
}
